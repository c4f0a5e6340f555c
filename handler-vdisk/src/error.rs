//! [`VdiskError`]: why a disk cannot be had or changed.

use std::path::PathBuf;

use crate::parameters::ParametersError;
use crate::store::{OpenError, StoreError};

/// Why a disk cannot be opened. One sentence each, with the path where there is one.
#[derive(Debug, thiserror::Error)]
pub enum VdiskError {
    /// The backing file or device.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The backing store.
    #[error("{name}: {source}")]
    Store {
        /// Path or name of the disk.
        name: String,
        /// What the store said.
        source: StoreError,
    },
    /// The logical block size is no power of two from 512 to 65536, or not a multiple of the device's.
    #[error(
        "{name}: logical block size {size} is not possible, the store needs a power of two from {least} to 65536"
    )]
    BlockSize {
        /// Path or name of the disk.
        name: String,
        /// Bytes asked for.
        size: u32,
        /// Smallest possible.
        least: u32,
    },
    /// The physical block size is no power of two, or smaller than the logical one.
    #[error(
        "{name}: physical block size {size} is not a power of two of at least the logical block size"
    )]
    PhysicalBlockSize {
        /// Path or name of the disk.
        name: String,
        /// Bytes asked for.
        size: u32,
    },
    /// The size is no whole number of blocks, or zero.
    #[error("{name}: size {size} is not a positive multiple of the block size {block}")]
    Size {
        /// Path or name of the disk.
        name: String,
        /// Bytes.
        size: u64,
        /// Block size in bytes.
        block: u32,
    },
    /// Thin provisioning needs a store that can discard and then reads zeroes.
    #[error("{name}: thin provisioning needs a backing store that supports discard")]
    Thin {
        /// Path or name of the disk.
        name: String,
    },
    /// The parameters file cannot be used.
    #[error("parameters file {path}: {source}")]
    Parameters {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ParametersError,
    },
    /// A threshold needs a thin disk, a store that tells its space, and a percentage from 1 to 99.
    #[error(
        "{name}: a space threshold of 1 to 99 percent needs a thin disk over a store that tells its space"
    )]
    SpaceThreshold {
        /// Path or name of the disk.
        name: String,
    },
    /// Its medium is not one that can be exchanged.
    #[error("{name} is no CD drive: its medium cannot be changed")]
    FixedMedium {
        /// Path or name of the disk.
        name: String,
    },
    /// An identification is missing, too long or not printable ASCII.
    #[error("{name}: {what} must be 1 to {max} printable ASCII characters")]
    Identity {
        /// Path or name of the disk.
        name: String,
        /// Which.
        what: &'static str,
        /// Longest.
        max: usize,
    },
}
