//! Task management (SAM-5 chapter 7): every function ends within [`BOUND`], whatever the backend does.
//!
//! A function is answered when its victims can have no further effect. Queued victims end at once. Victims that
//! execute are waited for; at the bound the handler fences them, and what it cannot fence keeps the unit's medium
//! closed to new commands until it has ended ([`DeviceHandler::fence`](crate::DeviceHandler::fence)).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::asc::Asc;
use crate::command::{Command, Detached, Phase, Rare};
use crate::handler::{Fence, Outcome};
use crate::lun::LunAddress;
use crate::nexus::NexusId;
use crate::pipeline::{aca, command_and_unit};
use crate::sense::Sense;
use crate::shard::completion::CommandKey;
use crate::shard::mailbox::Message;
use crate::shard::{Event, LocalUnit, NexusKey, ShardCore, SourceId};
use crate::status::Status;
use crate::task_set::TaskAttribute;

pub(crate) mod sweep;

use sweep::Share;

/// How long victims in a backend are waited for. Below all rungs of a [`Ladder`](crate::deadline::Ladder), and not one of
/// them: who aborts, resets or logs in again has waited long enough.
pub const BOUND: Duration = Duration::from_millis(500);

/// A task management function (SAM-5 7.1) with what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Ends the command with this tag.
    AbortTask(u64),
    /// Ends the commands of this nexus.
    AbortTaskSet,
    /// Ends all commands of the task set: with TST 001b those of this nexus, with TST 000b those of all (SPC-4 7.5.8).
    ClearTaskSet,
    /// Ends the auto contingent allegiance that this nexus established, and its ACA command.
    ClearAca,
    /// Resets the unit.
    LogicalUnitReset,
    /// Resets every unit of the target that the nexus sees.
    TargetReset,
    /// Whether the nexus has a command in the unit's task set.
    QueryTaskSet,
    /// Whether the command with this tag is in the task set.
    QueryTask(u64),
}

impl Function {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AbortTask(_) => "ABORT TASK",
            Self::AbortTaskSet => "ABORT TASK SET",
            Self::ClearTaskSet => "CLEAR TASK SET",
            Self::ClearAca => "CLEAR ACA",
            Self::LogicalUnitReset => "LOGICAL UNIT RESET",
            Self::TargetReset => "TARGET RESET",
            Self::QueryTaskSet => "QUERY TASK SET",
            Self::QueryTask(_) => "QUERY TASK",
        }
    }
}

/// The service response (SAM-5 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Response {
    /// Done; or for ABORT TASK of a command that ended, nothing left to do.
    Complete,
    /// For the query functions: yes.
    Succeeded,
    /// ABORT TASK or QUERY TASK: no such command.
    NoSuchTask,
    /// No such unit.
    IncorrectLun,
    /// Not supported; or CLEAR ACA while the ACA is that of another nexus.
    Rejected,
}

/// Who is told when the victims of an abort are gone.
#[derive(Debug)]
pub(crate) enum Then {
    /// A transport waits for the response.
    Respond { to: SourceId, tag: u64 },
    /// Nobody.
    Nothing,
    /// The ACA command is gone: the ACA of this unit ends.
    AcaCleared {
        to: SourceId,
        tag: u64,
        nexus: NexusKey,
        unit: usize,
    },
    /// The nexus is closed.
    NexusClosed { to: SourceId, nexus: NexusKey },
    /// This shard's share of a sweep is done.
    Swept(Share),
    /// The unit at this place of the session is no LUN of it any more.
    UnitLeft(NexusKey, usize),
    /// What a reset found of units that were in the place of those it is for.
    Reset(usize),
}

/// Victims that still execute, and who waits for them.
#[derive(Debug)]
pub(crate) struct Abort {
    pub(crate) left: usize,
    then: Then,
}

/// The answer to a command that was aborted. No backend has an effect of it after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// TASK ABORTED: sent again, it may succeed.
    TaskAborted,
    /// BUSY: as [`Told::TaskAborted`], for one that had not begun. Initiators count no failure then.
    Busy,
    /// LOGICAL UNIT NOT SUPPORTED, as to every command that is sent now.
    NotSupported,
}

impl Told {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::TaskAborted => Outcome::status(Status::TaskAborted),
            Self::Busy => Outcome::status(Status::Busy),
            Self::NotSupported => Sense::logical_unit_not_supported().into(),
        }
    }
}

/// Whose action aborts commands, and so how they end (SAM-5 5.6, SPC-4 7.5.8 TAS).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// The nexus that acts: its own commands end silently.
    by: Option<NexusId>,
    /// What another nexus is told when its commands end silently.
    attention: Option<Asc>,
    /// No initiator acted: what each command is answered.
    told: Option<Told>,
}

impl Manner {
    /// The nexus' own commands only.
    pub(crate) fn of(nexus: NexusId) -> Self {
        Self {
            by: Some(nexus),
            attention: None,
            told: None,
        }
    }

    /// Of commands whose unit left their session's view.
    pub(crate) fn unit_left(nexus: NexusId, told: Told) -> Self {
        Self {
            told: Some(told),
            ..Self::of(nexus)
        }
    }

    fn is_of_another(self, victim: &Command) -> bool {
        self.by != Some(victim.nexus.id())
    }
}

impl ShardCore {
    /// Begins a function; the response comes as [`Event::TaskManagement`].
    pub(crate) fn task_management(
        &mut self,
        to: SourceId,
        nexus: NexusKey,
        lun: [u8; 8],
        function: Function,
        tag: u64,
    ) {
        let respond = |core: &mut Self, response| {
            core.events
                .push_back((to, Event::TaskManagement { tag, response }))
        };
        // What left the session is not there for task management, either.
        self.luns_changed(nexus);
        let Some(shared) = self.nexus(nexus).map(|n| Arc::clone(&n.shared)) else {
            return respond(self, Response::Rejected);
        };
        if function == Function::TargetReset {
            let units: Vec<_> = shared.luns().values().cloned().collect();
            for unit in &units {
                unit.measures().function(function, Response::Complete);
            }
            let departed = self.departed(nexus, None);
            return self.reset(units, departed, nexus.id(), to, tag);
        }
        let number = LunAddress::parse(lun).resolve();
        let number = number.and_then(|lun| u16::try_from(lun.number()).ok());
        // Who ends the commands of a LUN means those, too, of the unit that was it before: their answers come first.
        let departed = number.map(|number| self.departed(nexus, Some(number)));
        let departed = departed.unwrap_or_default();
        let departed_task = |core: &mut Self, task| {
            let is_it = |c: &mut Command| c.tag == task && !c.inner;
            let mut keys = departed.iter().copied();
            keys.find(|key| core.command_mut(*key).is_some_and(is_it))
        };
        let (own, then) = (Manner::of(nexus.id()), Then::Respond { to, tag });
        if let Function::AbortTask(task) = function
            && let Some(key) = departed_task(self, task)
        {
            if let Some(unit) = self.unit_of(key) {
                unit.measures().function(function, Response::Complete);
            }
            return self.abort(vec![key], own, then);
        }
        let Some(unit) = number.and_then(|number| shared.view.unit(number)) else {
            return respond(self, Response::IncorrectLun);
        };
        let mine = |core: &Self| core.commands_of(nexus, Some(&unit));
        let at_once = match function {
            Function::AbortTask(task) => match self.command_by_tag(nexus, &unit, task) {
                Some(key) => {
                    self.abort(vec![key], own, then);
                    None
                }
                None => Some(Response::NoSuchTask),
            },
            Function::ClearTaskSet if unit.tasks.is_some() => {
                let origin = Arc::clone(&self.mailbox);
                let end = move || origin.post(Message::Complete { to, tag });
                self.clear_shared(&unit, departed, nexus.id(), Box::new(end));
                None
            }
            Function::AbortTaskSet | Function::ClearTaskSet => {
                self.stop_copies(unit.id(), |of| of == nexus.id());
                let victims = [mine(self), departed].concat();
                self.abort(victims, own, then);
                None
            }
            Function::ClearAca => self.clear_aca(nexus, lun, to, tag),
            Function::LogicalUnitReset => {
                self.reset(vec![Arc::clone(&unit)], departed, nexus.id(), to, tag);
                None
            }
            Function::QueryTaskSet if self.tasks_of(nexus, &unit).is_empty() => {
                Some(Response::Complete)
            }
            Function::QueryTaskSet => Some(Response::Succeeded),
            Function::QueryTask(task) => match self.command_by_tag(nexus, &unit, task) {
                Some(_) => Some(Response::Succeeded),
                None => Some(Response::NoSuchTask),
            },
            Function::TargetReset => None,
        };
        // What is not answered at once is complete when it is.
        let measures = unit.measures();
        measures.function(function, at_once.unwrap_or(Response::Complete));
        if let Some(response) = at_once {
            respond(self, response);
        }
    }

    /// CLEAR ACA (SAM-5 7.4); the response, if it can be given at once. To the ACA command it is ABORT TASK.
    fn clear_aca(
        &mut self,
        key: NexusKey,
        lun: [u8; 8],
        to: SourceId,
        tag: u64,
    ) -> Option<Response> {
        let number = LunAddress::parse(lun).resolve().map(|lun| lun.number());
        let is_it = |local: &LocalUnit| Some(u32::from(local.lun)) == number && !local.gone;
        let found = self.nexus(key).and_then(|nexus| {
            let (unit, local) = nexus.units.iter().find(|(_, local)| is_it(local))?;
            Some((unit, aca::faulted(local)?))
        });
        match found {
            None => Some(Response::Complete),
            Some((_, faulted)) if faulted != key.id() => Some(Response::Rejected),
            Some((unit, _)) => {
                let of_aca = |c: &Command| {
                    c.nexus == key && c.local_unit == unit && c.attribute == TaskAttribute::Aca
                };
                let victims = self.keys_where(of_aca);
                let then = Then::AcaCleared {
                    to,
                    tag,
                    nexus: key,
                    unit,
                };
                self.abort(victims, Manner::of(key.id()), then);
                None
            }
        }
    }

    /// Tells a transport that its task management function is complete.
    pub(crate) fn complete(&mut self, to: SourceId, tag: u64) {
        let response = Response::Complete;
        self.events
            .push_back((to, Event::TaskManagement { tag, response }));
    }

    /// Another nexus aborts a command: with TAS it gets a response, without its nexus gets a unit attention.
    fn aborted_by_another(&mut self, key: CommandKey, attention: Option<Asc>) {
        let Some((command, local)) = command_and_unit(&mut self.commands, &self.nexuses, key)
        else {
            return;
        };
        // The first abort of a command counts.
        if command.aborted {
            return;
        }
        if local.unit.handler().control().task_aborted_status {
            command.rare().told = Some(Told::TaskAborted);
        } else if let Some(asc) = attention {
            local.itl.ua.establish(asc);
        }
    }

    /// Ends commands in the manner given. `then` happens when none of them can have an effect any more.
    pub(crate) fn abort(&mut self, victims: Vec<CommandKey>, manner: Manner, then: Then) {
        let abort = self.aborts.insert(Abort { left: 1, then });
        for key in self.with_inner(victims) {
            let Some(command) = self.command_mut(key) else {
                continue;
            };
            if manner.is_of_another(command) && !command.inner {
                self.aborted_by_another(key, manner.attention);
            }
            let Some(command) = self.command_mut(key) else {
                continue;
            };
            // The first abort of a command counts.
            if let (Some(told), false) = (manner.told, command.aborted | command.inner) {
                let told = match told {
                    Told::TaskAborted if !command.has_begun() => Told::Busy,
                    told => told,
                };
                command.rare().told = Some(told);
            }
            if command.executes() {
                if let Some(cancel) = &command.rare().cancel {
                    cancel.cancel();
                }
                command.aborted = true;
                command.rare().aborts.push(abort);
                self.aborts[abort].left += 1;
            } else {
                self.end_aborted(key);
            }
        }
        if self.aborts[abort].left > 1 {
            let at = self.now + BOUND;
            self.deadlines.insert((at, abort));
        }
        self.victim_gone(abort);
    }

    /// Commands with those that are parts of them.
    fn with_inner(&self, mut victims: Vec<CommandKey>) -> Vec<CommandKey> {
        let outer = |c: &Command| c.inner_part()?.outer;
        let parts = self.keys_where(|c| c.inner && outer(c).is_some_and(|o| victims.contains(&o)));
        victims.extend(parts);
        victims.sort_unstable();
        victims.dedup();
        victims
    }

    /// One of the victims of `abort` can have no further effect; after the last one, whoever waits is told.
    pub(crate) fn victim_gone(&mut self, abort: usize) {
        let Some(entry) = self.aborts.get_mut(abort) else {
            return;
        };
        entry.left -= 1;
        if entry.left > 0 {
            return;
        }
        let then = self.aborts.remove(abort).then;
        self.deadlines.retain(|(_, a)| *a != abort);
        match then {
            Then::Nothing => {}
            Then::Respond { to, tag } => self.complete(to, tag),
            Then::AcaCleared {
                to,
                tag,
                nexus,
                unit,
            } => {
                self.end_aca(nexus, unit);
                self.complete(to, tag);
            }
            Then::NexusClosed { to, nexus } => {
                self.drop_nexus(nexus);
                self.events.push_back((to, Event::NexusClosed(nexus)));
            }
            Then::Swept(share) => drop(share),
            Then::UnitLeft(nexus, place) => self.forget_unit(nexus, place),
            Then::Reset(reset) => self.part_of_reset(reset),
        }
    }

    /// The bound of an abort is over: its victims are fenced, or kept from doing harm, and given up.
    pub(crate) fn give_up(&mut self, abort: usize) {
        let stuck: Vec<_> = self.keys_where(|c| {
            c.rare
                .as_ref()
                .is_some_and(|rare| rare.aborts.contains(&abort))
        });
        for key in stuck {
            self.detach(key);
        }
    }

    /// Lets an aborted command go that its backend does not end.
    pub(crate) fn detach(&mut self, key: CommandKey) {
        let Some(command) = self.command_mut(key) else {
            return;
        };
        let settled = command.rare.as_ref().and_then(|rare| rare.cancel.as_ref());
        let settled = settled.map(|cancel| cancel.cancel()).is_some();
        let Some(rare) = self.let_go(key, settled) else {
            return;
        };
        self.notify_aborted(key, rare.told);
        for abort in rare.aborts {
            self.victim_gone(abort);
        }
    }

    /// Takes a command out of everything but the slab, where it stays until its backend is done with it, and makes sure
    /// that what the backend still does overtakes nothing. One that takes effect all at once, and whether it does is
    /// `settled`, either has or never will; one that changes nothing needs nothing; the backend is asked for the others.
    pub(crate) fn let_go(&mut self, key: CommandKey, settled: bool) -> Option<Rare> {
        let unit = self.unit_of(key)?;
        let now = self.now;
        let command = self.command_mut(key)?;
        let since = match command.phase {
            Phase::Executing(since) => since,
            _ => now,
        };
        let harmless = settled || command.changes_nothing();
        let unfenced = !harmless && unit.handler().fence() == Fence::Unfenced;
        if unfenced {
            unit.unfenced.fetch_add(1, Ordering::AcqRel);
        }
        unit.backend()
            .gave_up(now, || unit.handler().identity().serial);
        self.release(key);
        let command = self.command_mut(key)?;
        command.phase = Phase::Detached(Box::new(Detached {
            unit,
            unfenced,
            since,
        }));
        // What it still does is fenced off: no range needs to wait for that.
        Some(command.rare.take().map(|rare| *rare).unwrap_or_default())
    }
}
