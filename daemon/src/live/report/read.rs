//! Attributes that only the running target knows.

use lunforge::core::stats::{Counter, IoStats};
use lunforge::srp::PortId;

use super::super::device::Device;
use super::super::registry::Registry;
use super::super::target::Target;
use super::super::text;
use crate::tree::{Kind, Path};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What SCST says of a disk.
const DISK: &str = "0 Direct-access device (e.g., magnetic disk)";
/// What SCST says of a CD drive.
const CDROM: &str = "5 CD-ROM device";

impl Registry {
    /// See [`Machine::read`](crate::manage::Machine::read).
    pub(in super::super) fn read_attribute(&self, path: &Path, attribute: &str) -> Option<String> {
        match path.kind() {
            Kind::Root if attribute == "version" => Some(VERSION.to_owned()),
            Kind::Driver => self.of_driver(path.name(), attribute),
            Kind::Handler if attribute == "type" => Some(kind(path.name() == "vcdrom")),
            Kind::Device => of_device(&*self.device(path.name())?, attribute),
            Kind::Target => {
                let target = self.target(path)?;
                let of_port = target
                    .srp_port()
                    .and_then(|port| self.of_port(&port, attribute));
                of_port.or_else(|| of_target(&target, attribute))
            }
            Kind::TargetGroup if attribute == "state" => {
                let group = self.group(path.name_of(Kind::DeviceGroup)?)?;
                Some(group.state_of(path.name())?.to_string())
            }
            _ => None,
        }
    }

    fn of_driver(&self, driver: &str, attribute: &str) -> Option<String> {
        match attribute {
            "srpt_service_guid" => self.srp.guid.map(|guid| format!("{guid:#018x}")),
            "version" => Some(VERSION.to_owned()),
            "open_state" => {
                let open = !self.portals(driver).is_empty();
                Some(if open { "open" } else { "closed" }.to_owned())
            }
            _ => None,
        }
    }

    /// What is told of a port by SRP.
    fn of_port(&self, port: &PortId, attribute: &str) -> Option<String> {
        let adapter = || self.srp.adapter(port);
        match attribute {
            "port_id" => Some(port.to_string()),
            "device" => adapter().map(|adapter| adapter.device.clone()),
            "link_layer" => adapter().map(|adapter| adapter.link_layer.clone()),
            "login_info" => Some(self.srp.login_info(port)),
            _ => None,
        }
    }
}

fn kind(cdrom: bool) -> String {
    if cdrom { CDROM } else { DISK }.to_owned()
}

fn of_device(device: &Device, attribute: &str) -> Option<String> {
    let parts = device.parts();
    let size = || parts.disk.is_active().then(|| parts.disk.size());
    let flag = |on: bool| u8::from(on).to_string();
    match attribute {
        "type" => Some(kind(parts.disk.is_cdrom())),
        "active" => Some(flag(parts.disk.is_active())),
        // Open, as SCST says it, and whether a wait for that is under way.
        "block" => Some(format!("{} 0", u8::from(device.is_blocked()))),
        "size" => Some(size()?.to_string()),
        "size_mb" => Some((size()? >> 20).to_string()),
        "pr_state" => Some(text::reservations(&parts.reservations.snapshot())),
        "thin_provisioned" => Some(flag(parts.disk.is_thin())),
        "opt_trans_len" => Some(parts.disk.optimal_transfer().to_string()),
        _ => None,
    }
}

fn of_target(target: &Target, attribute: &str) -> Option<String> {
    let core = target.core.as_ref()?;
    let sum = |of: fn(&IoStats) -> &Counter| -> u64 {
        let sessions = core.sessions();
        sessions.iter().map(|nexus| of(&nexus.stats).value()).sum()
    };
    let number = match attribute {
        "rel_tgt_id" => u64::from(target.given_port()),
        "enabled" => u64::from(target.is_enabled()),
        "tid" => core.id().number(),
        "read_cmd_count" => sum(|stats| &stats.read_commands),
        "write_cmd_count" => sum(|stats| &stats.write_commands),
        "none_cmd_count" => sum(|stats| &stats.none_commands),
        "read_io_count_kb" => sum(|stats| &stats.read_bytes) >> 10,
        "write_io_count_kb" => sum(|stats| &stats.write_bytes) >> 10,
        "unknown_cmd_count" | "bidi_cmd_count" | "bidi_io_count_kb" => 0,
        _ => return None,
    };
    Some(number.to_string())
}
