//! iSCSI (RFC 7143): a sans-IO protocol engine in [`proto`] and a thin socket layer in [`io`].
//!
//! ```text
//!   socket bytes ──► io::connection ──staged bytes──► proto ──events──► io ──► core shard
//!        ▲                │  (payload straight into the I/O buffer)     ▲            │
//!        └── one sendmsg ─┴──────── header + payload iovecs ◄─ answers ─┴────────────┘
//! ```
//!
//! Ownership: a connection and its session belong to one shard; nothing in `proto` locks, reads a clock or touches a
//! socket. The only structure shared between shards is the session registry of `io`, behind one mutex that is taken at
//! login and logout only.

pub mod io;
pub mod proto;
pub mod record;

pub use io::{AttachError, BindError, IscsiAttachment, IscsiBuilder, IscsiTransport};
pub use proto::chap::{ChapAccount, ChapConfig};
pub use proto::keys::{DigestChoice, TargetParams};
pub use proto::login::{Access, AuthConfig};
pub use record::{DataKept, Recording};
