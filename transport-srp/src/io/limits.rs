//! Limits of the transport.

use std::time::Duration;

use lunforge_core::setting::{Setting, Unit, count, millis, size};

use crate::proto::login::{MIN_IT_IU_LEN, Policy};

/// What is allowed to channels and sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one channel at a time. Each has a buffer of [`Limits::request_bytes`].
    pub requests: usize,
    /// Longest information unit to the target, in bytes: what an initiator may ask for at login.
    pub request_bytes: usize,
    /// Longest information unit to the initiator, in bytes: bounds sense data.
    pub response_bytes: usize,
    /// Whether commands may bring their data with them.
    pub immediate: bool,
    /// Buffers for requests that the channels of a shard share, those of one device each: a shared receive queue. 0: each
    /// channel has its own. Where they are shared, no command brings its data with it.
    pub shared_receives: usize,
    /// How long a shard polls a channel for more before it waits, in microseconds. It serves nobody else meanwhile.
    pub spin_us: usize,
    /// Channels of one session.
    pub channels_per_session: usize,
    /// Sessions with one target.
    pub sessions_per_target: usize,
    /// How long the initiator's side may leave what is sent, read or written unfinished before the channel is closed.
    pub stall: Duration,
    /// Log lines a minute of one kind that a peer can cause.
    pub log_lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 128,
            // A command with one descriptor, and 8 KiB of immediate data behind it.
            request_bytes: 8276,
            response_bytes: 256,
            immediate: true,
            shared_receives: 0,
            spin_us: 0,
            channels_per_session: 64,
            sessions_per_target: 1024,
            // Beyond what a connection needs to find out that the other end is gone.
            stall: Duration::from_secs(60),
            log_lines: 60,
        }
    }
}

impl Limits {
    /// All of them that bound what peers do.
    pub const SETTINGS: &[Setting<Self>] = &[
        Setting {
            name: "srp-requests",
            meaning: "Requests of one SRP channel at a time.",
            unit: Unit::Count,
            range: 1..=4096,
            read: |limits| count(limits.requests),
            write: |limits, n| limits.requests = size(n),
        },
        Setting {
            name: "srp-request-bytes",
            meaning: "Longest SRP information unit that an initiator may ask to send, immediate data included.",
            unit: Unit::Bytes,
            range: 996..=64 << 10,
            read: |limits| count(limits.request_bytes),
            write: |limits, n| limits.request_bytes = size(n),
        },
        Setting {
            name: "srp-response-bytes",
            meaning: "Longest SRP information unit to an initiator; sense data is cut to it.",
            unit: Unit::Bytes,
            range: 64..=4096,
            read: |limits| count(limits.response_bytes),
            write: |limits, n| limits.response_bytes = size(n),
        },
        Setting {
            name: "srp-shared-receives",
            meaning: "Buffers for requests that the SRP channels of a shard share, those of one device each; 0: each channel has its own.",
            unit: Unit::Count,
            range: 0..=65535,
            read: |limits| count(limits.shared_receives),
            write: |limits, n| limits.shared_receives = size(n),
        },
        Setting {
            name: "srp-spin-us",
            meaning: "How long an SRP channel is polled for more before its shard waits, in microseconds.",
            unit: Unit::Count,
            range: 0..=1000,
            read: |limits| count(limits.spin_us),
            write: |limits, n| limits.spin_us = size(n),
        },
        Setting {
            name: "srp-channels-per-session",
            meaning: "RDMA channels of one SRP session.",
            unit: Unit::Count,
            range: 1..=4096,
            read: |limits| count(limits.channels_per_session),
            write: |limits, n| limits.channels_per_session = size(n),
        },
        Setting {
            name: "srp-sessions-per-target",
            meaning: "SRP sessions with one target.",
            unit: Unit::Count,
            range: 1..=1 << 20,
            read: |limits| count(limits.sessions_per_target),
            write: |limits, n| limits.sessions_per_target = size(n),
        },
        Setting {
            name: "srp-stall-time",
            meaning: "An SRP channel whose initiator leaves what is sent, read or written unfinished for so long is closed.",
            unit: Unit::Time,
            range: 1000..=3_600_000,
            read: |limits| millis(limits.stall),
            write: |limits, n| limits.stall = Duration::from_millis(n),
        },
    ];

    /// [`Limits::spin_us`].
    pub(super) fn spin(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.spin_us).unwrap_or(u64::MAX))
    }

    /// What a login is judged by.
    pub(super) fn policy(&self) -> Policy {
        let len = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Policy {
            max_it_iu_len: len(self.request_bytes).max(MIN_IT_IU_LEN),
            max_ti_iu_len: len(self.response_bytes),
            depth: len(self.requests),
            immediate: self.immediate && self.shared_receives == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_takes_its_default_and_changes_one_field() {
        for setting in Limits::SETTINGS {
            let mut limits = Limits::default();
            let shown = setting.show(&limits);
            setting.set(&mut limits, &shown).unwrap();
            assert_eq!(limits, Limits::default(), "{}", setting.name);
            let (start, end) = (*setting.range.start(), *setting.range.end());
            let other = [start, end]
                .into_iter()
                .find(|n| *n != (setting.read)(&limits));
            (setting.write)(&mut limits, other.unwrap());
            let changed = Limits::SETTINGS
                .iter()
                .filter(|s| (s.read)(&limits) != (s.read)(&Limits::default()));
            assert_eq!(changed.count(), 1, "{}", setting.name);
        }
    }
}
