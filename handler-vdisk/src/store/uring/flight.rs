//! One operation inside the ring.

use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use io_uring::{opcode, squeue, types};
use rustix::io::Errno;

use crate::store::fd::{OpenFd, Slot};
use crate::store::{Answer, StoreError, StoreOp, StoreRequest, StoreResult};

/// I/O vectors per operation (IOV_MAX).
const IOV_MAX: usize = 1024;
/// RWF_DSYNC (pwritev2(2)).
const RWF_DSYNC: i32 = 0x0000_0002;

/// `struct iovec`, its pointer exposed so that it may travel between threads.
#[derive(Clone, Copy)]
#[repr(C)]
struct IoVec {
    base: usize,
    len: usize,
}

/// See [`Uring`](super::Uring) for who owns what.
pub(super) struct Flight {
    request: StoreRequest,
    open: Arc<OpenFd>,
    slot: Arc<Slot>,
    done: usize,
    /// The write got no space, and the witness is asked what that was ([`OpenFd::without_space`]).
    asking: bool,
    iov: Vec<IoVec>,
}

impl Flight {
    /// An operation of which `done` bytes are transferred.
    pub(super) fn new(
        request: StoreRequest,
        open: Arc<OpenFd>,
        slot: Arc<Slot>,
        done: usize,
    ) -> Self {
        Self {
            request,
            open,
            slot,
            done,
            asking: false,
            iov: Vec::new(),
        }
    }

    /// The request without its device, so that a waiting `deactivate` is not held up by the completion.
    pub(super) fn into_request(self) -> StoreRequest {
        self.request
    }

    /// Accounts for a completion: `None` when [`Flight::entry`] has more to submit. Remembers a flush or a stable write
    /// that failed.
    pub(super) fn advance(&mut self, result: i32) -> Option<StoreResult> {
        if self.asking {
            let asked = flushed(result)?;
            return Some(self.open.without_space(asked));
        }
        let ended = match self.request.op() {
            Some(StoreOp::Flush) => flushed(result)?,
            _ => self.transferred(result)?,
        };
        match self.request.op() {
            Some(StoreOp::Flush) => Some(self.open.stable(ended)),
            Some(StoreOp::Write { fua, .. }) if self.slot.policy.stable(*fua) => {
                self.asking = ended == Err(StoreError::NoSpace);
                (!self.asking).then(|| self.open.stable(ended))
            }
            _ => Some(ended),
        }
    }

    fn transferred(&mut self, result: i32) -> Option<StoreResult> {
        let (offset, total) = match self.request.op() {
            Some(StoreOp::Read { offset, range, .. } | StoreOp::Write { offset, range, .. }) => {
                (*offset, range.len())
            }
            _ => (0, 0),
        };
        let at = offset.saturating_add(self.done as u64);
        match usize::try_from(result) {
            Ok(0) => Some(Err(StoreError::Short { offset: at })),
            Ok(n) => {
                self.done = self.done.saturating_add(n);
                (self.done >= total).then_some(Ok(Answer::Done))
            }
            Err(_) => match Errno::from_raw_os_error(result.saturating_neg()) {
                Errno::AGAIN | Errno::INTR => None,
                errno => Some(Err(StoreError::from_errno(errno, at))),
            },
        }
    }

    /// The submission entry for what is left of the operation.
    pub(super) fn entry(&mut self) -> Option<squeue::Entry> {
        let stable = |fua| {
            if self.slot.policy.stable(fua) {
                RWF_DSYNC
            } else {
                0
            }
        };
        if self.asking {
            return Some(data_sync(self.open.witness()));
        }
        let done = self.done;
        let rest = |range: &Range<usize>| range.start.saturating_add(done)..range.end;
        self.iov.clear();
        Some(match self.request.op_mut()? {
            StoreOp::Read { offset, buf, range } => {
                let fd = types::Fd(self.open.fd_for(*offset, range).as_raw_fd());
                for slice in buf.slices_mut(rest(range)).take(IOV_MAX) {
                    let len = slice.len();
                    self.iov.push(IoVec {
                        base: slice.as_mut_ptr().expose_provenance(),
                        len,
                    });
                }
                let len = u32::try_from(self.iov.len()).ok()?;
                opcode::Readv::new(fd, self.iov.as_ptr().cast(), len)
                    .offset(offset.saturating_add(done as u64))
                    .build()
            }
            StoreOp::Write {
                offset,
                buf,
                range,
                fua,
            } => {
                let fd = types::Fd(self.open.fd_for(*offset, range).as_raw_fd());
                for slice in buf.slices(rest(range)).take(IOV_MAX) {
                    self.iov.push(IoVec {
                        base: slice.as_ptr().expose_provenance(),
                        len: slice.len(),
                    });
                }
                let len = u32::try_from(self.iov.len()).ok()?;
                opcode::Writev::new(fd, self.iov.as_ptr().cast(), len)
                    .offset(offset.saturating_add(done as u64))
                    .rw_flags(stable(*fua))
                    .build()
            }
            StoreOp::Flush => data_sync(self.open.main()),
            _ => return None,
        })
    }
}

fn data_sync(fd: BorrowedFd<'_>) -> squeue::Entry {
    opcode::Fsync::new(types::Fd(fd.as_raw_fd()))
        .flags(types::FsyncFlags::DATASYNC)
        .build()
}

/// What an fdatasync ended with: `None` when it is to be sent again.
fn flushed(result: i32) -> Option<StoreResult> {
    if result >= 0 {
        return Some(Ok(Answer::Done));
    }
    match Errno::from_raw_os_error(result.saturating_neg()) {
        Errno::AGAIN | Errno::INTR => None,
        errno => Some(Err(StoreError::of_flush(errno))),
    }
}
