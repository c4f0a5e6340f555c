//! The last PDUs of a connection, oldest first, within two bounds.

use std::collections::VecDeque;
use std::time::Instant;

use super::memory::Grant;

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

/// PDUs, and bytes of them, that a ring begins with.
const FIRST: (usize, usize) = (16, 4096);

/// A bounded queue of PDUs. What is full forgets the oldest; memory is taken as it is needed, up to the bounds, and as it
/// is granted.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    bytes: VecDeque<u8>,
    max_pdus: usize,
    max_bytes: usize,
    /// What is granted of both.
    room_pdus: usize,
    room_bytes: usize,
    /// Bytes that the newest entry still lacks.
    missing: usize,
}

impl Ring {
    /// The memory that a ring of these bounds begins with.
    pub(super) fn first_bytes(max_pdus: usize, max_bytes: usize) -> usize {
        max_pdus.clamp(1, FIRST.0) * size_of::<Entry>() + max_bytes.min(FIRST.1)
    }

    /// A ring that has [`Ring::first_bytes`].
    pub(super) fn new(max_pdus: usize, max_bytes: usize) -> Self {
        let (room_pdus, room_bytes) = (max_pdus.clamp(1, FIRST.0), max_bytes.min(FIRST.1));
        Self {
            entries: VecDeque::with_capacity(room_pdus),
            bytes: VecDeque::with_capacity(room_bytes),
            max_pdus: max_pdus.max(1),
            max_bytes,
            room_pdus,
            room_bytes,
            missing: 0,
        }
    }

    /// Longest part of one PDU that fits.
    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Makes room for a PDU of which `entry.kept` bytes follow by [`Ring::extend`], or fewer if `grant` has no more.
    #[inline]
    pub(super) fn push(&mut self, mut entry: Entry, grant: &mut Grant) {
        self.end();
        let kept = entry.kept as usize;
        if self.entries.len() >= self.room_pdus && self.room_pdus < self.max_pdus {
            self.grow_pdus(entry.at, grant);
        }
        if self.bytes.len().saturating_add(kept) > self.room_bytes
            && self.room_bytes < self.max_bytes
        {
            self.grow_bytes(kept, entry.at, grant);
        }
        while self.entries.len() >= self.room_pdus
            || self.bytes.len().saturating_add(kept) > self.room_bytes
        {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes
                .drain(..(oldest.kept as usize).min(self.bytes.len()));
        }
        self.missing = kept.min(self.room_bytes);
        // No more than it was.
        entry.kept = u32::try_from(self.missing).unwrap_or(entry.kept);
        self.entries.push_back(entry);
    }

    #[cold]
    fn grow_pdus(&mut self, now: Instant, grant: &mut Grant) {
        let room = self.room_pdus.saturating_mul(2).min(self.max_pdus);
        let more = (room - self.room_pdus).saturating_mul(size_of::<Entry>());
        if grant.more(more, now) {
            self.room_pdus = room;
            self.entries.reserve_exact(room - self.entries.len());
        }
    }

    #[cold]
    fn grow_bytes(&mut self, kept: usize, now: Instant, grant: &mut Grant) {
        let wanted = self.bytes.len().saturating_add(kept);
        let room = self.room_bytes.saturating_mul(2).max(wanted);
        let room = room.min(self.max_bytes);
        if grant.more(room - self.room_bytes, now) {
            self.room_bytes = room;
            self.bytes.reserve_exact(room - self.bytes.len());
        }
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
    use crate::record::memory::Memory;

    fn entry(order: u64, kept: u32) -> Entry {
        Entry {
            at: Instant::now(),
            order,
            wire_len: kept + 100,
            kept,
            direction: Direction::Received,
        }
    }

    fn ring() -> (Ring, Grant) {
        (Ring::new(4, 100), Grant::unbounded())
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
        let (mut ring, mut grant) = ring();
        for order in 0..1000u64 {
            let len = (order * 7 % 60) as u32;
            ring.push(entry(order, len), &mut grant);
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
        let (mut ring, mut grant) = ring();
        ring.push(entry(0, 10), &mut grant);
        ring.extend(&[1; 8]);
        ring.extend(&[2; 8]);
        ring.push(entry(1, 10), &mut grant);
        ring.extend(&[3; 4]);
        ring.push(entry(2, 2), &mut grant);
        ring.extend(&[4; 2]);
        let wanted = [
            (0, [vec![1; 8], vec![2; 2]].concat()),
            (1, vec![3; 4]),
            (2, vec![4; 2]),
        ];
        assert_eq!(kept(&mut ring), wanted);
    }

    #[test]
    fn a_ring_grows_to_its_bounds_and_one_without_memory_forgets_earlier() {
        let first = Ring::first_bytes(1000, 1 << 20);
        for (cap, most) in [(usize::MAX, 1000), (first, 16)] {
            let memory = Memory::new(cap, 1);
            let (mut ring, now) = (Ring::new(1000, 1 << 20), Instant::now());
            let mut grant = memory.begin(first, now).unwrap();
            for order in 0..3000 {
                ring.push(entry(order, 100), &mut grant);
                ring.extend(&[order as u8; 100]);
            }
            let pdus = kept(&mut ring);
            assert_eq!(pdus.len(), most);
            assert!(
                pdus.iter()
                    .all(|(order, bytes)| bytes == &[*order as u8; 100])
            );
            let last = pdus.last().map(|(order, _)| *order);
            assert_eq!(last, Some(2999));
            // One that alone is larger than what there is.
            ring.push(entry(3000, 5000), &mut grant);
            ring.extend(&[7; 5000]);
            let wanted = if cap == first { FIRST.1 } else { 5000 };
            assert_eq!(kept(&mut ring).pop(), Some((3000, vec![7; wanted])));
            assert_eq!(memory.shortened.value(), u64::from(cap == first));
        }
    }
}
