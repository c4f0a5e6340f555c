//! What a file occupies and what its file system has left.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Stat, StatVfs, fstat, fstatvfs, stat, statvfs};
use rustix::io::Errno;

use super::{Space, StoreError};

/// The space of an open file. Blocks.
pub(super) fn of_file(fd: impl AsFd) -> Result<Space, StoreError> {
    space(fstat(&fd), || fstatvfs(&fd))
}

/// The space of a file that is not open. Blocks.
pub(super) fn of_path(path: &Path) -> Result<Space, StoreError> {
    space(stat(path), || statvfs(path))
}

fn space(
    file: Result<Stat, Errno>,
    system: impl FnOnce() -> Result<StatVfs, Errno>,
) -> Result<Space, StoreError> {
    let failed = |errno| StoreError::from_errno(errno, 0);
    let (file, system) = (file.map_err(failed)?, system().map_err(failed)?);
    Ok(Space {
        // st_blocks counts 512 bytes whatever the file system's block is.
        used: u64::try_from(file.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512),
        available: system.f_bavail.saturating_mul(system.f_frsize),
        capacity: system.f_blocks.saturating_mul(system.f_frsize),
    })
}
