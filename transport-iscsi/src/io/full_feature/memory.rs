//! What a session holds of its shard's memory, and what follows when that is much.
//!
//! At half of its budget the command window closes down to one command; beyond the budget the core answers TASK SET FULL.
//! Input is stopped only for a peer that does not read what waits for it: one whose commands are with a backend that does
//! not end them must still be heard, or it could not abort them.

use std::time::Instant;

use lunforge_core::budget::{Budget, Charge};
use lunforge_core::shard::{NexusKey, ShardCx};

use super::FullFeature;

/// Bytes that have to move for it to count as progress, unless nothing more is owed. Less than any link that is of use
/// moves in the seconds that a stalled peer has.
const PROGRESS: u64 = 64 << 10;

/// Why no input is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// It is.
    No,
    /// Too much waits to be sent.
    Output,
    /// Too much memory waits to be sent.
    Memory,
}

#[derive(Debug)]
pub(super) struct Memory {
    budget: Budget,
    /// What the protocol engine holds beside the buffers.
    charge: Charge,
    /// Bytes moved, either way.
    pub(super) moved: u64,
    /// When the peer last owed nothing or had moved [`PROGRESS`], and how much had moved then.
    mark: (Instant, u64),
}

impl Memory {
    pub(super) fn new(cx: &mut ShardCx<'_>, nexus: Option<NexusKey>) -> Self {
        let of_nexus = nexus.and_then(|nexus| cx.budget(nexus)).cloned();
        // A discovery session has no buffers, but counts in the shard.
        let budget = of_nexus.unwrap_or_else(|| cx.pool().budget(usize::MAX));
        Self {
            charge: budget.charge(),
            budget,
            moved: 0,
            mark: (cx.now(), 0),
        }
    }
}

impl FullFeature {
    /// More than three quarters of the budget are used, and the peer does not read.
    pub(super) fn is_short_of_memory(&self) -> bool {
        let budget = &self.memory.budget;
        self.blocked && budget.in_use() > budget.cap() - budget.cap() / 4
    }

    /// Lets the initiator send less while much is held.
    pub(super) fn adapt_window(&mut self) {
        let depth = if self.memory.budget.is_tight() {
            1
        } else {
            u32::MAX
        };
        self.session.set_depth(depth);
    }

    /// Whether the peer has to send or to read something before memory is given back.
    fn is_owed(&self) -> bool {
        self.receiving > 0 || self.blocked && self.wire.has_output()
    }

    /// Brings the books up to date.
    pub(super) fn account(&mut self, now: Instant) {
        self.memory.charge.set(self.wire.held_bytes());
        let moved = self.memory.moved;
        if !self.is_owed() || moved - self.memory.mark.1 >= PROGRESS {
            self.memory.mark = (now, moved);
        }
        self.tell_counts();
    }

    fn tell_counts(&mut self) {
        let (wire, session) = (self.wire.statistics(), self.session.statistics());
        let (told, tally) = (&mut self.told, &self.service.tally);
        let tell = |told: &mut u64, count: u64, counter: &lunforge_core::stats::Counter| {
            if *told != count {
                counter.add(count - *told);
                *told = count;
            }
        };
        tell(&mut told.rejects, wire.rejects, &tally.rejects);
        tell(&mut told.text_cut, wire.text_cut, &tally.text_exchanges_cut);
        tell(
            &mut told.immediate_rejected,
            session.immediate_rejected,
            &tally.immediate_rejects,
        );
    }

    /// Since when the peer has owed something and not moved.
    pub(in crate::io) fn stalled_since(&self) -> Option<Instant> {
        let moves = self.memory.moved - self.memory.mark.1 >= PROGRESS;
        (self.is_owed() && !moves).then_some(self.memory.mark.0)
    }
}
