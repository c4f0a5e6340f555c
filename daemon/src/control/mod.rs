//! The control socket: a Unix socket on which a running target is asked and changed.
//!
//! Lines of JSON in both directions, one request and one answer each, in order. [`protocol`] has the calls.
//!
//! ```text
//!   Client ── Endpoint ── Server ── Answers: Managed ─┬─ changes: one at a time ──► Manager<Machine>
//!             (socket)   (threads)                    ├─ questions ──► a copy of the model, and Observe
//!                                                     └─ save ──► ConfigFile
//! ```

pub mod endpoint;
pub mod line;
pub mod protocol;
pub mod report;

mod client;
mod dialect;
mod file;
mod managed;
mod observe;
pub mod paper;
mod server;
mod stream;

pub use client::{Client, ClientError};
pub use dialect::{Dialect, Live, ScstConf, Wrong};
pub use endpoint::{Endpoint, EndpointError, Owner, default_path, path_to_ask};
pub use file::{ConfigFile, FileError, Staged};
pub use managed::Managed;
pub use observe::Observe;
pub use server::{Answers, Server, Settings};
