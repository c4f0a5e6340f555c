//! RDMA ports, as the kernel tells of them.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use lunforge::srp::PortId;

/// Where the kernel tells.
const FOLDER: &str = "/sys/class/infiniband";
/// The link layer on which GIDs are made of addresses.
const ETHERNET: &str = "Ethernet";
/// The one on which services have ids.
const INFINIBAND: &str = "InfiniBand";

/// A port of an RDMA device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The device.
    pub device: String,
    /// Its number in the device, from one.
    pub number: u32,
    /// The GUID of the device.
    pub node_guid: u64,
    /// InfiniBand or Ethernet.
    pub link_layer: String,
    /// Its GIDs; the first one is its name in SCST.
    pub gids: Vec<PortId>,
}

/// The ports of a machine, by device and number, as they were when they were looked at.
#[derive(Debug, Clone, Default)]
pub struct Adapters(Vec<Port>);

impl Adapters {
    /// Those of this machine.
    #[must_use]
    pub fn found() -> Self {
        Self::below(Path::new(FOLDER))
    }

    /// Those in a folder like `/sys/class/infiniband`. What cannot be read is not there.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        let mut ports = Vec::new();
        for device in names(folder) {
            let device_folder = folder.join(&device);
            let node_guid = read(&device_folder.join("node_guid"));
            let node_guid = u64::from_str_radix(&node_guid.replace(':', ""), 16);
            let all = device_folder.join("ports");
            for number in names(&all) {
                let port_folder = all.join(&number);
                let Ok(number) = number.parse() else { continue };
                ports.push(Port {
                    device: device.clone(),
                    number,
                    node_guid: *node_guid.as_ref().unwrap_or(&0),
                    link_layer: read(&port_folder.join("link_layer")),
                    gids: gids(&port_folder.join("gids")),
                });
            }
        }
        ports.sort_by(|a, b| (&a.device, a.number).cmp(&(&b.device, b.number)));
        Self(ports)
    }

    /// All of them.
    #[must_use]
    pub fn ports(&self) -> &[Port] {
        &self.0
    }

    /// The GUID of the first device.
    #[must_use]
    pub fn guid(&self) -> Option<u64> {
        let mut guids = self.0.iter().map(|port| port.node_guid);
        guids.find(|guid| *guid != 0)
    }

    /// The port with this GID, or the only one.
    #[must_use]
    pub fn port(&self, gid: &PortId) -> Option<&Port> {
        let named = self.0.iter().find(|port| port.gids.contains(gid));
        match &self.0[..] {
            [only] => Some(named.unwrap_or(only)),
            _ => named,
        }
    }
}

impl Port {
    /// Whether initiators come by IB/CM.
    #[must_use]
    pub fn is_infiniband(&self) -> bool {
        self.link_layer == INFINIBAND
    }

    /// Its IP addresses that can be reached from elsewhere. On InfiniBand they are none of its GIDs.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let of_ip = self.link_layer == ETHERNET;
        let gids = self.gids.iter().filter(move |_| of_ip);
        let addresses = gids.map(|gid| Ipv6Addr::from(gid.0));
        let far = addresses.filter(|address| !address.is_unicast_link_local());
        far.map(|address| IpAddr::V6(address).to_canonical())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.collect()
}

fn read(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.trim().to_owned()
}

/// In their order; places of the table that are empty are left out, and so are those that say another again.
fn gids(folder: &Path) -> Vec<PortId> {
    let mut numbers: Vec<u32> = names(folder)
        .iter()
        .filter_map(|n| n.parse().ok())
        .collect();
    numbers.sort_unstable();
    let mut gids: Vec<PortId> = Vec::new();
    for number in numbers {
        if let Ok(gid) = read(&folder.join(number.to_string())).parse::<PortId>()
            && gid.0 != [0; 16]
            && !gids.contains(&gid)
        {
            gids.push(gid);
        }
    }
    gids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let file = folder.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    #[test]
    fn ports_are_found_with_their_names_and_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let (gid, mapped) = (
            "fe80:0000:0000:0000:5054:00ff:fe77:0001",
            "0000:0000:0000:0000:0000:ffff:0a4d:0001",
        );
        for (name, text) in [
            ("rxe0/node_guid", "5054:00ff:fe77:0001\n"),
            ("rxe0/ports/1/link_layer", "Ethernet\n"),
            ("rxe0/ports/1/gids/0", gid),
            ("rxe0/ports/1/gids/1", mapped),
            ("rxe0/ports/1/gids/2", mapped),
            (
                "rxe0/ports/1/gids/3",
                "0000:0000:0000:0000:0000:0000:0000:0000",
            ),
            (
                "rxe0/ports/1/gids/10",
                "2001:0db8:0000:0000:0000:0000:0000:0005",
            ),
            ("mlx4_0/node_guid", "0002:c903:00ab:1200\n"),
            ("mlx4_0/ports/2/link_layer", "InfiniBand\n"),
            (
                "mlx4_0/ports/2/gids/0",
                "fe80:0000:0000:0000:0002:c903:00ab:1202",
            ),
        ] {
            write(dir.path(), name, text);
        }
        let found = Adapters::below(dir.path());
        let [ib, roce] = found.ports() else {
            panic!("{found:?}")
        };
        assert_eq!((&*ib.device, ib.number), ("mlx4_0", 2));
        assert_eq!(ib.addresses().count(), 0);
        assert_eq!(found.guid(), Some(0x0002_c903_00ab_1200));
        assert_eq!((&*roce.device, &*roce.link_layer), ("rxe0", "Ethernet"));
        let addresses: Vec<_> = roce.addresses().map(|ip| ip.to_string()).collect();
        assert_eq!(addresses, ["10.77.0.1", "2001:db8::5"]);
        assert_eq!(roce.gids[0].to_string(), gid);
        let at = |gid: &str| found.port(&gid.parse().unwrap());
        assert_eq!(at(mapped), Some(roce));
        assert_eq!(at("0000:0000:0000:0000:0000:0000:0000:0009"), None);
    }

    #[test]
    fn a_machine_without_rdma_has_no_ports() {
        let dir = tempfile::tempdir().unwrap();
        let found = Adapters::below(&dir.path().join("none"));
        assert_eq!((found.ports(), found.guid()), (&[][..], None));
        assert!(found.port(&PortId([1; 16])).is_none());
    }
}
