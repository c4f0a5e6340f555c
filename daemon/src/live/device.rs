//! A device: its disk, its logical unit, and what belongs to that.

mod change;
mod close;
mod identify;
mod open;
mod reopen;
mod trigger;

use std::collections::BTreeMap;
use std::sync::Arc;

use lunforge::LogicalUnit;
use lunforge::alua::AsymmetricAccess;
use lunforge::core::lu::Closed;
use lunforge::pr::Reservations;
use lunforge::vdisk::Vdisk;
use parking_lot::Mutex;

use crate::tree::{Attributes, Path};

use super::target::Target;

pub(super) use reopen::hold;

/// What a device is made of. Opening it anew makes all of it new.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) disk: Vdisk,
    pub(super) access: Arc<AsymmetricAccess>,
    pub(super) reservations: Reservations,
    pub(super) unit: Arc<LogicalUnit>,
}

/// Where a device is a LUN.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) target: Arc<Target>,
    pub(super) group: Option<String>,
    pub(super) number: u16,
}

impl Place {
    /// Whether initiators come by it: those of the copy manager are kept.
    fn is_served(&self) -> bool {
        self.target.core.is_some()
    }
}

/// A device. All locks are held for a few instructions.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) name: String,
    state: Mutex<State>,
    /// The LUNs that it is, by their paths.
    pub(super) places: Mutex<BTreeMap<Path, Place>>,
}

struct State {
    given: Attributes,
    parts: Arc<Parts>,
    /// The EUI-64 that follows from its `t10_dev_id`, as noted.
    derived: Option<[u8; 8]>,
    /// Its size before it was given one while it lived.
    found_size: Option<u64>,
    /// While it is here no command of the device executes: `block`.
    blocked: Option<Closed>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

impl Device {
    fn new(name: &str, given: Attributes, parts: Parts, derived: Option<[u8; 8]>) -> Self {
        let state = State {
            given,
            parts: Arc::new(parts),
            derived,
            found_size: None,
            blocked: None,
        };
        Self {
            name: name.to_owned(),
            state: Mutex::new(state),
            places: Mutex::default(),
        }
    }

    /// What it is made of now.
    pub(super) fn parts(&self) -> Arc<Parts> {
        Arc::clone(&self.state.lock().parts)
    }

    /// What it was given.
    pub(super) fn given(&self) -> Attributes {
        self.state.lock().given.clone()
    }

    /// What it was given for an attribute.
    pub(super) fn first(&self, name: &str) -> Option<String> {
        let state = self.state.lock();
        let values = state.given.get(name)?;
        values.first().cloned()
    }

    pub(super) fn handler(&self) -> String {
        self.first("handler").unwrap_or_default()
    }

    /// Whether its commands are held back.
    pub(super) fn is_blocked(&self) -> bool {
        self.state.lock().blocked.is_some()
    }

    /// The LUNs that initiators reach it by.
    pub(super) fn places(&self) -> Vec<Place> {
        let places = self.places.lock();
        let served = places.values().filter(|place| place.is_served());
        served.cloned().collect()
    }

    /// The targets that have it, each once.
    pub(super) fn targets(&self) -> Vec<Arc<Target>> {
        let mut targets: Vec<Arc<Target>> = Vec::new();
        for Place { target, .. } in self.places() {
            if !targets.iter().any(|other| Arc::ptr_eq(other, &target)) {
                targets.push(target);
            }
        }
        targets
    }

    /// The paths of its LUNs.
    pub(super) fn luns(&self, most: usize) -> Vec<String> {
        let places = self.places.lock();
        let served = places.iter().filter(|(_, place)| place.is_served());
        served
            .take(most)
            .map(|(path, _)| path.to_string())
            .collect()
    }

    fn set_given(&self, name: &str, values: &[String]) {
        let mut state = self.state.lock();
        if values.is_empty() {
            state.given.remove(name);
        } else {
            state.given.insert(name.to_owned(), values.to_vec());
        }
    }
}
