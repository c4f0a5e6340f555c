//! The root, the handlers, and what is there from the start.

use super::{Access, Attribute, Effect, Key, Preset, Value};
use crate::tree::{self, Kind, Object};

const IN_KERNEL: Effect = Effect::Kept("it tunes threads of the kernel");

/// An attribute of the root that is kept for configurations of SCST.
const fn kept(
    name: &'static str,
    value: Value,
    preset: &'static str,
    effect: Effect,
    help: &'static str,
) -> Attribute {
    Attribute {
        name,
        value,
        preset: Preset::Is(preset),
        access: Access::READ.union(Access::WRITE),
        key: Key::WhenGiven,
        repeated: false,
        secret: false,
        effect,
        help,
    }
}

pub(super) const ROOT: &[Attribute] = &[
    kept(
        "max_tasklet_cmd",
        Value::Number(0, 65_535),
        "10",
        IN_KERNEL,
        "Commands of a session handled in an interrupt.",
    ),
    Attribute {
        effect: Effect::Works,
        ..kept(
            "setup_id",
            Value::Number(0, 0xffff_ffff),
            "0x0",
            IN_KERNEL,
            "Goes into the identification of devices that were not given one.",
        )
    },
];

pub(super) const HANDLER: &[Attribute] = &[];

pub(super) fn builtin() -> impl Iterator<Item = (tree::Key, Object)> {
    let handlers =
        ["vdisk_blockio", "vdisk_fileio", "vdisk_nullio"].map(|name| (Kind::Handler, name));
    let drivers = ["copy_manager", "iscsi"].map(|name| (Kind::Driver, name));
    handlers
        .into_iter()
        .chain(drivers)
        .filter_map(|(kind, name)| Some((tree::Key::new(kind, name).ok()?, Object::default())))
}
