//! Aborts that go over all shards of a unit: resets, CLEAR TASK SET and QERR of a shared task set, PREEMPT AND ABORT.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{Manner, Then};
use crate::asc::Asc;
use crate::command::Command;
use crate::lu::{Closed, LogicalUnit};
use crate::nexus::NexusId;
use crate::shard::completion::CommandKey;
use crate::shard::mailbox::{Mailbox, Message};
use crate::shard::{NexusKey, ShardCore, SourceId};

/// Runs when every share of a sweep is gone.
pub(crate) type End = Box<dyn FnOnce() + Send>;

/// An abort of a unit's commands while it goes over all shards. Each shard holds a [`Share`]; the last one to be
/// dropped ends it.
pub(crate) struct Sweep {
    pub(crate) unit: Arc<LogicalUnit>,
    victims: Victims,
    manner: Manner,
    /// The victims lose their ACA as well.
    ends_aca: bool,
    end: Mutex<Option<End>>,
    shares: AtomicUsize,
}

/// Whose commands a sweep ends.
#[derive(Debug, PartialEq, Eq)]
enum Victims {
    All,
    Nexuses(Vec<NexusId>),
}

impl Victims {
    fn contain(&self, nexus: NexusId) -> bool {
        match self {
            Self::All => true,
            Self::Nexuses(nexuses) => nexuses.contains(&nexus),
        }
    }
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
    fn over(
        unit: &Arc<LogicalUnit>,
        victims: Victims,
        manner: Manner,
        ends_aca: bool,
        end: End,
    ) -> Share {
        Share(Arc::new(Self {
            unit: Arc::clone(unit),
            victims,
            manner,
            ends_aca,
            end: Mutex::new(Some(end)),
            shares: AtomicUsize::new(1),
        }))
    }

    /// See [`LogicalUnit::abort_nexuses`].
    pub(crate) fn nexuses(
        unit: &Arc<LogicalUnit>,
        nexuses: Vec<NexusId>,
        attention: Option<Asc>,
        then: End,
    ) {
        let (swept, victims) = (Arc::clone(unit), nexuses.clone());
        let end = move || {
            // A shared ACA goes last: until then nothing of the victims is let loose by its end.
            swept.end_shared_aca(|faulted| victims.contains(&faulted));
            then();
        };
        let manner = Manner {
            by: None,
            attention,
            told: None,
        };
        let victims = Victims::Nexuses(nexuses);
        Self::over(unit, victims, manner, true, Box::new(end)).to_all_shards(None);
    }

    fn wants(&self, command: &Command) -> bool {
        command.concerns(self.unit.id()) && self.victims.contain(command.nexus.id())
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

    fn to_all_shards(&self, but: Option<&Arc<Mailbox>>) {
        for shard in self.0.unit.shards() {
            if but.is_none_or(|but| !Arc::ptr_eq(but, &shard)) {
                shard.post(Message::Sweep(self.another()));
            }
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

/// A reset that a transport waits for: one unit, or all of a target, and what there is of units before them.
#[derive(Debug)]
pub(crate) struct Reset {
    parts_left: usize,
    to: SourceId,
    tag: u64,
}

impl ShardCore {
    /// Aborts all commands of a shared task set, and some more of the nexus; those of this shard before it returns, as far
    /// as they do not execute.
    pub(crate) fn clear_shared(
        &mut self,
        unit: &Arc<LogicalUnit>,
        more: Vec<CommandKey>,
        by: NexusId,
        end: End,
    ) {
        let manner = Manner {
            by: Some(by),
            attention: Some(Asc::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR),
            told: None,
        };
        let share = Sweep::over(unit, Victims::All, manner, false, end);
        share.to_all_shards(Some(&self.mailbox));
        self.abort(more, Manner::of(by), Then::Swept(share.another()));
        self.sweep(share);
    }

    pub(super) fn reset(
        &mut self,
        units: Vec<Arc<LogicalUnit>>,
        departed: Vec<CommandKey>,
        by: NexusId,
        to: SourceId,
        tag: u64,
    ) {
        let reset = self.resets.insert(Reset {
            parts_left: units.len() + 1,
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
            let manner = Manner::of(by);
            let share = Sweep::over(&unit, Victims::All, manner, true, Box::new(end));
            let of_gate = share.another();
            unit.close_gate(move |closed| {
                *kept.lock() = Some(closed);
                drop(of_gate);
            });
            share.to_all_shards(None);
        }
        self.abort(departed, Manner::of(by), Then::Reset(reset));
    }

    /// This shard's part of a sweep.
    pub(crate) fn sweep(&mut self, share: Share) {
        let sweep = Arc::clone(&share.0);
        self.stop_copies(sweep.unit.id(), |nexus| sweep.victims.contain(nexus));
        let victims = self.keys_where(|c| sweep.wants(c));
        self.abort(victims, sweep.manner, Then::Swept(share));
        // An ACA in a set of its own ends after the victims are out of it, so that its end lets none of them loose.
        if sweep.ends_aca && sweep.unit.tasks.is_none() {
            for (nexus, unit) in self.sessions_of(&sweep) {
                self.end_aca(nexus, unit);
            }
        }
    }

    /// The victims' places on this shard.
    fn sessions_of(&self, sweep: &Sweep) -> Vec<(NexusKey, usize)> {
        let mut found = Vec::new();
        for (index, nexus) in &self.nexuses {
            let key = NexusKey::new(index, nexus.shared.id);
            let of_unit = nexus
                .units
                .iter()
                .filter(|(_, local)| local.unit.id() == sweep.unit.id());
            if sweep.victims.contain(key.id()) {
                found.extend(of_unit.map(|(unit, _)| (key, unit)));
            }
        }
        found
    }

    /// The unit is quiet on every shard: reset it, and tell.
    pub(crate) fn swept(&mut self, unit: &LogicalUnit, closed: Option<Closed>, reset: usize) {
        unit.reset();
        unit.end_shared_aca(|_| true);
        // SAM-5 6.3.3; for a reset by task management the code is that of the function.
        unit.unit_attention(Asc::BUS_DEVICE_RESET_FUNCTION_OCCURRED, None::<NexusId>);
        drop(closed);
        self.part_of_reset(reset);
    }

    /// A part of a reset is done; after the last one its transport is told.
    pub(super) fn part_of_reset(&mut self, reset: usize) {
        let Some(waiting) = self.resets.get_mut(reset) else {
            return;
        };
        waiting.parts_left -= 1;
        if waiting.parts_left == 0 {
            let Reset { to, tag, .. } = self.resets.remove(reset);
            self.complete(to, tag);
        }
    }
}
