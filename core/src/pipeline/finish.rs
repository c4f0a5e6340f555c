//! Stage 11: the end of a command, and what it lets go.

use super::aca::{self, Failure};
use super::run::{command_and_unit, leave_gate};
use crate::buffer::IoBuf;
use crate::command::{CommandRequest, Finished, Phase, Rare, Refused};
use crate::handler::{Outcome, Transfer};
use crate::sense::SenseFormat;
use crate::shard::completion::CommandKey;
use crate::shard::{Event, ShardCore, SourceId};
use crate::status::Status;

impl ShardCore {
    /// Stage 11.
    pub(super) fn finish(&mut self, key: CommandKey, outcome: Outcome, buf: IoBuf) {
        let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key)
        else {
            return self.pool.recycle(buf);
        };
        if command.aborted {
            return self.finish_aborted(key, buf);
        }
        if local.itl.ua.care() & aca::MAY_BE != 0 && command.enabled && aca::blocks(command, local)
        {
            command.buf = buf;
            return self.block(key, Some(Box::new(outcome)));
        }
        let failed = !matches!(outcome.status, Status::Good | Status::ConditionMet);
        // What a copy manager's commands end with concerns nobody else's.
        let failure = (failed && !command.inner).then(|| Failure::of(command, outcome.status));
        let mut format = SenseFormat::Fixed;
        if let Some(failure) = &failure {
            format = local.unit.handler().control().sense_format();
            self.before_failure(failure);
        }
        self.release(key);
        let command = self.commands.remove(key.index as usize);
        // How much parameter data there is to read is known only now: that is what was to move.
        let (transfer, written) = match command.transfer {
            Transfer::In(_) => (Transfer::In(outcome.data_in), 0),
            Transfer::Out(len) | Transfer::OutExactly(len) | Transfer::OutAtMost(len) => {
                (command.transfer, len)
            }
            Transfer::None => (Transfer::None, 0),
        };
        if let Some(nexus) = self.nexus(command.nexus) {
            // What a copy manager moves goes to the unit, but not through the session.
            if !command.inner {
                nexus.shared.stats.count(outcome.data_in, written, failed);
            }
            if let Some(local) = nexus.units.get(command.local_unit) {
                local
                    .unit
                    .stats_of(self.lane)
                    .count(outcome.data_in, written, failed);
            }
        }
        let sense = outcome.sense.map(|sense| Box::new(sense.emit(format)));
        let (status, data_in) = (outcome.status, outcome.data_in.min(buf.len()));
        let finished = Finished {
            tag: command.tag,
            respond: true,
            status,
            sense,
            buf,
            data_in,
            transfer,
        };
        self.events
            .push_back((command.source, Event::Finished(finished)));
        if let Some(failure) = &failure {
            self.after_failure(failure);
        }
    }

    /// The backend is through with a command that was aborted meanwhile.
    #[cold]
    fn finish_aborted(&mut self, key: CommandKey, buf: IoBuf) {
        self.release(key);
        self.pool.recycle(buf);
        let rare = self.command_mut(key).and_then(|c| c.rare.take());
        let Rare {
            aborts,
            task_aborted,
            ..
        } = rare.map(|rare| *rare).unwrap_or_default();
        self.notify_aborted(key, task_aborted);
        self.commands.remove(key.index as usize);
        for abort in aborts {
            self.victim_gone(abort);
        }
    }

    /// Takes a command out of the gate and out of its task set, and lets those go that waited for it.
    pub(crate) fn release(&mut self, key: CommandKey) {
        let Some(command) = self
            .commands
            .get_mut(key.index as usize)
            .filter(|c| c.generation == key.generation)
        else {
            return;
        };
        let Some(nexus) = self
            .nexuses
            .get_mut(command.nexus.index())
            .filter(|n| n.shared.id == command.nexus.id())
        else {
            return;
        };
        let Some(local) = nexus.units.get_mut(command.local_unit) else {
            return;
        };
        leave_gate(&local.unit, self.lane, command);
        if command.inner {
            return;
        }
        local.commands = local.commands.saturating_sub(1);
        let enabled = std::mem::take(&mut command.enabled);
        if let Some(shared) = &local.unit.tasks {
            return shared.release(&self.mailbox, key, command.attribute);
        }
        let first = self.runnable.len();
        if enabled {
            local.tasks.leave(command.attribute, &mut self.runnable);
        } else {
            local.tasks.remove(&key, &mut self.runnable);
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
            None | Some(Phase::Detached { .. })
        ) {
            return;
        }
        self.release(key);
        let task_aborted = self
            .command_mut(key)
            .and_then(|c| c.rare.as_ref())
            .is_some_and(|rare| rare.task_aborted);
        self.notify_aborted(key, task_aborted);
        self.leave_queue_at_gate(key);
        let command = self.commands.remove(key.index as usize);
        self.pool.recycle(command.buf);
    }

    /// Tells the transport that a command was aborted: with TASK ABORTED as its response, or without one.
    pub(crate) fn notify_aborted(&mut self, key: CommandKey, task_aborted: bool) {
        let Some(command) = self.command_mut(key) else {
            return;
        };
        let (source, tag, nexus) = (command.source, command.tag, command.nexus);
        let inner = command.inner;
        if let Some(nexus) = self.nexus(nexus).filter(|_| !inner) {
            nexus.shared.stats.aborted_commands.add(1);
        }
        let finished = Finished {
            tag,
            respond: task_aborted,
            status: Status::TaskAborted,
            sense: None,
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
