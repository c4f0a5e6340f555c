//! Byte stores: what a virtual disk keeps its data in.
//!
//! A [`BackingStore`] takes ownership of a [`StoreOp`], buffer included, and gives it back exactly once: at once
//! ([`StoreOp::done`]) or, kept as a [`StoreRequest`], later and from any thread ([`StoreRequest::finish`]). A request
//! that is dropped instead finishes with an error. Because finishing consumes it, a second completion cannot be written.
//!
//! ```text
//!   Vdisk ──submit(StoreOp)──▶ store ── Submitted::Done(reply) ──▶ the same thread goes on
//!                                │
//!                                └── cx.keep(op) ─▶ StoreRequest ── finish(result) on any thread ──▶ next step
//! ```

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use lunforge_core::buffer::IoBuf;

mod copy;
mod error;
mod fd;
mod file;
mod inline;
mod limits;
mod null;
mod pool;
mod ram;
mod simple;
mod space;
mod syscalls;
mod tray;
mod uring;

mod block;

pub use copy::CopySource;
pub use error::StoreError;
pub use fd::Engine;
pub use file::{FdOptions, FdStore, OpenError};
pub use limits::{Capabilities, Limits, Space};
pub use null::NullStore;
pub use pool::OffloadPool;
pub use ram::RamStore;
pub use simple::{SimpleAdapter, SimpleStore};
pub(crate) use tray::Tray;

/// One operation on a byte store. Offsets and lengths are bytes from the start of the store.
#[derive(Debug)]
pub enum StoreOp {
    /// Fill `range` of `buf` with the bytes at `offset`.
    Read {
        /// First byte to read.
        offset: u64,
        /// Where the bytes go.
        buf: IoBuf,
        /// The part of `buf` to fill.
        range: Range<usize>,
    },
    /// Write `range` of `buf` at `offset`.
    Write {
        /// First byte to write.
        offset: u64,
        /// Where the bytes come from.
        buf: IoBuf,
        /// The part of `buf` to write.
        range: Range<usize>,
        /// Finish only when the bytes are on stable storage.
        fua: bool,
    },
    /// Make every finished write stable.
    Flush,
    /// Give up the storage of a range; what reads return then is declared by
    /// [`Capabilities::READS_ZERO_AFTER_DISCARD`].
    Discard {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Make a range read as zeroes.
    WriteZeroes {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Storage may be given up.
        may_unmap: bool,
    },
    /// Ask whether the bytes from `offset` on have storage; answered by [`Answer::Allocation`].
    AllocationStatus {
        /// First byte.
        offset: u64,
    },
    /// Bring a range into the cache; [`StoreError::Unsupported`] where there is none.
    Prefetch {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Finish only when it is there.
        wait: bool,
    },
    /// Copy a range of another store, or another range of this one, without moving it through the caller. The ranges do
    /// not overlap ([`StoreError::Unsupported`]). Needs [`Capabilities::COPY`].
    CopyFrom {
        /// Where from: [`BackingStore::copy_source`].
        source: CopySource,
        /// First byte in the source.
        from: u64,
        /// First byte to write.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Where the source has no storage, that of this store may be given up.
        may_unmap: bool,
    },
}

impl StoreOp {
    /// The byte range touched: start and length (0 for [`StoreOp::Flush`] and [`StoreOp::AllocationStatus`]).
    pub fn extent(&self) -> (u64, u64) {
        match self {
            Self::Read { offset, range, .. } | Self::Write { offset, range, .. } => {
                (*offset, range.len() as u64)
            }
            Self::Discard { offset, len } | Self::WriteZeroes { offset, len, .. } => {
                (*offset, *len)
            }
            Self::Prefetch { offset, len, .. } | Self::CopyFrom { offset, len, .. } => {
                (*offset, *len)
            }
            Self::AllocationStatus { offset } => (*offset, 0),
            Self::Flush => (0, 0),
        }
    }

    /// True for operations that change stored bytes.
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Write { .. }
                | Self::Discard { .. }
                | Self::WriteZeroes { .. }
                | Self::CopyFrom { .. }
        )
    }

    /// The buffer, if the operation has one.
    fn into_buf(self) -> Option<IoBuf> {
        match self {
            Self::Read { buf, .. } | Self::Write { buf, .. } => Some(buf),
            _ => None,
        }
    }
}

/// A run of bytes in the same allocation state (SBC-4 5.6, GET LBA STATUS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// True when the run has storage.
    pub mapped: bool,
    /// Bytes from the asked offset on that share this state; never 0.
    pub len: u64,
}

/// What a successful operation returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All of it is done.
    Done,
    /// The answer to [`StoreOp::AllocationStatus`].
    Allocation(Allocation),
}

/// Whose operation it is. A store carries out operations of the present stamp only and answers others
/// [`StoreError::Fenced`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The owner of the device, see [`BackingStore::activate`]. 0: none.
    pub generation: u64,
    /// Counts the fences within a generation, see [`BackingStore::renew`].
    pub epoch: u64,
}

impl From<u64> for Stamp {
    fn from(generation: u64) -> Self {
        Self {
            generation,
            epoch: 0,
        }
    }
}

/// The result of one operation.
pub type StoreResult = Result<Answer, StoreError>;

/// What runs when a kept request finishes: on the thread that finishes it.
pub trait Waiter: Send {
    /// The end of the operation, with the buffer it had.
    fn resume(self: Box<Self>, result: StoreResult, buf: Option<IoBuf>);
}

impl<F: FnOnce(StoreResult, Option<IoBuf>) + Send> Waiter for F {
    fn resume(self: Box<Self>, result: StoreResult, buf: Option<IoBuf>) {
        self(result, buf);
    }
}

/// The end of an operation that finished within `submit`.
#[derive(Debug)]
#[must_use]
pub struct StoreReply {
    /// How it ended.
    pub result: StoreResult,
    /// The buffer of a read or write.
    pub buf: Option<IoBuf>,
}

/// What became of a submitted operation.
#[derive(Debug)]
#[must_use]
pub enum Submitted {
    /// It finished; the caller goes on with the reply.
    Done(StoreReply),
    /// The store keeps it ([`StoreCx::keep`]) and calls [`StoreRequest::finish`] later.
    Pending(Kept),
}

/// Proof that an operation was turned into a [`StoreRequest`].
#[derive(Debug)]
pub struct Kept(());

/// An operation that a store keeps, and the duty to finish it: once, from any thread. Dropped, it finishes with
/// [`StoreError::Dropped`].
pub struct StoreRequest {
    op: Option<StoreOp>,
    waiter: Option<Box<dyn Waiter>>,
    stamp: Stamp,
}

impl std::fmt::Debug for StoreRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreRequest")
            .field("op", &self.op)
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

impl StoreRequest {
    /// The operation. `None` only while the request is being finished.
    pub fn op(&self) -> Option<&StoreOp> {
        self.op.as_ref()
    }

    /// The operation, to reach its buffer.
    pub fn op_mut(&mut self) -> Option<&mut StoreOp> {
        self.op.as_mut()
    }

    /// See [`StoreCx::stamp`].
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Ends the operation. The waiting command goes on on this thread.
    pub fn finish(mut self, result: StoreResult) {
        self.complete(result);
    }

    fn complete(&mut self, result: StoreResult) {
        let buf = self.op.take().and_then(StoreOp::into_buf);
        if let Some(waiter) = self.waiter.take() {
            waiter.resume(result, buf);
        }
    }
}

impl Drop for StoreRequest {
    fn drop(&mut self) {
        if self.waiter.is_some() {
            tracing::error!(extent = ?self.op.as_ref().map(StoreOp::extent), "backing store dropped a request");
            self.complete(Err(StoreError::Dropped));
        }
    }
}

/// Who submits, asked for a waiter only when the operation cannot finish at once.
pub(crate) trait Submitter {
    fn waiter(&mut self) -> Box<dyn Waiter>;
}

/// The circumstances of a submission.
pub struct StoreCx<'a> {
    submitter: &'a mut dyn Submitter,
    stamp: Stamp,
    may_block: bool,
}

impl std::fmt::Debug for StoreCx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreCx")
            .field("stamp", &self.stamp)
            .field("may_block", &self.may_block)
            .finish()
    }
}

impl<'a> StoreCx<'a> {
    pub(crate) fn new(submitter: &'a mut dyn Submitter, stamp: Stamp, may_block: bool) -> Self {
        Self {
            submitter,
            stamp,
            may_block,
        }
    }

    /// What the submitter believes to hold.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The calling thread may block: it is no shard.
    pub fn may_block(&self) -> bool {
        self.may_block
    }

    /// Takes an operation over, to finish it later.
    pub fn keep(&mut self, op: StoreOp) -> (StoreRequest, Kept) {
        let waiter = self.submitter.waiter();
        (
            StoreRequest {
                op: Some(op),
                waiter: Some(waiter),
                stamp: self.stamp,
            },
            Kept(()),
        )
    }
}

impl StoreOp {
    /// Ends the operation within `submit`.
    pub fn done(self, result: StoreResult) -> Submitted {
        Submitted::Done(StoreReply {
            result,
            buf: self.into_buf(),
        })
    }
}

/// Runs one operation and then `then`, at once or when the store finishes it. For embedders and tests; SCSI commands
/// go without the allocation.
pub fn submit_with(
    store: &dyn BackingStore,
    op: StoreOp,
    stamp: impl Into<Stamp>,
    then: impl FnOnce(StoreResult, Option<IoBuf>) + Send + 'static,
) {
    struct Once<F>(Option<F>);
    impl<F: FnOnce(StoreResult, Option<IoBuf>) + Send + 'static> Submitter for Once<F> {
        fn waiter(&mut self) -> Box<dyn Waiter> {
            match self.0.take() {
                Some(then) => Box::new(then),
                None => Box::new(|_: StoreResult, _: Option<IoBuf>| {}),
            }
        }
    }
    let mut once = Once(Some(then));
    let stamp = stamp.into();
    // Shards come here: a store that panics does not end one.
    let submitted = catch_unwind(AssertUnwindSafe(|| {
        store.submit(op, &mut StoreCx::new(&mut once, stamp, false))
    }));
    let reply = match submitted {
        Ok(Submitted::Done(reply)) => Some((reply.result, reply.buf)),
        Ok(Submitted::Pending(_)) => None,
        Err(_) => Some((Err(StoreError::Dropped), None)),
    };
    if let (Some((result, buf)), Some(then)) = (reply, once.0) {
        then(result, buf);
    }
}

/// Where a virtual disk keeps its bytes.
///
/// `submit` and `fence` are called on shards and must not block (unless [`StoreCx::may_block`]); `activate` and
/// `deactivate` may block and are called from control threads.
pub trait BackingStore: Send + Sync + 'static {
    /// Size, alignment and transfer limits, as they are now (size may change, see `Vdisk::resync`).
    fn limits(&self) -> Limits;

    /// What the store can do and promises. Fixed while active.
    fn capabilities(&self) -> Capabilities;

    /// Starts one operation: finishes it now ([`StoreOp::done`]) or keeps it ([`StoreCx::keep`]). Offsets are within
    /// [`Limits::size`] and lengths within [`Limits::max_transfer`].
    fn submit(&self, op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted;

    /// Opens the device for the owner of `generation` (> 0). Requests of other generations are refused from now on.
    fn activate(&self, generation: u64) -> Result<(), StoreError> {
        let _ = generation;
        Ok(())
    }

    /// Refuses new requests, waits until no operation is left, closes the device, then returns.
    /// [`StoreError::Transient`] when operations are left at the end of `patience`; the store stays fenced then.
    fn deactivate(&self, patience: Duration) -> Result<(), StoreError> {
        let _ = patience;
        Ok(())
    }

    /// Refuses every request that has not reached the device yet, at once and without blocking. Returns how many
    /// operations are still inside the device and may take effect; [`BackingStore::deactivate`] waits for these.
    fn fence(&self) -> usize {
        0
    }

    /// Goes on in a new epoch of the same generation: requests of older ones that have not reached the device are
    /// refused from now on. Returns 0 when none of them is inside the device any more; `None` when the store cannot
    /// refuse them or tell. Does not block.
    fn renew(&self, epoch: u64) -> Option<usize> {
        let _ = epoch;
        None
    }

    /// This store as the source of [`StoreOp::CopyFrom`] for the owner of `stamp`; `None` when others cannot copy from
    /// it.
    fn copy_source(&self, stamp: Stamp) -> Option<CopySource> {
        let _ = stamp;
        None
    }

    /// Reads the size again (the device or file grew or shrank); returns the new limits.
    fn refresh(&self) -> Result<Limits, StoreError> {
        Ok(self.limits())
    }

    /// How much storage is used and left, where the store knows. May block; called on threads that may, at open and at
    /// intervals of bytes written.
    ///
    /// # Errors
    /// What the device said.
    fn space(&self) -> Result<Option<Space>, StoreError> {
        Ok(None)
    }

    /// Gives the store a new size in bytes where it owns its size (a file).
    fn resize(&self, size: u64) -> Result<Limits, StoreError> {
        let _ = size;
        Err(StoreError::Unsupported)
    }
}
