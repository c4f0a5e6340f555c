//! What an scst.conf means: a syntax tree becomes a [`Tree`](crate::tree::Tree) of objects, and a model a syntax tree.
//!
//! ```text
//!   text ─ conf::parse ─► Document ─ read ─► Tree ─ manage::plan ─► changes
//!   text ◄ conf::print ── Document ◄ write ── Model
//! ```
//!
//! A configuration says what there shall be, and does nothing. What only changes of a running target can show, such as
//! two targets of one identifier, its changes show.

mod error;
mod ports;
mod read;
mod shared;
mod write;

pub use error::Error;
pub use ports::with_ports;
pub use read::{load, read};
pub use shared::shared_file;
pub use write::write;

/// The comment above attributes that a configuration need not have. scstadmin writes it, and so do we.
const NON_KEY: &str = "Non-key attributes";
