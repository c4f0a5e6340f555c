//! Target groups, and the targets in them.

use super::Preset::Is;
use super::Value::{Flag, Number, Word};
use super::{Attribute, table};

const STATES: &[&str] = &[
    "active",
    "nonoptimized",
    "standby",
    "unavailable",
    "offline",
    "transitioning",
];

pub(super) const TARGET_GROUP: &[Attribute] = table! {
    "group_id" [CRW always] Number(0, 65_535), Is("0"),
        "Target port group identifier; 0: it has none yet, and is not reported.";
    "preferred" [CRW] Flag, Is("0"), "Whether its paths are preferred.";
    "state" [CRW always] Word(STATES), Is("active"), "Access state.";
};

pub(super) const GROUP_TARGET: &[Attribute] = table! {
    "rel_tgt_id" [CRW] Number(0, 65_535), Is("0"), "Relative target port identifier of a target of another node.";
};
