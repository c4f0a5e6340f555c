//! A logical unit's part: the service that the core asks.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use lunforge_core::asc::Asc;
use lunforge_core::cdb::{Cdb, CommandId, ParsedCdb};
use lunforge_core::designator::{Designator, DesignatorKind};
use lunforge_core::handler::{Execute, Execution, Outcome, Transfer};
use lunforge_core::nexus::{Itl, Nexus, Policy};
use lunforge_core::sense::Sense;
use lunforge_core::service::Refusal;
use lunforge_core::transport_id::{ProtocolId, TransportId};
use lunforge_core::{LogicalUnit, UnitService};
use parking_lot::Mutex;

use crate::device_group::Shared;
use crate::error::AluaError;
use crate::state::AccessState;
use crate::{report, set};

/// What is known of a unit's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Medium {
    /// As the handler was made.
    Unknown,
    /// Taken, by a change of state.
    Open,
    /// Given up: no command may reach the store.
    Closed,
}

/// Asymmetric access of one logical unit: give it to the unit when that is built
/// ([`LogicalUnitBuilder::service`](lunforge_core::lu::LogicalUnitBuilder::service)), then put it into a
/// [`DeviceGroup`](crate::DeviceGroup). While it is in none, the unit is as if this service were not there.
#[derive(Default)]
pub struct AsymmetricAccess {
    unit: OnceLock<Weak<LogicalUnit>>,
    group: Mutex<Option<Arc<Shared>>>,
    explicit: AtomicBool,
    bound: AtomicBool,
    /// A [`Medium`]; changed under the device group's `changes`.
    medium: AtomicU8,
}

impl std::fmt::Debug for AsymmetricAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsymmetricAccess")
            .field("explicit", &self.explicit)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl AsymmetricAccess {
    /// For one unit: in no device group, implicit only, its store not bound to the access state.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The unit, once it is built and as long as it lives.
    pub fn unit(&self) -> Option<Arc<LogicalUnit>> {
        self.unit.get().and_then(Weak::upgrade)
    }

    /// Whether SET TARGET PORT GROUPS is supported.
    pub fn is_explicit(&self) -> bool {
        self.explicit.load(Ordering::Relaxed)
    }

    /// Lets initiators change access states by SET TARGET PORT GROUPS, or not. TPGS changes by it, so initiators are
    /// told INQUIRY DATA HAS CHANGED. Any thread; does not block.
    pub fn explicit(&self, allowed: bool) {
        let was = self.explicit.swap(allowed, Ordering::Relaxed);
        if was != allowed && self.shared().is_some() {
            self.inquiry_data_has_changed();
        }
    }

    /// Whether the store is closed while no port leads to the medium.
    pub fn is_bound(&self) -> bool {
        self.bound.load(Ordering::Relaxed)
    }

    /// Binds the store to the access state: it is closed ([`DeviceHandler::deactivate`]) before a state is reported in
    /// which no port of this node leads to the medium, so that another node can take the device, and opened
    /// ([`DeviceHandler::activate`]) before such a port leads to it again. Or ends that, which opens the store. In
    /// effect at once. Blocks; not for a shard.
    ///
    /// [`DeviceHandler::deactivate`]: lunforge_core::DeviceHandler::deactivate
    /// [`DeviceHandler::activate`]: lunforge_core::DeviceHandler::activate
    ///
    /// # Errors
    /// [`AluaError::Activate`]: it stays bound. [`AluaError::Deactivate`]: it is bound and fenced.
    pub fn bind_alua_state(self: &Arc<Self>, bound: bool) -> Result<(), AluaError> {
        match self.shared() {
            Some(shared) => shared.bind(self, bound),
            None => {
                self.set_bound(bound);
                Ok(())
            }
        }
    }

    pub(crate) fn set_bound(&self, bound: bool) {
        self.bound.store(bound, Ordering::Relaxed);
    }

    pub(crate) fn medium(&self) -> Medium {
        // Acquire and Release below: who publishes an access word by it has seen what came before.
        match self.medium.load(Ordering::Acquire) {
            1 => Medium::Open,
            2 => Medium::Closed,
            _ => Medium::Unknown,
        }
    }

    pub(crate) fn set_medium(&self, medium: Medium) {
        self.medium.store(medium as u8, Ordering::Release);
    }

    pub(crate) fn shared(&self) -> Option<Arc<Shared>> {
        self.group.lock().clone()
    }

    /// Puts the unit into a device group; nothing is published by it.
    ///
    /// # Errors
    /// The device group that it is in.
    pub(crate) fn claim(&self, shared: &Arc<Shared>) -> Result<(), Arc<Shared>> {
        let mut group = self.group.lock();
        match &*group {
            Some(other) => Err(Arc::clone(other)),
            None => {
                *group = Some(Arc::clone(shared));
                Ok(())
            }
        }
    }

    /// Takes the unit out of its device group: every port leads to it without restriction.
    pub(crate) fn leave(&self) {
        *self.group.lock() = None;
        self.publish();
    }

    pub(crate) fn inquiry_data_has_changed(&self) {
        if let Some(unit) = self.unit() {
            unit.unit_attention(Asc::INQUIRY_DATA_HAS_CHANGED, None);
        }
    }

    /// The state by which a port leads to the unit. A port in no group leads to it unless its store is closed.
    fn state_by(&self, shared: Option<&Shared>, port: u16) -> AccessState {
        let Some(shared) = shared else {
            return AccessState::ActiveOptimized;
        };
        let ungrouped = match self.medium() {
            Medium::Closed => AccessState::Unavailable,
            Medium::Open | Medium::Unknown => AccessState::ActiveOptimized,
        };
        shared.state_of(port).unwrap_or(ungrouped)
    }

    fn state_for(&self, nexus: &Nexus) -> Option<AccessState> {
        let shared = self.shared()?;
        Some(self.state_by(Some(&shared), nexus.target.relative_port()))
    }

    /// Publishes what each session may do now.
    pub(crate) fn publish(&self) {
        if let Some(unit) = self.unit() {
            unit.itls().iter().for_each(|itl| self.publish_to(itl));
        }
    }

    fn publish_to(&self, itl: &Itl) {
        // Held while publishing: of two that publish, the later one has seen the later table.
        let group = self.group.lock();
        let port = itl.nexus.target.relative_port();
        let allowed = self.state_by(group.as_deref(), port).allowed();
        itl.access.publish(Policy::AccessState, allowed.bits());
    }

    fn report(&self, extended: bool) -> Vec<u8> {
        // Claimed but unsupported without a group: the pipeline does not come here then.
        let Some(shared) = self.shared() else {
            return Vec::new();
        };
        report::emit(&shared.table(), extended, shared.transition_time())
    }
}

/// Room for reports that grow between the check of the command and its execution.
const SLACK: usize = 4096;

impl UnitService for AsymmetricAccess {
    fn claims(&self, command: CommandId) -> bool {
        matches!(
            command,
            CommandId::ReportTargetPortGroups | CommandId::SetTargetPortGroups
        )
    }

    fn supports(&self, command: CommandId) -> bool {
        let explicit = command == CommandId::SetTargetPortGroups;
        self.claims(command) && self.shared().is_some() && (!explicit || self.is_explicit())
    }

    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        match cdb.cdb {
            Cdb::ReportTargetPortGroups { extended, alloc } => {
                let table = self.shared().map(|shared| shared.table());
                let most = table.map_or(0, |table| report::len(&table, extended)) + SLACK;
                let room = usize::try_from(alloc).map_or(most, |alloc| alloc.min(most));
                Ok(if room == 0 {
                    Transfer::None
                } else {
                    Transfer::In(room)
                })
            }
            Cdb::SetTargetPortGroups { parameter_list_len } => set::list_len(parameter_list_len)
                .map(|len| match len {
                    0 => Transfer::None,
                    len => Transfer::Out(len),
                }),
            _ => Err(Sense::illegal_request(Asc::INVALID_COMMAND_OPERATION_CODE)),
        }
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        match *command.cdb() {
            Cdb::ReportTargetPortGroups { extended, .. } => {
                let data = self.report(extended);
                let sent = command.buf().write_at(0, &data);
                Execute::Done(Outcome::data(sent))
            }
            Cdb::SetTargetPortGroups { parameter_list_len } => match self.shared() {
                Some(shared) => set::execute(&shared, command, parameter_list_len),
                None => Execute::Done(unsupported().into()),
            },
            _ => Execute::Done(unsupported().into()),
        }
    }

    fn attached(&self, unit: Weak<LogicalUnit>) {
        if self.unit.set(unit).is_err() {
            tracing::error!("an access service was given to two units; the second is not served");
        }
    }

    fn joined(&self, itl: &Arc<Itl>) {
        self.publish_to(itl);
    }

    fn renamed(&self, itl: &Arc<Itl>) {
        self.publish_to(itl);
    }

    fn refusal(&self, itl: &Itl, cdb: &ParsedCdb) -> Option<Refusal> {
        let shared = self.shared()?;
        let state = self.state_by(Some(&shared), itl.nexus.target.relative_port());
        if state.allowed().contains(cdb.class) {
            return None;
        }
        let answer = Outcome::check(state.refusal()?);
        Some(match state {
            AccessState::Transitioning => Refusal::Wait(shared.hold_bound(), answer),
            _ => Refusal::Answer(answer),
        })
    }

    fn inquiry(&self, nexus: &Nexus, standard: &mut [u8]) {
        const IMPLICIT: u8 = 0x10;
        const EXPLICIT: u8 = 0x20;
        let Some(state) = self.state_for(nexus) else {
            return;
        };
        if let Some(tpgs) = standard.get_mut(5) {
            *tpgs |= IMPLICIT | if self.is_explicit() { EXPLICIT } else { 0 };
        }
        if state.hides_device()
            && let Some(first) = standard.first_mut()
        {
            *first = *first & 0x1F | 0x20;
        }
    }

    fn designators(&self, nexus: &Nexus) -> Vec<Designator> {
        let port = nexus.target.relative_port();
        let group = self.shared().and_then(|shared| shared.group_of(port));
        let protocol = match nexus.initiator {
            TransportId::Srp { .. } => ProtocolId::SRP,
            _ => ProtocolId::ISCSI,
        };
        let designate = |id| Designator::target_port(protocol, DesignatorKind::TargetPortGroup(id));
        group.map(designate).into_iter().collect()
    }
}

fn unsupported() -> Sense {
    Sense::illegal_request(Asc::INVALID_COMMAND_OPERATION_CODE)
}
