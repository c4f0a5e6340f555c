//! The root, the handlers, and what is there from the start.

use super::Preset::{Is, Live};
use super::Value::{Flag, Hex, Number, Text};
use super::target::{COPY_MANAGER, COPY_MANAGER_TARGET, DRIVERS, TRACE};
use super::{Attribute, device, table};
use crate::tree::{self, Kind, Object};

const IN_KERNEL: &str = "it tunes threads and memory of the kernel";
const NO_STANDSTILL: &str = "changes are made while commands run";
const AT_ONCE: &str = "a LUN that was replaced is let go as soon as its commands have ended";

pub(super) const ROOT: &[Attribute] = table! {
    "async_lun_replace" [RW kept(AT_ONCE)] Flag, Is("0"), "Whether LUNs that were replaced are freed later.";
    "cluster_name" [RW] Text(64), Is(""), "The cluster in which devices with cluster_mode are shared.";
    "force_global_sgv_pool" [RW kept(IN_KERNEL)] Flag, Is("0"), "Whether one pool of buffers serves all processors.";
    "last_sysfs_mgmt_res" [R] Number(-4095, 0), Is("0"),
        "The result of the last change; all are answered at once here.";
    "max_tasklet_cmd" [RW kept(IN_KERNEL)] Number(0, 65_535), Is("10"),
        "Commands of a session handled in an interrupt.";
    "measure_latency" [RW] Flag, Is("0"),
        "Whether the times of commands (--metrics) are those of a clock that each of them reads, instead of those of turns.";
    "poll_us" [RW kept(IN_KERNEL)] Number(0, 1_000_000), Is("0"), "Microseconds for which threads poll.";
    "setup_id" [RW] Hex(0xffff_ffff), Is("0x0"), "Goes into the identification of devices that were not given one.";
    "suspend" [RW kept(NO_STANDSTILL)] Number(-1, 86_400), Is("0"), "Whether all commands are held back.";
    "threads" [RW kept(IN_KERNEL)] Number(1, 65_535), Live, "Threads that all devices share.";
    "trace_cmds" [R] Text(4096), Live, "The commands under way.";
    "trace_level" [RW kept(TRACE)] Text(256), Is("default"), "What is logged.";
    "trace_mcmds" [R] Text(4096), Live, "The task management functions under way.";
    "version" [R] Text(4096), Live, "The version of the program.";
};

pub(super) const HANDLER: &[Attribute] = table! {
    "trace_level" [RW kept(TRACE)] Text(256), Is("default"), "What is logged.";
    "type" [R] Text(64), Live, "The SCSI device type, as number and in words.";
};

pub(super) fn builtin() -> impl Iterator<Item = (tree::Key, Object)> {
    let handlers = device::HANDLERS.map(|name| (Kind::Handler, name));
    let drivers = DRIVERS.map(|name| (Kind::Driver, name));
    handlers
        .into_iter()
        .chain(drivers)
        .filter_map(|(kind, name)| {
            let mut object = Object::default();
            if (kind, name) == (Kind::Driver, COPY_MANAGER) {
                let target = tree::Key::new(Kind::Target, COPY_MANAGER_TARGET).ok()?;
                object.insert(target, Object::default());
            }
            Some((tree::Key::new(kind, name).ok()?, object))
        })
}
