//! READ (6), (10), (12), (16) (SBC-4 5.14 to 5.17).

use std::sync::Arc;

use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::units::Lba;

use crate::disk::Disk;
use crate::drive::{self, Step};
use crate::transfer::Plain;

/// Reads into the command's buffer, which has the length of the extent.
pub(crate) fn execute(
    disk: &Arc<Disk>,
    execution: &mut Execution<'_>,
    lba: Lba,
    fua: bool,
) -> Execute {
    let buf = execution.take_buf();
    if buf.is_empty() {
        return Execute::Done(Outcome::good());
    }
    let blocks = buf.len() >> disk.block().shift();
    disk.statistics.read(execution.nexus(), blocks as u64);
    let (plain, next) = Plain::read(disk, disk.offset(lba), buf, fua);
    drive::start(disk, execution, Step::Plain(plain), next)
}
