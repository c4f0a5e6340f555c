//! Devices.

use std::sync::LazyLock;

use super::Preset::{Follows, Is, Live};
use super::Value::{Bytes, Checked, Flag, Number, Path as AbsolutePath, Text, Word};
use super::identity::{BLOCK_VENDOR, FILE_VENDOR, IDENTITY};
use super::{Attribute, Preset, checks, table, value};
use crate::tree::{Path, Tree};

pub(super) const HANDLERS: [&str; 4] = ["vcdrom", "vdisk_blockio", "vdisk_fileio", "vdisk_nullio"];

const UNSET: Preset = Preset::None;
const MIB: u64 = 1 << 20;
/// What SCST gives a null device: 2.5 TiB.
const NULL_SIZE: &str = "2748779069440";

const THREADS: &str = "the shards serve all devices, there are no threads of a device";
const DEPTH: &str = "the commands of a session are bounded by QueuedCommands";
const ENGINE: &str = "how files are read and written is found by itself";
const ZEROES: &str = "such a device always reads zeroes";
const NO_PROTECTION: &str = "there is no protection information";

/// What every device has.
const DEVICE: &[Attribute] = table! {
    "handler" [CR always] Text(64), UNSET, "The device handler.";
    "type" [R] Text(64), Live, "The SCSI device type, as number and in words.";
    "block" [RT] Checked(checks::block), Live,
        "Writing 1 waits for the commands that run and holds all others back, 0 lets them go on.";
    "dump_prs" [T] Text(64), UNSET, "Writes the reservations to the log.";
    "pr_file_name" [CRW] AbsolutePath, Follows(pr_file_name),
        "The file in which persistent reservations outlive a power cut (APTPL).";
    "pr_state" [R] Text(4096), Live, "The reservations in words.";
    "max_tgt_dev_commands" [CRW kept(DEPTH)] Number(1, 65_535), Is("64"),
        "Most commands of a session for the device.";
    "numa_node_id" [CRW kept(THREADS)] Number(-1, 1023), Is("-1"), "The node of the device's threads; -1: any.";
    "threads_pool_type" [CRW kept(THREADS)] Word(&["per_initiator", "shared"]), Is("per_initiator"),
        "Whether initiators share the device's threads.";
};
const ONE_THREAD: &[Attribute] = table! {
    "threads_num" [CRW kept(THREADS)] Number(-1, 65_535), Is("1"), "How many threads the device has.";
};
const EIGHT_THREADS: &[Attribute] = table! {
    "threads_num" [CRW kept(THREADS)] Number(-1, 65_535), Is("8"), "How many threads the device has.";
};

/// What every disk has.
const DISK: &[Attribute] = table! {
    "blocksize" [CR] Checked(checks::block_size), Is("512"), "Bytes of a logical block: a power of two.";
    "cluster_mode" [CRW] Flag, Is("0"), "Whether the nodes of the cluster share the device's reservations.";
    "dif_mode" [CR] Word(&["none"]), Is("none"), "Where protection information is checked; there is none here.";
    "dif_type" [CR] Number(0, 0), Is("0"), "Type of protection information; there is none here.";
    "dif_static_app_tag" [CRW kept(NO_PROTECTION)] Text(32), Is("0"), "The application tag of all blocks.";
    "dif_filename" [CR kept(NO_PROTECTION)] Checked(checks::medium), Is(""),
        "The file of the protection information.";
    "lb_per_pb_exp" [CRW] Flag, Is("1"), "Whether the size of a physical block is told.";
    "read_only" [CR] Flag, Is("0"), "Whether all writes are refused.";
    "removable" [CR] Flag, Is("0"), "Whether the medium can be ejected.";
    "rotational" [CR] Flag, Is("1"), "Whether the medium is said to rotate (VPD page B1h).";
    "tst" [CR] Number(0, 1), Is("1"), "Whether each initiator has a task set of its own (1) or all share one (0).";
};

/// What disks over a file or a block device have.
const BACKED: &[Attribute] = table! {
    "filename" [CRW always] AbsolutePath, UNSET, "The file or block device; another one is a change of medium.";
    "active" [CRW] Flag, Is("1"), "Whether the file is open here; 0 closes it, as a node that stands by does.";
    "expl_alua" [CRW] Flag, Is("0"), "Whether initiators may change access states (SET TARGET PORT GROUPS).";
    "nv_cache" [CR] Flag, Is("0"),
        "The cache below survives a power cut: flushes do nothing. Where that is not so, data is lost.";
    "write_through" [CR] Flag, Is("0"), "Whether each write is on the medium before it is answered.";
    "size" [CRW] Bytes, Live,
        "Bytes; given, a missing or shorter file is made so long (not in SCST), and of a longer one the beginning is used.";
    "size_mb" [CRW] Number(0, i64::MAX >> 20), Follows(size_mb), "The size in MiB, another way to say it.";
    "resync_size" [T] Text(64), UNSET, "Reads the size of the file again, and tells initiators.";
    "sync" [T] Text(64), UNSET, "Makes all writes stable.";
    "gen_tp_soft_threshold_reached_UA" [T] Text(64), UNSET,
        "Tells initiators that little space is left (THIN PROVISIONING SOFT THRESHOLD REACHED).";
};

const FILEIO: &[Attribute] = table! {
    "async" [CRW kept(ENGINE)] Flag, Is("0"), "Whether I/O is asynchronous.";
    "o_direct" [CR] Flag, Is("0"), "Whether I/O bypasses the page cache.";
    "bind_alua_state" [CRW] Flag, Is("0"), "Whether the file is closed while the access state here is none for I/O.";
    "thin_provisioned" [CR] Flag, Is("0"), "Whether initiators may unmap blocks.";
    "opt_trans_len" [CRW] Number(512, 1 << 31), Is("524288"), "Bytes that are best transferred at once.";
};

const BLOCKIO: &[Attribute] = table! {
    "bind_alua_state" [CRW] Flag, Is("1"),
        "Whether the device is closed while the access state here is none for I/O.";
    "thin_provisioned" [CR] Flag, Live,
        "Whether initiators may unmap blocks; when not given, whether the device can discard.";
    "opt_trans_len" [CRW] Number(512, 1 << 31), Live,
        "Bytes that are best transferred at once; when not given, the device says it.";
};

const NULLIO: &[Attribute] = table! {
    "dummy" [CR] Flag, Is("0"), "Whether there is only a place without a device (PERIPHERAL QUALIFIER 001b).";
    "read_zero" [CRW kept(ZEROES)] Flag, Is("0"), "Whether zeroes are read.";
    "size" [CRW] Bytes, Is(NULL_SIZE), "Bytes.";
    "size_mb" [CRW] Number(0, i64::MAX >> 20), Follows(size_mb), "The size in MiB, another way to say it.";
};

const VCDROM: &[Attribute] = table! {
    "filename" [CRW always] Checked(checks::medium), Is(""),
        "The image; nothing: no medium is in. Setting it ejects and loads, also while an initiator prevents removal.";
    "size" [R] Bytes, Live, "Bytes of the medium; 0: none is in.";
    "size_mb" [R] Number(0, i64::MAX >> 20), Live, "The same in MiB.";
    "tst" [CR] Number(0, 1), Is("1"), "Whether each initiator has a task set of its own (1) or all share one (0).";
};

type Table = LazyLock<Vec<Attribute>>;
static FILE_DISK: Table = LazyLock::new(|| {
    [
        DEVICE,
        EIGHT_THREADS,
        DISK,
        BACKED,
        FILEIO,
        FILE_VENDOR,
        IDENTITY,
    ]
    .concat()
});
static BLOCK_DISK: Table = LazyLock::new(|| {
    [
        DEVICE,
        ONE_THREAD,
        DISK,
        BACKED,
        BLOCKIO,
        BLOCK_VENDOR,
        IDENTITY,
    ]
    .concat()
});
static NULL_DISK: Table =
    LazyLock::new(|| [DEVICE, ONE_THREAD, DISK, NULLIO, FILE_VENDOR, IDENTITY].concat());
static CDROM: Table =
    LazyLock::new(|| [DEVICE, EIGHT_THREADS, VCDROM, FILE_VENDOR, IDENTITY].concat());

pub(super) fn attributes(handler: &str) -> &'static [Attribute] {
    match handler {
        "vdisk_fileio" => &FILE_DISK,
        "vdisk_blockio" => &BLOCK_DISK,
        "vdisk_nullio" => &NULL_DISK,
        "vcdrom" => &CDROM,
        // A handler that there is not: the device is refused for that, not for its attributes.
        _ => DEVICE,
    }
}

fn pr_file_name(_: &Tree, path: &Path) -> Option<String> {
    Some(format!("/var/lib/scst/pr/{}", path.name()))
}

fn size_mb(tree: &Tree, path: &Path) -> Option<String> {
    let device = tree.get(path)?;
    let preset = match device.first("handler") {
        Some("vdisk_nullio") => Some(NULL_SIZE),
        _ => None,
    };
    let size = device.first("size").or(preset).and_then(value::bytes)?;
    Some((size / MIB).to_string())
}
