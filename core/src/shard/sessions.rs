//! The sessions of a shard, and what they keep of units.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use slab::Slab;

use super::completion::CommandKey;
use super::{Event, LocalNexus, NexusKey, ShardCore, SourceId};
use crate::command::Command;
use crate::nexus::NexusId;
use crate::target::Target;
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
        name: String,
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
            source,
            budget: self.pool.budget(self.limits.session_bytes),
            told: Vec::new(),
        });
        self.peers[self.lane].load.fetch_add(1, Ordering::Relaxed);
        NexusKey::new(index, id)
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

    /// Brings the units of a session in line with its view: those that are not in it any more lose their commands, and are
    /// forgotten.
    pub(crate) fn luns_changed(&mut self, key: NexusKey) {
        let Some(nexus) = self.nexus_mut(key) else {
            return;
        };
        // Before the look: a change in between makes the next one a new one.
        let version = nexus.shared.view.version();
        if std::mem::replace(&mut nexus.seen, version) == version {
            return;
        }
        let stays = nexus.shared.view.look();
        let mut gone = Vec::new();
        for (place, local) in &mut nexus.units {
            if !local.gone && !stays(local.lun, local.since) {
                local.gone = true;
                gone.push((place, local.unit.id()));
            }
        }
        nexus.last = NOWHERE;
        for (place, unit) in gone {
            let concerns = |c: &Command| c.local_unit == place || c.works_on(unit);
            let victims = self.keys_where(|c| c.nexus == key && concerns(c));
            self.answer_aborted(&victims);
            self.abort(victims, Manner::of(key.id), Then::UnitLeft(key, place));
        }
    }

    /// Has commands that are about to be aborted answered with TASK ABORTED, whatever TAS is: their initiator did nothing to
    /// end them, and would wait for them until it gives up.
    fn answer_aborted(&mut self, victims: &[CommandKey]) {
        for key in victims {
            let command = self.command_mut(*key).filter(|c| !c.inner && !c.aborted);
            if let Some(command) = command {
                command.rare().task_aborted = true;
            }
        }
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
