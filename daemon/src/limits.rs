//! `--limit NAME=VALUE`: the limits of shards and of the transports, by their names.

use std::str::FromStr;

use lunforge::core::setting::{self, Setting, SettingError};
use lunforge::core::shard;
use lunforge::iscsi::io;
use lunforge::srp;
use lunforge::vdisk::MAX_TRANSFER;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LimitArg {
    /// A list of all limits.
    Help,
    /// One limit, not yet checked.
    Set { name: String, value: String },
}

impl FromStr for LimitArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            None if text == "help" => Ok(Self::Help),
            Some((name, value)) if !name.is_empty() => Ok(Self::Set {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("expected NAME=VALUE, or help for a list"),
        }
    }
}

/// Why the limits are not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitError {
    /// One of them alone is wrong.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// They would refuse a command for ever.
    #[error(
        "shard-bytes: {given} is too little for a command of {largest}, which gets less than half of it: give more than {twice}"
    )]
    ShardBytes {
        given: String,
        largest: String,
        twice: String,
    },
}

/// The limits of an export.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) shard: shard::Limits,
    pub(crate) iscsi: io::Limits,
    pub(crate) srp: srp::io::Limits,
}

impl Limits {
    /// The defaults, changed by what was given; the last word on a limit counts. Refused where a command that a LUN allows
    /// would be answered TASK SET FULL however often it comes.
    pub(crate) fn new(given: &[LimitArg]) -> Result<Self, LimitError> {
        let mut limits = Self::default();
        for arg in given {
            if let LimitArg::Set { name, value } = arg {
                limits.set(name, value)?;
            }
        }
        limits.carry_every_command()?;
        Ok(limits)
    }

    fn carry_every_command(&self) -> Result<(), LimitError> {
        if self.shard.largest_transfer() as u64 >= MAX_TRANSFER {
            return Ok(());
        }
        let show = |bytes| setting::Unit::Bytes.show(bytes);
        Err(LimitError::ShardBytes {
            given: show(self.shard.buffer_bytes as u64),
            largest: show(MAX_TRANSFER),
            twice: show(2 * MAX_TRANSFER),
        })
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let unknown =
            |done: &Result<(), SettingError>| matches!(done, Err(SettingError::UnknownName(_)));
        let mut done = setting::set(shard::Limits::SETTINGS, &mut self.shard, name, value);
        if unknown(&done) {
            done = setting::set(io::Limits::SETTINGS, &mut self.iscsi, name, value);
        }
        if unknown(&done) {
            done = setting::set(srp::io::Limits::SETTINGS, &mut self.srp, name, value);
        }
        done
    }
}

/// All limits with their defaults and meanings.
pub(crate) fn help() -> String {
    let defaults = Limits::default();
    let mut text = lines(shard::Limits::SETTINGS, &defaults.shard);
    text += &lines(io::Limits::SETTINGS, &defaults.iscsi);
    text += &lines(srp::io::Limits::SETTINGS, &defaults.srp);
    text
}

fn lines<T>(settings: &[Setting<T>], defaults: &T) -> String {
    let line = |setting: &Setting<T>| {
        let (name, default) = (setting.name, setting.show(defaults));
        format!("{name:<24} {default:>6}  {}\n", setting.meaning)
    };
    settings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(given: &[&str]) -> Result<Limits, String> {
        let args: Result<Vec<_>, _> = given.iter().map(|text| text.parse()).collect();
        Limits::new(&args?).map_err(|error| error.to_string())
    }

    #[test]
    fn a_limit_of_a_shard_or_of_the_transport_is_found_by_its_name() {
        let limits = limits(&["session-bytes=1M", "half-open=7", "half-open=8"]).unwrap();
        assert_eq!(
            (limits.shard.session_bytes, limits.iscsi.half_open),
            (1 << 20, 8)
        );
    }

    #[test]
    fn a_wrong_limit_is_refused_with_what_would_be_right() {
        assert!(
            limits(&["half-opened=1"])
                .unwrap_err()
                .contains("half-opened")
        );
        assert!(
            limits(&["login-time=soon"])
                .unwrap_err()
                .contains("a time from 100ms")
        );
        assert!(limits(&["=1"]).is_err() && limits(&["half-open"]).is_err());
    }

    #[test]
    fn a_budget_that_would_refuse_a_large_command_for_ever_is_refused_itself() {
        let refused = limits(&["shard-bytes=4M"]).unwrap_err();
        let sentence = "shard-bytes: 4M is too little for a command of 8M, which gets less than half of it: give more than 16M";
        assert_eq!(refused, sentence);
        assert!(limits(&["shard-bytes=16M"]).is_err());
        assert!(limits(&["shard-bytes=16385K", "session-bytes=64K"]).is_ok());
    }

    #[test]
    fn no_name_has_two_meanings_and_the_list_has_them_all() {
        let text = help();
        let names: Vec<_> = text.lines().filter_map(|l| l.split(' ').next()).collect();
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        assert_eq!(
            names.len(),
            shard::Limits::SETTINGS.len()
                + io::Limits::SETTINGS.len()
                + srp::io::Limits::SETTINGS.len()
        );
    }
}
