//! The sessions of a transport as whoever looks after it sees them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::nexus::Nexus;

use super::connection::Ends;
use super::service::Service;
use crate::proto::keys::OperationalParams;

/// How often is looked whether sessions have ended.
const LOOK: Duration = Duration::from_millis(2);

/// Tells the normal sessions of a transport apart; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A normal session.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// InitiatorName, as sent.
    pub initiator: String,
    /// InitiatorAlias.
    pub initiator_alias: Option<String>,
    /// ISID.
    pub isid: [u8; 6],
    /// TSIH.
    pub tsih: u16,
    /// CID of its connection.
    pub cid: u16,
    /// The target's name.
    pub target: String,
    /// Both ends of its connection.
    pub ends: Ends,
    /// What was negotiated.
    pub params: OperationalParams,
    /// Depth of the CmdSN window.
    pub window: u32,
    /// The CHAP user that proved itself.
    pub auth_user: Option<String>,
    /// Its counters, its LUN map, the name by which that is chosen.
    pub nexus: Arc<Nexus>,
    /// The time of its login, or of the last one by which it went on with another connection.
    pub since: Instant,
}

/// Sessions that are being closed. Dropped, it changes nothing.
#[derive(Debug)]
pub struct Closing {
    pub(super) service: Arc<Service>,
    pub(super) sessions: Vec<SessionId>,
}

impl Closing {
    /// The sessions.
    pub fn sessions(&self) -> &[SessionId] {
        &self.sessions
    }

    /// Whether all of them have ended: nothing of them has an effect any more.
    pub fn is_done(&self) -> bool {
        let registry = self.service.registry.lock();
        self.sessions.iter().all(|id| registry.place(*id).is_none())
    }

    /// Waits until all of them have ended, at most for `bound`; false when they have not. Blocks. It takes two seconds at
    /// most whatever initiators and backends do, while the shards have their turns.
    pub fn wait(&self, bound: Duration) -> bool {
        let end = Instant::now() + bound;
        while !self.is_done() {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}
