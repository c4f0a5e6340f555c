//! Our side of the negotiation as configured, and the result.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::proto::text::{bool_text, parse_bool};

/// A digest of header or data (RFC 7143 §13.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Digest {
    /// No digest.
    #[default]
    None,
    /// CRC32C.
    Crc32c,
}

impl Digest {
    /// The value on the wire.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Crc32c => "CRC32C",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "None" => Some(Self::None),
            "CRC32C" => Some(Self::Crc32c),
            _ => None,
        }
    }
}

/// The digests that the target accepts, in the order in which it would offer them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestChoice {
    first: Digest,
    second: Option<Digest>,
}

impl DigestChoice {
    /// Only `None`.
    pub const NONE: Self = Self {
        first: Digest::None,
        second: None,
    };
    /// Only CRC32C: an initiator without it is refused.
    pub const CRC32C: Self = Self {
        first: Digest::Crc32c,
        second: None,
    };
    /// Both; the initiator's order decides.
    pub const ANY: Self = Self {
        first: Digest::Crc32c,
        second: Some(Digest::None),
    };

    /// Whether the target accepts `digest`.
    #[must_use]
    pub fn accepts(self, digest: Digest) -> bool {
        self.first == digest || self.second == Some(digest)
    }

    /// The first item of the initiator's list that is accepted.
    #[must_use]
    pub fn select(self, offer: &str) -> Option<Digest> {
        offer
            .split(',')
            .filter_map(Digest::from_text)
            .find(|digest| self.accepts(*digest))
    }
}

impl fmt::Display for DigestChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.first.text())?;
        self.second
            .map_or(Ok(()), |second| write!(f, ",{}", second.text()))
    }
}

impl FromStr for DigestChoice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut items = text.split(',').map(str::trim);
        let first = items.next().and_then(Digest::from_text).ok_or(())?;
        let second = items
            .next()
            .map(|item| Digest::from_text(item).ok_or(()))
            .transpose()?;
        if items.next().is_some() || second == Some(first) {
            return Err(());
        }
        Ok(Self { first, second })
    }
}

/// Why a target parameter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// No parameter has this name.
    #[error("no iSCSI target parameter is named {0:?}")]
    UnknownName(String),
    /// The value is malformed or out of range.
    #[error("{name}: {value:?} is not {expected}")]
    BadValue {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is legal, in words.
        expected: String,
    },
    /// FirstBurstLength above MaxBurstLength (RFC 7143 §13.14).
    #[error("FirstBurstLength {first} must not exceed MaxBurstLength {max}")]
    FirstBurstAboveMaxBurst {
        /// FirstBurstLength in bytes.
        first: u32,
        /// MaxBurstLength in bytes.
        max: u32,
    },
}

/// What the target offers and allows, with SCST's names and defaults. Lengths are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetParams {
    /// `InitialR2T`, default No.
    pub initial_r2t: bool,
    /// `ImmediateData`, default Yes.
    pub immediate_data: bool,
    /// `MaxConnections`, 1: sessions of several connections are not supported.
    pub max_connections: u32,
    /// `MaxRecvDataSegmentLength` that we declare, default 1 MiB.
    pub max_recv_data_segment_length: u32,
    /// `MaxXmitDataSegmentLength`: cap on the peer's declared length, default 1 MiB.
    pub max_xmit_data_segment_length: u32,
    /// `MaxBurstLength`, default 1 MiB.
    pub max_burst_length: u32,
    /// `FirstBurstLength`, default 64 KiB.
    pub first_burst_length: u32,
    /// `DefaultTime2Wait` in seconds, default 0.
    pub default_time2wait: u32,
    /// `DefaultTime2Retain` in seconds, default 0.
    pub default_time2retain: u32,
    /// `MaxOutstandingR2T`, default 32.
    pub max_outstanding_r2t: u32,
    /// `DataPDUInOrder`, default No as in SCST; the negotiated result is always Yes.
    pub data_pdu_in_order: bool,
    /// `DataSequenceInOrder`, default No as in SCST; the negotiated result is always Yes.
    pub data_sequence_in_order: bool,
    /// `ErrorRecoveryLevel`, 0.
    pub error_recovery_level: u32,
    /// `HeaderDigest`, default None.
    pub header_digest: DigestChoice,
    /// `DataDigest`, default None.
    pub data_digest: DigestChoice,
    /// `QueuedCommands`: width of the command window, default 32.
    pub queued_commands: u32,
    /// `RspTimeout` in seconds, default 90.
    pub rsp_timeout: u32,
    /// `NopInInterval` in seconds, default 30; 0 sends none.
    pub nop_in_interval: u32,
    /// `NopInTimeout` in seconds, default 30.
    pub nop_in_timeout: u32,
    /// `MaxSessions` of the target, default 0: no limit.
    pub max_sessions: u32,
}

impl Default for TargetParams {
    fn default() -> Self {
        Self {
            initial_r2t: false,
            immediate_data: true,
            max_connections: 1,
            max_recv_data_segment_length: 1_048_576,
            max_xmit_data_segment_length: 1_048_576,
            max_burst_length: 1_048_576,
            first_burst_length: 65_536,
            default_time2wait: 0,
            default_time2retain: 0,
            max_outstanding_r2t: 32,
            data_pdu_in_order: false,
            data_sequence_in_order: false,
            error_recovery_level: 0,
            header_digest: DigestChoice::NONE,
            data_digest: DigestChoice::NONE,
            queued_commands: 32,
            rsp_timeout: 90,
            nop_in_interval: 30,
            nop_in_timeout: 30,
            max_sessions: 0,
        }
    }
}

/// Where a parameter lives, and what it may be.
enum Slot {
    Flag(fn(&mut TargetParams) -> &mut bool),
    Number(fn(&mut TargetParams) -> &mut u32, RangeInclusive<u32>),
    Digests(fn(&mut TargetParams) -> &mut DigestChoice),
    /// Not supported; only `No` is legal.
    AlwaysNo,
}

const LENGTH: RangeInclusive<u32> = 512..=0x00ff_ffff;
const SEGMENT: RangeInclusive<u32> = 512..=1_048_576;

static ATTRIBUTES: [(&str, Slot); 23] = [
    ("InitialR2T", Slot::Flag(|p| &mut p.initial_r2t)),
    ("ImmediateData", Slot::Flag(|p| &mut p.immediate_data)),
    (
        "MaxConnections",
        Slot::Number(|p| &mut p.max_connections, 1..=1),
    ),
    (
        "MaxRecvDataSegmentLength",
        Slot::Number(|p| &mut p.max_recv_data_segment_length, SEGMENT),
    ),
    (
        "MaxXmitDataSegmentLength",
        Slot::Number(|p| &mut p.max_xmit_data_segment_length, SEGMENT),
    ),
    (
        "MaxBurstLength",
        Slot::Number(|p| &mut p.max_burst_length, LENGTH),
    ),
    (
        "FirstBurstLength",
        Slot::Number(|p| &mut p.first_burst_length, LENGTH),
    ),
    (
        "DefaultTime2Wait",
        Slot::Number(|p| &mut p.default_time2wait, 0..=3600),
    ),
    (
        "DefaultTime2Retain",
        Slot::Number(|p| &mut p.default_time2retain, 0..=3600),
    ),
    (
        "MaxOutstandingR2T",
        Slot::Number(|p| &mut p.max_outstanding_r2t, 1..=65_535),
    ),
    ("DataPDUInOrder", Slot::Flag(|p| &mut p.data_pdu_in_order)),
    (
        "DataSequenceInOrder",
        Slot::Flag(|p| &mut p.data_sequence_in_order),
    ),
    (
        "ErrorRecoveryLevel",
        Slot::Number(|p| &mut p.error_recovery_level, 0..=0),
    ),
    ("HeaderDigest", Slot::Digests(|p| &mut p.header_digest)),
    ("DataDigest", Slot::Digests(|p| &mut p.data_digest)),
    ("IFMarker", Slot::AlwaysNo),
    ("OFMarker", Slot::AlwaysNo),
    ("RDMAExtensions", Slot::AlwaysNo),
    (
        "QueuedCommands",
        Slot::Number(|p| &mut p.queued_commands, 1..=2048),
    ),
    (
        "RspTimeout",
        Slot::Number(|p| &mut p.rsp_timeout, 2..=65_535),
    ),
    (
        "NopInInterval",
        Slot::Number(|p| &mut p.nop_in_interval, 0..=65_535),
    ),
    (
        "NopInTimeout",
        Slot::Number(|p| &mut p.nop_in_timeout, 2..=65_535),
    ),
    (
        "MaxSessions",
        Slot::Number(|p| &mut p.max_sessions, 0..=65_535),
    ),
];

impl TargetParams {
    /// The parameter names, in the order in which SCST lists them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ATTRIBUTES.iter().map(|(name, _)| *name)
    }

    /// Sets one parameter from its text. Rules between parameters are left to [`Self::validate`], so that a
    /// configuration may come in any order.
    ///
    /// # Errors
    /// [`ParamError::UnknownName`], or [`ParamError::BadValue`] with what is legal; nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ParamError> {
        let (name, slot) =
            attribute(name).ok_or_else(|| ParamError::UnknownName(name.to_owned()))?;
        let bad = |expected: String| ParamError::BadValue {
            name,
            value: value.to_owned(),
            expected,
        };
        match slot {
            Slot::Flag(field) => {
                *field(self) = parse_bool(value).ok_or_else(|| bad("Yes or No".to_owned()))?;
            }
            Slot::Number(field, range) => {
                let number = value.parse().ok().filter(|number| range.contains(number));
                *field(self) = number.ok_or_else(|| bad(range_text(range)))?;
            }
            Slot::Digests(field) => {
                *field(self) = value
                    .parse()
                    .map_err(|()| bad("None, CRC32C or a list of both".to_owned()))?;
            }
            Slot::AlwaysNo if value == "No" => {}
            Slot::AlwaysNo => return Err(bad("No: the feature is not supported".to_owned())),
        }
        Ok(())
    }

    /// The value of a parameter as text, as [`Self::set`] takes it.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<String> {
        // The table has only mutable accessors; a copy of this small struct serves reading.
        let mut copy = self.clone();
        Some(match &attribute(name)?.1 {
            Slot::Flag(field) => bool_text(*field(&mut copy)).to_owned(),
            Slot::Number(field, _) => field(&mut copy).to_string(),
            Slot::Digests(field) => field(&mut copy).to_string(),
            Slot::AlwaysNo => "No".to_owned(),
        })
    }

    /// Checks the rules between parameters.
    ///
    /// # Errors
    /// [`ParamError::FirstBurstAboveMaxBurst`].
    pub fn validate(&self) -> Result<(), ParamError> {
        if self.first_burst_length > self.max_burst_length {
            return Err(ParamError::FirstBurstAboveMaxBurst {
                first: self.first_burst_length,
                max: self.max_burst_length,
            });
        }
        Ok(())
    }
}

fn attribute(name: &str) -> Option<&'static (&'static str, Slot)> {
    ATTRIBUTES.iter().find(|(known, _)| *known == name)
}

fn range_text(range: &RangeInclusive<u32>) -> String {
    if range.start() == range.end() {
        format!("{}: no other value is supported", range.start())
    } else {
        format!("a number from {} to {}", range.start(), range.end())
    }
}

/// The outcome of a negotiation: what rules a connection in the full feature phase. Lengths are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationalParams {
    /// Digest of headers.
    pub header_digest: Digest,
    /// Digest of data segments.
    pub data_digest: Digest,
    /// Unsolicited Data-Out PDUs are forbidden.
    pub initial_r2t: bool,
    /// Data in the command PDU is allowed.
    pub immediate_data: bool,
    /// Longest Data-In or solicited Data-Out sequence.
    pub max_burst_length: u32,
    /// Most unsolicited data of a command; never above `max_burst_length`.
    pub first_burst_length: u32,
    /// Longest data segment that we receive: as we declared it, or 8192.
    pub max_recv_data_segment_length: u32,
    /// Longest data segment that we send: as the peer declared it, capped by configuration.
    pub max_xmit: u32,
    /// R2Ts that may be outstanding for one command.
    pub max_outstanding_r2t: u32,
    /// Connections of the session.
    pub max_connections: u32,
    /// Shortest wait before a reconnect.
    pub default_time2wait: Duration,
    /// Longest time the session state is kept after the connection.
    pub default_time2retain: Duration,
    /// Error recovery level, 0.
    pub error_recovery_level: u32,
    /// Data PDUs of a sequence come in order of offset.
    pub data_pdu_in_order: bool,
    /// Data sequences of a command come in order of offset.
    pub data_sequence_in_order: bool,
}

impl Default for OperationalParams {
    /// The defaults of RFC 7143 §13, in force if no key is sent.
    fn default() -> Self {
        Self {
            header_digest: Digest::None,
            data_digest: Digest::None,
            initial_r2t: true,
            immediate_data: true,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            max_recv_data_segment_length: 8192,
            max_xmit: 8192,
            max_outstanding_r2t: 1,
            max_connections: 1,
            default_time2wait: Duration::from_secs(2),
            default_time2retain: Duration::from_secs(20),
            error_recovery_level: 0,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
        }
    }
}
