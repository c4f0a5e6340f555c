//! iSCSI (RFC 7143): a sans-IO protocol engine in [`proto`] and a thin socket layer in [`io`].
//!
//! ```text
//!   socket bytes ──► io::connection ──staged bytes──► proto ──events──► io ──► core shard
//!        ▲                │  (payload straight into the I/O buffer)     ▲            │
//!        └── one sendmsg ─┴──────── header + payload iovecs ◄─ answers ─┴────────────┘
//! ```
//!
//! Ownership: a connection and its session belong to one shard; nothing in `proto` locks, reads a clock or touches a
//! socket. What shards share is in `io`: the session registry and the catalogue of targets,
//! each behind a lock that is taken at login, logout and discovery, and by whoever changes the running transport.

pub mod io;
pub mod proto;
pub mod record;

pub use io::{
    AttachError, BindError, ChangeError, IscsiAttachment, IscsiBuilder, IscsiTransport, Redirect,
    TargetSettings,
};
pub use proto::chap::{ChapAccount, ChapConfig};
pub use proto::keys::{DigestChoice, TargetParams};
pub use proto::login::{Access, AuthConfig};
pub use record::{DataKept, Recording};
