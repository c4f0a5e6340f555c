//! Positioned I/O between an open device and an [`IoBuf`]: loops over short transfers, never moves a file position that
//! anything depends on.

use std::cell::Cell;
use std::io::{IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use lunforge_core::buffer::IoBuf;
use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use super::{Allocation, StoreError};

/// Slices per system call (IOV_MAX is 1024; the array lives on the stack).
const IOV: usize = 32;

/// Alignment assumed for O_DIRECT where the file system does not tell.
const DIRECT_ALIGN: u32 = 4096;

static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];

/// One preadv2 of at most [`IOV`] segments.
pub(crate) fn read_some(
    fd: BorrowedFd<'_>,
    buf: &mut IoBuf,
    range: Range<usize>,
    offset: u64,
    flags: ReadWriteFlags,
) -> rustix::io::Result<usize> {
    let mut iov: [IoSliceMut<'_>; IOV] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
    let mut used = 0;
    for (slot, slice) in iov.iter_mut().zip(buf.slices_mut(range)) {
        *slot = IoSliceMut::new(slice);
        used += 1;
    }
    rustix::io::preadv2(fd, iov.get_mut(..used).unwrap_or_default(), offset, flags)
}

/// One pwritev2 of at most [`IOV`] segments.
pub(crate) fn write_some(
    fd: BorrowedFd<'_>,
    buf: &IoBuf,
    range: Range<usize>,
    offset: u64,
    flags: ReadWriteFlags,
) -> rustix::io::Result<usize> {
    let mut iov: [IoSlice<'_>; IOV] = [IoSlice::new(&[]); IOV];
    let mut used = 0;
    for (slot, slice) in iov.iter_mut().zip(buf.slices(range)) {
        *slot = IoSlice::new(slice);
        used += 1;
    }
    rustix::io::pwritev2(fd, iov.get(..used).unwrap_or_default(), offset, flags)
}

/// How far a transfer came.
pub(crate) enum Transfer {
    /// All of it.
    Done,
    /// RWF_NOWAIT refused to go on after so many bytes.
    WouldBlock(usize),
    /// The kernel or file system does not know the flag; so many bytes are done.
    NoFlag(usize),
    /// An error.
    Failed(StoreError),
}

/// Runs `step(done)` until `total` bytes are transferred.
pub(crate) fn transfer(
    offset: u64,
    total: usize,
    mut done: usize,
    mut step: impl FnMut(usize) -> rustix::io::Result<usize>,
) -> Transfer {
    while done < total {
        let at = offset.saturating_add(done as u64);
        match step(done) {
            Ok(0) => return Transfer::Failed(StoreError::Short { offset: at }),
            Ok(n) => done = done.saturating_add(n),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Transfer::WouldBlock(done),
            Err(Errno::OPNOTSUPP) => return Transfer::NoFlag(done),
            Err(errno) => return Transfer::Failed(StoreError::from_errno(errno, at)),
        }
    }
    Transfer::Done
}

/// Gives up the storage of a range; it reads as zeroes afterwards.
pub(crate) fn punch(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Result<(), StoreError> {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    retry(|| rustix::fs::fallocate(fd, mode, offset, len))
        .map_err(|errno| StoreError::from_errno(errno, offset))
}

/// Makes a range read as zeroes, by the cheapest way that the file system has.
pub(crate) fn zero(
    fd: BorrowedFd<'_>,
    offset: u64,
    len: u64,
    may_unmap: bool,
) -> Result<(), StoreError> {
    if may_unmap && punch(fd, offset, len).is_ok() {
        return Ok(());
    }
    let mode = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    match retry(|| rustix::fs::fallocate(fd, mode, offset, len)) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => write_zeroes(fd, offset, len),
        Err(errno) => Err(StoreError::from_errno(errno, offset)),
    }
}

fn write_zeroes(fd: BorrowedFd<'_>, mut offset: u64, mut len: u64) -> Result<(), StoreError> {
    while len > 0 {
        let piece = usize::try_from(len).unwrap_or(usize::MAX).min(ZEROES.len());
        let bytes = ZEROES.get(..piece).unwrap_or_default();
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(StoreError::Short { offset }),
            Ok(n) => {
                offset = offset.saturating_add(n as u64);
                len = len.saturating_sub(n as u64);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(StoreError::from_errno(errno, offset)),
        }
    }
    Ok(())
}

/// Alignment of O_DIRECT transfers (statx STATX_DIOALIGN, Linux 6.1).
pub(crate) fn direct_align(fd: BorrowedFd<'_>, logical_block: u32) -> u32 {
    use rustix::fs::{AtFlags, StatxFlags};
    let told = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)
        .ok()
        .filter(|x| x.stx_mask & StatxFlags::DIOALIGN.bits() != 0 && x.stx_dio_offset_align > 0)
        .map(|x| x.stx_dio_offset_align.max(x.stx_dio_mem_align));
    told.filter(|align| align.is_power_of_two())
        .unwrap_or(DIRECT_ALIGN.max(logical_block))
}

/// The size of a file or device in bytes.
pub(crate) fn size(fd: BorrowedFd<'_>) -> Result<u64, StoreError> {
    rustix::fs::seek(fd, SeekFrom::End(0)).map_err(|errno| StoreError::from_errno(errno, 0))
}

/// Makes finished writes stable.
pub(crate) fn flush(fd: BorrowedFd<'_>) -> Result<(), StoreError> {
    retry(|| rustix::fs::fdatasync(fd)).map_err(StoreError::of_flush)
}

/// Bytes without storage from `offset` on, at most up to `size`; 0 where there is storage.
pub(crate) fn hole(fd: BorrowedFd<'_>, offset: u64, size: u64) -> Result<u64, StoreError> {
    let to_end = size.saturating_sub(offset);
    match rustix::fs::seek(fd, SeekFrom::Data(offset)) {
        Ok(at) => Ok(at.saturating_sub(offset).min(to_end)),
        // No data up to the end of the file.
        Err(Errno::NXIO) => Ok(to_end),
        Err(errno) => Err(StoreError::from_errno(errno, offset)),
    }
}

/// Allocation of the bytes from `offset` on, by SEEK_DATA and SEEK_HOLE. The latter looks at all of a run of data.
pub(crate) fn allocation(
    fd: BorrowedFd<'_>,
    offset: u64,
    size: u64,
) -> Result<Allocation, StoreError> {
    let to_end = size.saturating_sub(offset);
    let unmapped = hole(fd, offset, size)?;
    if unmapped > 0 || to_end == 0 {
        return Ok(Allocation {
            mapped: false,
            len: unmapped,
        });
    }
    let end = rustix::fs::seek(fd, SeekFrom::Hole(offset))
        .map_err(|errno| StoreError::from_errno(errno, offset))?;
    Ok(Allocation {
        mapped: true,
        len: end.saturating_sub(offset).clamp(1, to_end.max(1)),
    })
}

/// Bytes moved at a time where they pass through our own memory.
const THROUGH: usize = 256 * 1024;

thread_local! {
    /// Kept by the store's threads, which end when idle: fresh memory costs more than the copy.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Brings a range into the page cache; `wait`: until it is there.
pub(crate) fn prefetch(
    fd: BorrowedFd<'_>,
    offset: u64,
    len: u64,
    wait: bool,
) -> Result<(), StoreError> {
    let Some(whole) = NonZeroU64::new(len) else {
        return Ok(());
    };
    match retry(|| rustix::fs::fadvise(fd, offset, Some(whole), Advice::WillNeed)) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::SPIPE) => return Err(StoreError::Unsupported),
        Err(errno) => return Err(StoreError::from_errno(errno, offset)),
    }
    if wait {
        read_through(fd, offset, len, |_, _| Ok(()))?;
    }
    Ok(())
}

/// Copies a range through our own memory.
pub(crate) fn copy_through(
    source: BorrowedFd<'_>,
    from: u64,
    to: BorrowedFd<'_>,
    offset: u64,
    len: u64,
) -> Result<(), StoreError> {
    read_through(source, from, len, |mut bytes, at| {
        let mut at = offset.saturating_add(at);
        while !bytes.is_empty() {
            match rustix::io::pwrite(to, bytes, at) {
                Ok(0) => return Err(StoreError::Short { offset: at }),
                Ok(n) => {
                    bytes = bytes.get(n..).unwrap_or_default();
                    at = at.saturating_add(n as u64);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(StoreError::from_errno(errno, at)),
            }
        }
        Ok(())
    })
}

/// Reads a range piece by piece and gives each to `take`, with its place in the range.
fn read_through(
    fd: BorrowedFd<'_>,
    offset: u64,
    len: u64,
    take: impl FnMut(&[u8], u64) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut scratch = SCRATCH.take();
    scratch.resize(THROUGH, 0);
    let result = read_through_scratch(&mut scratch, fd, offset, len, take);
    SCRATCH.set(scratch);
    result
}

fn read_through_scratch(
    scratch: &mut [u8],
    fd: BorrowedFd<'_>,
    offset: u64,
    len: u64,
    mut take: impl FnMut(&[u8], u64) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut done = 0;
    while done < len {
        let left = usize::try_from(len - done).unwrap_or(usize::MAX);
        let piece = left.min(scratch.len());
        let at = offset.saturating_add(done);
        match rustix::io::pread(fd, scratch.get_mut(..piece).unwrap_or_default(), at) {
            Ok(0) => return Err(StoreError::Short { offset: at }),
            Ok(n) => {
                take(scratch.get(..n).unwrap_or_default(), done)?;
                done = done.saturating_add(n as u64);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(StoreError::from_errno(errno, at)),
        }
    }
    Ok(())
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
