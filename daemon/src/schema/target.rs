//! Drivers, targets, groups and LUNs.

use super::{Access, Attribute, Effect, Key, Preset, Value};

const fn settable(
    name: &'static str,
    value: Value,
    preset: Preset,
    help: &'static str,
) -> Attribute {
    Attribute {
        name,
        value,
        preset,
        access: Access::CREATE.union(Access::READ).union(Access::WRITE),
        key: Key::WhenGiven,
        repeated: false,
        secret: false,
        effect: Effect::Works,
        help,
    }
}

const ENABLED: Attribute = Attribute {
    key: Key::Always,
    ..settable(
        "enabled",
        Value::Flag,
        Preset::Is("0"),
        "Whether initiators may log in.",
    )
};
const REL_TGT_ID: Attribute = settable(
    "rel_tgt_id",
    Value::Number(0, 65_535),
    Preset::Is("0"),
    "Relative target port identifier; 0: found when the target is enabled.",
);
const INCOMING_USER: Attribute = Attribute {
    repeated: true,
    secret: true,
    ..settable(
        "IncomingUser",
        Value::Text(512),
        Preset::None,
        "Name and secret by which initiators prove themselves.",
    )
};

const ISCSI_DRIVER: &[Attribute] = &[ENABLED, INCOMING_USER];
const ISCSI_TARGET: &[Attribute] = &[ENABLED, REL_TGT_ID, INCOMING_USER];

pub(super) fn driver(name: &str) -> &'static [Attribute] {
    if name == "iscsi" { ISCSI_DRIVER } else { &[] }
}

pub(super) fn target(driver: &str) -> &'static [Attribute] {
    if driver == "iscsi" { ISCSI_TARGET } else { &[] }
}

pub(super) const GROUP: &[Attribute] = &[];

pub(super) const LUN: &[Attribute] = &[
    Attribute {
        access: Access::CREATE.union(Access::READ),
        key: Key::Always,
        ..settable("device", Value::Text(64), Preset::None, "The device.")
    },
    Attribute {
        access: Access::CREATE.union(Access::READ),
        ..settable(
            "read_only",
            Value::Flag,
            Preset::Is("0"),
            "Whether writes by this LUN are refused.",
        )
    },
];
