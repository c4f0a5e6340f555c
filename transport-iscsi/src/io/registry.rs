//! The normal sessions of a transport: who has which port, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use lunforge_core::shard::{ShardHandle, SourceId};

use super::sessions::{SessionId, SessionInfo};
use crate::proto::login::{SessionLookup, SessionQuery};

/// Names an I_T nexus: at most one session has it (RFC 7143 4.4.3.1). Names are compared in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortName {
    pub(super) initiator: String,
    pub(super) isid: [u8; 6],
    pub(super) target: String,
}

/// A source on some shard.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) shard: ShardHandle,
    pub(super) source: SourceId,
}

#[derive(Debug)]
struct Entry {
    id: SessionId,
    tsih: u16,
    cid: u16,
    at: Place,
    /// The newest login of the same port, which waits for this session's end.
    waiter: Option<Place>,
    /// What there is to tell of it, once it is open.
    info: Option<SessionInfo>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Ordered, so that what goes to all of them does so in the same order each time.
    sessions: BTreeMap<PortName, Entry>,
    by_id: BTreeMap<SessionId, PortName>,
    /// Sessions of each initiator and of each target; an entry goes with its last session.
    of_initiator: BTreeMap<String, usize>,
    of_target: BTreeMap<String, BTreeSet<SessionId>>,
    last_tsih: u16,
    last_id: u64,
}

/// How many sessions there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) of_target: usize,
    pub(super) of_initiator: usize,
}

/// What a login finds when it claims its port.
pub(super) enum Claim {
    /// The port is its own now.
    Granted,
    /// This older session has to end first; a [`Notice::PortFree`](super::service::Notice::PortFree) will come. An older
    /// login that waited for the same is named, and is to give up.
    Held(Place, Option<Place>),
    /// The target or the initiator has as many sessions as are allowed.
    Full,
}

impl Registry {
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Where the sessions are now.
    pub(super) fn places(&self) -> Vec<Place> {
        self.sessions.values().map(|e| e.at.clone()).collect()
    }

    /// Claims a port for a session at `at`.
    pub(super) fn claim(
        &mut self,
        port: &PortName,
        (tsih, cid): (u16, u16),
        room: Room,
        at: &Place,
    ) -> Claim {
        if let Some(old) = self.sessions.get_mut(port) {
            let superseded = old.waiter.replace(at.clone());
            return Claim::Held(old.at.clone(), superseded);
        }
        let of_target = self.of_target.get(&port.target).map_or(0, BTreeSet::len);
        let of_initiator = self.of_initiator.get(&port.initiator).copied();
        if of_target >= room.of_target || of_initiator.unwrap_or(0) >= room.of_initiator {
            return Claim::Full;
        }
        self.last_id += 1;
        let id = SessionId(self.last_id);
        let of_target = self.of_target.entry(port.target.clone());
        of_target.or_default().insert(id);
        *self.of_initiator.entry(port.initiator.clone()).or_default() += 1;
        self.by_id.insert(id, port.clone());
        let entry = Entry {
            id,
            tsih,
            cid,
            at: at.clone(),
            waiter: None,
            info: None,
        };
        self.sessions.insert(port.clone(), entry);
        Claim::Granted
    }

    /// A session of the port is open, or goes on with another connection.
    pub(super) fn opened(&mut self, port: &PortName, info: SessionInfo) {
        let entry = self.sessions.get_mut(port);
        if let Some(entry) = entry.filter(|entry| entry.tsih == info.tsih) {
            let id = entry.id;
            entry.info = Some(SessionInfo { id, ..info });
        }
    }

    /// Gives a port back; the login that waits for it.
    pub(super) fn release(&mut self, port: &PortName, tsih: u16) -> Option<Place> {
        if self.sessions.get(port)?.tsih != tsih {
            return None;
        }
        let gone = self.sessions.remove(port)?;
        self.by_id.remove(&gone.id);
        if let Some(ids) = self.of_target.get_mut(&port.target) {
            ids.remove(&gone.id);
            if ids.is_empty() {
                self.of_target.remove(&port.target);
            }
        }
        if let Some(count) = self.of_initiator.get_mut(&port.initiator) {
            *count -= 1;
            if *count == 0 {
                self.of_initiator.remove(&port.initiator);
            }
        }
        gone.waiter
    }

    /// Where the session is that a login with this TSIH goes on with.
    pub(super) fn place_of(&self, port: &PortName, tsih: u16) -> Option<Place> {
        let entry = self.sessions.get(port).filter(|e| e.tsih == tsih)?;
        Some(entry.at.clone())
    }

    /// Where the sessions of a target are, by its name in lower case.
    pub(super) fn of_target(&self, target: &str) -> Vec<(SessionId, PortName, Place)> {
        let ids = self.of_target.get(target).into_iter().flatten();
        ids.filter_map(|id| {
            let port = self.by_id.get(id)?;
            let entry = self.sessions.get(port)?;
            Some((*id, port.clone(), entry.at.clone()))
        })
        .collect()
    }

    fn entry(&self, id: SessionId) -> Option<&Entry> {
        self.by_id.get(&id).and_then(|port| self.sessions.get(port))
    }

    /// Where a session is.
    pub(super) fn place(&self, id: SessionId) -> Option<Place> {
        self.entry(id).map(|entry| entry.at.clone())
    }

    pub(super) fn info(&self, id: SessionId) -> Option<SessionInfo> {
        self.entry(id).and_then(|entry| entry.info.clone())
    }

    /// The sessions that are open, the oldest first.
    pub(super) fn infos(&self) -> Vec<SessionInfo> {
        let ids = self.by_id.keys();
        ids.filter_map(|id| self.info(*id)).collect()
    }

    /// The session that a login with a TSIH means.
    pub(super) fn find(&self, query: &SessionQuery<'_>) -> SessionLookup {
        // A discovery session has no target and nothing to go on with.
        let Some(target) = query.target else {
            return SessionLookup::Unknown;
        };
        let port = PortName {
            initiator: query.initiator.to_ascii_lowercase(),
            isid: query.isid,
            target: target.to_ascii_lowercase(),
        };
        match self.sessions.get(&port).filter(|e| e.tsih == query.tsih) {
            Some(entry) if entry.cid == query.cid => SessionLookup::Reinstate,
            Some(_) => SessionLookup::TooManyConnections,
            None => SessionLookup::Unknown,
        }
    }

    pub(super) fn new_tsih(&mut self) -> Option<NonZeroU16> {
        // As many tries as there are values: with all in use there is none.
        for _ in 0..=u16::MAX {
            self.last_tsih = self.last_tsih.wrapping_add(1);
            let candidate = self.last_tsih;
            if candidate != 0 && self.is_free(candidate) {
                return NonZeroU16::new(candidate);
            }
        }
        None
    }

    /// A handle that was given out recently and is still logging in is not in the registry; it is the last one.
    fn is_free(&self, tsih: u16) -> bool {
        // With few sessions, the common case, the next number is free and this ends at once.
        !self.sessions.values().any(|entry| entry.tsih == tsih)
    }
}
