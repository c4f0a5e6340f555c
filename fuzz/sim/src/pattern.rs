//! What blocks hold: each tells which write it comes from.

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;

/// What a block holds: 0 for zeroes, else a write's number and the place of the block in it.
pub(crate) type Content = u64;

const WORD: usize = 8;
const WEYL: u64 = 0x9E37_79B9_7F4A_7C15;

/// Block `at` of a write.
pub(crate) fn content(write: u32, at: usize) -> Content {
    u64::from(write) << 8 | at as u64
}

/// Write and place of a content that is not zero.
pub(crate) fn origin(content: Content) -> (u32, usize) {
    ((content >> 8) as u32, (content & 0xFF) as usize)
}

/// Fills a block.
pub(crate) fn fill(block: &mut [u8], content: Content) {
    if content == 0 {
        return block.fill(0);
    }
    let mut word = content;
    for part in block.chunks_exact_mut(WORD) {
        part.copy_from_slice(&word.to_le_bytes());
        word = (word ^ content).wrapping_add(WEYL);
    }
}

/// What a block holds; `None` for bytes that nobody wrote so.
pub(crate) fn read(block: &[u8]) -> Option<Content> {
    let first: [u8; WORD] = *block.first_chunk()?;
    let content = u64::from_le_bytes(first);
    let mut word = content;
    for part in block.chunks_exact(WORD) {
        if part != word.to_le_bytes() {
            return None;
        }
        if content != 0 {
            word = (word ^ content).wrapping_add(WEYL);
        }
    }
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_tells_where_it_comes_from_and_a_torn_one_does_not() {
        let mut block = [0; BLOCK];
        assert_eq!(read(&block), Some(0));
        for (write, at) in [(1, 0), (7, 63), (u32::MAX, 255)] {
            fill(&mut block, content(write, at));
            assert_eq!(read(&block).map(origin), Some((write, at)));
            let mut torn = block;
            torn[BLOCK / 2..].fill(0);
            assert_eq!(read(&torn), None);
        }
    }
}
