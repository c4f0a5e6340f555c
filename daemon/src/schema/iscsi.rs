//! What is iSCSI's own of drivers, targets and groups. The keys have the names, defaults and bounds of RFC 7143.

use super::Preset::{self, Is, Live};
use super::Value::{Checked, Flag, Number, Text, Word, YesNo};
use super::{Attribute, checks, table};

/// Most that we take and send in one data segment.
const SEGMENT: i64 = 1_048_576;
/// Largest length that a key can say.
const LENGTH: i64 = 0x00ff_ffff;

const NO_ISNS: &str = "there is no iSNS client: initiators are told the portal";
const NO_ISER: &str = "there is no iSER: No is what is negotiated";
const THREADS: &str = "a session has no threads of its own";

pub(super) const DRIVER: &[Attribute] = table! {
    "portal" [RW repeated] Checked(checks::portal), Preset::None,
        "An address to listen on, with a port if it is not 3260; without any, all addresses (not in SCST).";
    "IncomingUser" [RW repeated secret] Checked(checks::account), Preset::None,
        "Name and secret by which initiators prove themselves in discovery sessions; several are several users.";
    "OutgoingUser" [RW repeated secret] Checked(checks::account), Preset::None,
        "Name and secret by which discovery sessions prove themselves to initiators.";
    "internal_portal" [RW kept(NO_ISNS)] Text(128), Is(""), "A portal for other nodes.";
    "iSNSServer" [RW kept(NO_ISNS)] Text(256), Is(""),
        "The iSNS server, and AccessControl if it says who may log in.";
    "isns_entity_name" [RW kept(NO_ISNS)] Text(256), Is(""), "Our name at the iSNS server.";
    "link_local" [RW] Flag, Is("1"), "Whether discovery tells link-local addresses.";
    "open_state" [R] Text(64), Live, "Whether the driver serves.";
};

pub(super) const TARGET: &[Attribute] = table! {
    "tid" [R] Number(0, i64::MAX), Live, "A number of the target in this process.";
    "IncomingUser" [CRW repeated secret] Checked(checks::account), Preset::None,
        "Name and secret by which initiators prove themselves; several are several users.";
    "OutgoingUser" [CRW repeated secret] Checked(checks::account), Preset::None,
        "Name and secret by which the target proves itself to initiators.";
    "alias" [CRW] Text(255), Is(""), "The target's name for people.";
    "allowed_portal" [CRW repeated] Checked(checks::portal_pattern), Preset::None,
        "A pattern of portals at which the target is found; without any, all of them.";
    "per_portal_acl" [CRW] Flag, Is("0"),
        "Whether patterns of initiators are compared with the name, # and the portal's address.";
    "redirect" [CRW] Checked(checks::redirect), Is(""), "The address to which logins are sent, and temp or perm.";
};

pub(super) const KEYS: &[Attribute] = table! {
    "DataDigest" [CRW] Checked(checks::digest), Is("None"), "Which digests of data may be agreed.";
    "DataPDUInOrder" [CRW] YesNo, Is("No"),
        "Whether PDUs of a sequence must come in order; Yes is what is negotiated.";
    "DataSequenceInOrder" [CRW] YesNo, Is("No"),
        "Whether sequences of a command must come in order; Yes is what is negotiated.";
    "DefaultTime2Retain" [CRW] Number(0, 3600), Is("0"),
        "Most seconds for which a session without connection is kept.";
    "DefaultTime2Wait" [CRW] Number(0, 3600), Is("0"), "Least seconds before a lost connection is made anew.";
    "ErrorRecoveryLevel" [CRW] Number(0, 0), Is("0"), "The level of error recovery.";
    "FirstBurstLength" [CRW] Number(512, LENGTH), Is("65536"),
        "Most bytes of a write that are sent unasked; not more than MaxBurstLength.";
    "HeaderDigest" [CRW] Checked(checks::digest), Is("None"), "Which digests of headers may be agreed.";
    "IFMarker" [CRW] Word(&["No"]), Is("No"), "Markers towards the target.";
    "ImmediateData" [CRW] YesNo, Is("Yes"), "Whether a write may have data in its command PDU.";
    "InitialR2T" [CRW] YesNo, Is("No"), "Whether a write waits for R2T before it sends data.";
    "MaxBurstLength" [CRW] Number(512, LENGTH), Is("1048576"), "Most bytes of a sequence.";
    "MaxConnections" [CRW] Number(1, 1), Is("1"), "Connections of a session.";
    "MaxOutstandingR2T" [CRW] Number(1, 65_535), Is("32"), "R2Ts that a command may have at once.";
    "MaxRecvDataSegmentLength" [CRW] Number(512, SEGMENT), Is("1048576"), "Most bytes of a PDU that is received.";
    "MaxSessions" [CRW] Number(0, 65_535), Is("0"), "Most sessions of the target; 0: any number.";
    "MaxXmitDataSegmentLength" [CRW] Number(512, SEGMENT), Is("1048576"), "Most bytes of a PDU that is sent.";
    "NopInInterval" [CRW] Number(0, 65_535), Is("30"),
        "Seconds of silence before an initiator is asked for a sign of life; 0: never.";
    "NopInTimeout" [CRW] Number(2, 65_535), Is("30"), "Seconds in which it must answer.";
    "OFMarker" [CRW] Word(&["No"]), Is("No"), "Markers towards the initiator.";
    "QueuedCommands" [CRW] Number(1, 2048), Is("32"), "Commands that a session may have at once.";
    "RDMAExtensions" [CRW kept(NO_ISER)] YesNo, Is("No"), "Whether iSER may be agreed.";
    "RspTimeout" [CRW] Number(2, 65_535), Is("90"), "Seconds in which an initiator must answer what it is asked for.";
};

pub(super) const GROUP: &[Attribute] = table! {
    "per_sess_dedicated_tgt_threads" [CRW kept(THREADS)] Flag, Is("0"),
        "Whether sessions of the group have threads of their own.";
};
