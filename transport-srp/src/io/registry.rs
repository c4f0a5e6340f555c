//! The sessions of a transport: who has which I_T nexus, by which channels, and on which shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use lunforge_core::shard::{ShardHandle, SourceId};

use super::session::{Session, SessionId, SessionInfo};
use crate::proto::iu::login::RejectReason;
use crate::proto::port::PortId;

/// Names an I_T nexus: at most one session has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NexusName {
    pub(super) target: PortId,
    pub(super) initiator: PortId,
}

/// A source on some shard, which has this place among the engine's.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) lane: usize,
    pub(super) shard: ShardHandle,
    pub(super) source: SourceId,
}

#[derive(Debug)]
struct Member {
    number: u32,
    place: Place,
    leaving: bool,
}

#[derive(Debug)]
struct Entry {
    id: SessionId,
    lane: usize,
    session: Option<Arc<Session>>,
    members: Vec<Member>,
    next_number: u32,
    /// It takes no further channel.
    ending: bool,
    /// Logins that wait for its end.
    waiters: Vec<Place>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Ordered, so that what goes to all of them does so in the same order each time.
    sessions: BTreeMap<NexusName, Entry>,
    last_id: u64,
}

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) channels: usize,
    pub(super) sessions_of_target: usize,
}

/// What a login finds when it claims its I_T nexus.
pub(super) enum Claim {
    /// A session of its own, whose channel of this number it is.
    New(u32),
    /// A session to which it belongs from now on, as the channel of this number.
    Join(Arc<Session>, u32),
    /// The session is on this shard: claim there.
    Elsewhere(usize),
    /// An older session has to end first, and [`Notice::Free`](super::service::Notice::Free) comes then. These are its
    /// channels, if it has to be told so.
    Wait(Vec<Place>),
    /// There is no room.
    Full(RejectReason),
}

impl Registry {
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Where the session of an I_T nexus is.
    pub(super) fn lane_of(&self, name: &NexusName) -> Option<usize> {
        self.sessions.get(name).map(|entry| entry.lane)
    }

    /// Claims an I_T nexus for a channel at `at`; `multi`: beside others that it has.
    pub(super) fn claim(&mut self, name: NexusName, multi: bool, room: Room, at: &Place) -> Claim {
        let Some(entry) = self.sessions.get_mut(&name) else {
            return self.insert(name, room, at);
        };
        if entry.lane != at.lane {
            return Claim::Elsewhere(entry.lane);
        }
        match &entry.session {
            Some(session) if multi && !entry.ending => {
                if entry.members.len() >= room.channels {
                    return Claim::Full(RejectReason::ChannelLimit);
                }
                let session = Arc::clone(session);
                Claim::Join(session, entry.admit(at))
            }
            // Each has a request with it; who comes when there are so many tries again.
            _ if entry.waiters.len() >= room.channels => {
                Claim::Full(RejectReason::InsufficientResources)
            }
            _ => {
                entry.waiters.push(at.clone());
                if std::mem::replace(&mut entry.ending, true) {
                    return Claim::Wait(Vec::new());
                }
                Claim::Wait(entry.places())
            }
        }
    }

    fn insert(&mut self, name: NexusName, room: Room, at: &Place) -> Claim {
        let of_target = self.of_target(&name.target).count();
        if of_target >= room.sessions_of_target {
            return Claim::Full(RejectReason::InsufficientResources);
        }
        self.last_id += 1;
        let mut entry = Entry {
            id: SessionId(self.last_id),
            lane: at.lane,
            session: None,
            members: Vec::new(),
            next_number: 0,
            ending: false,
            waiters: Vec::new(),
        };
        let number = entry.admit(at);
        self.sessions.insert(name, entry);
        Claim::New(number)
    }

    fn of_target(&self, target: &PortId) -> impl Iterator<Item = (&NexusName, &Entry)> {
        let bound = |initiator| NexusName {
            target: *target,
            initiator: PortId([initiator; 16]),
        };
        self.sessions.range(bound(0)..=bound(0xFF))
    }

    /// The session that was claimed as new is open.
    pub(super) fn opened(&mut self, name: &NexusName, session: Arc<Session>) {
        if let Some(entry) = self.sessions.get_mut(name) {
            entry.session = Some(session);
        }
    }

    /// A channel begins to end. True: it is the last one, and ends the session with it.
    pub(super) fn leaving(&mut self, name: &NexusName, number: u32) -> bool {
        let Some(entry) = self.sessions.get_mut(name) else {
            return false;
        };
        let member = entry.members.iter_mut().find(|m| m.number == number);
        if let Some(member) = member {
            member.leaving = true;
        }
        let last = entry.members.iter().all(|member| member.leaving);
        entry.ending |= last;
        last
    }

    /// Nothing of a channel has an effect any more. Who waits for the end of its session, if this was it.
    pub(super) fn left(&mut self, name: &NexusName, number: u32) -> Vec<Place> {
        let Some(entry) = self.sessions.get_mut(name) else {
            return Vec::new();
        };
        entry.members.retain(|member| member.number != number);
        if !entry.members.is_empty() {
            return Vec::new();
        }
        let gone = self.sessions.remove(name);
        gone.map(|entry| entry.waiters).unwrap_or_default()
    }

    /// The other channels of a session.
    pub(super) fn siblings(&self, name: &NexusName, number: u32) -> Vec<Place> {
        let members = self.sessions.get(name).map(|entry| &entry.members);
        let others = members.into_iter().flatten();
        others
            .filter(|member| member.number != number)
            .map(|member| member.place.clone())
            .collect()
    }

    /// The channels of a session, which takes no further one.
    pub(super) fn end(&mut self, id: SessionId) -> Option<Vec<Place>> {
        let entry = self.sessions.values_mut().find(|entry| entry.id == id)?;
        entry.ending = true;
        Some(entry.places())
    }

    /// The sessions of a target.
    pub(super) fn ids_of(&self, target: &PortId) -> Vec<SessionId> {
        self.of_target(target).map(|(_, entry)| entry.id).collect()
    }

    pub(super) fn has(&self, id: SessionId) -> bool {
        self.sessions.values().any(|entry| entry.id == id)
    }

    /// The sessions that are open.
    pub(super) fn infos(&self) -> Vec<SessionInfo> {
        let mut infos: Vec<_> = self
            .sessions
            .iter()
            .filter_map(|(name, entry)| {
                let session = entry.session.as_ref()?;
                Some(session.info(entry.id, name))
            })
            .collect();
        infos.sort_by_key(|info| info.id);
        infos
    }
}

impl Entry {
    fn admit(&mut self, at: &Place) -> u32 {
        let number = self.next_number;
        self.next_number += 1;
        self.members.push(Member {
            number,
            place: at.clone(),
            leaving: false,
        });
        number
    }

    fn places(&self) -> Vec<Place> {
        let members = self.members.iter();
        members.map(|member| member.place.clone()).collect()
    }
}
