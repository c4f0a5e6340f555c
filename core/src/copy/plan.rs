//! What a segment means on the units that it names: checked whole before the first effect of a copy, then cut into
//! chunks. No I/O here.

use super::failure;
use super::parameter_list::invalid;
use crate::asc::Asc;
use crate::cdb::{Cdb, ParsedCdb};
use crate::sense::Sense;

/// What READ CAPACITY(16) and the Block Limits VPD page tell of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Block length in bytes.
    pub(super) block: u64,
    /// Number of blocks.
    pub(super) blocks: u64,
    /// MAXIMUM TRANSFER LENGTH in blocks.
    pub(super) most: u64,
}

impl Geometry {
    /// From READ CAPACITY(16) data (SBC-4 5.19) and the body of VPD page B0h. `None` for lengths that no block device
    /// has.
    pub(super) fn new(capacity: &[u8], limits: Option<&[u8]>) -> Option<Self> {
        let last = u64::from_be_bytes(*capacity.first_chunk()?);
        let block = u32::from_be_bytes(*capacity.get(8..)?.first_chunk()?);
        let most = limits.and_then(|page| page.get(4..)?.first_chunk());
        let most = most.map_or(0, |field| u32::from_be_bytes(*field));
        (block.is_power_of_two() && (512..=65_536).contains(&block)).then_some(Self {
            block: block.into(),
            blocks: last.checked_add(1)?,
            most: if most == 0 { u64::MAX } else { most.into() },
        })
    }

    /// Whether `bytes` from byte `from` on lie on the unit.
    fn holds(&self, from: Option<u64>, bytes: u64) -> bool {
        let end = from.and_then(|from| from.checked_add(bytes));
        let size = u128::from(self.blocks) * u128::from(self.block);
        end.is_some_and(|end| u128::from(end) <= size)
    }
}

/// A side of a transfer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    /// Place among the units of the copy.
    pub(super) party: usize,
    pub(super) geometry: Geometry,
    /// DISK BLOCK LENGTH as the CSCD descriptor gives it, with the place of the field in the list.
    pub(super) claimed: (u32, usize),
    pub(super) lba: u64,
    /// Bytes into that block.
    pub(super) offset: u16,
}

impl Side {
    fn start(&self) -> Option<u64> {
        let byte = self.lba.checked_mul(self.geometry.block)?;
        byte.checked_add(self.offset.into())
    }
}

/// How much a segment moves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Amount {
    /// Blocks of the source.
    SourceBlocks(u16),
    /// Blocks of the destination.
    DestinationBlocks(u16),
    Bytes(u32),
}

/// A transfer from unit to unit that can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) source: usize,
    pub(super) destination: usize,
    /// Where it begins, in bytes.
    from: u64,
    to: u64,
    pub(super) bytes: u64,
    source_block: u64,
    destination_block: u64,
    /// Bytes in the unit in which INFORMATION counts what was not moved.
    counted: u64,
    /// Most bytes of one chunk.
    chunk: u64,
    /// The handlers may be able to copy by themselves.
    pub(super) by_handlers: bool,
}

/// A part of a transfer, done with one read and one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Bytes of the transfer before it.
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) read: (u64, u64),
    pub(super) write: (u64, u64),
    /// Bytes of the data read that lie before the chunk.
    pub(super) skip: usize,
}

impl Transfer {
    /// Checks a segment against the units it names.
    ///
    /// # Errors
    /// COPY ABORTED with the number of the segment and, in INFORMATION, all that it was to move: UNEXPECTED INEXACT
    /// SEGMENT when it is no whole number of blocks on either side (whatever PAD and CAT say), NO ADDITIONAL SENSE
    /// when it is not all on the unit. ILLEGAL REQUEST: INVALID FIELD IN PARAMETER LIST for a wrong DISK BLOCK LENGTH,
    /// INVALID OPERATION FOR COPY SOURCE OR DESTINATION for a segment that overlaps itself.
    pub(super) fn new(
        segment: u16,
        source: &Side,
        destination: &Side,
        amount: Amount,
        most: u64,
    ) -> Result<Self, Sense> {
        for side in [source, destination] {
            let (length, at) = side.claimed;
            if length != 0 && u64::from(length) != side.geometry.block {
                return Err(invalid(at, None));
            }
        }
        let (source_block, destination_block) = (source.geometry.block, destination.geometry.block);
        let (count, counted) = match amount {
            Amount::SourceBlocks(n) => (u64::from(n), source_block),
            Amount::DestinationBlocks(n) => (u64::from(n), destination_block),
            Amount::Bytes(n) => (u64::from(n), 1),
        };
        let bytes = count * counted;
        let failed = |sense: Sense| Err(sense.with_information(count));
        if !source.geometry.holds(source.start(), bytes) {
            return failed(failure::out_of_range(false, segment));
        }
        if !destination.geometry.holds(destination.start(), bytes) {
            return failed(failure::out_of_range(true, segment));
        }
        let (from, to) = (
            source.start().unwrap_or_default(),
            destination.start().unwrap_or_default(),
        );
        // Data of a source may begin and end within a block; a destination's blocks are written whole.
        let whole = |byte: u64| byte.is_multiple_of(destination_block);
        let source_whole = matches!(amount, Amount::Bytes(_)) || bytes.is_multiple_of(source_block);
        if !whole(to) || !whole(bytes) || !source_whole {
            return failed(failure::aborted(Asc::UNEXPECTED_INEXACT_SEGMENT, segment));
        }
        if source.party == destination.party && from.abs_diff(to) < bytes {
            return Err(Sense::illegal_request(
                Asc::INVALID_OPERATION_FOR_COPY_SOURCE_OR_DESTINATION,
            ));
        }
        let mut transfer = Self {
            source: source.party,
            destination: destination.party,
            from,
            to,
            bytes,
            source_block,
            destination_block,
            counted,
            chunk: 0,
            by_handlers: false,
        };
        transfer.chunk =
            transfer.chunk_bytes(source.geometry.most, destination.geometry.most, most);
        Ok(transfer)
    }

    /// The most that one read and one write move: within the limits of both units, in whole blocks of both.
    fn chunk_bytes(&self, source_most: u64, destination_most: u64, most: u64) -> u64 {
        // A read that begins within a block takes one block more.
        let readable = source_most
            .saturating_sub(1)
            .max(1)
            .saturating_mul(self.source_block);
        let writable = destination_most.saturating_mul(self.destination_block);
        let block = self.source_block.max(self.destination_block);
        let bytes = most.min(readable).min(writable);
        (bytes - bytes % block).max(block)
    }

    /// Whether both sides have blocks of one length and the data fills them.
    pub(super) fn block_by_block(&self) -> bool {
        self.source_block == self.destination_block && self.from.is_multiple_of(self.source_block)
    }

    /// The chunk that begins at byte `offset` of the transfer; `None` at its end.
    pub(super) fn chunk(&self, offset: u64) -> Option<Chunk> {
        let bytes = self.bytes.checked_sub(offset).filter(|left| *left > 0)?;
        let bytes = bytes.min(self.chunk);
        let (from, to) = (self.from + offset, self.to + offset);
        let first = from / self.source_block;
        let end = (from + bytes).div_ceil(self.source_block);
        Some(Chunk {
            offset,
            bytes,
            read: (first, end - first),
            write: (to / self.destination_block, bytes / self.destination_block),
            skip: (from % self.source_block) as usize,
        })
    }

    /// The chunk that ends the transfer.
    pub(super) fn last_chunk(&self) -> Option<Chunk> {
        let last = self.bytes.checked_sub(1)?;
        self.chunk(last - last % self.chunk)
    }

    /// What INFORMATION says when only `done` bytes were moved (SPC-4 5.17).
    pub(super) fn residue(&self, done: u64) -> u64 {
        self.bytes.saturating_sub(done) / self.counted
    }

    /// Bytes that a read of a chunk brings.
    pub(super) fn read_bytes(&self, chunk: &Chunk) -> u64 {
        chunk.read.1 * self.source_block
    }
}

/// READ(16) or WRITE(16) of an extent.
pub(super) fn medium_access(write: bool, (lba, blocks): (u64, u64)) -> Result<ParsedCdb, Sense> {
    let mut cdb = [0; 16];
    cdb[0] = if write { 0x8A } else { 0x88 };
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&(blocks as u32).to_be_bytes());
    Cdb::parse(&cdb)
}

/// READ CAPACITY(16).
pub(super) fn read_capacity() -> Result<ParsedCdb, Sense> {
    Cdb::parse(&[0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0])
}

/// TEST UNIT READY.
pub(super) fn test_unit_ready() -> Result<ParsedCdb, Sense> {
    Cdb::parse(&[0; 6])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sense::SenseKey;
    use proptest::prelude::*;

    fn side(party: usize, block: u64, lba: u64, offset: u16) -> Side {
        Side {
            party,
            geometry: Geometry {
                block,
                blocks: 1000,
                most: u64::MAX,
            },
            claimed: (0, 0),
            lba,
            offset,
        }
    }

    #[test]
    fn a_segment_ends_where_the_unit_does() {
        let new = |lba, blocks| {
            let amount = Amount::SourceBlocks(blocks);
            Transfer::new(7, &side(0, 512, lba, 0), &side(1, 512, 0, 0), amount, 4096)
        };
        assert!(new(990, 10).is_ok() && new(1000, 0).is_ok());
        for (lba, blocks) in [(991, 10), (1001, 0), (u64::MAX, 1), (1 << 60, 1)] {
            let sense = new(lba, blocks).unwrap_err();
            assert_eq!(sense.key, SenseKey::CopyAborted);
            assert_eq!(sense.command_specific, Some(7), "the number of the segment");
            assert_eq!(sense.information, Some(blocks.into()), "all of it is left");
            let (_, asc, _) = sense.forwarded.unwrap().sense.unwrap();
            assert_eq!(asc, Asc::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE);
        }
    }

    #[test]
    fn blocks_of_different_length_must_come_out_even() {
        let new = |amount| {
            Transfer::new(
                0,
                &side(0, 512, 1, 0),
                &side(1, 4096, 2, 0),
                amount,
                1 << 20,
            )
        };
        assert_eq!(new(Amount::SourceBlocks(16)).unwrap().bytes, 8192);
        assert_eq!(new(Amount::DestinationBlocks(2)).unwrap().bytes, 8192);
        let inexact = new(Amount::SourceBlocks(9)).unwrap_err();
        assert_eq!(inexact.asc, Asc::UNEXPECTED_INEXACT_SEGMENT);
        let chunk = new(Amount::SourceBlocks(16)).unwrap().chunk(0).unwrap();
        assert_eq!((chunk.read, chunk.write), ((1, 16), (2, 2)));
    }

    #[test]
    fn n45_a_segment_that_overlaps_itself_is_refused() {
        let new = |from, to| {
            let amount = Amount::SourceBlocks(8);
            Transfer::new(
                0,
                &side(0, 512, from, 0),
                &side(0, 512, to, 0),
                amount,
                4096,
            )
        };
        assert!(new(0, 8).is_ok() && new(8, 0).is_ok());
        for (from, to) in [(0, 0), (0, 7), (7, 0)] {
            let sense = new(from, to).unwrap_err();
            assert_eq!(
                (sense.key, sense.asc.ascq),
                (SenseKey::IllegalRequest, 0x0C)
            );
        }
    }

    #[test]
    fn a_wrong_disk_block_length_is_pointed_at() {
        let mut source = side(0, 4096, 0, 0);
        source.claimed = (512, 45);
        let new =
            |s: &Side| Transfer::new(0, s, &side(1, 512, 0, 0), Amount::SourceBlocks(1), 4096);
        assert_eq!(new(&source).unwrap_err(), invalid(45, None));
        source.claimed = (4096, 45);
        assert!(new(&source).is_ok());
    }

    #[test]
    fn data_may_begin_within_a_block_of_the_source_only() {
        let new = |from, to| {
            let amount = Amount::Bytes(1024);
            Transfer::new(
                0,
                &side(0, 512, 3, from),
                &side(1, 512, 9, to),
                amount,
                1024,
            )
        };
        let chunk = new(100, 0).unwrap().chunk(0).unwrap();
        assert_eq!((chunk.read, chunk.write, chunk.skip), ((3, 3), (9, 2), 100));
        assert_eq!(new(0, 1).unwrap_err().asc, Asc::UNEXPECTED_INEXACT_SEGMENT);
        assert_eq!(new(0, 512).unwrap().chunk(0).unwrap().write, (10, 2));
    }

    proptest! {
        #[test]
        fn chunks_cover_a_transfer_once_in_order_within_the_limits(
            source in 9u32..13, destination in 9u32..13, blocks in 0u16..500, offset in 0u16..512,
            most in 1u64..(1 << 18), readable in 1u64..64, writable in 1u64..64,
        ) {
            let (mut a, mut b) = (side(0, 1 << source, 3, 0), side(1, 1 << destination, 5, 0));
            (a.geometry.most, b.geometry.most) = (readable, writable);
            a.offset = offset;
            let amount = Amount::Bytes(u32::from(blocks) << destination);
            if let Ok(transfer) = Transfer::new(0, &a, &b, amount, most) {
                let mut at = 0;
                while let Some(chunk) = transfer.chunk(at) {
                    let Chunk { bytes, read, write, skip, .. } = chunk;
                    prop_assert_eq!((chunk.offset, write.0), (at, 5 + (at >> destination)));
                    prop_assert_eq!(write.1 << destination, bytes);
                    prop_assert!(skip as u64 + bytes <= read.1 << source);
                    prop_assert_eq!((read.0 << source) + skip as u64, (3 << source) + u64::from(offset) + at);
                    // One block of the other side may be larger than what a unit takes at once.
                    prop_assert!(bytes <= most.max(1 << source.max(destination)));
                    at += bytes;
                }
                prop_assert_eq!(at, transfer.bytes);
            }
        }
    }
}
