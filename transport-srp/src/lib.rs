//! SCSI RDMA Protocol (SRP revision 16a): a sans-IO protocol in [`proto`], a seam for RDMA fabrics in [`fabric`], rdma-core
//! behind it in [`verbs`], and a thin layer that joins protocol and fabric to the core in [`io`].
//!
//! ```text
//!   fabric ──requests──► io::listener ──► io::channel ──information units──► proto ──events──► io ──► core shard
//!     ▲                                       │                                                ▲          │
//!     │                                       └──────────── responses, credits ◄───────────────┴──────────┘
//!     └── reads and writes between the initiator's memory and the I/O buffer
//! ```
//!
//! Ownership: all channels of a session belong to the shard of its first, on which they share one I_T nexus and the table
//! of tags in use. A buffer that the fabric works on belongs to the fabric until its completion. What shards share is in
//! `io`: the registry of sessions and the targets by port, each behind a lock that is taken at login, logout and at the end
//! of a task management function, and by whoever changes the running transport.

pub mod fabric;
pub mod io;
pub mod proto;
#[cfg(feature = "testing")]
pub mod testing;
pub mod verbs;

pub use io::{AttachError, ChangeError, SrpAttachment, SrpTransport};
pub use proto::port::PortId;
