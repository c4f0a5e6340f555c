//! The gate of a logical unit, in all interleavings:
//! `RUSTFLAGS="--cfg loom" cargo test -p lunforge-core --release --test loom_gate`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use lunforge_core::gate::{Gate, Opened};

/// All interleavings with at most three preemptions: enough for every race of three threads seen so far, and a run of
/// seconds. `LOOM_MAX_PREEMPTIONS` widens it.
fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(f);
}

/// While an action runs, no command is inside; and the action does run.
#[test]
fn no_command_is_inside_while_the_action_runs() {
    model(|| {
        let gate = Arc::new(Gate::new());
        let executing = Arc::new(AtomicUsize::new(0));
        let acted = Arc::new(AtomicBool::new(false));
        let commands: Vec<_> = (0..2)
            .map(|lane| {
                let (gate, executing) = (Arc::clone(&gate), Arc::clone(&executing));
                thread::spawn(move || {
                    if gate.enter(lane) {
                        executing.fetch_add(1, Ordering::Relaxed);
                        executing.fetch_sub(1, Ordering::Relaxed);
                        gate.leave(lane);
                    }
                })
            })
            .collect();
        let (e, a) = (Arc::clone(&executing), Arc::clone(&acted));
        gate.close(Box::new(move |_| {
            assert_eq!(
                e.load(Ordering::Relaxed),
                0,
                "a command executes inside a closed gate"
            );
            a.store(true, Ordering::Relaxed);
        }));
        for command in commands {
            command.join().unwrap();
        }
        assert!(acted.load(Ordering::Relaxed), "the action was forgotten");
    });
}

/// Two closers act one after the other, each on an empty gate, and the gate opens in the end.
#[test]
fn closers_take_turns_and_the_gate_opens() {
    model(|| {
        let gate = Arc::new(Gate::new());
        let acting = Arc::new(AtomicUsize::new(0));
        let done = Arc::new(AtomicUsize::new(0));
        let close = |gate: Arc<Gate>, acting: Arc<AtomicUsize>, done: Arc<AtomicUsize>| {
            let inner = Arc::clone(&gate);
            gate.close(Box::new(move |_| {
                assert_eq!(
                    acting.fetch_add(1, Ordering::SeqCst),
                    0,
                    "two actions at once"
                );
                acting.fetch_sub(1, Ordering::SeqCst);
                done.fetch_add(1, Ordering::SeqCst);
                inner.open();
            }));
        };
        let other = {
            let (g, a, d) = (Arc::clone(&gate), Arc::clone(&acting), Arc::clone(&done));
            thread::spawn(move || close(g, a, d))
        };
        if gate.enter(0) {
            gate.leave(0);
        }
        close(Arc::clone(&gate), Arc::clone(&acting), Arc::clone(&done));
        other.join().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 2);
        assert!(gate.enter(0), "the gate stayed shut");
        gate.leave(0);
    });
}

/// A closer that is taken back while a command leaves either acts or does not, and the gate ends up open.
#[test]
fn a_closer_that_is_taken_back_acts_once_or_never() {
    model(|| {
        let gate = Arc::new(Gate::new());
        let acted = Arc::new(AtomicUsize::new(0));
        assert!(gate.enter(0));
        let (inner, a) = (Arc::clone(&gate), Arc::clone(&acted));
        let ticket = gate.close(Box::new(move |closed| {
            if closed {
                inner.open();
            }
            a.fetch_add(1, Ordering::SeqCst);
        }));
        let command = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.leave(0))
        };
        let opened = gate.withdraw(ticket);
        command.join().unwrap();
        assert_eq!(acted.load(Ordering::SeqCst), 1, "told twice, or not at all");
        assert!(gate.enter(1), "the gate stayed shut; withdrawn: {opened:?}");
        gate.leave(1);
    });
}

/// Two patient closers: both act, each on an empty gate, whatever a command does in the breath between them.
#[test]
fn patient_closers_both_act_and_commands_enter_between_them() {
    model(|| {
        let gate = Arc::new(Gate::new());
        let executing = Arc::new(AtomicUsize::new(0));
        let done = Arc::new(AtomicUsize::new(0));
        let close = |gate: &Arc<Gate>, executing: &Arc<AtomicUsize>, done: &Arc<AtomicUsize>| {
            let (inner, e, d) = (Arc::clone(gate), Arc::clone(executing), Arc::clone(done));
            gate.close_patiently(Box::new(move |_| {
                assert_eq!(e.load(Ordering::Relaxed), 0, "a command is inside");
                d.fetch_add(1, Ordering::SeqCst);
                if let Opened::Breath(breath) = inner.open() {
                    inner.close_again(breath);
                }
            }));
        };
        let other = {
            let (g, e, d) = (Arc::clone(&gate), Arc::clone(&executing), Arc::clone(&done));
            thread::spawn(move || close(&g, &e, &d))
        };
        if gate.enter(0) {
            executing.fetch_add(1, Ordering::Relaxed);
            executing.fetch_sub(1, Ordering::Relaxed);
            gate.leave(0);
        }
        close(&gate, &executing, &done);
        other.join().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 2);
        assert!(gate.enter(0), "the gate stayed shut");
        gate.leave(0);
    });
}

/// Of two patient closers the first is taken back while the command leaves for which both wait: the second acts, once,
/// and the gate ends up open.
#[test]
fn a_closer_behind_one_that_is_taken_back_acts() {
    model(|| {
        let gate = Arc::new(Gate::new());
        let done = Arc::new(AtomicUsize::new(0));
        let go_on = |gate: &Gate, opened: Opened| {
            if let Opened::Breath(breath) = opened {
                gate.close_again(breath);
            }
        };
        assert!(gate.enter(0));
        let close = |mark: usize| {
            let (inner, done) = (Arc::clone(&gate), Arc::clone(&done));
            gate.close_patiently(Box::new(move |closed| {
                done.fetch_add(mark, Ordering::SeqCst);
                if closed {
                    go_on(&inner, inner.open());
                }
            }))
        };
        let (first, _) = (close(1), close(16));
        let command = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.leave(0))
        };
        go_on(&gate, gate.withdraw(first));
        command.join().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 17, "each is told once");
        assert!(gate.enter(1), "the gate stayed shut");
        gate.leave(1);
    });
}
