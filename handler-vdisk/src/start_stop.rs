//! START STOP UNIT (SBC-4 5.30, MMC-6 6.42): flush on stop; eject and load for removable media.
//!
//! DEVIATION: STOP flushes and changes no power condition, so that one initiator cannot stop a unit that others use
//! (test `stop_flushes_and_leaves_the_unit_ready`). For the same reason a POWER CONDITION other than zero, reserved ones
//! included, is accepted and does nothing; libiscsi's suite goes through all of them.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::cdb::{Cdb, PowerCondition};
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::sense::Sense;

use crate::disk::Disk;
use crate::drive::{self, Machine, Next, Step};
use crate::outcome::{Doing, of_error};
use crate::store::{Capabilities, StoreOp, StoreResult};

/// The fields of the CDB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) power_condition: PowerCondition,
    pub(crate) no_flush: bool,
    pub(crate) loej: bool,
    pub(crate) start: bool,
}

impl Fields {
    /// Those of a START STOP UNIT, `None` for other commands.
    pub(crate) fn of(cdb: &Cdb) -> Option<Self> {
        let Cdb::StartStopUnit {
            power_condition,
            no_flush,
            loej,
            start,
            ..
        } = *cdb
        else {
            return None;
        };
        Some(Self {
            power_condition,
            no_flush,
            loej,
            start,
        })
    }
}

/// Checks the fields against what the unit is.
pub(crate) fn check(disk: &Disk, fields: Fields) -> Result<(), Sense> {
    // LOEJ and START mean nothing with a power condition (SBC-4 5.30).
    if fields.power_condition.condition != 0 {
        return Ok(());
    }
    if fields.loej && !disk.settings.removable {
        return Err(Sense::invalid_field_in_cdb(4, Some(1)));
    }
    Ok(())
}

/// Starts, stops, loads or ejects.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>, fields: Fields) -> Execute {
    if fields.power_condition.condition != 0 {
        return Execute::Done(Outcome::good());
    }
    // Loading is no removal, but libiscsi's suite (PreventAllow.Eject) wants it refused too; a medium that is in is not
    // touched by either, and one that is out can be loaded when nobody prevents.
    if fields.loej
        && let Err(sense) = disk.removal.allowed()
    {
        return Execute::Done(sense.into());
    }
    if fields.start {
        if fields.loej && disk.set_medium(true) {
            let but = Some(execution.nexus());
            execution
                .unit()
                .unit_attention(Asc::NOT_READY_TO_READY_CHANGE_MEDIUM_MAY_HAVE_CHANGED, but);
        }
        return Execute::Done(Outcome::good());
    }
    if fields.no_flush || !disk.has(Capabilities::VOLATILE_CACHE) || disk.read_only() {
        if fields.loej {
            disk.set_medium(false);
        }
        return Execute::Done(Outcome::good());
    }
    let stop = Stop { eject: fields.loej };
    drive::start(
        disk,
        execution,
        Step::Machine(Box::new(stop)),
        Next::Submit(StoreOp::Flush),
    )
}

struct Stop {
    eject: bool,
}

impl Machine for Stop {
    fn advance(&mut self, disk: &Disk, result: StoreResult, _buf: Option<IoBuf>) -> Next {
        if let Err(error) = result {
            return Next::end(of_error(error, Doing::Write, disk.block()));
        }
        if self.eject {
            disk.set_medium(false);
        }
        Next::end(Outcome::good())
    }
}
