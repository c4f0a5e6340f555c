//! WRITE (6), (10), (12), (16) (SBC-4 5.40 to 5.43).

use std::sync::Arc;

use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::units::Lba;

use crate::disk::Disk;
use crate::drive::{self, Step};
use crate::provisioning::Provisioning;
use crate::transfer::Plain;

/// Writes the data that arrived. When the initiator sent less than the CDB asks for, the whole blocks of it are written
/// and the residual count tells.
pub(crate) fn execute(
    disk: &Arc<Disk>,
    execution: &mut Execution<'_>,
    lba: Lba,
    fua: bool,
) -> Execute {
    let mut buf = execution.take_buf();
    buf.truncate(whole_blocks(disk, buf.len()));
    if buf.is_empty() {
        return Execute::Done(Outcome::good());
    }
    let blocks = buf.len() >> disk.block().shift();
    disk.statistics.write(execution.nexus(), blocks as u64);
    Provisioning::changed(disk, buf.len() as u64);
    let (plain, next) = Plain::write(disk, disk.offset(lba), buf, fua);
    drive::start(disk, execution, Step::Plain(plain), next)
}

/// `len` without a trailing part of a block.
pub(crate) fn whole_blocks(disk: &Disk, len: usize) -> usize {
    let shift = disk.block().shift();
    len >> shift << shift
}
