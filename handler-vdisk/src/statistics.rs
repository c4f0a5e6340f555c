//! Counts of reads and writes, kept in lanes so that shards do not disturb each other.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use lunforge_core::nexus::NexusId;
use parking_lot::Mutex;

/// Lanes; a nexus stays on one shard and so in one lane.
const LANES: usize = 8;

/// What log page 19h counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// READ commands.
    pub(crate) reads: u64,
    /// WRITE commands.
    pub(crate) writes: u64,
    /// Logical blocks that READ commands asked for.
    pub(crate) blocks_read: u64,
    /// Logical blocks that came with WRITE commands.
    pub(crate) blocks_written: u64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane {
    reads: AtomicU64,
    writes: AtomicU64,
    blocks_read: AtomicU64,
    blocks_written: AtomicU64,
}

/// Counts since the disk was opened, and since they were last set to zero.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    lanes: [Lane; LANES],
    zero: Mutex<Counts>,
}

/// A nexus id is a number that counts up; its low bits are as good as any hash.
#[derive(Default)]
struct LowBits(u64);

impl Hasher for LowBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }
}

impl Statistics {
    fn lane(&self, nexus: NexusId) -> Option<&Lane> {
        let mut hasher = LowBits::default();
        nexus.hash(&mut hasher);
        let at = hasher.finish() % u64::try_from(LANES).unwrap_or(1);
        self.lanes.get(usize::try_from(at).unwrap_or(0))
    }

    /// A READ of `blocks`. Relaxed: each is a count, nothing is published through it.
    pub(crate) fn read(&self, nexus: NexusId, blocks: u64) {
        if let Some(lane) = self.lane(nexus) {
            lane.reads.fetch_add(1, Ordering::Relaxed);
            lane.blocks_read.fetch_add(blocks, Ordering::Relaxed);
        }
    }

    /// A WRITE of `blocks`.
    pub(crate) fn write(&self, nexus: NexusId, blocks: u64) {
        if let Some(lane) = self.lane(nexus) {
            lane.writes.fetch_add(1, Ordering::Relaxed);
            lane.blocks_written.fetch_add(blocks, Ordering::Relaxed);
        }
    }

    fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        for lane in &self.lanes {
            sum.reads += lane.reads.load(Ordering::Relaxed);
            sum.writes += lane.writes.load(Ordering::Relaxed);
            sum.blocks_read += lane.blocks_read.load(Ordering::Relaxed);
            sum.blocks_written += lane.blocks_written.load(Ordering::Relaxed);
        }
        sum
    }

    /// Since they were last set to zero.
    pub(crate) fn counts(&self) -> Counts {
        let (sum, zero) = (self.sum(), *self.zero.lock());
        Counts {
            reads: sum.reads.wrapping_sub(zero.reads),
            writes: sum.writes.wrapping_sub(zero.writes),
            blocks_read: sum.blocks_read.wrapping_sub(zero.blocks_read),
            blocks_written: sum.blocks_written.wrapping_sub(zero.blocks_written),
        }
    }

    /// Sets the counts to zero; whether they were not.
    pub(crate) fn clear(&self) -> bool {
        let changed = self.counts() != Counts::default();
        *self.zero.lock() = self.sum();
        changed
    }
}
