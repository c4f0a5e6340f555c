//! Digests that do not fit (N22).

use super::{End, TAG, follow, judged, lba, must_close, write_header};
use crate::abuse::AbuseError;
use crate::abuse::rng::Rng;
use crate::abuse::site::Site;
use crate::initiator::{Digests, Error, Initiator, Pdu};

fn session(site: &Site, number: u32) -> Result<Initiator, Error> {
    let mut login = site.login(number);
    (login.header_digest, login.data_digest) = (true, true);
    let mut session = site.session_with(number, &login)?;
    session.ready(site.url.lun, 8)?;
    Ok(session)
}

/// A block and the PDU that writes it, with its digests.
fn write(site: &Site, session: &Initiator, lba: u64, generation: u32) -> (Pdu, Vec<u8>) {
    let mut data = Vec::new();
    let len = site.block_len as usize;
    site.pattern().emit(lba, generation, 0, len, &mut data);
    let pdu = Pdu::new(write_header(site, session, lba, TAG), data);
    let params = session.params();
    let digests = Digests {
        header: params.header_digest,
        data: params.data_digest,
    };
    let mut wire = Vec::new();
    pdu.emit(digests, &mut wire);
    (pdu, wire)
}

/// RFC 7143 7.8: the stream cannot be trusted any more, the connection ends.
pub(super) fn header(site: &Site, number: u32, rng: &mut Rng) -> Result<End, AbuseError> {
    let mut session = session(site, number)?;
    let (_, mut wire) = write(site, &session, lba(site, number), 1);
    flip(&mut wire, 0..48, rng);
    if !session.params().header_digest {
        return Ok(End::Open);
    }
    session.send_raw(&wire)?;
    must_close(session)
}

/// RFC 7143 7.8: rejected, and nothing of it is written.
pub(super) fn data(site: &Site, number: u32, rng: &mut Rng) -> Result<End, AbuseError> {
    let mut session = session(site, number)?;
    let lba = lba(site, number);
    let (pdu, _) = write(site, &session, lba, 1);
    session.write(site.url.lun, lba, &pdu.data, site.block_len)?;
    let (_, mut wire) = write(site, &session, lba, 2);
    if !session.params().data_digest {
        return Ok(End::Open);
    }
    let start = wire.len() - 4 - pdu.data.len();
    let end = wire.len();
    flip(&mut wire, start..end, rng);
    session.send_raw(&wire)?;
    session.sequence_mut().cmd_sn = session.sequence().cmd_sn.wrapping_add(1);
    let rejected = read_over(&mut session)?;
    let data = site.session(number.wrapping_add(0x0100_0000))?.read(
        site.url.lun,
        lba,
        1,
        site.block_len,
    )?;
    site.pattern().check(lba, 1, 0, &data, &mut Vec::new())?;
    if rejected {
        judged(site, session)
    } else {
        Ok(End::Closed)
    }
}

/// Reads the Reject and the status of the command; false when the target closes.
fn read_over(session: &mut Initiator) -> Result<bool, AbuseError> {
    use crate::initiator::pdu::opcode;
    loop {
        match session.recv_pdu() {
            Ok(pdu) => {
                follow(session, &pdu.header);
                if pdu.header.opcode() == opcode::SCSI_RESPONSE {
                    return Ok(true);
                }
            }
            Err(Error::Closed) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Turns one bit over.
fn flip(wire: &mut [u8], within: std::ops::Range<usize>, rng: &mut Rng) {
    let at = within.start + rng.index(within.len());
    if let Some(byte) = wire.get_mut(at) {
        *byte ^= 1 << rng.below(8);
    }
}
