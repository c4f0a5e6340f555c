//! The transports by which targets are served.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lunforge::core::Target;
use lunforge::iscsi::{AuthConfig, BindError, ChangeError, IscsiAttachment, TargetSettings};

use super::Done;
use super::failure::failure;
use super::srp::Srp;
use crate::manage::Failure;

/// How long the sessions of a target that is removed may take to end.
const SESSIONS: Duration = Duration::from_secs(5);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) iscsi: Arc<IscsiAttachment>,
    pub(super) srp: Arc<Srp>,
    /// Where it listens, by what was asked for.
    portals: BTreeMap<SocketAddr, SocketAddr>,
}

impl Front {
    pub(super) fn new(iscsi: Arc<IscsiAttachment>, srp: Arc<Srp>) -> Self {
        Self {
            iscsi,
            srp,
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

    /// Listens there and nowhere else. New portals are opened before old ones are closed, but for old ones in whose place
    /// new ones come. When one cannot be opened, it listens where it did.
    pub(super) fn listen(&mut self, wanted: &[SocketAddr]) -> Done {
        let mut opened = Vec::new();
        let mut closed = Vec::new();
        for &address in wanted {
            if self.portals.contains_key(&address) {
                continue;
            }
            match self.open(address, wanted, &mut closed) {
                Ok(bound) => opened.push((address, bound)),
                // A machine without IPv6, or one whose IPv4 socket takes both.
                Err(error) if address.ip().is_unspecified() && address.is_ipv6() => {
                    tracing::warn!(%error, "initiators come by IPv4 only");
                }
                Err(error) => {
                    opened.iter().for_each(|(_, bound)| self.close(*bound));
                    return Err(self.open_again(closed, error));
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

    /// Opens a portal; where portals that are not wanted any more are in its way, after they are closed.
    fn open(
        &mut self,
        address: SocketAddr,
        wanted: &[SocketAddr],
        closed: &mut Vec<(SocketAddr, SocketAddr)>,
    ) -> Result<SocketAddr, ChangeError> {
        let error = match self.iscsi.add_portal(address) {
            Err(error) if is_taken(&error) => error,
            opened => return opened,
        };
        let in_the_way = |(old, bound): &(&SocketAddr, &SocketAddr)| {
            !wanted.contains(*old) && overlap(**bound, address)
        };
        let old = self.portals.iter().filter(in_the_way);
        let old: Vec<_> = old.map(|(old, bound)| (*old, *bound)).collect();
        if old.is_empty() {
            return Err(error);
        }
        for (old, bound) in old {
            self.portals.remove(&old);
            self.close(bound);
            closed.push((old, bound));
        }
        self.iscsi.add_portal(address)
    }

    /// Opens portals again that made way for nothing, where they were; why they had to is told, and which are lost.
    fn open_again(&mut self, closed: Vec<(SocketAddr, SocketAddr)>, why: ChangeError) -> Failure {
        let mut said = why.to_string();
        for (address, bound) in closed {
            match self.iscsi.add_portal(bound) {
                Ok(bound) => drop(self.portals.insert(address, bound)),
                Err(error) => said += &format!("; and the portal {bound} is closed now: {error}"),
            }
        }
        failure(said)
    }

    fn close(&self, bound: SocketAddr) {
        if let Err(error) = self.iscsi.remove_portal(bound) {
            tracing::error!(%error, "a portal was not closed");
        }
    }
}

fn is_taken(error: &ChangeError) -> bool {
    matches!(
        error,
        ChangeError::Bind(BindError::Listen { source, .. }) if source.kind() == ErrorKind::AddrInUse
    )
}

/// Whether the system lets only one of two sockets listen: those of IPv6 take nothing else.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a == b || a.is_unspecified() || b.is_unspecified())
}
