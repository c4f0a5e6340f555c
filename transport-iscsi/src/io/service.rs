//! What all connections of a transport share: targets, settings, limits, and the registry of sessions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, RwLock};

use super::catalogue::{Catalogue, Served};
use super::counters::{Logs, Refusals, Tally};
use super::doorway::{Doorway, Origin, Permit, Refusal};
use super::offenders::Offenders;
use super::portals::{Interfaces, Portals};
use super::recorder::Records;
use super::registry::Room;
pub(super) use super::registry::{Claim, Place, PortName, Registry};
use super::{Limits, RandomSource};
use crate::proto::discovery::DiscoveredTarget;
use crate::proto::keys::TargetParams;
use crate::proto::login::LoginStatus;

/// The one portal group (SCST answers the same).
pub(super) const PORTAL_GROUP: u16 = 1;

#[derive(Debug)]
pub(super) struct Service {
    /// Looked at by logins and discoveries; changed by whoever looks after the transport.
    pub(super) catalogue: RwLock<Catalogue>,
    /// Those of discovery sessions.
    pub(super) params: TargetParams,
    pub(super) portals: Portals,
    pub(super) limits: Limits,
    pub(super) random: RandomSource,
    doorway: Arc<Doorway>,
    pub(super) offenders: Arc<Offenders>,
    pub(super) tally: Tally,
    pub(super) refusals: Refusals,
    pub(super) logs: Logs,
    pub(super) registry: Mutex<Registry>,
    records: Option<Arc<Records>>,
}

/// What connections tell each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// To a session: a new login has your name; end.
    Reinstated,
    /// To a session: your target is reset or removed, or somebody wants you to; end.
    End,
    /// To a connection that logs in, or a discovery session: a newer one needs your place.
    GiveWay,
    /// To a connection from itself: go on with input that was left to another turn.
    GoOn,
    /// To a login: the port may be free now, claim again.
    PortFree,
    /// To a login that waits: a newer one of the same port waits now, in its place.
    Superseded,
    /// To a connection over a stream: look what it is ready for.
    StreamReady,
}

impl Service {
    pub(super) fn new(
        catalogue: Catalogue,
        params: TargetParams,
        interfaces: Interfaces,
        limits: Limits,
        random: RandomSource,
    ) -> Self {
        Self {
            catalogue: RwLock::new(catalogue),
            params,
            portals: Portals::new(interfaces),
            limits,
            random,
            doorway: Doorway::new(limits),
            offenders: Offenders::new(limits),
            tally: Tally::default(),
            refusals: Refusals::default(),
            logs: Logs::new(limits.log_lines),
            registry: Mutex::default(),
            records: None,
        }
    }

    /// Has connections recorded.
    pub(super) fn record(&mut self, records: Records) {
        self.records = Some(Arc::new(records));
    }

    pub(super) fn connections(&self) -> usize {
        self.doorway.connections()
    }

    pub(super) fn sessions(&self) -> usize {
        self.registry.lock().len()
    }

    /// Where recordings go, if connections are recorded.
    pub(super) fn records(&self) -> Option<&Arc<Records>> {
        self.records.as_ref()
    }

    /// Where the sessions are now.
    pub(super) fn places(&self) -> Vec<Place> {
        self.registry.lock().places()
    }

    /// Whether connections of this peer are refused now for what came from its address before.
    pub(super) fn refuses(&self, peer: SocketAddr, now: Instant) -> bool {
        let refused = self.offenders.refuses(Origin::of(peer), now);
        if refused {
            self.tally.refused_offender.add(1);
            self.log_refusal(peer, "its address failed to authenticate too often", now);
        }
        refused
    }

    /// A place among the connections, if this peer may have one.
    pub(super) fn admit_connection(&self, peer: SocketAddr) -> Option<Permit> {
        // For the log only.
        let now = Instant::now();
        let (permit, displaced) = match self.doorway.admit(peer) {
            Ok(admitted) => admitted,
            Err(Refusal::Full) => {
                self.tally.refused_full.add(1);
                self.log_refusal(peer, "there are as many as may be", now);
                return None;
            }
            Err(Refusal::Address) => {
                self.tally.refused_address.add(1);
                self.log_refusal(peer, "its address has as many as it may have", now);
                return None;
            }
        };
        self.tally.connections.add(1);
        if let Some(place) = displaced {
            self.tally.gave_way.add(1);
            if let Some(left_out) = self.logs.gave_way.say(now) {
                tracing::warn!(newer = %peer, left_out, "too many connections log in: the oldest of the address with most of them gives way");
            }
            give_way(place);
        }
        Some(permit)
    }

    /// The connection with this permit is a discovery session from now on, at `place`.
    pub(super) fn admit_discovery(&self, permit: &mut Permit, place: Place, now: Instant) {
        if let Some(older) = permit.discovers(place) {
            self.tally.discoveries_gave_way.add(1);
            if let Some(left_out) = self.logs.gave_way.say(now) {
                tracing::warn!(
                    left_out,
                    "too many discovery sessions: the oldest of the address with most of them gives way"
                );
            }
            give_way(older);
        }
    }

    fn log_refusal(&self, peer: SocketAddr, why: &str, now: Instant) {
        if let Some(left_out) = self.logs.refused.say(now) {
            tracing::warn!(%peer, why, left_out, "connection refused");
        }
    }

    /// Targets for `initiator`, who came in by the address `local`, with the portals at which they are there: all of them,
    /// or the one `wanted`. Who has `proved` nothing is not told of those that demand a proof, unless they are public.
    pub(super) fn visible(
        &self,
        initiator: &str,
        local: SocketAddr,
        proved: bool,
        wanted: Option<&str>,
    ) -> Vec<DiscoveredTarget> {
        let portals = self.portals.shown(local);
        let may_know = |served: &&Served| {
            let settings = &served.settings;
            let told = proved || settings.public_name || !settings.auth.is_required();
            told && settings.access.allows(initiator) && !served.is_hidden_from(initiator, local)
        };
        let shown = |served: &Served| {
            let at = portals
                .iter()
                .filter(|p| served.settings.reachable_at(p.ip()));
            DiscoveredTarget {
                name: served.target.name().to_owned(),
                portals: at.map(|portal| (*portal, PORTAL_GROUP)).collect(),
            }
        };
        let catalogue = self.catalogue.read();
        match wanted {
            Some(name) => catalogue
                .get(name)
                .filter(may_know)
                .map(shown)
                .into_iter()
                .collect(),
            None => catalogue.iter().filter(may_know).map(shown).collect(),
        }
    }

    /// Claims a port for a session at `at` with a target that takes so many sessions; zero is as many as there may be.
    pub(super) fn claim(
        &self,
        port: &PortName,
        (tsih, cid): (u16, u16),
        max_sessions: u32,
        at: &Place,
    ) -> Claim {
        let of_target = match max_sessions {
            0 => self.limits.sessions_per_target,
            max => self.limits.sessions_per_target.min(max as usize),
        };
        let room = Room {
            of_target,
            of_initiator: self.limits.sessions_per_initiator,
        };
        self.registry.lock().claim(port, (tsih, cid), room, at)
    }

    /// Where the session is that a login with this TSIH goes on with.
    pub(super) fn place_of(&self, port: &PortName, tsih: u16) -> Option<Place> {
        self.registry.lock().place_of(port, tsih)
    }

    /// Ends every session of the port's target but its own.
    pub(super) fn end_other_sessions(&self, port: &PortName) {
        let registry = self.registry.lock();
        for (_, other, place) in registry.of_target(&port.target) {
            if other != *port {
                place.shard.send(place.source, Box::new(Notice::End));
            }
        }
    }

    /// Gives a port back, and wakes the login that waits for it.
    pub(super) fn release(&self, port: &PortName, tsih: u16) {
        let waiter = self.registry.lock().release(port, tsih);
        if let Some(waiter) = waiter {
            waiter.shard.send(waiter.source, Box::new(Notice::PortFree));
        }
    }
}

/// Tells a connection that gives way, if it has come to its shard.
fn give_way(place: Option<Place>) {
    if let Some(place) = place {
        place.shard.send(place.source, Box::new(Notice::GiveWay));
    }
}

/// Status of a login that finds no room.
pub(super) const FULL: LoginStatus = LoginStatus::OutOfResources;
/// Status of a login that means to go on with a session that has ended meanwhile.
pub(super) const GONE: LoginStatus = LoginStatus::SessionDoesNotExist;
/// Status of a login that a newer one of its port overtakes.
pub(super) const SUPERSEDED: LoginStatus = LoginStatus::ServiceUnavailable;
