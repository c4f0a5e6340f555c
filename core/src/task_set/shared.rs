//! The task set of a unit with TST 000b: one for the nexuses of all shards.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Arrival, Entrance, TaskAttribute, TaskSet};
use crate::handler::Outcome;
use crate::nexus::NexusId;
use crate::shard::completion::CommandKey;
use crate::shard::mailbox::{Mailbox, Message};

/// A command of some shard.
#[derive(Debug, Clone)]
struct Member {
    shard: Arc<Mailbox>,
    key: CommandKey,
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && Arc::ptr_eq(&self.shard, &other.shard)
    }
}

/// See the module's head. The lock is held for no longer than one step of the rules and never with another; a command
/// that may run now is told to its shard by mail, after the lock was given back.
#[derive(Debug, Default)]
pub(crate) struct SharedTaskSet(Mutex<TaskSet<Member>>);

impl SharedTaskSet {
    pub(crate) fn judge(&self, new: &Arrival) -> Result<Entrance, Outcome> {
        self.0.lock().aca.judge(new)
    }

    pub(crate) fn admit(
        &self,
        shard: &Arc<Mailbox>,
        key: CommandKey,
        attribute: TaskAttribute,
    ) -> bool {
        let member = || Member {
            shard: Arc::clone(shard),
            key,
        };
        self.0.lock().admit(member, attribute)
    }

    /// A command ended or was aborted, dormant or not: whether its shard has heard that it was enabled does not matter.
    pub(crate) fn release(&self, shard: &Arc<Mailbox>, key: CommandKey, attribute: TaskAttribute) {
        let mut enabled = VecDeque::new();
        let member = Member {
            shard: Arc::clone(shard),
            key,
        };
        {
            let mut set = self.0.lock();
            if !set.remove(&member, &mut enabled) {
                set.leave(attribute, &mut enabled);
            }
        }
        tell(enabled);
    }

    pub(crate) fn faulted(&self) -> Option<NexusId> {
        self.0.lock().aca.faulted()
    }

    pub(crate) fn establish_aca(&self, nexus: NexusId) -> bool {
        self.0.lock().aca.establish(nexus)
    }

    /// As [`TaskSet::end_aca`]; the caller lets the blocked commands of all shards go on.
    pub(crate) fn end_aca(&self, of: impl FnOnce(NexusId) -> bool) -> bool {
        let mut enabled = VecDeque::new();
        let ended = self.0.lock().end_aca(of, &mut enabled);
        tell(enabled);
        ended
    }
}

fn tell(enabled: VecDeque<Member>) {
    for Member { shard, key } in enabled {
        shard.post(Message::Enabled(key));
    }
}
