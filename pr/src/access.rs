//! What a reservation lets a nexus do, as a word of command class bits.
//!
//! The tables are SPC-4 5.13.1 (commands allowed in the presence of various reservations), the like of SBC-4 4.17 and,
//! for RESERVE, SPC-2 5.5.1. A test compares the words with those tables, command by command.

use lunforge_core::cdb::CommandClass;

use crate::state::{ItNexus, State};

/// Allowed whoever has reserved the unit, by whatever means.
const ALWAYS: CommandClass = CommandClass::INQUIRY
    .union(CommandClass::REPORT_LUNS)
    .union(CommandClass::REQUEST_SENSE)
    .union(CommandClass::READ_CAPACITY)
    .union(CommandClass::LOG_SENSE)
    .union(CommandClass::RTPG)
    .union(CommandClass::START)
    .union(CommandClass::ALLOW_REMOVAL)
    .union(CommandClass::REPORT_INFORMATION)
    .union(CommandClass::RELEASE);

/// Allowed to a nexus without rights under an exclusive access type.
const EXCLUSIVE_ACCESS: CommandClass = ALWAYS
    .union(CommandClass::TEST_UNIT_READY)
    .union(CommandClass::COPY_RESULTS)
    .union(CommandClass::PR_IN)
    .union(CommandClass::PR_OUT)
    .union(CommandClass::RESERVE);

/// Allowed to a nexus without rights under a write exclusive type.
const WRITE_EXCLUSIVE: CommandClass = EXCLUSIVE_ACCESS
    .union(CommandClass::READ)
    .union(CommandClass::MODE_SENSE)
    .union(CommandClass::READ_BUFFER)
    .union(CommandClass::REPORT_CAPABILITIES)
    .union(CommandClass::SECURITY_IN);

/// PERSISTENT RESERVE IN and OUT.
const PERSISTENT: CommandClass = CommandClass::PR_IN.union(CommandClass::PR_OUT);
/// RESERVE and RELEASE of SPC-2.
const SPC2: CommandClass = CommandClass::RESERVE.union(CommandClass::RELEASE);

/// What is left while the unit's reservations are unknown: what tells of the unit, nothing that reads or changes its
/// medium or its reservations.
pub(crate) const UNKNOWN: u32 = ALWAYS
    .union(CommandClass::MODE_SENSE)
    .union(CommandClass::REPORT_CAPABILITIES)
    .union(CommandClass::STPG)
    .difference(SPC2)
    .bits();

/// The classes that `state` lets `nexus` run.
#[must_use]
pub fn allowed(state: &State, nexus: &ItNexus) -> u32 {
    if let Some(holder) = &state.reserved_by {
        let all = CommandClass::all().difference(PERSISTENT);
        return if holder == nexus { all } else { ALWAYS }.bits();
    }
    let shares = state.shares(nexus);
    let classes = match &state.reservation {
        Some(r) if !shares && r.kind().write_exclusive() => WRITE_EXCLUSIVE,
        Some(_) if !shares => EXCLUSIVE_ACCESS,
        _ => CommandClass::all(),
    };
    // RESERVE and RELEASE conflict beside registrations, but for a nexus that a reservation gives all rights.
    if state.registrants.is_empty() || shares {
        classes.bits()
    } else {
        classes.difference(SPC2).bits()
    }
}

/// Whether a nexus, other than those of `but` (ascending), may lose rights when `old` becomes `new`.
#[must_use]
pub fn takes_rights(old: &State, new: &State, but: &[ItNexus]) -> bool {
    if new.reserved_by.is_some() && new.reserved_by != old.reserved_by {
        return true;
    }
    let Some(after) = &new.reservation else {
        return false;
    };
    let Some(before) = &old.reservation else {
        return true;
    };
    // Anybody may read beside a write exclusive type.
    if before.kind().write_exclusive() && !after.kind().write_exclusive() {
        return true;
    }
    let keeps = |n: &ItNexus| match after.holder() {
        Some(holder) if !after.kind().for_registrants() => holder == n,
        _ => new.registrants.contains_key(n),
    };
    let loses = |n: &ItNexus| !keeps(n) && but.binary_search(n).is_err();
    match before.holder() {
        Some(holder) if !before.kind().for_registrants() => loses(holder),
        _ => old.registrants.keys().any(loses),
    }
}
