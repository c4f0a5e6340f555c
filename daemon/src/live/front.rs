//! The transport by which targets are served.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lunforge::core::Target;
use lunforge::iscsi::{AuthConfig, IscsiAttachment, TargetSettings};

use super::Done;
use super::failure::failure;

/// How long the sessions of a target that is removed may take to end.
const SESSIONS: Duration = Duration::from_secs(5);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) iscsi: Arc<IscsiAttachment>,
    /// Where it listens, by what was asked for.
    portals: BTreeMap<SocketAddr, SocketAddr>,
}

impl Front {
    pub(super) fn new(iscsi: Arc<IscsiAttachment>) -> Self {
        Self {
            iscsi,
            portals: BTreeMap::new(),
        }
    }

    pub(super) fn add(
        &self,
        target: &Arc<Target>,
        settings: TargetSettings,
        enabled: bool,
    ) -> Done {
        let added = self.iscsi.add_target(Arc::clone(target), settings);
        added.map_err(failure)?;
        // Until here no initiator has found it: it has no LUN yet.
        self.enable(target.name(), enabled)
    }

    pub(super) fn set(&self, name: &str, settings: TargetSettings) -> Done {
        self.iscsi.set_target(name, settings).map_err(failure)
    }

    pub(super) fn enable(&self, name: &str, enabled: bool) -> Done {
        self.iscsi.set_enabled(name, enabled).map_err(failure)
    }

    /// Its sessions end, each for good.
    pub(super) fn remove(&self, name: &str) -> Done {
        let closing = self.iscsi.remove_target(name).map_err(failure)?;
        if !closing.wait(SESSIONS) {
            tracing::warn!(target = name, "its sessions do not end yet");
        }
        Ok(())
    }

    /// What discovery sessions prove.
    pub(super) fn demand(&self, auth: AuthConfig) {
        self.iscsi.set_discovery_auth(auth);
    }

    /// Listens there and nowhere else. New portals are opened before old ones are closed.
    pub(super) fn listen(&mut self, wanted: &[SocketAddr]) -> Done {
        let mut opened = Vec::new();
        for &address in wanted {
            if self.portals.contains_key(&address) {
                continue;
            }
            match self.iscsi.add_portal(address) {
                Ok(bound) => opened.push((address, bound)),
                // A machine without IPv6, or one whose IPv4 socket takes both.
                Err(error) if address.ip().is_unspecified() && address.is_ipv6() => {
                    tracing::warn!(%error, "initiators come by IPv4 only");
                }
                Err(error) => {
                    for (_, bound) in opened {
                        self.close(bound);
                    }
                    return Err(failure(error));
                }
            }
        }
        self.portals.extend(opened);
        let gone: Vec<_> = self.portals.keys().copied().collect();
        for address in gone.into_iter().filter(|address| !wanted.contains(address)) {
            if let Some(bound) = self.portals.remove(&address) {
                self.close(bound);
            }
        }
        Ok(())
    }

    fn close(&self, bound: SocketAddr) {
        if let Err(error) = self.iscsi.remove_portal(bound) {
            tracing::error!(%error, "a portal was not closed");
        }
    }
}
