//! The bytes of TCP connections, put together from segments that come in order, some of them twice.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::segment::Segment;
use super::{MAX_CONNECTIONS, ReadError};

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Sequence number that comes next.
    next: Option<u32>,
    /// Bytes that the wire had, up to now.
    len: u64,
    bytes: Vec<u8>,
    extents: Vec<Extent>,
    /// A part is missing: what comes after it has no place.
    lost: bool,
}

/// Bytes that one packet brought.
#[derive(Debug)]
struct Extent {
    /// Offset in the stream.
    start: u64,
    /// Length on the wire.
    len: usize,
    /// Where what was captured of it lies in `bytes`.
    at: usize,
    captured: usize,
    packet: usize,
}

impl Stream {
    fn take(&mut self, packet: usize, segment: &Segment<'_>) {
        let after_syn = segment.sequence.wrapping_add(u32::from(segment.syn));
        let next = *self.next.get_or_insert(after_syn);
        let ahead = after_syn.wrapping_sub(next);
        if self.lost || segment.len == 0 {
            return;
        }
        // Serial number arithmetic: what is behind comes once more, in part or as a whole.
        let behind = if ahead > 1 << 31 {
            next.wrapping_sub(after_syn) as usize
        } else if ahead == 0 {
            0
        } else {
            self.lost = true;
            return;
        };
        let Some(len) = segment.len.checked_sub(behind).filter(|len| *len > 0) else {
            return;
        };
        let captured = segment.payload.get(behind..).unwrap_or_default();
        self.extents.push(Extent {
            start: self.len,
            len,
            at: self.bytes.len(),
            captured: captured.len(),
            packet,
        });
        self.bytes.extend_from_slice(captured);
        self.len += len as u64;
        // A segment is shorter than 2^32.
        self.next = Some(next.wrapping_add(len as u32));
    }

    /// Bytes of the stream.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the stream goes on after a part that is missing.
    pub(super) fn lost(&self) -> bool {
        self.lost
    }

    /// The captured bytes from `from` on: at most `len`, and none after the first one that was not captured.
    pub(super) fn captured(&self, from: u64, len: usize) -> Vec<u8> {
        let first = self
            .extents
            .partition_point(|e| e.start + e.len as u64 <= from);
        let mut found = Vec::new();
        for extent in self.extents.get(first..).unwrap_or_default() {
            let at = from + found.len() as u64;
            // Both are within the extent, whose length is a usize.
            let skip = at.saturating_sub(extent.start) as usize;
            let wanted = (len - found.len()).min(extent.len.saturating_sub(skip));
            let start = skip.min(extent.captured);
            let end = (skip + wanted).min(extent.captured);
            let part = self.bytes.get(extent.at + start..extent.at + end);
            found.extend_from_slice(part.unwrap_or_default());
            if end - start < wanted || found.len() >= len {
                break;
            }
        }
        found
    }

    /// The packet that brought the byte before `end`.
    pub(super) fn packet_before(&self, end: u64) -> usize {
        let after = self.extents.partition_point(|e| e.start < end);
        let extent = after.checked_sub(1).and_then(|i| self.extents.get(i));
        extent.map_or(0, |extent| extent.packet)
    }
}

/// Both directions of a connection, and the end that sent the first packet seen.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: [SocketAddr; 2],
    pub(super) streams: [Stream; 2],
}

/// All connections of a file.
#[derive(Debug, Default)]
pub(super) struct Connections {
    known: HashMap<[SocketAddr; 2], usize>,
    found: Vec<Connection>,
}

impl Connections {
    pub(super) fn take(&mut self, packet: usize, segment: &Segment<'_>) -> Result<(), ReadError> {
        let mut key = [segment.from, segment.to];
        key.sort();
        let known = self.known.get(&key).copied();
        // The same ports may serve again: a SYN of its opener begins another connection.
        let again = |c: &Connection| {
            segment.syn
                && c.ends.first() == Some(&segment.from)
                && c.streams.iter().all(|s| s.len > 0)
        };
        let index = match known.filter(|i| !self.found.get(*i).is_some_and(again)) {
            Some(index) => index,
            None => {
                if self.found.len() >= MAX_CONNECTIONS {
                    let (limit, what) = (MAX_CONNECTIONS, "connections");
                    return Err(ReadError::TooMany { limit, what });
                }
                self.found.push(Connection {
                    ends: [segment.from, segment.to],
                    streams: Default::default(),
                });
                self.known.insert(key, self.found.len() - 1);
                self.found.len() - 1
            }
        };
        if let Some(connection) = self.found.get_mut(index) {
            let side = usize::from(connection.ends.first() != Some(&segment.from));
            if let Some(stream) = connection.streams.get_mut(side) {
                stream.take(packet, segment);
            }
        }
        Ok(())
    }

    pub(super) fn into_vec(self) -> Vec<Connection> {
        self.found
    }
}
