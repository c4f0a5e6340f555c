//! The io_uring engine: one ring per store, made at first use or before, and a thread that takes completions.
//!
//! ```text
//!   shards, threads ── Table lock ──▶ slot + SQE ──▶ io_uring_enter ──▶ kernel
//!   reaper thread   ◀── CQE ── Table lock: slot out, or the rest again ── finish(result) without the lock
//! ```
//!
//! Ownership: a slot owns its request (buffer), the I/O vectors and the device from the push until its completion is
//! taken, so whatever the kernel points to stays alive. Under load the reaper submits for the others: one system call
//! for many operations. The submission queue is touched under the table lock only, the
//! completion queue by the reaper only.
#![allow(unsafe_code, reason = "io_uring takes raw descriptors and pointers")]

mod flight;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, squeue};
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

use self::flight::Flight;
use super::fd::Slot;
use super::{Answer, StoreError, StoreOp, StoreRequest, StoreResult};

/// Operations inside the kernel at a time; as large as the submission queue.
const DEPTH: u32 = 256;
/// Operations waiting for a slot; more are answered [`StoreError::Transient`].
const BACKLOG: usize = 4096;
/// Kernel threads that a thread which submits may keep waiting, over all of its rings.
const WORKERS: u32 = 8 * DEPTH;
/// User data of the operation that ends the reaper.
const STOP: u64 = u64::MAX;
/// How long a drop waits for operations that do not return.
const JOIN_PATIENCE: Duration = Duration::from_secs(5);

struct Table {
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    backlog: VecDeque<(StoreRequest, Arc<Slot>, usize)>,
    /// The reaper handles completions and will submit before it sleeps: whoever pushes now need not.
    awake: bool,
    stopping: bool,
    ended: bool,
}

struct Inner {
    ring: IoUring,
    table: Mutex<Table>,
    ended: Condvar,
}

/// A ring and its reaper thread, which begins with the first operation.
pub(crate) struct Uring {
    inner: Arc<Inner>,
    reaper: OnceLock<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").finish_non_exhaustive()
    }
}

impl Uring {
    /// Sets a ring up. Fails with EPERM, ENOSYS or EACCES where io_uring is forbidden.
    pub(crate) fn new() -> std::io::Result<Self> {
        // Kernels before 5.10 know no restrictions.
        let (ring, workers) = restricted().or_else(|_| {
            let ring = IoUring::builder().setup_cqsize(DEPTH * 2).build(DEPTH)?;
            let workers = ask_for_workers(&ring);
            Ok::<_, std::io::Error>((ring, workers))
        })?;
        if let Err(error) = workers {
            tracing::debug!(%error, "the number of io_uring's workers stays as it is");
        }
        let table = Table {
            flights: (0..DEPTH).map(|_| None).collect(),
            free: (0..DEPTH as usize).rev().collect(),
            backlog: VecDeque::new(),
            awake: false,
            stopping: false,
            ended: false,
        };
        let inner = Arc::new(Inner {
            ring,
            table: Mutex::new(table),
            ended: Condvar::new(),
        });
        Ok(Self {
            inner,
            reaper: OnceLock::new(),
        })
    }

    /// Starts the reaper, once. Without a thread nothing may be pushed.
    fn is_running(&self) -> bool {
        let spawn = || {
            let run = Arc::clone(&self.inner);
            std::thread::Builder::new()
                .name("vdisk-uring".into())
                .spawn(move || run.reap())
                .inspect_err(|error| tracing::warn!(%error, "no thread for io_uring"))
                .ok()
        };
        self.reaper.get_or_init(spawn).is_some()
    }

    /// Takes a read, write or flush over; gives back what the ring does not do.
    pub(crate) fn submit(
        &self,
        request: StoreRequest,
        done: usize,
        slot: &Arc<Slot>,
    ) -> Option<StoreRequest> {
        if !matches!(
            request.op(),
            Some(StoreOp::Read { .. } | StoreOp::Write { .. } | StoreOp::Flush)
        ) || !self.is_running()
        {
            return Some(request);
        }
        match self.inner.start(request, done, slot) {
            Started::Refused(request, result) => request.finish(result),
            Started::Pushed { enter: true } => self.inner.enter(),
            Started::Pushed { enter: false } => {}
        }
        None
    }
}

/// A ring that takes what this engine does and nothing else, for good: of no use to whoever gets hold of it to open
/// files or connections (io_uring_register(2), IORING_REGISTER_RESTRICTIONS). And whether it got its workers.
fn restricted() -> std::io::Result<(IoUring, std::io::Result<()>)> {
    let ring = IoUring::builder()
        .setup_cqsize(DEPTH * 2)
        .setup_r_disabled()
        .build(DEPTH)?;
    let used = [
        opcode::Readv::CODE,
        opcode::Writev::CODE,
        opcode::Fsync::CODE,
        opcode::Nop::CODE,
    ];
    // First: an enabled ring with restrictions lets nothing more be registered.
    let workers = ask_for_workers(&ring);
    let submitter = ring.submitter();
    submitter.register_restrictions(&mut used.map(Restriction::sqe_op))?;
    submitter.register_enable_rings()?;
    Ok((ring, workers))
}

/// The kernel does what would block by worker threads, a few per *submitting thread*, whatever ring it submits to: a store
/// that never answers would take those of all stores that its shard serves. Room for several such.
fn ask_for_workers(ring: &IoUring) -> std::io::Result<()> {
    let submitter = ring.submitter();
    submitter.register_iowq_max_workers(&mut [WORKERS, 0])
}

/// What came of a push.
enum Started {
    /// It is in the queue; `enter`: the kernel must be told.
    Pushed { enter: bool },
    /// It ends at once.
    Refused(StoreRequest, StoreResult),
}

impl Inner {
    fn start(&self, request: StoreRequest, done: usize, slot: &Arc<Slot>) -> Started {
        let mut table = self.table.lock();
        if table.stopping {
            return Started::Refused(request, Err(StoreError::Inactive));
        }
        if table.free.is_empty() {
            if table.backlog.len() >= BACKLOG {
                return Started::Refused(request, Err(StoreError::Transient));
            }
            table.backlog.push_back((request, Arc::clone(slot), done));
            return Started::Pushed { enter: false };
        }
        match self.launch(&mut table, request, done, Arc::clone(slot)) {
            Some((request, result)) => Started::Refused(request, result),
            None => Started::Pushed {
                enter: !table.awake,
            },
        }
    }

    /// Puts a request into a free slot and its entry into the submission queue.
    fn launch(
        &self,
        table: &mut Table,
        request: StoreRequest,
        done: usize,
        slot: Arc<Slot>,
    ) -> Option<(StoreRequest, StoreResult)> {
        let open = match slot.claim(request.stamp()) {
            Ok(open) => (*open).clone(),
            Err(error) => return Some((request, Err(error))),
        };
        let (Some(open), Some(index)) = (open, table.free.pop()) else {
            return Some((request, Err(StoreError::Inactive)));
        };
        if slot.policy.nv_cache && matches!(request.op(), Some(StoreOp::Flush)) {
            table.free.push(index);
            return Some((request, Ok(Answer::Done)));
        }
        self.push(table, index, Flight::new(request, open, slot, done))
    }

    fn push(
        &self,
        table: &mut Table,
        index: usize,
        mut flight: Flight,
    ) -> Option<(StoreRequest, StoreResult)> {
        let Some(entry) = flight.entry() else {
            table.free.push(index);
            return Some((flight.into_request(), Err(StoreError::Unsupported)));
        };
        let entry = entry.user_data(index as u64);
        if let Some(place) = table.flights.get_mut(index) {
            *place = Some(flight);
        }
        self.push_entry(&entry);
        None
    }

    /// Called with the table locked. The queue has an entry for each slot and one for the stop mark, and `enter` takes
    /// all of them, so it is full only until the next `enter`.
    fn push_entry(&self, entry: &squeue::Entry) {
        loop {
            // SAFETY: the submission queue is used only under the table lock, which the caller holds.
            let mut queue = unsafe { self.ring.submission_shared() };
            // SAFETY: buffer, I/O vectors and descriptor belong to a slot until the completion is taken.
            if unsafe { queue.push(entry) }.is_ok() {
                return;
            }
            drop(queue);
            self.enter();
        }
    }

    fn enter(&self) {
        for _ in 0..100 {
            match self.ring.submit() {
                Ok(_) => return,
                Err(error) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => {}
                // EBUSY: completions wait for the reaper. EAGAIN: no memory for the moment.
                Err(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
        tracing::error!("io_uring does not take submissions");
    }

    fn reap(&self) {
        let mut ended: Vec<(u64, i32)> = Vec::with_capacity(DEPTH as usize);
        loop {
            if let Err(error) = self.ring.submit_and_wait(1)
                && error.raw_os_error() != Some(Errno::INTR.raw_os_error())
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            self.table.lock().awake = true;
            {
                // SAFETY: only this thread uses the completion queue.
                let queue = unsafe { self.ring.completion_shared() };
                ended.extend(queue.map(|entry| (entry.user_data(), entry.result())));
            }
            for (index, result) in ended.drain(..) {
                if index != STOP {
                    self.completed(index, result);
                }
            }
            let mut table = self.table.lock();
            // From here on the next `submit_and_wait` takes what is in the queue, and later pushers enter themselves.
            table.awake = false;
            if table.stopping && table.backlog.is_empty() && table.free.len() == table.flights.len()
            {
                table.ended = true;
                self.ended.notify_all();
                return;
            }
        }
    }

    /// Ends or continues one operation. What it pushes is submitted by the reaper's next wait.
    fn completed(&self, index: u64, result: i32) {
        let mut finished: Vec<(StoreRequest, StoreResult)> = Vec::new();
        {
            let mut table = self.table.lock();
            let Ok(index) = usize::try_from(index) else {
                return;
            };
            let Some(mut flight) = table.flights.get_mut(index).and_then(Option::take) else {
                return;
            };
            match flight.advance(result) {
                Some(result) => {
                    table.free.push(index);
                    finished.push((flight.into_request(), result));
                }
                None => finished.extend(self.push(&mut table, index, flight)),
            }
            while !table.free.is_empty()
                && let Some((request, slot, done)) = table.backlog.pop_front()
            {
                finished.extend(self.launch(&mut table, request, done, slot));
            }
        }
        for (request, result) in finished {
            if catch_unwind(AssertUnwindSafe(|| request.finish(result))).is_err() {
                tracing::error!("a completion panicked");
            }
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // Without a reaper nothing was ever pushed.
        let Some(reaper) = self.reaper.take().flatten() else {
            return;
        };
        {
            let mut table = self.inner.table.lock();
            table.stopping = true;
            self.inner
                .push_entry(&opcode::Nop::new().build().user_data(STOP));
        }
        self.inner.enter();
        // Dropped by a completion on the reaper itself: it ends on its own.
        if reaper.thread().id() == std::thread::current().id() {
            return;
        }
        let deadline = Instant::now() + JOIN_PATIENCE;
        let mut table = self.inner.table.lock();
        while !table.ended {
            if self
                .inner
                .ended
                .wait_until(&mut table, deadline)
                .timed_out()
            {
                tracing::error!("operations inside io_uring do not return; ring left behind");
                return;
            }
        }
        drop(table);
        let _ = reaper.join();
    }
}

#[cfg(test)]
mod tests;
