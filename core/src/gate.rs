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

/// Runs once: with true when the gate is closed and empty, then it must end in [`Gate::open`], at once or later; with
/// false when it was taken back before that.
pub type Action = Box<dyn FnOnce(bool) + Send>;

/// Names a closer of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

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
    waiting: VecDeque<(Ticket, Action)>,
    next: u64,
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
    pub fn close(&self, action: Action) -> Ticket {
        let ticket = {
            let mut closers = self.closers.lock();
            let ticket = Ticket(closers.next);
            closers.next += 1;
            closers.waiting.push_back((ticket, action));
            self.closed.store(true, Ordering::Release);
            ticket
        };
        self.act_if_empty();
        ticket
    }

    /// Whether a closer's action has not begun.
    pub fn waits(&self, ticket: Ticket) -> bool {
        let closers = self.closers.lock();
        closers.waiting.iter().any(|(t, _)| *t == ticket)
    }

    /// Takes a closer back whose action has not begun, and runs the action with false. True when the gate is open now
    /// because of that; false when somebody else has it closed, or the action has begun.
    pub fn withdraw(&self, ticket: Ticket) -> bool {
        let (action, open) = {
            let mut closers = self.closers.lock();
            let Some(at) = closers.waiting.iter().position(|(t, _)| *t == ticket) else {
                return false;
            };
            let taken = closers.waiting.remove(at);
            let open = closers.waiting.is_empty() && !closers.acting;
            if open {
                self.closed.store(false, Ordering::Release);
            }
            (taken, open)
        };
        if let Some((_, action)) = action {
            action(false);
        }
        open
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
            let Some((_, action)) = closers.waiting.pop_front() else {
                return;
            };
            closers.acting = true;
            action
        };
        action(true);
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
        gate.close(Box::new(move |_| {
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
            gate.close(Box::new(move |_| {
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

    #[test]
    fn a_closer_that_is_taken_back_leaves_the_gate_to_the_next_or_open() {
        let gate = Gate::new();
        let acted = Arc::new(AtomicU32::new(0));
        assert!(gate.enter(0));
        let close = |mark: u32| {
            let acted = Arc::clone(&acted);
            gate.close(Box::new(move |closed| {
                acted.fetch_add(if closed { mark } else { mark << 8 }, Ordering::Relaxed);
            }))
        };
        let (first, second) = (close(1), close(2));
        assert!(!gate.withdraw(first), "the second still wants it closed");
        assert!(!gate.withdraw(first), "once is enough");
        assert!(gate.withdraw(second));
        assert_eq!(acted.load(Ordering::Relaxed), 0x300);
        assert!(gate.enter(1));
        gate.leave(0);
        gate.leave(1);
        let third = close(4);
        assert!(!gate.withdraw(third), "its action has begun");
        assert_eq!(acted.load(Ordering::Relaxed), 0x304);
    }
}
