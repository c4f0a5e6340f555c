//! Text and data segments without measure (N6, N23).

use super::{End, TAG, follow, judged, must_close};
use crate::abuse::AbuseError;
use crate::abuse::rng::Rng;
use crate::abuse::site::Site;
use crate::initiator::pdu::{Header, RESERVED_TAG, opcode};
use crate::initiator::{Error, Initiator, Pdu};

/// Requests of one exchange that all say that more follows; no target has to keep as much.
const PARTS: u32 = 2000;
/// Bytes of one.
const PART: usize = 8192;

fn request(session: &Initiator) -> Header {
    let mut h = Header::new(opcode::TEXT_REQUEST | 0x40);
    h.put_flags(0x40)
        .put_word(16, TAG)
        .put_word(20, RESERVED_TAG)
        .put_word(24, session.sequence().cmd_sn)
        .put_word(28, session.sequence().exp_stat_sn);
    h
}

/// A text that always continues: it is rejected or ends the connection, before sixteen MiB have come.
pub(super) fn endless(site: &Site, number: u32, _: &mut Rng) -> Result<End, AbuseError> {
    let mut session = site.session(number)?;
    let mut h = request(&session);
    for _ in 0..PARTS {
        let answer = session
            .send_pdu(&Pdu::new(h, vec![b'a'; PART]))
            .and_then(|()| session.recv_pdu());
        match answer {
            Ok(pdu) if pdu.header.opcode() == opcode::TEXT_RESPONSE => {
                follow(&mut session, &pdu.header);
                h.put_word(20, pdu.header.ttt());
                h.put_word(28, session.sequence().exp_stat_sn);
            }
            Ok(pdu) if pdu.header.opcode() == opcode::REJECT => {
                follow(&mut session, &pdu.header);
                return judged(site, session);
            }
            Ok(_) => {}
            Err(Error::Closed) => return Ok(End::Closed),
            Err(error) => return Err(error.into()),
        }
    }
    let text = format!("{PARTS} parts of {PART} bytes of one text were taken");
    Err(AbuseError::Argument(text))
}

/// A header that announces more than the target declared to take: RFC 7143 11.7 leaves nothing but to give up.
pub(super) fn too_long(site: &Site, number: u32, rng: &mut Rng) -> Result<End, AbuseError> {
    let mut session = site.session(number)?;
    let mut h = request(&session);
    let most = session.params().target_max_recv_data_segment_length;
    let above = u64::from((1u32 << 24) - 1 - most);
    h.put_data_len(most + 1 + rng.below(above) as u32);
    session.send_raw(&h.0)?;
    must_close(session)
}
