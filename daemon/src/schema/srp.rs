//! What is SRP's own of targets, as far as a configuration names it.

use super::Preset::{Is, Live};
use super::Value::{Flag, Number, Text};
use super::{Attribute, table};

const VECTORS: &str = "completions come to the shard of the session";

const NOT_SHARED: &str = "each channel has receive buffers of its own";
const ONE_TRANSFER: &str = "a descriptor is read or written as the fabric takes it";

/// In SCST parameters of the module.
pub(super) const DRIVER: &[Attribute] = table! {
    "rdma_cm_port" [RW] Number(0, 65_535), Is("0"),
        "The port of RDMA/CM at which targets are found; 0: none (in SCST a parameter of the module).";
    "srpt_service_guid" [RW] Text(32), Is(""),
        "The GUID that initiators name; when empty, that of the first device (in SCST a parameter of the module).";
    "srp_max_req_size" [RW] Number(996, 65_536), Is("8276"),
        "Longest information unit of an initiator (in SCST a parameter of the module).";
    "srp_max_rsp_size" [RW] Number(256, 65_536), Is("256"),
        "Longest information unit to an initiator (in SCST a parameter of the module).";
    "srp_max_rdma_size" [RW kept(ONE_TRANSFER)] Number(4096, 1 << 24), Is("65536"),
        "Most bytes of one RDMA transfer (in SCST a parameter of the module).";
    "srpt_sq_size" [RW kept(NOT_SHARED)] Number(16, 65_535), Is("256"),
        "Places of a send queue (in SCST a parameter of the module).";
    "srpt_srq_size" [RW kept(NOT_SHARED)] Number(4, 65_535), Is("4095"),
        "Places of a shared receive queue (in SCST a parameter of the module).";
    "use_srq" [RW kept(NOT_SHARED)] Flag, Is("0"),
        "Whether channels share a receive queue (in SCST a parameter of the module).";
};

pub(super) const TARGET: &[Attribute] = table! {
    "hw_target" [R] Flag, Is("1"), "Whether the target is a port of a host channel adapter.";
    "comp_v_mask" [CRW kept(VECTORS)] Text(256), Is(""), "Completion vectors of the sessions.";
    "device" [R] Text(64), Live, "The host channel adapter.";
    "link_layer" [R] Text(64), Live, "The link layer of the port.";
    "login_info" [R] Text(4096), Live, "What an initiator has to say at its login.";
    "port_id" [CRW] Text(64), Is(""), "The target port identifier; when not given, it follows from the port's GID.";
};
