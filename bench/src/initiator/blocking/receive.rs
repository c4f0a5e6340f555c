//! The receive side of a blocking session: every PDU of the target is checked and served here.

use super::super::pdu::{Header, Pdu, RESERVED_TAG, opcode};
use super::super::session::Violation;
use super::super::transfer::{Solicited, data_out_parts};
use super::super::{Error, Reply};
use super::{Event, Initiator, MAX_EVENTS, Outstanding};

impl Initiator {
    pub(super) fn take(&mut self, pdu: Pdu) -> Result<(), Error> {
        let h = pdu.header;
        self.sequence.update_window(&h)?;
        match h.opcode() {
            opcode::DATA_IN => self.data_in(&pdu),
            opcode::SCSI_RESPONSE => self.scsi_response(&pdu),
            opcode::R2T => self.r2t(&h),
            opcode::NOP_IN => self.nop_in(pdu),
            opcode::ASYNC_MESSAGE => {
                self.sequence.advance_stat_sn(&h)?;
                self.event(Event::Async(h.0[36], pdu));
                Ok(())
            }
            opcode::REJECT => {
                self.sequence.advance_stat_sn(&h)?;
                self.rejects += 1;
                self.event(Event::Reject(h.response(), pdu));
                Ok(())
            }
            opcode::TASK_MANAGEMENT_RESPONSE | opcode::TEXT_RESPONSE | opcode::LOGOUT_RESPONSE => {
                self.sequence.advance_stat_sn(&h)?;
                self.answer(pdu)
            }
            opcode => Err(Violation::Unexpected {
                opcode,
                detail: String::new(),
            }
            .into()),
        }
    }

    /// Keeps the answer to something other than a SCSI command until it is waited for.
    fn answer(&mut self, pdu: Pdu) -> Result<(), Error> {
        if self.answers.len() >= MAX_EVENTS {
            let detail = " that nobody asked for, once too often".to_owned();
            return Err(Violation::Unexpected {
                opcode: pdu.header.opcode(),
                detail,
            }
            .into());
        }
        self.answers.insert(pdu.header.itt(), pdu);
        Ok(())
    }

    fn event(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn task(&mut self, h: &Header) -> Result<&mut Outstanding, Error> {
        let (opcode, itt) = (h.opcode(), h.itt());
        self.tasks
            .get_mut(&itt)
            .ok_or_else(|| Violation::UnknownTag { opcode, itt }.into())
    }

    fn data_in(&mut self, pdu: &Pdu) -> Result<(), Error> {
        let h = &pdu.header;
        let task = self.task(h)?;
        task.transfer.data_in(h, pdu.data.len())?;
        task.data.extend_from_slice(&pdu.data);
        if h.flags() & 1 == 0 {
            return Ok(());
        }
        self.sequence.advance_stat_sn(h)?;
        self.end(h, 0, Vec::new(), true)
    }

    fn scsi_response(&mut self, pdu: &Pdu) -> Result<(), Error> {
        let h = &pdu.header;
        self.task(h)?;
        self.sequence.advance_stat_sn(h)?;
        let sense = match pdu.data.split_first_chunk::<2>() {
            Some((len, rest)) => {
                let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
                rest.get(..len).unwrap_or(rest).to_vec()
            }
            None => Vec::new(),
        };
        self.end(h, h.response(), sense, false)
    }

    fn end(
        &mut self,
        h: &Header,
        response: u8,
        sense: Vec<u8>,
        collapsed: bool,
    ) -> Result<(), Error> {
        let itt = h.itt();
        let Some(task) = self.tasks.remove(&itt) else {
            return Err(Violation::UnknownTag {
                opcode: h.opcode(),
                itt,
            }
            .into());
        };
        let good = response == 0 && h.status() == 0;
        let residual = task.transfer.finish(h, good)?;
        if !collapsed {
            task.transfer.exp_data_sn(h)?;
        }
        let reply = Reply {
            status: h.status(),
            response,
            sense,
            data: task.data,
            residual,
            data_pdus: task.transfer.sn,
            collapsed,
        };
        self.done.insert(itt, reply);
        Ok(())
    }

    fn r2t(&mut self, h: &Header) -> Result<(), Error> {
        let max_burst = self.params.max_burst_length;
        let part = self.task(h)?.transfer.r2t(h, max_burst)?;
        self.data_out(h.itt(), part)
    }

    /// Sends one Data-Out sequence; bytes past the end of the task's data are zero.
    pub(super) fn data_out(&mut self, tag: u32, part: Solicited) -> Result<(), Error> {
        let max = self.params.target_max_recv_data_segment_length;
        let exp_stat_sn = self.sequence.exp_stat_sn;
        let Some(task) = self.tasks.get(&tag) else {
            return Ok(());
        };
        let mut wire = Vec::new();
        for p in data_out_parts(part.offset, part.len, max) {
            let mut h = Header::new(opcode::DATA_OUT);
            h.put_flags(if p.last { 0x80 } else { 0 })
                .put_lun(task.lun.0);
            h.put_word(16, tag)
                .put_word(20, part.ttt)
                .put_word(28, exp_stat_sn);
            h.put_word(36, p.data_sn).put_word(40, p.offset);
            let (start, len) = (p.offset as usize, p.len as usize);
            let mut data = vec![0; len];
            for (to, from) in data.iter_mut().zip(task.data_out.iter().skip(start)) {
                *to = *from;
            }
            wire.push(Pdu::new(h, data));
        }
        wire.iter().try_for_each(|pdu| self.connection.send(pdu))
    }

    fn nop_in(&mut self, pdu: Pdu) -> Result<(), Error> {
        let h = pdu.header;
        if h.itt() != RESERVED_TAG {
            self.sequence.advance_stat_sn(&h)?;
            return self.answer(pdu);
        }
        if h.ttt() == RESERVED_TAG {
            return Ok(());
        }
        if self.auto_nop {
            self.answer_ping(&h)?;
        }
        self.event(Event::Ping(pdu));
        Ok(())
    }

    /// Answers a NOP-In that asked for it (RFC 7143 11.18).
    pub fn answer_ping(&mut self, ping: &Header) -> Result<(), Error> {
        let mut h = Header::new(opcode::NOP_OUT | 0x40);
        h.put_flags(0x80)
            .put_lun(ping.lun())
            .put_word(16, RESERVED_TAG)
            .put_word(20, ping.ttt());
        h.put_word(24, self.sequence.cmd_sn)
            .put_word(28, self.sequence.exp_stat_sn);
        self.connection.send(&Pdu::new(h, []))
    }
}
