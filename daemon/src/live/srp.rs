//! Targets of `ib_srpt`: how they are served, and what is told of them.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use lunforge::Engine;
use lunforge::core::designator::stable_hash;
use lunforge::core::target::Target;
use lunforge::srp::fabric::Listener;
use lunforge::srp::io::{Arrival, Limits};
use lunforge::srp::verbs::ServicePort;
use lunforge::srp::{PortId, SrpAttachment, SrpTransport};

use super::Done;
use super::adapters::{Adapters, Port};
use super::failure::failure;

/// The driver of SRP.
pub(super) const SRP: &str = "ib_srpt";

/// How long the sessions of a target that is removed may take to end.
const SESSIONS: Duration = Duration::from_secs(5);

/// What SRP is served by. Its listeners are there from the start: what the configuration says of them later is for the next
/// start, as it is with the parameters of SCST's module.
pub struct SrpSetup {
    /// Where logins come in.
    pub listeners: Vec<Box<dyn Listener>>,
    /// The port of RDMA/CM at which they do, on all addresses.
    pub port: Option<u16>,
    /// Why no target can be enabled, where there is no listener.
    pub missing: String,
    /// What is allowed to channels and sessions.
    pub limits: Limits,
    /// The RDMA ports of the machine.
    pub adapters: Adapters,
    /// The GUID that initiators name who mean the service, and not one target.
    pub guid: Option<u64>,
    /// What tells this machine from others: for ports that have no identifier of their own.
    pub machine: String,
}

/// Without SRP.
impl Default for SrpSetup {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            port: None,
            missing: "there is nowhere to log in by SRP: set rdma_cm_port of targets/ib_srpt to a port of RDMA/CM, save, and start again".to_owned(),
            limits: Limits::default(),
            adapters: Adapters::default(),
            guid: None,
            machine: String::new(),
        }
    }
}

impl std::fmt::Debug for SrpSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrpSetup")
            .field("port", &self.port)
            .field("adapters", &self.adapters)
            .finish_non_exhaustive()
    }
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Srp {
    pub(super) attached: SrpAttachment,
    /// Why there is no listener, if there is none.
    missing: Option<String>,
    port: Option<u16>,
    adapters: Adapters,
    pub(super) guid: Option<u64>,
    machine: String,
}

impl Srp {
    pub(super) fn new(engine: &Engine, setup: SrpSetup) -> std::io::Result<Self> {
        let missing = setup.listeners.is_empty().then_some(setup.missing);
        let mut transport = SrpTransport::new().limits(setup.limits);
        for listener in setup.listeners {
            transport = transport.listener(listener);
        }
        if let Some(guid) = setup.guid {
            transport = transport.arrival(arrival(guid, &setup.adapters));
        }
        let attached = engine.attach(transport, Vec::new());
        Ok(Self {
            attached: attached.map_err(std::io::Error::other)?,
            missing,
            port: setup.port,
            adapters: setup.adapters,
            guid: setup.guid,
            machine: setup.machine,
        })
    }

    /// Whether initiators can come.
    pub(super) fn is_served(&self) -> bool {
        self.missing.is_none()
    }

    /// Refuses to enable what nobody could log in to.
    pub(super) fn can_enable(&self, enabled: bool) -> Done {
        match &self.missing {
            Some(missing) if enabled => Err(failure(format!(
                "a target of {SRP} cannot be enabled: {missing}"
            ))),
            _ => Ok(()),
        }
    }

    /// The port of a target: the one that it is given, or what its name says, or one that is the same after a restart.
    pub(super) fn port_of(&self, name: &str, given: Option<&str>) -> PortId {
        let given = given.and_then(|given| given.parse().ok());
        let named = given.or_else(|| name.parse().ok());
        named.unwrap_or_else(|| own_port(&self.machine, name))
    }

    /// Serves one more target: from the first moment to nobody, if it is not enabled.
    pub(super) fn add(&self, port: PortId, core: &Arc<Target>, enabled: bool) -> Done {
        self.can_enable(enabled)?;
        let added = if enabled {
            self.attached.add_target(port, Arc::clone(core))
        } else {
            self.attached.add_disabled_target(port, Arc::clone(core))
        };
        added.map_err(failure)
    }

    pub(super) fn enable(&self, port: PortId, enabled: bool) -> Done {
        self.can_enable(enabled)?;
        let changed = self.attached.set_enabled(port, enabled);
        changed.map(drop).map_err(failure)
    }

    /// Its sessions end, each for good.
    pub(super) fn remove(&self, port: PortId, name: &str) -> Done {
        let closing = self.attached.remove_target(port).map_err(failure)?;
        if !closing.wait(SESSIONS) {
            tracing::warn!(target = name, "its sessions do not end yet");
        }
        Ok(())
    }

    /// Where initiators come in.
    pub(super) fn addresses(&self) -> Vec<String> {
        let mut told: Vec<_> = self.known().collect();
        if told.is_empty() {
            told.extend(self.port.map(|port| format!("[::]:{port}")));
        }
        told
    }

    /// Of these the ones that the kernel tells.
    fn known(&self) -> impl Iterator<Item = String> {
        let ports = self.port.into_iter();
        ports.flat_map(|port| {
            let adapters = self.adapters.ports().iter();
            let addresses = adapters.flat_map(Port::addresses);
            addresses.map(move |ip| SocketAddr::new(ip, port).to_string())
        })
    }

    /// The RDMA port that is a target's.
    pub(super) fn adapter(&self, port: &PortId) -> Option<&Port> {
        self.adapters.port(port)
    }

    /// What a Linux initiator writes into `add_target`: a line for each address, and one for each port of InfiniBand.
    pub(super) fn login_info(&self, port: &PortId) -> String {
        let named = login_to(port);
        let at = |address| format!("{named},dest={address}");
        let addresses = self.known().map(at);
        let service = self.port.and_then(NonZero::new).map(ServicePort);
        let ports = self.adapters.ports().iter();
        let ports = ports.filter(|adapter| adapter.is_infiniband());
        let by_service = |adapter: &Port| {
            let dgid = adapter.gids.first()?.to_string().replace(':', "");
            let service = service?;
            Some(format!(
                "{named},pkey=ffff,dgid={dgid},service_id={service}"
            ))
        };
        let lines: Vec<_> = addresses.chain(ports.filter_map(by_service)).collect();
        lines.join("\n")
    }
}

/// A target as an initiator names it.
#[must_use]
pub fn login_to(port: &PortId) -> String {
    let (extension, guid) = (port.extension(), port.guid());
    format!("id_ext={extension:016x},ioc_guid={guid:016x}")
}

/// The port of a target on a machine: the same after a restart.
#[must_use]
pub fn own_port(machine: &str, target: &str) -> PortId {
    let of_target = format!("{machine}\0{target}");
    PortId::new(
        stable_hash(of_target.as_bytes()),
        stable_hash(machine.as_bytes()),
    )
}

/// Any GID of a port is for the target with the name of that port in SCST.
fn arrival(guid: u64, adapters: &Adapters) -> Arrival {
    let mut arrival = Arrival::new(guid);
    for port in adapters.ports() {
        if let Some((first, others)) = port.gids.split_first() {
            arrival = others
                .iter()
                .fold(arrival, |arrival, gid| arrival.gid(*gid, *first));
        }
    }
    arrival
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_target_s_on_its_machine() {
        let port = own_port("machine", "a");
        assert_eq!(port, own_port("machine", "a"));
        assert_eq!(port.guid(), own_port("machine", "b").guid());
        assert_ne!(port.extension(), own_port("machine", "b").extension());
        assert_ne!(port.extension(), own_port("other", "a").extension());
        assert_ne!(port.guid(), own_port("other", "a").guid());
    }
}
