//! Threads for what may block: a bounded queue, threads started when needed and ended when idle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

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

/// A handle on an engine's pool; clones share it.
#[derive(Clone)]
pub struct Offload(Arc<Pool>);

impl std::fmt::Debug for Offload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offload")
            .field("threads", &self.0.state.lock().threads)
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
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
    /// No thread is ever started.
    by_hand: bool,
}

/// The waiting jobs of [`Offload::by_hand`].
#[derive(Debug)]
pub struct Jobs(Offload);

impl Jobs {
    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.0.0.state.lock().queue.len()
    }

    /// Runs the oldest job, on the calling thread, which it may block. False when there is none.
    pub fn run_one(&self) -> bool {
        let job = self.0.0.state.lock().queue.pop_front();
        job.map(run).is_some()
    }

    /// Drops the oldest job unrun, as a pool does that dies.
    pub fn lose_one(&self) -> bool {
        let job = self.0.0.state.lock().queue.pop_front();
        job.map(drop).is_some()
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
        Self(Arc::new(Pool {
            state,
            work: Condvar::new(),
            max_threads: max_threads.max(1),
            max_queue,
        }))
    }

    /// A pool without threads: jobs wait until the caller runs them, one at a time, by the second half. For a caller
    /// with an event loop or a clock of its own.
    pub fn by_hand(max_queue: usize) -> (Self, Jobs) {
        let offload = Self::new(1, max_queue);
        offload.0.state.lock().by_hand = true;
        (offload.clone(), Jobs(offload))
    }

    /// Queues a job. Does not block.
    ///
    /// # Errors
    /// [`Overload`] with the job when the queue is full or no thread can be had.
    pub fn submit(&self, job: Job) -> Result<(), Overload> {
        let mut state = self.0.state.lock();
        if state.closed || state.queue.len() >= self.0.max_queue {
            return Err(Overload(job));
        }
        state.queue.push_back(job);
        if state.by_hand {
            return Ok(());
        }
        if state.idle >= state.queue.len() || state.threads >= self.0.max_threads {
            self.0.work.notify_one();
            return Ok(());
        }
        let pool = Arc::clone(&self.0);
        let spawned = std::thread::Builder::new()
            .name("lun-offload".into())
            .spawn(move || pool.run());
        match spawned {
            Ok(_) => state.threads += 1,
            Err(_) if state.threads == 0 => {
                let job = state.queue.pop_back();
                return job.map_or(Ok(()), |job| Err(Overload(job)));
            }
            Err(error) => tracing::warn!(%error, "no further offload thread"),
        }
        Ok(())
    }

    /// Takes no more jobs; threads end when the queue is empty. Does not wait for jobs that never end.
    pub fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.work.notify_all();
    }
}

impl Pool {
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                run(job);
                state = self.state.lock();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let waited = self.work.wait_for(&mut state, LINGER);
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
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
}
