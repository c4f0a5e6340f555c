//! One change of a unit's reservations at a time, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

/// Changes that may wait for their turn. What the shards admit is bounded too; this is the unit's own bound.
const CAPACITY: usize = 4096;

/// A change: runs with the turn, and ends by dropping it, at once or later, on whichever thread.
pub(super) type Work = Box<dyn FnOnce(Turn) + Send>;

/// The queue of a unit's changes.
#[derive(Default)]
pub(super) struct Turns(Mutex<Line>);

#[derive(Default)]
struct Line {
    waiting: VecDeque<Work>,
    /// Somebody has the turn.
    taken: bool,
    /// A thread is in the loop of [`Turns::next`]. What ends meanwhile only says so, however many do: no recursion.
    passing: bool,
}

impl Turns {
    /// Runs `work` when its turn has come, now if nobody has it. Does not block.
    ///
    /// # Errors
    /// Too many wait; the work comes back.
    pub(super) fn take(self: &Arc<Self>, work: Work) -> Result<(), Work> {
        if self.0.lock().waiting.len() >= CAPACITY {
            return Err(work);
        }
        self.take_always(work);
        Ok(())
    }

    /// As [`Turns::take`], for an owner whose work is not to be refused.
    pub(super) fn take_always(self: &Arc<Self>, work: Work) {
        self.0.lock().waiting.push_back(work);
        self.next();
    }

    /// The turn, if nobody has it and nobody waits.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Turn> {
        let mut line = self.0.lock();
        if line.taken || !line.waiting.is_empty() {
            return None;
        }
        line.taken = true;
        Some(Turn(Arc::clone(self)))
    }

    /// Passes the turn on until somebody keeps it or nobody waits.
    fn next(self: &Arc<Self>) {
        loop {
            let work = {
                let mut line = self.0.lock();
                if line.taken || line.passing {
                    return;
                }
                let Some(work) = line.waiting.pop_front() else {
                    return;
                };
                (line.taken, line.passing) = (true, true);
                work
            };
            work(Turn(Arc::clone(self)));
            self.0.lock().passing = false;
        }
    }
}

/// The right to change a unit's reservations. Dropped, the next change has its turn.
pub(super) struct Turn(Arc<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.lock().taken = false;
        self.0.next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn changes_run_one_at_a_time_in_order() {
        let turns = Arc::new(Turns::default());
        let (kept, held) = mpsc::channel();
        let (ran, order) = mpsc::channel();
        let keep = move |turn| kept.send(turn).unwrap();
        assert!(turns.take(Box::new(keep)).is_ok());
        let first = held.recv().unwrap();
        assert!(turns.try_take().is_none());
        for i in 0..CAPACITY {
            let ran = ran.clone();
            let work = move |turn| {
                ran.send(i).unwrap();
                drop(turn);
            };
            assert!(turns.take(Box::new(work)).is_ok());
        }
        assert!(turns.take(Box::new(drop)).is_err());
        assert!(order.try_recv().is_err());
        drop(first);
        assert!(order.try_iter().eq(0..CAPACITY));
        assert!(turns.try_take().is_some());
    }

    #[test]
    fn a_turn_that_ends_on_another_thread_is_passed_on() {
        let turns = Arc::new(Turns::default());
        let (done, ended) = mpsc::channel();
        for i in 0..100 {
            let done = done.clone();
            let work: Work = Box::new(move |turn| {
                std::thread::spawn(move || {
                    done.send(i).unwrap();
                    drop(turn);
                });
            });
            assert!(turns.take(work).is_ok());
        }
        drop(done);
        assert!(ended.iter().eq(0..100));
    }
}
