//! Units as types: logical block addresses, block counts, byte lengths and block sizes.
//!
//! Values that come from the wire stay in these types until they are checked; every operation that
//! can overflow says so by returning an `Option`.

use std::fmt;

/// A logical block address (SBC-4 3.1.74).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lba(pub u64);

impl Lba {
    /// The first logical block of a medium.
    pub const ZERO: Self = Self(0);

    /// The address `count` blocks further on, `None` past 2^64 - 1.
    #[must_use]
    pub const fn checked_add(self, count: BlockCount) -> Option<Self> {
        match self.0.checked_add(count.0) {
            Some(lba) => Some(Self(lba)),
            None => None,
        }
    }

    /// The distance from `earlier` to this address, `None` if `earlier` is the later one.
    #[must_use]
    pub const fn checked_sub(self, earlier: Self) -> Option<BlockCount> {
        match self.0.checked_sub(earlier.0) {
            Some(count) => Some(BlockCount(count)),
            None => None,
        }
    }

    /// Whether the whole extent of `count` blocks from here lies inside a medium of `capacity`
    /// blocks. An empty extent may start at `capacity` itself but not beyond it (SBC-4 4.6).
    #[must_use]
    pub const fn extent_fits(self, count: BlockCount, capacity: BlockCount) -> bool {
        match self.0.checked_add(count.0) {
            Some(end) => end <= capacity.0,
            None => false,
        }
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of logical blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockCount(pub u64);

impl BlockCount {
    /// No block at all.
    pub const ZERO: Self = Self(0);

    /// The sum, `None` past 2^64 - 1.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(count) => Some(Self(count)),
            None => None,
        }
    }

    /// The difference, `None` below zero.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(count) => Some(Self(count)),
            None => None,
        }
    }

    /// Whether this counts no block.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The address of the last of these blocks on a medium of this capacity, `None` if it is empty.
    #[must_use]
    pub const fn last_lba(self) -> Option<Lba> {
        match self.0.checked_sub(1) {
            Some(lba) => Some(Lba(lba)),
            None => None,
        }
    }
}

impl fmt::Display for BlockCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A length in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteLen(pub u64);

impl ByteLen {
    /// No byte at all.
    pub const ZERO: Self = Self(0);

    /// The sum, `None` past 2^64 - 1.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(len) => Some(Self(len)),
            None => None,
        }
    }

    /// The difference, `None` below zero.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(len) => Some(Self(len)),
            None => None,
        }
    }

    /// The length as an index type, `None` where it does not fit the address space.
    #[must_use]
    pub fn to_usize(self) -> Option<usize> {
        usize::try_from(self.0).ok()
    }
}

impl fmt::Display for ByteLen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The logical block length: a power of two from 512 to 65536 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSize {
    shift: u8,
}

impl BlockSize {
    /// 512-byte blocks.
    pub const B512: Self = Self { shift: 9 };
    /// 2048-byte blocks, as CD-ROM media have.
    pub const B2048: Self = Self { shift: 11 };
    /// 4096-byte blocks.
    pub const B4096: Self = Self { shift: 12 };

    /// A block size of `bytes`, `None` unless it is a power of two from 512 to 65536.
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        let mut shift = 9;
        while shift <= 16 {
            if bytes == 1 << shift {
                return Some(Self { shift });
            }
            shift += 1;
        }
        None
    }

    /// The block length in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        1 << self.shift
    }

    /// Log2 of the block length.
    #[must_use]
    pub const fn shift(self) -> u32 {
        self.shift as u32
    }

    /// The bytes `count` blocks hold, `None` past 2^64 - 1.
    #[must_use]
    pub const fn to_bytes(self, count: BlockCount) -> Option<ByteLen> {
        match count.0.checked_mul(1 << self.shift) {
            Some(len) => Some(ByteLen(len)),
            None => None,
        }
    }

    /// The byte offset at which block `lba` starts, `None` past 2^64 - 1.
    #[must_use]
    pub const fn offset(self, lba: Lba) -> Option<u64> {
        lba.0.checked_mul(1 << self.shift)
    }

    /// The whole blocks that fit into `len` bytes; a trailing part of a block is not counted.
    #[must_use]
    pub const fn whole_blocks(self, len: ByteLen) -> BlockCount {
        BlockCount(len.0 >> self.shift)
    }

    /// Whether `len` is a whole number of blocks.
    #[must_use]
    pub const fn is_aligned(self, len: u64) -> bool {
        len & ((1 << self.shift) - 1) == 0
    }
}

impl fmt::Debug for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockSize({})", self.bytes())
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn block_size_is_a_power_of_two_between_512_and_65536() {
        for bytes in 0..=200_000u32 {
            let valid = bytes.is_power_of_two() && (512..=65536).contains(&bytes);
            assert_eq!(
                BlockSize::new(bytes).map(BlockSize::bytes),
                valid.then_some(bytes)
            );
        }
        assert_eq!(BlockSize::new(0x8000_0000), None);
    }

    #[test]
    fn n41_extent_that_wraps_past_two_to_the_64_does_not_fit() {
        let all = BlockCount(u64::MAX);
        assert!(!Lba(u64::MAX).extent_fits(BlockCount(1), all));
        assert!(!Lba(2).extent_fits(BlockCount(u64::MAX), all));
        assert!(Lba(u64::MAX).extent_fits(BlockCount(0), all));
        assert!(Lba(7).extent_fits(BlockCount(1), BlockCount(8)));
        assert!(!Lba(8).extent_fits(BlockCount(1), BlockCount(8)));
        assert!(!Lba(9).extent_fits(BlockCount(0), BlockCount(8)));
    }

    proptest! {
        #[test]
        fn byte_arithmetic_agrees_with_128_bits(shift in 9u32..=16, n in any::<u64>()) {
            let size = BlockSize::new(1 << shift).unwrap();
            let exact = u128::from(n) << shift;
            let expect = u64::try_from(exact).ok();
            prop_assert_eq!(size.offset(Lba(n)), expect);
            prop_assert_eq!(size.to_bytes(BlockCount(n)), expect.map(ByteLen));
            prop_assert_eq!(size.whole_blocks(ByteLen(n)).0, n / u64::from(size.bytes()));
            prop_assert_eq!(size.is_aligned(n), n % u64::from(size.bytes()) == 0);
        }
    }
}
