//! A small, blocking iSCSI initiator that trusts nothing a target says.
//!
//! It shares no code with the target side of this project, so each checks the other.
//! [`Initiator`] is for tests and tools: commands one by one or several outstanding, task
//! management, and raw PDUs for what a well-behaved initiator would never send.
//!
//! ```no_run
//! use lunforge_bench::initiator::{Initiator, Options};
//! let mut i = Initiator::connect("127.0.0.1:3260", "iqn.2026-11.org.example:disk", &Options::default())?;
//! let inquiry = i.command(0, &[0x12, 0, 0, 0, 96, 0], &[], 96)?;
//! assert_eq!(inquiry.status, 0);
//! i.logout()?;
//! # Ok::<(), lunforge_bench::initiator::Error>(())
//! ```

mod blocking;
pub mod chap;
mod connection;
mod discovery;
pub mod login;
mod options;
pub mod pdu;
mod reply;
mod request;
pub mod session;
pub mod text;
pub mod transfer;
pub mod url;

pub use blocking::{Event, Initiator};
pub use chap::{Chap, Credentials};
pub use connection::Connection;
pub use discovery::{TargetRecord, send_targets};
pub use login::LoginError;
pub use options::Options;
pub use pdu::{Digests, Header, Pdu, WireError};
pub use reply::Reply;
pub use request::{Attribute, Lun, Request, Tmf, rw_cdb};
pub use session::{Negotiated, Sequence, Violation};
pub use transfer::Residual;
pub use url::Url;

/// Why something asked of a target did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No TCP connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Address as given.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The socket failed.
    #[error("{action} failed: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The target closed the connection.
    #[error("the target closed the connection")]
    Closed,
    /// No answer in time.
    #[error("no answer from the target within {0:?}")]
    Timeout(std::time::Duration),
    /// Malformed bytes.
    #[error("malformed PDU from the target: {0}")]
    Wire(#[from] WireError),
    /// Login failed.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The target broke a rule of RFC 7143.
    #[error("protocol violation by the target: {0}")]
    Violation(#[from] Violation),
    /// The target sent a Reject while an answer was awaited.
    #[error("the target rejected a PDU: reason {reason:#04x}")]
    Rejected {
        /// Reason (RFC 7143 11.17.1).
        reason: u8,
        /// The header it refers to, as far as it was sent back.
        header: Vec<u8>,
    },
    /// A command that had to succeed did not.
    #[error("{what} ended with status {status:#04x}, sense {key:#x}/{asc:02x}h/{ascq:02x}h")]
    Status {
        /// Which command.
        what: &'static str,
        /// SCSI status.
        status: u8,
        /// Sense key, 0 without sense.
        key: u8,
        /// Additional sense code.
        asc: u8,
        /// Additional sense code qualifier.
        ascq: u8,
    },
    /// An argument that no PDU can carry.
    #[error("bad argument: {0}")]
    Argument(String),
}
