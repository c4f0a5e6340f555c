//! Load generator for iSCSI targets, and the initiator it is made of.
//!
//! ```text
//!  initiator/  pdu ─ login ─ session   sans-IO: framing, negotiation, sequence rules
//!              connection ─ blocking   one session for tests and tools
//!  load/       link ─ worker ─ report  many sessions per thread, non-blocking
//!  replay/     capture ─ stream ─ run  recorded sessions, once more
//!  compare, idle, logins, copy, ceiling measurements made of runs and sessions
//!  abuse/      attacks on a running target, judged by what a good session and /proc say
//!  durable, disk, dm_log                what a power cut leaves of acknowledged writes, and the disks that lose power
//! ```
//!
//! A session belongs to one thread. Threads share nothing but read-only payload.

pub mod abuse;
pub mod ceiling;
pub mod compare;
pub mod copy;
pub mod disk;
pub mod dm_log;
pub mod durable;
pub mod histogram;
pub mod idle;
pub mod initiator;
pub mod json;
pub mod load;
pub mod logins;
pub mod parse;
pub mod pin;
pub mod probe;
pub mod procfs;
mod random;
pub mod replay;
