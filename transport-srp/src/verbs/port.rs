//! What the kernel tells of RDMA devices and their ports.

use std::fs;
use std::path::Path;

const DEVICES: &str = "/sys/class/infiniband";

/// Whether a port of some device is InfiniBand, not Ethernet.
pub(super) fn any_infiniband() -> bool {
    infiniband_in(Path::new(DEVICES))
}

fn infiniband_in(devices: &Path) -> bool {
    let folders = |of: &Path| fs::read_dir(of).into_iter().flatten().flatten();
    folders(devices)
        .flat_map(|device| folders(&device.path().join("ports")))
        .any(|port| is_infiniband(&port.path()))
}

/// Whether a port, which is a folder of the kernel's, is InfiniBand.
pub(super) fn is_infiniband(port: &Path) -> bool {
    let layer = fs::read_to_string(port.join("link_layer"));
    layer.is_ok_and(|layer| layer.trim_end() == "InfiniBand")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_infiniband_port_is_enough() {
        let folder = std::env::temp_dir().join(format!("lunforge-ports-{}", std::process::id()));
        let port = |device: &str, port: &str, layer: &str| {
            let port = folder.join(device).join("ports").join(port);
            fs::create_dir_all(&port).unwrap();
            fs::write(port.join("link_layer"), format!("{layer}\n")).unwrap();
        };
        assert!(!infiniband_in(&folder));
        port("rxe0", "1", "Ethernet");
        port("mlx4_0", "1", "Ethernet");
        assert!(!infiniband_in(&folder));
        port("mlx4_0", "2", "InfiniBand");
        assert!(infiniband_in(&folder));
        fs::remove_dir_all(&folder).unwrap();
    }
}
