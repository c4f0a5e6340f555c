//! Buffers are nearly used up: sessions whose peers do not move are closed, so that the others live.

use std::time::Duration;

use super::{Shard, SourceId};

/// How often it is looked for such sessions at most: who is closed needs a moment to give back what it holds.
const PAUSE: Duration = Duration::from_millis(100);

impl Shard {
    /// Closes stalled holders, the biggest first, until enough would be free.
    #[cold]
    pub(super) fn shed(&mut self) {
        let now = self.core.now;
        if self.core.next_shed.is_some_and(|next| now < next) {
            return;
        }
        self.core.next_shed = Some(now + PAUSE);
        let mut holders: Vec<(usize, Vec<SourceId>)> = self
            .core
            .nexuses
            .iter()
            .filter(|(_, nexus)| !nexus.closing)
            .map(|(_, nexus)| (nexus.budget.in_use(), nexus.sources.clone()))
            .filter(|(held, _)| *held > 0)
            .collect();
        holders.sort_unstable_by(|a, b| b.cmp(a));
        let mut wanted = self.core.pool.excess();
        for (held, mut sources) in holders {
            if wanted == 0 {
                break;
            }
            sources.retain(|&id| self.is_stalled(id));
            if !sources.is_empty() {
                self.core.peers[self.core.lane].counters.shed.add(1);
                wanted = wanted.saturating_sub(held);
            }
            for id in sources {
                self.call(id, |source, cx| source.shed(cx));
            }
        }
        self.settle();
    }

    fn is_stalled(&mut self, id: SourceId) -> bool {
        let now = self.core.now;
        if self.core.slot(id).is_none() {
            return false;
        }
        self.sources
            .get(id.index as usize)
            .and_then(Option::as_deref)
            .and_then(|source| source.stalled_since(now))
            .is_some_and(|since| {
                now.saturating_duration_since(since) >= self.core.limits.stall_time
            })
    }
}
