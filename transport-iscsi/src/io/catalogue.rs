//! The targets of a transport, and what is said of those that are none.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use lunforge_core::Target;

use super::manage::ChangeError;
use super::settings::TargetSettings;
use crate::proto::chap::{ChapAlgorithm, ChapConfig};
use crate::proto::login::AuthConfig;

/// A target that is served.
#[derive(Debug, Clone)]
pub(super) struct Served {
    /// Never that of another one, or of the same one when it comes again.
    id: u64,
    pub(super) target: Arc<Target>,
    pub(super) settings: Arc<TargetSettings>,
    pub(super) enabled: bool,
}

impl Served {
    /// Whether it has been served all the time since it was this other one.
    pub(super) fn is_still(&self, before: &Self) -> bool {
        self.id == before.id
    }

    /// Whether there is no such target for this initiator, who comes by an address of ours.
    pub(super) fn is_hidden_from(&self, initiator: &str, local: SocketAddr) -> bool {
        let settings = &self.settings;
        let without_luns = || {
            let name = settings.session_name(initiator, local);
            self.target.luns_of(&name).is_empty()
        };
        !self.enabled
            || !settings.reachable_at(local.ip())
            || settings.hide_without_luns && without_luns()
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// In the order in which they came.
    targets: BTreeMap<u64, Served>,
    /// By name in lower case.
    by_name: HashMap<String, u64>,
    next: u64,
    /// The sets of algorithms with which targets demand CHAP, and how many have each.
    chap: BTreeMap<Vec<u8>, (Arc<ChapConfig>, usize)>,
    pub(super) discovery: AuthConfig,
    names: RandomState,
}

impl Catalogue {
    pub(super) fn new(discovery: AuthConfig) -> Self {
        Self {
            discovery,
            ..Self::default()
        }
    }

    pub(super) fn insert(
        &mut self,
        target: Arc<Target>,
        settings: TargetSettings,
    ) -> Result<(), ChangeError> {
        let name = target.name().to_ascii_lowercase();
        if self.by_name.contains_key(&name) {
            return Err(ChangeError::DuplicateTarget(target.name().to_owned()));
        }
        self.count(&settings.auth);
        self.by_name.insert(name, self.next);
        let served = Served {
            id: self.next,
            target,
            settings: Arc::new(settings),
            enabled: true,
        };
        self.targets.insert(self.next, served);
        self.next += 1;
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<Served, ChangeError> {
        let id = self.by_name.remove(&name.to_ascii_lowercase());
        let served = id.and_then(|id| self.targets.remove(&id));
        let served = served.ok_or_else(|| ChangeError::no_target(name))?;
        self.discount(&served.settings.auth);
        Ok(served)
    }

    pub(super) fn set(&mut self, name: &str, settings: TargetSettings) -> Result<(), ChangeError> {
        let served = self.get_mut(name)?;
        let new = Arc::new(settings);
        let old = std::mem::replace(&mut served.settings, Arc::clone(&new));
        self.count(&new.auth);
        self.discount(&old.auth);
        Ok(())
    }

    pub(super) fn enable(&mut self, name: &str, enabled: bool) -> Result<(), ChangeError> {
        self.get_mut(name)?.enabled = enabled;
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Served> {
        let id = self.by_name.get(&name.to_ascii_lowercase())?;
        self.targets.get(id)
    }

    fn get_mut(&mut self, name: &str) -> Result<&mut Served, ChangeError> {
        let id = self.by_name.get(&name.to_ascii_lowercase());
        let served = id.and_then(|id| self.targets.get_mut(id));
        served.ok_or_else(|| ChangeError::no_target(name))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Served> {
        self.targets.values()
    }

    /// With what somebody is challenged who names a target that is not there for him; `None` if he may know that. A
    /// stranger must not learn which names exist (N10), where some demand a proof: so one that does not is asked for the
    /// same, under one of the sets of algorithms that are in use, always the same for the same name.
    pub(super) fn decoy(&self, name: &str) -> Option<Arc<ChapConfig>> {
        if let AuthConfig::Chap(config) = &self.discovery
            && self.chap.is_empty()
        {
            return Some(Arc::new(config.decoy_like()));
        }
        let sets = u64::try_from(self.chap.len()).unwrap_or(u64::MAX);
        let hash = || self.names.hash_one(name.to_ascii_lowercase());
        // Nothing random where there is nothing to choose.
        let place = if sets > 1 { hash() % sets } else { 0 };
        let set = self.chap.values().nth(usize::try_from(place).ok()?);
        set.map(|(decoy, _)| Arc::clone(decoy))
    }

    fn count(&mut self, auth: &AuthConfig) {
        if let AuthConfig::Chap(config) = auth {
            let set = self.chap.entry(algorithms(config));
            let decoy = || (Arc::new(config.decoy_like()), 0);
            set.or_insert_with(decoy).1 += 1;
        }
    }

    fn discount(&mut self, auth: &AuthConfig) {
        let AuthConfig::Chap(config) = auth else {
            return;
        };
        let set = algorithms(config);
        if let Some((_, count)) = self.chap.get_mut(&set) {
            *count -= 1;
            if *count == 0 {
                self.chap.remove(&set);
            }
        }
    }
}

/// The algorithms that a configuration allows; their order means nothing.
fn algorithms(config: &ChapConfig) -> Vec<u8> {
    let number = |algorithm: &ChapAlgorithm| *algorithm as u8;
    let mut all: Vec<_> = config.algorithms().iter().map(number).collect();
    all.sort_unstable();
    all
}
