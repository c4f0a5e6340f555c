//! The flight recorder: the last PDUs of every connection, written to a pcapng file when something goes wrong.
//!
//! ```text
//!   proto::connection ──► Tap ─► Ring          on the shard: a copy of headers and the start of data, no clock, no I/O
//!                          │ incident, or somebody asks
//!                          ▼
//!                       Snapshot ──► Archive   on a thread of its own: IP and TCP headers, pcapng, a bounded folder
//! ```
//!
//! A ring belongs to its connection and is lost with it. All rings have a bound together (`memory.rs`). What proves a peer's identity (CHAP_R) never gets into it. Data
//! does, as far as [`DataKept`] says: whoever may read the folder may read that. Files are for their owner alone.

mod archive;
mod file;
mod incident;
mod memory;
mod packet;
mod pcapng;
mod ring;
mod secret;
mod snapshot;
mod tap;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use archive::Archive;
pub use file::{About, Moment, pcapng};
pub use incident::Incident;
pub(crate) use memory::Memory;
pub use ring::Direction;
pub use snapshot::{RecordedPdu, Snapshot};
pub use tap::{Tap, TapLimits};

/// How much of a PDU's data segment is kept. Headers are always kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKept {
    /// So many bytes from its start.
    First(usize),
    /// All of it, which a replay needs.
    Whole,
}

/// What is recorded, when it is written, and where to.
///
/// A connection takes at most [`Recording::ring`] bytes, 40 bytes for each PDU, and once more what is kept of one PDU; and
/// only as it needs them. All together take at most [`Limits::recorder_bytes`](crate::io::Limits::recorder_bytes).
#[derive(Debug, Clone)]
pub struct Recording {
    folder: PathBuf,
    pdus: usize,
    bytes: usize,
    data: DataKept,
    slow: Duration,
    unanswered: Duration,
    ended: bool,
    files: usize,
    file_bytes: u64,
}

impl Recording {
    /// Recordings go to `folder`, which is created for its owner alone if it is missing. Kept of each connection: 256 PDUs
    /// in 64 KiB, with 128 bytes of data. In the folder: 64 files in 64 MiB. A command is slow after five seconds, and without an
    /// answer after 25: initiators begin to abort at 30.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            pdus: 256,
            bytes: 64 << 10,
            data: DataKept::First(128),
            slow: Duration::from_secs(5),
            unanswered: Duration::from_secs(25),
            ended: false,
            files: 64,
            file_bytes: 64 << 20,
        }
    }

    /// Sets how much is kept of a connection: PDUs, and bytes of all of them.
    #[must_use]
    pub fn ring(mut self, pdus: usize, bytes: usize) -> Self {
        (self.pdus, self.bytes) = (pdus, bytes);
        self
    }

    /// Sets how much of a PDU's data is kept.
    #[must_use]
    pub fn data(mut self, data: DataKept) -> Self {
        self.data = data;
        self
    }

    /// Sets the time after which a command is slow. Zero: never.
    #[must_use]
    pub fn slow(mut self, slow: Duration) -> Self {
        self.slow = slow;
        self
    }

    /// Sets the time after which a command that has no answer yet is an incident. Zero: never.
    #[must_use]
    pub fn unanswered(mut self, unanswered: Duration) -> Self {
        self.unanswered = unanswered;
        self
    }

    /// Has every session written when it ends, whatever happened.
    #[must_use]
    pub fn ended_sessions(mut self, ended: bool) -> Self {
        self.ended = ended;
        self
    }

    /// Bounds the folder: files, and bytes of all of them. The oldest recordings go first.
    #[must_use]
    pub fn files(mut self, files: usize, bytes: u64) -> Self {
        (self.files, self.file_bytes) = (files, bytes);
        self
    }

    /// Where recordings go.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn tap_limits(&self) -> TapLimits {
        TapLimits {
            pdus: self.pdus,
            bytes: self.bytes,
            data: match self.data {
                DataKept::First(bytes) => bytes,
                DataKept::Whole => usize::MAX,
            },
        }
    }

    pub(crate) fn slow_after(&self) -> Option<Duration> {
        (!self.slow.is_zero()).then_some(self.slow)
    }

    pub(crate) fn unanswered_after(&self) -> Option<Duration> {
        (!self.unanswered.is_zero()).then_some(self.unanswered)
    }

    pub(crate) fn writes_ended_sessions(&self) -> bool {
        self.ended
    }

    pub(crate) fn max_files(&self) -> usize {
        self.files.max(1)
    }

    pub(crate) fn max_file_bytes(&self) -> u64 {
        self.file_bytes
    }
}

/// Counters of a recorder; they only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecorderStatistics {
    /// Recordings written.
    pub written: u64,
    /// Recordings that could not be written: disk full, folder gone.
    pub failed: u64,
    /// Incidents that were not recorded because there were too many.
    pub left_out: u64,
    /// Connections of which less is kept than was asked for, since all recorders have taken what they may.
    pub shortened: u64,
    /// Connections that are not recorded at all, for the same reason.
    pub unrecorded: u64,
}

#[cfg(test)]
mod tests;
