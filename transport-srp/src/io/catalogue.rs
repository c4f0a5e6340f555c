//! The targets of a transport by their ports, and how a login finds one.

use std::collections::BTreeMap;
use std::sync::Arc;

use lunforge_core::Target;

use super::ChangeError;
use super::arrival::Arrival;
use crate::proto::iu::login::RejectReason;
use crate::proto::port::PortId;

#[derive(Debug)]
struct Served {
    target: Arc<Target>,
    enabled: bool,
}

/// Why a login is not let in.
pub(super) type Refusal = (RejectReason, &'static str);

const DISABLED: Refusal = (
    RejectReason::InsufficientResources,
    "the target is not enabled",
);
const REMOVED: Refusal = (RejectReason::Association, "the target is removed");

/// See the module's head. Looked at by logins; changed by whoever looks after the transport.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    targets: BTreeMap<PortId, Served>,
    pub(super) arrival: Arrival,
}

impl Catalogue {
    pub(super) fn new(targets: BTreeMap<PortId, Arc<Target>>, arrival: Arrival) -> Self {
        let served = |(port, target)| {
            let enabled = true;
            (port, Served { target, enabled })
        };
        Self {
            targets: targets.into_iter().map(served).collect(),
            arrival,
        }
    }

    pub(super) fn insert(
        &mut self,
        port: PortId,
        target: Arc<Target>,
        enabled: bool,
    ) -> Result<(), ChangeError> {
        if self.targets.contains_key(&port) {
            return Err(ChangeError::DuplicatePort(port));
        }
        self.targets.insert(port, Served { target, enabled });
        Ok(())
    }

    pub(super) fn remove(&mut self, port: PortId) -> Result<Arc<Target>, ChangeError> {
        let removed = self.targets.remove(&port);
        let removed = removed.ok_or(ChangeError::NoSuchPort(port))?;
        Ok(removed.target)
    }

    pub(super) fn enable(&mut self, port: PortId, enabled: bool) -> Result<(), ChangeError> {
        let served = self.targets.get_mut(&port);
        let served = served.ok_or(ChangeError::NoSuchPort(port))?;
        served.enabled = enabled;
        Ok(())
    }

    /// The target that a login is for, which came in at a port of the fabric, and its own port: the one that is named, or
    /// where the service as a whole is named that of the port.
    pub(super) fn find(
        &self,
        named: &PortId,
        came_in_at: Option<&PortId>,
    ) -> Option<(PortId, Arc<Target>)> {
        let by_port = |port: PortId| {
            let served = self.targets.get(&port)?;
            Some((port, Arc::clone(&served.target)))
        };
        by_port(*named).or_else(|| by_port(self.arrival.port(named, came_in_at?)?))
    }

    /// Whether a login may go on that found this target before.
    pub(super) fn admits(&self, port: &PortId, target: &Arc<Target>) -> Result<(), Refusal> {
        match self.targets.get(port) {
            Some(served) if !Arc::ptr_eq(&served.target, target) => Err(REMOVED),
            Some(served) if !served.enabled => Err(DISABLED),
            Some(_) => Ok(()),
            None => Err(REMOVED),
        }
    }
}
