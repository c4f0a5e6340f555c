//! Sessions that break the rules of RFC 7143, each in one way.
//!
//! What is sent never reaches a unit in a way that the good session could notice by right: resets and writes to its
//! blocks are left out.

mod data_out;
mod digests;
mod flow;
mod random_pdus;
mod text;

use std::time::Duration;

use super::AbuseError;
use super::findings::Findings;
use super::rng::Rng;
use super::site::{Site, reset};
use crate::initiator::pdu::{Header, RESERVED_TAG, opcode};
use crate::initiator::{Error, Initiator, Lun, rw_cdb};

/// How the session stands afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The target has closed it.
    Closed,
    /// It works.
    Open,
}

/// One way to break the rules. An error is a fault.
type Abuse = fn(&Site, u32, &mut Rng) -> Result<End, AbuseError>;

const ABUSES: &[(&str, Abuse)] = &[
    ("random PDUs", random_pdus::run),
    ("bad header digest", digests::header),
    ("bad data digest", digests::data),
    ("text without end", text::endless),
    ("segment too long", text::too_long),
    ("immediate flood", flow::immediate_flood),
    ("CmdSN outside the window", flow::outside_window),
    ("stray Data-Out", data_out::stray),
    ("R2T never answered", data_out::r2t_unanswered),
];

pub(super) fn run(site: &Site, count: u64, findings: &mut Findings) -> Result<(), AbuseError> {
    let mut rng = site.rng(4);
    let mut tally = vec![(0u64, 0u64); ABUSES.len()];
    for number in 0..u32::try_from(count).unwrap_or(u32::MAX) {
        let which = number as usize % ABUSES.len();
        let (Some((name, abuse)), Some((open, closed))) = (ABUSES.get(which), tally.get_mut(which))
        else {
            continue;
        };
        match abuse(site, number, &mut rng) {
            Ok(End::Open) => *open += 1,
            Ok(End::Closed) => *closed += 1,
            Err(error) => findings.fault(format!("{name}: {error}")),
        }
    }
    for ((name, _), (open, closed)) in ABUSES.iter().zip(&tally) {
        findings.note(format!(
            "{name}: {open} sessions went on, {closed} were closed"
        ));
    }
    Ok(site.serves(1)?)
}

/// What the session is worth after the abuse: closed, or a command is answered GOOD. Late answers to the abuse itself
/// (rejects) are read over.
fn judged(site: &Site, mut session: Initiator) -> Result<End, AbuseError> {
    for _ in 0..1000 {
        match session.command(site.url.lun, &[0; 6], &[], 0) {
            Ok(reply) => {
                reply.require_good("TEST UNIT READY after the abuse")?;
                reset(session.connection().stream());
                return Ok(End::Open);
            }
            Err(Error::Closed | Error::Io { .. }) => return Ok(End::Closed),
            Err(Error::Rejected { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let text = "a thousand rejects and no answer".to_owned();
    Err(AbuseError::Argument(text))
}

/// The target closes the session, whatever it sends before.
fn must_close(mut session: Initiator) -> Result<End, AbuseError> {
    loop {
        match session.recv_pdu() {
            Ok(_) => {}
            Err(Error::Closed | Error::Io { .. }) => return Ok(End::Closed),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Keeps count of StatSN past the session's own bookkeeping, for PDUs that carry one of their own.
fn follow(session: &mut Initiator, h: &Header) {
    let counted = match h.opcode() {
        opcode::NOP_IN => h.itt() != RESERVED_TAG,
        opcode::R2T | opcode::DATA_IN => false,
        _ => true,
    };
    if counted {
        session.sequence_mut().exp_stat_sn = h.stat_sn().wrapping_add(1);
    }
}

/// A block of its own for each abuse that writes.
fn lba(site: &Site, number: u32) -> u64 {
    site.first() + u64::from(number) % 1000
}

/// A WRITE of one block, ready to be sent by hand; the tag is one that the session does not use by itself.
fn write_header(site: &Site, session: &Initiator, lba: u64, tag: u32) -> Header {
    let sequence = session.sequence();
    let mut h = Header::new(opcode::SCSI_COMMAND);
    h.put_flags(0x80 | 0x20 | 1)
        .put_lun(Lun::from(site.url.lun).0)
        .put_word(16, tag)
        .put_word(20, site.block_len)
        .put_word(24, sequence.cmd_sn)
        .put_word(28, sequence.exp_stat_sn);
    h.0[32..].copy_from_slice(&rw_cdb(true, lba, 1).0);
    h
}

/// Longest wait for what may not come at all.
const SHORT: Duration = Duration::from_millis(20);
/// Tags of what is sent by hand.
const TAG: u32 = 0x4000_0000;
