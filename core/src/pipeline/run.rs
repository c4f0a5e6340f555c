//! Stages 8 to 10: a command's turn, the gate, execution.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use slab::Slab;

use super::overdue::LOOK;
use super::{aca, access, inner};
use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::cdb::Attributes;
use crate::command::{Command, Inside, Phase};
use crate::gate::Ticket;
use crate::handler::{Execute, Execution, Outcome};
use crate::lu::{Closed, LogicalUnit, Owner, UnitId};
use crate::offload::Offload;
use crate::sense::Sense;
use crate::service::Refusal;
use crate::shard::completion::CommandKey;
use crate::shard::mailbox::{Mailbox, Message};
use crate::shard::{LocalNexus, LocalUnit, ShardCore};
use crate::spc;
use crate::status::Status;

impl ShardCore {
    /// Stage 8 is over.
    pub(crate) fn data_out(&mut self, key: CommandKey, buf: IoBuf) {
        match self.command_mut(key) {
            Some(command) if command.phase == Phase::DataOut => {
                command.buf = buf;
                command.has_data = true;
                self.proceed(key);
            }
            // It was aborted while its data arrived.
            _ => self.pool.recycle(buf),
        }
    }

    pub(crate) fn data_out_failed(&mut self, key: CommandKey, buf: IoBuf, sense: Sense) {
        self.pool.recycle(buf);
        if self
            .command_mut(key)
            .is_some_and(|c| c.phase == Phase::DataOut)
        {
            self.finish(key, Outcome::check(sense), IoBuf::empty());
        }
    }

    /// Lets a command run if nothing holds it.
    pub(super) fn proceed(&mut self, key: CommandKey) {
        let Some(command) = self.command_mut(key) else {
            return;
        };
        command.phase = match (command.has_data, command.enabled) {
            (false, _) => Phase::DataOut,
            (true, false) => Phase::Dormant,
            (true, true) => Phase::Ready,
        };
        if command.phase == Phase::Ready {
            self.runnable.push_back(key);
        }
    }

    /// Runs what may run; commands that end may let others run.
    pub(crate) fn run_ready(&mut self) {
        while let Some(key) = self.runnable.pop_front() {
            self.run(key);
        }
    }

    /// Stages 9 and 10.
    fn run(&mut self, key: CommandKey) {
        let (lane, quiet) = (self.lane, self.ranges.is_empty());
        let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key)
        else {
            return;
        };
        if local.itl.ua.care() & aca::MAY_BE != 0 && aca::blocks(command, local) {
            return self.block(key, None);
        }
        let entry = command.cdb.entry;
        let plain = Attributes::OUTSIDE_GATE | Attributes::EXCLUSIVE | Attributes::LBA_EXCLUSIVE;
        if quiet && !entry.attributes.intersects(plain) {
            if !local.unit.gate.enter(lane) {
                return self.wait_at_gate(key, false);
            }
            command.inside = Inside::Shared;
            begins(command, &self.measure_latency);
            let ended = attempt(command, local, key, &self.offload, &self.mailbox);
            if let Ok(None) = ended {
                deferred(command, self.now, &mut self.watch);
            }
            return self.attempted(key, ended);
        }
        if entry.has(Attributes::OUTSIDE_GATE) {
            self.check_and_execute(key);
        } else if entry.has(Attributes::EXCLUSIVE) {
            // To close the gate only to find that the rights are still being changed would open and close it for ever.
            if let Err(refusal) = access::judge(&local.itl, &local.unit, &command.cdb) {
                return self.refused_at_gate(key, refusal);
            }
            let mailbox = Arc::clone(&self.mailbox);
            let ticket = local.unit.close_gate_patiently(move |closed| {
                mailbox.post(Message::Alone(key, closed));
            });
            command.rare().closer = Some(ticket);
            self.waits(key, false);
        } else if !self.kept_out(key) && self.enter_gate(key) {
            self.check_and_execute(key);
        } else {
            self.wait_at_gate(key, false);
        }
    }

    /// A command that runs alone has its turn; or others still execute, and it has waited long enough.
    pub(crate) fn run_alone(&mut self, key: CommandKey, closed: Option<Closed>) {
        let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key)
        else {
            return;
        };
        if command.phase != Phase::AtGate {
            return;
        }
        let Some(closed) = closed else {
            let buf = std::mem::take(&mut command.buf);
            return self.finish(key, Outcome::status(Status::Busy), buf);
        };
        if aca::blocks(command, local) {
            return self.block(key, None);
        }
        command.inside = Inside::Alone(closed);
        self.check_and_execute(key);
    }

    fn enter_gate(&mut self, key: CommandKey) -> bool {
        let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key)
        else {
            return false;
        };
        let entered = local.unit.gate.enter(self.lane);
        if entered {
            command.inside = Inside::Shared;
        }
        entered
    }

    fn wait_at_gate(&mut self, key: CommandKey, unsettled: bool) {
        let Some(command) = self.command_mut(key) else {
            return;
        };
        if let Some(unit) = command.unit_id {
            self.at_gate.entry(unit).or_default().push_back(key);
        }
        self.waits(key, unsettled);
    }

    /// The second look at access, and stage 10.
    fn check_and_execute(&mut self, key: CommandKey) {
        if let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key) {
            begins(command, &self.measure_latency);
            let ended = attempt(command, local, key, &self.offload, &self.mailbox);
            if let Ok(None) = ended {
                deferred(command, self.now, &mut self.watch);
            }
            self.attempted(key, ended);
        }
    }

    #[inline]
    fn attempted(&mut self, key: CommandKey, ended: Result<Option<(Outcome, IoBuf)>, Refusal>) {
        match ended {
            Ok(Some((outcome, buf))) => self.finish(key, outcome, buf),
            Ok(None) => {}
            Err(refusal) => self.refused_at_gate(key, refusal),
        }
    }

    /// A command's rights went, or are being changed, since it was admitted.
    fn refused_at_gate(&mut self, key: CommandKey, refusal: Refusal) {
        let now = self.now;
        let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key)
        else {
            return;
        };
        let answer = match refusal {
            Refusal::Answer(outcome) => outcome,
            Refusal::Wait(bound, answer) => {
                let bound = bound.min(local.unit.ladder().hold);
                let until = *command.rare().held.get_or_insert(now + bound);
                if until > now {
                    leave_gate(&local.unit, self.lane, command);
                    return self.wait_at_gate(key, true);
                }
                answer
            }
        };
        let buf = std::mem::take(&mut command.buf);
        self.finish(key, answer, buf);
    }

    /// A deferred command's completion has come.
    pub(crate) fn completed(&mut self, key: CommandKey, outcome: Outcome, buf: IoBuf) {
        let Some(command) = self.command_mut(key) else {
            self.pool.recycle(buf);
            return;
        };
        if let Phase::Detached(detached) = &command.phase {
            detached.unit.operation_ended(detached.unfenced);
            self.commands.remove(key.index as usize);
            self.pool.recycle(buf);
        } else {
            self.finish(key, outcome, buf);
        }
    }

    pub(crate) fn gate_opened(&mut self, unit: UnitId) {
        if let Some(waiting) = self.at_gate.remove(&unit) {
            self.runnable.extend(waiting);
        }
    }

    /// A closer of a unit's gate waits for so long at most. Those that wait no longer are forgotten.
    pub(crate) fn bound_closer(
        &mut self,
        unit: Weak<LogicalUnit>,
        ticket: Ticket,
        bound: Duration,
    ) {
        let waits = |unit: &Weak<LogicalUnit>, ticket| {
            unit.upgrade().filter(|unit| unit.gate.waits(ticket))
        };
        self.closers
            .retain(|&(_, _, ticket), unit| waits(unit, ticket).is_some());
        if let Some(id) = waits(&unit, ticket).map(|unit| unit.id()) {
            self.closers.insert((self.now + bound, id, ticket), unit);
        }
    }

    /// Closers of gates that have waited long enough are told so.
    pub(crate) fn end_waits_at_gates(&mut self) -> bool {
        let mut busy = false;
        while let Some(first) = self.closers.first_entry()
            && first.key().0 <= self.now
        {
            busy = true;
            let ((_, _, ticket), unit) = first.remove_entry();
            if let Some(unit) = unit.upgrade() {
                unit.stop_waiting(ticket);
            }
        }
        busy
    }

    /// Whether the command was there.
    pub(crate) fn leave_queue_at_gate(&mut self, key: CommandKey) -> bool {
        let unit = self.command_mut(key).and_then(|command| command.unit_id);
        let Some(waiting) = unit.and_then(|unit| self.at_gate.get_mut(&unit)) else {
            return false;
        };
        let before = waiting.len();
        waiting.retain(|k| *k != key);
        waiting.len() < before
    }
}

/// The second look at access, and stage 10: how the command ended, if it did.
#[inline]
fn attempt(
    command: &mut Command,
    local: &LocalUnit,
    key: CommandKey,
    offload: &Offload,
    mailbox: &Arc<Mailbox>,
) -> Result<Option<(Outcome, IoBuf)>, Refusal> {
    if !access::allowed(&local.itl, &local.unit, command.cdb.class) {
        access::judge(&local.itl, &local.unit, &command.cdb)?;
    }
    let mut execution = Execution {
        cdb: &command.cdb,
        itl: &local.itl,
        buf: std::mem::take(&mut command.buf),
        lu: &local.unit,
        offload,
        key,
        mailbox,
        deferred: false,
        cancel: None,
        exclusion_ended: false,
    };
    let done = match command.owner {
        Owner::Copy => inner::copy(&command.rare, &mut command.inside, &mut execution),
        owner => execute(owner, &mut execution),
    };
    let Execution {
        buf,
        deferred,
        cancel,
        exclusion_ended,
        ..
    } = execution;
    if exclusion_ended && matches!(command.inside, Inside::Alone(_)) {
        command.inside = Inside::No;
    }
    if cancel.is_some() {
        command.rare().cancel = cancel;
    }
    Ok(match done {
        Execute::Done(outcome) => Some((outcome, buf)),
        Execute::Pending if deferred => None,
        // Nobody is left who could complete it.
        Execute::Pending => Some((Sense::hardware(Asc::INTERNAL_TARGET_FAILURE).into(), buf)),
    })
}

/// A handler is about to get the command; when, is noted where commands are timed by the clock.
#[inline]
fn begins(command: &mut Command, by_clock: &AtomicBool) {
    // Relaxed: nothing is published through it.
    if by_clock.load(Ordering::Relaxed) {
        command.phase = Phase::Executing(Instant::now());
    }
}

/// A handler keeps the command: from now on its time runs.
#[inline]
fn deferred(command: &mut Command, now: Instant, watch: &mut Option<Instant>) {
    if !command.executes() {
        command.phase = Phase::Executing(now);
    }
    watch.get_or_insert(now + LOOK);
}

/// Stage 10.
fn execute(owner: Owner, execution: &mut Execution<'_>) -> Execute {
    let unit = execution.lu;
    match owner {
        Owner::Core => Execute::Done(spc::execute(execution)),
        Owner::Service(at) => match unit.service(at) {
            Some(service) => service.execute(execution),
            None => Execute::Done(Outcome::good()),
        },
        Owner::Handler | Owner::Copy | Owner::Nobody => unit.handler().execute(execution),
    }
}

/// A command with what its session keeps for its unit.
#[inline]
pub(crate) fn command_and_unit<'a>(
    commands: &'a mut Slab<Command>,
    nexuses: &'a Slab<LocalNexus>,
    key: CommandKey,
) -> Option<(&'a mut Command, &'a LocalUnit)> {
    let command = commands
        .get_mut(key.index as usize)
        .filter(|c| c.generation == key.generation)?;
    let nexus = nexuses
        .get(command.nexus.index())
        .filter(|n| n.shared.id == command.nexus.id())?;
    let local = nexus.units.get(command.local_unit)?;
    Some((command, local))
}

/// Takes a command out of the gate, if it is in.
#[inline]
pub(super) fn leave_gate(unit: &LogicalUnit, lane: usize, command: &mut Command) {
    match std::mem::replace(&mut command.inside, Inside::No) {
        Inside::No => {}
        Inside::Shared => unit.gate.leave(lane),
        Inside::Copying(source) => {
            unit.gate.leave(lane);
            source.gate.leave(lane);
        }
        Inside::Alone(closed) => drop(closed),
    }
}
