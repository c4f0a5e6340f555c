//! The core of a SCSI target: what every transport and every device type share.
//!
//! ```text
//!  transport (iSCSI, SRP, yours)   services (reservations, ALUA, copy)   device handler (vdisk, yours)
//!      │ Source: sockets, PDUs            ▲ UnitService                    ▲ DeviceHandler: prepare, execute
//!      ▼                                  │ access words                   │
//!  ┌─ Shard (one thread) ──────────────────────────────────────────────┐
//!  │ LUN map → parse → unit attention → access → prepare → task set →  │
//!  │ data-out → gate → execute → data-in → respond         (pipeline/) │
//!  │ slab of commands · timers · buffers · mailbox                     │
//!  └───────────────────────────────────────────────────────────────────┘
//!      │ LogicalUnit: gate, unit attentions, access words, statistics (shared by all shards)
//!      ▼
//!  Offload: threads for what may block; a completion comes back by the mailbox
//! ```
//!
//! **Ownership.** A command lives in the slab of its shard and ends by one [`Event::Finished`]. Its buffer is owned
//! by whoever works on it: the transport while it receives, the handler while it executes, the transport again
//! while it sends. A session belongs to one shard; a logical unit to all of them.
//!
//! **Locks.** None is taken per command, but where a unit has one task set for all nexuses (TST 000b): for one step of
//! its rules; and one to count a command that did not end GOOD ([`measure`]). They nest so: the change of a target's LUN map → its sessions, or what a unit keeps of targets, shards and
//! nexuses; a service's own state → a unit's nexuses and their access words. All others are taken alone, for a few
//! instructions. Mail is posted under two of them: a target's sessions, and a unit's ranges, so that a shard hears of a
//! range's beginning before its end. No action of a closer and no service is called under a lock of the core.
//!
//! The crate owns no socket, no signal, no standard output, and no clock beyond `Instant::now` in a shard's own
//! thread: [`Shard::poll`] takes the time as an argument.

pub mod asc;
pub mod backend;
pub mod budget;
pub mod buffer;
pub mod cdb;
mod command;
pub mod copy;
pub mod deadline;
pub mod designator;
pub mod engine;
pub mod gate;
pub mod handler;
pub mod lu;
pub mod lun;
pub mod measure;
pub mod nexus;
pub mod offload;
pub mod pipeline;
pub mod quiet;
mod range;
pub mod sense;
pub mod service;
pub mod setting;
pub mod shard;
mod share;
mod spc;
pub mod stats;
pub mod status;
mod sync;
pub mod target;
pub mod task_set;
pub mod testing;
pub mod tmf;
pub mod transport_id;
pub mod ua;
pub mod units;

pub use deadline::Ladder;
pub use engine::{Engine, EngineBuilder, StartError};
pub use handler::{DeviceHandler, Execute, Execution, Outcome, Transfer};
pub use lu::LogicalUnit;
pub use service::UnitService;
pub use shard::{Event, Shard, ShardCx, Source};
pub use target::{Target, TargetBuilder};
