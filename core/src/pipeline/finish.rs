//! Stage 11: the end of a command, and what it lets go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use super::aca::{self, Failure};
use super::run::{command_and_unit, leave_gate};
use crate::buffer::IoBuf;
use crate::cdb;
use crate::command::{Command, CommandRequest, Finished, Phase, Rare, Refused};
use crate::handler::{Outcome, Transfer};
use crate::nexus::Nexus;
use crate::sense::SenseFormat;
use crate::shard::completion::CommandKey;
use crate::shard::mailbox::Mailbox;
use crate::shard::{Event, LocalNexus, LocalUnit, ShardCore, SourceId};
use crate::status::Status;
use crate::tmf::Told;

impl ShardCore {
    /// Stage 11.
    pub(super) fn finish(&mut self, key: CommandKey, outcome: Outcome, buf: IoBuf) {
        let (lane, first, time) = (self.lane, self.runnable.len(), self.time());
        let Some(mut parts) = Parts::of(&mut self.commands, &mut self.nexuses, key) else {
            tracing::error!(?key, "a command ended of which its session knows nothing");
            return self.pool.recycle(buf);
        };
        let plain = !(parts.command.aborted | parts.command.inner)
            && matches!(outcome.status, Status::Good | Status::ConditionMet);
        if !plain || parts.local.itl.ua.care() & aca::MAY_BE != 0 {
            return self.finish_with_care(key, outcome, buf);
        }
        let response = parts.end(&outcome, lane);
        parts.measure(&outcome, lane, time);
        parts.release(key, lane, &self.mailbox, &mut self.runnable);
        self.respond(key, first, response, outcome, buf, SenseFormat::Fixed);
    }

    /// As [`ShardCore::finish`], for a command that was aborted, or is a copy manager's, or may be blocked, or did not
    /// succeed.
    #[cold]
    fn finish_with_care(&mut self, key: CommandKey, outcome: Outcome, buf: IoBuf) {
        let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key)
        else {
            return;
        };
        if command.aborted {
            return self.finish_aborted(key, buf);
        }
        if command.enabled && aca::blocks(command, local) {
            command.buf = buf;
            return self.block(key, Some(Box::new(outcome)));
        }
        // What a copy manager's commands end with concerns nobody else's.
        if command.inner {
            return self.end(key, outcome, buf, SenseFormat::Fixed);
        }
        let format = local.unit.handler().control().sense_format();
        if matches!(outcome.status, Status::Good | Status::ConditionMet) {
            return self.end(key, outcome, buf, format);
        }
        let failure = Failure::of(command, outcome.status);
        self.before_failure(&failure);
        self.end(key, outcome, buf, format);
        self.after_failure(&failure);
    }

    /// As the end of [`ShardCore::finish`], by the command's name.
    fn end(&mut self, key: CommandKey, outcome: Outcome, buf: IoBuf, format: SenseFormat) {
        let (lane, first, time) = (self.lane, self.runnable.len(), self.time());
        let Some(mut parts) = Parts::of(&mut self.commands, &mut self.nexuses, key) else {
            return;
        };
        let response = parts.end(&outcome, lane);
        parts.measure_any(&outcome, lane, time);
        parts.release(key, lane, &self.mailbox, &mut self.runnable);
        self.respond(key, first, response, outcome, buf, format);
    }

    /// Forgets a command that was released, and gives its response to the transport.
    #[inline(always)]
    fn respond(
        &mut self,
        key: CommandKey,
        first: usize,
        (source, tag, transfer): (SourceId, u64, Transfer),
        outcome: Outcome,
        buf: IoBuf,
        format: SenseFormat,
    ) {
        if self.runnable.len() > first {
            self.promoted(first);
        }
        self.commands.remove(key.index as usize);
        let sense = outcome.sense.map(|sense| Box::new(sense.emit(format)));
        let (status, data_in) = (outcome.status, outcome.data_in.min(buf.len()));
        let finished = Finished {
            tag,
            respond: true,
            status,
            sense,
            buf,
            data_in,
            transfer,
        };
        self.events.push_back((source, Event::Finished(finished)));
    }

    /// The backend is through with a command that was aborted meanwhile.
    #[cold]
    fn finish_aborted(&mut self, key: CommandKey, buf: IoBuf) {
        self.release(key);
        self.pool.recycle(buf);
        let rare = self.command_mut(key).and_then(|c| c.rare.take());
        let Rare { aborts, told, .. } = rare.map(|rare| *rare).unwrap_or_default();
        self.notify_aborted(key, told);
        self.commands.remove(key.index as usize);
        for abort in aborts {
            self.victim_gone(abort);
        }
    }

    /// Takes a command out of the gate and out of its task set, and lets those go that waited for it.
    pub(crate) fn release(&mut self, key: CommandKey) {
        let (lane, first) = (self.lane, self.runnable.len());
        if let Some(mut parts) = Parts::of(&mut self.commands, &mut self.nexuses, key) {
            parts.release(key, lane, &self.mailbox, &mut self.runnable);
        }
        if self.runnable.len() > first {
            self.promoted(first);
        }
    }

    /// Commands from `first` on were promised a turn: those run whose data is here.
    #[cold]
    fn promoted(&mut self, first: usize) {
        let promoted: Vec<_> = self.runnable.drain(first..).collect();
        promoted.into_iter().for_each(|key| self.enabled(key));
    }

    /// A command's turn in its task set has come.
    pub(crate) fn enabled(&mut self, key: CommandKey) {
        if let Some(command) = self.command_mut(key) {
            command.enabled = true;
            self.proceed(key);
        }
    }

    /// Ends a command that no handler has.
    pub(crate) fn end_aborted(&mut self, key: CommandKey) {
        if matches!(
            self.command_mut(key).map(|c| &c.phase),
            None | Some(Phase::Detached(_))
        ) {
            return;
        }
        self.release(key);
        let told = self
            .command_mut(key)
            .and_then(|c| c.rare.as_ref())
            .and_then(|rare| rare.told);
        self.notify_aborted(key, told);
        self.leave_queue_at_gate(key);
        let closer = self
            .command_mut(key)
            .and_then(|c| c.rare.as_ref())
            .and_then(|rare| rare.closer);
        if let (Some(ticket), Some(unit)) = (closer, self.unit_of(key)) {
            unit.stop_waiting(ticket);
        }
        let command = self.commands.remove(key.index as usize);
        self.pool.recycle(command.buf);
    }

    /// Tells the transport that a command was aborted, and what its response is, if it has one.
    pub(crate) fn notify_aborted(&mut self, key: CommandKey, told: Option<Told>) {
        let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key)
        else {
            return;
        };
        let (measures, id) = (local.unit.measures(), command.cdb.entry.id);
        let outcome = told.map(Told::outcome);
        match &outcome {
            Some(outcome) => measures.failed(Some(id), outcome),
            None => measures.aborted(id),
        }
        let (source, tag, nexus) = (command.source, command.tag, command.nexus);
        let inner = command.inner;
        if let Some(nexus) = self.nexus(nexus).filter(|_| !inner) {
            nexus.shared.stats.aborted_commands.add(1);
        }
        let respond = outcome.is_some();
        let Outcome { status, sense, .. } = outcome.unwrap_or_else(|| Told::TaskAborted.outcome());
        let finished = Finished {
            tag,
            respond,
            status,
            // If there is any, the unit whose D_SENSE would say the format is none of the session's any more.
            sense: sense.map(|sense| Box::new(sense.emit(SenseFormat::Fixed))),
            buf: IoBuf::empty(),
            data_in: 0,
            transfer: Transfer::None,
        };
        self.events.push_back((source, Event::Finished(finished)));
    }

    /// Ends a command that never came into the slab.
    pub(super) fn refuse(
        &mut self,
        source: SourceId,
        request: &CommandRequest<'_>,
        unit: Option<usize>,
        refused: Refused,
    ) {
        let Refused { outcome, data } = refused;
        let failed = outcome.status != Status::Good;
        let failure = unit
            .filter(|_| failed)
            .map(|unit| Failure::at_once(request, unit, outcome.status));
        let mut format = SenseFormat::Fixed;
        if let Some(nexus) = self.nexus(request.nexus) {
            nexus.shared.stats.count(0, 0, failed);
            if let Some(local) = unit.and_then(|unit| nexus.units.get(unit)) {
                format = local.unit.handler().control().sense_format();
                let entry = cdb::lookup(request.cdb).ok();
                let measures = local.unit.measures();
                measures.failed(entry.map(|entry| entry.id), &outcome);
            }
        }
        if let Some(failure) = &failure {
            self.before_failure(failure);
        }
        // Only commands without a unit have data here; their few bytes need no pool.
        let buf = IoBuf::from_slice(&data).unwrap_or_default();
        let finished = Finished {
            tag: request.tag,
            respond: true,
            status: outcome.status,
            sense: outcome.sense.map(|sense| Box::new(sense.emit(format))),
            data_in: buf.len(),
            transfer: Transfer::In(buf.len()),
            buf,
        };
        self.events.push_back((source, Event::Finished(finished)));
        if let Some(failure) = &failure {
            self.after_failure(failure);
        }
    }
}

/// A command, its session, and what that keeps for its unit.
struct Parts<'a> {
    command: &'a mut Command,
    nexus: &'a Nexus,
    local: &'a mut LocalUnit,
}

impl<'a> Parts<'a> {
    #[inline]
    fn of(
        commands: &'a mut Slab<Command>,
        nexuses: &'a mut Slab<LocalNexus>,
        key: CommandKey,
    ) -> Option<Self> {
        let command = commands
            .get_mut(key.index as usize)
            .filter(|c| c.generation == key.generation)?;
        let nexus = nexuses
            .get_mut(command.nexus.index())
            .filter(|n| n.shared.id == command.nexus.id())?;
        let local = nexus.units.get_mut(command.local_unit)?;
        let nexus = &*nexus.shared;
        Some(Self {
            command,
            nexus,
            local,
        })
    }

    /// Counts a command that ends; to whom the response goes, its tag, and what was to move.
    #[inline]
    fn end(&self, outcome: &Outcome, lane: usize) -> (SourceId, u64, Transfer) {
        let failed = !matches!(outcome.status, Status::Good | Status::ConditionMet);
        // How much parameter data there is to read is known only now: that is what was to move.
        let (transfer, written) = match self.command.transfer {
            Transfer::In(_) => (Transfer::In(outcome.data_in), 0),
            Transfer::Out(len) | Transfer::OutExactly(len) | Transfer::OutAtMost(len) => {
                (self.command.transfer, len)
            }
            Transfer::None => (Transfer::None, 0),
        };
        let of_unit = self.local.unit.stats_of(lane);
        of_unit.count(outcome.data_in, written, failed);
        // What a copy manager moves goes to the unit, but not through the session.
        if !self.command.inner {
            let of_session = &self.nexus.stats;
            of_session.count(outcome.data_in, written, failed);
        }
        (self.command.source, self.command.tag, transfer)
    }

    /// Counts how long it took and how it ended.
    #[inline(always)]
    fn measure(&self, outcome: &Outcome, lane: usize, time: Instant) {
        if outcome.status == Status::Good && self.command.arrived == time {
            let id = self.command.cdb.entry.id;
            self.local.unit.measures().at_once(lane, id);
        } else {
            self.measure_any(outcome, lane, time);
        }
    }

    #[inline(never)]
    fn measure_any(&self, outcome: &Outcome, lane: usize, time: Instant) {
        let times = (self.command.arrived, self.command.begun(time), time);
        let id = self.command.cdb.entry.id;
        let measures = self.local.unit.measures();
        measures.ended(lane, id, outcome, times);
    }

    /// See [`ShardCore::release`]; commands of this shard that may run now are pushed to `enabled`.
    #[inline(always)]
    fn release(
        &mut self,
        key: CommandKey,
        lane: usize,
        mailbox: &Arc<Mailbox>,
        enabled: &mut VecDeque<CommandKey>,
    ) {
        let Self { command, local, .. } = self;
        leave_gate(&local.unit, lane, command);
        if command.inner {
            return;
        }
        local.commands = local.commands.saturating_sub(1);
        let was_enabled = std::mem::take(&mut command.enabled);
        if let Some(shared) = &local.unit.tasks {
            shared.release(mailbox, key, command.attribute);
        } else if was_enabled {
            local.tasks.leave(command.attribute, enabled);
        } else {
            local.tasks.remove(&key, enabled);
        }
    }
}
