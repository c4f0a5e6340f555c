//! What the recorders of a transport may take together.
//!
//! A recorder begins with little and takes more as its connection talks. When all have taken what they may, one that is
//! there forgets earlier than it would, and a new connection is not recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use lunforge_core::quiet::Quiet;
use lunforge_core::stats::Counter;

/// The memory of all recorders of a transport.
#[derive(Debug)]
pub(crate) struct Memory {
    cap: usize,
    used: AtomicUsize,
    /// Recorders that did not get what they wanted.
    pub(crate) shortened: Counter,
    /// Connections without a recorder.
    pub(crate) unrecorded: Counter,
    told: Quiet,
}

impl Memory {
    /// So many bytes, and so many log lines a minute.
    pub(crate) fn new(cap: usize, log_lines: u32) -> Arc<Self> {
        Arc::new(Self {
            cap,
            used: AtomicUsize::new(0),
            shortened: Counter::default(),
            unrecorded: Counter::default(),
            told: Quiet::new(log_lines),
        })
    }

    /// What a new recorder begins with. `None`, counted and said: there is nothing left.
    pub(super) fn begin(self: &Arc<Self>, bytes: usize, now: Instant) -> Option<Grant> {
        if self.take(bytes) {
            let memory = Arc::clone(self);
            return Some(Grant {
                memory,
                bytes,
                short: false,
            });
        }
        self.unrecorded.add(1);
        self.tell("connections are not recorded", now);
        None
    }

    fn take(&self, bytes: usize) -> bool {
        // Relaxed: a count that publishes nothing.
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.cap);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn tell(&self, what: &'static str, now: Instant) {
        if let Some(left_out) = self.told.say(now) {
            tracing::warn!(
                bytes = self.cap,
                left_out,
                "the memory of recorders is used up: {what}"
            );
        }
    }
}

/// One recorder's part; given back when dropped.
#[derive(Debug)]
pub(super) struct Grant {
    memory: Arc<Memory>,
    bytes: usize,
    /// It was refused before.
    short: bool,
}

impl Grant {
    /// A part of what nobody else has a part of, and has no bound.
    pub(super) fn unbounded() -> Self {
        Self {
            memory: Memory::new(usize::MAX, 1),
            bytes: 0,
            short: false,
        }
    }

    /// Takes so many bytes more, if there are as many.
    #[cold]
    pub(super) fn more(&mut self, bytes: usize, now: Instant) -> bool {
        let got = self.memory.take(bytes);
        if got {
            self.bytes += bytes;
        } else if !std::mem::replace(&mut self.short, true) {
            self.memory.shortened.add(1);
            self.memory
                .tell("recordings are shorter than they should be", now);
        }
        got
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_granted_never_exceeds_the_whole_and_comes_back() {
        let (memory, now) = (Memory::new(100, 1), Instant::now());
        let mut first = memory.begin(60, now).unwrap();
        assert!(memory.begin(41, now).is_none());
        let second = memory.begin(40, now).unwrap();
        assert!(!first.more(1, now) && !first.more(usize::MAX, now));
        drop(second);
        assert!(first.more(40, now));
        assert_eq!(memory.used.load(Ordering::Relaxed), 100);
        drop(first);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
        assert_eq!(
            (memory.shortened.value(), memory.unrecorded.value()),
            (1, 1)
        );
    }
}
