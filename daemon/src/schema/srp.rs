//! What is SRP's own of targets, as far as a configuration names it.

use super::Preset::{Is, Live};
use super::Value::{Flag, Text};
use super::{Attribute, table};

const VECTORS: &str = "completions come to the shard of the session";

pub(super) const TARGET: &[Attribute] = table! {
    "hw_target" [R] Flag, Is("1"), "Whether the target is a port of a host channel adapter.";
    "comp_v_mask" [CRW kept(VECTORS)] Text(256), Is(""), "Completion vectors of the sessions.";
    "device" [R] Text(64), Live, "The host channel adapter.";
    "link_layer" [R] Text(64), Live, "The link layer of the port.";
    "login_info" [R] Text(4096), Live, "What an initiator has to say at its login.";
    "port_id" [CRW] Text(64), Is(""), "The target port identifier; when not given, it follows from the port's GID.";
};
