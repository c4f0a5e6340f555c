//! RESERVE and RELEASE of SPC-2, with the exceptions of SPC-4 5.13.3 (CRH of one).

use crate::event::{Effects, Refusal};
use crate::state::{ItNexus, State};

/// RESERVE (SPC-2 7.22): exclusive access for the nexus, until RELEASE, a reset or the loss of the nexus.
pub(super) fn reserve(state: &State, from: &ItNexus) -> Result<(State, Effects), Refusal> {
    let mut state = state.clone();
    if !beside_persistent(&state, from)? {
        match &state.reserved_by {
            Some(holder) if holder != from => return Err(Refusal::Conflict),
            _ => state.reserved_by = Some(from.clone()),
        }
    }
    Ok((state, Effects::default()))
}

/// RELEASE (SPC-2 7.18): by another than the holder it is GOOD and changes nothing.
pub(super) fn release(state: &State, from: &ItNexus) -> Result<(State, Effects), Refusal> {
    if beside_persistent(state, from)? {
        return Ok((state.clone(), Effects::default()));
    }
    Ok(end(state, |holder| holder == from))
}

/// Ends the reservation of a holder that `ends` picks.
pub(super) fn end(state: &State, ends: impl Fn(&ItNexus) -> bool) -> (State, Effects) {
    let mut state = state.clone();
    if state.reserved_by.as_ref().is_some_and(ends) {
        state.reserved_by = None;
    }
    (state, Effects::default())
}

/// Whether the command is GOOD without effect, as its nexus has the rights of a persistent reservation. False while
/// nobody is registered; else both commands conflict (SPC-2 5.5.1, SPC-4 5.13.3).
fn beside_persistent(state: &State, from: &ItNexus) -> Result<bool, Refusal> {
    match (state.registrants.is_empty(), state.shares(from)) {
        (true, _) => Ok(false),
        (false, true) => Ok(true),
        (false, false) => Err(Refusal::Conflict),
    }
}
