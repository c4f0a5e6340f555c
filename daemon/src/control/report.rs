//! What the running target tells of itself: lists for people and programs.
//!
//! Times are in seconds where not said, sizes in bytes, counters since the object was made.

use serde::{Deserialize, Serialize};

/// A session of an initiator with a target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its number among those of its driver in this process.
    pub id: u64,
    /// The driver of its target.
    pub driver: String,
    /// The target.
    pub target: String,
    /// The initiator's name.
    pub initiator: String,
    /// The name that the session has in SCST's sysfs: the initiator's, with a number where it has several.
    pub name: String,
    /// The initiator group, if it is in one.
    pub group: Option<String>,
    /// Address and port of the initiator.
    pub peer: String,
    /// Address and port at which it came in.
    pub portal: String,
    /// Seconds since its login.
    pub age: u64,
    /// Commands now under way.
    pub active_commands: u64,
    /// Commands that it sent.
    pub commands: u64,
    /// Bytes read and written.
    pub read_bytes: u64,
    /// See there.
    pub write_bytes: u64,
    /// What was agreed at its login, by RFC 7143's keys and others of the transport.
    pub parameters: Vec<(String, String)>,
}

/// A device and what it does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its handler.
    pub handler: String,
    /// The file or device behind it.
    pub filename: Option<String>,
    /// Bytes; `None` while it is not open.
    pub size: Option<u64>,
    /// Bytes of a block.
    pub block_size: u32,
    /// Whether its file is open.
    pub active: bool,
    /// Whether its backend does not answer.
    pub dead: bool,
    /// Age of its oldest command that its backend has, in milliseconds.
    pub oldest_ms: u64,
    /// LUNs that it is.
    pub luns: Vec<String>,
    /// Its access state here, if it is in a device group.
    pub access_state: Option<String>,
    /// Commands by what they do.
    pub reads: u64,
    /// See there.
    pub writes: u64,
    /// See there.
    pub others: u64,
    /// Bytes read and written.
    pub read_bytes: u64,
    /// See there.
    pub write_bytes: u64,
    /// How long its commands took.
    #[serde(default)]
    pub latency: Latency,
}

/// How long commands took, from their arrival until their end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub commands: u64,
    /// The sum of their times in microseconds.
    pub sum_us: u64,
    /// Bounds in microseconds, ascending, each with how many commands took not longer and longer than the bound half as
    /// great, where there are any. Who took longer than the greatest of all bounds is in none.
    pub up_to_us: Vec<(u64, u64)>,
}

/// A target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Its driver.
    pub driver: String,
    /// Its name.
    pub name: String,
    /// Whether initiators may log in.
    pub enabled: bool,
    /// Its relative target port identifier.
    pub rel_tgt_id: u16,
    /// Sessions now.
    pub sessions: u64,
    /// LUNs of its own, and those of each group.
    pub luns: u64,
    /// Initiator groups.
    pub groups: Vec<String>,
    /// Addresses at which initiators find it.
    pub portals: Vec<String>,
}

/// The reservation of a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    /// The device.
    pub device: String,
    /// PRGENERATION.
    pub generation: u32,
    /// The type in SPC's words, if there is a persistent reservation; `SPC-2` if there is one of that kind.
    pub kind: Option<String>,
    /// The holders, as initiator port and relative target port.
    pub holders: Vec<String>,
    /// All registrants: initiator port, relative target port, key in hexadecimal.
    pub registrants: Vec<(String, u16, String)>,
    /// Whether it outlives a power cut (APTPL).
    pub aptpl: bool,
}

/// The whole at a glance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Seconds since its start.
    pub uptime: u64,
    /// The file that it begins with.
    #[serde(default)]
    pub config: Option<String>,
    /// Whether something has changed since that was applied or saved.
    #[serde(default)]
    pub unsaved: bool,
    /// Portals on which it listens.
    pub portals: Vec<String>,
    /// Addresses at which it is found by SRP.
    #[serde(default)]
    pub srp_portals: Vec<String>,
    /// How many of each there are.
    pub targets: u64,
    /// See there.
    pub enabled_targets: u64,
    /// See there.
    pub devices: u64,
    /// See there.
    pub luns: u64,
    /// See there.
    pub sessions: u64,
    /// Devices that should be looked at, each with why.
    pub troubles: Vec<String>,
    /// Commands and bytes of all devices.
    pub commands: u64,
    /// See there.
    pub read_bytes: u64,
    /// See there.
    pub write_bytes: u64,
    /// Bytes of buffers in use.
    pub buffers: u64,
}
