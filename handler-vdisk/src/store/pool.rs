//! Threads for what may block: spawned on demand, bounded, joined on drop.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Jobs waiting for a thread; more are refused.
const QUEUE_LIMIT: usize = 16 * 1024;
/// An idle thread ends after this time.
const IDLE: Duration = Duration::from_secs(10);
/// How long a drop waits for threads inside a system call that does not return.
const JOIN_PATIENCE: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

struct State {
    queue: VecDeque<Job>,
    idle: usize,
    running: usize,
    threads: Vec<JoinHandle<()>>,
    stop: bool,
}

struct Inner {
    name: String,
    max: usize,
    state: Mutex<State>,
    wake: Condvar,
    ended: Condvar,
}

/// A bounded pool of threads. Jobs may block; a panic in a job ends that job only.
pub struct OffloadPool {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for OffloadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OffloadPool")
            .field("name", &self.inner.name)
            .field("max", &self.inner.max)
            .finish()
    }
}

impl OffloadPool {
    /// A pool of at most `max` threads (at least 1). No thread is started before the first job.
    pub fn new(name: impl Into<String>, max: usize) -> Self {
        let state = State {
            queue: VecDeque::new(),
            idle: 0,
            running: 0,
            threads: Vec::new(),
            stop: false,
        };
        let inner = Inner {
            name: name.into(),
            max: max.max(1),
            state: Mutex::new(state),
            wake: Condvar::new(),
            ended: Condvar::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Queues a job; never blocks. Gives the job back dropped (its owner sees that) and returns false when the queue is
    /// full, the pool is stopping or no thread can be started.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let mut state = self.inner.state.lock();
        if state.stop || state.queue.len() >= QUEUE_LIMIT {
            return false;
        }
        if state.idle <= state.queue.len()
            && state.running < self.inner.max
            && !self.spawn(&mut state)
            && state.running == 0
        {
            return false;
        }
        state.queue.push_back(Box::new(job));
        drop(state);
        self.inner.wake.notify_one();
        true
    }

    fn spawn(&self, state: &mut State) -> bool {
        state.threads.retain(|thread| !thread.is_finished());
        let inner = Arc::clone(&self.inner);
        match std::thread::Builder::new()
            .name(self.inner.name.clone())
            .spawn(move || inner.work())
        {
            Ok(thread) => {
                state.threads.push(thread);
                state.running += 1;
                true
            }
            Err(error) => {
                tracing::warn!(%error, pool = %self.inner.name, "cannot start an offload thread");
                false
            }
        }
    }
}

impl Inner {
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!(pool = %self.name, "an offload job panicked");
                }
                state = self.state.lock();
                continue;
            }
            if state.stop {
                break;
            }
            state.idle += 1;
            let timed_out = self.wake.wait_for(&mut state, IDLE).timed_out();
            state.idle -= 1;
            if timed_out && state.queue.is_empty() {
                break;
            }
        }
        state.running -= 1;
        self.ended.notify_all();
    }
}

impl Drop for OffloadPool {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        state.stop = true;
        self.inner.wake.notify_all();
        let threads = std::mem::take(&mut state.threads);
        let me = std::thread::current().id();
        // The pool may be dropped by its own last job; that thread cannot wait for itself.
        let own = usize::from(threads.iter().any(|thread| thread.thread().id() == me));
        let deadline = Instant::now() + JOIN_PATIENCE;
        while state.running > own {
            if self
                .inner
                .ended
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                tracing::error!(pool = %self.inner.name, left = state.running, "offload threads do not return; left behind");
                return;
            }
        }
        drop(state);
        for thread in threads {
            if thread.thread().id() != me {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn jobs_run_and_a_panic_ends_only_its_job() {
        let pool = OffloadPool::new("t", 2);
        let (tx, rx) = mpsc::channel();
        assert!(pool.run(|| panic!("job panics on purpose")));
        for n in 0..100 {
            let tx = tx.clone();
            assert!(pool.run(move || tx.send(n).unwrap()));
        }
        let mut got: Vec<i32> = (0..100).map(|_| rx.recv().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn drop_runs_the_queued_jobs_and_joins() {
        let (tx, rx) = mpsc::channel();
        let pool = OffloadPool::new("t", 1);
        for n in 0..20 {
            let tx = tx.clone();
            assert!(pool.run(move || tx.send(n).unwrap()));
        }
        drop(pool);
        drop(tx);
        assert_eq!(rx.iter().count(), 20);
    }

    #[test]
    fn dropped_by_its_own_job_does_not_deadlock() {
        let pool = Arc::new(OffloadPool::new("t", 1));
        let (tx, rx) = mpsc::channel();
        let inner = Arc::clone(&pool);
        let (go, wait) = mpsc::channel::<()>();
        pool.run(move || {
            wait.recv().unwrap();
            drop(inner);
            tx.send(()).unwrap();
        });
        drop(pool);
        go.send(()).unwrap();
        rx.recv_timeout(Duration::from_secs(5)).unwrap();
    }
}
