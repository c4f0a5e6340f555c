//! Task management (SAM-5 chapter 7): every function ends within [`BOUND`], whatever the backend does.
//!
//! A function is answered when its victims can have no further effect. Queued victims end at once. Victims that
//! execute are waited for; at the bound the handler fences them, and what it cannot fence keeps the unit's medium
//! closed to new commands until it has ended ([`DeviceHandler::fence`](crate::DeviceHandler::fence)).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::asc::Asc;
use crate::command::{Command, Phase};
use crate::handler::Fence;
use crate::lu::{Closed, LogicalUnit};
use crate::lun::LunAddress;
use crate::nexus::NexusId;
use crate::shard::completion::CommandKey;
use crate::shard::mailbox::Message;
use crate::shard::{Event, NexusKey, ShardCore, SourceId};

/// How long victims in a backend are waited for.
pub const BOUND: Duration = Duration::from_millis(500);

/// A task management function (SAM-5 7.1) with what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Ends the command with this tag.
    AbortTask(u64),
    /// Ends the commands of this nexus.
    AbortTaskSet,
    /// Ends all commands of the task set; with TST 001b that of this nexus (SPC-4 7.5.8).
    ClearTaskSet,
    /// Ends an auto contingent allegiance; there never is one.
    ClearAca,
    /// Resets the unit.
    LogicalUnitReset,
    /// Resets every unit of the target.
    TargetReset,
    /// Whether the nexus has a command in the unit's task set.
    QueryTaskSet,
    /// Whether the command with this tag is in the task set.
    QueryTask(u64),
}

/// The service response (SAM-5 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Done; or for ABORT TASK of a command that ended, nothing left to do.
    Complete,
    /// For the query functions: yes.
    Succeeded,
    /// ABORT TASK or QUERY TASK: no such command.
    NoSuchTask,
    /// No such unit.
    IncorrectLun,
    /// Not supported.
    Rejected,
}

/// Who is told when the victims of an abort are gone.
#[derive(Debug)]
pub(crate) enum Then {
    /// A transport waits for the response.
    Respond { to: SourceId, tag: u64 },
    /// The nexus is closed.
    NexusClosed { to: SourceId, nexus: NexusKey },
    /// This shard's share of a sweep is done.
    Swept(Share),
    /// The unit is no longer a LUN of the session's target.
    UnitLeft(NexusKey, Arc<LogicalUnit>),
}

/// Victims that still execute, and who waits for them.
#[derive(Debug)]
pub(crate) struct Abort {
    pub(crate) left: usize,
    then: Then,
}

/// An abort of a unit's commands while it goes over all shards. Each shard holds a [`Share`]; the last one to be
/// dropped ends it.
pub(crate) struct Sweep {
    pub(crate) unit: Arc<LogicalUnit>,
    victims: Victims,
    /// Runs when every share is gone.
    end: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    shares: AtomicUsize,
}

/// Whose commands a sweep ends.
#[derive(Debug, PartialEq, Eq)]
enum Victims {
    All,
    Nexuses(Vec<NexusId>),
}

impl std::fmt::Debug for Sweep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweep")
            .field("unit", &self.unit.id())
            .field("victims", &self.victims)
            .finish_non_exhaustive()
    }
}

impl Sweep {
    fn over(unit: &Arc<LogicalUnit>, victims: Victims, end: Box<dyn FnOnce() + Send>) -> Share {
        Share(Arc::new(Self {
            unit: Arc::clone(unit),
            victims,
            end: Mutex::new(Some(end)),
            shares: AtomicUsize::new(1),
        }))
    }

    /// See [`LogicalUnit::abort_nexuses`].
    pub(crate) fn nexuses(
        unit: &Arc<LogicalUnit>,
        nexuses: Vec<NexusId>,
        then: Box<dyn FnOnce() + Send>,
    ) {
        Self::over(unit, Victims::Nexuses(nexuses), then).to_all_shards();
    }

    fn wants(&self, command: &Command) -> bool {
        command.unit_id == Some(self.unit.id())
            && match &self.victims {
                Victims::All => true,
                Victims::Nexuses(nexuses) => nexuses.contains(&command.nexus.id()),
            }
    }
}

/// A shard's, or the gate's, part of a [`Sweep`]. Wherever it is dropped, that part is through: also with the mail of
/// a shard that has ended.
#[derive(Debug)]
pub(crate) struct Share(Arc<Sweep>);

impl Share {
    fn another(&self) -> Self {
        // Relaxed: this share keeps the count from reaching zero.
        self.0.shares.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }

    fn to_all_shards(&self) {
        for shard in self.0.unit.shards() {
            shard.post(Message::Sweep(self.another()));
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // AcqRel: the end acts after everything that any holder did.
        if self.0.shares.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(end) = self.0.end.lock().take()
        {
            end();
        }
    }
}

/// A reset that a transport waits for: one unit, or all of a target.
#[derive(Debug)]
pub(crate) struct Reset {
    units_left: usize,
    to: SourceId,
    tag: u64,
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
        let Some(target) = self.nexus(nexus).map(|n| Arc::clone(&n.shared.target)) else {
            return respond(self, Response::Rejected);
        };
        if function == Function::TargetReset {
            let units = target.luns().values().cloned().collect();
            return self.reset(units, to, tag);
        }
        let Some(unit) = LunAddress::parse(lun)
            .resolve()
            .and_then(|l| target.resolve(l))
        else {
            return respond(self, Response::IncorrectLun);
        };
        let then = Then::Respond { to, tag };
        let mine = |core: &Self| core.commands_of(nexus, Some(&unit));
        match function {
            Function::AbortTask(task) => match self.command_by_tag(nexus, task) {
                Some(key) => self.abort(vec![key], then),
                None => respond(self, Response::NoSuchTask),
            },
            Function::AbortTaskSet | Function::ClearTaskSet => {
                let victims = mine(self);
                self.abort(victims, then);
            }
            Function::ClearAca => respond(self, Response::Complete),
            Function::LogicalUnitReset => self.reset(vec![unit], to, tag),
            Function::QueryTaskSet if mine(self).is_empty() => respond(self, Response::Complete),
            Function::QueryTaskSet => respond(self, Response::Succeeded),
            Function::QueryTask(task) => match self.command_by_tag(nexus, task) {
                Some(_) => respond(self, Response::Succeeded),
                None => respond(self, Response::NoSuchTask),
            },
            Function::TargetReset => {}
        }
    }

    /// Ends commands without a response. `then` happens when none of them can have an effect any more.
    pub(crate) fn abort(&mut self, victims: Vec<CommandKey>, then: Then) {
        let abort = self.aborts.insert(Abort { left: 1, then });
        for key in victims {
            let Some(command) = self.command_mut(key) else {
                continue;
            };
            if command.phase == Phase::Executing {
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
            Then::Respond { to, tag } => {
                self.events.push_back((
                    to,
                    Event::TaskManagement {
                        tag,
                        response: Response::Complete,
                    },
                ));
            }
            Then::NexusClosed { to, nexus } => {
                self.drop_nexus(nexus);
                self.events.push_back((to, Event::NexusClosed(nexus)));
            }
            Then::Swept(share) => drop(share),
            Then::UnitLeft(nexus, unit) => self.forget_unit(nexus, &unit),
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

    /// Lets a command go that its backend does not end. It stays in the slab until the backend is done with it.
    fn detach(&mut self, key: CommandKey) {
        let Some(unit) = self.unit_of(key) else {
            return;
        };
        let cancelled = self
            .command_mut(key)
            .and_then(|c| c.rare().cancel.as_ref().map(|cancel| cancel.cancel()));
        // A command that takes effect all at once either has or never will; the backend is asked for the others.
        let unfenced = cancelled.is_none() && unit.handler().fence() == Fence::Unfenced;
        if unfenced {
            unit.unfenced.fetch_add(1, Ordering::AcqRel);
        }
        tracing::warn!(unit = ?unit.id(), unfenced, "a backend does not end a command; the command is given up");
        self.release(key);
        let Some(command) = self.command_mut(key) else {
            return;
        };
        command.phase = Phase::Detached { unit, unfenced };
        // What it still does is fenced off: no range needs to wait for that.
        let aborts = command.rare.take().map(|rare| rare.aborts);
        self.notify_aborted(key);
        for abort in aborts.unwrap_or_default() {
            self.victim_gone(abort);
        }
    }

    fn reset(&mut self, units: Vec<Arc<LogicalUnit>>, to: SourceId, tag: u64) {
        if units.is_empty() {
            self.events.push_back((
                to,
                Event::TaskManagement {
                    tag,
                    response: Response::Complete,
                },
            ));
            return;
        }
        let reset = self.resets.insert(Reset {
            units_left: units.len(),
            to,
            tag,
        });
        for unit in units {
            let (origin, swept) = (Arc::clone(&self.mailbox), Arc::clone(&unit));
            // The gate is closed from before the sweep until the origin has reset the unit.
            let closed: Arc<Mutex<Option<Closed>>> = Arc::default();
            let kept = Arc::clone(&closed);
            let end = move || {
                let closed = closed.lock().take();
                origin.post(Message::Swept(swept, closed, reset));
            };
            let share = Sweep::over(&unit, Victims::All, Box::new(end));
            let of_gate = share.another();
            unit.close_gate(move |closed| {
                *kept.lock() = Some(closed);
                drop(of_gate);
            });
            share.to_all_shards();
        }
    }

    /// This shard's part of a sweep.
    pub(crate) fn sweep(&mut self, share: Share) {
        let sweep = Arc::clone(&share.0);
        let victims = self.keys_where(|c| sweep.wants(c));
        self.abort(victims, Then::Swept(share));
    }

    /// The unit is quiet on every shard: reset it, and tell.
    pub(crate) fn swept(&mut self, unit: &LogicalUnit, closed: Option<Closed>, reset: usize) {
        unit.reset();
        unit.unit_attention(
            Asc::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
            None::<NexusId>,
        );
        drop(closed);
        let Some(waiting) = self.resets.get_mut(reset) else {
            return;
        };
        waiting.units_left -= 1;
        if waiting.units_left == 0 {
            let Reset { to, tag, .. } = self.resets.remove(reset);
            self.events.push_back((
                to,
                Event::TaskManagement {
                    tag,
                    response: Response::Complete,
                },
            ));
        }
    }
}
