//! A copy of a recorder's ring, in order, with the places of its PDUs in the two byte streams.

use std::ops::Range;
use std::time::Instant;

use super::ring::{Direction, Entry};

/// What a recorder kept at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pdus: Vec<Recorded>,
    bytes: Vec<u8>,
    /// Bytes of each stream that went by before the first PDU of it that is kept.
    pub(super) received_before: u64,
    pub(super) sent_before: u64,
}

/// One PDU of a snapshot.
#[derive(Debug, Clone)]
struct Recorded {
    at: Instant,
    order: u64,
    direction: Direction,
    wire_len: u32,
    kept: Range<usize>,
}

/// One PDU as it is seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedPdu<'a> {
    /// When its header came, or when it was first given to the socket.
    pub at: Instant,
    /// Which way it went.
    pub direction: Direction,
    /// Bytes it takes on the wire.
    pub wire_len: usize,
    /// Its first bytes, as many as were kept.
    pub bytes: &'a [u8],
}

impl Snapshot {
    /// `received` and `sent` are the bytes that went by in all.
    pub(super) fn new(entries: &[Entry], bytes: Vec<u8>, received: u64, sent: u64) -> Self {
        let (mut received_before, mut sent_before) = (received, sent);
        let mut end = 0;
        let mut pdus: Vec<_> = entries
            .iter()
            .map(|entry| {
                let before = match entry.direction {
                    Direction::Received => &mut received_before,
                    Direction::Sent => &mut sent_before,
                };
                *before = before.saturating_sub(entry.wire_len.into());
                let start = end;
                end += entry.kept as usize;
                Recorded {
                    at: entry.at,
                    order: entry.order,
                    direction: entry.direction,
                    wire_len: entry.wire_len,
                    kept: start..end,
                }
            })
            .collect();
        pdus.sort_by_key(|pdu| pdu.order);
        Self {
            pdus,
            bytes,
            received_before,
            sent_before,
        }
    }

    /// The PDUs, oldest first.
    pub fn pdus(&self) -> impl Iterator<Item = RecordedPdu<'_>> {
        self.pdus.iter().map(|pdu| RecordedPdu {
            at: pdu.at,
            direction: pdu.direction,
            wire_len: pdu.wire_len as usize,
            bytes: self.bytes.get(pdu.kept.clone()).unwrap_or_default(),
        })
    }

    /// Memory that it takes, about, in bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.pdus.len() * size_of::<Recorded>()
    }
}
