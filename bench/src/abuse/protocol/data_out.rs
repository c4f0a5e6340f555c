//! Data-Out that nobody asked for, and data that was asked for and does not come (N19).

use super::{End, TAG, follow, judged, lba, write_header};
use crate::abuse::AbuseError;
use crate::abuse::rng::Rng;
use crate::abuse::site::Site;
use crate::initiator::pdu::{Header, RESERVED_TAG, opcode};
use crate::initiator::{Error, Initiator, Lun, Pdu};

/// Commands whose data does not come.
const WRITES: u32 = 8;
/// ABORT TASK (RFC 7143 11.5.1).
const ABORT_TASK: u8 = 1;

/// A session to which writes bring nothing by themselves: everything is asked for.
fn session(site: &Site, number: u32) -> Result<Initiator, Error> {
    let mut login = site.login(number);
    (login.immediate_data, login.initial_r2t) = (false, true);
    let mut session = site.session_with(number, &login)?;
    session.ready(site.url.lun, 8)?;
    Ok(session)
}

fn data_out(site: &Site, tag: u32, ttt: u32, offset: u32, data: &[u8]) -> Pdu {
    let mut h = Header::new(opcode::DATA_OUT);
    h.put_flags(0x80)
        .put_lun(Lun::from(site.url.lun).0)
        .put_word(16, tag)
        .put_word(20, ttt)
        .put_word(40, offset);
    Pdu::new(h, data)
}

/// Data for no task, for a task's wrong R2T, and beyond its end. Nothing of it is written.
pub(super) fn stray(site: &Site, number: u32, rng: &mut Rng) -> Result<End, AbuseError> {
    let mut session = session(site, number)?;
    let lba = lba(site, number);
    let mut good = Vec::new();
    site.pattern()
        .emit(lba, 1, 0, site.block_len as usize, &mut good);
    session.write(site.url.lun, lba, &good, site.block_len)?;
    let h = write_header(site, &session, lba, TAG);
    session.send_pdu(&Pdu::new(h, []))?;
    session.sequence_mut().cmd_sn = session.sequence().cmd_sn.wrapping_add(1);
    let r2t = session.recv_pdu()?.header;
    let junk = vec![0xee; site.block_len as usize];
    let wrong = match rng.below(4) {
        0 => data_out(site, TAG + 1, r2t.ttt(), 0, &junk),
        1 => data_out(site, TAG, r2t.ttt() ^ 0x55, 0, &junk),
        2 => data_out(site, TAG, r2t.ttt(), site.block_len, &junk),
        _ => data_out(site, TAG, RESERVED_TAG, 0, &junk),
    };
    match session.send_pdu(&wrong) {
        Ok(()) | Err(Error::Closed) => {}
        Err(error) => return Err(error.into()),
    }
    // What the target makes of it is its business; that it writes nothing of it is not.
    let end = drained(&mut session)?;
    let other = number.wrapping_add(0x0100_0000);
    let data = site
        .session(other)?
        .read(site.url.lun, lba, 1, site.block_len)?;
    site.pattern().check(lba, 1, 0, &data, &mut Vec::new())?;
    match end {
        End::Open => judged(site, session),
        End::Closed => Ok(End::Closed),
    }
}

fn drained(session: &mut Initiator) -> Result<End, AbuseError> {
    loop {
        match session.connection().poll(super::SHORT) {
            Ok(Some(pdu)) => follow(session, &pdu.header),
            Ok(None) => return Ok(End::Open),
            Err(Error::Closed) => return Ok(End::Closed),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Every write is asked for its data and gets none; each abort is answered all the same.
pub(super) fn r2t_unanswered(site: &Site, number: u32, _: &mut Rng) -> Result<End, AbuseError> {
    let mut session = session(site, number)?;
    for n in 0..WRITES {
        let h = write_header(site, &session, lba(site, number), TAG + n);
        session.send_pdu(&Pdu::new(h, []))?;
        session.sequence_mut().cmd_sn = session.sequence().cmd_sn.wrapping_add(1);
    }
    for _ in 0..WRITES {
        let h = session.recv_pdu()?.header;
        expect(h.opcode() == opcode::R2T, "no R2T for a write")?;
    }
    for n in 0..WRITES {
        let ref_cmd_sn = session.sequence().cmd_sn.wrapping_sub(WRITES - n);
        let answer = abort(site, &mut session, TAG + n, ref_cmd_sn)?;
        let is_response = answer.opcode() == opcode::TASK_MANAGEMENT_RESPONSE;
        expect(is_response, "no answer to ABORT TASK")?;
        expect(
            answer.response() == 0,
            "ABORT TASK of a task that is there failed",
        )?;
    }
    judged(site, session)
}

fn abort(
    site: &Site,
    session: &mut Initiator,
    task: u32,
    ref_cmd_sn: u32,
) -> Result<Header, AbuseError> {
    let mut h = Header::new(opcode::TASK_MANAGEMENT | 0x40);
    h.put_flags(0x80 | ABORT_TASK)
        .put_lun(Lun::from(site.url.lun).0)
        .put_word(16, task ^ 0x1000_0000)
        .put_word(20, task)
        .put_word(24, session.sequence().cmd_sn)
        .put_word(28, session.sequence().exp_stat_sn)
        .put_word(32, ref_cmd_sn);
    session.send_pdu(&Pdu::new(h, []))?;
    let answer = session.recv_pdu()?.header;
    follow(session, &answer);
    Ok(answer)
}

fn expect(holds: bool, text: &str) -> Result<(), AbuseError> {
    if holds {
        Ok(())
    } else {
        Err(AbuseError::Argument(text.to_owned()))
    }
}
