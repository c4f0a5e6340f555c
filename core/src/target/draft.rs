//! Several changes of what initiators see, as one.

use std::sync::Arc;

use super::group::Maps;
use super::initiators::parse;
use super::{Target, TargetError};
use crate::lu::{IntoLogicalUnit, LogicalUnit};
use crate::nexus::Change;

/// What a target is to show, while changes of it are made: [`Target::edit`]. Its methods are those of [`Target`] of the
/// same name, and have their errors.
#[derive(Debug)]
pub struct Draft<'a> {
    target: &'a Target,
    maps: Maps,
    /// Units that have become LUNs; one that has twice is here twice.
    came: Vec<Arc<LogicalUnit>>,
    /// Units that are LUNs until the changes are made.
    gone: Vec<Arc<LogicalUnit>>,
}

impl Target {
    /// Makes several changes of maps, groups and patterns in one step: no session sees a map that is neither that of before
    /// nor that of after, and one whose map is alike before and after notices nothing. The target is locked while `change`
    /// runs, which is not to call it: all changes go by the [`Draft`].
    ///
    /// # Errors
    /// That of `change`; nothing was changed then.
    pub fn edit(
        &self,
        change: impl FnOnce(&mut Draft<'_>) -> Result<(), TargetError>,
    ) -> Result<(), TargetError> {
        let mut maps = self.maps.lock();
        let mut draft = Draft::new(self, &maps);
        if let Err(error) = change(&mut draft) {
            let came = draft.came.iter();
            came.for_each(|unit| unit.unmapped(&self.this));
            return Err(error);
        }
        let Draft {
            maps: after,
            came,
            gone,
            ..
        } = draft;
        *maps = after;
        {
            let shards = self.shards.lock();
            came.iter().for_each(|unit| unit.bind(&shards));
        }
        self.settle(&maps, |_, _| true);
        gone.iter().for_each(|unit| unit.unmapped(&self.this));
        Ok(())
    }

    /// Puts another unit under all LUNs of one in one step, in all maps; it may be the same device opened anew. Sessions that
    /// see it are told INQUIRY DATA HAS CHANGED. LUNs by which it is only read stay such.
    ///
    /// # Errors
    /// [`TargetError::DuplicateSerial`], [`TargetError::DuplicateDesignator`], [`TargetError::DuplicatePort`]; nothing was
    /// changed then.
    pub fn replace_unit(
        &self,
        old: &Arc<LogicalUnit>,
        new: impl IntoLogicalUnit,
    ) -> Result<(), TargetError> {
        let new = new.into_logical_unit();
        let mut maps = self.maps.lock();
        let mut after = maps.clone();
        let replaced = after.replace_unit(old, &new)?;
        let times = replaced.iter().map(|(_, luns)| luns.len()).sum();
        for done in 0..times {
            if let Err(error) = new.mapped(&self.this, self.relative_port()) {
                (0..done).for_each(|_| new.unmapped(&self.this));
                return Err(error);
            }
        }
        *maps = after;
        for (group, replaced) in replaced {
            if let Some(luns) = maps.luns_of(group).filter(|_| !replaced.is_empty()) {
                let change = Change {
                    replaced,
                    tell_unit: true,
                    ..Change::default()
                };
                self.publish(group, luns, change);
            }
        }
        (0..times).for_each(|_| old.unmapped(&self.this));
        Ok(())
    }
}

impl<'a> Draft<'a> {
    fn new(target: &'a Target, maps: &Maps) -> Self {
        Self {
            target,
            maps: maps.clone(),
            came: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// As [`Target::add_lun_in`], or [`Target::add_read_only_lun_in`].
    ///
    /// # Errors
    /// Those of these.
    pub fn add_lun(
        &mut self,
        group: Option<&str>,
        lun: u64,
        unit: impl IntoLogicalUnit,
        read_only: bool,
    ) -> Result<(), TargetError> {
        let unit = unit.into_logical_unit();
        self.come(unit, |maps, unit| {
            maps.luns(group)?.1.with(lun, unit, read_only).map(drop)
        })
    }

    /// As [`Target::remove_lun_in`].
    ///
    /// # Errors
    /// Those of that.
    pub fn remove_lun(&mut self, group: Option<&str>, lun: u16) -> Result<(), TargetError> {
        let unit = self.maps.luns(group)?.1.without(lun)?;
        self.gone.push(unit);
        Ok(())
    }

    /// As [`Target::replace_lun_in`]; sessions that see another unit then are told.
    ///
    /// # Errors
    /// Those of that.
    pub fn replace_lun(
        &mut self,
        group: Option<&str>,
        lun: u16,
        unit: impl IntoLogicalUnit,
    ) -> Result<(), TargetError> {
        let unit = unit.into_logical_unit();
        let old = self.come(unit, |maps, unit| maps.luns(group)?.1.replace(lun, unit))?;
        self.gone.push(old);
        Ok(())
    }

    /// As [`Target::add_group`].
    ///
    /// # Errors
    /// Those of that.
    pub fn add_group(&mut self, name: &str) -> Result<(), TargetError> {
        self.maps.create(name)
    }

    /// As [`Target::remove_group`].
    ///
    /// # Errors
    /// Those of that.
    pub fn remove_group(&mut self, name: &str) -> Result<(), TargetError> {
        let (_, group) = self.maps.delete(name)?;
        self.gone.extend(group.luns.map.values().cloned());
        Ok(())
    }

    /// As [`Target::place_group`].
    ///
    /// # Errors
    /// Those of that.
    pub fn place_group(&mut self, name: &str, before: Option<&str>) -> Result<(), TargetError> {
        self.maps.place(name, before)
    }

    /// As [`Target::add_initiator`].
    ///
    /// # Errors
    /// Those of that.
    pub fn add_initiator(&mut self, group: &str, pattern: &str) -> Result<(), TargetError> {
        self.maps.group(group)?.1.insert(parse(pattern)?)
    }

    /// As [`Target::remove_initiator`].
    ///
    /// # Errors
    /// Those of that.
    pub fn remove_initiator(&mut self, group: &str, pattern: &str) -> Result<(), TargetError> {
        self.maps.group(group)?.1.remove(&parse(pattern)?)
    }

    /// As [`Target::move_initiator`].
    ///
    /// # Errors
    /// Those of that.
    pub fn move_initiator(
        &mut self,
        from: &str,
        pattern: &str,
        to: &str,
    ) -> Result<(), TargetError> {
        self.maps.move_pattern(from, &parse(pattern)?, to)
    }

    /// A unit becomes a LUN, if it can become one.
    fn come<T>(
        &mut self,
        unit: Arc<LogicalUnit>,
        map: impl FnOnce(&mut Maps, &Arc<LogicalUnit>) -> Result<T, TargetError>,
    ) -> Result<T, TargetError> {
        let target = self.target;
        unit.mapped(&target.this, target.relative_port())?;
        let mapped = map(&mut self.maps, &unit).inspect_err(|_| unit.unmapped(&target.this))?;
        self.came.push(unit);
        Ok(mapped)
    }
}
