//! I_T nexuses (sessions) and I_T_L nexuses, and the access words that policies publish.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::asc::Asc;
use crate::cdb::CommandClass;
use crate::lu::LogicalUnit;
use crate::stats::IoStats;
use crate::target::Target;
use crate::transport_id::TransportId;
use crate::ua::UnitAttentions;

/// Tells nexuses of a process apart; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NexusId(u64);

static NEXT_NEXUS: AtomicU64 = AtomicU64::new(1);

/// One bit per [`CommandClass`]: set, the class is let through. Written by a policy (ALUA, reservations), read by
/// the pipeline; no call leaves the core for a command that is allowed.
#[derive(Debug)]
pub struct AccessWord(AtomicU32);

impl Default for AccessWord {
    fn default() -> Self {
        Self(AtomicU32::new(u32::MAX))
    }
}

impl AccessWord {
    /// Publishes a new word. With the unit's gate closed no command that the old word let in can still execute.
    pub fn publish(&self, allowed: u32) {
        self.0.store(allowed, Ordering::Release);
    }

    /// Whether a class is let through.
    pub fn allows(&self, class: CommandClass) -> bool {
        self.0.load(Ordering::Acquire) & class.bits() != 0
    }
}

/// An I_T nexus: one session of an initiator port with a target. Lives on one shard; others see this part.
#[derive(Debug)]
pub struct Nexus {
    /// Its id.
    pub id: NexusId,
    /// The initiator port.
    pub initiator: TransportId,
    /// The target.
    pub target: Arc<Target>,
    /// What went through the session.
    pub stats: IoStats,
}

impl Nexus {
    pub(crate) fn new(target: Arc<Target>, initiator: TransportId) -> Self {
        let id = NexusId(NEXT_NEXUS.fetch_add(1, Ordering::Relaxed));
        Self {
            id,
            initiator,
            target,
            stats: IoStats::default(),
        }
    }
}

/// An I_T_L nexus: what a unit keeps for one session.
#[derive(Debug)]
pub struct Itl {
    /// The session.
    pub nexus: NexusId,
    /// Pending unit attentions.
    pub ua: UnitAttentions,
    /// What the target port group's state lets through (SPC-4 5.15).
    pub alua: AccessWord,
    /// What reservations let through (SPC-4 5.13).
    pub reservation: AccessWord,
}

impl Itl {
    /// A new I_T_L nexus starts with the power on condition (SAM-5 6.2).
    pub(crate) fn new(nexus: NexusId, lu: &LogicalUnit) -> Arc<Self> {
        let itl = Arc::new(Self {
            nexus,
            ua: UnitAttentions::default(),
            alua: AccessWord::default(),
            reservation: AccessWord::default(),
        });
        itl.ua
            .establish(Asc::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED);
        lu.join(&itl);
        itl
    }
}
