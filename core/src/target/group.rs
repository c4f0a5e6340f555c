//! Which LUN map an initiator sees: that of the first group with a matching pattern, else the default one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::error::shown;
use super::identity::Identities;
use super::pattern::Pattern;
use super::session_name::SessionName;
use super::{LunMap, MAX_LUN, TargetError};
use crate::lu::LogicalUnit;

/// Longest name of a group in bytes.
pub const MAX_GROUP: usize = 255;

/// Tells the groups of a target apart; never used again.
pub(super) type GroupId = u64;

/// LUNs of the default map, or of that of a group.
type LunsOf = (Option<GroupId>, Vec<u16>);

/// A LUN map, and what tells its units apart. It changes as a whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Luns {
    pub(super) map: Arc<LunMap>,
    identities: Identities,
}

impl Luns {
    /// The map with a LUN more.
    pub(super) fn with(
        &mut self,
        lun: u64,
        unit: &Arc<LogicalUnit>,
        read_only: bool,
    ) -> Result<u16, TargetError> {
        let number = u16::try_from(lun)
            .ok()
            .filter(|n| *n <= MAX_LUN)
            .ok_or(TargetError::LunRange(lun))?;
        if self.map.contains_key(&number) {
            return Err(TargetError::LunInUse(number));
        }
        self.identities.insert(unit)?;
        Arc::make_mut(&mut self.map).insert(number, Arc::clone(unit), read_only);
        Ok(number)
    }

    /// The map with a LUN less; the unit that it had.
    pub(super) fn without(&mut self, lun: u16) -> Result<Arc<LogicalUnit>, TargetError> {
        if !self.map.contains_key(&lun) {
            return Err(TargetError::NoSuchLun(lun));
        }
        let gone = Arc::make_mut(&mut self.map).remove(lun);
        let gone = gone.ok_or(TargetError::NoSuchLun(lun))?;
        self.identities.remove(&gone);
        Ok(gone)
    }

    /// The map with another unit at a LUN; the unit that it had.
    pub(super) fn replace(
        &mut self,
        lun: u16,
        unit: &Arc<LogicalUnit>,
    ) -> Result<Arc<LogicalUnit>, TargetError> {
        let old = self.map.get(&lun).cloned();
        let old = old.ok_or(TargetError::NoSuchLun(lun))?;
        // The new one may be the same device by another way.
        self.identities.remove(&old);
        if let Err(error) = self.identities.insert(unit) {
            let _ = self.identities.insert(&old);
            return Err(error);
        }
        Arc::make_mut(&mut self.map).replace(lun, Arc::clone(unit));
        Ok(old)
    }

    /// The map with another unit at all LUNs of one; which these are. After an error it is neither.
    fn replace_unit(
        &mut self,
        old: &Arc<LogicalUnit>,
        new: &Arc<LogicalUnit>,
    ) -> Result<Vec<u16>, TargetError> {
        let of_old = self.map.iter().filter(|(_, unit)| *unit == old);
        let numbers: Vec<_> = of_old.map(|(number, _)| *number).collect();
        // The new one may be the same device by another way.
        numbers.iter().for_each(|_| self.identities.remove(old));
        for number in &numbers {
            self.identities.insert(new)?;
            Arc::make_mut(&mut self.map).replace(*number, Arc::clone(new));
        }
        Ok(numbers)
    }
}

impl Luns {
    /// What tells the units apart, as they are now. Two that have become alike stay LUNs.
    fn identify(&mut self) {
        self.identities = Identities::default();
        for unit in self.map.values() {
            if let Err(error) = self.identities.insert(unit) {
                tracing::error!(%error, "initiators cannot tell two units apart");
            }
        }
    }
}

/// A named group of initiators.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) luns: Luns,
    /// By the pattern in lower case: those that are for one name...
    names: BTreeMap<String, Pattern>,
    /// ...and the others.
    wild: BTreeMap<String, Pattern>,
}

impl Group {
    fn patterns(&mut self, pattern: &Pattern) -> &mut BTreeMap<String, Pattern> {
        match pattern.only() {
            Some(_) => &mut self.names,
            None => &mut self.wild,
        }
    }

    pub(super) fn has(&mut self, pattern: &Pattern) -> bool {
        let key = pattern.as_str().to_ascii_lowercase();
        self.patterns(pattern).contains_key(&key)
    }

    pub(super) fn insert(&mut self, pattern: Pattern) -> Result<(), TargetError> {
        if self.has(&pattern) {
            let (group, pattern) = (self.name.clone(), shown(pattern.as_str()));
            return Err(TargetError::InitiatorInUse(group, pattern));
        }
        let key = pattern.as_str().to_ascii_lowercase();
        self.patterns(&pattern).insert(key, pattern);
        Ok(())
    }

    pub(super) fn remove(&mut self, pattern: &Pattern) -> Result<(), TargetError> {
        let key = pattern.as_str().to_ascii_lowercase();
        match self.patterns(pattern).remove(&key) {
            Some(_) => Ok(()),
            None => {
                let (group, pattern) = (self.name.clone(), shown(pattern.as_str()));
                Err(TargetError::NoSuchInitiator(group, pattern))
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.wild.clear();
    }

    /// Whether it is for a session of this name, in lower case.
    fn matches(&self, name: &SessionName) -> bool {
        let known = |name: &str| self.names.contains_key(name);
        known(name.as_str())
            || name.others().iter().any(|other| known(other))
            || self.wild.values().any(|pattern| pattern.is_for(name))
    }

    /// The patterns, in the order of their text in lower case.
    fn initiators(&self) -> Vec<String> {
        let mut all: Vec<_> = self.names.iter().chain(&self.wild).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.iter().map(|(_, p)| p.as_str().to_owned()).collect()
    }
}

/// A group as it is now.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// Its patterns, in the order of their text.
    pub initiators: Vec<String>,
    /// Its LUN map.
    pub luns: Arc<LunMap>,
}

/// All maps of a target.
#[derive(Debug, Clone, Default)]
pub(super) struct Maps {
    pub(super) default: Luns,
    groups: HashMap<GroupId, Group>,
    by_name: HashMap<String, GroupId>,
    /// In which the groups are asked.
    order: Vec<GroupId>,
    next: GroupId,
}

impl Maps {
    pub(super) fn create(&mut self, name: &str) -> Result<(), TargetError> {
        if name.is_empty() || name.len() > MAX_GROUP {
            return Err(TargetError::GroupName(shown(name)));
        }
        if self.by_name.contains_key(name) {
            return Err(TargetError::GroupInUse(name.to_owned()));
        }
        let group = Group {
            name: name.to_owned(),
            luns: Luns::default(),
            names: BTreeMap::new(),
            wild: BTreeMap::new(),
        };
        self.groups.insert(self.next, group);
        self.order.push(self.next);
        self.by_name.insert(name.to_owned(), self.next);
        self.next += 1;
        Ok(())
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(GroupId, Group), TargetError> {
        let id = self.id(name)?;
        self.by_name.remove(name);
        self.order.retain(|other| *other != id);
        let group = self.groups.remove(&id);
        group
            .map(|group| (id, group))
            .ok_or_else(|| TargetError::NoSuchGroup(shown(name)))
    }

    /// Puts a group before another one, or behind all.
    pub(super) fn place(&mut self, name: &str, before: Option<&str>) -> Result<(), TargetError> {
        let id = self.id(name)?;
        let before = before.map(|before| self.id(before)).transpose()?;
        if before == Some(id) {
            return Ok(());
        }
        self.order.retain(|other| *other != id);
        let at = self.order.iter().position(|other| Some(*other) == before);
        self.order.insert(at.unwrap_or(self.order.len()), id);
        Ok(())
    }

    /// Nothing was moved if it cannot be.
    pub(super) fn move_pattern(
        &mut self,
        from: &str,
        pattern: &Pattern,
        to: &str,
    ) -> Result<(), TargetError> {
        self.group(from)?;
        self.group(to)?.1.insert(pattern.clone())?;
        if let Err(error) = self.group(from)?.1.remove(pattern) {
            self.group(to)?.1.remove(pattern)?;
            return Err(error);
        }
        Ok(())
    }

    /// In the order in which they are asked.
    fn in_order(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        let groups = self.order.iter();
        groups.filter_map(|id| Some((*id, self.groups.get(id)?)))
    }

    fn id(&self, name: &str) -> Result<GroupId, TargetError> {
        let id = self.by_name.get(name).copied();
        id.ok_or_else(|| TargetError::NoSuchGroup(shown(name)))
    }

    pub(super) fn group(&mut self, name: &str) -> Result<(GroupId, &mut Group), TargetError> {
        let id = self.id(name)?;
        let group = self.groups.get_mut(&id);
        group
            .map(|group| (id, group))
            .ok_or_else(|| TargetError::NoSuchGroup(shown(name)))
    }

    /// The default map, or a group's.
    pub(super) fn luns(
        &mut self,
        group: Option<&str>,
    ) -> Result<(Option<GroupId>, &mut Luns), TargetError> {
        match group {
            None => Ok((None, &mut self.default)),
            Some(name) => self.group(name).map(|(id, g)| (Some(id), &mut g.luns)),
        }
    }

    /// The map of a session, and the group that it is of.
    pub(super) fn of(&self, name: &SessionName) -> (Option<GroupId>, &Arc<LunMap>) {
        let name = name.to_ascii_lowercase();
        match self.in_order().find(|(_, group)| group.matches(&name)) {
            Some((id, group)) => (Some(id), &group.luns.map),
            None => (None, &self.default.map),
        }
    }

    /// The default map, or that of the group with this id.
    pub(super) fn luns_of(&self, group: Option<GroupId>) -> Option<&Luns> {
        match group {
            None => Some(&self.default),
            Some(id) => self.groups.get(&id).map(|group| &group.luns),
        }
    }

    /// All maps with another unit at all LUNs of one; which these are, by map. After an error they are neither.
    pub(super) fn replace_unit(
        &mut self,
        old: &Arc<LogicalUnit>,
        new: &Arc<LogicalUnit>,
    ) -> Result<Vec<LunsOf>, TargetError> {
        let groups = self.groups.iter_mut();
        let groups = groups.map(|(id, group)| (Some(*id), &mut group.luns));
        std::iter::once((None, &mut self.default))
            .chain(groups)
            .map(|(id, luns)| Ok((id, luns.replace_unit(old, new)?)))
            .collect()
    }

    pub(super) fn name_of(&self, id: GroupId) -> Option<&str> {
        self.groups.get(&id).map(|group| &*group.name)
    }

    pub(super) fn maps(&self) -> impl Iterator<Item = &Arc<LunMap>> {
        let groups = self.in_order().map(|(_, group)| &group.luns.map);
        std::iter::once(&self.default.map).chain(groups)
    }

    pub(super) fn identify(&mut self) {
        self.default.identify();
        let groups = self.groups.values_mut();
        groups.for_each(|group| group.luns.identify());
    }

    pub(super) fn views(&self) -> Vec<GroupView> {
        let view = |group: &Group| GroupView {
            name: group.name.clone(),
            initiators: group.initiators(),
            luns: Arc::clone(&group.luns.map),
        };
        self.in_order().map(|(_, group)| view(group)).collect()
    }
}
