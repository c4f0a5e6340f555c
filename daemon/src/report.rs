//! What the user is told: where the LUNs are, how to reach them, how to stop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::plan::{Medium, Plan};

/// An address that an initiator on this machine can use: a wildcard stands for the loopback.
fn reachable(portal: SocketAddr) -> SocketAddr {
    let ip = match portal.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, portal.port())
}

/// `iscsi://` URLs, one per LUN, over the first portal.
pub(crate) fn urls(plan: &Plan, portals: &[SocketAddr]) -> Vec<String> {
    let Some(&portal) = portals.first() else {
        return Vec::new();
    };
    let portal = reachable(portal);
    (0..plan.luns.len())
        .map(|lun| format!("iscsi://{portal}/{}/{lun}", plan.target))
        .collect()
}

/// The explanation for standard error.
pub(crate) fn explanation(plan: &Plan, portals: &[SocketAddr]) -> String {
    let mut out = format!("Target {} with {} LUN(s):\n", plan.target, plan.luns.len());
    for (number, lun) in plan.luns.iter().enumerate() {
        let what = match &lun.medium {
            Medium::File { path, size } => format!("{} ({size})", path.display()),
            Medium::NewFile { path, size } => format!("{} ({size}, created)", path.display()),
            Medium::Block { path } => format!("{} (block device)", path.display()),
            Medium::Image { path } => format!("{} (in a CD drive)", path.display()),
            Medium::Null { size } => format!("nothing ({size}): reads give zeros, writes are lost"),
        };
        out += &format!("  LUN {number}: {what}\n");
    }
    for portal in portals {
        out += &format!("  portal {portal}\n");
    }
    for address in plan.srp.iter().flat_map(|srp| &srp.addresses) {
        out += &format!("  SRP {address}\n");
    }
    out += "Connect:\n";
    if let Some(&portal) = portals.first() {
        out += &by_iscsi(plan, reachable(portal));
    }
    if let Some(line) = plan.srp.as_ref().and_then(|srp| srp.lines().pop()) {
        out += &format!(
            "  SRP, Linux: modprobe ib_srp && echo {line} >/sys/class/infiniband_srp/srp-DEVICE-PORT/add_target\n"
        );
    }
    out + "Stop: Ctrl-C or SIGTERM; a second one leaves at once.\n"
}

fn by_iscsi(plan: &Plan, portal: SocketAddr) -> String {
    let url = format!("iscsi://{portal}/{}/0", plan.target);
    format!(
        "\x20 open-iscsi: iscsiadm -m discovery -t sendtargets -p {portal} && iscsiadm -m node -T {target} -p {portal} --login\n\
         \x20 libiscsi:   iscsi-inq {url}\n\
         \x20 qemu:       qemu-system-x86_64 -drive file={url},format=raw,if=virtio\n\
         \x20 Windows:    iscsicli QAddTargetPortal {ip} {port} & iscsicli QLoginTarget {target}\n",
        target = plan.target,
        ip = portal.ip(),
        port = portal.port(),
    )
}
