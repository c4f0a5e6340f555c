//! What there is on a shard now: for whoever watches it, and for tests that nothing is left behind.

use std::collections::BTreeMap;

use super::{Shard, ShardCore};
use crate::nexus::NexusId;

/// Counts of what a shard keeps. All but [`Census::buffer_bytes`] are zero when its sessions are closed and its backends
/// have given everything back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Sources: listeners, connections, copies.
    pub sources: usize,
    /// Sessions.
    pub nexuses: usize,
    /// Commands, those that were given up and that a backend still has included.
    pub commands: usize,
    /// Aborts and resets that are not complete.
    pub task_management: usize,
    /// Commands that wait at a gate, for a range of blocks, or behind an ACA.
    pub waiting: usize,
    /// Ranges of blocks that are kept free.
    pub ranges: usize,
    /// Deadlines of closers of gates.
    pub closers: usize,
    /// Other timers, those of sources included.
    pub timers: usize,
    /// Third-party copies.
    pub copies: usize,
    /// Bytes of buffers that are out, and never more than [`Limits::buffer_bytes`](super::Limits::buffer_bytes).
    pub buffer_bytes: usize,
}

impl ShardCore {
    pub(super) fn census(&self) -> Census {
        let at_gate: usize = self.at_gate.values().map(|queue| queue.len()).sum();
        let blocked: usize = self.blocked.values().map(Vec::len).sum();
        Census {
            sources: self.live_sources,
            nexuses: self.nexuses.len(),
            commands: self.commands.len(),
            task_management: self.aborts.len() + self.resets.len(),
            waiting: at_gate + blocked + self.runnable.len(),
            ranges: self.ranges.len(),
            closers: self.closers.len(),
            timers: self.timers.len() + self.deadlines.len(),
            copies: self.copies.len(),
            buffer_bytes: self.pool.in_use(),
        }
    }
}

impl ShardCore {
    /// Commands of initiators that each session has under way; sessions without any are left out.
    pub(super) fn commands_of_sessions(&self) -> BTreeMap<NexusId, u64> {
        let mut counts = BTreeMap::new();
        for (_, command) in self.commands.iter().filter(|(_, command)| !command.inner) {
            *counts.entry(command.nexus.id()).or_default() += 1;
        }
        counts
    }
}

impl Shard {
    /// What there is now. Takes as long as there are units with waiting commands.
    pub fn census(&self) -> Census {
        self.core.census()
    }
}
