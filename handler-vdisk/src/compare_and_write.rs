//! COMPARE AND WRITE (SBC-4 5.3): all is compared before anything is written.

use std::sync::Arc;

use lunforge_core::cdb::{Cdb, ParsedCdb};
use lunforge_core::handler::{Execute, Execution, Transfer};
use lunforge_core::sense::Sense;
use lunforge_core::units::BlockCount;

use crate::check::{no_protection, unsupported};
use crate::disk::Disk;
use crate::read_modify::{self, Rule};

/// MAXIMUM COMPARE AND WRITE LENGTH (VPD page B0h): what the CDB can say, or what a transfer may be.
pub(crate) fn max_blocks(disk: &Disk) -> u8 {
    u8::try_from(disk.max_transfer_blocks()).unwrap_or(u8::MAX)
}

/// Checks the command. Its Data-Out is twice the extent, and exactly so much: with less, what to compare and what to
/// write could not be told apart.
pub(crate) fn check(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::CompareAndWrite {
        lba,
        blocks,
        protect,
        ..
    } = cdb.cdb
    else {
        return Err(unsupported());
    };
    no_protection(protect)?;
    disk.check_extent(lba, BlockCount(blocks.into()))?;
    if blocks > max_blocks(disk) {
        return Err(Sense::invalid_field_in_cdb(13, Some(7)));
    }
    let len = disk.bytes(BlockCount(u64::from(blocks) * 2));
    // No blocks, no data: 256 blocks do not fit the field, and whoever sends so many must not be told GOOD (libiscsi's
    // suite tries).
    usize::try_from(len)
        .map(Transfer::OutExactly)
        .map_err(|_| Sense::invalid_field_in_cdb(13, Some(7)))
}

/// Compares, then writes.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>) -> Execute {
    let Cdb::CompareAndWrite {
        lba, blocks, fua, ..
    } = *execution.cdb()
    else {
        return Execute::Done(unsupported().into());
    };
    let data = execution.take_buf();
    if data.len() as u64 != disk.bytes(BlockCount(u64::from(blocks) * 2)) {
        return Execute::Done(Sense::invalid_field_in_cdb(13, Some(7)).into());
    }
    read_modify::start(disk, execution, Rule::Compare, lba, fua, data)
}
