//! The copies that run on a shard, as those see them who abort commands of their units.

use std::sync::Arc;

use super::operation::Operation;
use super::parties::Parties;
use crate::lu::UnitId;
use crate::nexus::NexusId;
use crate::shard::ShardCore;

/// A copy that runs on a shard.
#[derive(Debug)]
pub(crate) struct Running {
    nexus: NexusId,
    /// The unit that got the command.
    manager: UnitId,
    /// The units that it reads, writes or verifies.
    parties: Vec<UnitId>,
    operation: Arc<Operation>,
}

impl Running {
    pub(super) fn new(operation: &Arc<Operation>, manager: UnitId, parties: &Parties) -> Self {
        Self {
            nexus: operation.nexus,
            manager,
            parties: parties.all.iter().map(|p| p.found.unit.id()).collect(),
            operation: Arc::clone(operation),
        }
    }
}

impl ShardCore {
    /// The commands that `of` names have for a unit are aborted. The copies of which they are a part begin nothing more
    /// from now on, also where none is in flight at this moment.
    pub(crate) fn stop_copies(&self, unit: UnitId, of: impl Fn(NexusId) -> bool) {
        for copy in self.copies.iter().filter(|copy| of(copy.nexus)) {
            if copy.manager == unit {
                copy.operation.stop();
            } else if copy.parties.contains(&unit) {
                copy.operation.lose_unit();
            }
        }
    }

    pub(super) fn copy_ended(&mut self, operation: &Arc<Operation>) {
        self.copies
            .retain(|copy| !Arc::ptr_eq(&copy.operation, operation));
    }
}
