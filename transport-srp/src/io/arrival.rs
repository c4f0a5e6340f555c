//! Logins that name no target but the service as a whole, as SCST's and Linux's targets want it: for them the port of the
//! fabric is the target.

use std::collections::BTreeMap;

use crate::proto::port::PortId;

/// Which target is meant by a login in whose target port identifier both halves are the GUID of the service.
#[derive(Debug, Clone, Default)]
pub struct Arrival {
    guid: Option<u64>,
    gids: BTreeMap<PortId, PortId>,
}

impl Arrival {
    /// Such logins are for the target whose port identifier is the GID of the port at which they come in.
    #[must_use]
    pub fn new(guid: u64) -> Self {
        Self {
            guid: Some(guid),
            gids: BTreeMap::new(),
        }
    }

    /// One more GID of a port: `named` is the one that a target has.
    #[must_use]
    pub fn gid(mut self, gid: PortId, named: PortId) -> Self {
        self.gids.insert(gid, named);
        self
    }

    /// The port identifier of the target for such a login.
    pub(super) fn port(&self, named: &PortId, came_in_at: &PortId) -> Option<PortId> {
        let guid = self.guid?;
        let service = *named == PortId::new(guid, guid);
        let known = self.gids.get(came_in_at);
        service.then(|| *known.unwrap_or(came_in_at))
    }
}
