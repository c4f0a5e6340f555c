//! The portals of a transport: what it listens on, and what it says of that.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

use super::interfaces;
use super::registry::Place;

/// Where the addresses of the machine's interfaces come from.
#[derive(Clone)]
pub(super) struct Interfaces(pub(super) Arc<dyn Fn() -> Vec<IpAddr> + Send + Sync>);

impl Default for Interfaces {
    fn default() -> Self {
        Self(Arc::new(interfaces::of_system()))
    }
}

impl std::fmt::Debug for Interfaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interfaces")
    }
}

/// Tells portals apart: several may have one address, by sockets of the caller's.
pub(super) type PortalId = u64;

#[derive(Debug)]
struct Portal {
    id: PortalId,
    address: SocketAddr,
    /// Its listener, once that is there.
    listener: Option<Place>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Portals {
    list: Mutex<(Vec<Portal>, PortalId)>,
    interfaces: Interfaces,
}

impl Portals {
    pub(super) fn new(interfaces: Interfaces) -> Self {
        Self {
            list: Mutex::default(),
            interfaces,
        }
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.list.lock().0.iter().map(|p| p.address).collect()
    }

    pub(super) fn insert(&self, address: SocketAddr) -> PortalId {
        let (list, last) = &mut *self.list.lock();
        *last += 1;
        list.push(Portal {
            id: *last,
            address,
            listener: None,
        });
        *last
    }

    /// A portal's listener is there; false if the portal is not any more.
    pub(super) fn listens(&self, id: PortalId, at: Place) -> bool {
        let (list, _) = &mut *self.list.lock();
        let portal = list.iter_mut().find(|portal| portal.id == id);
        portal.map(|portal| portal.listener = Some(at)).is_some()
    }

    /// Takes a portal out of the list.
    pub(super) fn forget(&self, id: PortalId) {
        self.list.lock().0.retain(|portal| portal.id != id);
    }

    /// Takes the portals with this address out of the list: how many they were, and the listeners that are to end.
    pub(super) fn remove(&self, address: SocketAddr) -> (usize, Vec<Place>) {
        let (list, _) = &mut *self.list.lock();
        let before = list.len();
        let mut listeners = Vec::new();
        list.retain_mut(|portal| {
            if portal.address == address {
                listeners.extend(portal.listener.take());
            }
            portal.address != address
        });
        (before - list.len(), listeners)
    }

    /// What an initiator is told that came in by `local`: portals of its family, with a wildcard standing for that
    /// address and those of the machine's interfaces. A loopback address is told by loopback only.
    pub(super) fn shown(&self, local: SocketAddr) -> Vec<SocketAddr> {
        let here = local.ip().to_canonical();
        let mut shown = Vec::new();
        for portal in self.addresses() {
            if portal.is_ipv4() != here.is_ipv4() {
                continue;
            }
            let ips = if portal.ip().is_unspecified() {
                let mut ips = vec![here];
                ips.extend(self.interfaces.0().iter().map(IpAddr::to_canonical));
                ips.retain(|ip| ip.is_ipv4() == here.is_ipv4());
                ips.retain(|ip| !ip.is_loopback() || *ip == here);
                ips
            } else {
                vec![portal.ip()]
            };
            for ip in ips {
                let address = SocketAddr::new(ip, portal.port());
                let useful = !ip.is_loopback() || here.is_loopback();
                if useful && !shown.contains(&address) {
                    shown.push(address);
                }
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(portals: &[&str], local: &str) -> Vec<String> {
        let interfaces = [
            "127.0.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "::1",
            "2001:db8::1",
        ];
        let all: Vec<IpAddr> = interfaces.iter().map(|ip| ip.parse().unwrap()).collect();
        let list = Portals::new(Interfaces(Arc::new(move || all.clone())));
        for portal in portals {
            list.insert(portal.parse().unwrap());
        }
        let shown = list.shown(local.parse().unwrap());
        shown.iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn a_wildcard_stands_for_each_interface_of_its_family() {
        let both = ["0.0.0.0:3260", "[::]:3260"];
        let all = ["198.51.100.1:3260", "192.0.2.1:3260"];
        assert_eq!(shown(&both, "198.51.100.1:3260"), all);
        let local = ["127.0.0.1:3260", "192.0.2.1:3260", "198.51.100.1:3260"];
        assert_eq!(shown(&both, "127.0.0.1:3260"), local);
        assert_eq!(shown(&both, "[2001:db8::1]:3260"), ["[2001:db8::1]:3260"]);
        // An address that no interface has, as behind address translation.
        let behind = ["203.0.113.9:3260", "192.0.2.1:3260", "198.51.100.1:3260"];
        assert_eq!(shown(&both, "203.0.113.9:3260"), behind);
    }

    #[test]
    fn portals_of_the_other_family_and_those_on_loopback_are_not_shown_from_outside() {
        let portals = ["127.0.0.1:1", "192.0.2.1:2", "[::1]:3"];
        assert_eq!(shown(&portals, "192.0.2.1:2"), ["192.0.2.1:2"]);
        assert_eq!(
            shown(&portals, "127.0.0.1:1"),
            ["127.0.0.1:1", "192.0.2.1:2"]
        );
        assert_eq!(shown(&portals, "[::1]:3"), ["[::1]:3"]);
    }

    #[test]
    fn a_listener_of_a_portal_that_is_gone_is_not_wanted() {
        let list = Portals::default();
        let address = "192.0.2.1:3260".parse().unwrap();
        let (one, two) = (list.insert(address), list.insert(address));
        assert_ne!(one, two);
        assert_eq!(list.remove(address).0, 2);
        assert_eq!(list.remove(address).0, 0);
        assert!(list.addresses().is_empty());
    }
}
