//! WRITE ATOMIC (16) (SBC-4 5.47, 4.29): over stores only that declare [`Capabilities::ATOMIC_WRITE`].
//!
//! Towards other commands the row's LBA exclusion makes the write atomic over any store; that a power cut leaves all of
//! it or nothing is for the store to promise. A file or a plain block device does not, so there the command is not
//! supported and VPD page B0h says so by zeroes.

use std::sync::Arc;

use lunforge_core::cdb::{Cdb, ParsedCdb};
use lunforge_core::handler::{Execute, Execution, Transfer};
use lunforge_core::sense::Sense;

use crate::check::{no_protection, unsupported};
use crate::disk::Disk;
use crate::store::Capabilities;
use crate::write;

/// MAXIMUM ATOMIC TRANSFER LENGTH in blocks; 0 where the command is not supported. The CDB has 16 bits for it.
pub(crate) fn max_blocks(disk: &Disk) -> u64 {
    if disk.has(Capabilities::ATOMIC_WRITE) {
        disk.max_transfer_blocks().min(u16::MAX.into())
    } else {
        0
    }
}

/// Checks the command. Data-Out of another length than the CDB says could not be written whole.
pub(crate) fn check(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::WriteAtomic16 {
        lba,
        blocks,
        boundary,
        protect,
        ..
    } = cdb.cdb
    else {
        return Err(unsupported());
    };
    no_protection(protect)?;
    disk.check_extent(lba, blocks)?;
    // MAXIMUM ATOMIC BOUNDARY SIZE is 0.
    if boundary != 0 {
        return Err(Sense::invalid_field_in_cdb(10, Some(7)));
    }
    let too_long = || Sense::invalid_field_in_cdb(12, Some(7));
    if blocks.0 > max_blocks(disk) {
        return Err(too_long());
    }
    usize::try_from(disk.bytes(blocks))
        .map(Transfer::OutExactly)
        .map_err(|_| too_long())
}

/// Writes by one store operation.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>) -> Execute {
    let Cdb::WriteAtomic16 { lba, fua, .. } = *execution.cdb() else {
        return Execute::Done(unsupported().into());
    };
    write::execute(disk, execution, lba, fua)
}
