//! SYNCHRONIZE CACHE (10), (16) (SBC-4 5.32, 5.33). The whole store is flushed, whatever the extent.

use std::sync::Arc;

use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::{Execute, Execution, Outcome};

use crate::disk::Disk;
use crate::drive::{self, Machine, Next, Step};
use crate::outcome::{Doing, of_error};
use crate::store::{Capabilities, StoreOp, StoreResult, submit_with};

/// Flushes the store, or starts to with IMMED.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>, immed: bool) -> Execute {
    if !disk.has(Capabilities::VOLATILE_CACHE) {
        return Execute::Done(Outcome::good());
    }
    if immed {
        submit_with(disk.store(), StoreOp::Flush, disk.stamp(), |result, _| {
            if let Err(error) = result {
                tracing::error!(%error, "SYNCHRONIZE CACHE with IMMED failed after its GOOD status");
            }
        });
        return Execute::Done(Outcome::good());
    }
    drive::start(
        disk,
        execution,
        Step::Machine(Box::new(Flush)),
        Next::Submit(StoreOp::Flush),
    )
}

/// Waits for a flush and ends with GOOD.
pub(crate) struct Flush;

impl Machine for Flush {
    fn advance(&mut self, disk: &Disk, result: StoreResult, _buf: Option<IoBuf>) -> Next {
        match result {
            Ok(_) => Next::end(Outcome::good()),
            Err(error) => Next::end(of_error(error, Doing::Write, disk.block())),
        }
    }
}
