//! From two streams of bytes to a conversation of PDUs.

use std::net::SocketAddr;

use super::stream::{Connection, Stream};
use crate::initiator::Digests;
use crate::initiator::pdu::{BHS_LEN, Header, opcode, padding};

const DIGEST_LEN: usize = 4;
/// Every way to frame a stream; of those that fit as well the first is the one.
const DIGESTS: [Digests; 4] = [
    digests(false, false),
    digests(true, false),
    digests(false, true),
    digests(true, true),
];

const fn digests(header: bool, data: bool) -> Digests {
    Digests { header, data }
}

/// One PDU of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedPdu {
    /// The initiator sent it; else the target did.
    pub from_initiator: bool,
    /// Basic header segment.
    pub header: Header,
    /// Additional header segments.
    pub ahs: Vec<u8>,
    /// The first bytes of the data segment, as many as were recorded.
    pub data: Vec<u8>,
}

impl RecordedPdu {
    /// Bytes of the data segment that were not recorded.
    pub fn missing(&self) -> usize {
        self.header.data_len().saturating_sub(self.data.len())
    }
}

/// One recorded connection.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// The initiator's address.
    pub initiator: SocketAddr,
    /// The target's.
    pub target: SocketAddr,
    /// PDUs of both, in the order in which they were complete.
    pub pdus: Vec<RecordedPdu>,
    /// A part of the connection was not captured: its PDUs end there.
    pub lost: bool,
}

impl Conversation {
    /// Whether the beginning of the connection was recorded.
    pub fn has_login(&self) -> bool {
        let login = |pdu: &RecordedPdu| pdu.header.opcode() == opcode::LOGIN_REQUEST;
        self.pdus
            .iter()
            .find(|pdu| pdu.from_initiator)
            .is_some_and(login)
    }
}

/// Where a PDU lies in its stream.
struct Place {
    start: u64,
    /// Length of header, AHS and header digest.
    head: usize,
    end: u64,
    header: Header,
}

/// The conversation on a connection; `None` when it does not speak iSCSI.
pub(super) fn conversation(connection: Connection) -> Option<Conversation> {
    let [first, second] = &connection.streams;
    let [first_end, second_end] = connection.ends;
    // Who speaks like an initiator, and is spoken to like one?
    let (initiator, target, ends) = if speaks(first, false) && !speaks(second, false) {
        (first, second, (first_end, second_end))
    } else if speaks(second, false) && !speaks(first, false) {
        (second, first, (second_end, first_end))
    } else {
        return None;
    };
    let (ours, theirs) = best_framing(initiator, target);
    let mut pdus = Vec::with_capacity(ours.len() + theirs.len());
    for (stream, places, from_initiator) in [(initiator, ours, true), (target, theirs, false)] {
        for place in places {
            let order = stream.packet_before(place.end);
            pdus.push((order, read(stream, &place, from_initiator)));
        }
    }
    // Stable: what one packet brought stays in order.
    pdus.sort_by_key(|(order, _)| *order);
    let pdus: Vec<_> = pdus.into_iter().map(|(_, pdu)| pdu).collect();
    (!pdus.is_empty()).then_some(Conversation {
        initiator: ends.0,
        target: ends.1,
        pdus,
        lost: initiator.lost() || target.lost(),
    })
}

/// Whether the stream begins with a PDU of a target, or of an initiator; an empty one does neither of an initiator.
fn speaks(stream: &Stream, target: bool) -> bool {
    let head = stream.captured(0, BHS_LEN);
    <[u8; BHS_LEN]>::try_from(head).is_ok_and(|bhs| is_known(&Header(bhs), target))
}

fn is_known(header: &Header, target: bool) -> bool {
    let code = header.opcode();
    if target {
        matches!(code, opcode::NOP_IN..=opcode::LOGOUT_RESPONSE)
            || [opcode::R2T, opcode::ASYNC_MESSAGE, opcode::REJECT].contains(&code)
    } else {
        matches!(code, opcode::NOP_OUT..=opcode::LOGOUT_REQUEST) || code == opcode::SNACK
    }
}

/// How well a way to frame a stream fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Some PDUs have opcodes that do not exist, or bytes were not captured that would have to be looked at.
    Bad,
    /// The last PDU is cut by the end of the stream.
    Open,
    /// The last PDU ends where the stream does.
    Exact,
}

/// The digests are agreed at login, which may not have been recorded: all four possibilities are tried on both streams.
fn best_framing(initiator: &Stream, target: &Stream) -> (Vec<Place>, Vec<Place>) {
    let mut best = None;
    for digests in DIGESTS {
        let (ours, fit) = frame(initiator, digests, false);
        let (theirs, other_fit) = frame(target, digests, true);
        let known = ours.iter().filter(|p| is_known(&p.header, false)).count()
            + theirs.iter().filter(|p| is_known(&p.header, true)).count();
        let score = (fit.min(other_fit), fit.max(other_fit), known);
        if best.as_ref().is_none_or(|(most, _)| score > *most) {
            best = Some((score, (ours, theirs)));
        }
    }
    best.map(|(_, places)| places).unwrap_or_default()
}

/// Cuts a stream into PDUs.
fn frame(stream: &Stream, digests: Digests, target: bool) -> (Vec<Place>, Fit) {
    let (mut places, mut at, mut known) = (Vec::new(), 0, true);
    while at < stream.len() {
        let head = stream.captured(at, BHS_LEN);
        let Ok(bhs) = <[u8; BHS_LEN]>::try_from(head) else {
            return (places, Fit::Bad);
        };
        let header = Header(bhs);
        known &= is_known(&header, target);
        // Digests begin with the full feature phase (RFC 7143 6.3).
        let login = [opcode::LOGIN_REQUEST, opcode::LOGIN_RESPONSE].contains(&header.opcode());
        let digest = |on: bool| if on && !login { DIGEST_LEN } else { 0 };
        let len = header.data_len();
        let head = BHS_LEN + header.ahs_len() + digest(digests.header);
        let data = len + padding(len) + digest(digests.data && len > 0);
        let end = at + (head + data) as u64;
        if end > stream.len() {
            // The last PDU was cut by the end of the capture.
            return (places, if known { Fit::Open } else { Fit::Bad });
        }
        places.push(Place {
            start: at,
            head,
            end,
            header,
        });
        at = end;
    }
    (places, if known { Fit::Exact } else { Fit::Bad })
}

fn read(stream: &Stream, place: &Place, from_initiator: bool) -> RecordedPdu {
    let header = place.header;
    let ahs = stream.captured(place.start + BHS_LEN as u64, header.ahs_len());
    let data = stream.captured(place.start + place.head as u64, header.data_len());
    RecordedPdu {
        from_initiator,
        header,
        ahs,
        data,
    }
}
