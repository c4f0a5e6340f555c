//! Rules between attributes, and between objects and their attributes.

use lunforge::core::transport_id::IscsiName;

use crate::schema;
use crate::tree::{Attributes, Kind, Path, Tree};

use super::accept::{family, not_settable};
use super::{Refusal, values};

/// Longest name of a device in bytes, as in SCST.
const MAX_DEVICE: usize = 64;
/// Longest name of iSCSI in bytes (RFC 7143 4.2.7.1).
const MAX_ISCSI: usize = 223;
/// By these a cluster and a file know a device: they stay while it is in the cluster.
const OF_CLUSTER: [&str; 2] = ["pr_file_name", "t10_dev_id"];
/// Once they are told, initiators know the device by them.
const OF_SETUP_ID: [&str; 2] = ["usn", "t10_dev_id"];

/// That others take a name: it is not longer than they have it, and of the characters that they have.
pub(crate) fn name(path: &Path) -> Result<(), Refusal> {
    let most = match path.kind() {
        Kind::Device => MAX_DEVICE,
        Kind::Target if path.name_of(Kind::Driver) == Some("iscsi") => MAX_ISCSI,
        _ => return Ok(()),
    };
    if path.name().len() > most {
        return Err(Refusal::LongName(path.kind().one(), most));
    }
    match path.name().chars().find(|c| !in_iscsi_name(*c)) {
        Some(found) if path.kind() == Kind::Target => Err(Refusal::IscsiName(found)),
        _ => Ok(()),
    }
}

/// Whether names of iSCSI have a character, once it is in lower case (RFC 3722 4, 6.1).
///
/// DEVIATION: `_` is in none, and in many.
fn in_iscsi_name(c: char) -> bool {
    match c {
        c if c.is_ascii() => c.is_ascii_alphanumeric() || "-.:_".contains(c),
        c => IscsiName::new(c.encode_utf8(&mut [0; 4])).is_ok(),
    }
}

/// Whether an attribute may be set now.
pub(super) fn set(tree: &Tree, path: &Path, name: &str, in_use: bool) -> Result<(), Refusal> {
    match path.kind() {
        Kind::Device if OF_CLUSTER.contains(&name) => {
            if flag(tree, path, "cluster_mode") {
                return Err(not_settable(name, "set while cluster_mode is 1"));
            }
            if name == "pr_file_name" && in_use {
                return Err(not_settable(name, "set while the device is a LUN"));
            }
            Ok(())
        }
        Kind::Root if name == "setup_id" => match follower(tree) {
            Some(device) => Err(not_settable(
                name,
                format!("set while the identification of devices/{device} follows from it"),
            )),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Whether a device may be opened anew with these attributes.
pub(super) fn reopen(tree: &Tree, path: &Path, attributes: &Attributes) -> Result<(), Refusal> {
    let clustered = |value: Option<&str>| value == Some("1");
    let before = tree.get(path);
    let first = |name: &str| attributes.get(name)?.first().map(String::as_str);
    if !clustered(before.and_then(|device| device.first("cluster_mode")))
        || !clustered(first("cluster_mode"))
    {
        return Ok(());
    }
    for name in OF_CLUSTER {
        if before.and_then(|device| device.first(name)) != first(name) {
            return Err(not_settable(name, "set while cluster_mode is 1"));
        }
    }
    Ok(())
}

/// A device whose identification follows from the root's setup_id.
fn follower(tree: &Tree) -> Option<&str> {
    let given = |name: &&str, attributes: &Attributes| attributes.contains_key(*name);
    tree.root()
        .of(Kind::Device)
        .find(|(_, device)| {
            !OF_SETUP_ID
                .iter()
                .all(|name| given(name, &device.attributes))
        })
        .map(|(key, _)| key.name())
}

/// Whether the attributes of an object go together. Asked when all changes of a run are made, so that they may come in
/// any order.
pub(super) fn together(tree: &Tree, path: &Path) -> Result<(), Refusal> {
    let why = match path.kind() {
        Kind::Device => disk(tree, path),
        Kind::Target => bursts(tree, path).or_else(|| secrets(tree, path)),
        Kind::Driver => secrets(tree, path),
        _ => None,
    };
    match why {
        Some(why) => Err(Refusal::Together {
            path: path.clone(),
            why,
        }),
        None => Ok(()),
    }
}

fn disk(tree: &Tree, path: &Path) -> Option<String> {
    if flag(tree, path, "write_through") && flag(tree, path, "read_only") {
        return Some("write_through and read_only exclude each other".to_owned());
    }
    let number = |name: &str| first(tree, path, name)?.parse::<u64>().ok();
    let (size, block) = (number("size")?, number("blocksize")?);
    let whole = size > 0 && size.checked_rem(block) == Some(0);
    (!whole).then(|| format!("size {size} is not a positive multiple of blocksize {block}"))
}

fn bursts(tree: &Tree, path: &Path) -> Option<String> {
    let number = |name: &str| first(tree, path, name)?.parse::<u64>().ok();
    let (unasked, most) = (number("FirstBurstLength")?, number("MaxBurstLength")?);
    (unasked > most)
        .then(|| format!("FirstBurstLength {unasked} must not exceed MaxBurstLength {most}"))
}

/// With one secret for both ways an initiator could send the target's own answer back to it (RFC 7143 9.2.1).
fn secrets(tree: &Tree, path: &Path) -> Option<String> {
    let object = tree.get(path)?;
    let accounts = |name: &str| {
        let values = object.attributes.get(name).into_iter().flatten();
        values.filter_map(|value| value.split_once(' '))
    };
    let (_, outgoing) = accounts("OutgoingUser").next()?;
    let (user, _) = accounts("IncomingUser").find(|(_, incoming)| *incoming == outgoing)?;
    Some(format!(
        "the secret of OutgoingUser must differ from that of IncomingUser {user:?}"
    ))
}

fn flag(tree: &Tree, path: &Path, name: &str) -> bool {
    first(tree, path, name).as_deref() == Some("1")
}

fn first(tree: &Tree, path: &Path, name: &str) -> Option<String> {
    let family = family(path, &tree.get(path)?.attributes);
    let definition = schema::find(path.kind(), family, name)?;
    values(tree, path, definition)?.into_iter().next()
}
