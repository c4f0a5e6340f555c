//! Stage 4, and its second look in stage 9: what the unit's services let a nexus do.

use std::sync::atomic::Ordering;

use crate::asc::Asc;
use crate::cdb::{CommandClass, ParsedCdb};
use crate::lu::LogicalUnit;
use crate::nexus::Itl;
use crate::sense::Sense;
use crate::service::Refusal;
use crate::spc;

/// Whether nothing speaks against a command: two loads.
#[inline]
pub(super) fn allowed(itl: &Itl, unit: &LogicalUnit, class: CommandClass) -> bool {
    // Acquire: pairs with the count going up before the abort that made it is answered.
    unit.unfenced.load(Ordering::Acquire) == 0 && itl.access.allows(class)
}

/// What speaks against a command that is not [`allowed`].
///
/// # Errors
/// Why it may not pass; none where a right that was missing has come back meanwhile.
#[cold]
pub(super) fn judge(itl: &Itl, unit: &LogicalUnit, cdb: &ParsedCdb) -> Result<(), Refusal> {
    if unit.unfenced.load(Ordering::Acquire) != 0 && cdb.class.intersects(spc::MEDIUM_CLASSES) {
        let sense = Sense::not_ready(Asc::LOGICAL_UNIT_IS_IN_PROCESS_OF_BECOMING_READY);
        return Err(Refusal::Answer(sense.into()));
    }
    if itl.access.allows(cdb.class) {
        return Ok(());
    }
    let refusal = unit.services().iter().find_map(|s| s.refusal(itl, cdb));
    // Last: by another path the unit may be written to no more than by this one.
    let refusal = refusal.or_else(|| {
        let writes = cdb.class.contains(CommandClass::WRITE);
        let protected = Sense::data_protect(Asc::WRITE_PROTECTED);
        (writes && itl.is_read_only()).then(|| Refusal::Answer(protected.into()))
    });
    refusal.map_or(Ok(()), Err)
}
