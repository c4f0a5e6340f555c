//! Whether what was written can be made stable, and what became of it when not.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::OpenFd;
use crate::store::{Answer, StoreError, StoreResult, syscalls};

/// What is known of an open device.
#[derive(Debug)]
pub(super) struct Health {
    /// See [`OpenFd::stable`].
    lost: AtomicBool,
    /// See [`OpenFd::without_space`].
    witness: OwnedFd,
}

impl Health {
    pub(super) fn new(witness: OwnedFd) -> Self {
        Self {
            lost: AtomicBool::new(false),
            witness,
        }
    }
}

impl OpenFd {
    /// What became of a flush or a stable write. After one that failed the kernel may have given up pages that it could not
    /// write, marks them clean and reports that once: the next fdatasync succeeds although the data is gone (what
    /// PostgreSQL's developers found in 2018, and since end the server for). So a failure is remembered as long as the
    /// device is open.
    pub(crate) fn stable(&self, result: StoreResult) -> StoreResult {
        match result {
            // Relaxed: whoever learns of the failure later is a command of its own.
            Ok(_) if self.is_lost() => Err(StoreError::Lost),
            // Those two did not reach the device. What else it says, it says of pages: a reservation of another (EBADE), a
            // path or device that is gone (ENODEV, ESTALE) or does not answer lose them as a bad sector does.
            Err(StoreError::Transient | StoreError::Unsupported) => result,
            Err(error) => {
                self.lose(error);
                result
            }
            _ => result,
        }
    }

    /// The same for a stable write that was one call. Blocks.
    pub(crate) fn stable_write(&self, result: StoreResult) -> StoreResult {
        match result {
            Err(StoreError::NoSpace) => {
                self.without_space(syscalls::flush(self.witness()).map(|()| Answer::Done))
            }
            result => self.stable(result),
        }
    }

    /// What a stable write says that failed with ENOSPC, EDQUOT or EFBIG, if an fdatasync of [`OpenFd::witness`] after it
    /// ended with `asked`.
    ///
    /// RWF_DSYNC is a write and, if that took a byte, a sync of what it took, and both answer by the same number. The
    /// write fails when a block cannot be had for it (tmpfs, an allocation that is not delayed, a reservation for one
    /// that is, a quota, O_DIRECT): nothing was taken, so nothing was synced, and nothing that was acknowledged is
    /// touched. The sync fails when write-back of the page cache finds no space after all (a thin device or a server
    /// below), which may have been that of earlier writes: they are lost.
    ///
    /// What write-back met is kept in the inode (errseq_t), and each open file is told of it once. So the descriptor that
    /// the write used has been told when the write returns, and its own fdatasync would find nothing. The witness is an
    /// open file that nothing else syncs, as old as the others: it is told what any of them was told. Its fdatasync also
    /// writes again what is still dirty, sends another flush to the device and so meets again what the kernel does not
    /// keep. Whatever it fails with, the writes before it may be lost.
    pub(crate) fn without_space(&self, asked: StoreResult) -> StoreResult {
        match asked {
            Ok(_) => Err(StoreError::NoSpace),
            Err(error) => {
                self.lose(error);
                Err(StoreError::Lost)
            }
        }
    }

    /// See [`OpenFd::without_space`].
    pub(crate) fn witness(&self) -> BorrowedFd<'_> {
        self.descriptors.health.witness.as_fd()
    }

    fn lose(&self, error: StoreError) {
        if !self.descriptors.health.lost.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "writes cannot be made stable; flushes fail until the store is opened anew");
        }
    }

    /// Whether a flush or a stable write failed.
    pub(crate) fn is_lost(&self) -> bool {
        self.descriptors.health.lost.load(Ordering::Relaxed)
    }
}
