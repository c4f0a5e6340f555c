//! I_T nexuses (sessions) and I_T_L nexuses, and the access word that policies publish.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::cdb::CommandClass;
use crate::stats::IoStats;
use crate::target::{LunMap, SessionName, Target};
use crate::transport_id::TransportId;
use crate::ua::{self, UnitAttentions};

mod view;

pub(crate) use view::{Change, Place, View};

/// Tells nexuses of a process apart; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NexusId(u64);

static NEXT_NEXUS: AtomicU64 = AtomicU64::new(1);

/// Who publishes rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Asymmetric access states (SPC-4 5.15).
    AccessState,
    /// Reservations (SPC-4 5.13).
    Reservation,
    /// Whether the LUN is one for reading only.
    ReadOnly,
}

/// What an I_T_L nexus may do: one bit per [`CommandClass`], set if every policy lets the class through. One load for
/// each command; no call leaves the core for a command that is allowed.
#[derive(Debug)]
pub struct Access {
    word: AtomicU32,
    parts: Mutex<[u32; 3]>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            word: AtomicU32::new(u32::MAX),
            parts: Mutex::new([u32::MAX; 3]),
        }
    }
}

impl Access {
    /// Publishes what a policy lets through. With the unit's gate closed no command that the old word let in can
    /// still execute.
    pub fn publish(&self, policy: Policy, allowed: u32) {
        let mut parts = self.parts.lock();
        parts[policy as usize] = allowed;
        // Release: whoever sees the word sees what its policy did before.
        let word = parts.iter().fold(u32::MAX, |word, part| word & part);
        self.word.store(word, Ordering::Release);
    }

    /// What a policy lets through.
    pub fn published(&self, policy: Policy) -> u32 {
        self.parts.lock()[policy as usize]
    }

    /// Whether every policy lets a class through.
    pub fn allows(&self, class: CommandClass) -> bool {
        self.word.load(Ordering::Acquire) & class.bits() != 0
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
    name: SessionName,
    pub(crate) view: View,
}

impl Nexus {
    pub(crate) fn new(
        target: Arc<Target>,
        initiator: TransportId,
        name: SessionName,
        map: Arc<LunMap>,
    ) -> Self {
        let id = NexusId(NEXT_NEXUS.fetch_add(1, Ordering::Relaxed));
        Self {
            id,
            initiator,
            target,
            stats: IoStats::default(),
            name,
            view: View::new(map),
        }
    }

    /// The name by which its LUN map is chosen ([`Target::luns_of`]); it is the transport's business.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// All by which initiator groups know it.
    pub fn session_name(&self) -> &SessionName {
        &self.name
    }

    /// The group whose LUN map it sees; `None` is for the default map.
    pub fn group(&self) -> Option<String> {
        self.target.group_of_session(&self.name)
    }

    /// The LUN map that the session sees now.
    pub fn luns(&self) -> Arc<LunMap> {
        self.view.map()
    }
}

/// An I_T_L nexus: what a unit keeps for one session.
#[derive(Debug)]
pub struct Itl {
    /// The session.
    pub nexus: Arc<Nexus>,
    /// Pending unit attentions.
    pub ua: UnitAttentions,
    /// What the session may do with the unit.
    pub access: Access,
}

impl Itl {
    /// A new I_T_L nexus starts with the power on condition (SAM-5 6.2), but where a unit takes another one's place.
    pub(crate) fn new(nexus: &Arc<Nexus>, lun: u16, place: &Place) -> Arc<Self> {
        let itl = Arc::new(Self {
            nexus: Arc::clone(nexus),
            ua: UnitAttentions::default(),
            access: Access::default(),
        });
        place.begins.iter().for_each(|asc| itl.ua.establish(*asc));
        if place.read_only {
            let reads = CommandClass::all() - CommandClass::WRITE;
            itl.access.publish(Policy::ReadOnly, reads.bits());
        }
        if place.unit.tasks.is_some() {
            itl.ua.set_care(ua::SHARED);
        }
        place.unit.join(&itl);
        nexus.view.register(lun, place.since, &itl);
        itl
    }

    /// Whether the LUN is one for reading only.
    pub fn is_read_only(&self) -> bool {
        self.access.published(Policy::ReadOnly) != u32::MAX
    }
}
