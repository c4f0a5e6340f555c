//! The inline engine: I/O on the calling thread as far as it cannot block.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FileType;
use rustix::io::ReadWriteFlags;

use super::copy;
use super::fd::{OpenFd, Policy};
use super::syscalls::{self, Transfer};
use super::{Answer, StoreError, StoreOp, StoreResult};

/// TMPFS_MAGIC and RAMFS_MAGIC (statfs(2)).
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// Longest fallocate done on a shard.
const INLINE_FALLOCATE: u64 = 1 << 20;

/// What may run on the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InlineMode {
    /// Nothing.
    Never,
    /// What RWF_NOWAIT lets through.
    NoWait,
    /// Everything short: a file in memory cannot block.
    Memory,
    /// Everything: the caller asked for it.
    Always,
}

/// The mode that suits an open device.
pub(crate) fn detect(open: &OpenFd) -> InlineMode {
    if is_in_memory(open) {
        InlineMode::Memory
    } else if open.is_direct() {
        // RWF_NOWAIT of a synchronous O_DIRECT call still waits for the device.
        InlineMode::Never
    } else {
        InlineMode::NoWait
    }
}

/// Whether the bytes themselves are in memory. Of a device, fstatfs tells the file system that holds its node, which is
/// memory (devtmpfs), whatever the device is: only a regular file lies where its name does.
fn is_in_memory(open: &OpenFd) -> bool {
    let file = rustix::fs::fstat(open.main())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    let magic = rustix::fs::fstatfs(open.main()).map(|fs| fs.f_type as u64);
    file && magic.is_ok_and(|magic| MEMORY_FILE_SYSTEMS.contains(&magic))
}

/// Flags that turned out not to work here; learnt once.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    no_read: AtomicBool,
    no_write: AtomicBool,
}

/// What came of an attempt.
pub(crate) enum Attempt {
    /// Finished.
    Done(StoreResult),
    /// Would block; so many bytes are transferred.
    Blocked(usize),
}

/// Tries an operation without blocking.
pub(crate) fn attempt(
    open: &OpenFd,
    op: &mut StoreOp,
    mode: InlineMode,
    learnt: &Learnt,
    policy: &Policy,
) -> Attempt {
    match mode {
        InlineMode::Never => Attempt::Blocked(0),
        InlineMode::Always => Attempt::Done(blocking(open, op, 0, policy)),
        InlineMode::Memory => memory(open, op, policy),
        InlineMode::NoWait => no_wait(open, op, learnt, policy),
    }
}

fn memory(open: &OpenFd, op: &mut StoreOp, policy: &Policy) -> Attempt {
    match op {
        StoreOp::Read { .. } | StoreOp::Write { .. } => {
            Attempt::Done(blocking(open, op, 0, policy))
        }
        // There is no medium below memory.
        StoreOp::Flush | StoreOp::Prefetch { .. } => Attempt::Done(Ok(Answer::Done)),
        StoreOp::Discard { len, .. } | StoreOp::WriteZeroes { len, .. }
            if *len <= INLINE_FALLOCATE =>
        {
            Attempt::Done(blocking(open, op, 0, policy))
        }
        _ => Attempt::Blocked(0),
    }
}

fn no_wait(open: &OpenFd, op: &mut StoreOp, learnt: &Learnt, policy: &Policy) -> Attempt {
    // Relaxed: only a hint, each thread may learn it again.
    let (done, flag) = match op {
        StoreOp::Read { offset, buf, range } if !learnt.no_read.load(Ordering::Relaxed) => {
            let fd = open.fd_for(*offset, range);
            let done = syscalls::transfer(*offset, range.len(), 0, |done| {
                let rest = range.start.saturating_add(done)..range.end;
                syscalls::read_some(
                    fd,
                    buf,
                    rest,
                    offset.saturating_add(done as u64),
                    ReadWriteFlags::NOWAIT,
                )
            });
            (done, &learnt.no_read)
        }
        // A stable write waits for the medium by its nature.
        StoreOp::Write {
            offset,
            buf,
            range,
            fua,
        } if !learnt.no_write.load(Ordering::Relaxed) && !policy.stable(*fua) => {
            let fd = open.fd_for(*offset, range);
            let done = syscalls::transfer(*offset, range.len(), 0, |done| {
                let rest = range.start.saturating_add(done)..range.end;
                syscalls::write_some(
                    fd,
                    buf,
                    rest,
                    offset.saturating_add(done as u64),
                    ReadWriteFlags::NOWAIT,
                )
            });
            (done, &learnt.no_write)
        }
        StoreOp::Flush if policy.nv_cache => return Attempt::Done(Ok(Answer::Done)),
        _ => return Attempt::Blocked(0),
    };
    match done {
        Transfer::Done => Attempt::Done(Ok(Answer::Done)),
        Transfer::WouldBlock(done) => Attempt::Blocked(done),
        Transfer::NoFlag(done) => {
            flag.store(true, Ordering::Relaxed);
            Attempt::Blocked(done)
        }
        Transfer::Failed(error) => Attempt::Done(Err(error)),
    }
}

/// Runs an operation to its end on this thread, from `done` bytes on.
pub(crate) fn blocking(
    open: &OpenFd,
    op: &mut StoreOp,
    done: usize,
    policy: &Policy,
) -> StoreResult {
    let main = open.main();
    match op {
        StoreOp::Read { offset, buf, range } => {
            let fd = open.fd_for(*offset, range);
            finish(
                *offset,
                syscalls::transfer(*offset, range.len(), done, |done| {
                    let rest = range.start.saturating_add(done)..range.end;
                    syscalls::read_some(
                        fd,
                        buf,
                        rest,
                        offset.saturating_add(done as u64),
                        ReadWriteFlags::empty(),
                    )
                }),
            )
        }
        StoreOp::Write {
            offset,
            buf,
            range,
            fua,
        } => {
            let flags = if policy.stable(*fua) {
                ReadWriteFlags::DSYNC
            } else {
                ReadWriteFlags::empty()
            };
            let fd = open.fd_for(*offset, range);
            let written = finish(
                *offset,
                syscalls::transfer(*offset, range.len(), done, |done| {
                    let rest = range.start.saturating_add(done)..range.end;
                    syscalls::write_some(fd, buf, rest, offset.saturating_add(done as u64), flags)
                }),
            );
            if policy.stable(*fua) {
                open.stable_write(written)
            } else {
                written
            }
        }
        StoreOp::Flush if policy.nv_cache => Ok(Answer::Done),
        StoreOp::Flush => open.stable(syscalls::flush(main).map(|()| Answer::Done)),
        StoreOp::Discard { offset, len } => {
            syscalls::punch(main, *offset, *len)?;
            after_change(open, policy)
        }
        StoreOp::WriteZeroes {
            offset,
            len,
            may_unmap,
        } => {
            syscalls::zero(open.buffered(), *offset, *len, *may_unmap)?;
            after_change(open, policy)
        }
        StoreOp::AllocationStatus { offset } => {
            syscalls::allocation(main, *offset, open.size()).map(Answer::Allocation)
        }
        // Reads of a direct descriptor pass by the page cache.
        StoreOp::Prefetch { .. } if open.is_direct() => Err(StoreError::Unsupported),
        StoreOp::Prefetch { offset, len, wait } => {
            syscalls::prefetch(main, *offset, *len, *wait).map(|()| Answer::Done)
        }
        StoreOp::CopyFrom {
            source,
            from,
            offset,
            len,
            may_unmap,
        } => {
            copy::run(open, source, *from, *offset, *len, *may_unmap)?;
            after_change(open, policy)
        }
    }
}

/// O_DSYNC covers writes, not fallocate.
fn after_change(open: &OpenFd, policy: &Policy) -> StoreResult {
    if policy.write_through {
        return open.stable(syscalls::flush(open.main()).map(|()| Answer::Done));
    }
    Ok(Answer::Done)
}

fn finish(offset: u64, transfer: Transfer) -> StoreResult {
    match transfer {
        Transfer::Done => Ok(Answer::Done),
        Transfer::WouldBlock(_) => Err(StoreError::Transient),
        Transfer::NoFlag(done) => {
            let at = offset.saturating_add(done as u64);
            Err(StoreError::from_errno(rustix::io::Errno::OPNOTSUPP, at))
        }
        Transfer::Failed(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::store::Stamp;

    fn detected(path: &str) -> InlineMode {
        let open = || File::open(path).unwrap().into();
        detect(&OpenFd::new(open(), None, open(), 1, Stamp::default(), 0))
    }

    /// /dev/null stands for the block devices that tests have no right to open: its node lies on devtmpfs as theirs do.
    #[test]
    fn n54_a_device_is_never_taken_for_memory_so_that_its_flushes_are_done() {
        assert_eq!(detected("/dev/null"), InlineMode::NoWait);
    }
}
