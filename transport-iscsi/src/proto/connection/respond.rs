//! Answers: SCSI Response or status in the last Data-In, TMF, Logout, NOP-In, Reject, Async Message.

use super::transmit::DataInJob;
use super::{Close, Connection, Logout};
use crate::proto::pdu::scsi_response::Residual;
use crate::proto::pdu::{
    AsyncMessage, BHS_LEN, Bhs, LogoutResponse, NopIn, NopOut, RESERVED_TAG, Reject, ScsiResponse,
    TaskManagementResponse,
};
use crate::proto::session::Session;
use crate::proto::task::{DataOutState, TaskKey};
use crate::record::Incident;

/// Longest sense data sent; SPC-4 4.5.1 allows 252 bytes.
const MAX_SENSE: usize = 252;

/// How a SCSI command ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answer<'a> {
    /// SCSI status.
    pub status: u8,
    /// Sense data; empty for none.
    pub sense: &'a [u8],
    /// Bytes at the start of the task's buffer to send; cut to what the initiator expects.
    pub data_in: u32,
    /// Data-in length the command has, sent or not, in bytes: tells the residual.
    pub total_in: u64,
    /// Data-out length the command has, in bytes: tells the residual.
    pub total_out: u64,
}

/// An answer that waits for the end of the unsolicited data.
#[derive(Debug)]
pub(crate) struct HeldAnswer {
    status: u8,
    sense: Vec<u8>,
    data_in: u32,
    total_in: u64,
    total_out: u64,
}

impl Connection {
    /// Answers a SCSI command. Returns whether the task's buffer is still needed, until
    /// [`Connection::sent`] names the task; otherwise the key is no longer valid.
    pub fn respond(&mut self, session: &mut Session, key: TaskKey, answer: &Answer<'_>) -> bool {
        let Some(task) = session.task_mut(key).filter(|task| !task.retired) else {
            return false;
        };
        if task.out != DataOutState::Complete {
            task.out = DataOutState::Discarding;
        }
        // The initiator sends its unsolicited data in any case; its tag may not be reused while
        // some of it is on its way, so the status waits for the final bit.
        if task.unsolicited.is_some() {
            let sense = answer
                .sense
                .get(..MAX_SENSE)
                .unwrap_or(answer.sense)
                .to_vec();
            let Answer {
                status,
                data_in,
                total_in,
                total_out,
                ..
            } = *answer;
            let held = HeldAnswer {
                status,
                sense,
                data_in,
                total_in,
                total_out,
            };
            task.held = Some(Box::new(held));
            return data_in > 0 && task.expected_in > 0;
        }
        self.answer(session, key, answer)
    }

    pub(super) fn release_held(&mut self, session: &mut Session, key: TaskKey) {
        let Some(held) = session.task_mut(key).and_then(|task| task.held.take()) else {
            return;
        };
        let HeldAnswer {
            status,
            ref sense,
            data_in,
            total_in,
            total_out,
        } = *held;
        self.answer(
            session,
            key,
            &Answer {
                status,
                sense,
                data_in,
                total_in,
                total_out,
            },
        );
    }

    fn answer(&mut self, session: &mut Session, key: TaskKey, answer: &Answer<'_>) -> bool {
        session.retire(key);
        let Some(task) = session.task(key) else {
            return false;
        };
        let (read, write, itt) = (task.read, task.write, task.itt);
        let data_in = answer.data_in.min(task.expected_in);
        let residual_in = Residual::between(task.expected_in, answer.total_in);
        let residual_out = Residual::between(task.expected_out, answer.total_out);
        let (residual, bidi_residual) = match (read, write) {
            (true, true) => (residual_out, residual_in),
            (true, false) => (residual_in, Residual::None),
            (false, true) => (residual_out, Residual::None),
            (false, false) => (
                Residual::between(0, answer.total_in.max(answer.total_out)),
                Residual::None,
            ),
        };
        let r2ts = task.r2t_sn;
        let mut data_pdus = 0;
        if data_in > 0 {
            let collapse = answer.sense.is_empty() && !write;
            let status = collapse.then(|| (answer.status, residual, self.stat_sn()));
            let job = DataInJob::new(key, itt, data_in, session.params().max_burst_length, status);
            data_pdus = job.pdu_count(self.params.max_xmit_data_segment_length);
            self.send_data_in(session, job);
            if collapse {
                return true;
            }
        }
        let sense = answer.sense.get(..MAX_SENSE).unwrap_or(answer.sense);
        let segment = sense_segment(sense);
        let bhs = ScsiResponse {
            bidi_residual,
            residual,
            response: 0,
            status: answer.status,
            // At most 254.
            data_segment_length: segment.len() as u32,
            itt,
            stat_sn: self.stat_sn(),
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            exp_data_sn: r2ts.wrapping_add(data_pdus),
        }
        .emit();
        if data_in > 0 {
            self.send(session, bhs, segment, Some(key));
            return true;
        }
        session.remove(key);
        self.send(session, bhs, segment, None);
        false
    }

    /// Answers a task management function with a code of
    /// [`crate::proto::pdu::task_management_response::response`].
    pub fn respond_task_management(&mut self, session: &mut Session, key: TaskKey, response: u8) {
        let Some(itt) = session.initiator_task_tag(key) else {
            return;
        };
        session.remove(key);
        let stat_sn = self.stat_sn();
        let pdu = TaskManagementResponse {
            response,
            itt,
            stat_sn,
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
        };
        self.send_header(session, pdu.emit());
    }

    /// Answers the logout when every command has ended; the connection is over after it.
    /// Tasks still in the table are dropped without an answer (RFC 7143 §11.14).
    pub fn complete_logout(&mut self, session: &mut Session) {
        let Logout::Requested { itt } = self.logout else {
            return;
        };
        let keys: Vec<_> = session.task_keys().collect();
        keys.into_iter().for_each(|key| self.abandon(session, key));
        self.logout_response(session, itt, 0);
        self.closed.get_or_insert(Close::Logout);
    }

    pub(super) fn logout_response(&mut self, session: &mut Session, itt: u32, response: u8) {
        let params = session.params();
        let (time2wait, time2retain) = (params.default_time2wait, params.default_time2retain);
        let stat_sn = self.stat_sn();
        let pdu = LogoutResponse {
            response,
            itt,
            stat_sn,
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            time2wait,
            time2retain,
        };
        self.send_header(session, pdu.emit());
    }

    pub(super) fn nop_in_answer(&mut self, session: &mut Session, nop: &NopOut, mut data: Vec<u8>) {
        // The answer is cut to what the initiator takes (RFC 7143 §11.19).
        data.truncate(self.params.max_xmit_data_segment_length as usize);
        let pdu = NopIn {
            // At most a data segment we accepted, below 2^24.
            data_segment_length: data.len() as u32,
            lun: nop.lun,
            itt: nop.itt,
            ttt: RESERVED_TAG,
            stat_sn: self.stat_sn(),
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
        };
        self.send_ping_answer(session, pdu.emit(), data);
    }

    pub(super) fn nop_in_ping(&mut self, session: &mut Session, ttt: u32) {
        let pdu = NopIn {
            data_segment_length: 0,
            lun: [0; 8],
            itt: RESERVED_TAG,
            ttt,
            // A NOP-In that is no answer shows the next StatSN and does not take it (§11.19).
            stat_sn: self.stat_sn,
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
        };
        self.send_header(session, pdu.emit());
    }

    pub(super) fn reject(&mut self, session: &mut Session, refused: &Bhs, reason: u8) {
        self.statistics.rejects += 1;
        self.note(Incident::Rejected(reason));
        let pdu = Reject {
            reason,
            data_segment_length: BHS_LEN as u32,
            stat_sn: self.stat_sn(),
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            data_sn: 0,
        };
        self.send(session, pdu.emit(), refused.to_vec(), None);
    }

    /// Sends an Asynchronous Message; sequence numbers are filled in, `sense` follows for event 0.
    pub fn send_async(&mut self, session: &mut Session, message: AsyncMessage, sense: &[u8]) {
        let sense = sense.get(..MAX_SENSE).unwrap_or(sense);
        let segment = sense_segment(sense);
        let message = AsyncMessage {
            data_segment_length: segment.len() as u32,
            stat_sn: self.stat_sn(),
            ..message
        };
        self.send(session, message.emit(), segment, None);
    }
}

/// SenseLength and sense (RFC 7143 §11.4.7).
fn sense_segment(sense: &[u8]) -> Vec<u8> {
    if sense.is_empty() {
        return Vec::new();
    }
    let mut segment = Vec::with_capacity(2 + sense.len());
    segment.extend_from_slice(&(sense.len() as u16).to_be_bytes());
    segment.extend_from_slice(sense);
    segment
}
