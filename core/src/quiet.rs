//! A bound on log lines of one kind that somebody else can cause.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Over which time lines are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Lets so many lines a minute through, and tells the first one after that how many were left out.
///
/// ```
/// use lunforge_core::quiet::Quiet;
/// let refused = Quiet::new(1);
/// let now = std::time::Instant::now();
/// assert_eq!(refused.say(now), Some(0));
/// assert_eq!(refused.say(now), None);
/// assert_eq!(refused.say(now + std::time::Duration::from_secs(61)), Some(1));
/// ```
#[derive(Debug)]
pub struct Quiet {
    per_minute: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    said: u32,
    left_out: u64,
}

impl Quiet {
    /// Lines a minute, at least one.
    pub const fn new(per_minute: u32) -> Self {
        Self {
            per_minute: if per_minute == 0 { 1 } else { per_minute },
            state: Mutex::new(State {
                since: None,
                said: 0,
                left_out: 0,
            }),
        }
    }

    /// Whether a line may be written now; then also how many were left out since the last one. Any thread; does not
    /// block for longer than a few instructions.
    pub fn say(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let begun = state.since.get_or_insert(now);
        if now.saturating_duration_since(*begun) >= WINDOW {
            *begun = now;
            state.said = 0;
        }
        if state.said < self.per_minute {
            state.said += 1;
            return Some(std::mem::take(&mut state.left_out));
        }
        state.left_out = state.left_out.saturating_add(1);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_writes_its_share_and_counts_the_rest() {
        let quiet = Quiet::new(3);
        let begun = Instant::now();
        let said = (0..100_000u32)
            .filter(|i| {
                quiet
                    .say(begun + Duration::from_micros((*i).into()))
                    .is_some()
            })
            .count();
        assert_eq!(said, 3);
        let later = begun + WINDOW;
        assert_eq!(quiet.say(later), Some(99_997));
        assert_eq!(quiet.say(later), Some(0));
    }
}
