//! Texts that people and scripts read.

use std::fmt::Write;

use lunforge::pr::{ReservationType, State};

/// The reservations of a device, a line each.
pub(super) fn reservations(state: &State) -> String {
    let mut text = format!("generation {}\n", state.generation());
    let kind = match (state.reservation(), state.reserved_by()) {
        (Some(reservation), _) => kind(reservation.kind()),
        (None, Some(_)) => "reserved (SPC-2)",
        (None, None) => "none",
    };
    // Writing to a string does not fail, here and below.
    let _ = writeln!(text, "reservation {kind}");
    if let Some(nexus) = state.reserved_by() {
        let _ = writeln!(text, "holder {nexus}");
    }
    for (nexus, key) in state.registrants() {
        let holds = if state.holds(nexus) {
            "holder"
        } else {
            "registrant"
        };
        let _ = writeln!(text, "{holds} {nexus} key 0x{:016x}", key.0);
    }
    text
}

/// A type of reservation in SPC's words.
pub(super) fn kind(kind: ReservationType) -> &'static str {
    match kind {
        ReservationType::WriteExclusive => "Write Exclusive",
        ReservationType::ExclusiveAccess => "Exclusive Access",
        ReservationType::WriteExclusiveRegistrantsOnly => "Write Exclusive, Registrants Only",
        ReservationType::ExclusiveAccessRegistrantsOnly => "Exclusive Access, Registrants Only",
        ReservationType::WriteExclusiveAllRegistrants => "Write Exclusive, All Registrants",
        ReservationType::ExclusiveAccessAllRegistrants => "Exclusive Access, All Registrants",
    }
}
