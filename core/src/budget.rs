//! Who holds how many bytes of a shard's memory: an account for the shard, and one for each session in it.
//!
//! A byte is counted where it is taken and given back when it is dropped, wherever that happens. The counts are relaxed
//! atomics: a cap may be missed by what other threads give back in the same moment, never by what the shard hands out,
//! since only the shard does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A holder of more than this part of its budget gets no command whose buffer alone exceeds the budget.
const FEW: usize = 8;

/// What one holder may have of something when `left` of its `whole` is left, what it wants taken off already. All that is
/// left while that is more than half; then less and less, so that n who take all they can get leave about an nth, in
/// whatever order they come. A few that do not let go starve nobody.
#[inline]
pub(crate) fn fair_part(left: usize, whole: usize) -> usize {
    if left > whole / 2 {
        left
    } else {
        // `whole / left` is 2 at least where it is defined.
        left / whole.checked_div(left).unwrap_or(1).max(1)
    }
}

/// Bytes in use, shared by a pool or a budget and what was taken from it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    used: AtomicUsize,
    /// The shard's, for the account of one session.
    whole: Option<Arc<Account>>,
}

impl Account {
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.used.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// What one session may hold of its shard's memory: the buffers of its commands from the moment they are admitted until
/// their data has left, and what its transport holds for it beside ([`Charge`]).
#[derive(Debug, Clone)]
pub struct Budget {
    account: Arc<Account>,
    cap: usize,
}

impl Budget {
    pub(crate) fn new(whole: &Arc<Account>, cap: usize) -> Self {
        let account = Account {
            used: AtomicUsize::new(0),
            whole: Some(Arc::clone(whole)),
        };
        Self {
            account: Arc::new(account),
            cap,
        }
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Bytes held now.
    pub fn in_use(&self) -> usize {
        self.account.used()
    }

    /// Bytes that may be held.
    pub fn cap(&self) -> usize {
        self.cap
    }

    /// Whether more than half of it is used: time to take less in.
    pub fn is_tight(&self) -> bool {
        self.in_use() > self.cap / 2
    }

    /// Whether so many bytes more may be taken. What exceeds the budget alone may be, as long as hardly anything else is
    /// held: no command is too big for a session that sends one at a time.
    #[inline]
    pub fn admits(&self, bytes: usize) -> bool {
        let used = self.in_use();
        used.saturating_add(bytes) <= self.cap || self.admits_alone(used, bytes)
    }

    #[cold]
    fn admits_alone(&self, used: usize, bytes: usize) -> bool {
        bytes > self.cap && used <= self.cap / FEW
    }

    /// Counts memory of a transport, of which there is nothing yet.
    pub fn charge(&self) -> Charge {
        Charge {
            account: Arc::clone(&self.account),
            bytes: 0,
        }
    }
}

/// Memory that is no I/O buffer, counted as if it were: staged input, responses that wait. Given back when dropped.
#[derive(Debug)]
pub struct Charge {
    account: Arc<Account>,
    bytes: usize,
}

impl Charge {
    /// Says how much it is now.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.account.add(bytes - self.bytes);
        } else if bytes < self.bytes {
            self.account.sub(self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use crate::buffer::BufferPool;

    #[test]
    fn a_byte_counts_for_the_session_and_for_the_shard_until_it_is_dropped() {
        let mut pool = BufferPool::new(1 << 20, 0);
        let budget = pool.budget(64 << 10);
        let buf = pool.take_within(&budget, 4096, || true).unwrap();
        let mut charge = budget.charge();
        charge.set(1000);
        assert_eq!((budget.in_use(), pool.in_use()), (5096, 5096));
        charge.set(10);
        std::thread::spawn(move || drop(buf)).join().unwrap();
        assert_eq!((budget.in_use(), pool.in_use()), (10, 10));
        drop(charge);
        assert_eq!((budget.in_use(), pool.in_use()), (0, 0));
    }

    #[test]
    fn a_command_above_the_budget_is_let_in_alone_and_others_only_within_it() {
        let mut pool = BufferPool::new(1 << 20, 0);
        let budget = pool.budget(16 << 10);
        let alone = pool.take_within(&budget, 64 << 10, || true).unwrap();
        assert!(!budget.admits(1) && budget.is_tight());
        drop(alone);
        let first = pool.take_within(&budget, 4 << 10, || true).unwrap();
        assert!(budget.admits(12 << 10) && !budget.admits(64 << 10));
        drop(first);
    }
}
