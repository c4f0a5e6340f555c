//! The end of a shard whose sessions were not closed before: nothing of it may keep a unit's gate, task set or reset
//! waiting.

use super::{NexusKey, ShardCore};
use crate::command::Phase;

impl ShardCore {
    /// Gives all commands up and loses all sessions.
    pub(super) fn give_all_up(&mut self) {
        let waiting = self.keys_where(|c| !c.executes());
        waiting.into_iter().for_each(|key| self.end_aborted(key));
        let executing = self.keys_where(|_| true);
        executing.into_iter().for_each(|key| self.detach(key));
        for (index, command) in &self.commands {
            if let Phase::Detached(detached) = &command.phase {
                let key = command.key(index);
                self.mailbox.orphan(key, &detached.unit, detached.unfenced);
            }
        }
        let sessions: Vec<_> = self
            .nexuses
            .iter()
            .map(|(index, nexus)| NexusKey::new(index, nexus.shared.id))
            .collect();
        sessions.into_iter().for_each(|key| self.drop_nexus(key));
    }
}
