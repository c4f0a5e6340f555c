//! The sessions of a shard, and what they keep of units.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use slab::Slab;

use super::completion::CommandKey;
use super::{Event, LocalNexus, LocalUnit, NexusKey, ShardCore, SourceId};
use crate::command::Command;
use crate::nexus::NexusId;
use crate::target::{SessionName, Target};
use crate::tmf::{Manner, Then};
use crate::transport_id::TransportId;

/// No place of a unit.
const NOWHERE: usize = usize::MAX;

impl ShardCore {
    pub(super) fn open_nexus(
        &mut self,
        source: SourceId,
        target: &Arc<Target>,
        initiator: TransportId,
        name: SessionName,
    ) -> NexusKey {
        let entry = self.nexuses.vacant_entry();
        let index = entry.key();
        let shared = target.open(initiator, name, &self.mailbox, |id| {
            NexusKey::new(index, id)
        });
        let id = shared.id;
        entry.insert(LocalNexus {
            shared,
            units: Slab::new(),
            last: NOWHERE,
            seen: 0,
            closing: false,
            sources: vec![source],
            budget: self.pool.budget(self.limits.session_bytes),
            told: Vec::new(),
        });
        self.peers[self.lane].load.fetch_add(1, Ordering::Relaxed);
        NexusKey::new(index, id)
    }

    pub(super) fn join_nexus(&mut self, source: SourceId, key: NexusKey) {
        // Those that have gone meanwhile, so that it does not grow with each that comes and goes.
        let mut sources = match self.nexus_mut(key) {
            Some(nexus) => std::mem::take(&mut nexus.sources),
            None => return,
        };
        sources.retain(|&id| self.slot(id).is_some());
        sources.push(source);
        if let Some(nexus) = self.nexus_mut(key) {
            nexus.sources = sources;
        }
    }

    pub(crate) fn nexus(&self, key: NexusKey) -> Option<&LocalNexus> {
        self.nexuses
            .get(key.index as usize)
            .filter(|n| n.shared.id == key.id)
    }

    pub(crate) fn nexus_mut(&mut self, key: NexusKey) -> Option<&mut LocalNexus> {
        self.nexuses
            .get_mut(key.index as usize)
            .filter(|n| n.shared.id == key.id)
    }

    /// A session of this shard by its id.
    pub(crate) fn nexus_key(&self, id: NexusId) -> Option<NexusKey> {
        let (index, _) = self.nexuses.iter().find(|(_, n)| n.shared.id == id)?;
        Some(NexusKey::new(index, id))
    }

    pub(super) fn close_nexus(&mut self, to: SourceId, key: NexusKey) {
        match self.nexus_mut(key) {
            Some(nexus) if !nexus.closing => {
                nexus.closing = true;
                let victims = self.commands_of(key, None);
                self.abort(
                    victims,
                    Manner::of(key.id),
                    Then::NexusClosed { to, nexus: key },
                );
            }
            Some(nexus) => nexus.told.push(to),
            None => self.events.push_back((to, Event::NexusClosed(key))),
        }
    }

    pub(super) fn abort_commands(&mut self, key: NexusKey) {
        if self.nexus(key).is_some_and(|nexus| !nexus.closing) {
            let victims = self.commands_of(key, None);
            self.abort(victims, Manner::of(key.id()), Then::Nothing);
        }
    }

    pub(crate) fn drop_nexus(&mut self, key: NexusKey) {
        if self.nexus(key).is_some() {
            let nexus = self.nexuses.remove(key.index as usize);
            nexus.shared.target.close(key.id);
            for (place, local) in &nexus.units {
                let later = nexus.units.iter().filter(|(other, _)| *other > place);
                let another = later.map(|(_, other)| &other.unit);
                let another = another.into_iter().any(|unit| *unit == local.unit);
                local.unit.leave(&local.itl, another);
            }
            self.peers[self.lane].load.fetch_sub(1, Ordering::Relaxed);
            for to in nexus.told {
                self.events.push_back((to, Event::NexusClosed(key)));
            }
        }
    }

    /// Brings the units of a session in line with its view: the commands of those that are not in it any more are aborted,
    /// and answered when they have ended; then the units are forgotten.
    pub(crate) fn luns_changed(&mut self, key: NexusKey) {
        let Some(nexus) = self.nexus_mut(key) else {
            return;
        };
        // Before the look: a change in between makes the next one a new one.
        let version = nexus.shared.view.version();
        if std::mem::replace(&mut nexus.seen, version) == version {
            return;
        }
        let told = nexus.shared.view.look();
        let mut gone = Vec::new();
        for (place, local) in nexus.units.iter_mut().filter(|(_, local)| !local.gone) {
            if let Some(told) = told(local.lun, local.since) {
                local.gone = true;
                gone.push((place, local.unit.id(), told));
            }
        }
        nexus.last = NOWHERE;
        for (place, unit, told) in gone {
            let concerns = |c: &Command| c.local_unit == place || c.works_on(unit);
            let victims = self.keys_where(|c| c.nexus == key && concerns(c));
            let manner = Manner::unit_left(key.id, told);
            self.abort(victims, manner, Then::UnitLeft(key, place));
        }
    }

    /// Commands that have not ended of units that left the session's view, having been this LUN, or any.
    pub(crate) fn departed(&self, key: NexusKey, lun: Option<u16>) -> Vec<CommandKey> {
        let Some(nexus) = self.nexus(key) else {
            return Vec::new();
        };
        let was_it = |local: &LocalUnit| local.gone && lun.is_none_or(|lun| lun == local.lun);
        let of_it = |c: &Command| nexus.units.get(c.local_unit).is_some_and(was_it);
        self.keys_where(|c| c.nexus == key && of_it(c))
    }

    /// The commands of a unit that left the session's view are gone: so does the I_T_L nexus.
    pub(crate) fn forget_unit(&mut self, key: NexusKey, place: usize) {
        let Some(nexus) = self.nexus_mut(key) else {
            return;
        };
        if let Some(local) = nexus.units.try_remove(place) {
            let mut units = nexus.units.iter().map(|(_, other)| &other.unit);
            let another = units.any(|unit| *unit == local.unit);
            local.unit.leave(&local.itl, another);
        }
    }
}
