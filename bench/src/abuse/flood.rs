//! Pings without end, and sessions that do nothing, in full feature phase (N30).

use std::io::{ErrorKind, Write as _};
use std::time::Instant;

use super::AbuseError;
use super::findings::Findings;
use super::site::{Site, reset};
use crate::initiator::pdu::{Header, RESERVED_TAG, opcode};
use crate::initiator::{Digests, Initiator, Pdu};

/// Data of one ping, bytes.
const DATA: usize = 4096;
/// Pings written at a time.
const BATCH: usize = 16;

struct Pinger {
    session: Initiator,
    bytes: Vec<u8>,
    sent: usize,
    total: u64,
}

pub(super) fn run(site: &Site, count: u64, findings: &mut Findings) -> Result<(), AbuseError> {
    let mut pingers = Vec::new();
    let mut idle = Vec::new();
    for number in 0..u32::try_from(count).unwrap_or(u32::MAX) {
        let mut session = site.session(number)?;
        if number % 2 == 0 {
            idle.push(session);
            continue;
        }
        let bytes = pings(&session, number % 4 == 1);
        session.connection().stream().set_nonblocking(true)?;
        pingers.push(Pinger {
            session,
            bytes,
            sent: 0,
            total: 0,
        });
    }
    let end = Instant::now() + site.hold;
    while Instant::now() < end {
        let mut moved = false;
        for pinger in &mut pingers {
            moved |= pinger.push()?;
        }
        if !moved {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    let total: u64 = pingers.iter().map(|p| p.total).sum();
    findings.note(format!(
        "{:.1} MiB of pings were taken whose answers nobody read",
        total as f64 / 1_048_576.0
    ));
    for mut session in idle {
        session.nop(b"")?;
        session.logout()?;
    }
    for mut pinger in pingers {
        reset(pinger.session.connection().stream());
    }
    Ok(site.serves(1)?)
}

impl Pinger {
    /// Writes what the socket takes; false when it takes nothing.
    fn push(&mut self) -> Result<bool, AbuseError> {
        let rest = self.bytes.get(self.sent..).unwrap_or(&[]);
        match self.session.connection().stream().write(rest) {
            Ok(n) => {
                self.sent = (self.sent + n) % self.bytes.len().max(1);
                self.total += n as u64;
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

/// Immediate NOP-Outs that ask for an answer, or that ask for none.
fn pings(session: &Initiator, answered: bool) -> Vec<u8> {
    let mut wire = Vec::new();
    for tag in 1..=BATCH as u32 {
        let mut h = Header::new(opcode::NOP_OUT | 0x40);
        h.put_flags(0x80)
            .put_word(16, if answered { tag } else { RESERVED_TAG })
            .put_word(20, RESERVED_TAG)
            .put_word(24, session.sequence().cmd_sn)
            .put_word(28, session.sequence().exp_stat_sn);
        let data = vec![0x55; if answered { DATA } else { 0 }];
        Pdu::new(h, data).emit(Digests::default(), &mut wire);
    }
    wire
}
