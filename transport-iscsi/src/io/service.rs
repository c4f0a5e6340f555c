//! What all connections of a transport share: targets, settings, limits, and the registry of sessions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Instant;

use lunforge_core::Target;
use lunforge_core::shard::{ShardHandle, SourceId};
use parking_lot::Mutex;

use super::counters::{Logs, Tally};
use super::doorway::{Doorway, Origin, Permit, Refusal};
use super::offenders::Offenders;
use super::recorder::Records;
use super::{Limits, RandomSource};
use crate::proto::discovery::DiscoveredTarget;
use crate::proto::keys::TargetParams;
use crate::proto::login::{
    Access, Admission, AuthConfig, LoginFailure, LoginPolicy, LoginStatus, SessionLookup,
    SessionQuery, TargetLogin, TargetLookup,
};

/// The one portal group (SCST answers the same).
pub(super) const PORTAL_GROUP: u16 = 1;

#[derive(Debug)]
pub(super) struct Service {
    targets: Vec<Arc<Target>>,
    params: TargetParams,
    auth: AuthConfig,
    /// Who may use a target, by its name in lower case; everybody where nothing is said.
    access: BTreeMap<String, Access>,
    portals: Vec<SocketAddr>,
    pub(super) limits: Limits,
    pub(super) random: RandomSource,
    doorway: Arc<Doorway>,
    pub(super) offenders: Arc<Offenders>,
    pub(super) tally: Tally,
    pub(super) logs: Logs,
    registry: Mutex<Registry>,
    records: Option<Arc<Records>>,
}

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
    tsih: u16,
    cid: u16,
    at: Place,
    /// The newest login of the same port, which waits for this session's end.
    waiter: Option<Place>,
}

#[derive(Debug, Default)]
struct Registry {
    /// Ordered, so that what goes to all of them does so in the same order each time.
    sessions: BTreeMap<PortName, Entry>,
    /// Sessions of each initiator and of each target; an entry goes with its last session.
    of_initiator: BTreeMap<String, usize>,
    of_target: BTreeMap<String, usize>,
    last_tsih: u16,
}

fn one_more(counts: &mut BTreeMap<String, usize>, name: &str) {
    *counts.entry(name.to_owned()).or_default() += 1;
}

fn one_less(counts: &mut BTreeMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}

/// What a login finds when it claims its port.
pub(super) enum Claim {
    /// The port is its own now.
    Granted,
    /// This older session has to end first; a [`Notice::PortFree`] will come. An older login that waited for the same is
    /// named, and is to give up.
    Held(Place, Option<Place>),
    /// The target or the initiator has as many sessions as are allowed.
    Full,
}

/// What connections tell each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// To a session: a new login has your name; end.
    Reinstated,
    /// To a session: your target is reset; end.
    TargetReset,
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
        targets: Vec<Arc<Target>>,
        params: TargetParams,
        auth: AuthConfig,
        access: BTreeMap<String, Access>,
        portals: Vec<SocketAddr>,
        limits: Limits,
        random: RandomSource,
    ) -> Self {
        Self {
            targets,
            params,
            auth,
            access,
            portals,
            limits,
            random,
            doorway: Doorway::new(limits),
            offenders: Offenders::new(limits),
            tally: Tally::default(),
            logs: Logs::new(limits.log_lines),
            registry: Mutex::default(),
            records: None,
        }
    }

    /// Has connections recorded.
    pub(super) fn record(&mut self, records: Records) {
        self.records = Some(Arc::new(records));
    }

    pub(super) fn portals(&self) -> &[SocketAddr] {
        &self.portals
    }

    pub(super) fn connections(&self) -> usize {
        self.doorway.connections()
    }

    pub(super) fn sessions(&self) -> usize {
        self.registry.lock().sessions.len()
    }

    /// Where recordings go, if connections are recorded.
    pub(super) fn records(&self) -> Option<&Arc<Records>> {
        self.records.as_ref()
    }

    /// Where the sessions are now.
    pub(super) fn places(&self) -> Vec<Place> {
        let registry = self.registry.lock();
        registry
            .sessions
            .values()
            .map(|entry| entry.at.clone())
            .collect()
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

    pub(super) fn find_target(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets
            .iter()
            .find(|target| target.name().eq_ignore_ascii_case(name))
    }

    fn allows(&self, initiator: &str, target: &Target) -> bool {
        self.access
            .get(&target.name().to_ascii_lowercase())
            .is_none_or(|access| access.allows(initiator))
    }

    /// Targets that `initiator` may use, with portals of the family of the address `local` at which it came in.
    pub(super) fn visible(&self, initiator: &str, local: SocketAddr) -> Vec<DiscoveredTarget> {
        let mut portals: Vec<(SocketAddr, u16)> = Vec::new();
        for portal in self
            .portals
            .iter()
            .filter(|p| p.is_ipv4() == local.is_ipv4())
        {
            // A wildcard stands for whatever address the initiator used.
            let shown = if portal.ip().is_unspecified() {
                SocketAddr::new(local.ip(), portal.port())
            } else {
                *portal
            };
            if !portals.contains(&(shown, PORTAL_GROUP)) {
                portals.push((shown, PORTAL_GROUP));
            }
        }
        let shown = |target: &Arc<Target>| DiscoveredTarget {
            name: target.name().to_owned(),
            portals: portals.clone(),
        };
        self.targets
            .iter()
            .filter(|target| self.allows(initiator, target))
            .map(shown)
            .collect()
    }

    /// Claims a port for a session at `at`.
    pub(super) fn claim(&self, port: &PortName, tsih: u16, cid: u16, at: &Place) -> Claim {
        let mut registry = self.registry.lock();
        if let Some(old) = registry.sessions.get_mut(port) {
            let superseded = old.waiter.replace(at.clone());
            return Claim::Held(old.at.clone(), superseded);
        }
        let has = |counts: &BTreeMap<String, usize>, name| counts.get(name).copied().unwrap_or(0);
        let of_target = has(&registry.of_target, &port.target);
        let max = self.params.max_sessions as usize;
        if max != 0 && of_target >= max
            || of_target >= self.limits.sessions_per_target
            || has(&registry.of_initiator, &port.initiator) >= self.limits.sessions_per_initiator
        {
            return Claim::Full;
        }
        one_more(&mut registry.of_target, &port.target);
        one_more(&mut registry.of_initiator, &port.initiator);
        registry.sessions.insert(
            port.clone(),
            Entry {
                tsih,
                cid,
                at: at.clone(),
                waiter: None,
            },
        );
        Claim::Granted
    }

    /// Where the session is that a login with this TSIH goes on with.
    pub(super) fn place_of(&self, port: &PortName, tsih: u16) -> Option<Place> {
        let registry = self.registry.lock();
        let entry = registry.sessions.get(port).filter(|e| e.tsih == tsih)?;
        Some(entry.at.clone())
    }

    /// Ends every session of the port's target but its own.
    pub(super) fn end_other_sessions(&self, port: &PortName) {
        let registry = self.registry.lock();
        for (other, entry) in &registry.sessions {
            if other.target == port.target && other != port {
                let place = &entry.at;
                place
                    .shard
                    .send(place.source, Box::new(Notice::TargetReset));
            }
        }
    }

    /// Gives a port back, and wakes the login that waits for it.
    pub(super) fn release(&self, port: &PortName, tsih: u16) {
        let gone = {
            let mut registry = self.registry.lock();
            match registry.sessions.get(port) {
                Some(entry) if entry.tsih == tsih => {
                    one_less(&mut registry.of_target, &port.target);
                    one_less(&mut registry.of_initiator, &port.initiator);
                    registry.sessions.remove(port)
                }
                _ => None,
            }
        };
        if let Some(waiter) = gone.and_then(|entry| entry.waiter) {
            waiter.shard.send(waiter.source, Box::new(Notice::PortFree));
        }
    }
}

impl LoginPolicy for Service {
    fn admission(&self) -> Admission {
        Admission::Accept
    }

    fn target(&self, initiator: &str, target: &str) -> TargetLookup {
        match self.find_target(target) {
            Some(found) => TargetLookup::Found(Box::new(TargetLogin {
                params: self.params.clone(),
                auth: self.auth.clone(),
                forbidden: !self.allows(initiator, found),
                portal_group_tag: PORTAL_GROUP,
                alias: None,
            })),
            // With authentication a stranger must not learn which names exist (N10).
            None if self.auth.is_required() => TargetLookup::Found(Box::new(TargetLogin {
                params: self.params.clone(),
                auth: AuthConfig::Chap(Arc::new(crate::proto::chap::ChapConfig::decoy())),
                forbidden: true,
                portal_group_tag: PORTAL_GROUP,
                alias: None,
            })),
            None => TargetLookup::NotFound,
        }
    }

    fn discovery_auth(&self, _: &str) -> AuthConfig {
        self.auth.clone()
    }

    fn discovery_params(&self) -> TargetParams {
        self.params.clone()
    }

    fn session(&self, query: &SessionQuery<'_>) -> SessionLookup {
        // A discovery session has no target and nothing to go on with.
        let Some(target) = query.target else {
            return SessionLookup::Unknown;
        };
        let registry = self.registry.lock();
        let known = registry.sessions.iter().find(|(port, entry)| {
            entry.tsih == query.tsih
                && port.isid == query.isid
                && port.initiator.eq_ignore_ascii_case(query.initiator)
                && port.target.eq_ignore_ascii_case(target)
        });
        match known {
            Some((_, entry)) if entry.cid == query.cid => SessionLookup::Reinstate,
            Some(_) => SessionLookup::TooManyConnections,
            None => SessionLookup::Unknown,
        }
    }

    fn new_tsih(&self) -> Option<NonZeroU16> {
        let mut registry = self.registry.lock();
        // As many tries as there are values: with all in use there is none.
        for _ in 0..=u16::MAX {
            registry.last_tsih = registry.last_tsih.wrapping_add(1);
            let candidate = registry.last_tsih;
            if candidate != 0 && (candidate_is_free(&registry, candidate)) {
                return NonZeroU16::new(candidate);
            }
        }
        None
    }

    fn login_failed(&self, initiator: &str, failure: &LoginFailure) {
        self.tally.logins_refused.add(1);
        // A line only: its time need not be that of the shard.
        if let Some(left_out) = self.logs.login_failed.say(Instant::now()) {
            let initiator = initiator.escape_debug();
            tracing::info!(%initiator, %failure, left_out, "login refused");
        }
    }
}

/// Tells a connection that gives way, if it has come to its shard.
fn give_way(place: Option<Place>) {
    if let Some(place) = place {
        place.shard.send(place.source, Box::new(Notice::GiveWay));
    }
}

/// A handle that was given out recently and is still logging in is not in the registry; it is the last one.
fn candidate_is_free(registry: &Registry, tsih: u16) -> bool {
    // With few sessions, the common case, the next number is free and this ends at once.
    !registry.sessions.values().any(|entry| entry.tsih == tsih)
}

/// Status of a login that finds no room.
pub(super) const FULL: LoginStatus = LoginStatus::OutOfResources;
/// Status of a login that means to go on with a session that has ended meanwhile.
pub(super) const GONE: LoginStatus = LoginStatus::SessionDoesNotExist;
/// Status of a login that a newer one of its port overtakes.
pub(super) const SUPERSEDED: LoginStatus = LoginStatus::ServiceUnavailable;
