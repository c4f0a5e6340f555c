//! The gate of a logical unit: commands pass, a closer waits until none is inside.
//!
//! Each shard counts its own commands inside, in a counter of its own cache line. Closing is rare (LU RESET, a
//! resize, a change of rights) and asynchronous: [`Gate::close`] queues an action that runs on whichever thread
//! sees the last command leave. Nobody ever sleeps on a gate.
//!
//! Why it is right: entering is "count up, fence, look at `closed`"; closing is "set `closed`, fence, look at the
//! counters". Of two such threads at least one sees the other (Dekker), so no command is inside when the action
//! runs; and a command that leaves does "count down, fence, look at `closed`", so that the last one out, or the
//! closer itself, finds the counters at zero. The fence before the look at the counters must come after `closed` was
//! seen set: one that only precedes it lets a command slip in (loom found that). `tests/loom_gate.rs` checks all
//! interleavings.

use std::collections::VecDeque;

use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, fence};

/// Counters per gate. Shards beyond that share.
#[cfg(not(loom))]
const LANES: usize = 8;
#[cfg(loom)]
const LANES: usize = 2;

/// Runs once the gate is closed and empty. It must end in [`Gate::open`], at once or later.
pub type Action = Box<dyn FnOnce() + Send>;

#[repr(align(64))]
#[derive(Default)]
struct Lane(AtomicUsize);

/// See the module's head.
pub struct Gate {
    closed: AtomicBool,
    lanes: [Lane; LANES],
    closers: Mutex<Closers>,
}

#[derive(Default)]
struct Closers {
    waiting: VecDeque<Action>,
    /// The action of a closer has begun and the gate has not been opened since.
    acting: bool,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("inside", &self.inside())
            .finish_non_exhaustive()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// An open gate.
    pub fn new() -> Self {
        Self {
            closed: AtomicBool::new(false),
            lanes: std::array::from_fn(|_| Lane::default()),
            closers: Mutex::new(Closers::default()),
        }
    }

    /// Lets a command of shard `lane` in, unless the gate is closed.
    pub fn enter(&self, lane: usize) -> bool {
        // Relaxed: the fence below orders it against the closer's look at the counters.
        self.lanes[lane % LANES].0.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // Acquire: what a closer's action did is seen by whoever finds the gate open again.
        if !self.closed.load(Ordering::Acquire) {
            return true;
        }
        self.leave(lane);
        false
    }

    /// A command that entered is done, or was given up.
    pub fn leave(&self, lane: usize) {
        // Release: the command's effects come before the action that finds the counter at zero.
        self.lanes[lane % LANES].0.fetch_sub(1, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Acquire) {
            self.act_if_empty();
        }
    }

    /// Closes the gate and runs `action` when it is empty: before this returns, or on the thread whose command
    /// leaves last. Several closers take turns.
    pub fn close(&self, action: Action) {
        {
            let mut closers = self.closers.lock();
            closers.waiting.push_back(action);
            self.closed.store(true, Ordering::Release);
        }
        self.act_if_empty();
    }

    /// Ends an action. True when the gate is open now, false when another closer has its turn.
    pub fn open(&self) -> bool {
        let open = {
            let mut closers = self.closers.lock();
            closers.acting = false;
            let open = closers.waiting.is_empty();
            if open {
                self.closed.store(false, Ordering::Release);
            }
            open
        };
        if !open {
            self.act_if_empty();
        }
        open
    }

    /// Commands inside; exact only while the gate is closed.
    pub fn inside(&self) -> usize {
        self.lanes.iter().map(|l| l.0.load(Ordering::Acquire)).sum()
    }

    fn act_if_empty(&self) {
        let action = {
            let mut closers = self.closers.lock();
            // Whoever comes here has seen `closed`; only a fence after that makes its look at the counters count.
            fence(Ordering::SeqCst);
            if closers.acting || self.inside() != 0 {
                return;
            }
            let Some(action) = closers.waiting.pop_front() else {
                return;
            };
            closers.acting = true;
            action
        };
        action();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn an_empty_gate_acts_at_once() {
        let gate = Gate::new();
        let ran = Arc::new(AtomicU32::new(0));
        let r = Arc::clone(&ran);
        gate.close(Box::new(move || {
            r.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        assert!(!gate.enter(0));
        assert!(gate.open());
        assert!(gate.enter(0));
    }

    #[test]
    fn the_last_command_out_runs_the_action() {
        let gate = Gate::new();
        let ran = Arc::new(AtomicU32::new(0));
        assert!(gate.enter(0) && gate.enter(1));
        for _ in 0..2 {
            let r = Arc::clone(&ran);
            gate.close(Box::new(move || {
                r.fetch_add(1, Ordering::Relaxed);
            }));
        }
        gate.leave(0);
        assert_eq!(ran.load(Ordering::Relaxed), 0);
        gate.leave(1);
        assert_eq!(ran.load(Ordering::Relaxed), 1, "one closer at a time");
        assert!(!gate.open());
        assert_eq!(ran.load(Ordering::Relaxed), 2);
        assert!(gate.open());
    }
}
