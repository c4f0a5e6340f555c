//! What sysfs tells of a block device. Readable without opening it, also where opening is refused (a DRBD Secondary).

use std::fs;
use std::path::{Path, PathBuf};

use super::Limits;

/// A block device's properties.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockInfo {
    pub(crate) limits: Limits,
    pub(crate) rotational: bool,
    /// The device has a write cache that loses power.
    pub(crate) write_back: bool,
    pub(crate) discard: bool,
    pub(crate) write_zeroes: bool,
}

/// Reads the properties of device `major:minor`; `None` when sysfs does not know it.
pub(crate) fn read(major: u32, minor: u32) -> Option<BlockInfo> {
    let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let sectors: u64 = number(&device, "size")?;
    // A partition has its queue in the directory above.
    let queue = [device.join("queue"), device.join("../queue")]
        .into_iter()
        .find(|path| path.is_dir())?;
    let get = |name: &str| number(&queue, name);
    let u32_of = |name: &str, default: u32| {
        get(name)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(default)
    };
    let size = sectors.checked_mul(512)?;
    let logical_block = u32_of("logical_block_size", 512);
    let discard_max = get("discard_max_bytes").unwrap_or(0);
    let limits = Limits {
        logical_block,
        physical_block: u32_of("physical_block_size", logical_block),
        max_discard: if discard_max == 0 {
            Limits::new(size).max_discard
        } else {
            discard_max.min(256 << 20)
        },
        discard_granularity: u32_of("discard_granularity", 0),
        discard_alignment: number(&device, "discard_alignment")
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(0),
        ..Limits::new(size)
    };
    let write_zeroes = get("write_zeroes_max_bytes").unwrap_or(0) > 0;
    Some(BlockInfo {
        limits,
        rotational: get("rotational").unwrap_or(0) == 1,
        write_back: text(&queue, "write_cache").is_none_or(|mode| mode != "write through"),
        // FALLOC_FL_PUNCH_HOLE on a block device is "write zeroes, may unmap": it needs both.
        discard: discard_max > 0 && write_zeroes,
        write_zeroes,
    })
}

fn text(dir: &Path, name: &str) -> Option<String> {
    fs::read_to_string(dir.join(name))
        .ok()
        .map(|text| text.trim().to_owned())
}

fn number(dir: &Path, name: &str) -> Option<u64> {
    text(dir, name)?.parse().ok()
}
