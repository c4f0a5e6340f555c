//! A logical unit: a device handler and what the pipeline keeps for it, shared by all shards.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::asc::Asc;
use crate::gate::Gate;
use crate::handler::{DeviceHandler, UnitEvents};
use crate::nexus::{Itl, NexusId};
use crate::shard::mailbox::{Mailbox, Message};
use crate::stats::IoStats;

/// Tells units of a process apart; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitId(u64);

static NEXT_UNIT: AtomicU64 = AtomicU64::new(1);

/// See the module's head. A unit may be a LUN of several targets; it belongs to one engine.
pub struct LogicalUnit {
    id: UnitId,
    handler: Arc<dyn DeviceHandler>,
    pub(crate) gate: Gate,
    /// Operations that a backend still owns although their commands were given up, and that it could not fence.
    pub(crate) unfenced: AtomicUsize,
    itls: Mutex<Vec<Weak<Itl>>>,
    shards: Mutex<Vec<Arc<Mailbox>>>,
    stats: [IoStats; STAT_LANES],
}

/// Shards with counters of their own; further ones share.
const STAT_LANES: usize = 8;

impl std::fmt::Debug for LogicalUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogicalUnit")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl LogicalUnit {
    /// A unit over `handler`.
    pub fn new(handler: impl DeviceHandler) -> Arc<Self> {
        Self::from_arc(Arc::new(handler))
    }

    /// As [`LogicalUnit::new`], for a handler that its owner keeps a hand on.
    pub fn from_arc(handler: Arc<dyn DeviceHandler>) -> Arc<Self> {
        Arc::new_cyclic(|weak| {
            handler.attached(UnitEvents(Weak::clone(weak)));
            Self {
                id: UnitId(NEXT_UNIT.fetch_add(1, Ordering::Relaxed)),
                handler,
                gate: Gate::new(),
                unfenced: AtomicUsize::new(0),
                itls: Mutex::default(),
                shards: Mutex::default(),
                stats: Default::default(),
            }
        })
    }

    /// The unit's id in this process.
    pub fn id(&self) -> UnitId {
        self.id
    }

    /// The device type behind the unit.
    pub fn handler(&self) -> &Arc<dyn DeviceHandler> {
        &self.handler
    }

    /// What went to the unit over all nexuses, in parts that add up.
    pub fn stats(&self) -> &[IoStats] {
        &self.stats
    }

    pub(crate) fn stats_of(&self, shard: usize) -> &IoStats {
        &self.stats[shard % STAT_LANES]
    }

    /// Establishes a unit attention for every nexus except `but`. Any thread; does not block.
    pub fn unit_attention(&self, asc: Asc, but: Option<NexusId>) {
        self.itls.lock().retain(|weak| {
            let Some(itl) = weak.upgrade() else {
                return false;
            };
            if Some(itl.nexus) != but {
                itl.ua.establish(asc);
            }
            true
        });
    }

    /// Runs `action` while no command of the unit executes on any shard, and none can start; then lets waiting
    /// commands go on. `action` runs on this thread or on the one whose command ends last. Not bounded: a command
    /// that its backend never ends keeps the gate closed until it is aborted.
    pub fn exclusively(self: &Arc<Self>, action: impl FnOnce() + Send + 'static) {
        let unit = Arc::clone(self);
        self.gate.close(Box::new(move || {
            action();
            unit.reopen();
        }));
    }

    pub(crate) fn reopen(&self) {
        if self.gate.open() {
            for mailbox in self.shards.lock().iter() {
                mailbox.post(Message::GateOpened(self.id));
            }
        }
    }

    pub(crate) fn join(&self, itl: &Arc<Itl>) {
        let mut itls = self.itls.lock();
        itls.retain(|w| w.strong_count() > 0);
        itls.push(Arc::downgrade(itl));
    }

    /// Makes the unit known to an engine's shards. Idempotent.
    pub(crate) fn bind(&self, shards: &[Arc<Mailbox>]) {
        let mut bound = self.shards.lock();
        for shard in shards {
            if !bound.iter().any(|b| Arc::ptr_eq(b, shard)) {
                bound.push(Arc::clone(shard));
            }
        }
    }

    /// Forgets shards that have ended: nothing waits for them any more.
    pub(crate) fn unbind(&self, shards: &[Arc<Mailbox>]) {
        let ended = |bound: &Arc<Mailbox>| shards.iter().any(|s| Arc::ptr_eq(s, bound));
        self.shards.lock().retain(|bound| !ended(bound));
    }

    pub(crate) fn shards(&self) -> Vec<Arc<Mailbox>> {
        self.shards.lock().clone()
    }
}

impl PartialEq for LogicalUnit {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for LogicalUnit {}

/// What may become a LUN of a target: a unit that exists, or a handler to make one of.
pub trait IntoLogicalUnit {
    /// The unit.
    fn into_logical_unit(self) -> Arc<LogicalUnit>;
}

impl IntoLogicalUnit for Arc<LogicalUnit> {
    fn into_logical_unit(self) -> Arc<LogicalUnit> {
        self
    }
}

impl<H: DeviceHandler> IntoLogicalUnit for H {
    fn into_logical_unit(self) -> Arc<LogicalUnit> {
        LogicalUnit::new(self)
    }
}
