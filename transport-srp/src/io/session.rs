//! A session: one I_T nexus, whatever its channels.

use std::sync::Arc;
use std::time::Instant;

use lunforge_core::nexus::Nexus;
use lunforge_core::shard::NexusKey;
use lunforge_core::target::SessionName;
use parking_lot::Mutex;

use super::registry::NexusName;
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
    pub channels: usize,
    /// Its counters, its LUN map, the name by which that is chosen.
    pub nexus: Arc<Nexus>,
    /// The time of its first login.
    pub since: Instant,
}

impl Session {
    pub(super) fn info(&self, id: SessionId, name: &NexusName, channels: usize) -> SessionInfo {
        SessionInfo {
            id,
            initiator: name.initiator,
            port: name.target,
            target: self.shared.target.name().to_owned(),
            peer: self.peer.clone(),
            local: self.local.clone(),
            channels,
            nexus: Arc::clone(&self.shared),
            since: self.since,
        }
    }
}

/// By what initiator groups know a session: SCST has named sessions by the initiator's address, and by its port identifier in
/// several forms.
pub(super) fn session_name(peer: &str, port: &PortId) -> SessionName {
    let digits = port.to_string().replace(':', "");
    SessionName::new(peer)
        .also(format!("0x{digits}"))
        .also(port.to_string())
        .also(digits)
}
