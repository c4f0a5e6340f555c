//! How a unit's backend answers: what it let wait too long, and whether it lives.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::stats::Counter;

/// Shards with an age of their own; further ones share, and then the age may be that of either.
const LANES: usize = 8;
/// A backend that comes and goes is spoken of this often.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Counters and state of a unit's backend. Relaxed atomics: each is a count, nothing is published through it.
#[derive(Debug, Default)]
pub struct Backend {
    timed_out: Counter,
    detached: AtomicUsize,
    /// In milliseconds, as of the last look of the shard.
    oldest: [AtomicU64; LANES],
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    dead: bool,
}

impl Backend {
    /// Commands that were answered by the target because the backend did not, in
    /// [`Ladder::backend`](crate::deadline::Ladder::backend).
    pub fn timed_out(&self) -> u64 {
        self.timed_out.value()
    }

    /// Operations that the backend still has although their commands were given up, for that reason or by task
    /// management.
    pub fn detached(&self) -> usize {
        self.detached.load(Ordering::Relaxed)
    }

    /// Whether a command was given up and the backend has not ended all such since.
    pub fn is_dead(&self) -> bool {
        self.detached() > 0
    }

    /// For how long the oldest command has been with the backend, given up or not; a second late at most. Zero: there is
    /// none, or none that old.
    pub fn oldest(&self) -> Duration {
        let ages = self.oldest.iter().map(|age| age.load(Ordering::Relaxed));
        Duration::from_millis(ages.max().unwrap_or(0))
    }

    pub(crate) fn set_oldest(&self, lane: usize, age: Duration) {
        if let Some(oldest) = self.oldest.get(lane % LANES) {
            let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            oldest.store(age, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_timed_out(&self) {
        self.timed_out.add(1);
    }

    /// A command was given up; `serial` tells of which unit. Whether that was said.
    pub(crate) fn gave_up(&self, now: Instant, serial: impl FnOnce() -> String) -> bool {
        // The lock keeps what is said in the order of what is counted.
        let mut said = self.said.lock();
        if self.detached.fetch_add(1, Ordering::Relaxed) > 0 {
            return false;
        }
        let lately = said.last.is_some_and(|last| now < last + SAID_EVERY);
        if !lately {
            (said.last, said.dead) = (Some(now), true);
            tracing::error!(
                unit = serial(),
                "the backend does not answer; its commands are given up"
            );
        }
        !lately
    }

    /// The backend ended a command that was given up. Whether it was said that it lives.
    pub(crate) fn ended(&self, serial: impl FnOnce() -> String) -> bool {
        let mut said = self.said.lock();
        if self.detached.fetch_sub(1, Ordering::Relaxed) != 1 {
            return false;
        }
        let told = std::mem::take(&mut said.dead);
        if told {
            tracing::warn!(
                unit = serial(),
                timed_out = self.timed_out(),
                "the backend answers again"
            );
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_dead_from_the_first_command_given_up_to_the_end_of_the_last() {
        let backend = Backend::default();
        let (now, name) = (Instant::now(), String::new);
        assert!(backend.gave_up(now, name));
        assert!(!backend.gave_up(now, name) && !backend.gave_up(now, name));
        assert!(!backend.ended(name) && !backend.ended(name));
        assert!(backend.is_dead() && backend.detached() == 1);
        assert!(backend.ended(name) && !backend.is_dead());
        // Again within a minute: nobody is told.
        assert!(!backend.gave_up(now, name) && !backend.ended(name));
        assert!(backend.gave_up(now + SAID_EVERY, name));
    }
}
