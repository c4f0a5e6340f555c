//! A snapshot as a pcapng file.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use super::incident::Incident;
use super::packet::{self, MAX_SEGMENT, Place};
use super::pcapng::{Packet, Writer};
use super::ring::Direction;
use super::snapshot::{RecordedPdu, Snapshot};

/// Longest text of a peer's that is told, in characters.
const MAX_NAME: usize = 256;
/// First sequence number of each stream, after a SYN that is not shown.
const FIRST: u32 = 1;

/// Whose recording it is.
#[derive(Debug, Clone)]
pub struct About {
    /// The initiator's address.
    pub peer: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
    /// InitiatorName, as sent; nothing while it is not known.
    pub initiator: String,
    /// TargetName, our own; nothing in a discovery session.
    pub target: String,
    /// ISID.
    pub isid: [u8; 6],
    /// TSIH.
    pub tsih: u16,
    /// CID.
    pub cid: u16,
}

/// The moment of a snapshot, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Monotonic; times of PDUs are of this clock.
    pub monotonic: Instant,
    /// Seconds of the system's monotonic clock, to compare with its log.
    pub since_boot: Duration,
    /// Time of day.
    pub wall: SystemTime,
}

impl Moment {
    /// The time of day of an earlier moment, if the clock was not set in between.
    fn wall_of(&self, at: Instant) -> SystemTime {
        let ago = self.monotonic.saturating_duration_since(at);
        self.wall.checked_sub(ago).unwrap_or(self.wall)
    }
}

/// Builds the file.
///
/// Each PDU begins a packet, with its length on the wire and the bytes that were kept of it; a PDU that is too long for a
/// packet goes on in the next. Sequence numbers count all bytes of the connection, those that were forgotten too.
#[must_use]
pub fn pcapng(snapshot: &Snapshot, about: &About, why: Incident, moment: Moment) -> Vec<u8> {
    let name = if about.target.is_empty() {
        "discovery"
    } else {
        about.target.as_str()
    };
    let mut file = Writer::new(&comment(about, why, moment), name, &description(about));
    let mut streams = Streams {
        about,
        received: snapshot.received_before,
        sent: snapshot.sent_before,
    };
    let mut pdus = snapshot.pdus().peekable();
    while let Some(pdu) = pdus.next() {
        let last = pdus.peek().is_none();
        let mut parts = parts(&pdu).peekable();
        while let Some((bytes, len)) = parts.next() {
            let (captured, whole) = packet::packet(streams.place(pdu.direction, len), bytes, len);
            let comment = if last && parts.peek().is_none() {
                format!("recording written: {why}")
            } else {
                String::new()
            };
            file.packet(&Packet {
                at: moment.wall_of(pdu.at),
                inbound: pdu.direction == Direction::Received,
                captured: &captured,
                len: whole,
                comment: &comment,
            });
        }
    }
    file.finish()
}

/// How far the two byte streams have come.
struct Streams<'a> {
    about: &'a About,
    received: u64,
    sent: u64,
}

impl Streams<'_> {
    /// The place of the next `len` bytes.
    fn place(&mut self, direction: Direction, len: usize) -> Place {
        // Sequence numbers wrap.
        let number = |bytes: u64| FIRST.wrapping_add(bytes as u32);
        let (received, sent) = (number(self.received), number(self.sent));
        let About { peer, local, .. } = *self.about;
        match direction {
            Direction::Received => {
                self.received += len as u64;
                Place {
                    from: peer,
                    to: local,
                    sequence: received,
                    acknowledged: sent,
                }
            }
            Direction::Sent => {
                self.sent += len as u64;
                Place {
                    from: local,
                    to: peer,
                    sequence: sent,
                    acknowledged: received,
                }
            }
        }
    }
}

/// The packets that a PDU takes: bytes that were kept, and length on the wire.
fn parts<'a>(pdu: &RecordedPdu<'a>) -> impl Iterator<Item = (&'a [u8], usize)> + use<'a> {
    let (bytes, len) = (pdu.bytes, pdu.wire_len);
    (0..len).step_by(MAX_SEGMENT).map(move |start| {
        let end = (start + MAX_SEGMENT).min(len);
        let kept = start.min(bytes.len())..end.min(bytes.len());
        (bytes.get(kept).unwrap_or_default(), end - start)
    })
}

fn comment(about: &About, why: Incident, moment: Moment) -> String {
    format!(
        "Written because {why}. Monotonic clock at that moment: {}.{:09} s. Passwords' proofs in login PDUs are blanked; \
         packets that are shorter than their length were cut. To have it decoded: -d tcp.port=={},iscsi",
        moment.since_boot.as_secs(),
        moment.since_boot.subsec_nanos(),
        about.local.port(),
    )
}

/// Names come from the peer: what is no plain character is escaped.
fn description(about: &About) -> String {
    let plain = |name: &str| -> String {
        let shown = if name.is_empty() { "(none)" } else { name };
        shown.escape_debug().take(MAX_NAME).collect()
    };
    let isid: String = about.isid.iter().map(|b| format!("{b:02x}")).collect();
    format!(
        "initiator {} at {}, target {} at {}, ISID {isid}, TSIH {}, CID {}",
        plain(&about.initiator),
        about.peer,
        plain(&about.target),
        about.local,
        about.tsih,
        about.cid
    )
}
