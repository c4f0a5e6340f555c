//! Initiator groups: which patterns of names each has.

use super::error::shown;
use super::{Pattern, Target, TargetError};

impl Target {
    /// Adds a group, after those that there are; it has no LUN, and no pattern by which a session could be of it.
    ///
    /// # Errors
    /// [`TargetError::GroupName`], [`TargetError::GroupInUse`].
    pub fn add_group(&self, name: &str) -> Result<(), TargetError> {
        self.maps.lock().create(name)
    }

    /// Removes a group. Its sessions see the map of the next group that is for them, or the default map.
    ///
    /// # Errors
    /// [`TargetError::NoSuchGroup`].
    pub fn remove_group(&self, name: &str) -> Result<(), TargetError> {
        let mut maps = self.maps.lock();
        let (id, group) = maps.delete(name)?;
        self.settle(&maps, |of, _| of == Some(id));
        let units = group.luns.map.values();
        units.for_each(|unit| unit.unmapped(&self.this));
        Ok(())
    }

    /// Adds a pattern to a group: sessions whose name it matches, and for which no group before it is, see the group's map.
    ///
    /// # Errors
    /// [`TargetError::NoSuchGroup`], [`TargetError::Pattern`], [`TargetError::InitiatorInUse`].
    pub fn add_initiator(&self, group: &str, pattern: &str) -> Result<(), TargetError> {
        let pattern = parse(pattern)?;
        let mut maps = self.maps.lock();
        maps.group(group)?.1.insert(pattern.clone())?;
        self.settle(&maps, |_, name| pattern.is_for(name));
        Ok(())
    }

    /// Removes a pattern from a group.
    ///
    /// # Errors
    /// [`TargetError::NoSuchGroup`], [`TargetError::Pattern`], [`TargetError::NoSuchInitiator`].
    pub fn remove_initiator(&self, group: &str, pattern: &str) -> Result<(), TargetError> {
        let pattern = parse(pattern)?;
        let mut maps = self.maps.lock();
        let (id, group) = maps.group(group)?;
        group.remove(&pattern)?;
        self.settle(&maps, |of, name| of == Some(id) && pattern.is_for(name));
        Ok(())
    }

    /// Moves a pattern from a group to another one, in one step: no session sees a third map in between.
    ///
    /// # Errors
    /// [`TargetError::NoSuchGroup`], [`TargetError::Pattern`], [`TargetError::NoSuchInitiator`],
    /// [`TargetError::InitiatorInUse`]. Nothing was moved then.
    pub fn move_initiator(&self, from: &str, pattern: &str, to: &str) -> Result<(), TargetError> {
        let pattern = parse(pattern)?;
        let mut maps = self.maps.lock();
        maps.move_pattern(from, &pattern, to)?;
        self.settle(&maps, |_, name| pattern.is_for(name));
        Ok(())
    }

    /// Puts a group before another one in the order in which they are asked, or behind all.
    ///
    /// # Errors
    /// [`TargetError::NoSuchGroup`].
    pub fn place_group(&self, name: &str, before: Option<&str>) -> Result<(), TargetError> {
        let mut maps = self.maps.lock();
        maps.place(name, before)?;
        self.settle(&maps, |_, _| true);
        Ok(())
    }

    /// Removes all patterns of a group.
    ///
    /// # Errors
    /// [`TargetError::NoSuchGroup`].
    pub fn clear_initiators(&self, group: &str) -> Result<(), TargetError> {
        let mut maps = self.maps.lock();
        let (id, group) = maps.group(group)?;
        group.clear();
        self.settle(&maps, |of, _| of == Some(id));
        Ok(())
    }
}

pub(super) fn parse(pattern: &str) -> Result<Pattern, TargetError> {
    Pattern::new(pattern).ok_or_else(|| TargetError::Pattern(shown(pattern)))
}
