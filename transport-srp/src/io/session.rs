//! A session: one I_T nexus, whatever its channels.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Weak};
use std::time::Instant;

use lunforge_core::nexus::Nexus;
use lunforge_core::shard::NexusKey;
use lunforge_core::target::SessionName;
use parking_lot::Mutex;

use super::registry::NexusName;
use crate::proto::credit::Credits;
use crate::proto::port::PortId;
use crate::proto::tags::Tags;

/// Tells the sessions of a transport apart; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What the channels of a session share. All of them live on the shard of the first, so the lock is never waited for.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) nexus: NexusKey,
    pub(super) shared: Arc<Nexus>,
    pub(super) tags: Mutex<Tags>,
    pub(super) peer: String,
    pub(super) local: String,
    pub(super) since: Instant,
    pub(super) gauges: Mutex<Vec<Weak<Gauge>>>,
}

/// What a channel tells of itself; nothing is published through it.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    allowed: AtomicU32,
    owed: AtomicU32,
    ending: AtomicBool,
}

impl Gauge {
    pub(super) fn set(&self, credits: &Credits, ending: bool) {
        let owed = credits
            .depth()
            .saturating_sub(credits.allowed() + credits.taken());
        self.allowed.store(credits.allowed(), Relaxed);
        self.owed.store(owed, Relaxed);
        self.ending.store(ending, Relaxed);
    }

    fn info(&self) -> ChannelInfo {
        ChannelInfo {
            request_limit: self.allowed.load(Relaxed),
            request_limit_owed: self.owed.load(Relaxed),
            ending: self.ending.load(Relaxed),
        }
    }
}

/// A channel of a session as whoever looks after the transport sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Requests that the initiator may send.
    pub request_limit: u32,
    /// Requests more that it could be allowed to send, and will be by the next response.
    pub request_limit_owed: u32,
    /// Whether it ends.
    pub ending: bool,
}

/// A session as whoever looks after the transport sees it.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// Initiator port.
    pub initiator: PortId,
    /// Target port.
    pub port: PortId,
    /// The target's name.
    pub target: String,
    /// Who the initiator is as the fabric knows: of its first channel.
    pub peer: String,
    /// The address at which it came in, as the fabric knows: of its first channel.
    pub local: String,
    /// Its channels now.
    pub channels: Vec<ChannelInfo>,
    /// Its counters, its LUN map, the name by which that is chosen.
    pub nexus: Arc<Nexus>,
    /// The time of its first login.
    pub since: Instant,
}

impl Session {
    /// Where one more channel tells of itself.
    pub(super) fn gauge(&self) -> Arc<Gauge> {
        let gauge = Arc::new(Gauge::default());
        let mut gauges = self.gauges.lock();
        gauges.retain(|gauge| gauge.strong_count() > 0);
        gauges.push(Arc::downgrade(&gauge));
        gauge
    }

    pub(super) fn info(&self, id: SessionId, name: &NexusName) -> SessionInfo {
        let gauges = self.gauges.lock();
        let channels = gauges.iter().filter_map(Weak::upgrade);
        SessionInfo {
            id,
            initiator: name.initiator,
            port: name.target,
            target: self.shared.target.name().to_owned(),
            peer: self.peer.clone(),
            local: self.local.clone(),
            channels: channels.map(|gauge| gauge.info()).collect(),
            nexus: Arc::clone(&self.shared),
            since: self.since,
        }
    }
}

/// By what initiator groups know a session: SCST has named sessions by the initiator's address, and by its port identifier.
/// That is what the initiator says of itself, so it is never written as addresses and GIDs are, which the fabric knows: a
/// pattern for those is for nobody who says so.
pub(super) fn session_name(peer: &str, port: &PortId) -> SessionName {
    let digits = port.digits();
    SessionName::new(peer)
        .also(format!("0x{digits}"))
        .also(digits)
}
