//! Device groups, target groups, and the targets in them.

use super::{Access, Attribute, Effect, Key, Preset, Value};

const fn settable(
    name: &'static str,
    value: Value,
    preset: Preset,
    key: Key,
    help: &'static str,
) -> Attribute {
    Attribute {
        name,
        value,
        preset,
        access: Access::CREATE.union(Access::READ).union(Access::WRITE),
        key,
        repeated: false,
        secret: false,
        effect: Effect::Works,
        help,
    }
}

pub(super) const DEVICE_GROUP: &[Attribute] = &[];

pub(super) const TARGET_GROUP: &[Attribute] = &[
    settable(
        "group_id",
        Value::Number(0, 65_535),
        Preset::Is("0"),
        Key::Always,
        "Target port group identifier.",
    ),
    settable(
        "preferred",
        Value::Flag,
        Preset::Is("0"),
        Key::WhenGiven,
        "Whether its paths are preferred.",
    ),
    settable(
        "state",
        Value::Word(&[
            "active",
            "nonoptimized",
            "standby",
            "unavailable",
            "offline",
            "transitioning",
        ]),
        Preset::Is("active"),
        Key::Always,
        "Access state.",
    ),
];

pub(super) const GROUP_TARGET: &[Attribute] = &[settable(
    "rel_tgt_id",
    Value::Number(0, 65_535),
    Preset::Is("0"),
    Key::WhenGiven,
    "Relative target port identifier of a target of another node.",
)];
