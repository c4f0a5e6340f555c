//! Commands whose time is over: with their backend, or at the gate.
//!
//! No timer is kept per command. A command that a handler defers notes when, and while there are such commands their
//! shard looks at all of them once a second, or when the next one's time is over if that is sooner. No command is
//! overlooked, since no ladder gives a backend less than that second. A look that comes a second late is put off once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::aca::{self, Failure};
use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::cdb::CommandClass;
use crate::command::{Command, Finished, Phase};
use crate::deadline::SHORTEST;
use crate::handler::{Outcome, Transfer};
use crate::lu::{LogicalUnit, Owner, UnitId};
use crate::pipeline::command_and_unit;
use crate::sense::{Sense, SenseFormat};
use crate::shard::completion::CommandKey;
use crate::shard::{Event, ShardCore};
use crate::status::Status;

/// Longest time between two looks.
pub(super) const LOOK: Duration = SHORTEST;

/// What a look at all commands found.
#[derive(Default)]
struct Found {
    /// With their backend for too long.
    overdue: Vec<CommandKey>,
    /// At the gate for too long.
    waited: Vec<CommandKey>,
    /// When the next one's time is over.
    next: Option<Instant>,
    /// Since when the oldest command is with its backend, if that is worth telling.
    ages: HashMap<UnitId, (Arc<LogicalUnit>, Instant)>,
}

impl Found {
    /// Whether a time is over; if not, it is remembered.
    fn over(&mut self, at: Instant, now: Instant) -> bool {
        if at > now {
            self.next = Some(self.next.map_or(at, |next| next.min(at)));
        }
        at <= now
    }

    fn age(&mut self, unit: &Arc<LogicalUnit>, since: Instant, now: Instant) {
        if now.saturating_duration_since(since) >= LOOK {
            let first = || (Arc::clone(unit), since);
            let (_, oldest) = self.ages.entry(unit.id()).or_insert_with(first);
            *oldest = since.min(*oldest);
        }
    }
}

impl ShardCore {
    /// Looks at all commands, if it is time to; true when it was.
    pub(crate) fn look(&mut self) -> bool {
        let Some(at) = self.watch.filter(|at| *at <= self.now) else {
            return false;
        };
        if self.now > at + LOOK && !std::mem::replace(&mut self.look_put_off, true) {
            // This process, or the machine, was stopped or short of processors: so were the threads by which backends
            // answer. They get their turn before anything is said of them.
            self.watch = Some(self.now + LOOK);
            return true;
        }
        self.look_put_off = false;
        let found = self.find_overdue();
        self.tell_ages(&found);
        found.waited.iter().for_each(|key| self.waited(*key));
        found.overdue.iter().for_each(|key| self.overdue(*key));
        let next = self.now + LOOK;
        let next = found.next.map_or(next, |at| at.min(next));
        self.watch = (!self.commands.is_empty()).then_some(next);
        true
    }

    fn find_overdue(&self) -> Found {
        let (mut found, now) = (Found::default(), self.now);
        for (index, command) in &self.commands {
            let local = || self.local(command.nexus, command.local_unit);
            match &command.phase {
                Phase::Detached(detached) => found.age(&detached.unit, detached.since, now),
                Phase::Executing(since) => {
                    let Some(local) = local() else { continue };
                    found.age(&local.unit, *since, now);
                    let ladder = local.unit.ladder();
                    let mut limit = ladder.limit(command.cdb.entry.timeouts);
                    if let Owner::Service(_) = command.owner {
                        // It is not with a backend: it waits for the gate first, and keeps that time by itself.
                        limit = limit.max(ladder.hold.saturating_add(ladder.backend));
                    }
                    if found.over(*since + limit, now) {
                        found.overdue.push(command.key(index));
                    }
                }
                Phase::AtGate => {
                    let over = wait_ends(command).is_some_and(|at| found.over(at, now));
                    if over {
                        found.waited.push(command.key(index));
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn tell_ages(&mut self, found: &Found) {
        for unit in self.aged.drain(..).filter_map(|unit| unit.upgrade()) {
            if !found.ages.contains_key(&unit.id()) {
                unit.backend().set_oldest(self.lane, Duration::ZERO);
            }
        }
        for (unit, since) in found.ages.values() {
            let age = self.now.saturating_duration_since(*since);
            unit.backend().set_oldest(self.lane, age);
            self.aged.push(Arc::downgrade(unit));
        }
    }

    /// A command waits at the gate: if its rights are `unsettled`, until the time that was set, else for as long as the
    /// unit's ladder says since it first had to.
    pub(super) fn waits(&mut self, key: CommandKey, unsettled: bool) {
        let now = self.now;
        let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key)
        else {
            return;
        };
        command.phase = Phase::AtGate;
        let hold = local.unit.ladder().hold;
        let rare = command.rare();
        rare.unsettled = unsettled;
        rare.waits.get_or_insert(now + hold);
        // Not later than the next look that a command which is deferred meanwhile counts on.
        let end = wait_ends(command).map_or(now + LOOK, |at| at.min(now + LOOK));
        self.watch = Some(self.watch.map_or(end, |at| at.min(end)));
    }

    /// A command has waited long enough.
    fn waited(&mut self, key: CommandKey) {
        let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key)
        else {
            return;
        };
        let unit = Arc::clone(&local.unit);
        let rare = command.rare();
        if let Some(ticket) = rare.closer
            && !rare.unsettled
        {
            // It is told so by [`Message::Alone`](crate::shard::mailbox::Message::Alone).
            return unit.stop_waiting(ticket);
        }
        let unsettled = std::mem::take(&mut rare.unsettled);
        if !self.leave_queue_at_gate(key) {
            return;
        }
        if unsettled {
            // The next look at its rights is the last.
            return self.runnable.push_back(key);
        }
        let buf = self
            .command_mut(key)
            .map(|command| std::mem::take(&mut command.buf));
        let busy = Outcome::status(Status::Busy);
        self.finish(key, busy, buf.unwrap_or_default());
    }

    /// The backend has had a command for too long: it is answered, and stays detached until the backend ends it.
    ///
    /// The answer is ABORTED COMMAND, LOGICAL UNIT COMMUNICATION TIME-OUT: the common initiators send the command again
    /// and make nothing of it that says something about the medium. COMMAND TIMEOUT DURING PROCESSING (2Eh/02h) would
    /// say the same in words, but it belongs to command duration limits (SPC-6), and Linux since 6.5 does not retry it.
    fn overdue(&mut self, key: CommandKey) {
        let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key)
        else {
            return;
        };
        // An abort has a bound of its own. An ACA keeps a command from ending; its time is over after that.
        if !command.executes() || command.aborted || aca::blocks(command, local) {
            return;
        }
        let cancel = command.rare.as_ref().and_then(|rare| rare.cancel.as_ref());
        let settled = cancel.map(|cancel| cancel.cancel());
        if settled == Some(false) {
            // It has taken effect; what is left is to say so.
            return;
        }
        if command.cdb.class == CommandClass::COPY {
            // No backend has it. It stops now, and ends after its parts, which write and have limits of their own.
            return;
        }
        local.unit.backend().count_timed_out();
        local.unit.stats_of(self.lane).count(0, 0, true);
        let outcome = Outcome::check(timed_out());
        let times = (command.arrived, command.begun(self.now), self.now);
        let id = command.cdb.entry.id;
        let measures = local.unit.measures();
        measures.ended(self.lane, id, &outcome, times);
        let format = local.unit.handler().control().sense_format();
        let failure = (!command.inner).then(|| Failure::of(command, Status::CheckCondition));
        if let Some(failure) = &failure {
            self.before_failure(failure);
        }
        if self.let_go(key, settled.is_some()).is_some() {
            self.answer_overdue(key, format);
        }
        if let Some(failure) = &failure {
            self.after_failure(failure);
        }
    }

    fn answer_overdue(&mut self, key: CommandKey, format: SenseFormat) {
        let Some(command) = self.command_mut(key) else {
            return;
        };
        let (source, tag, inner, nexus) =
            (command.source, command.tag, command.inner, command.nexus);
        if let Some(nexus) = self.nexus(nexus).filter(|_| !inner) {
            nexus.shared.stats.count(0, 0, true);
        }
        let sense = timed_out();
        let finished = Finished {
            tag,
            respond: true,
            status: Status::CheckCondition,
            sense: Some(Box::new(sense.emit(format))),
            buf: IoBuf::empty(),
            data_in: 0,
            transfer: Transfer::None,
        };
        self.events.push_back((source, Event::Finished(finished)));
    }
}

/// What a command is told that its backend does not answer.
fn timed_out() -> Sense {
    Sense::aborted(Asc::LOGICAL_UNIT_COMMUNICATION_TIME_OUT)
}

/// The end of a command's present wait at the gate.
fn wait_ends(command: &Command) -> Option<Instant> {
    let rare = command.rare.as_ref()?;
    if rare.unsettled {
        rare.held
    } else {
        rare.waits
    }
}
