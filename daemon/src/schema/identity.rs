//! By what initiators know a device. What was not given follows from its name, as in SCST, so that a move from there
//! keeps the identification.

use super::Preset::{Follows, Is};
use super::Value::{Ascii, Checked, Text};
use super::{Attribute, checks, table, value};
use crate::tree::{Path, Tree};

/// Longest T10 VENDOR ID based identification that SCST makes.
const MAX_T10_DEV_ID: usize = 25;
/// PRODUCT IDENTIFICATION.
const MAX_PROD_ID: usize = 16;

pub(super) const IDENTITY: &[Attribute] = table! {
    "t10_dev_id" [CRW] Ascii(MAX_T10_DEV_ID), Follows(t10_dev_id),
        "Identification in VPD page 83h, behind the vendor's; with cluster_mode, the name of the cluster's lockspace.";
    "usn" [CRW] Ascii(20), Follows(hash_of_name), "Unit serial number (VPD page 80h).";
    "prod_id" [CRW] Ascii(MAX_PROD_ID), Follows(prod_id),
        "Product identification; ESXi copies between devices where it is the same.";
    "prod_rev_lvl" [CRW] Ascii(4), Follows(|_, _| Some("0100".to_owned())), "Product revision level.";
    "vend_specific_id" [CRW] Text(128), Follows(vend_specific_id), "Vendor specific identification in VPD page 83h; nothing: none.";
    "inq_vend_specific" [CRW] Text(112), Is(""), "Vendor specific bytes of the standard INQUIRY data.";
    "scsi_device_name" [CRW] Text(256), Is(""), "SCSI name string in VPD page 83h.";
    "naa_id" [CRW] Checked(checks::naa), Is(""), "NAA identification in VPD page 83h: 8 or 16 bytes in hexadecimal.";
    "eui64_id" [CRW] Checked(checks::eui64), Is(""),
        "EUI-64 based identification in VPD page 83h: 8, 12 or 16 bytes in hexadecimal.";
};

/// The vendor of what SCST keeps in files.
pub(super) const FILE_VENDOR: &[Attribute] = table! {
    "t10_vend_id" [CRW] Ascii(8), Follows(|_, _| Some("SCST_FIO".to_owned())), "T10 vendor identification.";
};
/// The vendor of what SCST keeps on block devices.
pub(super) const BLOCK_VENDOR: &[Attribute] = table! {
    "t10_vend_id" [CRW] Ascii(8), Follows(|_, _| Some("SCST_BIO".to_owned())), "T10 vendor identification.";
};

/// What SCST makes of a device's name and the root's setup_id: the CRC-32C of the name with its NUL, from zero and not
/// inverted.
fn hash_of_name(tree: &Tree, path: &Path) -> Option<String> {
    let setup_id = tree.root().first("setup_id").and_then(value::number);
    let setup_id = setup_id.and_then(|id| u64::try_from(id).ok()).unwrap_or(0);
    let crc = path.name().bytes().chain([0]).fold(0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    });
    Some(format!("{:x}", (setup_id << 32) | u64::from(crc)))
}

fn t10_dev_id(tree: &Tree, path: &Path) -> Option<String> {
    let id = format!("{}-{}", hash_of_name(tree, path)?, path.name());
    Some(ascii(&id, MAX_T10_DEV_ID))
}

fn vend_specific_id(tree: &Tree, path: &Path) -> Option<String> {
    let given = tree.get(path)?.first("t10_dev_id");
    given.map(str::to_owned).or_else(|| t10_dev_id(tree, path))
}

fn prod_id(_: &Tree, path: &Path) -> Option<String> {
    Some(ascii(path.name(), MAX_PROD_ID))
}

/// The beginning of a text, as INQUIRY data can have it.
fn ascii(text: &str, most: usize) -> String {
    let printable = |c: char| if (' '..='~').contains(&c) { c } else { '_' };
    text.chars().map(printable).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identification_of_a_name_is_that_of_scst() {
        let path = Path::device("vg1").unwrap();
        let tree = Tree::default();
        assert_eq!(hash_of_name(&tree, &path).unwrap(), "509f7d73");
        assert_eq!(t10_dev_id(&tree, &path).unwrap(), "509f7d73-vg1");
        assert_eq!(prod_id(&tree, &path).unwrap(), "vg1");
    }

    #[test]
    fn a_long_name_is_cut_to_what_its_field_holds() {
        let path = Path::device("a-device-with-quite-a-long-näme").unwrap();
        let tree = Tree::default();
        assert_eq!(t10_dev_id(&tree, &path).unwrap().len(), MAX_T10_DEV_ID);
        assert_eq!(prod_id(&tree, &path).unwrap(), "a-device-with-qu");
        assert!(
            t10_dev_id(&tree, &Path::device("nä").unwrap())
                .unwrap()
                .ends_with("-n_")
        );
    }
}
