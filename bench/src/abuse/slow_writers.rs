//! Sessions that owe data, or a header, and send a byte in a second (N30).

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::AbuseError;
use super::findings::Findings;
use super::site::{Site, reset};
use crate::initiator::pdu::{Header, opcode};
use crate::initiator::{Error, Initiator, rw_cdb};

/// Commands of each session.
const DEPTH: u32 = 32;
/// Bytes of each.
const LEN: u32 = 1 << 20;
/// Time between two bytes.
const TICK: Duration = Duration::from_secs(1);

/// A session and the bytes it sends one by one.
struct Slow {
    session: Initiator,
    bytes: Vec<u8>,
    sent: usize,
}

pub(super) fn run(site: &Site, count: u64, findings: &mut Findings) -> Result<(), AbuseError> {
    let mut all = Vec::new();
    for number in 0..u32::try_from(count).unwrap_or(u32::MAX) {
        let mut session = site.session(number)?;
        let bytes = match number % 4 {
            // A header that takes most of a minute.
            0 => write_command(site, &session, 1).0.to_vec(),
            _ => owe(site, &mut session)?,
        };
        all.push(Slow {
            session,
            bytes,
            sent: 0,
        });
    }
    let open = drip(site, &mut all);
    findings.note(format!(
        "{open} of {} sessions open after {:.0} s",
        all.len(),
        site.hold.as_secs_f64()
    ));
    for mut slow in all {
        reset(slow.session.connection().stream());
    }
    Ok(site.serves(1)?)
}

fn drip(site: &Site, all: &mut Vec<Slow>) -> usize {
    let end = Instant::now() + site.hold;
    let total = all.len();
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::sleep(left.min(TICK));
        all.retain_mut(|slow| {
            let byte = slow.bytes.get(slow.sent).copied().unwrap_or(0);
            slow.sent += 1;
            slow.session.connection().stream().write(&[byte]).is_ok()
        });
    }
    all.len().min(total)
}

/// WRITE commands without any of their data; returns a Data-Out header for the first R2T, or for none that was asked.
fn owe(site: &Site, session: &mut Initiator) -> Result<Vec<u8>, Error> {
    let mut wire = Vec::new();
    for tag in 1..=DEPTH {
        wire.extend_from_slice(&write_command(site, session, tag).0);
        session.sequence_mut().cmd_sn = session.sequence().cmd_sn.wrapping_add(1);
    }
    session.send_raw(&wire)?;
    let mut h = Header::new(opcode::DATA_OUT);
    // The first answer is an R2T, or a status when there is no memory for the command.
    let first = session.recv_pdu()?.header;
    let ttt = if first.opcode() == opcode::R2T {
        first.ttt()
    } else {
        7
    };
    h.put_word(16, first.itt())
        .put_word(20, ttt)
        .put_data_len(65_536);
    Ok(h.0.to_vec())
}

/// A WRITE whose data comes only when it is asked for.
fn write_command(site: &Site, session: &Initiator, tag: u32) -> Header {
    let sequence = session.sequence();
    let mut h = Header::new(opcode::SCSI_COMMAND);
    h.put_flags(0x80 | 0x20 | 1)
        .put_lun(crate::initiator::Lun::from(site.url.lun).0)
        .put_word(16, tag)
        .put_word(20, LEN)
        .put_word(24, sequence.cmd_sn)
        .put_word(28, sequence.exp_stat_sn);
    let lba = site.first() + u64::from(tag) * u64::from(LEN / site.block_len);
    h.0[32..].copy_from_slice(&rw_cdb(true, lba, LEN / site.block_len).0);
    h
}
