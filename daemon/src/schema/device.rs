//! Devices.

use super::{Access, Attribute, Effect, Key, Preset, Value};
use crate::tree::{Path, Tree};

/// An attribute that does what it says, is given once, and is saved when it is not the default.
const fn given(name: &'static str, value: Value, preset: Preset, help: &'static str) -> Attribute {
    Attribute {
        name,
        value,
        preset,
        access: Access::CREATE.union(Access::READ),
        key: Key::WhenGiven,
        repeated: false,
        secret: false,
        effect: Effect::Works,
        help,
    }
}

const HANDLER: Attribute = Attribute {
    key: Key::Always,
    ..given(
        "handler",
        Value::Text(64),
        Preset::None,
        "The device handler.",
    )
};
const FILENAME: Attribute = Attribute {
    key: Key::Always,
    ..given(
        "filename",
        Value::Path,
        Preset::None,
        "The file or block device.",
    )
};
const NV_CACHE: Attribute = given(
    "nv_cache",
    Value::Flag,
    Preset::Is("0"),
    "The cache survives a power cut: flushes do nothing.",
);
const USN: Attribute = Attribute {
    access: Access::READ.union(Access::WRITE).union(Access::CREATE),
    ..given(
        "usn",
        Value::Text(20),
        Preset::Follows(hash_of_name),
        "Unit serial number.",
    )
};

const FILEIO: &[Attribute] = &[HANDLER, FILENAME, NV_CACHE, USN];
const NULLIO: &[Attribute] = &[HANDLER, USN];

pub(super) fn attributes(handler: &str) -> &'static [Attribute] {
    match handler {
        "vdisk_fileio" | "vdisk_blockio" => FILEIO,
        "vdisk_nullio" => NULLIO,
        _ => &[HANDLER],
    }
}

/// What SCST makes of a device's name and the root's setup_id, so that a move from there keeps the identification: the
/// CRC-32C of the name with its NUL, from zero and not inverted.
fn hash_of_name(tree: &Tree, path: &Path) -> String {
    let setup_id = tree
        .root()
        .first("setup_id")
        .and_then(super::value::number)
        .unwrap_or(0);
    let crc = path.name().bytes().chain([0]).fold(0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    });
    format!("{:x}", (setup_id as u64) << 32 | u64::from(crc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identification_of_a_name_is_that_of_scst() {
        let path = Path::device("vg1").unwrap();
        assert_eq!(hash_of_name(&Tree::default(), &path), "509f7d73");
    }
}
