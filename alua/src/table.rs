//! Target port groups of a device group, as plain data.

use std::collections::BTreeMap;

use crate::error::AluaError;
use crate::state::AccessState;

/// TARGET PORT COUNT has one byte (SPC-4 6.37).
const MAX_PORTS: usize = 255;
/// RFC 7143 4.2.7.
const MAX_NAME: usize = 223;

/// A port of a target port group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A port of a target of this process, by RELATIVE TARGET PORT IDENTIFIER.
    Local(u16),
    /// A port of another node, which this node only reports.
    Remote {
        /// The target's name; kept for the administrator, no command reports it.
        target: String,
        /// RELATIVE TARGET PORT IDENTIFIER.
        relative_port: u16,
    },
}

impl TargetPort {
    /// RELATIVE TARGET PORT IDENTIFIER.
    #[must_use]
    pub const fn relative_port(&self) -> u16 {
        match self {
            Self::Local(port) => *port,
            Self::Remote { relative_port, .. } => *relative_port,
        }
    }
}

/// STATUS CODE (SPC-4 6.37): what set the present state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum StatusCode {
    /// 01h: a SET TARGET PORT GROUPS command.
    Explicit = 1,
    /// 02h: the target by itself, its administrator among it.
    #[default]
    Implicit = 2,
}

/// A target port group: ports that share an access state (SPC-4 5.15.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPortGroup {
    pub(crate) id: u16,
    pub(crate) state: AccessState,
    pub(crate) preferred: bool,
    pub(crate) status: StatusCode,
    pub(crate) ports: Vec<TargetPort>,
}

impl TargetPortGroup {
    /// A group without ports, active/optimized. Checked when it is added to a device group.
    #[must_use]
    pub const fn new(id: u16) -> Self {
        Self {
            id,
            state: AccessState::ActiveOptimized,
            preferred: false,
            status: StatusCode::Implicit,
            ports: Vec::new(),
        }
    }

    /// With this state.
    #[must_use]
    pub const fn in_state(mut self, state: AccessState) -> Self {
        self.state = state;
        self
    }

    /// With PREF so.
    #[must_use]
    pub const fn preferring(mut self, preferred: bool) -> Self {
        self.preferred = preferred;
        self
    }

    /// With one port more.
    #[must_use]
    pub fn with(mut self, port: TargetPort) -> Self {
        self.ports.push(port);
        self
    }

    /// TARGET PORT GROUP.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// ASYMMETRIC ACCESS STATE.
    #[must_use]
    pub const fn state(&self) -> AccessState {
        self.state
    }

    /// PREF.
    #[must_use]
    pub const fn is_preferred(&self) -> bool {
        self.preferred
    }

    /// STATUS CODE.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Its ports, in the order in which they were added.
    #[must_use]
    pub fn ports(&self) -> &[TargetPort] {
        &self.ports
    }

    fn local_ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.ports.iter().filter_map(|port| match port {
            TargetPort::Local(port) => Some(*port),
            TargetPort::Remote { .. } => None,
        })
    }
}

/// The groups of a device group, by identifier. Identifiers and ports are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    groups: BTreeMap<u16, TargetPortGroup>,
    /// Relative identifiers of the local ports, with their groups.
    local: BTreeMap<u16, u16>,
}

impl Table {
    /// The table of these groups. Where one has the state that it has in `before`, what set that stays known.
    pub(crate) fn of(groups: Vec<TargetPortGroup>, before: &Self) -> Result<Self, AluaError> {
        let mut table = Self::default();
        for mut group in groups {
            let was = before.group(group.id).ok();
            if let Some(was) = was.filter(|was| was.state == group.state) {
                group.status = was.status;
            }
            table.add_group(group)?;
        }
        Ok(table)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &TargetPortGroup> {
        self.groups.values()
    }

    pub(crate) fn group(&self, id: u16) -> Result<&TargetPortGroup, AluaError> {
        self.groups.get(&id).ok_or(AluaError::NoSuchGroup(id))
    }

    fn group_mut(&mut self, id: u16) -> Result<&mut TargetPortGroup, AluaError> {
        self.groups.get_mut(&id).ok_or(AluaError::NoSuchGroup(id))
    }

    /// The group of a port of this node.
    pub(crate) fn of_local_port(&self, port: u16) -> Option<&TargetPortGroup> {
        self.groups.get(self.local.get(&port)?)
    }

    /// The group of a port, wherever it is.
    pub(crate) fn of_port(&self, port: u16) -> Option<&TargetPortGroup> {
        let has = |group: &&TargetPortGroup| group.ports.iter().any(|p| p.relative_port() == port);
        self.groups().find(has)
    }

    /// The ports of this node, with their groups.
    pub(crate) fn local_ports(&self) -> impl Iterator<Item = (u16, &TargetPortGroup)> {
        let with_group = |(port, id): (&u16, &u16)| Some((*port, self.groups.get(id)?));
        self.local.iter().filter_map(with_group)
    }

    pub(crate) fn add_group(&mut self, group: TargetPortGroup) -> Result<(), AluaError> {
        let TargetPortGroup { id, .. } = group;
        if id == 0 {
            return Err(AluaError::GroupId);
        }
        if self.groups.contains_key(&id) {
            return Err(AluaError::GroupExists(id));
        }
        let (ports, empty) = (group.ports.clone(), Vec::new());
        self.groups.insert(
            id,
            TargetPortGroup {
                ports: empty,
                ..group
            },
        );
        ports
            .into_iter()
            .try_for_each(|port| self.add_port(id, port))
    }

    pub(crate) fn remove_group(&mut self, id: u16) -> Result<(), AluaError> {
        let gone = self.groups.remove(&id).ok_or(AluaError::NoSuchGroup(id))?;
        for port in gone.local_ports() {
            self.local.remove(&port);
        }
        Ok(())
    }

    pub(crate) fn add_port(&mut self, id: u16, port: TargetPort) -> Result<(), AluaError> {
        let relative = port.relative_port();
        if relative == 0 {
            return Err(AluaError::PortId);
        }
        if let Some(taken) = self.of_port(relative) {
            let (port, group) = (relative, taken.id);
            return Err(AluaError::PortInUse { port, group });
        }
        let group = self.group_mut(id)?;
        if group.ports.len() >= MAX_PORTS {
            return Err(AluaError::TooManyPorts(id));
        }
        if let TargetPort::Remote { target, .. } = &port {
            check_remote(group, target)?;
        }
        let local = matches!(port, TargetPort::Local(_));
        group.ports.push(port);
        if local {
            self.local.insert(relative, id);
        }
        Ok(())
    }

    pub(crate) fn remove_port(&mut self, id: u16, relative: u16) -> Result<(), AluaError> {
        let group = self.group_mut(id)?;
        let at = group
            .ports
            .iter()
            .position(|p| p.relative_port() == relative);
        let port = relative;
        let at = at.ok_or(AluaError::NoSuchPort { group: id, port })?;
        group.ports.remove(at);
        self.local.remove(&relative);
        Ok(())
    }

    /// Sets a state, and who did it if that is a change.
    pub(crate) fn set_state(
        &mut self,
        id: u16,
        state: AccessState,
        status: StatusCode,
    ) -> Result<(), AluaError> {
        let group = self.group_mut(id)?;
        if group.state != state {
            (group.state, group.status) = (state, status);
        }
        Ok(())
    }

    pub(crate) fn set_preferred(&mut self, id: u16, preferred: bool) -> Result<(), AluaError> {
        self.group_mut(id)?.preferred = preferred;
        Ok(())
    }
}

fn check_remote(group: &TargetPortGroup, name: &str) -> Result<(), AluaError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(AluaError::RemoteName(name.to_owned()));
    }
    let same = |p: &TargetPort| matches!(p, TargetPort::Remote { target, .. } if target == name);
    if group.ports.iter().any(same) {
        return Err(AluaError::RemoteTwice {
            target: name.to_owned(),
            group: group.id,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(target: &str, relative_port: u16) -> TargetPort {
        let target = target.to_owned();
        TargetPort::Remote {
            target,
            relative_port,
        }
    }

    fn table() -> Table {
        let mut table = Table::default();
        let first = TargetPortGroup::new(1).with(TargetPort::Local(1));
        table.add_group(first.with(remote("iqn.b", 2))).unwrap();
        table
    }

    #[test]
    fn identifiers_of_groups_and_ports_are_unique_and_not_zero() {
        let mut table = table();
        let add = |table: &mut Table, group| table.clone().add_group(group);
        let group = TargetPortGroup::new;
        assert!(matches!(add(&mut table, group(0)), Err(AluaError::GroupId)));
        assert!(matches!(
            add(&mut table, group(1)),
            Err(AluaError::GroupExists(1))
        ));
        for taken in [TargetPort::Local(2), remote("iqn.c", 1)] {
            let result = add(&mut table, group(2).with(taken));
            assert!(matches!(result, Err(AluaError::PortInUse { group: 1, .. })));
        }
        let zero = table.add_port(1, TargetPort::Local(0));
        assert!(matches!(zero, Err(AluaError::PortId)));
        assert!(matches!(
            table.add_port(9, TargetPort::Local(9)),
            Err(AluaError::NoSuchGroup(9))
        ));
        let twice = table.add_port(1, remote("iqn.b", 3));
        assert!(matches!(
            twice,
            Err(AluaError::RemoteTwice { group: 1, .. })
        ));
        let nameless = table.add_port(1, remote("", 3));
        assert!(matches!(nameless, Err(AluaError::RemoteName(_))));
        assert!(matches!(
            table.remove_port(1, 3),
            Err(AluaError::NoSuchPort { .. })
        ));
        assert_eq!(table, self::table());
    }

    #[test]
    fn a_port_that_went_with_its_group_may_come_back() {
        let mut table = table();
        table.remove_group(1).unwrap();
        assert_eq!(table, Table::default());
        assert!(matches!(
            table.remove_group(1),
            Err(AluaError::NoSuchGroup(1))
        ));
        let again = TargetPortGroup::new(2).with(TargetPort::Local(1));
        table.add_group(again).unwrap();
        assert_eq!(table.of_local_port(1).map(TargetPortGroup::id), Some(2));
        table.remove_port(2, 1).unwrap();
        assert!(table.of_local_port(1).is_none());
    }

    #[test]
    fn a_group_has_as_many_ports_as_its_count_can_tell() {
        let mut table = Table::default();
        let all = |n| (1..=n).fold(TargetPortGroup::new(7), |g, p| g.with(TargetPort::Local(p)));
        table.add_group(all(255)).unwrap();
        let more = table.add_port(7, TargetPort::Local(256));
        assert!(matches!(more, Err(AluaError::TooManyPorts(7))));
    }
}
