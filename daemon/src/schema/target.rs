//! Drivers, targets, groups and LUNs.

use std::sync::LazyLock;

use super::Preset::{Is, Live};
use super::Value::{Checked, Flag, Number, Text, Word};
use super::{Attribute, Preset, checks, iscsi, srp, table};

pub(super) const DRIVERS: [&str; 3] = [COPY_MANAGER, "ib_srpt", "iscsi"];
/// The driver of the copy manager.
pub const COPY_MANAGER: &str = "copy_manager";
/// Its one target, which is there from the start.
pub const COPY_MANAGER_TARGET: &str = "copy_manager_tgt";

/// The relative target port identifier.
pub const REL_TGT_ID: &str = "rel_tgt_id";

/// The mask of 256 processors.
const ALL_CPUS: &str = "ffffffff,ffffffff,ffffffff,ffffffff,ffffffff,ffffffff,ffffffff,ffffffff";

const ADDRESSING: &str = "LUNs are reported in the peripheral form up to 255 and in the flat form beyond, and understood in every form";
const THREADS: &str = "the shards serve all targets, there are no threads of a target";
const NO_HOLE: &str = "commands are always answered";
const FORWARDED: &str = "reservations are checked at every target";
const NO_EVENTS: &str = "changes are told by unit attentions, never by asynchronous events";
const IN_SIGHT: &str = "a copy reaches the LUNs of the session that asks for it, and no others";
pub(super) const TRACE: &str = "what is logged is said by the variable LUNFORGE_LOG";

/// What targets have, and groups too.
const SHARED: &[Attribute] = table! {
    "addr_method" [CRW kept(ADDRESSING)] Word(&["PERIPHERAL", "FLAT", "LUN"]), Is("PERIPHERAL"),
        "The form in which LUNs are reported.";
    "black_hole" [CRW kept(NO_HOLE)] Number(0, 4), Is("0"), "Which commands are lost on purpose, for tests.";
    "cpu_mask" [CRW kept(THREADS)] Checked(checks::cpu_mask), Is(ALL_CPUS), "Processors of the threads.";
    "io_grouping_type" [CRW kept(THREADS)] Checked(checks::io_grouping), Is("auto"),
        "Which initiators share I/O contexts.";
};

/// What every target has.
const TARGET: &[Attribute] = table! {
    "rel_tgt_id" [CRW] Number(0, 65_535), Is("0"),
        "Relative target port identifier; 0: the lowest that is free becomes it when the target is enabled.";
    "comment" [CRW] Text(256), Is(""), "What you like.";
    "aen_disabled" [CRW kept(NO_EVENTS)] Flag, Is("0"), "Whether asynchronous events are not sent.";
    "forward_dst" [CRW kept(FORWARDED)] Flag, Is("0"),
        "Whether the initiators are targets of another node that checked the reservations.";
    "forward_src" [CRW kept(FORWARDED)] Flag, Is("0"), "Whether commands are sent on to another node.";
    "forwarding" [CRW kept(FORWARDED)] Flag, Is("0"), "The old name of forward_dst.";
    "dif_capabilities" [R] Text(256), Live, "Protection information that the target can check.";
    "dif_checks_failed" [R] Text(256), Live, "Checks of protection information that failed.";
    "sg_tablesize" [R] Number(0, 1 << 31), Live, "Parts of a buffer.";
    "unknown_cmd_count" [R] Number(0, i64::MAX), Live, "Commands of unknown direction.";
    "read_cmd_count" [R] Number(0, i64::MAX), Live, "Commands that read.";
    "write_cmd_count" [R] Number(0, i64::MAX), Live, "Commands that write.";
    "bidi_cmd_count" [R] Number(0, i64::MAX), Live, "Commands that do both.";
    "none_cmd_count" [R] Number(0, i64::MAX), Live, "Commands without data.";
    "read_io_count_kb" [R] Number(0, i64::MAX), Live, "KiB read.";
    "write_io_count_kb" [R] Number(0, i64::MAX), Live, "KiB written.";
    "bidi_io_count_kb" [R] Number(0, i64::MAX), Live, "KiB of commands that do both.";
    "read_unaligned_cmd_count" [R] Number(0, i64::MAX), Live, "Commands that read what is not aligned to 4 KiB.";
    "write_unaligned_cmd_count" [R] Number(0, i64::MAX), Live, "Commands that write what is not aligned to 4 KiB.";
    "bidi_unaligned_cmd_count" [R] Number(0, i64::MAX), Live,
        "Commands that do both to what is not aligned to 4 KiB.";
};

/// What can be switched on and off.
pub(super) const ENABLED: &[Attribute] = table! {
    "enabled" [CRW always] Flag, Is("0"), "Whether initiators may log in.";
};

/// What drivers have.
pub(super) const DRIVER: &[Attribute] = table! {
    "trace_level" [RW kept(TRACE)] Text(256), Is("default"), "What is logged.";
    "version" [R] Text(256), Live, "The version of the driver.";
};

const COPIES: &[Attribute] = table! {
    "allow_not_connected_copy" [RW kept(IN_SIGHT)] Flag, Is("0"),
        "Whether copies reach devices that the asking initiator does not see.";
};

pub(super) const LUN: &[Attribute] = table! {
    "device" [CR always] Text(64), Preset::None, "The device.";
    "read_only" [CR] Flag, Is("0"), "Whether writes by this LUN are refused.";
};

type Table = LazyLock<Vec<Attribute>>;
static ISCSI_DRIVER: Table = LazyLock::new(|| [ENABLED, iscsi::DRIVER, DRIVER].concat());
static ISCSI_TARGET: Table =
    LazyLock::new(|| [ENABLED, TARGET, SHARED, iscsi::TARGET, iscsi::KEYS].concat());
static ISCSI_GROUP: Table = LazyLock::new(|| [SHARED, iscsi::GROUP].concat());
static SRP_DRIVER: Table = LazyLock::new(|| [srp::DRIVER, DRIVER].concat());
static SRP_TARGET: Table = LazyLock::new(|| [ENABLED, TARGET, SHARED, srp::TARGET].concat());
static COPY_TARGET: Table = LazyLock::new(|| [TARGET, SHARED].concat());
static COPY_DRIVER: Table = LazyLock::new(|| [COPIES, DRIVER].concat());

pub(super) fn driver(name: &str) -> &'static [Attribute] {
    match name {
        "iscsi" => &ISCSI_DRIVER,
        "ib_srpt" => &SRP_DRIVER,
        COPY_MANAGER => &COPY_DRIVER,
        _ => DRIVER,
    }
}

pub(super) fn target(driver: &str) -> &'static [Attribute] {
    match driver {
        "iscsi" => &ISCSI_TARGET,
        "ib_srpt" => &SRP_TARGET,
        _ => &COPY_TARGET,
    }
}

pub(super) fn group(driver: &str) -> &'static [Attribute] {
    if driver == "iscsi" {
        &ISCSI_GROUP
    } else {
        SHARED
    }
}
