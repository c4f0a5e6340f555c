//! A target: a name, LUN maps, and the sessions that use it. All of it but the name may change while sessions use it.
//!
//! Which map a session sees is decided by the name that its transport gives for it: that of the first group, in the
//! order in which they stand, with a pattern that matches, else the default one. They stand in the order of creation
//! unless one is placed elsewhere. A change concerns the sessions whose map it
//! changes and no others. Who changes a target holds its lock, then that of each session's view for a moment; a shard
//! takes the former to open a session only, and the latter when it finds its view changed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

mod builder;
mod draft;
mod error;
mod group;
mod identity;
mod initiators;
mod lun_map;
mod pattern;
mod session_name;

pub use builder::TargetBuilder;
pub use draft::Draft;
pub use error::TargetError;
pub use group::{GroupView, MAX_GROUP};
pub use identity::{Identities, check_identities};
pub use lun_map::LunMap;
pub use pattern::{MAX_PATTERN, Pattern};
pub use session_name::SessionName;

use crate::asc::Asc;
use crate::lu::{IntoLogicalUnit, LogicalUnit};
use crate::nexus::{Change, Nexus, NexusId};
use crate::shard::mailbox::{Mailbox, Message};
use crate::shard::{NexusKey, ShardHandle};
use crate::transport_id::TransportId;
use group::{GroupId, Luns, Maps};

/// Largest LUN that the flat addressing method can express (SAM-5 4.7.7).
pub const MAX_LUN: u16 = 16_383;

/// Tells targets of a process apart; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(u64);

impl TargetId {
    /// The number, for people.
    pub fn number(self) -> u64 {
        self.0
    }
}

static NEXT_TARGET: AtomicU64 = AtomicU64::new(1);

/// See the module's head.
pub struct Target {
    id: TargetId,
    name: String,
    this: Weak<Target>,
    relative_port: AtomicU16,
    maps: Mutex<Maps>,
    /// After `maps`, if both are locked.
    sessions: Mutex<BTreeMap<NexusId, Session>>,
    shards: Mutex<Vec<Arc<Mailbox>>>,
}

struct Session {
    nexus: Weak<Nexus>,
    shard: Arc<Mailbox>,
    key: NexusKey,
    group: Option<GroupId>,
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
        TargetBuilder::new(name.into())
    }

    /// Its id in this process.
    pub fn id(&self) -> TargetId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// RELATIVE TARGET PORT IDENTIFIER of its port (SPC-4 7.8.6.7).
    pub fn relative_port(&self) -> u16 {
        self.relative_port.load(Ordering::Acquire)
    }

    /// The present default LUN map.
    pub fn luns(&self) -> Arc<LunMap> {
        Arc::clone(&self.maps.lock().default.map)
    }

    /// The present LUN map of a group, or the default one.
    ///
    /// # Errors
    /// [`TargetError::NoSuchGroup`].
    pub fn luns_in(&self, group: Option<&str>) -> Result<Arc<LunMap>, TargetError> {
        let mut maps = self.maps.lock();
        maps.luns(group).map(|(_, luns)| Arc::clone(&luns.map))
    }

    /// The LUN map that a session of this name sees.
    pub fn luns_of(&self, name: &str) -> Arc<LunMap> {
        Arc::clone(self.maps.lock().of(&name.into()).1)
    }

    /// The group whose LUN map a session of this name sees; `None` is for the default map.
    pub fn group_of(&self, name: &str) -> Option<String> {
        self.group_of_session(&SessionName::from(name))
    }

    pub(crate) fn group_of_session(&self, name: &SessionName) -> Option<String> {
        let maps = self.maps.lock();
        let (id, _) = maps.of(name);
        id.and_then(|id| maps.name_of(id)).map(str::to_owned)
    }

    /// The groups in the order in which they are asked.
    pub fn groups(&self) -> Vec<GroupView> {
        self.maps.lock().views()
    }

    /// The units of all maps; one that is there several times comes several times.
    pub fn units(&self) -> Vec<Arc<LogicalUnit>> {
        let maps = self.maps.lock();
        maps.maps().flat_map(|map| map.values().cloned()).collect()
    }

    /// As [`Target::units`], each with a name for whoever reads of it.
    pub(crate) fn named_units(&self) -> Vec<(String, Arc<LogicalUnit>)> {
        let maps = self.maps.lock();
        let luns = maps.maps().flat_map(|map| map.iter());
        luns.map(|(lun, unit)| (format!("{} LUN {lun}", self.name), Arc::clone(unit)))
            .collect()
    }

    /// Sessions now.
    pub fn sessions(&self) -> Vec<Arc<Nexus>> {
        let sessions = self.sessions.lock();
        sessions
            .values()
            .filter_map(|s| s.nexus.upgrade())
            .collect()
    }

    /// Adds a LUN to the default map; every session that sees it learns by REPORTED LUNS DATA HAS CHANGED.
    ///
    /// # Errors
    /// [`TargetError::LunRange`], [`TargetError::LunInUse`], [`TargetError::DuplicateSerial`],
    /// [`TargetError::DuplicateDesignator`], [`TargetError::DuplicatePort`].
    pub fn add_lun(&self, lun: u64, unit: impl IntoLogicalUnit) -> Result<(), TargetError> {
        self.add_lun_in(None, lun, unit)
    }

    /// As [`Target::add_lun`], in the map of a group.
    ///
    /// # Errors
    /// Those of [`Target::add_lun`], [`TargetError::NoSuchGroup`].
    pub fn add_lun_in(
        &self,
        group: Option<&str>,
        lun: u64,
        unit: impl IntoLogicalUnit,
    ) -> Result<(), TargetError> {
        self.insert(group, lun, unit.into_logical_unit(), false)
    }

    /// As [`Target::add_lun_in`], for a LUN by which the unit is only read: writes end with DATA PROTECT, WRITE PROTECTED.
    ///
    /// # Errors
    /// Those of [`Target::add_lun_in`].
    pub fn add_read_only_lun_in(
        &self,
        group: Option<&str>,
        lun: u64,
        unit: impl IntoLogicalUnit,
    ) -> Result<(), TargetError> {
        self.insert(group, lun, unit.into_logical_unit(), true)
    }

    fn insert(
        &self,
        group: Option<&str>,
        lun: u64,
        unit: Arc<LogicalUnit>,
        read_only: bool,
    ) -> Result<(), TargetError> {
        let mut maps = self.maps.lock();
        let (id, luns) = maps.luns(group)?;
        unit.mapped(&self.this, self.relative_port())?;
        let number = luns
            .with(lun, &unit, read_only)
            .inspect_err(|_| unit.unmapped(&self.this))?;
        let change = Change {
            new: vec![number],
            tell_map: true,
            ..Change::default()
        };
        self.publish(id, luns, change);
        Ok(())
    }

    /// Removes a LUN from the default map. Commands for it are aborted, and answered LOGICAL UNIT NOT SUPPORTED when they
    /// have ended, at the latest after [`BOUND`](crate::tmf::BOUND); further ones are answered so at once.
    ///
    /// # Errors
    /// [`TargetError::NoSuchLun`].
    pub fn remove_lun(&self, lun: u16) -> Result<(), TargetError> {
        self.remove_lun_in(None, lun)
    }

    /// As [`Target::remove_lun`], in the map of a group.
    ///
    /// # Errors
    /// [`TargetError::NoSuchLun`], [`TargetError::NoSuchGroup`].
    pub fn remove_lun_in(&self, group: Option<&str>, lun: u16) -> Result<(), TargetError> {
        let mut maps = self.maps.lock();
        let (id, luns) = maps.luns(group)?;
        luns.without(lun)?.unmapped(&self.this);
        let change = Change {
            gone: vec![lun],
            tell_map: true,
            ..Change::default()
        };
        self.publish(id, luns, change);
        Ok(())
    }

    /// Puts another unit at a LUN of the default map. Commands for the old one are aborted, and answered TASK ABORTED when
    /// they have ended, at the latest after [`BOUND`](crate::tmf::BOUND); the next one of each session goes to the new one
    /// at once. What a backend keeps beyond the bound and cannot fence may still land: it closes the old unit's medium, and
    /// not that of a new unit over the same store, for which [`DeviceHandler::deactivate`](crate::DeviceHandler::deactivate)
    /// of the old one comes first. With `tell` each session learns by INQUIRY DATA HAS CHANGED at this LUN; without it
    /// sessions that have used the LUN are told nothing, for a unit that is the same device by another way.
    ///
    /// # Errors
    /// [`TargetError::NoSuchLun`], [`TargetError::DuplicateSerial`], [`TargetError::DuplicateDesignator`],
    /// [`TargetError::DuplicatePort`]. The LUN is as it was then.
    pub fn replace_lun(
        &self,
        lun: u16,
        unit: impl IntoLogicalUnit,
        tell: bool,
    ) -> Result<(), TargetError> {
        self.replace_lun_in(None, lun, unit, tell)
    }

    /// Looks at the identities of all units again, after one of them changed.
    pub fn identities_changed(&self) {
        self.maps.lock().identify();
    }

    /// As [`Target::replace_lun`], in the map of a group. A LUN by which its unit is only read stays one.
    ///
    /// # Errors
    /// Those of [`Target::replace_lun`], [`TargetError::NoSuchGroup`].
    pub fn replace_lun_in(
        &self,
        group: Option<&str>,
        lun: u16,
        unit: impl IntoLogicalUnit,
        tell: bool,
    ) -> Result<(), TargetError> {
        let unit = unit.into_logical_unit();
        let mut maps = self.maps.lock();
        let (id, luns) = maps.luns(group)?;
        unit.mapped(&self.this, self.relative_port())?;
        let old = luns
            .replace(lun, &unit)
            .inspect_err(|_| unit.unmapped(&self.this))?;
        old.unmapped(&self.this);
        let change = Change {
            replaced: vec![lun],
            tell_unit: tell,
            ..Change::default()
        };
        self.publish(id, luns, change);
        Ok(())
    }

    /// Removes all LUNs of a group, or of the default map.
    ///
    /// # Errors
    /// [`TargetError::NoSuchGroup`].
    pub fn clear_luns(&self, group: Option<&str>) -> Result<(), TargetError> {
        let mut maps = self.maps.lock();
        let (id, luns) = maps.luns(group)?;
        let old = std::mem::take(luns);
        old.map.values().for_each(|unit| unit.unmapped(&self.this));
        let change = Change {
            gone: old.map.keys().copied().collect(),
            tell_map: true,
            ..Change::default()
        };
        self.publish(id, luns, change);
        Ok(())
    }

    /// Changes the RELATIVE TARGET PORT IDENTIFIER. Sessions learn by INQUIRY DATA HAS CHANGED. Reservations know an
    /// initiator by it too: what it has registered under the old identifier it has no more under the new one. A target port
    /// group has to be told of the new one by its owner.
    ///
    /// # Errors
    /// [`TargetError::DuplicatePort`]; nothing was changed.
    pub fn set_relative_port(&self, port: u16) -> Result<(), TargetError> {
        let maps = self.maps.lock();
        let old = self.relative_port();
        if port == old {
            return Ok(());
        }
        let units: Vec<_> = maps.maps().flat_map(|map| map.values().cloned()).collect();
        for (done, unit) in units.iter().enumerate() {
            if let Err(error) = unit.reached_by(&self.this, port) {
                for unit in units.iter().take(done) {
                    // It was the only one with that until now, and nobody else can have taken it for the same unit.
                    let _ = unit.reached_by(&self.this, old);
                }
                return Err(error);
            }
        }
        self.relative_port.store(port, Ordering::Release);
        drop(maps);
        for unit in &units {
            unit.renamed(self);
        }
        for nexus in self.sessions() {
            nexus.view.unit_attention(Asc::INQUIRY_DATA_HAS_CHANGED);
        }
        Ok(())
    }

    /// Makes a changed map that of the sessions which see it.
    fn publish(&self, group: Option<GroupId>, luns: &Luns, change: Change) {
        let change = Change {
            map: Arc::clone(&luns.map),
            ..change
        };
        self.bind_units(&change.map, change.new.iter().chain(&change.replaced));
        for session in self.sessions.lock().values() {
            if session.group == group {
                session.apply(&change);
            }
        }
    }

    /// Units that came are made known to the shards that serve the target.
    fn bind_units<'a>(&self, map: &LunMap, luns: impl Iterator<Item = &'a u16>) {
        let shards = self.shards.lock();
        luns.filter_map(|lun| map.get(lun))
            .for_each(|unit| unit.bind(&shards));
    }

    /// Gives the sessions that may have another map now, by their present group and their name, the one that is theirs.
    fn settle(&self, maps: &Maps, concerns: impl Fn(Option<GroupId>, &SessionName) -> bool) {
        for session in self.sessions.lock().values_mut() {
            let Some(nexus) = session.nexus.upgrade() else {
                continue;
            };
            if !concerns(session.group, nexus.session_name()) {
                continue;
            }
            let (group, map) = maps.of(nexus.session_name());
            session.group = group;
            let before = nexus.luns();
            if Arc::ptr_eq(&before, map) {
                continue;
            }
            if let Some(change) = Change::between(&before, map) {
                session.apply(&change);
            }
        }
    }

    /// Opens a session, which lives at `key`, under the name by which its map is chosen.
    pub(crate) fn open(
        self: &Arc<Self>,
        initiator: TransportId,
        name: SessionName,
        shard: &Arc<Mailbox>,
        at: impl FnOnce(NexusId) -> NexusKey,
    ) -> Arc<Nexus> {
        let maps = self.maps.lock();
        let (group, map) = maps.of(&name);
        let nexus = Nexus::new(Arc::clone(self), initiator, name, Arc::clone(map));
        let nexus = Arc::new(nexus);
        let session = Session {
            nexus: Arc::downgrade(&nexus),
            shard: Arc::clone(shard),
            key: at(nexus.id),
            group,
        };
        self.sessions.lock().insert(nexus.id, session);
        nexus
    }

    /// A session has ended.
    pub(crate) fn close(&self, nexus: NexusId) {
        self.sessions.lock().remove(&nexus);
    }

    /// Makes the target and its units known to an engine's shards, which serve it from now on; they flush its units at
    /// their end. For transports: [`Engine::attach`](crate::Engine::attach) does this for the targets that it is given.
    pub fn serve(self: &Arc<Self>, shards: &[ShardHandle]) {
        let mailboxes: Vec<_> = shards.iter().map(|s| Arc::clone(&s.mailbox)).collect();
        {
            let maps = self.maps.lock();
            maps.maps()
                .flat_map(|map| map.values())
                .for_each(|unit| unit.bind(&mailboxes));
            *self.shards.lock() = mailboxes;
        }
        if let Some(shard) = shards.first() {
            shard.roster.insert(self);
        }
    }

    /// The opposite of [`Target::serve`]: the engine forgets the target, whose sessions have ended or are going to.
    pub fn retire(&self, shards: &[ShardHandle]) {
        if let Some(shard) = shards.first() {
            shard.roster.remove(self.id);
        }
    }
}

impl Session {
    fn apply(&self, change: &Change) {
        let Some(nexus) = self.nexus.upgrade() else {
            return;
        };
        if nexus.view.apply(change) {
            self.shard.post(Message::LunsChanged(self.key));
        }
    }
}
