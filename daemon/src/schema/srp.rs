//! What is SRP's own of targets, as far as a configuration names it.

use super::Preset::{Follows, Is, Live};
use super::Value::{Checked, Flag, Number, Text};
use super::{Attribute, checks, table};
use crate::tree::{Path, Tree};

const VECTORS: &str = "completions come to the shard of the session";

const AS_LONG_AS_NEEDED: &str = "queues of a channel are as long as its requests need";
const ONE_TRANSFER: &str = "a descriptor is read or written as the fabric takes it";

/// In SCST parameters of the module, read at its start.
pub(super) const DRIVER: &[Attribute] = table! {
    "rdma_cm_port" [RW] Number(0, 65_535), Is("0"),
        "The port of RDMA/CM at which initiators log in, on all addresses of all RDMA devices, and on InfiniBand the service id of IB/CM in the port space of RDMA/CM with this number; 0: none. Takes effect at the next start (in SCST a parameter of the module).";
    "srpt_service_guid" [RW] Checked(checks::guid), Live,
        "The GUID that initiators name in both halves of a target port identifier to mean the target with the name of the port at which they come in; when not given, that of the first RDMA device. It is no service id: Linux lets user space listen on none but those of RDMA/CM. Takes effect at the next start (in SCST a parameter of the module).";
    "srp_max_req_size" [RW] Number(996, 65_536), Is("8276"),
        "Longest information unit of an initiator. Takes effect at the next start (in SCST a parameter of the module).";
    "srp_max_rsp_size" [RW] Number(256, 4096), Is("256"),
        "Longest information unit to an initiator. Takes effect at the next start (in SCST a parameter of the module).";
    "srp_max_rdma_size" [RW kept(ONE_TRANSFER)] Number(4096, 1 << 24), Is("65536"),
        "Most bytes of one RDMA transfer (in SCST a parameter of the module).";
    "srpt_sq_size" [RW kept(AS_LONG_AS_NEEDED)] Number(16, 65_535), Is("256"),
        "Places of a send queue (in SCST a parameter of the module).";
    "srpt_srq_size" [RW] Number(4, 65_535), Is("4095"),
        "Receive buffers that the channels of a shard share, with use_srq. Takes effect at the next start (in SCST a parameter of the module).";
    "use_srq" [RW] Flag, Is("0"),
        "Whether channels share receive buffers; no command brings its data with it then. Takes effect at the next start (in SCST a parameter of the module).";
};

pub(super) const TARGET: &[Attribute] = table! {
    "hw_target" [R] Flag, Is("1"), "Whether the target is a port of a host channel adapter.";
    "comp_v_mask" [CRW kept(VECTORS)] Text(256), Is(""), "Completion vectors of the sessions.";
    "device" [R] Text(64), Live, "The host channel adapter.";
    "link_layer" [R] Text(64), Live, "The link layer of the port.";
    "login_info" [R] Text(4096), Live, "What an initiator has to say at its login.";
    "port_id" [CRW] Checked(checks::port_id), Follows(port_of_name),
        "The target port identifier that initiators name; when not given, the target's name if that is one, as the GID of a port, else one of this machine's own.";
};

fn port_of_name(_: &Tree, path: &Path) -> Option<String> {
    let port = path.name().parse::<lunforge::srp::PortId>().ok()?;
    Some(port.to_string())
}
