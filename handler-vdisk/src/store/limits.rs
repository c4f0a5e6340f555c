//! What a store declares about itself. VPD and mode pages are derived from these and from nothing else.

use bitflags::bitflags;

/// Sizes and alignments, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the store.
    pub size: u64,
    /// Smallest unit the store can address; offsets and lengths are multiples of it. A power of two; 1 for plain files.
    pub logical_block: u32,
    /// Unit that is written without a read-modify-write below. A power of two.
    pub physical_block: u32,
    /// Largest READ or WRITE operation.
    pub max_transfer: u32,
    /// Largest DISCARD or WRITE ZEROES operation.
    pub max_discard: u64,
    /// Unit in which storage is given up (0: unknown).
    pub discard_granularity: u32,
    /// Offset of the first discard unit.
    pub discard_alignment: u32,
}

impl Limits {
    /// The limits of a byte store of `size` bytes without peculiarities.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            logical_block: 1,
            physical_block: 4096,
            max_transfer: 8 << 20,
            max_discard: 256 << 20,
            discard_granularity: 4096,
            discard_alignment: 0,
        }
    }
}

/// Storage behind a thin store, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Taken by this store.
    pub used: u64,
    /// Still to be had, by this store and whoever shares the storage.
    pub available: u64,
    /// All there is, for whoever shares it.
    pub capacity: u64,
}

bitflags! {
    /// What a store can do and promises.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Capabilities: u32 {
        /// A finished write may be lost by a power cut until a flush: WCE=1.
        const VOLATILE_CACHE = 1;
        /// A single write can be made stable on its own.
        const FUA = 1 << 1;
        /// `Discard` works.
        const DISCARD = 1 << 2;
        /// `WriteZeroes` is faster than writing zeroes.
        const WRITE_ZEROES = 1 << 3;
        /// A discarded range reads as zeroes.
        const READS_ZERO_AFTER_DISCARD = 1 << 4;
        /// Nothing may be written.
        const READ_ONLY = 1 << 5;
        /// Spinning medium.
        const ROTATIONAL = 1 << 6;
        /// `AllocationStatus` works.
        const ALLOCATION_STATUS = 1 << 7;
        /// A power cut leaves all of a single write or nothing of it. A store that is empty after a power cut promises
        /// this too.
        const ATOMIC_WRITE = 1 << 8;
        /// `CopyFrom` works, from stores that have a [`BackingStore::copy_source`](super::BackingStore::copy_source).
        const COPY = 1 << 9;
    }
}
