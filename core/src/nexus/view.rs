//! What a session sees of its target: a LUN map, and what it has yet to be told of changes.
//!
//! Who changes the map, on any thread, makes the view the new one and says so by its version; the session's shard looks
//! at that number with every command, and at the rest when it is another one than before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Itl;
use crate::asc::Asc;
use crate::lu::LogicalUnit;
use crate::target::LunMap;
use crate::tmf::Told;

/// How a map differs from the one before. The lists are in order.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) map: Arc<LunMap>,
    pub(crate) gone: Vec<u16>,
    pub(crate) new: Vec<u16>,
    /// LUNs with another unit than before.
    pub(crate) replaced: Vec<u16>,
    /// REPORTED LUNS DATA HAS CHANGED is due.
    pub(crate) tell_map: bool,
    /// INQUIRY DATA HAS CHANGED is due at the LUNs with another unit.
    pub(crate) tell_unit: bool,
}

impl Change {
    /// From one map to another one; `None` if they are alike.
    pub(crate) fn between(old: &LunMap, new: &Arc<LunMap>) -> Option<Self> {
        let mut change = Self {
            map: Arc::clone(new),
            tell_map: true,
            tell_unit: true,
            ..Self::default()
        };
        let left = |lun: &&u16| !new.contains_key(*lun);
        change.gone = old.keys().filter(left).copied().collect();
        for (&lun, unit) in new.iter() {
            let same_access = old.is_read_only(lun) == new.is_read_only(lun);
            match old.get(&lun) {
                None => change.new.push(lun),
                Some(before) if before == unit && same_access => {}
                Some(_) => change.replaced.push(lun),
            }
        }
        let parts = [&change.gone, &change.new, &change.replaced];
        parts.iter().any(|part| !part.is_empty()).then_some(change)
    }
}

/// See the module's head.
pub(crate) struct View {
    /// Counts the changes, each when it was made.
    version: AtomicU64,
    state: Mutex<State>,
}

struct State {
    map: Arc<LunMap>,
    /// Since which version a LUN is what it is; the first one if nothing is said.
    since: BTreeMap<u16, u64>,
    itls: BTreeMap<u16, Weak<Itl>>,
    /// LUNs without an I_T_L nexus that are to tell that the map has changed.
    untold: BTreeSet<u16>,
    /// With which conditions the next I_T_L nexus of a LUN begins, in place of that of power on.
    begins: BTreeMap<u16, Vec<Asc>>,
    /// The shard has mail and has not looked since.
    posted: bool,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A LUN as a session finds it.
pub(crate) struct Place {
    pub(crate) unit: Arc<LogicalUnit>,
    pub(crate) since: u64,
    /// What the I_T_L nexus begins with.
    pub(crate) begins: Vec<Asc>,
    /// Writes by this LUN are refused.
    pub(crate) read_only: bool,
}

impl View {
    pub(super) fn new(map: Arc<LunMap>) -> Self {
        Self {
            version: AtomicU64::new(0),
            state: Mutex::new(State {
                map,
                since: BTreeMap::new(),
                itls: BTreeMap::new(),
                untold: BTreeSet::new(),
                begins: BTreeMap::new(),
                posted: false,
            }),
        }
    }

    /// Tells whether the view is the one of an earlier look.
    pub(crate) fn version(&self) -> u64 {
        // Acquire: who sees a version finds its view.
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn map(&self) -> Arc<LunMap> {
        Arc::clone(&self.state.lock().map)
    }

    /// The unit of a LUN.
    pub(crate) fn unit(&self, lun: u16) -> Option<Arc<LogicalUnit>> {
        self.state.lock().map.get(&lun).cloned()
    }

    /// Makes the view the new one. True when the shard has to be told.
    pub(crate) fn apply(&self, change: &Change) -> bool {
        let mut state = self.state.lock();
        let version = self.version.load(Ordering::Relaxed) + 1;
        state.map = Arc::clone(&change.map);
        for lun in &change.gone {
            state.forget(*lun);
        }
        for &lun in &change.replaced {
            state.replace(lun, change.tell_unit);
        }
        for &lun in change.new.iter().chain(&change.replaced) {
            state.since.insert(lun, version);
        }
        if change.tell_map {
            state.tell_map(&change.new);
        }
        // Release: see `version`.
        self.version.store(version, Ordering::Release);
        !std::mem::replace(&mut state.posted, true)
    }

    /// The shard looks: for a LUN that is not what it was at a version, what its commands are told.
    pub(crate) fn look(&self) -> impl Fn(u16, u64) -> Option<Told> + use<> {
        let mut state = self.state.lock();
        state.posted = false;
        let (map, since) = (Arc::clone(&state.map), state.since.clone());
        move |lun, of| match since.get(&lun).copied().unwrap_or(0) == of {
            _ if !map.contains_key(&lun) => Some(Told::NotSupported),
            true => None,
            false => Some(Told::TaskAborted),
        }
    }

    /// A LUN that the session is about to use for the first time.
    pub(crate) fn place(&self, lun: u16) -> Option<Place> {
        let mut state = self.state.lock();
        let unit = Arc::clone(state.map.get(&lun)?);
        let begins = state.begins.remove(&lun);
        Some(Place {
            unit,
            since: state.since.get(&lun).copied().unwrap_or(0),
            begins: begins.unwrap_or_else(power_on),
            read_only: state.map.is_read_only(lun),
        })
    }

    /// The I_T_L nexus of a [`Place`] is there.
    pub(crate) fn register(&self, lun: u16, since: u64, itl: &Arc<Itl>) {
        let mut state = self.state.lock();
        // It may be another one again; then the shard will see that.
        if state.since.get(&lun).copied().unwrap_or(0) != since {
            return;
        }
        state.itls.insert(lun, Arc::downgrade(itl));
        if state.untold.remove(&lun) {
            itl.ua.establish(Asc::REPORTED_LUNS_DATA_HAS_CHANGED);
        }
    }

    /// The map for the session to be given the list of: that it changed is told then (SPC-4 6.33). In one step, so that a
    /// change which the list does not have is told after it.
    pub(crate) fn report_map(&self) -> Arc<LunMap> {
        let mut state = self.state.lock();
        state.untold.clear();
        for itl in state.itls.values().filter_map(Weak::upgrade) {
            itl.ua.clear(Asc::REPORTED_LUNS_DATA_HAS_CHANGED);
        }
        Arc::clone(&state.map)
    }

    /// Establishes a condition on every LUN that the session has used.
    pub(crate) fn unit_attention(&self, asc: Asc) {
        let state = self.state.lock();
        for itl in state.itls.values().filter_map(Weak::upgrade) {
            itl.ua.establish(asc);
        }
    }
}

impl State {
    fn forget(&mut self, lun: u16) {
        self.since.remove(&lun);
        self.itls.remove(&lun);
        self.untold.remove(&lun);
        self.begins.remove(&lun);
    }

    /// The next I_T_L nexus of a LUN goes on with what the one before had to tell.
    fn replace(&mut self, lun: u16, tell: bool) {
        let old = self.itls.remove(&lun).and_then(|itl| itl.upgrade());
        let before = match old {
            Some(itl) => Some(itl.ua.pending()),
            None => self.begins.remove(&lun),
        };
        let mut begins = before.unwrap_or_else(power_on);
        if tell && !begins.contains(&Asc::INQUIRY_DATA_HAS_CHANGED) {
            begins.push(Asc::INQUIRY_DATA_HAS_CHANGED);
        }
        self.begins.insert(lun, begins);
    }

    /// A LUN that is new is the news itself.
    fn tell_map(&mut self, new: &[u16]) {
        for lun in self.map.keys() {
            if new.binary_search(lun).is_ok() {
                continue;
            }
            match self.itls.get(lun).and_then(Weak::upgrade) {
                Some(itl) => itl.ua.establish(Asc::REPORTED_LUNS_DATA_HAS_CHANGED),
                None => drop(self.untold.insert(*lun)),
            }
        }
    }
}

fn power_on() -> Vec<Asc> {
    vec![Asc::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED]
}
