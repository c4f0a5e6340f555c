//! The target's process while it is attacked, and until it is as it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::AbuseError;
use super::judge::Bounds;
use crate::procfs::{NoProcess, Usage, descriptors, kernel_workers};

/// Waits for a processor that count at the most.
const MOST_STRETCH: f64 = 50.0;
/// Time between two looks at the process.
const EVERY: Duration = Duration::from_millis(50);

/// The process at one moment, or the most of it over some time.
#[derive(Debug, Clone, Copy, Default)]
pub struct State {
    /// Resident memory, KiB.
    pub rss_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads, without those of the kernel.
    pub threads: u64,
    /// Processor time so far, ns.
    pub run_ns: u64,
    /// Time so far in which its threads had work and no processor, ns.
    pub wait_ns: u64,
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
            threads: usage
                .threads
                .saturating_sub(kernel_workers(pid).unwrap_or(0)),
            run_ns: usage.run_ns,
            wait_ns: usage.wait_ns,
        })
    }

    fn most(&mut self, other: &Self) {
        self.rss_kib = self.rss_kib.max(other.rss_kib);
        self.descriptors = self.descriptors.max(other.descriptors);
        self.threads = self.threads.max(other.threads);
    }

    /// How many times longer the process took since then than it would have with processors of its own; 1 is best.
    pub(super) fn stretch_since(&self, earlier: &Self) -> f64 {
        let run = self.run_ns.saturating_sub(earlier.run_ns).max(1_000_000);
        let wait = self.wait_ns.saturating_sub(earlier.wait_ns);
        (1.0 + wait as f64 / run as f64).min(MOST_STRETCH)
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

/// Waits until descriptors are back at the baseline and threads and memory are within their bounds, as long as
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
