//! What files and block devices share: an open descriptor that belongs to one generation, and the choice of engine.
//!
//! The descriptor hangs in an `ArcSwapOption`: an operation on the inline path takes no lock and counts nothing shared;
//! `fence` takes the descriptor out, and `deactivate` then waits until it is the last owner and closes it.

mod stable;

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use self::stable::Health;
use super::inline::{self, Attempt, InlineMode, Learnt};
use super::syscalls;
use super::uring::Uring;
use super::{
    Allocation, CopySource, OffloadPool, Stamp, StoreCx, StoreError, StoreOp, StoreRequest,
    Submitted,
};

/// Threads per store where io_uring is not used.
const POOL_THREADS: usize = 4;
/// Copies from other stores at a time: those may be dead, and this one has other work.
const COPIES: usize = POOL_THREADS / 2;

/// How a store does its I/O. All give the same results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Engine {
    /// Inline where that cannot block, the rest through io_uring, or threads where io_uring is forbidden.
    #[default]
    Auto,
    /// Everything on the calling thread, which may block it.
    Inline,
    /// Everything through io_uring (threads for what it does not do, or where it is forbidden).
    Uring,
    /// Everything on offload threads.
    Threads,
}

/// What makes a finished operation durable.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) write_through: bool,
    pub(crate) nv_cache: bool,
}

impl Policy {
    /// Whether a write must be stable when it finishes.
    pub(crate) fn stable(&self, fua: bool) -> bool {
        self.write_through || (fua && !self.nv_cache)
    }
}

/// The open descriptors of a device.
#[derive(Debug)]
struct Descriptors {
    main: OwnedFd,
    /// With O_DIRECT: a second descriptor for ranges that O_DIRECT cannot do.
    buffered: Option<OwnedFd>,
    direct_align: u64,
    size: AtomicU64,
    /// Tells open devices of a process apart.
    id: u64,
    /// Sources from which the kernel does not copy to here.
    no_kernel_copy: Mutex<VecDeque<u64>>,
    /// A run of bytes that had storage when it was last looked at.
    data: Mutex<Range<u64>>,
    health: Health,
}

/// Sources that are remembered; the oldest is forgotten, which costs a system call.
const REMEMBERED: usize = 16;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An open device as one generation sees it.
#[derive(Debug)]
pub(crate) struct OpenFd {
    descriptors: Arc<Descriptors>,
    stamp: Stamp,
}

impl OpenFd {
    /// `witness` is one more descriptor of the same device, opened before the others: see [`OpenFd::without_space`].
    pub(crate) fn new(
        main: OwnedFd,
        buffered: Option<OwnedFd>,
        witness: OwnedFd,
        direct_align: u64,
        stamp: Stamp,
        size: u64,
    ) -> Self {
        let descriptors = Descriptors {
            direct_align,
            size: AtomicU64::new(size),
            // Relaxed: only has to be unique.
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            no_kernel_copy: Mutex::default(),
            data: Mutex::new(0..0),
            health: Health::new(witness),
            main,
            buffered,
        };
        Self {
            descriptors: Arc::new(descriptors),
            stamp,
        }
    }

    pub(crate) fn main(&self) -> BorrowedFd<'_> {
        self.descriptors.main.as_fd()
    }

    pub(crate) fn buffered(&self) -> BorrowedFd<'_> {
        self.descriptors
            .buffered
            .as_ref()
            .unwrap_or(&self.descriptors.main)
            .as_fd()
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.descriptors.buffered.is_some()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.stamp.generation
    }

    /// The open device, the same over epochs.
    pub(crate) fn id(&self) -> u64 {
        self.descriptors.id
    }

    /// The allocation of the bytes from `offset` on, for copies: storage that was given up since may be taken for
    /// storage still. To find the end of a run of data costs in proportion to the run, so it is done once a run.
    pub(crate) fn known_allocation(&self, offset: u64) -> Result<Allocation, StoreError> {
        let mut data = self.descriptors.data.lock();
        if !data.contains(&offset) {
            let found = syscalls::allocation(self.buffered(), offset, self.size())?;
            if !found.mapped {
                return Ok(found);
            }
            *data = offset..offset.saturating_add(found.len);
        }
        Ok(Allocation {
            mapped: true,
            len: data.end.saturating_sub(offset),
        })
    }

    /// Whether the kernel may copy from the open device `source` to here, as far as known.
    pub(crate) fn kernel_copies_from(&self, source: u64) -> bool {
        !self.descriptors.no_kernel_copy.lock().contains(&source)
    }

    /// Remembers that it does not.
    pub(crate) fn no_kernel_copy_from(&self, source: u64) {
        let mut sources = self.descriptors.no_kernel_copy.lock();
        if sources.len() >= REMEMBERED {
            sources.pop_front();
        }
        sources.push_back(source);
    }

    /// Visible size in bytes. Relaxed: it publishes nothing but itself.
    pub(crate) fn size(&self) -> u64 {
        self.descriptors.size.load(Ordering::Relaxed)
    }

    pub(crate) fn set_size(&self, size: u64) {
        self.descriptors.size.store(size, Ordering::Relaxed);
    }

    /// The descriptor for a transfer: the direct one where offset, length and memory (buffers are page-aligned) allow.
    pub(crate) fn fd_for(&self, offset: u64, range: &Range<usize>) -> BorrowedFd<'_> {
        match &self.descriptors.buffered {
            Some(buffered)
                if !(offset | range.start as u64 | range.len() as u64)
                    .is_multiple_of(self.descriptors.direct_align) =>
            {
                buffered.as_fd()
            }
            _ => self.main(),
        }
    }
}

/// The part that requests in flight hold on to.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    open: ArcSwapOption<OpenFd>,
    pub(crate) policy: Policy,
}

impl Slot {
    /// The device, if it still belongs to the owner of `stamp`.
    pub(crate) fn claim(
        &self,
        stamp: Stamp,
    ) -> Result<arc_swap::Guard<Option<Arc<OpenFd>>>, StoreError> {
        let open = self.open.load();
        match &*open {
            Some(device) if device.stamp == stamp => Ok(open),
            Some(_) => Err(StoreError::Fenced),
            None => Err(StoreError::Inactive),
        }
    }

    /// Runs a kept request to its end on this thread; `then` comes before whoever waits for it goes on.
    fn run(&self, mut request: StoreRequest, done: usize, then: impl FnOnce()) {
        let result = match self.claim(request.stamp()) {
            Ok(open) => match (&*open, request.op_mut()) {
                (Some(open), Some(op)) => inline::blocking(open, op, done, &self.policy),
                _ => Err(StoreError::Inactive),
            },
            Err(error) => Err(error),
        };
        then();
        request.finish(result);
    }
}

/// The engines of one store.
#[derive(Debug)]
pub(crate) struct FdEngine {
    slot: Arc<Slot>,
    /// The device from `install` to the end of `deactivate`.
    held: Mutex<Option<Arc<Descriptors>>>,
    engine: Engine,
    mode: OnceLock<InlineMode>,
    learnt: Learnt,
    uring: OnceLock<Option<Uring>>,
    pool: OffloadPool,
    copies: Arc<AtomicUsize>,
}

impl FdEngine {
    pub(crate) fn new(name: &str, engine: Engine, policy: Policy) -> Self {
        Self {
            slot: Arc::new(Slot {
                open: ArcSwapOption::empty(),
                policy,
            }),
            held: Mutex::new(None),
            engine,
            mode: OnceLock::new(),
            learnt: Learnt::default(),
            uring: OnceLock::new(),
            pool: OffloadPool::new(name, POOL_THREADS),
            copies: Arc::default(),
        }
    }

    /// Puts a freshly opened device in place.
    pub(crate) fn install(&self, open: OpenFd) {
        self.mode.get_or_init(|| match self.engine {
            Engine::Auto => inline::detect(&open),
            Engine::Inline => InlineMode::Always,
            Engine::Uring | Engine::Threads => InlineMode::Never,
        });
        *self.held.lock() = Some(Arc::clone(&open.descriptors));
        self.slot.open.store(Some(Arc::new(open)));
    }

    /// True while a device is open, fenced or not.
    pub(crate) fn is_open(&self) -> bool {
        self.held.lock().is_some()
    }

    /// Calls `f` with the open device.
    pub(crate) fn with_open<T>(
        &self,
        f: impl FnOnce(&OpenFd) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &*self.slot.open.load() {
            Some(open) => f(open),
            None => Err(StoreError::Inactive),
        }
    }

    /// This device as a source of copies, for the owner of `stamp`.
    pub(crate) fn copy_source(&self, stamp: Stamp) -> CopySource {
        CopySource::new(Arc::clone(&self.slot), stamp)
    }

    pub(crate) fn submit(&self, mut op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        let open = match self.slot.claim(cx.stamp()) {
            Ok(open) => open,
            Err(error) => return op.done(Err(error)),
        };
        let Some(device) = &*open else {
            return op.done(Err(StoreError::Inactive));
        };
        if matches!(op, StoreOp::Flush) && device.is_lost() {
            return op.done(Err(StoreError::Lost));
        }
        let mode = self.mode.get().copied().unwrap_or(InlineMode::Never);
        let done = match inline::attempt(device, &mut op, mode, &self.learnt, &self.slot.policy) {
            Attempt::Done(result) => return op.done(result),
            Attempt::Blocked(done) => done,
        };
        if cx.may_block() && self.engine != Engine::Uring {
            let result = inline::blocking(device, &mut op, done, &self.slot.policy);
            return op.done(result);
        }
        if matches!(op, StoreOp::CopyFrom { .. }) {
            return self.copy(op, cx);
        }
        let (request, kept) = cx.keep(op);
        self.slow(request, done);
        Submitted::Pending(kept)
    }

    fn slow(&self, request: StoreRequest, done: usize) {
        let wants_ring = matches!(self.engine, Engine::Auto | Engine::Uring);
        if wants_ring && let Some(ring) = self.ring() {
            match ring.submit(request, done, &self.slot) {
                None => return,
                Some(request) => return self.offload(request, done),
            }
        }
        self.offload(request, done);
    }

    /// Makes the ring, if this engine uses one, before the first operation wants it.
    pub(crate) fn ready_ring(&self) {
        if matches!(self.engine, Engine::Auto | Engine::Uring) {
            self.ring();
        }
    }

    /// A copy; [`StoreError::Transient`] when there are enough of them.
    fn copy(&self, op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        // Relaxed: a count.
        let running = self.copies.fetch_add(1, Ordering::Relaxed);
        let place = CopyPlace(Arc::clone(&self.copies));
        if running >= COPIES {
            return op.done(Err(StoreError::Transient));
        }
        let (request, kept) = cx.keep(op);
        let (slot, job) = (Arc::clone(&self.slot), OffloadJob::new(request));
        self.pool.run(move || {
            if let Some(request) = job.take() {
                // The next copy finds the place free.
                slot.run(request, 0, || drop(place));
            }
        });
        Submitted::Pending(kept)
    }

    fn ring(&self) -> Option<&Uring> {
        self.uring
            .get_or_init(|| match Uring::new() {
                Ok(ring) => Some(ring),
                Err(error) => {
                    tracing::info!(%error, "io_uring is not available, using threads");
                    None
                }
            })
            .as_ref()
    }

    fn offload(&self, request: StoreRequest, done: usize) {
        let slot = Arc::clone(&self.slot);
        let job = OffloadJob::new(request);
        if !self.pool.run(move || {
            if let Some(request) = job.take() {
                slot.run(request, done, || ());
            }
        }) {
            tracing::warn!("offload queue is full");
        }
    }

    /// Takes the device away from new operations; returns the number of those that still use it.
    pub(crate) fn fence(&self) -> usize {
        let held = self.held.lock();
        // The swap also makes every reader that is inside count as an owner.
        drop(self.slot.open.swap(None));
        held.as_ref()
            .map_or(0, |held| Arc::strong_count(held).saturating_sub(1))
    }

    /// Hands the device to another epoch; `None` when it is not open. Returns 0 when no operation of an older one is
    /// inside.
    pub(crate) fn renew(&self, epoch: u64) -> Option<usize> {
        let held = self.held.lock();
        let descriptors = Arc::clone(held.as_ref()?);
        let generation = self.slot.open.load().as_ref()?.generation();
        let stamp = Stamp { generation, epoch };
        drop(
            self.slot
                .open
                .swap(Some(Arc::new(OpenFd { descriptors, stamp }))),
        );
        held.as_ref()
            .map(|held| Arc::strong_count(held).saturating_sub(2))
    }

    /// Fences, waits for what is inside, closes.
    pub(crate) fn deactivate(&self, patience: Duration) -> Result<(), StoreError> {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_micros(50);
        loop {
            self.fence();
            {
                let mut held = self.held.lock();
                match held.take().map(Arc::try_unwrap) {
                    None => return Ok(()),
                    Some(Ok(last)) => return last_flush(&last),
                    Some(Err(shared)) => *held = Some(shared),
                }
            }
            if Instant::now() >= deadline {
                return Err(StoreError::Transient);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }
}

/// A place among the copies.
struct CopyPlace(Arc<AtomicUsize>);

impl Drop for CopyPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes what was written stable before the device closes.
fn last_flush(device: &Descriptors) -> Result<(), StoreError> {
    let writable = rustix::fs::fcntl_getfl(&device.main)
        .is_ok_and(|flags| flags.contains(rustix::fs::OFlags::RDWR));
    if writable {
        syscalls::flush(device.main.as_fd())
    } else {
        Ok(())
    }
}

/// A request on its way to a thread; refused by a full queue it ends as transient, not as lost.
struct OffloadJob {
    request: Option<StoreRequest>,
}

impl OffloadJob {
    fn new(request: StoreRequest) -> Self {
        let request = Some(request);
        Self { request }
    }

    fn take(mut self) -> Option<StoreRequest> {
        self.request.take()
    }
}

impl Drop for OffloadJob {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            request.finish(Err(StoreError::Transient));
        }
    }
}

#[cfg(test)]
mod tests;
