//! Stage 4, and its second look in stage 9: what the unit's services let a nexus do.

use std::sync::atomic::Ordering;

use crate::asc::Asc;
use crate::cdb::ParsedCdb;
use crate::lu::LogicalUnit;
use crate::nexus::Itl;
use crate::sense::Sense;
use crate::service::Refusal;
use crate::spc;

/// Whether a command may pass: two loads when it may.
pub(super) fn check(itl: &Itl, unit: &LogicalUnit, cdb: &ParsedCdb) -> Result<(), Refusal> {
    // Acquire: pairs with the count going up before the abort that made it is answered.
    if unit.unfenced.load(Ordering::Acquire) != 0 && cdb.class.intersects(spc::MEDIUM_CLASSES) {
        let sense = Sense::not_ready(Asc::LOGICAL_UNIT_IS_IN_PROCESS_OF_BECOMING_READY);
        return Err(Refusal::Answer(sense.into()));
    }
    if itl.access.allows(cdb.class) {
        return Ok(());
    }
    // A right that nobody denies any more came back after the word was read.
    let refusal = unit.services().iter().find_map(|s| s.refusal(itl, cdb));
    refusal.map_or(Ok(()), Err)
}
