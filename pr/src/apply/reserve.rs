//! RESERVE, RELEASE and CLEAR (SPC-4 5.13.9, 5.13.11.2, 5.13.11.6).

use lunforge_core::asc::Asc;
use lunforge_core::sense::Sense;

use super::Change;
use crate::event::{Refusal, ScopeType};
use crate::kind::ReservationKey;
use crate::state::Reservation;

impl Change<'_> {
    /// RESERVE. To reserve once more what one holds is no error and changes nothing.
    pub(super) fn reserve(
        &mut self,
        key: ReservationKey,
        scope_type: ScopeType,
    ) -> Result<(), Refusal> {
        let kind = scope_type.kind()?;
        self.authorized(key)?;
        match &self.old.reservation {
            None => {
                self.state.reservation = Some(Reservation::new(kind, self.from.clone()));
                Ok(())
            }
            Some(present) if present.kind() == kind && self.old.holds(self.from) => Ok(()),
            Some(_) => Err(Refusal::Conflict),
        }
    }

    /// RELEASE. By another than a holder it changes nothing.
    pub(super) fn release(
        &mut self,
        key: ReservationKey,
        scope_type: ScopeType,
    ) -> Result<(), Refusal> {
        let kind = scope_type.kind()?;
        self.authorized(key)?;
        let Some(present) = &self.old.reservation else {
            return Ok(());
        };
        if !self.old.holds(self.from) {
            return Ok(());
        }
        if present.kind() != kind {
            let asc = Asc::INVALID_RELEASE_OF_PERSISTENT_RESERVATION;
            return Err(Sense::illegal_request(asc).into());
        }
        self.state.reservation = None;
        if kind.for_registrants() {
            self.tell_registrants(Asc::RESERVATIONS_RELEASED);
        }
        Ok(())
    }

    /// CLEAR: no reservation and no registration is left.
    pub(super) fn clear(&mut self, key: ReservationKey) -> Result<(), Refusal> {
        self.authorized(key)?;
        self.tell_registrants(Asc::RESERVATIONS_PREEMPTED);
        self.state.reservation = None;
        self.state.registrants.clear();
        self.count();
        Ok(())
    }
}
