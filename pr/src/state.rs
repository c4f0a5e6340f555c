//! What a logical unit knows of reservations: a value, changed only by [`apply`](crate::apply).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use lunforge_core::transport_id::TransportId;

use crate::kind::{ReservationKey, ReservationType};

/// An I_T nexus by name: initiator port and relative target port (SPC-4 5.13.1). It outlives its sessions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItNexus {
    /// The initiator port.
    pub initiator: Arc<TransportId>,
    /// RELATIVE TARGET PORT IDENTIFIER.
    pub port: u16,
}

impl ItNexus {
    /// The nexus of `initiator` with the relative target port `port`.
    #[must_use]
    pub fn new(initiator: TransportId, port: u16) -> Self {
        let initiator = Arc::new(initiator);
        Self { initiator, port }
    }
}

impl fmt::Display for ItNexus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at port {}", self.initiator, self.port)
    }
}

/// A persistent reservation; its scope is always the logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    kind: ReservationType,
    holder: Option<ItNexus>,
}

impl Reservation {
    /// A reservation of this type. `holder` is not kept where every registrant holds it.
    #[must_use]
    pub fn new(kind: ReservationType, holder: ItNexus) -> Self {
        let holder = (!kind.all_registrants()).then_some(holder);
        Self { kind, holder }
    }

    /// A reservation of an all registrants type; `None` for another.
    #[must_use]
    pub fn of_all_registrants(kind: ReservationType) -> Option<Self> {
        kind.all_registrants()
            .then_some(Self { kind, holder: None })
    }

    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> ReservationType {
        self.kind
    }

    /// The holder; `None` where every registrant is one.
    #[must_use]
    pub const fn holder(&self) -> Option<&ItNexus> {
        self.holder.as_ref()
    }
}

/// Why parts make no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A registration has key zero.
    #[error("{0} is registered with key zero")]
    ZeroKey(ItNexus),
    /// The holder is not registered.
    #[error("{0} holds the reservation and is not registered")]
    HolderUnregistered(ItNexus),
    /// There is a reservation and nobody is registered.
    #[error("there is a reservation and nobody is registered")]
    NobodyRegistered,
}

/// Registrations, the reservation, and the generation, of one logical unit.
///
/// A holder is always registered, and no registration has key zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub(crate) generation: u32,
    pub(crate) registrants: BTreeMap<ItNexus, ReservationKey>,
    pub(crate) reservation: Option<Reservation>,
    pub(crate) aptpl: bool,
    pub(crate) reserved_by: Option<ItNexus>,
}

impl State {
    /// A state from its parts, without an SPC-2 reservation.
    ///
    /// # Errors
    /// [`StateError`] where the parts contradict each other.
    pub fn from_parts(
        generation: u32,
        registrants: BTreeMap<ItNexus, ReservationKey>,
        reservation: Option<Reservation>,
        aptpl: bool,
    ) -> Result<Self, StateError> {
        if let Some((nexus, _)) = registrants
            .iter()
            .find(|(_, key)| **key == ReservationKey::ZERO)
        {
            return Err(StateError::ZeroKey(nexus.clone()));
        }
        match reservation.as_ref().map(|r| &r.holder) {
            Some(Some(holder)) if !registrants.contains_key(holder) => {
                return Err(StateError::HolderUnregistered(holder.clone()));
            }
            Some(None) if registrants.is_empty() => return Err(StateError::NobodyRegistered),
            _ => {}
        }
        Ok(Self {
            generation,
            registrants,
            reservation,
            aptpl,
            reserved_by: None,
        })
    }

    /// PRGENERATION (SPC-4 6.15.2).
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Registered nexuses with their keys, ascending.
    #[must_use]
    pub const fn registrants(&self) -> &BTreeMap<ItNexus, ReservationKey> {
        &self.registrants
    }

    /// The persistent reservation.
    #[must_use]
    pub const fn reservation(&self) -> Option<&Reservation> {
        self.reservation.as_ref()
    }

    /// Whether the state is to survive a loss of power (PTPL_A, SPC-4 5.13.5).
    #[must_use]
    pub const fn aptpl(&self) -> bool {
        self.aptpl
    }

    /// The nexus that reserved the unit by RESERVE of SPC-2.
    #[must_use]
    pub const fn reserved_by(&self) -> Option<&ItNexus> {
        self.reserved_by.as_ref()
    }

    /// The key of a nexus, if it is registered.
    #[must_use]
    pub fn key_of(&self, nexus: &ItNexus) -> Option<ReservationKey> {
        self.registrants.get(nexus).copied()
    }

    /// Whether the nexus holds the persistent reservation.
    #[must_use]
    pub fn holds(&self, nexus: &ItNexus) -> bool {
        match &self.reservation {
            None => false,
            Some(Reservation { holder: None, .. }) => self.registrants.contains_key(nexus),
            Some(Reservation { holder, .. }) => holder.as_ref() == Some(nexus),
        }
    }

    /// Whether the persistent reservation leaves the nexus all rights: a holder, or a registrant where the type
    /// lets registrants. False without a reservation.
    #[must_use]
    pub fn shares(&self, nexus: &ItNexus) -> bool {
        match &self.reservation {
            Some(r) if r.kind.for_registrants() => self.registrants.contains_key(nexus),
            _ => self.holds(nexus),
        }
    }
}
