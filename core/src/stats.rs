//! Counters per session and per logical unit. Relaxed atomics: each is a count, nothing is published through it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Present value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What went through a session, or to a logical unit from one shard. One cache line, so that shards do not
/// disturb each other.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct IoStats {
    /// Commands without data.
    pub none_commands: Counter,
    /// Commands that sent Data-In.
    pub read_commands: Counter,
    /// Commands that took Data-Out.
    pub write_commands: Counter,
    /// Bytes of Data-In.
    pub read_bytes: Counter,
    /// Bytes of Data-Out.
    pub write_bytes: Counter,
    /// Commands that ended with another status than GOOD or CONDITION MET.
    pub failed_commands: Counter,
    /// Commands aborted by task management or the loss of their session.
    pub aborted_commands: Counter,
}

impl IoStats {
    pub(crate) fn count(&self, read: usize, written: usize, failed: bool) {
        if read > 0 {
            self.read_commands.add(1);
            self.read_bytes.add(read as u64);
        } else if written > 0 {
            self.write_commands.add(1);
            self.write_bytes.add(written as u64);
        } else {
            self.none_commands.add(1);
        }
        if failed {
            self.failed_commands.add(1);
        }
    }
}
