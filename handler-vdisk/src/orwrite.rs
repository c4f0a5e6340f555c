//! ORWRITE (16) (SBC-4 5.9): the Data-Out is ORed into what is on the medium.

use std::sync::Arc;

use lunforge_core::cdb::{Cdb, ParsedCdb};
use lunforge_core::handler::{Execute, Execution, Transfer};
use lunforge_core::sense::Sense;

use crate::check::{blocks_in_range, no_protection, out, unsupported};
use crate::disk::Disk;
use crate::read_modify::{self, Rule};
use crate::write::whole_blocks;

/// Checks the command as a WRITE: it has the same limits.
pub(crate) fn check(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::Orwrite {
        lba,
        blocks,
        protect,
        ..
    } = cdb.cdb
    else {
        return Err(unsupported());
    };
    no_protection(protect)?;
    blocks_in_range(disk, cdb, lba, blocks).map(out)
}

/// Reads, ORs, writes. Of an initiator that sent less the whole blocks are taken, as by WRITE.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>) -> Execute {
    let Cdb::Orwrite { lba, fua, .. } = *execution.cdb() else {
        return Execute::Done(unsupported().into());
    };
    let mut data = execution.take_buf();
    data.truncate(whole_blocks(disk, data.len()));
    read_modify::start(disk, execution, Rule::Or, lba, fua, data)
}
