//! Device groups: logical units that share their target port groups.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use lunforge_core::LogicalUnit;
use lunforge_core::nexus::NexusId;
use parking_lot::Mutex;

use crate::agent::StpgAgent;
use crate::change::{Change, Member, drain, first_error, in_parallel};
use crate::error::AluaError;
use crate::set::Asked;
use crate::state::AccessState;
use crate::table::{StatusCode, Table, TargetPort, TargetPortGroup};
use crate::unit::{AsymmetricAccess, Medium};

/// How long a command waits for the end of a transition unless set otherwise: as SCST does.
const HOLD: Duration = Duration::from_millis(500);
/// How long commands at the medium are waited for unless set otherwise.
const DRAIN: Duration = Duration::from_secs(5);

/// Logical units whose access states change together, and their target port groups. Clones are hands on the same
/// group; the units keep it alive.
///
/// All methods that change something may be called at any time, while initiators are at work. They block until the
/// change is in force, take turns, and must not be called on a shard.
#[derive(Clone)]
pub struct DeviceGroup {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for DeviceGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceGroup")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

/// What the hands and the units of a device group share.
pub(crate) struct Shared {
    name: String,
    /// Serialises changes; held over waits, and never taken on a shard.
    changes: Mutex<()>,
    state: Mutex<State>,
    /// An agent has been asked and has not returned, though its command may have ended.
    agent_is_asked: Arc<AtomicBool>,
}

struct State {
    /// What is in force; in transition while a change waits.
    table: Arc<Table>,
    members: Vec<Weak<AsymmetricAccess>>,
    hold: Duration,
    drain: Duration,
    transition_time: u8,
    agent: Option<Arc<dyn StpgAgent>>,
    ungrouped_opens: bool,
    /// The SET TARGET PORT GROUPS command in progress.
    asked: Option<Asked>,
}

impl DeviceGroup {
    /// A group without units and target port groups. The name is for the log and for an agent.
    pub fn new(name: impl Into<String>) -> Self {
        let state = State {
            table: Arc::default(),
            members: Vec::new(),
            hold: HOLD,
            drain: DRAIN,
            transition_time: 0,
            agent: None,
            ungrouped_opens: true,
            asked: None,
        };
        let shared = Arc::new(Shared {
            name: name.into(),
            changes: Mutex::default(),
            state: Mutex::new(state),
            agent_is_asked: Arc::default(),
        });
        Self { shared }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The target port groups as they are now, ascending by identifier. Does not block.
    pub fn target_port_groups(&self) -> Vec<TargetPortGroup> {
        self.shared.table().groups().cloned().collect()
    }

    /// The units in the group. Does not block.
    pub fn units(&self) -> Vec<Arc<LogicalUnit>> {
        self.shared.members().into_iter().map(|m| m.unit).collect()
    }

    /// Adds a target port group; its local ports lead to the units by its state from now on.
    ///
    /// # Errors
    /// What is wrong with the group or its ports; [`AluaError::StillRunning`], [`AluaError::Activate`],
    /// [`AluaError::Deactivate`].
    pub fn add_target_port_group(&self, group: TargetPortGroup) -> Result<(), AluaError> {
        self.shared.change(None, |table| table.add_group(group))
    }

    /// Removes a target port group; its local ports lead to the units without restriction.
    ///
    /// # Errors
    /// [`AluaError::NoSuchGroup`]; [`AluaError::Activate`], and the group is still there.
    pub fn remove_target_port_group(&self, id: u16) -> Result<(), AluaError> {
        self.shared.change(None, |table| table.remove_group(id))
    }

    /// Makes these the target port groups, in one step: no port is without a group in between that had one and has one
    /// again.
    ///
    /// # Errors
    /// As [`DeviceGroup::add_target_port_group`]. After [`AluaError::Activate`] groups that were to get access are
    /// unavailable; to call this again with the groups before is the way back.
    pub fn set_target_port_groups(&self, groups: Vec<TargetPortGroup>) -> Result<(), AluaError> {
        self.shared.change(None, |table| {
            *table = Table::of(groups, table)?;
            Ok(())
        })
    }

    /// Adds a port to a target port group.
    ///
    /// # Errors
    /// As [`DeviceGroup::add_target_port_group`], and [`AluaError::NoSuchGroup`].
    pub fn add_port(&self, group: u16, port: TargetPort) -> Result<(), AluaError> {
        self.shared
            .change(None, |table| table.add_port(group, port))
    }

    /// Removes a port, named by its relative target port identifier, from a target port group.
    ///
    /// # Errors
    /// [`AluaError::NoSuchGroup`], [`AluaError::NoSuchPort`]; [`AluaError::Activate`], and the port is still there.
    pub fn remove_port(&self, group: u16, relative_port: u16) -> Result<(), AluaError> {
        self.shared
            .change(None, |table| table.remove_port(group, relative_port))
    }

    /// Sets the access state of a target port group, for all units in parallel.
    ///
    /// Where the medium is gained or lost, the group is in transition meanwhile: commands wait, or end with NOT READY
    /// 04h/0Ah. When this returns `Ok`, no command of the old state is at the medium, the stores of bound units are open
    /// or closed as the states want it, and every nexus by a port of the group has ASYMMETRIC ACCESS STATE CHANGED
    /// pending. Takes at most the drain bound and two seconds, and what the handlers need to open or close.
    ///
    /// # Errors
    /// [`AluaError::NoSuchGroup`], [`AluaError::StillRunning`]: nothing has changed. [`AluaError::Activate`]: the
    /// group is unavailable. [`AluaError::Deactivate`]: the group is in the new state.
    pub fn set_state(&self, group: u16, state: AccessState) -> Result<(), AluaError> {
        // An agent may carry out by this what it was asked for; then it is the initiator's change.
        let asked = self.shared.asked_for(group, state);
        let status = asked.map_or(StatusCode::Implicit, |_| StatusCode::Explicit);
        self.shared
            .change(asked, |table| table.set_state(group, state, status))
    }

    /// Sets PREF of a target port group; its nexuses are told ASYMMETRIC ACCESS STATE CHANGED.
    ///
    /// # Errors
    /// [`AluaError::NoSuchGroup`].
    pub fn set_preferred(&self, group: u16, preferred: bool) -> Result<(), AluaError> {
        self.shared
            .change(None, |table| table.set_preferred(group, preferred))
    }

    /// Puts a unit into the group.
    ///
    /// # Errors
    /// [`AluaError::NoUnit`], [`AluaError::UnitInGroup`], [`AluaError::StillRunning`], [`AluaError::Activate`]: the
    /// unit is not in the group. [`AluaError::Deactivate`]: it is.
    pub fn add_unit(&self, access: &Arc<AsymmetricAccess>) -> Result<(), AluaError> {
        self.shared.add_unit(access)
    }

    /// Takes a unit out of the group; every port leads to it without restriction.
    ///
    /// # Errors
    /// [`AluaError::NotInGroup`]; [`AluaError::Activate`], and the unit is still in the group.
    pub fn remove_unit(&self, access: &Arc<AsymmetricAccess>) -> Result<(), AluaError> {
        let _turn = self.shared.changes.lock();
        let is_it = |member: &Member| Arc::ptr_eq(&member.access, access);
        let member = self.shared.members().into_iter().find(is_it);
        let member = member.ok_or_else(|| AluaError::NotInGroup(self.shared.name.clone()))?;
        if access.medium() == Medium::Closed {
            member.activate()?;
        }
        self.shared.release(&member);
        Ok(())
    }

    /// Takes a unit out of the group and leaves its store as it is: one that is closed stays closed, until its owner
    /// opens it.
    ///
    /// # Errors
    /// [`AluaError::NotInGroup`].
    pub fn release_unit(&self, access: &Arc<AsymmetricAccess>) -> Result<(), AluaError> {
        let _turn = self.shared.changes.lock();
        let is_it = |member: &Member| Arc::ptr_eq(&member.access, access);
        let member = self.shared.members().into_iter().find(is_it);
        let member = member.ok_or_else(|| AluaError::NotInGroup(self.shared.name.clone()))?;
        self.shared.release(&member);
        Ok(())
    }

    /// Takes all units out of the group.
    ///
    /// # Errors
    /// [`AluaError::Activate`]: all units are still in the group.
    pub fn dissolve(&self) -> Result<(), AluaError> {
        let _turn = self.shared.changes.lock();
        let members = self.shared.members();
        let is_closed = |m: &&Member| m.access.medium() == Medium::Closed;
        let closed: Vec<_> = members.iter().filter(is_closed).cloned().collect();
        let errors = in_parallel(&closed, Member::activate);
        if !errors.is_empty() {
            let opened = |m: &&Member| m.access.medium() == Medium::Open;
            let opened: Vec<_> = closed.iter().filter(opened).cloned().collect();
            let _ = in_parallel(&opened, Member::deactivate);
            return first_error(errors);
        }
        members
            .iter()
            .for_each(|member| self.shared.release(member));
        Ok(())
    }

    /// How long a command waits for the end of a transition before it ends with NOT READY 04h/0Ah; 0.5 s unless set, and
    /// never longer than [`Ladder::hold`](lunforge_core::Ladder) of its unit.
    pub fn set_hold_bound(&self, bound: Duration) {
        self.shared.state.lock().hold = bound;
    }

    /// How long commands at the medium are waited for before they are aborted; 5 s unless set.
    pub fn set_drain_bound(&self, bound: Duration) {
        self.shared.state.lock().drain = bound;
    }

    /// IMPLICIT TRANSITION TIME in the extended header of REPORT TARGET PORT GROUPS: seconds in which an implicit
    /// transition ends; 0, none indicated, unless set.
    pub fn set_implicit_transition_time(&self, seconds: u8) {
        self.shared.state.lock().transition_time = seconds;
    }

    /// Whether a port in no target port group has the stores of bound units opened; they are unless set. Without, the
    /// states of the groups alone decide, and by such a port a unit whose store is closed is unavailable: who takes a
    /// group apart does not take the medium by it.
    pub fn set_ungrouped_opens(&self, opens: bool) {
        self.shared.state.lock().ungrouped_opens = opens;
    }

    /// Who decides on SET TARGET PORT GROUPS; with `None`, the change is made at once.
    pub fn set_agent(&self, agent: Option<Arc<dyn StpgAgent>>) {
        self.shared.state.lock().agent = agent;
    }
}

impl Shared {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.state.lock().table)
    }

    pub(crate) fn set_table(&self, table: &Arc<Table>) {
        self.state.lock().table = Arc::clone(table);
    }

    /// The state of a port of this node, if it is in a group.
    pub(crate) fn state_of(&self, port: u16) -> Option<AccessState> {
        let state = self.state.lock();
        state.table.of_local_port(port).map(TargetPortGroup::state)
    }

    /// The group of a port of this node.
    pub(crate) fn group_of(&self, port: u16) -> Option<u16> {
        let state = self.state.lock();
        state.table.of_local_port(port).map(TargetPortGroup::id)
    }

    pub(crate) fn hold_bound(&self) -> Duration {
        self.state.lock().hold
    }

    pub(crate) fn drain_bound(&self) -> Duration {
        self.state.lock().drain
    }

    pub(crate) fn ungrouped_opens(&self) -> bool {
        self.state.lock().ungrouped_opens
    }

    pub(crate) fn transition_time(&self) -> u8 {
        self.state.lock().transition_time
    }

    pub(crate) fn agent_is_asked(&self) -> &Arc<AtomicBool> {
        &self.agent_is_asked
    }

    pub(crate) fn agent(&self) -> Option<Arc<dyn StpgAgent>> {
        self.state.lock().agent.clone()
    }

    /// Takes the one place for a SET TARGET PORT GROUPS command in progress; false when it is taken.
    pub(crate) fn begin_asked(&self, asked: Asked) -> bool {
        let mut state = self.state.lock();
        let free = state.asked.is_none();
        if free {
            state.asked = Some(asked);
        }
        free
    }

    /// The command in progress has ended.
    pub(crate) fn end_asked(&self) {
        self.state.lock().asked = None;
    }

    /// The nexus that has asked for this state of this group and waits for it.
    fn asked_for(&self, group: u16, wanted: AccessState) -> Option<NexusId> {
        let state = self.state.lock();
        let asked = state.asked.as_ref()?;
        let same = |c: &crate::StateChange| c.group == group && c.to == wanted;
        asked.changes.iter().any(same).then_some(asked.nexus)
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        let mut state = self.state.lock();
        state.members.retain(|access| access.strong_count() > 0);
        let accesses: Vec<_> = state.members.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        let member = |access: Arc<AsymmetricAccess>| {
            let unit = access.unit()?;
            Some(Member { access, unit })
        };
        accesses.into_iter().filter_map(member).collect()
    }

    /// Makes a change of the table.
    pub(crate) fn change(
        &self,
        origin: Option<NexusId>,
        edit: impl FnOnce(&mut Table) -> Result<(), AluaError>,
    ) -> Result<(), AluaError> {
        let _turn = self.changes.lock();
        let before = self.table();
        let mut after = Table::clone(&before);
        edit(&mut after)?;
        let (shared, after) = (self, Arc::new(after));
        let members = self.members();
        let change = Change {
            shared,
            members,
            before,
            after,
            origin,
        };
        change.carry_out()
    }

    fn add_unit(self: &Arc<Self>, access: &Arc<AsymmetricAccess>) -> Result<(), AluaError> {
        let _turn = self.changes.lock();
        let unit = access.unit().ok_or(AluaError::NoUnit)?;
        let access = Arc::clone(access);
        let member = Member { access, unit };
        let claimed = member.access.claim(self);
        claimed.map_err(|other| AluaError::UnitInGroup(other.name.clone()))?;
        let table = self.table();
        if member.opens_for(&table)
            && let Err(error) = member.activate()
        {
            member.access.leave();
            return Err(error);
        }
        let closes = member.closes_for(&table);
        let was = member.access.medium();
        if closes {
            member.access.set_medium(Medium::Closed);
        }
        member.access.publish();
        if let Err(error) = drain(std::slice::from_ref(&member), self.drain_bound()) {
            member.access.set_medium(was);
            member.access.leave();
            return Err(error);
        }
        self.state
            .lock()
            .members
            .push(Arc::downgrade(&member.access));
        member.access.inquiry_data_has_changed();
        if closes { member.deactivate() } else { Ok(()) }
    }

    /// A unit leaves; its store is open.
    fn release(&self, member: &Member) {
        let access = &member.access;
        let is_it = |other: &Weak<AsymmetricAccess>| other.as_ptr() == Arc::as_ptr(access);
        self.state.lock().members.retain(|other| !is_it(other));
        access.set_medium(Medium::Unknown);
        access.leave();
        access.inquiry_data_has_changed();
        member.unit.access_changed();
    }

    pub(crate) fn bind(
        &self,
        access: &Arc<AsymmetricAccess>,
        bound: bool,
    ) -> Result<(), AluaError> {
        let _turn = self.changes.lock();
        let here = access
            .shared()
            .is_some_and(|shared| std::ptr::eq(&*shared, self));
        let Some(unit) = access.unit().filter(|_| here) else {
            access.set_bound(bound);
            return Ok(());
        };
        let access = Arc::clone(access);
        let member = Member { access, unit };
        if !bound {
            if member.access.medium() == Medium::Closed {
                member.activate()?;
            }
            member.access.set_medium(Medium::Unknown);
            member.access.set_bound(false);
            return Ok(());
        }
        member.access.set_bound(true);
        // In states that need it closed no command is at the medium, so there is nothing to wait for.
        if member.closes_for(&self.table()) {
            return member.deactivate();
        }
        Ok(())
    }
}
