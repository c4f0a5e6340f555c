//! Threads for what may block: bounded queues, threads started when needed and ended when idle.
//!
//! Each unit has a lane of its own ([`Offload::of`]): it gets a quarter of the threads and of the queue at most, so that one
//! whose work never ends leaves the rest to the others. Lanes have their turns one after the other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::lu::UnitId;

/// A piece of work that may block.
pub type Job = Box<dyn FnOnce() + Send>;

/// The queue is full, or the pool has been shut down. The job comes back unrun.
pub struct Overload(pub Job);

impl std::fmt::Debug for Overload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Overload")
    }
}

/// How long a thread without work stays.
const LINGER: Duration = Duration::from_secs(5);
/// A unit gets this part of the threads and of the queue.
const UNIT_PART: usize = 4;

/// Whose jobs a lane has; `None`: nobody's in particular.
type Owner = Option<UnitId>;

/// A handle on an engine's pool; clones share it.
#[derive(Clone)]
pub struct Offload {
    pool: Arc<Pool>,
    owner: Owner,
}

impl std::fmt::Debug for Offload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offload")
            .field("threads", &self.pool.state.lock().threads)
            .field("owner", &self.owner)
            .finish()
    }
}

struct Pool {
    state: Mutex<State>,
    work: Condvar,
    max_threads: usize,
    max_queue: usize,
}

#[derive(Default)]
struct State {
    lanes: HashMap<Owner, Lane>,
    /// Lanes with a job that may run now, each once.
    ready: VecDeque<Owner>,
    /// Jobs in all lanes.
    queued: usize,
    threads: usize,
    idle: usize,
    closed: bool,
    /// No thread is ever started.
    by_hand: bool,
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<Job>,
    running: usize,
    ready: bool,
}

/// The waiting jobs of [`Offload::by_hand`].
#[derive(Debug)]
pub struct Jobs(Offload);

impl Jobs {
    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.0.pool.state.lock().queued
    }

    /// Runs the oldest job of the lane whose turn it is, on the calling thread, which it may block. False when there is
    /// none.
    pub fn run_one(&self) -> bool {
        let Some((owner, job)) = self.0.pool.take() else {
            return false;
        };
        run(job);
        self.0.pool.done(owner);
        true
    }

    /// Drops the same unrun, as a pool does that dies.
    pub fn lose_one(&self) -> bool {
        let Some((owner, job)) = self.0.pool.take() else {
            return false;
        };
        drop(job);
        self.0.pool.done(owner);
        true
    }
}

/// A job that panics answers its command by the dropped token; the thread goes on.
fn run(job: Job) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
        tracing::error!("an offloaded job panicked");
    }
}

impl Offload {
    /// A pool of at most `max_threads` threads and `max_queue` waiting jobs.
    pub fn new(max_threads: usize, max_queue: usize) -> Self {
        let state = Mutex::new(State::default());
        let pool = Arc::new(Pool {
            state,
            work: Condvar::new(),
            max_threads: max_threads.max(1),
            max_queue,
        });
        Self { pool, owner: None }
    }

    /// A pool without threads: jobs wait until the caller runs them, one at a time, by the second half. For a caller
    /// with an event loop or a clock of its own.
    pub fn by_hand(max_queue: usize) -> (Self, Jobs) {
        let offload = Self::new(1, max_queue);
        offload.pool.state.lock().by_hand = true;
        (offload.clone(), Jobs(offload))
    }

    /// The same pool for jobs of a unit, which get its share.
    #[must_use]
    pub fn of(&self, unit: UnitId) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            owner: Some(unit),
        }
    }

    /// Queues a job. Does not block.
    ///
    /// # Errors
    /// [`Overload`] with the job when the queue, or the unit's part of it, is full or no thread can be had.
    pub fn submit(&self, job: Job) -> Result<(), Overload> {
        let (pool, owner) = (&self.pool, self.owner);
        let mut state = pool.state.lock();
        let queued = state.lanes.get(&owner).map_or(0, |lane| lane.queue.len());
        let full = state.queued >= pool.max_queue || queued >= pool.part(owner, pool.max_queue);
        if state.closed || full {
            return Err(Overload(job));
        }
        state.push(owner, job, pool.part(owner, pool.max_threads));
        if state.by_hand {
            return Ok(());
        }
        if !pool.wants_thread(&state) {
            pool.work.notify_one();
            return Ok(());
        }
        let worker = Arc::clone(pool);
        let spawned = std::thread::Builder::new()
            .name("lun-offload".into())
            .spawn(move || worker.run());
        match spawned {
            Ok(_) => state.threads += 1,
            Err(_) if state.threads == 0 => {
                let job = state.take_back(owner);
                return job.map_or(Ok(()), |job| Err(Overload(job)));
            }
            Err(error) => {
                tracing::warn!(%error, "no further offload thread");
                pool.work.notify_one();
            }
        }
        Ok(())
    }

    /// Takes no more jobs; threads end when the queue is empty. Does not wait for jobs that never end.
    pub fn close(&self) {
        self.pool.state.lock().closed = true;
        self.pool.work.notify_all();
    }
}

impl State {
    fn push(&mut self, owner: Owner, job: Job, threads: usize) {
        let lane = self.lanes.entry(owner).or_default();
        lane.queue.push_back(job);
        self.queued += 1;
        self.call_up(owner, threads);
    }

    /// Lets a lane have its turn if it has a job and a thread left.
    fn call_up(&mut self, owner: Owner, threads: usize) {
        let Some(lane) = self.lanes.get_mut(&owner) else {
            return;
        };
        if !lane.ready && !lane.queue.is_empty() && lane.running < threads {
            lane.ready = true;
            self.ready.push_back(owner);
        } else if lane.queue.is_empty() && lane.running == 0 {
            self.lanes.remove(&owner);
        }
    }

    /// The job that was pushed last.
    fn take_back(&mut self, owner: Owner) -> Option<Job> {
        let job = self.lanes.get_mut(&owner)?.queue.pop_back()?;
        self.queued -= 1;
        Some(job)
    }

    fn take(&mut self) -> Option<(Owner, Job)> {
        while let Some(owner) = self.ready.pop_front() {
            let Some(lane) = self.lanes.get_mut(&owner) else {
                continue;
            };
            lane.ready = false;
            // Its only job may have been taken back.
            let Some(job) = lane.queue.pop_front() else {
                continue;
            };
            lane.running += 1;
            self.queued -= 1;
            return Some((owner, job));
        }
        None
    }
}

impl Pool {
    /// What an owner gets of `whole`.
    fn part(&self, owner: Owner, whole: usize) -> usize {
        match owner {
            Some(_) => (whole / UNIT_PART).max(1),
            None => whole,
        }
    }

    /// Whether idle threads are fewer than jobs that may run, and there may be one more.
    fn wants_thread(&self, state: &State) -> bool {
        let mut runnable = 0;
        for owner in &state.ready {
            let room = |lane: &Lane| {
                let threads = self.part(*owner, self.max_threads);
                lane.queue.len().min(threads.saturating_sub(lane.running))
            };
            runnable += state.lanes.get(owner).map_or(0, room);
            if runnable > state.idle {
                return state.threads < self.max_threads;
            }
        }
        false
    }

    fn take(&self) -> Option<(Owner, Job)> {
        let mut state = self.state.lock();
        self.take_from(&mut state)
    }

    fn take_from(&self, state: &mut State) -> Option<(Owner, Job)> {
        let (owner, job) = state.take()?;
        state.call_up(owner, self.part(owner, self.max_threads));
        Some((owner, job))
    }

    /// A job of `owner` is over.
    fn done(&self, owner: Owner) {
        self.done_in(&mut self.state.lock(), owner);
    }

    fn done_in(&self, state: &mut State, owner: Owner) {
        if let Some(lane) = state.lanes.get_mut(&owner) {
            lane.running = lane.running.saturating_sub(1);
        }
        state.call_up(owner, self.part(owner, self.max_threads));
    }

    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some((owner, job)) = self.take_from(&mut state) {
                drop(state);
                run(job);
                state = self.state.lock();
                self.done_in(&mut state, owner);
                continue;
            }
            if state.closed && state.queued == 0 {
                break;
            }
            state.idle += 1;
            let waited = self.work.wait_for(&mut state, LINGER);
            state.idle -= 1;
            if waited.timed_out() && state.ready.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn jobs_run_and_a_panic_does_not_end_the_pool() {
        let pool = Offload::new(2, 100);
        let (tx, rx) = mpsc::channel();
        for i in 0..50 {
            let tx = tx.clone();
            let job = move || {
                if i % 10 == 0 {
                    panic!("job {i}")
                } else {
                    tx.send(i).unwrap()
                }
            };
            pool.submit(Box::new(job)).unwrap();
        }
        drop(tx);
        assert_eq!(rx.iter().count(), 45);
        pool.close();
        assert!(pool.submit(Box::new(|| ())).is_err());
    }

    #[test]
    fn by_hand_nothing_runs_unasked() {
        let (pool, jobs) = Offload::by_hand(2);
        let (tx, rx) = mpsc::channel();
        for i in 0..2 {
            let tx = tx.clone();
            pool.submit(Box::new(move || tx.send(i).unwrap())).unwrap();
        }
        assert!(pool.submit(Box::new(|| ())).is_err());
        assert!(rx.try_recv().is_err());
        assert!(jobs.run_one());
        assert_eq!(rx.try_recv(), Ok(0));
        assert!(jobs.lose_one());
        assert!(!jobs.run_one());
        assert!(rx.try_recv().is_err());
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let pool = Offload::new(1, 1);
        let (hold, held) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        pool.submit(Box::new(move || {
            started.send(()).unwrap();
            let _ = held.recv();
        }))
        .unwrap();
        has_started.recv().unwrap();
        pool.submit(Box::new(|| ())).unwrap();
        assert!(pool.submit(Box::new(|| ())).is_err());
        drop(hold);
    }

    /// An id that no other unit has.
    fn unit() -> UnitId {
        use crate::testing::doubles::Blank;
        crate::LogicalUnit::new(Blank::default()).id()
    }

    #[test]
    fn a_unit_whose_jobs_never_end_leaves_threads_and_queue_to_others() {
        let pool = Offload::new(8, 64);
        let (dead, lives) = (pool.of(unit()), pool.of(unit()));
        let (hold, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let mut taken = 0;
        loop {
            let held = Arc::clone(&held);
            let stuck = Box::new(move || assert!(held.lock().recv().is_err()));
            if dead.submit(stuck).is_err() {
                break;
            }
            taken += 1;
        }
        assert!(taken <= 16 + 2, "{taken} jobs were taken");
        let (tx, rx) = mpsc::channel();
        for i in 0..100 {
            while lives
                .submit(Box::new({
                    let tx = tx.clone();
                    move || tx.send(i).unwrap()
                }))
                .is_err()
            {
                std::thread::yield_now();
            }
        }
        drop(tx);
        assert_eq!(rx.iter().count(), 100);
        drop(hold);
    }

    #[test]
    fn lanes_have_their_turns_one_after_the_other() {
        let (pool, jobs) = Offload::by_hand(64);
        let (one, two) = (pool.of(unit()), pool.of(unit()));
        let (tx, rx) = mpsc::channel();
        for (name, lane) in [("one", &one), ("one", &one), ("two", &two)] {
            let tx = tx.clone();
            lane.submit(Box::new(move || tx.send(name).unwrap()))
                .unwrap();
        }
        while jobs.run_one() {}
        drop(tx);
        assert_eq!(rx.iter().collect::<Vec<_>>(), ["one", "two", "one"]);
    }
}
