//! Replays recorded sessions: sends the initiator's PDUs again, and looks whether the answers are the same.
//!
//! ```text
//!  file ─ capture ─► packets ─ segment ─► TCP segments ─ stream ─► two streams of bytes ─ pdus ─► Conversation
//!                                                                                                    │ run
//!                                          new login, tags and numbers mapped to the live session ◄──┘
//! ```
//!
//! Files are pcapng or pcap: recordings of our target, or captures of whole sessions. Nothing in a file is trusted.

mod answer;
mod capture;
mod live;
mod pdus;
mod run;
mod segment;
mod stream;

pub use pdus::{Conversation, RecordedPdu};
pub use run::{Outcome, ReplayOptions, run};

/// Most packets read of one file.
const MAX_PACKETS: usize = 4_000_000;
/// Most TCP connections looked at in one file.
const MAX_CONNECTIONS: usize = 1024;

/// Why a file is no recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Neither pcapng nor pcap.
    #[error("this is neither a pcapng nor a pcap file")]
    Format,
    /// Damaged.
    #[error("the file is damaged after {packets} packets: {reason}")]
    Damaged {
        /// Packets before the damage.
        packets: usize,
        /// What is wrong.
        reason: String,
    },
    /// Too much of something.
    #[error("the file has more than {limit} {what}")]
    TooMany {
        /// The bound.
        limit: usize,
        /// `packets` or `connections`.
        what: &'static str,
    },
    /// No connection in it speaks iSCSI.
    #[error("there is no iSCSI session in the file ({packets} packets)")]
    NoSession {
        /// Packets seen.
        packets: usize,
    },
}

/// Reads the iSCSI connections of a capture file, in order of their first packet.
///
/// # Errors
/// [`ReadError`].
pub fn read(file: &[u8]) -> Result<Vec<Conversation>, ReadError> {
    let mut connections = stream::Connections::default();
    let mut packets = 0;
    capture::packets(file, |packet| {
        packets += 1;
        if packets > MAX_PACKETS {
            let (limit, what) = (MAX_PACKETS, "packets");
            return Err(ReadError::TooMany { limit, what });
        }
        match segment::parse(&packet) {
            Some(segment) => connections.take(packets, &segment),
            None => Ok(()),
        }
    })?;
    let found: Vec<_> = connections
        .into_vec()
        .into_iter()
        .filter_map(pdus::conversation)
        .collect();
    if found.is_empty() {
        return Err(ReadError::NoSession { packets });
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
