//! PREEMPT and PREEMPT AND ABORT (SPC-4 5.13.11.4, 5.13.11.5).

use lunforge_core::asc::Asc;
use lunforge_core::sense::Sense;

use super::Change;
use crate::event::{Refusal, ScopeType};
use crate::kind::ReservationKey;
use crate::state::{ItNexus, Reservation};

impl Change<'_> {
    /// `victim` is SERVICE ACTION RESERVATION KEY.
    pub(super) fn preempt(
        &mut self,
        key: ReservationKey,
        victim: ReservationKey,
        scope_type: ScopeType,
        abort: bool,
    ) -> Result<(), Refusal> {
        self.authorized(key)?;
        if self.preempts_reservation(victim)? {
            self.take_over(victim, scope_type)?;
        } else {
            self.remove_registrations(victim)?;
        }
        if abort {
            let told = &self.effects.unit_attentions;
            let lost = told
                .iter()
                .filter(|(_, asc)| *asc == Asc::REGISTRATIONS_PREEMPTED);
            self.effects.abort = lost.map(|(nexus, _)| nexus.clone()).collect();
        }
        self.count();
        Ok(())
    }

    /// Whether the reservation is meant, or only registrations (SPC-4 5.13.11.4, table of preempting actions).
    fn preempts_reservation(&self, victim: ReservationKey) -> Result<bool, Refusal> {
        let zero = victim == ReservationKey::ZERO;
        match &self.old.reservation {
            Some(r) if r.kind().all_registrants() => Ok(zero),
            _ if zero => Err(Sense::invalid_field_in_parameter_list(8, Some(7)).into()),
            Some(r) => Ok(r.holder().and_then(|h| self.old.key_of(h)) == Some(victim)),
            None => Ok(false),
        }
    }

    /// Takes the reservation, with the scope and type given, and removes the registrations of the victims but never
    /// that of the nexus itself (SPC-4 5.13.11.4.4).
    fn take_over(&mut self, victim: ReservationKey, scope_type: ScopeType) -> Result<(), Refusal> {
        let kind = scope_type.kind()?;
        self.drop_registrations(|nexus, key, from| {
            nexus != from && (victim == ReservationKey::ZERO || key == victim)
        });
        let changed = self.old.reservation.as_ref().map(Reservation::kind) != Some(kind);
        if changed {
            self.tell_registrants(Asc::RESERVATIONS_RELEASED);
        }
        self.state.reservation = Some(Reservation::new(kind, self.from.clone()));
        Ok(())
    }

    /// Removes registrations, maybe that of the nexus itself; scope and type are ignored (SPC-4 5.13.11.4.5).
    fn remove_registrations(&mut self, victim: ReservationKey) -> Result<(), Refusal> {
        if !self.old.registrants.values().any(|key| *key == victim) {
            return Err(Refusal::Conflict);
        }
        self.drop_registrations(|_, key, _| key == victim);
        if self.state.registrants.is_empty() {
            // An all registrants reservation ends with its last registrant. One with a holder kept that holder.
            self.state.reservation = None;
        }
        Ok(())
    }

    /// Removes registrations and tells their nexuses REGISTRATIONS PREEMPTED, all but the one that the command came by.
    fn drop_registrations(&mut self, wanted: impl Fn(&ItNexus, ReservationKey, &ItNexus) -> bool) {
        let from = self.from;
        let told = &mut self.effects.unit_attentions;
        self.state.registrants.retain(|nexus, key| {
            let removed = wanted(nexus, *key, from);
            if removed && nexus != from {
                told.push((nexus.clone(), Asc::REGISTRATIONS_PREEMPTED));
            }
            !removed
        });
    }
}
