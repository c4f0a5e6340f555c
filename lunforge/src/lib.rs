//! A SCSI target to embed.
//!
//! ```no_run
//! use lunforge::{Engine, Target, Unit, iscsi::IscsiTransport, vdisk::Vdisk};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = Vdisk::file("disk.img").write_through(true).open()?;
//! let target = Target::builder("iqn.2026-11.org.example:disk").lun(0, Unit::new(disk)).build()?;
//! let engine = Engine::builder().shards(2).start()?;
//! let iscsi = engine.attach(IscsiTransport::bind("127.0.0.1:3260")?, target)?;
//! # Ok(()) }
//! ```
//!
//! This crate gives the others one name: [`core`] always, [`vdisk`], [`iscsi`], [`srp`], [`alua`] and [`pr`] by
//! feature of that name, all on by default. [`Unit`] puts together what makes a logical unit whole.

#[cfg(feature = "alua")]
pub use lunforge_alua as alua;
pub use lunforge_core as core;
#[cfg(feature = "iscsi")]
pub use lunforge_iscsi as iscsi;
#[cfg(feature = "pr")]
pub use lunforge_pr as pr;
#[cfg(feature = "srp")]
pub use lunforge_srp as srp;
#[cfg(feature = "vdisk")]
pub use lunforge_vdisk as vdisk;

#[cfg(feature = "pr")]
mod unit;

pub use lunforge_core::{DeviceHandler, Engine, Ladder, LogicalUnit, Target};
#[cfg(feature = "pr")]
pub use unit::Unit;
