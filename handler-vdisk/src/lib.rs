//! Virtual disks: SBC commands over a byte store; and CD drives, which share most of them and add those of MMC.
//!
//! ```text
//!   DeviceHandler (core) ── Vdisk ── one file per command family ── Step machines ──▶ BackingStore
//!                                                                                    ├ FdStore: file, block device
//!                                                                                    │   engines: inline, io_uring, threads
//!                                                                                    ├ Tray: the image in a CD drive, or none
//!                                                                                    ├ NullStore, RamStore
//!                                                                                    └ yours, or SimpleStore
//! ```
//!
//! Ownership: a command's buffer belongs to the operation that is in the store. Locks: no store or disk lock is held
//! while a completion runs. Nothing here blocks a shard: what may block runs in io_uring or on the store's own threads,
//! so that a store that hangs holds up its own unit only.

pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

mod background;
mod builder;
mod capacity;
mod cdrom;
mod check;
mod compare_and_write;
mod copy;
mod data_buffer;
mod defects;
mod diagnostic;
mod disk;
mod drive;
mod error;
mod exceptions;
mod face;
mod format_unit;
mod handler;
mod identifying;
mod lba_status;
mod log;
mod mode;
mod operation;
mod orwrite;
mod outcome;
mod parameters;
mod pre_fetch;
mod provisioning;
mod read;
mod read_modify;
mod removal;
mod sanitize;
mod self_test;
mod start_stop;
mod statistics;
mod sync_cache;
mod timestamp;
mod transfer;
mod unmap;
mod vdisk;
mod verify;
mod vpd;
mod write;
mod write_atomic;
mod write_same;

pub use builder::VdiskBuilder;
pub use disk::MAX_TRANSFER;
pub use error::VdiskError;
pub use parameters::ParametersError;
pub use store::{BackingStore, Engine, SimpleAdapter, SimpleStore};
pub use vdisk::Vdisk;
