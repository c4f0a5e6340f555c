//! REGISTER AND MOVE (SPC-4 5.13.8).

use lunforge_core::sense::Sense;
use lunforge_core::transport_id::TransportId;

use super::Change;
use crate::event::{Refusal, ReserveOut, Setting};
use crate::kind::ReservationKey;
use crate::state::{ItNexus, Reservation};

impl Change<'_> {
    /// Gives the reservation to another nexus, which is registered for it.
    pub(super) fn register_and_move(
        &mut self,
        command: &ReserveOut,
        setting: &Setting,
    ) -> Result<(), Refusal> {
        let ReserveOut::RegisterAndMove {
            key,
            new_key,
            unregister,
            aptpl,
            port,
            initiator,
        } = command
        else {
            return Ok(());
        };
        self.authorized(*key)?;
        let Some(reservation) = &self.old.reservation else {
            return Err(Sense::invalid_field_in_cdb(1, Some(4)).into());
        };
        let kind = reservation.kind();
        if kind.all_registrants() || !self.old.holds(self.from) {
            return Err(Refusal::Conflict);
        }
        if *new_key == ReservationKey::ZERO {
            return Err(Sense::invalid_field_in_parameter_list(8, Some(7)).into());
        }
        if *aptpl && !setting.aptpl_capable {
            return Err(Sense::invalid_field_in_parameter_list(17, Some(0)).into());
        }
        if !setting.ports.contains(port) {
            return Err(Sense::invalid_field_in_parameter_list(18, Some(7)).into());
        }
        let to = ItNexus::new(initiator.id.clone(), *port);
        let other_protocol = initiator.id.protocol() != self.from.initiator.protocol();
        // A device has no reservation, a port does (SPC-4 7.6.4.6); and one does not move to where one is.
        if matches!(initiator.id, TransportId::IscsiDevice(_)) || other_protocol || to == *self.from
        {
            return Err(Sense::invalid_field_in_parameter_list(initiator.offset, None).into());
        }
        self.state.aptpl = *aptpl;
        self.state.registrants.insert(to.clone(), *new_key);
        self.state.reservation = Some(Reservation::new(kind, to));
        if *unregister {
            self.state.registrants.remove(self.from);
        }
        self.count();
        Ok(())
    }
}
