//! Failed authentications, by address and by name, and what follows from them.
//!
//! Guessing has to be slow, and nobody may be able to lock somebody else out. So:
//!
//! - Only answers that say "no" are held back, longer with each failure of the address or of the name. Who proves himself
//!   is answered at once, whatever others did under his name. So a guesser need not wait for his answer: the delay is for
//!   initiators that try again and again, and does not bound guesses.
//! - Failures of a *name* never lead to a refusal: anybody can claim a name, from anywhere. A login resets them.
//! - Failures of an *address* lead to a refusal for a while, before anything is read, unless somebody has proved himself
//!   from there before: then good initiators are behind it. They still come in, but nobody else does: a right answer for a
//!   user that has not proved himself from there before is answered like a wrong one. A login does not reset failures. So
//!   one account is not enough to guess at all others; what is left is to guess, from his own address, at one who logs in
//!   from there.
//! - Of one address only a few answers are held back at a time; further failures are closed without an answer.
//!
//! The tables are bounded; whose last failure is the oldest is forgotten first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Limits;
use super::doorway::Origin;

/// Answers of one address that are held back at a time.
const HELD_BACK: u32 = 4;

#[derive(Debug)]
pub(super) struct Offenders {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    addresses: Recent<Origin, Failures>,
    names: Recent<String, Failures>,
    /// Addresses from which somebody has proved himself.
    good: Recent<Origin, ()>,
    /// The users (CHAP_N) who have, and from where.
    users: Recent<(Origin, String), ()>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    since: Option<Instant>,
    refused_until: Option<Instant>,
    held_back: u32,
}

impl Failures {
    fn add(&mut self, now: Instant, window: Duration) -> u32 {
        let since = self.since.get_or_insert(now);
        if now.saturating_duration_since(*since) >= window {
            (*since, self.count) = (now, 0);
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

/// What becomes of a failed authentication.
#[derive(Debug)]
pub(super) enum Consequence {
    /// The answer is held back so long, and with it this.
    Later(Duration, HeldBack),
    /// There is no answer.
    Silence,
}

impl Offenders {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::new(State {
                addresses: Recent::new(limits.offenders),
                names: Recent::new(limits.offenders),
                good: Recent::new(limits.offenders),
                users: Recent::new(limits.offenders),
            }),
        })
    }

    /// Somebody who said that this is his name did not prove it.
    pub(super) fn failed(self: &Arc<Self>, from: Origin, name: &str, now: Instant) -> Consequence {
        let window = self.limits.failure_window;
        let mut state = self.state.lock();
        let by_name = state
            .names
            .touch(name.to_ascii_lowercase())
            .add(now, window);
        let address = state.addresses.touch(from);
        let by_address = address.add(now, window);
        if by_address >= self.limits.failures_refused {
            address.refused_until = Some(now + self.limits.refusal_time);
        }
        if address.held_back >= HELD_BACK {
            return Consequence::Silence;
        }
        address.held_back += 1;
        let held = HeldBack {
            offenders: Arc::clone(self),
            from,
        };
        Consequence::Later(self.delay(by_address.max(by_name)), held)
    }

    fn delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(self.limits.failures).min(30);
        let longest = self.limits.failure_delay_max.max(self.limits.failure_delay);
        (self.limits.failure_delay.saturating_mul(1 << doublings)).min(longest)
    }

    /// Somebody of this name has proved that he is this user.
    pub(super) fn proved(&self, from: Origin, name: &str, user: &str) {
        let mut state = self.state.lock();
        state.names.remove(&name.to_ascii_lowercase());
        state.good.touch(from);
        state.users.touch((from, user.to_owned()));
    }

    /// Whether connections from there are refused now.
    pub(super) fn refuses(&self, from: Origin, now: Instant) -> bool {
        let state = self.state.lock();
        state.is_refused(from, now) && state.good.get(&from).is_none()
    }

    /// Whether the right answer of this user is not to be taken now: he may have been guessed.
    pub(super) fn doubts(&self, from: Origin, user: &str, now: Instant) -> bool {
        let state = self.state.lock();
        state.is_refused(from, now) && state.users.get(&(from, user.to_owned())).is_none()
    }
}

impl State {
    fn is_refused(&self, from: Origin, now: Instant) -> bool {
        let until = self.addresses.get(&from).and_then(|a| a.refused_until);
        until.is_some_and(|until| now < until)
    }
}

/// An answer that is held back; dropped when it is given.
#[derive(Debug)]
pub(super) struct HeldBack {
    offenders: Arc<Offenders>,
    from: Origin,
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        let mut state = self.offenders.state.lock();
        // Forgotten meanwhile, perhaps, and begun anew.
        if let Some(address) = state.addresses.entries.get_mut(&self.from) {
            address.1.held_back = address.1.held_back.saturating_sub(1);
        }
    }
}

/// A map of the `cap` keys that were touched last.
#[derive(Debug)]
struct Recent<K, V> {
    cap: usize,
    entries: HashMap<K, (u64, V)>,
    by_age: BTreeMap<u64, K>,
    next: u64,
}

impl<K: Clone + Eq + Hash, V: Default> Recent<K, V> {
    fn new(cap: usize) -> Self {
        Self {
            cap: cap.max(1),
            entries: HashMap::new(),
            by_age: BTreeMap::new(),
            next: 0,
        }
    }

    fn touch(&mut self, key: K) -> &mut V {
        self.next += 1;
        let age = self.next;
        if let Some((old, _)) = self.entries.get(&key) {
            self.by_age.remove(old);
        } else if self.entries.len() >= self.cap
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.by_age.insert(age, key.clone());
        let entry = self.entries.entry(key).or_default();
        entry.0 = age;
        &mut entry.1
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    fn remove(&mut self, key: &K) {
        if let Some((age, _)) = self.entries.remove(key) {
            self.by_age.remove(&age);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "iqn.2026-11.org.example:good";
    const USER: &str = "user";

    fn from(last: u8) -> Origin {
        Origin::of(([192, 0, 2, last], 1).into())
    }

    fn offenders() -> Arc<Offenders> {
        Offenders::new(Limits {
            offenders: 16,
            ..Limits::default()
        })
    }

    fn delay(consequence: &Consequence) -> Option<u64> {
        match consequence {
            Consequence::Later(delay, _) => Some(delay.as_secs()),
            Consequence::Silence => None,
        }
    }

    #[test]
    fn n16_the_delay_grows_to_its_bound_and_an_address_is_refused_for_a_while() {
        let (offenders, now) = (offenders(), Instant::now());
        let delays: Vec<_> = (0..30)
            .map(|_| delay(&offenders.failed(from(1), NAME, now)))
            .collect();
        assert_eq!(delays[..9], [1, 1, 1, 1, 1, 2, 4, 8, 8].map(Some));
        assert!(offenders.refuses(from(1), now) && !offenders.refuses(from(2), now));
        assert!(!offenders.refuses(from(1), now + Duration::from_secs(60)));
        // The window is over: it begins anew.
        let later = now + Duration::from_secs(61);
        assert_eq!(delay(&offenders.failed(from(1), NAME, later)), Some(1));
    }

    #[test]
    fn n16_nobody_locks_a_good_initiator_out() {
        let (offenders, now) = (offenders(), Instant::now());
        offenders.proved(from(1), NAME, USER);
        for last in 0..200 {
            // From everywhere in its name, and from its own address.
            offenders.failed(from(last % 4 + 10), NAME, now);
            offenders.failed(from(1), "iqn.2026-11.org.example:other", now);
        }
        assert!(!offenders.refuses(from(1), now) && !offenders.doubts(from(1), USER, now));
        assert!(offenders.refuses(from(10), now) && offenders.doubts(from(1), "another", now));
    }

    #[test]
    fn n16_a_login_forgets_the_failures_of_its_name_and_not_of_its_address() {
        let (offenders, now) = (offenders(), Instant::now());
        for _ in 0..8 {
            offenders.failed(from(1), NAME, now);
        }
        offenders.proved(from(1), NAME, USER);
        assert_eq!(delay(&offenders.failed(from(2), NAME, now)), Some(1));
        assert_eq!(delay(&offenders.failed(from(1), NAME, now)), Some(8));
    }

    #[test]
    fn n16_of_one_address_few_answers_are_held_back_at_a_time() {
        let (offenders, now) = (offenders(), Instant::now());
        let mut held: Vec<_> = (0..4)
            .map(|_| offenders.failed(from(1), NAME, now))
            .collect();
        assert!(held.iter().all(|held| delay(held).is_some()));
        assert_eq!(delay(&offenders.failed(from(1), NAME, now)), None);
        assert!(delay(&offenders.failed(from(2), NAME, now)).is_some());
        held.pop();
        assert!(delay(&offenders.failed(from(1), NAME, now)).is_some());
    }

    #[test]
    fn n16_the_tables_are_bounded_whoever_comes() {
        let (offenders, now) = (offenders(), Instant::now());
        for i in 0..10_000u32 {
            let address = std::net::SocketAddr::from((i.to_be_bytes(), 1));
            let _ = offenders.failed(Origin::of(address), &format!("iqn.{i}"), now);
            offenders.proved(Origin::of(address), "iqn.x", USER);
        }
        let state = offenders.state.lock();
        for (entries, ages) in [
            (state.addresses.entries.len(), state.addresses.by_age.len()),
            (state.names.entries.len(), state.names.by_age.len()),
            (state.good.entries.len(), state.good.by_age.len()),
            (state.users.entries.len(), state.users.by_age.len()),
        ] {
            assert_eq!((entries, ages), (16, 16));
        }
    }
}
