//! Data whose every block names its address and generation, so that a lost, torn or misplaced
//! write shows.
//!
//! A block starts with its LBA and with its generation and the seed of the run; the rest is a
//! hash of all three and the position.

/// Bytes of one pattern word.
const WORD: usize = 8;

/// Pattern of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pattern {
    /// Differs between runs, so that data of an earlier run is not taken for this one's.
    pub(crate) seed: u32,
    /// Bytes per logical block.
    pub(crate) block: u32,
}

/// A difference between data read and data written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("data mismatch at LBA {lba}, byte {byte}: expected generation {expected}, found {found}")]
pub struct Mismatch {
    /// Block that differs.
    pub lba: u64,
    /// First differing byte in it.
    pub byte: usize,
    /// Generation written last.
    pub expected: u32,
    /// What the block read looks like.
    pub found: String,
}

/// Which write a block is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Zeroes: never written.
    Never,
    /// This generation, whole.
    Generation(u32),
    /// None of this pattern's for this address.
    Foreign(String),
}

#[inline]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Pattern {
    fn word(&self, lba: u64, generation: u32, index: u64) -> u64 {
        let tag = u64::from(generation) << 32 | u64::from(self.seed);
        match index {
            0 => lba,
            1 => tag,
            _ => mix(lba.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ mix(tag) ^ index),
        }
    }

    /// Appends `len` bytes of a write that starts at `lba`, from byte `offset` of it.
    pub(crate) fn emit(
        &self,
        lba: u64,
        generation: u32,
        offset: usize,
        len: usize,
        out: &mut Vec<u8>,
    ) {
        let block = self.block as usize;
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let (number, inside) = (at / block, at % block);
            let take = (block - inside).min(end - at);
            self.emit_in_block(lba + number as u64, generation, inside, take, out);
            at += take;
        }
    }

    /// Appends `len` bytes of one block, from byte `inside` of it.
    fn emit_in_block(
        &self,
        lba: u64,
        generation: u32,
        inside: usize,
        len: usize,
        out: &mut Vec<u8>,
    ) {
        let (mut at, end) = (inside, inside + len);
        while at < end {
            let word = self.word(lba, generation, (at / WORD) as u64).to_be_bytes();
            let skip = at % WORD;
            let take = (WORD - skip).min(end - at);
            match take {
                WORD => out.extend_from_slice(&word),
                _ => out.extend(word.iter().skip(skip).take(take)),
            }
            at += take;
        }
    }

    /// Compares `data`, read from byte `offset` of a transfer at `lba`.
    pub(crate) fn check(
        &self,
        lba: u64,
        generation: u32,
        offset: usize,
        data: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<(), Mismatch> {
        scratch.clear();
        self.emit(lba, generation, offset, data.len(), scratch);
        if scratch.as_slice() == data {
            return Ok(());
        }
        let differs = scratch
            .iter()
            .zip(data)
            .position(|(a, b)| a != b)
            .unwrap_or(0);
        let (number, byte) = (
            (offset + differs) / self.block as usize,
            (offset + differs) % self.block as usize,
        );
        let start = (number * self.block as usize).saturating_sub(offset);
        let found = self.describe(data.get(start..).unwrap_or(&[]), lba + number as u64, byte);
        Err(Mismatch {
            lba: lba + number as u64,
            byte,
            expected: generation,
            found,
        })
    }

    /// Which write of the block `lba` this block is.
    pub(crate) fn identify(&self, lba: u64, block: &[u8]) -> Identity {
        if block.len() != self.block as usize {
            return Identity::Foreign("a part of a block".into());
        }
        if block.iter().all(|byte| *byte == 0) {
            return Identity::Never;
        }
        let tag = block.get(WORD..).and_then(<[u8]>::first_chunk::<4>);
        let generation = tag.map_or(0, |tag| u32::from_be_bytes(*tag));
        match self.check(lba, generation, 0, block, &mut Vec::new()) {
            Ok(()) => Identity::Generation(generation),
            Err(differs) => Identity::Foreign(differs.found),
        }
    }

    fn describe(&self, block: &[u8], lba: u64, byte: usize) -> String {
        let Some((first, rest)) = block.split_first_chunk::<8>() else {
            return "a torn block".into();
        };
        let Some(tag) = rest.first_chunk::<8>() else {
            return "a torn block".into();
        };
        let (at, tag) = (u64::from_be_bytes(*first), u64::from_be_bytes(*tag));
        if tag as u32 != self.seed {
            return "data this run did not write".into();
        }
        let generation = tag >> 32;
        if at != lba {
            return format!("generation {generation} of LBA {at}");
        }
        if byte >= 2 * WORD {
            return format!("a block torn within generation {generation}");
        }
        format!("generation {generation}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Pattern = Pattern {
        seed: 77,
        block: 512,
    };

    #[test]
    fn any_cut_of_a_transfer_matches_the_whole() {
        let mut whole = Vec::new();
        P.emit(100, 3, 0, 2048, &mut whole);
        let mut scratch = Vec::new();
        for (offset, len) in [(0, 1), (7, 9), (511, 2), (512, 512), (1000, 1048)] {
            let mut part = Vec::new();
            P.emit(100, 3, offset, len, &mut part);
            assert_eq!(part, whole[offset..offset + len]);
            P.check(100, 3, offset, &part, &mut scratch).unwrap();
        }
    }

    #[test]
    fn stale_misplaced_and_torn_blocks_are_told_apart_with_their_lba() {
        let (mut data, mut scratch) = (Vec::new(), Vec::new());
        P.emit(100, 2, 0, 1024, &mut data);
        let stale = P.check(100, 3, 0, &data, &mut scratch).unwrap_err();
        assert_eq!((stale.lba, stale.found.as_str()), (100, "generation 2"));
        let moved = P.check(101, 2, 0, &data, &mut scratch).unwrap_err();
        assert_eq!(
            (moved.lba, moved.found.as_str()),
            (101, "generation 2 of LBA 100")
        );
        data[512 + 40] ^= 1;
        let torn = P.check(100, 2, 0, &data, &mut scratch).unwrap_err();
        assert_eq!((torn.lba, torn.byte), (101, 40));
        assert!(torn.found.contains("torn"));
        let foreign = P.check(100, 2, 0, &[0; 512], &mut scratch).unwrap_err();
        assert_eq!(foreign.found, "data this run did not write");
    }
}
