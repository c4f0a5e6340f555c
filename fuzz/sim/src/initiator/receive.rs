//! What the target sends: framing, numbers, digests; then by kind of PDU.

use lunforge::iscsi::proto::digest::crc32c;
use lunforge::iscsi::proto::pdu::scsi_response::Residual;
use lunforge::iscsi::proto::pdu::{
    self, BHS_LEN, Bhs, DataIn, LogoutResponse, NopIn, NopOut, R2t, RESERVED_TAG, ScsiResponse,
    TaskManagementResponse, opcode,
};
use lunforge::iscsi::proto::session::serial_lt;

use super::{Initiator, Phase, What};
use crate::chronicle::Seq;
use crate::rng::Rng;
use crate::wire::Life;

impl Initiator {
    /// Takes in what the target has sent.
    pub(crate) fn absorb(&mut self, rng: &mut Rng) {
        let Some(link) = &mut self.link else { return };
        if let Some(sent) = link.wire.take() {
            let before = link.received;
            link.received += sent.bytes.len() as u64;
            let ends = sent.ends.into_iter();
            link.marks
                .extend(ends.map(|(end, seq)| (before + end as u64, seq)));
            link.input.extend(sent.bytes);
            while let Some((bhs, data, seq)) = self.next_pdu() {
                self.pdu(rng, &bhs, data, seq);
                if self.link.is_none() || self.shared.chronicle.failed() {
                    return;
                }
            }
        }
        let over = self
            .link
            .as_ref()
            .is_some_and(|link| link.wire.look(|pipe| pipe.closed));
        if over {
            self.note(50, 0, || "finds its connection closed".into());
            self.forget(Some(Life::Reset));
        }
    }

    /// The next whole PDU, and when its last byte was sent.
    fn next_pdu(&mut self) -> Option<(Bhs, Vec<u8>, Seq)> {
        let full = self.phase == Phase::Full;
        let digest = |on: bool| if full && on { 4 } else { 0 };
        let (header, trailer) = (
            digest(self.agreed.header_digest),
            digest(self.agreed.data_digest),
        );
        let link = self.link.as_mut()?;
        let bhs = *link.input.first_chunk::<BHS_LEN>()?;
        let len = pdu::data_segment_len(&bhs) as usize;
        let start = BHS_LEN + header;
        let padded = len.next_multiple_of(4);
        let end = start + padded + if len > 0 { trailer } else { 0 };
        let whole = link.input.get(..end)?;
        let mut good = header == 0 || whole[BHS_LEN..start] == crc32c(&bhs);
        if trailer > 0 && len > 0 {
            good &= whole[start + padded..] == crc32c(&whole[start..start + padded]);
        }
        let data = whole[start..start + len].to_vec();
        link.input.drain(..end);
        link.used += end as u64;
        while link
            .marks
            .front()
            .is_some_and(|(mark, _)| *mark < link.used)
        {
            link.marks.pop_front();
        }
        let seq = link.marks.front().map_or(0, |(_, seq)| *seq);
        if !good {
            self.fail("digest", format!("{bhs:02x?}"));
        }
        if full && len > self.config.max_recv as usize {
            self.fail("segment-too-long", format!("{len}"));
        }
        Some((bhs, data, seq))
    }

    fn pdu(&mut self, rng: &mut Rng, bhs: &Bhs, data: Vec<u8>, seq: Seq) {
        let code = pdu::opcode_of(bhs);
        self.note(
            51,
            u64::from(code) << 32 | u64::from(pdu::initiator_task_tag(bhs)),
            || {
                format!(
                    "gets PDU {code:#04x} of {:#x}, {} bytes, sent at #{seq}",
                    pdu::initiator_task_tag(bhs),
                    data.len()
                )
            },
        );
        match (self.phase, code) {
            (Phase::Login(stage), opcode::LOGIN_RESPONSE) => {
                return self.login_response(stage, bhs, &data, seq);
            }
            (Phase::Full, _) => {}
            _ => return self.fail("unexpected-pdu", format!("{code:#04x} in {:?}", self.phase)),
        }
        self.check_window(bhs);
        match code {
            opcode::SCSI_RESPONSE => {
                if let Ok(pdu) = ScsiResponse::parse(bhs) {
                    self.scsi_response(&pdu, &data, seq);
                }
            }
            opcode::DATA_IN => self.parsed(DataIn::parse(bhs), |this, pdu| {
                this.data_in(&pdu, &data, seq)
            }),
            opcode::R2T => self.parsed(R2t::parse(bhs), |this, pdu| this.r2t(rng, &pdu)),
            opcode::NOP_IN => self.parsed(NopIn::parse(bhs), |this, pdu| this.nop_in(&pdu, &data)),
            opcode::TASK_MANAGEMENT_RESPONSE => {
                self.parsed(TaskManagementResponse::parse(bhs), |this, pdu| {
                    this.managed(&pdu, seq)
                });
            }
            opcode::LOGOUT_RESPONSE => self.parsed(LogoutResponse::parse(bhs), |this, pdu| {
                this.logged_out(&pdu, seq)
            }),
            opcode::ASYNC_MESSAGE => self.status(word(bhs, 24)),
            opcode::REJECT => {
                self.status(word(bhs, 24));
                if self.rejects_due == 0 {
                    self.fail(
                        "reject",
                        format!("reason {:#04x} of {:02x?}", bhs[2], data.get(..48)),
                    );
                }
                self.rejects_due -= 1;
            }
            other => self.fail("unexpected-pdu", format!("{other:#04x}")),
        }
    }

    fn parsed<T, E: std::fmt::Debug>(
        &mut self,
        pdu: Result<T, E>,
        then: impl FnOnce(&mut Self, T),
    ) {
        match pdu {
            Ok(pdu) => then(self, pdu),
            Err(error) => self.fail("unexpected-pdu", format!("{error:?}")),
        }
    }

    /// The command window (RFC 7143 4.2.2.1): MaxCmdSN never goes back, ExpCmdSN neither, nor beyond what was sent; and the
    /// window is never wider than at the login.
    fn check_window(&mut self, bhs: &Bhs) {
        let (exp, max) = (word(bhs, 28), word(bhs, 32));
        if serial_lt(max, self.max_cmd_sn) {
            self.fail(
                "cmd-sn",
                format!("MaxCmdSN from {} to {max}", self.max_cmd_sn),
            );
        }
        if serial_lt(self.cmd_sn, exp) || serial_lt(exp, self.exp_cmd_sn) {
            self.fail(
                "cmd-sn",
                format!(
                    "ExpCmdSN from {} to {exp}, next is {}",
                    self.exp_cmd_sn, self.cmd_sn
                ),
            );
        }
        // As a signed distance: with a closed window MaxCmdSN is ExpCmdSN - 1.
        if max.wrapping_sub(exp).wrapping_add(1) > self.window {
            self.fail("cmd-sn", format!("window from {exp} to {max}"));
        }
        (self.exp_cmd_sn, self.max_cmd_sn) = (exp, max);
    }

    pub(super) fn status(&mut self, stat_sn: u32) {
        if stat_sn != self.stat_sn {
            self.fail(
                "stat-sn",
                format!("{stat_sn} where {} was due", self.stat_sn),
            );
        }
        self.stat_sn = stat_sn.wrapping_add(1);
    }

    fn data_in(&mut self, pdu: &DataIn, data: &[u8], seq: Seq) {
        let max_burst = self.agreed.max_burst;
        let Some(task) = self
            .tasks
            .get_mut(&pdu.itt)
            .filter(|task| task.data.is_empty())
        else {
            return self.fail("data-in", format!("for no read: {pdu:?}"));
        };
        let offset = pdu.buffer_offset as usize;
        let in_order = pdu.data_sn == task.data_sn && offset == task.read.len();
        let fits = !data.is_empty() && offset + data.len() <= task.expected;
        let burst = offset % max_burst + data.len() <= max_burst;
        task.data_sn += 1;
        task.read.extend_from_slice(data);
        if !in_order || !fits || !burst {
            self.fail("data-in", format!("{pdu:?}"));
        }
        if let Some((status, residual)) = pdu.status {
            self.status(pdu.stat_sn);
            self.finish(pdu.itt, status, &[], residual, seq);
        }
    }

    fn scsi_response(&mut self, pdu: &ScsiResponse, data: &[u8], seq: Seq) {
        self.status(pdu.stat_sn);
        let consumed = self.consumed();
        let Some(task) = self.tasks.get(&pdu.itt).filter(|task| task.is_command()) else {
            return self.fail("answered-twice", format!("status of no command: {pdu:?}"));
        };
        if consumed < task.unsolicited_end {
            self.fail(
                "early-status",
                format!("before the unsolicited data: {pdu:?}"),
            );
        }
        let Some(task) = self.tasks.get(&pdu.itt) else {
            return;
        };
        if pdu.exp_data_sn != task.data_sn.wrapping_add(task.r2t_sn) {
            self.fail("exp-data-sn", format!("{pdu:?}"));
        }
        let sense = match data {
            [high, low, sense @ ..] => sense.get(..usize::from(u16::from_be_bytes([*high, *low]))),
            _ => Some(&[][..]),
        };
        match sense {
            Some(sense) => self.finish(pdu.itt, pdu.status, sense, pdu.residual, seq),
            None => self.fail("sense", format!("{data:02x?}")),
        }
    }

    fn r2t(&mut self, rng: &mut Rng, pdu: &R2t) {
        if pdu.stat_sn != self.stat_sn {
            self.fail("stat-sn", format!("{pdu:?}"));
        }
        let max_burst = self.agreed.max_burst;
        let Some(task) = self
            .tasks
            .get_mut(&pdu.itt)
            .filter(|task| !task.data.is_empty())
        else {
            return self.fail("r2t", format!("for no write: {pdu:?}"));
        };
        let (start, len) = (
            pdu.buffer_offset as usize,
            pdu.desired_data_transfer_length as usize,
        );
        let good = pdu.r2t_sn == task.r2t_sn && len <= max_burst && start + len <= task.data.len();
        task.r2t_sn += 1;
        if !good {
            return self.fail("r2t", format!("{pdu:?}"));
        }
        let (data, damaged) = (
            task.data[..start + len].to_vec(),
            std::mem::take(&mut task.damaged),
        );
        self.sequence(rng, (pdu.lun, pdu.itt, pdu.ttt), start, &data, damaged);
    }

    fn nop_in(&mut self, pdu: &NopIn, data: &[u8]) {
        if pdu.itt != RESERVED_TAG {
            self.status(pdu.stat_sn);
            let Some(What::Ping(sent)) = self.tasks.remove(&pdu.itt).map(|task| task.what) else {
                return self.fail("answered-twice", format!("no ping: {pdu:?}"));
            };
            let most = (self.config.max_recv as usize).min(sent.len());
            if data != &sent[..most] {
                self.fail("nop-in", "not the data of the ping".into());
            }
            return;
        }
        if pdu.stat_sn != self.stat_sn {
            self.fail("stat-sn", format!("{pdu:?}"));
        }
        let answer = NopOut {
            immediate: true,
            data_segment_length: 0,
            lun: pdu.lun,
            itt: RESERVED_TAG,
            ttt: pdu.ttt,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.stat_sn,
        };
        self.send(&answer.emit(), &[], false);
    }

    fn logged_out(&mut self, pdu: &LogoutResponse, seq: Seq) {
        self.status(pdu.stat_sn);
        if pdu.response != 0
            || self
                .tasks
                .get(&pdu.itt)
                .is_none_or(|task| task.what != What::Logout)
        {
            self.fail("logout", format!("{pdu:?}"));
        }
        if let Some(session) = self.session.take() {
            self.shared.model.lock().close_session(session, seq);
        }
        self.forget(Some(Life::Finished));
    }
}

/// Whether a residual says what it should.
pub(super) fn residual_of(expected: usize, actual: usize) -> Residual {
    Residual::between(expected as u32, actual as u64)
}

fn word(bhs: &Bhs, at: usize) -> u32 {
    u32::from_be_bytes([bhs[at], bhs[at + 1], bhs[at + 2], bhs[at + 3]])
}
