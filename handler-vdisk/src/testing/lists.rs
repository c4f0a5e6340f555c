//! Parameter lists as the commands read them, for fuzz targets and their corpora.

use lunforge_core::sense::Sense;
use lunforge_core::units::BlockCount;

/// Reads an UNMAP parameter list (SBC-4 5.34.2): LBAs and block counts in their order, none empty.
///
/// # Errors
/// As UNMAP ends.
pub fn unmap(
    list: &[u8],
    capacity: BlockCount,
    limit: BlockCount,
) -> Result<Vec<(u64, u64)>, Sense> {
    crate::unmap::parse(list, capacity, limit.0)
}

/// A FORMAT UNIT parameter list: IMMED and the initialization pattern.
pub type Format = (bool, Option<Vec<u8>>);

/// Reads a FORMAT UNIT parameter list (SBC-4 5.4.3) for blocks of `block` bytes.
///
/// # Errors
/// As FORMAT UNIT ends.
pub fn format(list: &[u8], long: bool, block: u32) -> Result<Format, Sense> {
    crate::format_unit::parse(list, long, block).map(|list| (list.immed, list.pattern))
}

/// A SANITIZE OVERWRITE parameter list: count, INVERT, pattern.
pub type Overwrite = (u8, bool, Vec<u8>);

/// Reads a SANITIZE OVERWRITE parameter list (SBC-4 5.31.3) for blocks of `block` bytes.
///
/// # Errors
/// As SANITIZE ends.
pub fn overwrite(list: &[u8], block: u32) -> Result<Overwrite, Sense> {
    crate::sanitize::parse(list, list.len(), block).map(|o| (o.count, o.invert, o.pattern))
}
