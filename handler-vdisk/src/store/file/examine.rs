//! What a file or block device can do and promises.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::super::block::{self, BlockInfo};
use super::super::{Capabilities, Limits};
use super::{FdOptions, OpenError, device_size};

/// What a store is taken to be until it is there.
pub(super) fn presumed(options: &FdOptions, block: bool) -> Capabilities {
    let mut capabilities = Capabilities::FUA | Capabilities::VOLATILE_CACHE;
    capabilities.set(Capabilities::COPY, !block);
    restrict(capabilities, options)
}

/// Looks at what is at the path. Blocks.
pub(super) fn examine(
    path: &Path,
    meta: &Metadata,
    options: &FdOptions,
    block: bool,
) -> Result<(Limits, Capabilities), OpenError> {
    let kind = meta.file_type();
    let wanted = if block {
        "block device"
    } else {
        "regular file"
    };
    if (block && !kind.is_block_device()) || (!block && !kind.is_file()) {
        return Err(OpenError::Kind {
            path: path.to_owned(),
            wanted,
        });
    }
    let mut capabilities = Capabilities::FUA;
    let limits = if block {
        let info = block::read(
            rustix::fs::major(meta.rdev()),
            rustix::fs::minor(meta.rdev()),
        )
        .ok_or_else(|| {
            OpenError::os(
                "find in sysfs",
                path,
                std::io::Error::from(std::io::ErrorKind::NotFound),
            )
        })?;
        capabilities |= block_capabilities(&info, options);
        info.limits
    } else {
        capabilities |= file_capabilities(path, options);
        let physical = u32::try_from(meta.blksize())
            .ok()
            .filter(|n| n.is_power_of_two())
            .unwrap_or(4096);
        Limits {
            physical_block: physical.clamp(512, 65536),
            discard_granularity: physical,
            ..Limits::new(options.size.unwrap_or(meta.len()))
        }
    };
    Ok((limits, restrict(capabilities, options)))
}

/// What the options leave of them.
fn restrict(mut capabilities: Capabilities, options: &FdOptions) -> Capabilities {
    capabilities.set(Capabilities::READ_ONLY, options.read_only);
    if options.read_only {
        capabilities
            .remove(Capabilities::DISCARD | Capabilities::VOLATILE_CACHE | Capabilities::COPY);
    }
    if options.write_through || options.nv_cache {
        capabilities.remove(Capabilities::VOLATILE_CACHE);
    }
    capabilities
}

fn block_capabilities(info: &BlockInfo, options: &FdOptions) -> Capabilities {
    let mut capabilities = Capabilities::empty();
    // Without O_DIRECT the page cache is a volatile cache, whatever the device has.
    capabilities.set(
        Capabilities::VOLATILE_CACHE,
        info.write_back || !options.direct,
    );
    capabilities.set(
        Capabilities::DISCARD | Capabilities::READS_ZERO_AFTER_DISCARD,
        info.discard,
    );
    capabilities.set(Capabilities::WRITE_ZEROES, info.write_zeroes);
    capabilities.set(Capabilities::ROTATIONAL, info.rotational);
    capabilities
}

fn file_capabilities(path: &Path, options: &FdOptions) -> Capabilities {
    let mut capabilities =
        Capabilities::VOLATILE_CACHE | Capabilities::WRITE_ZEROES | Capabilities::COPY;
    let access = if options.read_only {
        OFlags::RDONLY
    } else {
        OFlags::RDWR
    };
    let Ok(fd) = rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty()) else {
        return capabilities;
    };
    // Punching behind the end changes nothing and tells whether it is supported.
    let beyond = device_size(&fd).unwrap_or(0).next_multiple_of(1 << 20);
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let punch = !options.read_only && rustix::fs::fallocate(&fd, mode, beyond, 4096).is_ok();
    capabilities.set(
        Capabilities::DISCARD | Capabilities::READS_ZERO_AFTER_DISCARD,
        punch,
    );
    let seek = matches!(
        rustix::fs::seek(&fd, SeekFrom::Data(0)),
        Ok(_) | Err(Errno::NXIO)
    );
    capabilities.set(Capabilities::ALLOCATION_STATUS, seek);
    capabilities
}
