//! PDUs that are random but for what would hurt others.

use super::{End, SHORT};
use crate::abuse::AbuseError;
use crate::abuse::rng::Rng;
use crate::abuse::site::{Site, reset};
use crate::initiator::pdu::Header;
use crate::initiator::{Error, Initiator};

/// Most PDUs of one session.
const MOST: u64 = 20;
/// A LUN that no target here has: what gets through as a command finds nothing.
const NOBODY: [u8; 8] = [0x3f, 0xff, 0, 0, 0, 0, 0, 0];
/// Set in every random byte: wherever the target believes a header to begin, it is no command and no reset.
const HARMLESS: u8 = 0x10;

pub(super) fn run(site: &Site, number: u32, rng: &mut Rng) -> Result<End, AbuseError> {
    let mut session = site.session(number)?;
    let mut wire = Vec::new();
    for _ in 0..=rng.below(MOST) {
        random_pdu(&session, rng, &mut wire);
    }
    match session.send_raw(&wire) {
        Ok(()) => {}
        Err(Error::Closed) => return Ok(End::Closed),
        Err(other) => return Err(other.into()),
    }
    let end = drain(&mut session);
    reset(session.connection().stream());
    Ok(end)
}

fn random_pdu(session: &Initiator, rng: &mut Rng, wire: &mut Vec<u8>) {
    let mut bytes = [0; 48];
    rng.fill(&mut bytes);
    bytes.iter_mut().for_each(|byte| *byte |= HARMLESS);
    let mut h = Header(bytes);
    if rng.below(4) > 0 {
        // What an initiator may send: 00h to 06h and 10h (RFC 7143 11.2.1.2).
        let opcode = [0, 1, 2, 3, 4, 5, 6, 0x10][rng.index(8)];
        h.0[0] = opcode | if rng.below(2) == 0 { 0x40 } else { 0 };
    }
    h.put_lun(NOBODY);
    if rng.below(2) == 0 {
        h.put_word(24, session.sequence().cmd_sn);
    }
    h.0[4] = if rng.below(4) == 0 {
        rng.below(5) as u8
    } else {
        0
    };
    let len = match rng.below(8) {
        0 => rng.below(1 << 24),
        1..4 => rng.below(2048),
        _ => 0,
    };
    h.put_data_len(len as u32);
    wire.extend_from_slice(&h.0);
    // Often as much as it says, sometimes less.
    let said = usize::from(h.0[4]) * 4 + usize::try_from(len).unwrap_or(0).next_multiple_of(4);
    let sent = if rng.below(4) == 0 {
        rng.index(4096)
    } else {
        said.min(8192)
    };
    wire.extend((0..sent).map(|_| rng.next() as u8 | HARMLESS));
}

/// Reads what comes for a moment, without believing it.
fn drain(session: &mut Initiator) -> End {
    for _ in 0..MOST {
        match session.connection().poll(SHORT) {
            Ok(Some(_)) => {}
            Ok(None) => return End::Open,
            Err(_) => return End::Closed,
        }
    }
    End::Open
}
