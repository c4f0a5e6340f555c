//! What tells units apart, as an index.

use std::collections::HashMap;
use std::sync::Arc;

use super::TargetError;
use crate::designator::{Association, Designator};
use crate::lu::{LogicalUnit, UnitId};

/// The identities of some units, so that one more costs no look at the others. An initiator takes units with one serial
/// number or designator (SPC-4 7.8.5, 7.8.6) for one device with several paths, and would mix their data: no two in
/// here are alike. A unit may be in here several times. What counts is the identity that a unit had when it came.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    units: HashMap<UnitId, Entry>,
    serials: HashMap<String, UnitId>,
    designators: HashMap<Designator, UnitId>,
}

#[derive(Debug, Clone)]
struct Entry {
    times: usize,
    serial: String,
    designators: Vec<Designator>,
}

impl Identities {
    /// Adds a unit.
    ///
    /// # Errors
    /// [`TargetError::DuplicateSerial`], [`TargetError::DuplicateDesignator`]; nothing was changed.
    pub fn insert(&mut self, unit: &LogicalUnit) -> Result<(), TargetError> {
        if let Some(entry) = self.units.get_mut(&unit.id()) {
            entry.times += 1;
            return Ok(());
        }
        let identity = unit.handler().identity();
        let (serial, mut designators) = (identity.serial, identity.designators);
        designators.retain(|d| d.association == Association::LogicalUnit);
        for designator in &designators {
            let twin = self.designators.get(designator);
            // That of the same serial number comes to light below.
            if let Some(twin) = twin.and_then(|id| self.units.get(id))
                && twin.serial != serial
            {
                let twin = twin.serial.clone();
                return Err(TargetError::DuplicateDesignator(serial, twin));
            }
        }
        if self.serials.contains_key(&serial) {
            return Err(TargetError::DuplicateSerial(serial));
        }
        self.serials.insert(serial.clone(), unit.id());
        let own = designators.iter().map(|d| (d.clone(), unit.id()));
        self.designators.extend(own);
        let entry = Entry {
            times: 1,
            serial,
            designators,
        };
        self.units.insert(unit.id(), entry);
        Ok(())
    }

    /// Takes a unit out, once.
    pub fn remove(&mut self, unit: &LogicalUnit) {
        let Some(entry) = self.units.get_mut(&unit.id()) else {
            return;
        };
        entry.times -= 1;
        if entry.times == 0
            && let Some(entry) = self.units.remove(&unit.id())
        {
            self.serials.remove(&entry.serial);
            for designator in &entry.designators {
                self.designators.remove(designator);
            }
        }
    }
}

/// That an initiator can tell units apart ([`Identities`]). A unit may be there several times.
///
/// # Errors
/// [`TargetError::DuplicateSerial`], [`TargetError::DuplicateDesignator`].
pub fn check_identities(
    units: impl IntoIterator<Item = Arc<LogicalUnit>>,
) -> Result<(), TargetError> {
    let mut identities = Identities::default();
    units
        .into_iter()
        .try_for_each(|unit| identities.insert(&unit))
}
