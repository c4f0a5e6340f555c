//! A LUN map.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use crate::lu::LogicalUnit;

/// Units by LUN, and by which LUNs they are only read.
#[derive(Debug, Clone, Default)]
pub struct LunMap {
    units: BTreeMap<u16, Arc<LogicalUnit>>,
    read_only: BTreeSet<u16>,
}

impl LunMap {
    /// Whether writes by this LUN are refused, whatever they are by others.
    pub fn is_read_only(&self, lun: u16) -> bool {
        self.read_only.contains(&lun)
    }

    pub(super) fn insert(&mut self, lun: u16, unit: Arc<LogicalUnit>, read_only: bool) {
        self.units.insert(lun, unit);
        if read_only {
            self.read_only.insert(lun);
        }
    }

    pub(super) fn remove(&mut self, lun: u16) -> Option<Arc<LogicalUnit>> {
        self.read_only.remove(&lun);
        self.units.remove(&lun)
    }

    pub(super) fn replace(&mut self, lun: u16, unit: Arc<LogicalUnit>) {
        self.units.insert(lun, unit);
    }
}

impl Deref for LunMap {
    type Target = BTreeMap<u16, Arc<LogicalUnit>>;

    fn deref(&self) -> &Self::Target {
        &self.units
    }
}
