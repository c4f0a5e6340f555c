//! REGISTER and REGISTER AND IGNORE EXISTING KEY (SPC-4 5.13.7, 5.13.11.3).

use std::collections::BTreeSet;
use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::sense::Sense;
use lunforge_core::transport_id::TransportId;

use super::Change;
use crate::event::{ListedId, Refusal, Registration, Setting};
use crate::kind::ReservationKey;
use crate::state::ItNexus;

impl Change<'_> {
    /// REGISTER. `key` is RESERVATION KEY: what the nexus is registered with, zero if it is not.
    pub(super) fn register(
        &mut self,
        key: ReservationKey,
        registration: Registration,
        initiators: Option<&[ListedId]>,
        setting: &Setting,
    ) -> Result<(), Refusal> {
        let present = self.old.key_of(self.from).unwrap_or(ReservationKey::ZERO);
        if present != key {
            return Err(Refusal::Conflict);
        }
        if present != ReservationKey::ZERO {
            if initiators.is_some() {
                // Others are registered only together with the nexus itself.
                return Err(Sense::invalid_field_in_parameter_list(20, Some(3)).into());
            }
            self.aptpl(registration.aptpl, setting)?;
            self.reregister(registration, setting);
            self.count();
            return Ok(());
        }
        if registration.key == ReservationKey::ZERO {
            return Ok(());
        }
        self.aptpl(registration.aptpl, setting)?;
        let nexuses = self.named(registration, initiators, setting)?;
        for nexus in nexuses {
            self.state.registrants.insert(nexus, registration.key);
        }
        self.count();
        Ok(())
    }

    /// REGISTER AND IGNORE EXISTING KEY.
    pub(super) fn register_and_ignore_existing_key(
        &mut self,
        registration: Registration,
        setting: &Setting,
    ) -> Result<(), Refusal> {
        let registered = self.old.registrants.contains_key(self.from);
        if !registered && registration.key == ReservationKey::ZERO {
            return Ok(());
        }
        self.aptpl(registration.aptpl, setting)?;
        if registration.key == ReservationKey::ZERO {
            self.unregister_all(registration, setting);
        } else {
            for port in self.ports(registration, setting) {
                let nexus = self.at(port);
                self.state.registrants.insert(nexus, registration.key);
            }
        }
        self.count();
        Ok(())
    }

    /// APTPL: what the last registration says goes for the unit (SPC-4 5.13.5).
    pub(super) fn aptpl(&mut self, aptpl: bool, setting: &Setting) -> Result<(), Refusal> {
        if aptpl && !setting.aptpl_capable {
            return Err(Sense::invalid_field_in_parameter_list(20, Some(0)).into());
        }
        self.state.aptpl = aptpl;
        Ok(())
    }

    /// Another key for a registered nexus, or none. With ALL_TG_PT each port at which the initiator port is registered
    /// with the key that it gave does the same; at the others the request by itself would conflict and change nothing.
    fn reregister(&mut self, registration: Registration, setting: &Setting) {
        if registration.key == ReservationKey::ZERO {
            return self.unregister_all(registration, setting);
        }
        let present = self.old.key_of(self.from);
        for port in self.ports(registration, setting) {
            let nexus = self.at(port);
            if self.old.key_of(&nexus) == present {
                self.state.registrants.insert(nexus, registration.key);
            }
        }
    }

    /// Removes the registration of the nexus; with ALL_TG_PT those of the initiator port at the other ports too, as far
    /// as they have the same key.
    fn unregister_all(&mut self, registration: Registration, setting: &Setting) {
        let present = self.old.key_of(self.from);
        let mut released = None;
        for port in self.ports(registration, setting) {
            let nexus = self.at(port);
            if self.old.key_of(&nexus) == present {
                released = self.unregister(&nexus).or(released);
            }
        }
        if released.is_some_and(|kind| kind.for_registrants()) {
            self.tell_registrants(Asc::RESERVATIONS_RELEASED);
        }
    }

    /// The target ports that a registration is for.
    fn ports(&self, registration: Registration, setting: &Setting) -> BTreeSet<u16> {
        let mut ports = BTreeSet::from([self.from.port]);
        if registration.all_target_ports {
            ports.extend(&setting.ports);
        }
        ports
    }

    fn at(&self, port: u16) -> ItNexus {
        ItNexus {
            initiator: Arc::clone(&self.from.initiator),
            port,
        }
    }

    /// The nexuses that a first registration is for: all of them or none (SPC-4 6.16.3).
    fn named(
        &self,
        registration: Registration,
        initiators: Option<&[ListedId]>,
        setting: &Setting,
    ) -> Result<BTreeSet<ItNexus>, Refusal> {
        let ports = self.ports(registration, setting);
        let mut nexuses: BTreeSet<_> = ports.iter().map(|port| self.at(*port)).collect();
        if nexuses.iter().any(|n| self.old.registrants.contains_key(n)) {
            return Err(Refusal::Conflict);
        }
        for listed in initiators.unwrap_or_default() {
            let mut of_this = self.listed(listed, &ports, setting)?;
            if of_this
                .iter()
                .any(|nexus| self.old.registrants.contains_key(nexus))
            {
                return Err(Refusal::Conflict);
            }
            nexuses.append(&mut of_this);
        }
        Ok(nexuses)
    }

    /// The nexuses of one TransportID of SPEC_I_PT. An iSCSI device without ISID stands for all its ports that are
    /// connected by the target ports in question (SPC-4 7.6.4.6).
    fn listed(
        &self,
        listed: &ListedId,
        ports: &BTreeSet<u16>,
        setting: &Setting,
    ) -> Result<BTreeSet<ItNexus>, Refusal> {
        let refused = Sense::invalid_field_in_parameter_list(listed.offset, None);
        if listed.id.protocol() != self.from.initiator.protocol() {
            return Err(refused.into());
        }
        let nexuses: BTreeSet<_> = if matches!(listed.id, TransportId::IscsiDevice(_)) {
            let named = |n: &&ItNexus| ports.contains(&n.port) && listed.id.covers(&n.initiator);
            setting.connected.iter().filter(named).cloned().collect()
        } else {
            let initiator = Arc::new(listed.id.clone());
            let at = |port: &u16| ItNexus {
                initiator: Arc::clone(&initiator),
                port: *port,
            };
            ports.iter().map(at).collect()
        };
        if nexuses.is_empty() {
            return Err(refused.into());
        }
        Ok(nexuses)
    }
}
