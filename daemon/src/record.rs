//! The flight recorder's part of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lunforge::iscsi::{DataKept, Recording};
use lunforge_daemon::confine::User;

use crate::created::Created;

/// What is kept of a connection when all data is: a replay needs the whole session.
const WHOLE: (usize, usize) = (16_384, 16 << 20);

#[derive(Debug, Args)]
pub(crate) struct Record {
    /// Write the last PDUs of a connection to a pcapng file in this folder when something goes wrong on it (an initiator
    /// that breaks a rule, a slow or lost command, task management), and those of all sessions on SIGUSR2.
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,

    /// Bytes of data recorded of each PDU, or `whole` for all of it and longer recordings, which a replay needs.
    #[arg(
        long,
        value_name = "BYTES|whole",
        default_value = "128",
        requires = "record"
    )]
    pub(crate) record_data: Data,

    /// Seconds after which a command is slow.
    #[arg(long, value_name = "SECONDS", default_value = "5", requires = "record")]
    pub(crate) record_slow: Seconds,

    /// Write the recording of every session when it ends, too.
    #[arg(long, requires = "record")]
    pub(crate) record_sessions: bool,
}

impl Record {
    /// Makes the folder if it is missing.
    pub(crate) fn claim(&self, user: Option<&User>, created: &mut Created) -> anyhow::Result<()> {
        match &self.record {
            Some(folder) => created.folder(folder, user),
            None => Ok(()),
        }
    }

    /// What the transport is told; `None` when nothing is recorded.
    pub(crate) fn settings(&self) -> Option<Recording> {
        let recording = Recording::new(self.record.as_ref()?)
            .slow(self.record_slow.0)
            .ended_sessions(self.record_sessions)
            .data(self.record_data.0);
        Some(match self.record_data.0 {
            DataKept::Whole => recording.ring(WHOLE.0, WHOLE.1),
            DataKept::First(_) => recording,
        })
    }
}

/// How much data is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Data(DataKept);

impl std::str::FromStr for Data {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "whole" => Ok(Self(DataKept::Whole)),
            _ => text
                .parse()
                .map(|bytes| Self(DataKept::First(bytes)))
                .map_err(|_| "expected a number of bytes or `whole`"),
        }
    }
}

/// A time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seconds(Duration);

impl std::str::FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = text.parse().ok().filter(|s| (0.0..=86_400.0).contains(s));
        seconds
            .map(|s| Self(Duration::from_secs_f64(s)))
            .ok_or("expected a number of seconds up to 86400")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_a_number_or_whole() {
        assert_eq!("whole".parse(), Ok(Data(DataKept::Whole)));
        assert_eq!("0".parse(), Ok(Data(DataKept::First(0))));
        assert!("all".parse::<Data>().is_err() && "-1".parse::<Data>().is_err());
    }

    #[test]
    fn a_time_is_not_negative_and_is_a_number() {
        assert_eq!("0.5".parse(), Ok(Seconds(Duration::from_millis(500))));
        for bad in ["-1", "NaN", "inf", "1e9", "x"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad}");
        }
    }
}
