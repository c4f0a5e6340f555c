//! What may change a state, and what a change brings with it.

use lunforge_core::asc::Asc;
use lunforge_core::handler::Outcome;
use lunforge_core::sense::Sense;
use lunforge_core::status::Status;
use lunforge_core::transport_id::TransportId;

use crate::kind::ReservationKey;
use crate::state::ItNexus;

/// SCOPE and TYPE as they came in the CDB. They are judged where a service action looks at them, as several ignore
/// them (SPC-4 6.16.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScopeType {
    /// SCOPE, 0 for the logical unit.
    pub scope: u8,
    /// TYPE.
    pub kind: u8,
}

/// The parameters that REGISTER and REGISTER AND IGNORE EXISTING KEY share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Registration {
    /// SERVICE ACTION RESERVATION KEY: the new key, zero to unregister.
    pub key: ReservationKey,
    /// ALL_TG_PT: at every target port of the unit.
    pub all_target_ports: bool,
    /// APTPL.
    pub aptpl: bool,
}

/// A TransportID in a parameter list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListedId {
    /// Its offset in the list, for a field pointer.
    pub offset: u16,
    /// The initiator port, or an iSCSI initiator device for all its connected ports.
    pub id: TransportId,
}

/// A PERSISTENT RESERVE OUT command (SPC-4 6.16). `key` is RESERVATION KEY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReserveOut {
    /// 00h.
    Register {
        /// The key that the nexus is registered with, zero if it is not.
        key: ReservationKey,
        /// What to register.
        registration: Registration,
        /// SPEC_I_PT with its TransportIDs.
        initiators: Option<Vec<ListedId>>,
    },
    /// 01h.
    Reserve {
        /// The key of the nexus.
        key: ReservationKey,
        /// What to reserve.
        scope_type: ScopeType,
    },
    /// 02h.
    Release {
        /// The key of the nexus.
        key: ReservationKey,
        /// What was reserved.
        scope_type: ScopeType,
    },
    /// 03h.
    Clear {
        /// The key of the nexus.
        key: ReservationKey,
    },
    /// 04h and 05h.
    Preempt {
        /// The key of the nexus.
        key: ReservationKey,
        /// SERVICE ACTION RESERVATION KEY: whom to preempt.
        victim: ReservationKey,
        /// What to reserve, if the reservation is preempted.
        scope_type: ScopeType,
        /// PREEMPT AND ABORT.
        abort: bool,
    },
    /// 06h.
    RegisterAndIgnoreExistingKey(Registration),
    /// 07h.
    RegisterAndMove {
        /// The key of the nexus.
        key: ReservationKey,
        /// SERVICE ACTION RESERVATION KEY: the key of the new holder.
        new_key: ReservationKey,
        /// UNREG: the nexus that moves is unregistered.
        unregister: bool,
        /// APTPL.
        aptpl: bool,
        /// RELATIVE TARGET PORT IDENTIFIER of the new holder.
        port: u16,
        /// The new holder.
        initiator: ListedId,
    },
}

/// What a command meets: it makes a decision depend on nothing but state and event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Relative target ports at which the unit is mapped.
    pub ports: Vec<u16>,
    /// Nexuses that are connected now. Only TransportIDs that name a device make it matter.
    pub connected: Vec<ItNexus>,
    /// PTPL_C: whether the state can be made to survive a loss of power.
    pub aptpl_capable: bool,
}

/// What happens to a unit's reservations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// PERSISTENT RESERVE OUT.
    ReserveOut {
        /// The nexus that the command came by.
        from: ItNexus,
        /// The command.
        command: ReserveOut,
        /// Ports and nexuses of the unit.
        setting: Setting,
    },
    /// PERSISTENT RESERVE IN; it is refused or changes nothing.
    ReserveIn,
    /// RESERVE (6), (10) of SPC-2.
    Reserve {
        /// The nexus that the command came by.
        from: ItNexus,
    },
    /// RELEASE (6), (10) of SPC-2.
    Release {
        /// The nexus that the command came by.
        from: ItNexus,
    },
    /// The nexus is gone (SAM-5 6.3.4).
    NexusLoss {
        /// Which.
        nexus: ItNexus,
    },
    /// A logical unit or target reset (SAM-5 6.3.3).
    Reset,
}

/// What follows from an event, besides the new state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Unit attention conditions to establish, at most one for a nexus. Those that are not connected need none: they
    /// will begin with a power on condition.
    pub unit_attentions: Vec<(ItNexus, Asc)>,
    /// Nexuses whose commands are to be aborted (PREEMPT AND ABORT).
    pub abort: Vec<ItNexus>,
}

/// Why a command changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RESERVATION CONFLICT.
    Conflict,
    /// CHECK CONDITION.
    Check(Sense),
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Check(sense)
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflict => Self::status(Status::ReservationConflict),
            Refusal::Check(sense) => Self::check(sense),
        }
    }
}
