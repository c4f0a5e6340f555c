//! PRE-FETCH (10), (16) (SBC-4 5.10): CONDITION MET when the whole extent is in the cache, or with IMMED will be; GOOD
//! when the store has no cache or the extent is longer than what is fetched at a time.

use std::sync::Arc;

use lunforge_core::buffer::IoBuf;
use lunforge_core::cdb::{Cdb, ParsedCdb};
use lunforge_core::handler::{Execute, Execution, Outcome, Transfer};
use lunforge_core::sense::Sense;
use lunforge_core::status::Status;
use lunforge_core::units::{BlockCount, Lba};

use crate::check::unsupported;
use crate::disk::Disk;
use crate::drive::{self, Machine, Next, Step};
use crate::outcome::{Doing, of_error};
use crate::store::{StoreError, StoreOp, StoreResult};

/// Bytes that one command fetches at most: a bound of time, and of what it pushes out of the cache.
const MOST: u64 = 32 << 20;

/// Checks the extent. MAXIMUM PREFETCH LENGTH is 0, not limited.
pub(crate) fn check(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::PreFetch { lba, blocks, .. } = cdb.cdb else {
        return Err(unsupported());
    };
    disk.check_extent(lba, blocks).map(|()| Transfer::None)
}

/// Bytes to fetch, and whether that is the whole extent. Zero blocks: up to the end of the medium.
fn length(disk: &Disk, lba: Lba, blocks: BlockCount) -> (u64, bool) {
    let blocks = if blocks.is_zero() {
        BlockCount(disk.blocks().0.saturating_sub(lba.0))
    } else {
        blocks
    };
    let whole = disk.bytes(blocks);
    (whole.min(MOST), whole <= MOST)
}

/// Fetches, or starts to with IMMED.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>) -> Execute {
    let Cdb::PreFetch { lba, blocks, immed } = *execution.cdb() else {
        return Execute::Done(unsupported().into());
    };
    let (len, whole) = length(disk, lba, blocks);
    let op = StoreOp::Prefetch {
        offset: disk.offset(lba),
        len,
        wait: !immed,
    };
    let machine = PreFetch { whole };
    drive::start(
        disk,
        execution,
        Step::Machine(Box::new(machine)),
        Next::Submit(op),
    )
}

struct PreFetch {
    whole: bool,
}

impl Machine for PreFetch {
    fn advance(&mut self, disk: &Disk, result: StoreResult, _buf: Option<IoBuf>) -> Next {
        match result {
            Ok(_) if self.whole => Next::end(Outcome::status(Status::ConditionMet)),
            Ok(_) | Err(StoreError::Unsupported) => Next::end(Outcome::good()),
            Err(error) => Next::end(of_error(error, Doing::Read, disk.block())),
        }
    }
}
