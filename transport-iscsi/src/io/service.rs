//! What all connections of a transport share: targets, settings, limits, and the registry of sessions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lunforge_core::Target;
use lunforge_core::shard::{ShardHandle, SourceId};
use parking_lot::Mutex;

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
    connections: AtomicUsize,
    half_open: AtomicUsize,
    registry: Mutex<Registry>,
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
    at: Place,
    /// The newest login of the same port, which waits for this session's end.
    waiter: Option<Place>,
}

#[derive(Debug, Default)]
struct Registry {
    /// Ordered, so that what goes to all of them does so in the same order each time.
    sessions: BTreeMap<PortName, Entry>,
    last_tsih: u16,
}

/// What a login finds when it claims its port.
pub(super) enum Claim {
    /// The port is its own now.
    Granted,
    /// This older session has to end first; a [`Notice::PortFree`] will come. An older login that waited for the same is
    /// named, and is to give up.
    Held(Place, Option<Place>),
    /// MaxSessions is reached.
    Full,
}

/// What connections tell each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// To a session: a new login has your name, or your target is reset; end.
    Reinstated,
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
            connections: AtomicUsize::new(0),
            half_open: AtomicUsize::new(0),
            registry: Mutex::default(),
        }
    }

    pub(super) fn portals(&self) -> &[SocketAddr] {
        &self.portals
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn sessions(&self) -> usize {
        self.registry.lock().sessions.len()
    }

    /// A place among the connections, if there is one left.
    pub(super) fn admit_connection(self: &Arc<Self>) -> Option<Permit> {
        let permit = Permit {
            service: Arc::clone(self),
            half_open: true,
        };
        let connections = self.connections.fetch_add(1, Ordering::Relaxed);
        let half_open = self.half_open.fetch_add(1, Ordering::Relaxed);
        (connections < self.limits.connections && half_open < self.limits.half_open)
            .then_some(permit)
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
    pub(super) fn claim(&self, port: &PortName, tsih: u16, at: &Place) -> Claim {
        let mut registry = self.registry.lock();
        if let Some(old) = registry.sessions.get_mut(port) {
            let superseded = old.waiter.replace(at.clone());
            return Claim::Held(old.at.clone(), superseded);
        }
        let max = self.params.max_sessions as usize;
        let of_target = |other: &&PortName| other.target == port.target;
        if max != 0 && registry.sessions.keys().filter(of_target).count() >= max {
            return Claim::Full;
        }
        registry.sessions.insert(
            port.clone(),
            Entry {
                tsih,
                at: at.clone(),
                waiter: None,
            },
        );
        Claim::Granted
    }

    /// Ends every session of the port's target but its own.
    pub(super) fn end_other_sessions(&self, port: &PortName) {
        let registry = self.registry.lock();
        for (other, entry) in &registry.sessions {
            if other.target == port.target && other != port {
                let place = &entry.at;
                place.shard.send(place.source, Box::new(Notice::Reinstated));
            }
        }
    }

    /// Gives a port back, and wakes the login that waits for it.
    pub(super) fn release(&self, port: &PortName, tsih: u16) {
        let gone = {
            let mut registry = self.registry.lock();
            match registry.sessions.get(port) {
                Some(entry) if entry.tsih == tsih => registry.sessions.remove(port),
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
        let known = self.registry.lock().sessions.iter().any(|(port, entry)| {
            entry.tsih == query.tsih
                && port.isid == query.isid
                && port.initiator.eq_ignore_ascii_case(query.initiator)
                && query
                    .target
                    .is_none_or(|target| port.target.eq_ignore_ascii_case(target))
        });
        if known {
            SessionLookup::TooManyConnections
        } else {
            SessionLookup::Unknown
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
        tracing::info!(initiator = %initiator.escape_debug(), %failure, "login refused");
    }
}

/// A handle that was given out recently and is still logging in is not in the registry; it is the last one.
fn candidate_is_free(registry: &Registry, tsih: u16) -> bool {
    // With few sessions, the common case, the next number is free and this ends at once.
    !registry.sessions.values().any(|entry| entry.tsih == tsih)
}

/// Status of a login that finds no room.
pub(super) const FULL: LoginStatus = LoginStatus::OutOfResources;
/// Status of a login that a newer one of its port overtakes.
pub(super) const SUPERSEDED: LoginStatus = LoginStatus::ServiceUnavailable;

/// One connection's place under the limits; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    service: Arc<Service>,
    half_open: bool,
}

impl Permit {
    /// The login is done.
    pub(super) fn established(&mut self) {
        if std::mem::take(&mut self.half_open) {
            self.service.half_open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.established();
        self.service.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
