//! Durable or not: writes whose acknowledgement promises that they survive a power cut, kept in a record, and what is
//! left of them after one (SBC-3 4.15, 5.32; SPC-4 6.11).
//!
//! ```text
//!  write   one session per unit, commands in flight that never overlap ── record: one line per acknowledged write
//!  verify  every block of every unit against its record                ── lowered lines where data was lost
//!  replay  a log of dm-log-writes, at every flush and FUA, against the record
//! ```
//!
//! Each logical block names its unit, its LBA and the write that it is of; so what is found is an acknowledged write, a
//! later one that was issued, an older one (lost), or nothing that was ever written (torn).

mod ask;
mod ledger;
mod mark;
mod record;
pub mod replay;
pub mod verify;
pub mod write;

use std::path::PathBuf;
use std::str::FromStr;

use crate::initiator::{self, Url};

pub use ledger::{Finding, Ledger};
pub use record::{Ack, RecordError, Unit};

/// By what a write becomes durable, or is said to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The unit has no volatile cache (WCE=0): GOOD of a WRITE is the promise.
    WriteThrough,
    /// The unit has one and the initiator turns it off (WCE=0 by MODE SELECT).
    CacheOff,
    /// The cache is on: WRITE with FUA.
    Fua,
    /// The cache is on: WRITE, then SYNCHRONIZE CACHE.
    Sync,
    /// The target says WCE=0 as its cache survives power cuts. Where none does, it lies.
    NvCache,
    /// The cache is on and nothing is flushed: no promise.
    Volatile,
}

impl Mode {
    const NAMES: [(&'static str, Self); 6] = [
        ("write-through", Self::WriteThrough),
        ("cache-off", Self::CacheOff),
        ("fua", Self::Fua),
        ("sync", Self::Sync),
        ("nv-cache", Self::NvCache),
        ("volatile", Self::Volatile),
    ];

    /// As it is written on the command line and in records.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, mode)| *mode == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether an acknowledged write must be there after a power cut.
    pub fn must_hold(self) -> bool {
        !matches!(self, Self::NvCache | Self::Volatile)
    }

    /// What WCE (caching mode page) has to say before writing begins.
    pub(crate) fn wce(self) -> bool {
        matches!(self, Self::Fua | Self::Sync | Self::Volatile)
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::NAMES.iter().find(|(name, _)| *name == text);
        known.map(|(_, mode)| *mode).ok_or_else(|| {
            format!("{text:?} is none of write-through, cache-off, fua, sync, nv-cache, volatile")
        })
    }
}

/// A logical unit under test: `NAME=MODE@URL`. The name is that of its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderTest {
    /// Letters, digits and hyphens.
    pub name: String,
    /// What is promised.
    pub mode: Mode,
    /// Where it is.
    pub url: Url,
}

impl FromStr for UnderTest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || format!("{text:?} is not NAME=MODE@URL");
        let (name, rest) = text.split_once('=').ok_or_else(form)?;
        let (mode, url) = rest.split_once('@').ok_or_else(form)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(form());
        }
        Ok(Self {
            name: name.to_owned(),
            mode: mode.parse()?,
            url: url
                .parse()
                .map_err(|e: initiator::url::UrlError| e.to_string())?,
        })
    }
}

/// Why a run came to nothing. What a power cut took is no error but a [`Finding`].
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// A unit could not be used, or answered wrongly.
    #[error("{name}: {source}")]
    Unit {
        /// Its name.
        name: String,
        /// What happened.
        source: initiator::Error,
    },
    /// A unit is not as its mode or its record wants it.
    #[error("{name}: {what}")]
    Unfit {
        /// Its name.
        name: String,
        /// In which way.
        what: String,
    },
    /// A record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A file or a program of this machine.
    #[error("{what}: {source}")]
    Host {
        /// Which, and what was done.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl DurableError {
    fn host(what: impl Into<String>, source: std::io::Error) -> Self {
        let what = what.into();
        Self::Host { what, source }
    }
}

/// The record of the unit with this name.
fn record_of(folder: &std::path::Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.acks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_under_test_is_name_mode_and_url() {
        let unit: UnderTest = "ext4-fua=fua@iscsi://127.0.0.1:3260/iqn.2026-11.x:y/3"
            .parse()
            .unwrap();
        assert_eq!(
            (unit.name.as_str(), unit.mode, unit.url.lun),
            ("ext4-fua", Mode::Fua, 3)
        );
        for bad in [
            "",
            "a=fua",
            "a=b@iscsi://h/t/0",
            "a/b=fua@iscsi://h/t/0",
            "a=fua@h",
        ] {
            assert!(bad.parse::<UnderTest>().is_err(), "{bad}");
        }
    }
}
