//! Command flow out of bounds (N17).

use super::{End, TAG, follow, judged};
use crate::abuse::AbuseError;
use crate::abuse::rng::Rng;
use crate::abuse::site::Site;
use crate::initiator::pdu::{Header, opcode};
use crate::initiator::{Error, Initiator, Lun, Pdu};

/// Immediate commands at once; a target says how many it takes by rejecting the others.
const FLOOD: u32 = 500;

fn test_unit_ready(site: &Site, session: &Initiator, immediate: bool, cmd_sn: u32) -> Header {
    let mut h = Header::new(opcode::SCSI_COMMAND | if immediate { 0x40 } else { 0 });
    h.put_flags(0x81)
        .put_lun(Lun::from(site.url.lun).0)
        .put_word(24, cmd_sn)
        .put_word(28, session.sequence().exp_stat_sn);
    h
}

/// Each of them is answered or rejected.
pub(super) fn immediate_flood(site: &Site, number: u32, _: &mut Rng) -> Result<End, AbuseError> {
    let mut session = site.session(number)?;
    let mut h = test_unit_ready(site, &session, true, session.sequence().cmd_sn);
    let mut wire = Vec::new();
    for n in 0..FLOOD {
        h.put_word(16, TAG + n);
        wire.extend_from_slice(&h.0);
    }
    session.send_raw(&wire)?;
    for _ in 0..FLOOD {
        match session.recv_pdu() {
            Ok(pdu) => follow(&mut session, &pdu.header),
            Err(Error::Closed) => return Ok(End::Closed),
            Err(error) => return Err(error.into()),
        }
    }
    judged(site, session)
}

/// RFC 7143 4.2.2.1: silently ignored. The session goes on as if nothing had come.
pub(super) fn outside_window(site: &Site, number: u32, rng: &mut Rng) -> Result<End, AbuseError> {
    let mut session = site.session(number)?;
    let sequence = session.sequence();
    for n in 0..50 {
        let distance = 1 + rng.below(1 << 30) as u32;
        let cmd_sn = match n % 2 {
            0 => sequence.cmd_sn.wrapping_sub(distance),
            _ => sequence.max_cmd_sn.wrapping_add(distance),
        };
        let mut h = test_unit_ready(site, &session, false, cmd_sn);
        h.put_word(16, TAG + n);
        session.send_pdu(&Pdu::new(h, []))?;
    }
    match judged(site, session)? {
        End::Open => Ok(End::Open),
        End::Closed => {
            let text = "the target closed a session for a CmdSN that is to be ignored".to_owned();
            Err(AbuseError::Argument(text))
        }
    }
}
