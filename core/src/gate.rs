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
    /// Those of [`Gate::close`] before those of [`Gate::close_patiently`].
    waiting: VecDeque<Waiting>,
    next: u64,
    /// The action of a closer has begun and the gate has not been opened since.
    acting: bool,
    /// A thread is in the loop of [`Gate::act_if_empty`]. An action that opens the gate before it returns leaves the next
    /// closer to that, however many there are: no recursion.
    passing: bool,
    /// The gate is open between two patient closers; which time that is.
    breath: Option<u64>,
    breaths: u64,
}

struct Waiting {
    ticket: Ticket,
    action: Action,
    patient: bool,
}

/// How a gate stands at the end of an action, or after a closer was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// Open.
    Open,
    /// Open for the commands that waited; then [`Gate::close_again`] has to be called with this.
    Breath(u64),
    /// Another closer has its turn.
    Closed,
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
        self.push(action, false)
    }

    /// As [`Gate::close`], for a closer that comes after those of [`Gate::close`], and that lets the commands in which
    /// waited while another closer of its kind acted.
    pub fn close_patiently(&self, action: Action) -> Ticket {
        self.push(action, true)
    }

    fn push(&self, action: Action, patient: bool) -> Ticket {
        let ticket = {
            let mut closers = self.closers.lock();
            let ticket = Ticket(closers.next);
            closers.next += 1;
            let place = if patient {
                closers.waiting.len()
            } else {
                closers.breath = None;
                closers.waiting.partition_point(|w| !w.patient)
            };
            let waiting = Waiting {
                ticket,
                action,
                patient,
            };
            closers.waiting.insert(place, waiting);
            if closers.breath.is_none() {
                self.closed.store(true, Ordering::Release);
            }
            ticket
        };
        self.act_if_empty();
        ticket
    }

    /// Whether a closer's action has not begun.
    pub fn waits(&self, ticket: Ticket) -> bool {
        let closers = self.closers.lock();
        closers.waiting.iter().any(|w| w.ticket == ticket)
    }

    /// Takes a closer back whose action has not begun, and runs the action with false. When it was the next one, the gate
    /// stands then as at the end of an action: the commands that waited for it do not wait for the closer behind it as
    /// well. Else, and when the action has begun, [`Opened::Closed`]: for nobody anything changes.
    pub fn withdraw(&self, ticket: Ticket) -> Opened {
        let (taken, opened) = {
            let mut closers = self.closers.lock();
            let Some(at) = closers.waiting.iter().position(|w| w.ticket == ticket) else {
                return Opened::Closed;
            };
            let taken = closers.waiting.remove(at);
            let next = at == 0 && !closers.acting && closers.breath.is_none();
            let opened = if next {
                self.let_in(&mut closers)
            } else {
                Opened::Closed
            };
            (taken, opened)
        };
        if let Some(Waiting { action, .. }) = taken {
            action(false);
        }
        opened
    }

    /// Opens the gate, unless the next closer is one that does not wait for commands.
    fn let_in(&self, closers: &mut Closers) -> Opened {
        let opened = match closers.waiting.front() {
            None => Opened::Open,
            Some(next) if next.patient => {
                closers.breaths += 1;
                Opened::Breath(closers.breaths)
            }
            Some(_) => Opened::Closed,
        };
        closers.breath = match opened {
            Opened::Breath(breath) => Some(breath),
            _ => None,
        };
        if opened != Opened::Closed {
            self.closed.store(false, Ordering::Release);
        }
        opened
    }

    /// Ends an action.
    pub fn open(&self) -> Opened {
        let opened = {
            let mut closers = self.closers.lock();
            closers.acting = false;
            self.let_in(&mut closers)
        };
        if opened == Opened::Closed {
            self.act_if_empty();
        }
        opened
    }

    /// The commands that waited have entered: what [`Opened::Breath`] promised is kept. One that is over already, ended
    /// by a closer that does not wait, says nothing of a later one.
    pub fn close_again(&self, breath: u64) {
        {
            let mut closers = self.closers.lock();
            if closers.breath != Some(breath) {
                return;
            }
            closers.breath = None;
            if !closers.waiting.is_empty() {
                self.closed.store(true, Ordering::Release);
            }
        }
        self.act_if_empty();
    }

    /// Commands inside; exact only while the gate is closed.
    pub fn inside(&self) -> usize {
        self.lanes.iter().map(|l| l.0.load(Ordering::Acquire)).sum()
    }

    /// Runs actions until one keeps the gate closed, or there is none, or a command is inside.
    fn act_if_empty(&self) {
        while let Some(action) = self.next_action() {
            action(true);
            self.closers.lock().passing = false;
        }
    }

    fn next_action(&self) -> Option<Action> {
        let mut closers = self.closers.lock();
        // Whoever comes here has seen `closed`; only a fence after that makes its look at the counters count.
        fence(Ordering::SeqCst);
        if closers.acting || closers.passing || closers.breath.is_some() || self.inside() != 0 {
            return None;
        }
        let Waiting { action, .. } = closers.waiting.pop_front()?;
        (closers.acting, closers.passing) = (true, true);
        Some(action)
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
        assert_eq!(gate.open(), Opened::Open);
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
        assert_eq!(gate.open(), Opened::Closed);
        assert_eq!(ran.load(Ordering::Relaxed), 2);
        assert_eq!(gate.open(), Opened::Open);
    }

    #[test]
    fn many_closers_that_open_the_gate_at_once_do_not_exhaust_the_stack() {
        const MANY: u32 = 50_000;
        let gate = Arc::new(Gate::new());
        let ran = Arc::new(AtomicU32::new(0));
        assert!(gate.enter(0));
        for _ in 0..MANY {
            let (inner, r) = (Arc::clone(&gate), Arc::clone(&ran));
            gate.close(Box::new(move |_| {
                r.fetch_add(1, Ordering::Relaxed);
                inner.open();
            }));
        }
        gate.leave(0);
        assert_eq!(ran.load(Ordering::Relaxed), MANY);
        assert!(gate.enter(0));
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
        let taken = gate.withdraw(first);
        assert_eq!(taken, Opened::Closed, "the second still wants it closed");
        assert_eq!(gate.withdraw(first), Opened::Closed, "once is enough");
        assert_eq!(gate.withdraw(second), Opened::Open);
        assert_eq!(acted.load(Ordering::Relaxed), 0x300);
        assert!(gate.enter(1));
        gate.leave(0);
        gate.leave(1);
        let third = close(4);
        let taken = gate.withdraw(third);
        assert_eq!(taken, Opened::Closed, "its action has begun");
        assert_eq!(acted.load(Ordering::Relaxed), 0x304);
    }

    #[test]
    fn commands_that_waited_for_a_patient_closer_that_is_taken_back_do_not_wait_for_the_next() {
        let gate = Gate::new();
        assert!(gate.enter(0), "a command that its backend does not end");
        let first = gate.close_patiently(Box::new(|closed| assert!(!closed)));
        let second = gate.close_patiently(Box::new(|closed| assert!(!closed)));
        let third = gate.close_patiently(Box::new(|closed| assert!(!closed)));
        assert!(!gate.enter(1));
        assert_eq!(gate.withdraw(second), Opened::Closed, "not its turn");
        assert!(!gate.enter(1));
        assert_eq!(gate.withdraw(first), Opened::Breath(1));
        assert!(gate.enter(1), "it waited for the first");
        gate.close_again(1);
        assert!(!gate.enter(1), "the third still wants it closed");
        assert_eq!(gate.withdraw(third), Opened::Open);
        assert!(gate.enter(1));
    }

    #[test]
    fn between_two_patient_closers_waiting_commands_enter_and_an_impatient_one_does_not_wait_for_them()
     {
        let gate = Gate::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| -> Action {
            let order = Arc::clone(&order);
            Box::new(move |_| order.lock().push(name))
        };
        gate.close_patiently(note("first"));
        gate.close_patiently(note("second"));
        assert!(!gate.enter(0));
        assert_eq!(gate.open(), Opened::Breath(1));
        assert!(gate.enter(0), "it waited");
        gate.close_again(1);
        assert!(!gate.enter(1));
        gate.close(note("reset"));
        gate.leave(0);
        assert_eq!(*order.lock(), ["first", "reset"]);
        assert_eq!(gate.open(), Opened::Breath(2));
        gate.close(note("another reset"));
        assert!(!gate.enter(0), "a reset ends the breath");
        assert_eq!(gate.open(), Opened::Breath(3));
        gate.close_again(2);
        assert!(gate.enter(0), "the second breath was over before");
        gate.leave(0);
        gate.close_again(3);
        assert_eq!(*order.lock(), ["first", "reset", "another reset", "second"]);
        assert_eq!(gate.open(), Opened::Open);
    }
}
