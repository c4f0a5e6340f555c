//! A target: a name, a LUN map, and the sessions that use it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::asc::Asc;
use crate::designator::Association;
use crate::handler::Identity;
use crate::lu::{IntoLogicalUnit, LogicalUnit};
use crate::lun::Lun;
use crate::nexus::Nexus;
use crate::shard::mailbox::{Mailbox, Message};

/// Largest LUN that the flat addressing method can express (SAM-5 4.7.7).
pub const MAX_LUN: u16 = 16_383;

/// How much of a wrong name is told.
const NAME_SHOWN: usize = 64;

/// Units by LUN.
pub type LunMap = BTreeMap<u16, Arc<LogicalUnit>>;

/// Why a target cannot be made or changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The number is larger than [`MAX_LUN`].
    #[error("LUN {0} is out of range: 0 to {MAX_LUN}")]
    LunRange(u64),
    /// The number is taken.
    #[error("LUN {0} is in use")]
    LunInUse(u16),
    /// There is no such LUN.
    #[error("there is no LUN {0}")]
    NoSuchLun(u16),
    /// Two units would claim to be the same device.
    #[error("two logical units have the serial number {0:?}")]
    DuplicateSerial(String),
    /// Two units would claim to be the same device, by a designator.
    #[error("logical unit {0:?} has a designator of logical unit {1:?}")]
    DuplicateDesignator(String, String),
    /// The unit is a LUN of another target, whose port has the same relative identifier.
    #[error("the unit is reached through another target by the relative target port {0} already")]
    DuplicatePort(u16),
    /// No name, or one of more than 223 bytes (RFC 7143 4.2.7); its beginning.
    #[error("the target name {0:?} is empty or longer than 223 bytes")]
    Name(String),
}

/// See the module's head.
pub struct Target {
    name: String,
    luns: ArcSwap<LunMap>,
    /// Counts the changes of the map, each after it was made.
    version: AtomicU64,
    /// Serialises changes of the map.
    change: Mutex<()>,
    relative_port: u16,
    sessions: Mutex<Vec<Session>>,
    shards: Mutex<Vec<Arc<Mailbox>>>,
}

struct Session {
    nexus: Weak<Nexus>,
    shard: Arc<Mailbox>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Starts to describe a target of this name (for iSCSI an iqn., eui. or naa. name).
    pub fn builder(name: impl Into<String>) -> TargetBuilder {
        TargetBuilder {
            name: name.into(),
            luns: Vec::new(),
            relative_port: 1,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// RELATIVE TARGET PORT IDENTIFIER of its port (SPC-4 7.8.6.7).
    pub fn relative_port(&self) -> u16 {
        self.relative_port
    }

    /// The present LUN map.
    pub fn luns(&self) -> Arc<LunMap> {
        self.luns.load_full()
    }

    /// The present LUN map, for a short look.
    pub(crate) fn snapshot(&self) -> arc_swap::Guard<Arc<LunMap>> {
        self.luns.load()
    }

    /// Tells whether the map is the one of an earlier look, at less cost than a look.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Sessions now.
    pub fn sessions(&self) -> Vec<Arc<Nexus>> {
        self.sessions
            .lock()
            .iter()
            .filter_map(|s| s.nexus.upgrade())
            .collect()
    }

    /// Adds a LUN; every session learns by REPORTED LUNS DATA HAS CHANGED.
    ///
    /// # Errors
    /// [`TargetError::LunRange`], [`TargetError::LunInUse`], [`TargetError::DuplicateSerial`],
    /// [`TargetError::DuplicateDesignator`], [`TargetError::DuplicatePort`].
    pub fn add_lun(
        self: &Arc<Self>,
        lun: u64,
        unit: impl IntoLogicalUnit,
    ) -> Result<(), TargetError> {
        let unit = unit.into_logical_unit();
        let _change = self.change.lock();
        let mut map = LunMap::clone(&self.luns.load());
        check_port(&unit, self.relative_port, Some(self))?;
        insert(&mut map, lun, Arc::clone(&unit))?;
        check_identities(map.values().cloned())?;
        unit.mapped(self);
        self.publish(map, Vec::new());
        Ok(())
    }

    /// Removes a LUN: commands for it are aborted, further ones answered LOGICAL UNIT NOT SUPPORTED.
    ///
    /// # Errors
    /// [`TargetError::NoSuchLun`].
    pub fn remove_lun(&self, lun: u16) -> Result<(), TargetError> {
        let _change = self.change.lock();
        let mut map = LunMap::clone(&self.luns.load());
        let gone = map.remove(&lun).ok_or(TargetError::NoSuchLun(lun))?;
        if !map.values().any(|unit| *unit == gone) {
            gone.unmapped(self);
        }
        self.publish(map, vec![gone]);
        Ok(())
    }

    fn publish(&self, map: LunMap, gone: Vec<Arc<LogicalUnit>>) {
        let shards = self.shards.lock().clone();
        map.values().for_each(|unit| unit.bind(&shards));
        let kept: Vec<_> = map.values().cloned().collect();
        self.luns.store(Arc::new(map));
        // Release: whoever sees the new version finds the new map.
        self.version.fetch_add(1, Ordering::Release);
        for session in self.sessions.lock().iter() {
            let Some(nexus) = session.nexus.upgrade() else {
                continue;
            };
            session
                .shard
                .post(Message::LunsChanged(nexus.id, gone.clone()));
        }
        kept.iter()
            .for_each(|unit| unit.unit_attention(Asc::REPORTED_LUNS_DATA_HAS_CHANGED, None));
    }

    pub(crate) fn join(&self, nexus: &Arc<Nexus>, shard: &Arc<Mailbox>) {
        let mut sessions = self.sessions.lock();
        sessions.retain(|s| s.nexus.strong_count() > 0);
        sessions.push(Session {
            nexus: Arc::downgrade(nexus),
            shard: Arc::clone(shard),
        });
    }

    /// Makes the target and its units known to an engine's shards.
    pub(crate) fn bind(&self, mailboxes: &[Arc<Mailbox>]) {
        let _change = self.change.lock();
        *self.shards.lock() = mailboxes.to_vec();
        self.luns
            .load()
            .values()
            .for_each(|unit| unit.bind(mailboxes));
    }

    /// The unit that a LUN field names.
    pub(crate) fn resolve(&self, lun: Lun) -> Option<Arc<LogicalUnit>> {
        self.luns
            .load()
            .get(&u16::try_from(lun.number()).ok()?)
            .cloned()
    }
}

/// Relative target port identifiers are unique among the ports of a unit (SPC-4 7.8.6.7).
fn check_port(unit: &LogicalUnit, port: u16, but: Option<&Target>) -> Result<(), TargetError> {
    let other = |target: &Arc<Target>| but.is_none_or(|but| !std::ptr::eq(but, &**target));
    let taken = |target: &Arc<Target>| other(target) && target.relative_port == port;
    if unit.targets().iter().any(taken) {
        return Err(TargetError::DuplicatePort(port));
    }
    Ok(())
}

fn insert(map: &mut LunMap, lun: u64, unit: Arc<LogicalUnit>) -> Result<(), TargetError> {
    let number = u16::try_from(lun)
        .ok()
        .filter(|n| *n <= MAX_LUN)
        .ok_or(TargetError::LunRange(lun))?;
    if map.contains_key(&number) {
        return Err(TargetError::LunInUse(number));
    }
    map.insert(number, unit);
    Ok(())
}

/// That an initiator can tell units apart: it takes those with one serial number or designator (SPC-4 7.8.5, 7.8.6) for
/// one device with several paths, and would mix their data. A unit may be there several times.
///
/// # Errors
/// [`TargetError::DuplicateSerial`], [`TargetError::DuplicateDesignator`].
pub fn check_identities(
    units: impl IntoIterator<Item = Arc<LogicalUnit>>,
) -> Result<(), TargetError> {
    let (mut ids, mut serials, mut designators) = (HashSet::new(), HashSet::new(), HashMap::new());
    for unit in units {
        if !ids.insert(unit.id()) {
            continue;
        }
        let Identity {
            serial,
            designators: own,
            ..
        } = unit.handler().identity();
        for designator in own {
            let of_unit = designator.association == Association::LogicalUnit;
            // That of the same serial number is its own, or comes to light below.
            if of_unit
                && let Some(twin) = designators.insert(designator, serial.clone())
                && twin != serial
            {
                return Err(TargetError::DuplicateDesignator(serial, twin));
            }
        }
        if let Some(serial) = serials.replace(serial) {
            return Err(TargetError::DuplicateSerial(serial));
        }
    }
    Ok(())
}

/// Describes a target.
#[derive(Debug)]
pub struct TargetBuilder {
    name: String,
    luns: Vec<(u64, Arc<LogicalUnit>)>,
    relative_port: u16,
}

impl TargetBuilder {
    /// Maps a unit to a LUN.
    #[must_use]
    pub fn lun(mut self, lun: u64, unit: impl IntoLogicalUnit) -> Self {
        self.luns.push((lun, unit.into_logical_unit()));
        self
    }

    /// Sets the RELATIVE TARGET PORT IDENTIFIER; 1 unless set.
    #[must_use]
    pub fn relative_port(mut self, id: u16) -> Self {
        self.relative_port = id;
        self
    }

    /// Makes the target.
    ///
    /// # Errors
    /// [`TargetError`]: a bad name, a LUN out of range or used twice, a serial number or designator used twice, a relative
    /// target port by which one of the units is reached already.
    pub fn build(self) -> Result<Arc<Target>, TargetError> {
        if self.name.is_empty() || self.name.len() > 223 {
            return Err(TargetError::Name(
                self.name.chars().take(NAME_SHOWN).collect(),
            ));
        }
        let mut map = LunMap::new();
        for (lun, unit) in self.luns {
            check_port(&unit, self.relative_port, None)?;
            insert(&mut map, lun, unit)?;
        }
        check_identities(map.values().cloned())?;
        let units: Vec<_> = map.values().cloned().collect();
        let target = Arc::new(Target {
            name: self.name,
            luns: ArcSwap::from_pointee(map),
            version: AtomicU64::new(0),
            change: Mutex::default(),
            relative_port: self.relative_port,
            sessions: Mutex::default(),
            shards: Mutex::default(),
        });
        units.iter().for_each(|unit| unit.mapped(&target));
        Ok(target)
    }
}
