//! The last PDUs of a connection, oldest first, within two bounds.

use std::collections::VecDeque;
use std::time::Instant;

/// Which way a PDU went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the initiator.
    Received,
    /// To the initiator.
    Sent,
}

/// One PDU in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// When its header came, or when it was first given to the socket.
    pub(super) at: Instant,
    /// Place in the order of both directions: data that is slow to come does not move its PDU.
    pub(super) order: u64,
    /// Bytes it takes on the wire.
    pub(super) wire_len: u32,
    /// Bytes from its start that are kept.
    pub(super) kept: u32,
    pub(super) direction: Direction,
}

/// A bounded queue of PDUs. What is full forgets the oldest; memory is taken as it is needed, up to the bounds.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    bytes: VecDeque<u8>,
    max_pdus: usize,
    max_bytes: usize,
    /// Bytes that the newest entry still lacks.
    missing: usize,
}

impl Ring {
    pub(super) fn new(max_pdus: usize, max_bytes: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: VecDeque::new(),
            max_pdus: max_pdus.max(1),
            max_bytes,
            missing: 0,
        }
    }

    /// Longest part of one PDU that fits.
    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Makes room for a PDU of which `entry.kept` bytes follow by [`Ring::extend`].
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        self.end();
        let kept = entry.kept as usize;
        while self.entries.len() >= self.max_pdus
            || self.bytes.len().saturating_add(kept) > self.max_bytes
        {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes
                .drain(..(oldest.kept as usize).min(self.bytes.len()));
        }
        self.missing = kept;
        self.entries.push_back(entry);
    }

    /// Adds bytes to the newest PDU, as many as it still lacks.
    #[inline]
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let taken = bytes.get(..self.missing).unwrap_or(bytes);
        self.missing -= taken.len();
        self.bytes.extend(taken);
    }

    /// The newest PDU gets no further bytes.
    #[inline]
    fn end(&mut self) {
        if self.missing > 0 {
            // At most the entry's own u32.
            let missing = u32::try_from(std::mem::take(&mut self.missing)).unwrap_or(u32::MAX);
            if let Some(newest) = self.entries.back_mut() {
                newest.kept = newest.kept.saturating_sub(missing);
            }
        }
    }

    /// Entries with their bytes, in order of [`Ring::push`]; copies.
    pub(super) fn contents(&mut self) -> (Vec<Entry>, Vec<u8>) {
        self.end();
        let (front, back) = self.bytes.as_slices();
        (
            self.entries.iter().copied().collect(),
            [front, back].concat(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(order: u64, kept: u32) -> Entry {
        Entry {
            at: Instant::now(),
            order,
            wire_len: kept + 100,
            kept,
            direction: Direction::Received,
        }
    }

    /// Orders and bytes of what is kept.
    fn kept(ring: &mut Ring) -> Vec<(u64, Vec<u8>)> {
        let (entries, bytes) = ring.contents();
        let mut rest = bytes.as_slice();
        let pdus = entries
            .iter()
            .map(|entry| {
                let (own, others) = rest.split_at(entry.kept as usize);
                rest = others;
                (entry.order, own.to_vec())
            })
            .collect();
        assert!(rest.is_empty());
        pdus
    }

    #[test]
    fn a_full_ring_forgets_the_oldest_by_count_and_by_bytes_over_many_wraps() {
        let mut ring = Ring::new(4, 100);
        for order in 0..1000u64 {
            let len = (order * 7 % 60) as u32;
            ring.push(entry(order, len));
            ring.extend(&vec![order as u8; len as usize]);
            let pdus = kept(&mut ring);
            assert!(pdus.len() <= 4 && pdus.iter().map(|p| p.1.len()).sum::<usize>() <= 100);
            for (i, (kept_order, bytes)) in pdus.iter().enumerate() {
                assert_eq!(*kept_order, order + 1 + i as u64 - pdus.len() as u64);
                assert!(bytes.iter().all(|byte| *byte == *kept_order as u8));
                assert_eq!(bytes.len() as u64, kept_order * 7 % 60);
            }
        }
    }

    #[test]
    fn a_pdu_takes_no_more_than_it_announced_and_may_end_early() {
        let mut ring = Ring::new(4, 100);
        ring.push(entry(0, 10));
        ring.extend(&[1; 8]);
        ring.extend(&[2; 8]);
        ring.push(entry(1, 10));
        ring.extend(&[3; 4]);
        ring.push(entry(2, 2));
        ring.extend(&[4; 2]);
        let wanted = [
            (0, [vec![1; 8], vec![2; 2]].concat()),
            (1, vec![3; 4]),
            (2, vec![4; 2]),
        ];
        assert_eq!(kept(&mut ring), wanted);
    }
}
