//! Listeners, channels, sessions: the protocol and a fabric joined to the core.

mod arrival;
mod catalogue;
mod channel;
mod counters;
mod limits;
mod listener;
mod manage;
mod receives;
mod registry;
mod service;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use lunforge_core::Target;
use lunforge_core::engine::Transport;
use lunforge_core::shard::ShardHandle;
use lunforge_core::target::{TargetError, check_identities};

use crate::fabric::{self, Request};
use crate::proto::port::PortId;
use listener::Listener;
use service::Service;

pub use arrival::Arrival;
pub use counters::Counters;
pub use limits::Limits;
pub use manage::{ChangeError, Closing};
pub use session::{ChannelInfo, SessionId, SessionInfo};

/// Why the transport cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// A target has no port.
    #[error("the target {0:?} has no SRP port, and its name is no port identifier")]
    NoPort(String),
    /// Two targets have one port.
    #[error("two targets have the SRP port {0}")]
    DuplicatePort(PortId),
    /// A port is for a target that is not served.
    #[error("there is an SRP port for {0:?}, but no such target")]
    PortWithoutTarget(String),
    /// Units of two targets would claim to be the same device.
    #[error(transparent)]
    Identity(TargetError),
}

/// SRP over some fabrics, not yet serving.
#[derive(Default)]
pub struct SrpTransport {
    listeners: Vec<Box<dyn fabric::Listener>>,
    ports: BTreeMap<String, PortId>,
    arrival: Arrival,
    limits: Limits,
}

impl std::fmt::Debug for SrpTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrpTransport")
            .field("listeners", &self.listeners.len())
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}

impl SrpTransport {
    /// A transport without listeners: its channels are those that [`SrpAttachment::serve`] is given.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes connection requests from there.
    #[must_use]
    pub fn listener(mut self, listener: Box<dyn fabric::Listener>) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Sets the port identifier of a target. One whose name is a port identifier has that, unless told otherwise.
    #[must_use]
    pub fn port(mut self, target: &str, port: PortId) -> Self {
        self.ports.insert(target.to_owned(), port);
        self
    }

    /// Takes logins that name the service and no target.
    #[must_use]
    pub fn arrival(mut self, arrival: Arrival) -> Self {
        self.arrival = arrival;
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    fn port_of(&self, target: &str) -> Result<PortId, AttachError> {
        let port = self.ports.get(target).copied();
        let named = || target.parse().ok();
        port.or_else(named)
            .ok_or_else(|| AttachError::NoPort(target.to_owned()))
    }
}

/// A running transport. It goes on until its engine stops.
#[derive(Debug)]
pub struct SrpAttachment {
    service: Arc<Service>,
    shards: Arc<[ShardHandle]>,
}

impl SrpAttachment {
    /// Serves a connection request.
    pub fn serve(&self, request: Request) {
        self.service.place(&self.shards, request, Instant::now());
    }

    /// Sessions now, those that begin or end included.
    pub fn sessions(&self) -> usize {
        self.service.registry.lock().len()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.service.tally.snapshot()
    }
}

impl Transport for SrpTransport {
    type Attachment = SrpAttachment;
    type Error = AttachError;

    fn attach(
        self,
        shards: &Arc<[ShardHandle]>,
        targets: Vec<Arc<Target>>,
    ) -> Result<SrpAttachment, AttachError> {
        let served = |name: &str| targets.iter().any(|target| target.name() == name);
        if let Some(name) = self.ports.keys().find(|name| !served(name)) {
            return Err(AttachError::PortWithoutTarget(name.clone()));
        }
        let units = targets
            .iter()
            .flat_map(|t| t.luns().values().cloned().collect::<Vec<_>>());
        check_identities(units).map_err(AttachError::Identity)?;
        let mut ports = BTreeMap::new();
        for target in targets {
            let port = self.port_of(target.name())?;
            if ports.insert(port, target).is_some() {
                return Err(AttachError::DuplicatePort(port));
            }
        }
        let service = Arc::new(Service::new(ports, self.arrival, self.limits));
        for (i, listener) in self.listeners.into_iter().enumerate() {
            let lane = i % shards.len().max(1);
            let service = Arc::clone(&service);
            if let Some(shard) = shards.get(lane) {
                shard.run(move |cx| {
                    cx.add_source_with(|cx| Listener::start(cx, listener, service, lane));
                });
            }
        }
        Ok(SrpAttachment {
            service,
            shards: Arc::clone(shards),
        })
    }
}
