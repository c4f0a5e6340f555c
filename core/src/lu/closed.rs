//! How a unit's gate stands, as values: what ends it is their drop.

use std::sync::Arc;

use super::{LogicalUnit, UnitId};

/// The unit's gate is closed and no command of it executes. Dropped, commands go on.
#[derive(Debug)]
#[must_use]
pub struct Closed(pub(super) Arc<LogicalUnit>);

impl Closed {
    /// The unit.
    pub fn unit(&self) -> &Arc<LogicalUnit> {
        &self.0
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.opened(self.0.gate.open());
    }
}

/// The unit's gate is open for the commands that waited. When the last shard has let its own in and drops this, the
/// next closer has its turn: however many come, others are served in between.
#[derive(Debug)]
pub(crate) struct Breath(pub(super) Arc<LogicalUnit>, pub(super) u64);

impl Breath {
    pub(crate) fn unit(&self) -> UnitId {
        self.0.id()
    }
}

impl Drop for Breath {
    fn drop(&mut self) {
        self.0.gate.close_again(self.1);
    }
}
