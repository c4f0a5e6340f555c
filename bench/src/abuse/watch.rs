//! The target's process while it is attacked, and until it is as it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::AbuseError;
use super::judge::Bounds;
use crate::procfs::{NoProcess, Usage, descriptors};

/// Time between two looks at the process.
const EVERY: Duration = Duration::from_millis(50);

/// The process at one moment, or the most of it over some time.
#[derive(Debug, Clone, Copy, Default)]
pub struct State {
    /// Resident memory, KiB.
    pub rss_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Processor time so far, ns.
    pub run_ns: u64,
}

impl State {
    /// Looks at a process.
    ///
    /// # Errors
    /// [`NoProcess`].
    pub fn sample(pid: u32) -> Result<Self, NoProcess> {
        let usage = Usage::sample(&[pid])?;
        Ok(Self {
            rss_kib: usage.rss_kib,
            descriptors: descriptors(pid).unwrap_or(0),
            threads: usage.threads,
            run_ns: usage.run_ns,
        })
    }

    fn most(&mut self, other: &Self) {
        self.rss_kib = self.rss_kib.max(other.rss_kib);
        self.descriptors = self.descriptors.max(other.descriptors);
        self.threads = self.threads.max(other.threads);
        self.run_ns = self.run_ns.max(other.run_ns);
    }
}

/// A thread that looks again and again and keeps the most it saw.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<State>,
}

impl Watch {
    pub(super) fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut most = State::default();
            // Relaxed: nothing is published through it.
            while !until.load(Ordering::Relaxed) {
                if let Ok(now) = State::sample(pid) {
                    most.most(&now);
                }
                std::thread::sleep(EVERY);
            }
            most
        });
        Self { stop, thread }
    }

    pub(super) fn stop(self) -> State {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// How the process came to rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    /// As it was at the end.
    pub(super) state: State,
    /// Time until it was within the bounds, s; the whole wait if it never was.
    pub(super) seconds: f64,
}

/// Waits until descriptors and threads are back at the baseline and memory is within its bound, as long as
/// [`Bounds::settle`] allows.
pub(super) fn settle(pid: u32, baseline: &State, bounds: &Bounds) -> Result<Rest, AbuseError> {
    let start = Instant::now();
    loop {
        let state = State::sample(pid)?;
        let back = bounds.is_back(&state, baseline);
        if back || start.elapsed() > bounds.settle {
            let seconds = start.elapsed().as_secs_f64();
            return Ok(Rest { state, seconds });
        }
        std::thread::sleep(EVERY);
    }
}
