//! Limits of the transport, each with a name.

use std::time::Duration;

use lunforge_core::setting::{Setting, Unit, count, millis, size};

/// Limits of the transport as a whole and of each connection. What they did is counted
/// ([`Counters`](super::Counters)).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time. Beyond, a new one is closed.
    pub connections: usize,
    /// Connections of one address (of one /64 network with IPv6). Beyond, a new one is closed.
    pub connections_per_address: usize,
    /// Sessions of one initiator name. Beyond, a login is refused with status 0302.
    pub sessions_per_initiator: usize,
    /// Sessions of one target. Beyond, a login is refused with status 0302.
    pub sessions_per_target: usize,
    /// Connections that have not finished their login. Beyond, the oldest of the address that has most of them gives
    /// way.
    pub half_open: usize,
    /// Those of one address. Beyond, its oldest gives way.
    pub half_open_per_address: usize,
    /// Discovery sessions. Beyond, the oldest of the address that has most of them gives way.
    pub discovery_sessions: usize,
    /// Those of one address. Beyond, its oldest gives way.
    pub discovery_sessions_per_address: usize,
    /// Time for a login.
    pub login_time: Duration,
    /// Time for one Login Request, from the connection or our last answer to its last byte.
    pub login_step_time: Duration,
    /// How long the answer to a failed authentication is held back at first.
    pub failure_delay: Duration,
    /// The longest that it is held back: the delay doubles with each failure beyond [`Limits::failures`].
    pub failure_delay_max: Duration,
    /// Failed authentications of an address or of a name within [`Limits::failure_window`] before the delay grows.
    pub failures: u32,
    /// Those of an address before it is refused for [`Limits::refusal_time`], but for users who have proved themselves
    /// from there before.
    pub failures_refused: u32,
    /// Over which time failures are counted.
    pub failure_window: Duration,
    /// How long an address is refused.
    pub refusal_time: Duration,
    /// Addresses, and names, whose failures are remembered; then those whose last failure is the oldest are forgotten.
    pub offenders: usize,
    /// How long a peer may take none of what is sent to it. Zero: as long as RspTimeout.
    pub progress_time: Duration,
    /// Immediate commands and functions of a session at a time. Beyond, they are rejected.
    pub immediate_commands: u32,
    /// Length of a text request with all its parts.
    pub text_bytes: usize,
    /// Parts of a text exchange, of the request and the answer.
    pub text_parts: u32,
    /// Time for a text exchange.
    pub text_time: Duration,
    /// Answers to pings that wait to be sent. Beyond, nothing is read.
    pub pings: usize,
    /// Bytes of sense, text and ping data that wait to be sent. Beyond, nothing is read.
    pub output_bytes: usize,
    /// PDUs that wait to be sent. Beyond, nothing is read.
    pub output_pdus: usize,
    /// PDUs of one connection that are worked through in one turn of its shard.
    pub pdus_per_turn: u64,
    /// SO_RCVBUF of connections in bytes, which the kernel cuts to net.core.rmem_max. Zero: the kernel's own way.
    pub receive_buffer: usize,
    /// Bytes that the recorders of all connections take. Beyond, less is kept of a connection, or nothing.
    pub recorder_bytes: usize,
    /// Log lines a minute of each kind that a peer can cause.
    pub log_lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            // A quarter: no address has all of them.
            connections_per_address: 4096,
            sessions_per_initiator: 1024,
            sessions_per_target: 8192,
            half_open: 1024,
            half_open_per_address: 256,
            discovery_sessions: 1024,
            discovery_sessions_per_address: 256,
            login_time: Duration::from_secs(15),
            login_step_time: Duration::from_secs(5),
            failure_delay: Duration::from_secs(1),
            // Initiators give a login 15 s.
            failure_delay_max: Duration::from_secs(8),
            failures: 5,
            failures_refused: 30,
            failure_window: Duration::from_secs(60),
            refusal_time: Duration::from_secs(60),
            offenders: 4096,
            progress_time: Duration::from_secs(30),
            immediate_commands: 32,
            text_bytes: 64 << 10,
            text_parts: 256,
            text_time: Duration::from_secs(15),
            pings: 64,
            output_bytes: 256 << 10,
            output_pdus: 1024,
            pdus_per_turn: 256,
            // A window of 32 commands with 8 KiB of immediate data each. Also about what the kernel cuts it to unless
            // rmem_max was raised; it may take twice that, 5 GiB for 10 000 sessions that are not served.
            receive_buffer: 256 << 10,
            // 3500 connections as `Recording::new` has them.
            recorder_bytes: 256 << 20,
            log_lines: 20,
        }
    }
}

macro_rules! setting {
    (count $name:literal $field:ident $range:expr, $meaning:literal) => {
        Setting {
            name: $name,
            meaning: $meaning,
            unit: Unit::Count,
            range: $range,
            read: |limits| u64::try_from(limits.$field).unwrap_or(u64::MAX),
            // The range fits the field.
            write: |limits, n| limits.$field = n.try_into().unwrap_or(limits.$field),
        }
    };
    (bytes $name:literal $field:ident $range:expr, $meaning:literal) => {
        Setting {
            name: $name,
            meaning: $meaning,
            unit: Unit::Bytes,
            range: $range,
            read: |limits| count(limits.$field),
            write: |limits, n| limits.$field = size(n),
        }
    };
    (time $name:literal $field:ident $range:expr, $meaning:literal) => {
        Setting {
            name: $name,
            meaning: $meaning,
            unit: Unit::Time,
            range: $range,
            read: |limits| millis(limits.$field),
            write: |limits, n| limits.$field = Duration::from_millis(n),
        }
    };
}

/// The longest time that a setting may have: a day.
const DAY: u64 = 86_400_000;
/// Most things that a setting may allow.
const MANY: u64 = 1 << 24;

impl Limits {
    /// All of them.
    #[rustfmt::skip] // A table: one line each.
    pub const SETTINGS: &[Setting<Self>] = &[
        setting!(count "connections" connections 1..=MANY, "Connections at a time; a new one is closed then."),
        setting!(count "connections-per-address" connections_per_address 1..=MANY, "Connections of one address (IPv6: /64 network); a new one is closed then."),
        setting!(count "sessions-per-initiator" sessions_per_initiator 1..=MANY, "Sessions of one initiator name; a login is refused then (0302)."),
        setting!(count "sessions-per-target" sessions_per_target 1..=MANY, "Sessions of one target; a login is refused then (0302)."),
        setting!(count "half-open" half_open 1..=MANY, "Connections that still log in; then the oldest of the address with most of them gives way."),
        setting!(count "half-open-per-address" half_open_per_address 1..=MANY, "Those of one address; then its oldest gives way."),
        setting!(count "discovery-sessions" discovery_sessions 1..=MANY, "Discovery sessions; then the oldest of the address with most of them gives way."),
        setting!(count "discovery-sessions-per-address" discovery_sessions_per_address 1..=MANY, "Those of one address; then its oldest gives way."),
        setting!(time "login-time" login_time 100..=DAY, "Time for a login."),
        setting!(time "login-step-time" login_step_time 100..=DAY, "Time for one Login Request."),
        setting!(time "failure-delay" failure_delay 0..=DAY, "How long the answer to a failed authentication is held back at first."),
        setting!(time "failure-delay-max" failure_delay_max 0..=DAY, "The longest that it is held back: the delay doubles with each failure beyond `failures`."),
        setting!(count "failures" failures 1..=MANY, "Failed authentications of an address or a name in `failure-window` before the delay grows."),
        setting!(count "failures-refused" failures_refused 1..=MANY, "Those of an address before it is refused for `refusal-time`, but for users who have proved themselves from there before."),
        setting!(time "failure-window" failure_window 1000..=DAY, "Over which time failures are counted."),
        setting!(time "refusal-time" refusal_time 0..=DAY, "How long an address is refused."),
        setting!(count "offenders" offenders 1..=MANY, "Addresses, and names, whose failures are remembered."),
        setting!(time "progress-time" progress_time 0..=DAY, "How long a peer may read nothing of what is sent to it before it is closed; 0: RspTimeout."),
        setting!(count "immediate-commands" immediate_commands 1..=1024, "Immediate commands and functions of a session at a time; more are rejected."),
        setting!(bytes "text-bytes" text_bytes 8192..=1 << 20, "Length of a text request with all its parts."),
        setting!(count "text-parts" text_parts 1..=MANY, "PDUs of one text exchange."),
        setting!(time "text-time" text_time 100..=DAY, "Time for a text exchange."),
        setting!(count "pings" pings 1..=MANY, "Answers to pings that wait to be sent; nothing is read then."),
        setting!(bytes "output-bytes" output_bytes 8192..=1 << 30, "Bytes of sense, text and ping data that wait to be sent; nothing is read then."),
        setting!(count "output-pdus" output_pdus 16..=MANY, "PDUs that wait to be sent; nothing is read then."),
        setting!(count "pdus-per-turn" pdus_per_turn 1..=MANY, "PDUs of one connection that are worked through before others have their turn."),
        setting!(bytes "receive-buffer" receive_buffer 0..=1 << 30, "SO_RCVBUF of connections, cut by the kernel to net.core.rmem_max; 0: left to the kernel."),
        setting!(bytes "recorder-bytes" recorder_bytes 0..=1 << 40, "Bytes that the flight recorder keeps of all connections; less is kept of one then, or nothing."),
        setting!(count "log-lines" log_lines 1..=MANY, "Log lines a minute of each kind that a peer can cause."),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_has_a_name_of_its_own_takes_its_default_and_changes_one_field() {
        for (at, setting) in Limits::SETTINGS.iter().enumerate() {
            let same = |other: &Setting<Limits>| other.name == setting.name;
            assert_eq!(Limits::SETTINGS.iter().position(same), Some(at));
            let mut limits = Limits::default();
            let before = format!("{limits:?}");
            let shown = setting.show(&limits);
            setting.set(&mut limits, &shown).unwrap();
            assert_eq!(format!("{limits:?}"), before, "{}", setting.name);
            for edge in [*setting.range.start(), *setting.range.end()] {
                (setting.write)(&mut limits, edge);
                assert_eq!((setting.read)(&limits), edge, "{}", setting.name);
                let changed =
                    |s: &&Setting<Limits>| (s.read)(&limits) != (s.read)(&Limits::default());
                assert!(
                    Limits::SETTINGS.iter().filter(changed).count() <= 1,
                    "{}",
                    setting.name
                );
            }
        }
    }

    #[test]
    fn every_field_is_a_setting() {
        let fields = format!("{:#?}", Limits::default()).lines().count() - 2;
        assert_eq!(fields, Limits::SETTINGS.len());
    }
}
