//! What a connection tells its recorder.

use std::sync::Arc;
use std::time::Instant;

use super::incident::Incident;
use super::memory::{Grant, Memory};
use super::ring::{Direction, Entry, Ring};
use super::secret::Blanker;
use super::snapshot::Snapshot;
use crate::proto::pdu::{self, BHS_LEN, opcode};

/// Bytes for a PDU whose data still comes, at first: a header and the start of its data.
const FIRST_SPARE: usize = 256;

/// How much a connection's recorder keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapLimits {
    /// PDUs.
    pub pdus: usize,
    /// Bytes of all of them.
    pub bytes: usize,
    /// Bytes of one PDU's data segment; a header is always kept whole.
    pub data: usize,
}

/// The recorder of one connection. It has no clock, and costs a copy of what it keeps.
#[derive(Debug)]
pub struct Tap {
    ring: Ring,
    grant: Grant,
    data: usize,
    order: u64,
    /// Bytes that went by, each way.
    received: u64,
    sent: u64,
    receiving: Option<Receiving>,
    /// Kept for the next PDU.
    spare: Vec<u8>,
    /// Bytes granted for a PDU whose data still comes.
    spare_room: usize,
    blankers: [Blanker; 2],
    incident: Option<Incident>,
}

/// A PDU whose data still comes.
#[derive(Debug)]
struct Receiving {
    entry: Entry,
    bytes: Vec<u8>,
}

impl Tap {
    /// A recorder of a connection that begins.
    #[must_use]
    pub fn new(limits: TapLimits) -> Self {
        Self::with(limits, Grant::unbounded())
    }

    /// As [`Tap::new`], with what `memory` has for it. `None` when that is nothing.
    pub(crate) fn within(limits: TapLimits, memory: &Arc<Memory>, now: Instant) -> Option<Self> {
        let first = Ring::first_bytes(limits.pdus, limits.bytes) + FIRST_SPARE;
        Some(Self::with(limits, memory.begin(first, now)?))
    }

    fn with(limits: TapLimits, grant: Grant) -> Self {
        Self {
            ring: Ring::new(limits.pdus, limits.bytes),
            grant,
            data: limits.data,
            order: 0,
            received: 0,
            sent: 0,
            receiving: None,
            spare: Vec::new(),
            spare_room: FIRST_SPARE,
            blankers: Default::default(),
            incident: None,
        }
    }

    fn entry(
        &mut self,
        at: Instant,
        direction: Direction,
        head: usize,
        data: usize,
        wire: usize,
    ) -> Entry {
        let kept = if data <= self.data {
            wire
        } else {
            head + self.data
        };
        let order = self.order;
        self.order += 1;
        // A PDU has fewer than 2^24 + 2000 bytes.
        let wire_len = u32::try_from(wire).unwrap_or(u32::MAX);
        let total = match direction {
            Direction::Received => &mut self.received,
            Direction::Sent => &mut self.sent,
        };
        *total += u64::from(wire_len);
        Entry {
            at,
            order,
            wire_len,
            kept: u32::try_from(kept.min(self.ring.max_bytes())).unwrap_or(u32::MAX),
            direction,
        }
    }

    /// A header came, with AHS and digest; `data` bytes of data segment follow, `wire` is the length of the whole PDU.
    #[inline]
    pub fn received_header(&mut self, at: Instant, head: &[u8], data: usize, wire: usize) {
        self.received_end(&[]);
        let mut entry = self.entry(at, Direction::Received, head.len(), data, wire);
        if data == 0 {
            self.ring.push(entry, &mut self.grant);
            self.ring.extend(head);
            return;
        }
        if entry.kept as usize > self.spare_room {
            self.grow_spare(&mut entry);
        }
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.clear();
        bytes.reserve_exact(self.spare_room);
        let mut receiving = Receiving { entry, bytes };
        receiving.take(head);
        self.receiving = Some(receiving);
    }

    /// Takes memory for what is kept of a PDU, or keeps less of it.
    #[cold]
    fn grow_spare(&mut self, entry: &mut Entry) {
        let kept = entry.kept as usize;
        let room = kept.saturating_mul(2).min(self.ring.max_bytes()).max(kept);
        if self.grant.more(room - self.spare_room, entry.at) {
            self.spare_room = room;
        } else {
            // Less than it was.
            entry.kept = u32::try_from(self.spare_room).unwrap_or(entry.kept);
        }
    }

    /// The next bytes of the data segment.
    #[inline]
    pub fn received_data(&mut self, bytes: &[u8]) {
        if let Some(receiving) = &mut self.receiving {
            receiving.take(bytes);
        }
    }

    /// Whether [`Tap::received_data`] would keep anything.
    #[inline]
    #[must_use]
    pub fn wants_data(&self) -> bool {
        self.receiving
            .as_ref()
            .is_some_and(|receiving| receiving.bytes.len() < receiving.entry.kept as usize)
    }

    /// The PDU is complete, with this padding and data digest.
    #[inline]
    pub fn received_end(&mut self, tail: &[u8]) {
        let Some(mut receiving) = self.receiving.take() else {
            return;
        };
        receiving.take(tail);
        self.ring.push(receiving.entry, &mut self.grant);
        self.ring.extend(&receiving.bytes);
        self.spare = receiving.bytes;
    }

    /// A PDU is given to the socket. Returns how many bytes of its data [`Tap::sent_part`] is to be given.
    #[inline]
    pub fn sending(&mut self, at: Instant, head: &[u8], data: usize, wire: usize) -> usize {
        let entry = self.entry(at, Direction::Sent, head.len(), data, wire);
        let wanted = (entry.kept as usize).saturating_sub(head.len()).min(data);
        self.ring.push(entry, &mut self.grant);
        self.ring.extend(head);
        wanted
    }

    /// Data, padding and data digest of that PDU.
    #[inline]
    pub fn sent_part(&mut self, bytes: &[u8]) {
        self.ring.extend(bytes);
    }

    /// A whole PDU of the login phase, without digests; proofs in its text are blanked.
    pub fn login(&mut self, at: Instant, direction: Direction, wire: &[u8]) {
        let mut copy = wire.to_vec();
        self.blank(direction, &mut copy);
        // What was negotiated is short and worth all of it.
        let entry = self.entry(at, direction, copy.len(), 0, copy.len());
        self.ring.push(entry, &mut self.grant);
        self.ring.extend(&copy);
    }

    fn blank(&mut self, direction: Direction, wire: &mut [u8]) {
        const CONTINUE: u8 = 0x40;
        let Some((bhs, rest)) = wire.split_first_chunk_mut::<BHS_LEN>() else {
            return;
        };
        let start = pdu::ahs_len(bhs).min(rest.len());
        let end = (start + pdu::data_segment_len(bhs) as usize).min(rest.len());
        // Padding is no text: a zero there ends nothing.
        let text = rest.get_mut(start..end).unwrap_or_default();
        let blanker = &mut self.blankers[usize::from(direction == Direction::Sent)];
        match pdu::opcode_of(bhs) {
            opcode::LOGIN_REQUEST | opcode::LOGIN_RESPONSE => {
                blanker.blank(text, bhs[1] & CONTINUE != 0);
            }
            // Whatever this is, it is no place for anything that has to be kept.
            _ => text.fill(0),
        }
    }

    /// Takes note of an incident; the first one stands until it is taken.
    pub fn note(&mut self, incident: Incident) {
        self.incident.get_or_insert(incident);
    }

    /// The incident that was noted since the last call.
    #[inline]
    pub fn take_incident(&mut self) -> Option<Incident> {
        self.incident.take()
    }

    /// A copy of what is kept.
    pub fn snapshot(&mut self) -> Snapshot {
        let (mut entries, mut bytes) = self.ring.contents();
        if let Some(receiving) = &self.receiving {
            let mut entry = receiving.entry;
            entry.kept = u32::try_from(receiving.bytes.len()).unwrap_or(u32::MAX);
            entries.push(entry);
            bytes.extend_from_slice(&receiving.bytes);
        }
        Snapshot::new(&entries, bytes, self.received, self.sent)
    }
}

impl Receiving {
    fn take(&mut self, bytes: &[u8]) {
        let room = (self.entry.kept as usize).saturating_sub(self.bytes.len());
        self.bytes
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}
