//! READ CD (MMC-6 6.20): the user data of a data track. Sync, headers, EDC and sub-channels are not in an image.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::cdb::{Cdb, ParsedCdb};
use lunforge_core::handler::{Execute, Execution, Transfer};
use lunforge_core::sense::Sense;

use crate::check::{blocks_in_range, unsupported};
use crate::disk::Disk;
use crate::read;

/// What of a sector is wanted: its user data.
const USER_DATA: u8 = 0x10;
/// EXPECTED SECTOR TYPE: any, and mode 1.
const ANY: u8 = 0;
const MODE_1: u8 = 2;

/// Checks what is asked for.
pub(super) fn check(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::ReadCd {
        lba,
        blocks,
        sector,
        fields,
        sub_channel,
    } = cdb.cdb
    else {
        return Err(unsupported());
    };
    if sub_channel != 0 {
        return Err(Sense::invalid_field_in_cdb(10, Some(2)));
    }
    if !matches!(sector, ANY | MODE_1) || !matches!(fields, 0 | USER_DATA) {
        return Err(Sense::illegal_request(Asc::ILLEGAL_MODE_FOR_THIS_TRACK));
    }
    let len = blocks_in_range(disk, cdb, lba, blocks)?;
    Ok(match (len, fields) {
        (0, _) | (_, 0) => Transfer::None,
        _ => Transfer::In(len),
    })
}

/// Reads as READ does.
pub(super) fn execute(disk: &Arc<Disk>, command: &mut Execution<'_>) -> Execute {
    let Cdb::ReadCd { lba, .. } = *command.cdb() else {
        return Execute::Done(unsupported().into());
    };
    read::execute(disk, command, lba, false)
}
