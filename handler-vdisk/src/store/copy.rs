//! Copies between files inside the kernel: no byte passes through this process, and where the file system can, none is
//! copied at all (copy_file_range(2) tries to share blocks, or lets a server copy, before it copies).
//!
//! Holes of the source are not copied but made: they stay sparse. Where the kernel does not copy from a source to a
//! destination, that pair is copied through our own memory, and remembered.

use std::sync::Arc;

use rustix::io::Errno;

use super::fd::{OpenFd, Slot};
use super::{Allocation, Stamp, StoreError, syscalls};

/// A store as the source of a copy, and whose reads these are: a source that was fenced or closed since gives
/// [`StoreError::Fenced`] or [`StoreError::Inactive`].
#[derive(Clone, Debug)]
pub struct CopySource {
    slot: Arc<Slot>,
    stamp: Stamp,
}

impl CopySource {
    pub(crate) fn new(slot: Arc<Slot>, stamp: Stamp) -> Self {
        Self { slot, stamp }
    }
}

/// Copies `len` bytes from `from` of the source to `offset`. Blocks.
pub(crate) fn run(
    to: &OpenFd,
    source: &CopySource,
    from: u64,
    offset: u64,
    len: u64,
    may_unmap: bool,
) -> Result<(), StoreError> {
    let open = source.slot.claim(source.stamp)?;
    let Some(source) = &*open else {
        return Err(StoreError::Inactive);
    };
    if source.id() == to.id() && from.abs_diff(offset) < len {
        return Err(StoreError::Unsupported);
    }
    // A file that shrank below has no holes there: it ends.
    let size = syscalls::size(source.buffered())?;
    if from.saturating_add(len) > size {
        return Err(StoreError::Short {
            offset: size.max(from),
        });
    }
    let mut done = 0;
    while done < len {
        let run = next_run(source, from.saturating_add(done), len - done);
        let at = offset.saturating_add(done);
        if run.mapped {
            bytes(to, at, source, from.saturating_add(done), run.len)?;
        } else {
            hole(to, at, run.len, may_unmap)?;
        }
        done = done.saturating_add(run.len);
    }
    Ok(())
}

/// The bytes from `offset` on, at most `most`, that are all storage or all hole. A file system that cannot tell has no
/// holes.
fn next_run(source: &OpenFd, offset: u64, most: u64) -> Allocation {
    match source.known_allocation(offset) {
        Ok(found) if found.len > 0 => Allocation {
            mapped: found.mapped,
            len: found.len.min(most),
        },
        _ => Allocation {
            mapped: true,
            len: most,
        },
    }
}

/// Makes a range read as zeroes, without giving storage to what has none.
fn hole(to: &OpenFd, offset: u64, len: u64, may_unmap: bool) -> Result<(), StoreError> {
    if syscalls::hole(to.buffered(), offset, to.size()).is_ok_and(|there| there >= len) {
        return Ok(());
    }
    syscalls::zero(to.buffered(), offset, len, may_unmap)
}

/// Copies bytes that have storage.
fn bytes(
    to: &OpenFd,
    mut offset: u64,
    source: &OpenFd,
    mut from: u64,
    mut len: u64,
) -> Result<(), StoreError> {
    while len > 0 && to.kernel_copies_from(source.id()) {
        let piece = usize::try_from(len).unwrap_or(usize::MAX);
        let (mut read_at, mut write_at) = (from, offset);
        match rustix::fs::copy_file_range(
            source.buffered(),
            Some(&mut read_at),
            to.buffered(),
            Some(&mut write_at),
            piece,
        ) {
            Ok(0) => return Err(StoreError::Short { offset: from }),
            Ok(n) => {
                let n = n as u64;
                from = from.saturating_add(n);
                offset = offset.saturating_add(n);
                len = len.saturating_sub(n);
            }
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                to.no_kernel_copy_from(source.id());
            }
            Err(errno) => return Err(StoreError::from_errno(errno, offset)),
        }
    }
    if len > 0 {
        syscalls::copy_through(source.buffered(), from, to.buffered(), offset, len)?;
    }
    Ok(())
}
