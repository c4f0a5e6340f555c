//! What the running target counts, for Prometheus and whoever reads its text format.
//!
//! ```text
//!   GET /metrics ── Server (a thread for each of a few connections) ── source() ─► Snapshot ── render ─► text
//! ```
//!
//! A snapshot is taken for each request: it looks at counters that are there anyway, and asks each shard once. Metrics are
//! named `lunforge_*`, times are in seconds and sizes in bytes. Counters begin with the object that they are of.

mod exposition;
mod iscsi;
mod render;
mod server;
mod snapshot;
mod srp;

pub use render::render;
pub use server::{Bounds, Server};
pub(crate) use snapshot::ask_all;
pub use snapshot::{Device, Shard, Snapshot, Srp, Transport};
