//! Negotiable keys: one table drives the negotiation (RFC 7143 §6.2, §13).
//!
//! [`KEYS`] says of each key its kind of negotiation, default, range, stages, sender and when it is irrelevant.
//! [`Negotiation`] applies the table to the pairs of one login; [`TargetParams`] holds our side under the names
//! and defaults of SCST; [`OperationalParams`] is the result.

mod full_feature;
mod negotiate;
mod params;

pub use full_feature::{FullFeatureText, full_feature};
pub use negotiate::{KeyError, Negotiation};
pub use params::{Digest, DigestChoice, OperationalParams, ParamError, TargetParams};

use std::ops::RangeInclusive;

/// How the two sides' values become one (RFC 7143 §6.2.1, §6.2.2, §13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Boolean; the result is `Yes` if either side says so.
    BoolOr,
    /// Boolean; the result is `Yes` only if both sides say so.
    BoolAnd,
    /// Boolean whose result is `Yes` if either side says so, and this target always does: its data engine
    /// takes data in order only. SCST's attribute of the same name is kept, and may be `No`, for its files.
    AlwaysYes,
    /// Number; the lower value is the result.
    Minimum,
    /// Number; the higher value is the result.
    Maximum,
    /// Number that its sender declares; no answer.
    DeclaredNumber,
    /// Text that its sender declares; no answer. It may be declared again with the same value: some
    /// initiators repeat their names in each stage.
    DeclaredText,
    /// List of digests in the sender's order; the first that both accept is the result.
    DigestList,
    /// List of which only the default is supported here.
    FixedList,
    /// Obsolete boolean that is always answered `No` (RFC 7143 §13.25).
    Marker,
    /// Obsolete value that is always answered `Reject` (RFC 7143 §13.25).
    MarkerInterval,
    /// Step of an authentication exchange (RFC 7143 §12).
    Security,
    /// A request, not a parameter (SendTargets).
    Request,
}

/// Who may send a key on its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Only the initiator.
    Initiator,
    /// Only the target.
    Target,
    /// Either.
    Both,
}

/// Stage in which a key arrives: a stage of the login phase, or the full feature phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stage {
    /// SecurityNegotiation, number 0.
    Security = 0,
    /// LoginOperationalNegotiation, number 1.
    Operational = 1,
    /// FullFeaturePhase, number 3.
    FullFeature = 3,
}

impl Stage {
    /// The stage with this number; 2 is reserved (RFC 7143 §11.12.3).
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Security),
            1 => Some(Self::Operational),
            3 => Some(Self::FullFeature),
            _ => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Security => 0,
            Self::Operational => 1,
            Self::FullFeature => 3,
        }
    }
}

/// All that the negotiation needs to know of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpec {
    /// The key name.
    pub name: &'static str,
    /// How it is negotiated.
    pub kind: Kind,
    /// Value in force if nobody sends the key.
    pub default: &'static str,
    /// Legal numbers; empty for keys that are not numbers.
    pub range: RangeInclusive<u32>,
    /// Stages in which it may be sent.
    pub stages: &'static [Stage],
    /// Who may send it.
    pub sender: Sender,
    /// Whether it has no meaning in a discovery session.
    pub normal_only: bool,
}

use Kind::{
    AlwaysYes, BoolAnd, BoolOr, DeclaredNumber, DeclaredText, DigestList, FixedList, Marker,
    MarkerInterval, Maximum, Minimum, Request,
};
use Sender::{Both, Initiator, Target};

const LOGIN: &[Stage] = &[Stage::Security, Stage::Operational];
const SECURITY: &[Stage] = &[Stage::Security];
const OPERATIONAL: &[Stage] = &[Stage::Operational];
const FULL_FEATURE: &[Stage] = &[Stage::FullFeature];
const ANY: &[Stage] = &[Stage::Security, Stage::Operational, Stage::FullFeature];

const LENGTH: RangeInclusive<u32> = 512..=0x00ff_ffff;
const SECONDS: RangeInclusive<u32> = 0..=3600;
const COUNT: RangeInclusive<u32> = 1..=65_535;
#[expect(
    clippy::reversed_empty_ranges,
    reason = "deliberately empty: the key is no number"
)]
const NO_NUMBER: RangeInclusive<u32> = 1..=0;

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    stages: &'static [Stage],
    sender: Sender,
) -> KeySpec {
    KeySpec {
        name,
        kind,
        default,
        range: NO_NUMBER,
        stages,
        sender,
        normal_only: false,
    }
}

const fn number(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    range: RangeInclusive<u32>,
) -> KeySpec {
    KeySpec {
        name,
        kind,
        default,
        range,
        stages: OPERATIONAL,
        sender: Both,
        normal_only: false,
    }
}

const fn normal(mut spec: KeySpec) -> KeySpec {
    spec.normal_only = true;
    spec
}

const fn anywhere(mut spec: KeySpec) -> KeySpec {
    spec.stages = ANY;
    spec
}

/// Every key of RFC 7143 and the keys of its extensions that deserve more than `NotUnderstood`.
pub static KEYS: [KeySpec; 35] = [
    // Names, declared (§13.3 to §13.9, §13.21).
    key("InitiatorName", DeclaredText, "", LOGIN, Initiator),
    key("InitiatorAlias", DeclaredText, "", ANY, Initiator),
    key("SessionType", DeclaredText, "Normal", LOGIN, Initiator),
    key("TargetName", DeclaredText, "", LOGIN, Both),
    key("TargetAlias", DeclaredText, "", ANY, Target),
    key("TargetAddress", DeclaredText, "", ANY, Target),
    key("TargetPortalGroupTag", DeclaredText, "", LOGIN, Target),
    key("SendTargets", Request, "", FULL_FEATURE, Initiator),
    // Authentication (§12.1).
    key("AuthMethod", Kind::Security, "None", SECURITY, Both),
    key("CHAP_A", Kind::Security, "", SECURITY, Both),
    key("CHAP_I", Kind::Security, "", SECURITY, Both),
    key("CHAP_C", Kind::Security, "", SECURITY, Both),
    key("CHAP_N", Kind::Security, "", SECURITY, Both),
    key("CHAP_R", Kind::Security, "", SECURITY, Both),
    // Operational parameters (§13.1, §13.2, §13.10 to §13.20).
    key("HeaderDigest", DigestList, "None", OPERATIONAL, Both),
    key("DataDigest", DigestList, "None", OPERATIONAL, Both),
    normal(number("MaxConnections", Minimum, "1", COUNT)),
    normal(key("InitialR2T", BoolOr, "Yes", OPERATIONAL, Both)),
    normal(key("ImmediateData", BoolAnd, "Yes", OPERATIONAL, Both)),
    anywhere(number(
        "MaxRecvDataSegmentLength",
        DeclaredNumber,
        "8192",
        LENGTH,
    )),
    normal(number("MaxBurstLength", Minimum, "262144", LENGTH)),
    normal(number("FirstBurstLength", Minimum, "65536", LENGTH)),
    number("DefaultTime2Wait", Maximum, "2", SECONDS),
    number("DefaultTime2Retain", Minimum, "20", SECONDS),
    normal(number("MaxOutstandingR2T", Minimum, "1", COUNT)),
    normal(key("DataPDUInOrder", AlwaysYes, "Yes", OPERATIONAL, Both)),
    normal(key(
        "DataSequenceInOrder",
        AlwaysYes,
        "Yes",
        OPERATIONAL,
        Both,
    )),
    number("ErrorRecoveryLevel", Minimum, "0", 0..=2),
    normal(key(
        "TaskReporting",
        FixedList,
        "RFC3720",
        OPERATIONAL,
        Both,
    )),
    // RFC 7144 §7.1; level 1 is RFC 7143.
    normal(number("iSCSIProtocolLevel", Minimum, "1", 0..=31)),
    // RFC 7145 §6.3.
    key("RDMAExtensions", BoolAnd, "No", OPERATIONAL, Both),
    // Obsolete (§13.25).
    key("IFMarker", Marker, "No", OPERATIONAL, Both),
    key("OFMarker", Marker, "No", OPERATIONAL, Both),
    key("IFMarkInt", MarkerInterval, "2048", OPERATIONAL, Both),
    key("OFMarkInt", MarkerInterval, "2048", OPERATIONAL, Both),
];

/// The table entry of a key, with its index.
#[must_use]
pub fn lookup(name: &str) -> Option<(usize, &'static KeySpec)> {
    KEYS.iter().enumerate().find(|(_, spec)| spec.name == name)
}

#[cfg(test)]
mod tests;
