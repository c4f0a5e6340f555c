//! The sessions of a shard, and what they keep of units.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use slab::Slab;

use super::{Event, LocalNexus, LocalUnit, NexusKey, ShardCore, SourceId};
use crate::command::live;
use crate::lu::LogicalUnit;
use crate::nexus::{Nexus, NexusId};
use crate::target::Target;
use crate::tmf::{Manner, Then};
use crate::transport_id::TransportId;

impl ShardCore {
    pub(super) fn open_nexus(
        &mut self,
        source: SourceId,
        target: &Arc<Target>,
        initiator: TransportId,
    ) -> NexusKey {
        let shared = Arc::new(Nexus::new(Arc::clone(target), initiator));
        let id = shared.id;
        target.join(&shared, &self.mailbox);
        let index = self.nexuses.insert(LocalNexus {
            shared,
            units: Slab::new(),
            last: 0,
            seen: None,
            closing: false,
            source,
            budget: self.pool.budget(self.limits.session_bytes),
            told: Vec::new(),
        });
        self.peers[self.lane].load.fetch_add(1, Ordering::Relaxed);
        NexusKey {
            index: index as u32,
            id,
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
            for (_, local) in &nexus.units {
                local.unit.leave(&local.itl);
            }
            self.peers[self.lane].load.fetch_sub(1, Ordering::Relaxed);
            for to in nexus.told {
                self.events.push_back((to, Event::NexusClosed(key)));
            }
        }
    }

    /// Units of a session that are not in its target's map any more lose their commands, and are forgotten.
    pub(super) fn luns_changed(&mut self, id: NexusId, gone: &[Arc<LogicalUnit>]) {
        let Some(key) = self.nexus_key(id) else {
            return;
        };
        for unit in gone {
            let victims = self.commands_of(key, Some(unit));
            self.abort(
                victims,
                Manner::of(id),
                Then::UnitLeft(key, Arc::clone(unit)),
            );
        }
    }

    /// A unit's commands of a session are gone, since the unit left the session's target: so does the I_T_L nexus.
    /// One that came back meanwhile and left again has commands, whose abort comes here once more.
    pub(crate) fn forget_unit(&mut self, key: NexusKey, unit: &LogicalUnit) {
        let busy: Vec<_> = live(&self.commands)
            .filter(|(_, command)| command.nexus == key)
            .map(|(_, command)| command.local_unit)
            .collect();
        let Some(nexus) = self.nexus_mut(key) else {
            return;
        };
        let map = nexus.shared.target.snapshot();
        let gone = |local: &LocalUnit| {
            local.unit.id() == unit.id()
                && map.get(&local.lun).is_none_or(|now| now.id() != unit.id())
        };
        nexus.units.retain(|place, local| {
            let gone = gone(local) && !busy.contains(&place);
            if gone {
                local.unit.leave(&local.itl);
            }
            !gone
        });
    }
}
