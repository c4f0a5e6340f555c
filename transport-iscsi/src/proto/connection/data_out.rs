//! Data-Out: unsolicited sequences, R2T generation, and the checks of RFC 7143 §11.7.

use std::time::Instant;

use super::receive::Progress;
use super::{Connection, Event, Sink};
use crate::proto::error::Violation;
use crate::proto::pdu::{DataOut, R2t, RESERVED_TAG};
use crate::proto::session::{Session, SessionParams};
use crate::proto::task::{DataOutState, Kind, OutstandingR2t, Task, TaskKey};

impl Connection {
    /// Takes the data of a write command: the first `wanted` bytes, cut to what the initiator
    /// expects to send, belong into the caller's buffer. Bytes beyond are thrown away.
    ///
    /// Returns how many bytes will come. With 0 there is no data and no
    /// [`Event::DataComplete`] will follow.
    pub fn accept_data(
        &mut self,
        session: &mut Session,
        key: TaskKey,
        wanted: u32,
        now: Instant,
    ) -> u32 {
        let Some(task) = session.task_mut(key) else {
            return 0;
        };
        if task.out != DataOutState::Undecided {
            return 0;
        }
        task.wanted = wanted.min(task.expected_out);
        let wanted = task.wanted;
        task.out = if wanted == 0 {
            DataOutState::Discarding
        } else {
            DataOutState::Receiving
        };
        self.solicit(session, key, now);
        wanted
    }

    pub(super) fn data_out(
        &mut self,
        session: &mut Session,
        pdu: DataOut,
        now: Instant,
    ) -> Result<Progress, Violation> {
        let key = session.find(pdu.itt).ok_or(Violation::StrayDataOut)?;
        let max_first = session.params().first_burst_length;
        let task = session
            .task_mut(key)
            .filter(|task| task.kind == Kind::Scsi)
            .ok_or(Violation::StrayDataOut)?;
        // The data of this task is complete, or it never had any.
        if !task.write || task.out == DataOutState::Complete {
            return Err(Violation::TransferTag);
        }
        let checked = if pdu.ttt == RESERVED_TAG {
            check_unsolicited(task, &pdu, max_first)
        } else {
            if pdu.lun != task.lun {
                return Err(Violation::LunMismatch);
            }
            check_solicited(task, &pdu)?
        };
        if task.waiting_since.is_some() {
            task.waiting_since = Some(now);
        }
        let failed = match checked {
            Ok(()) => Progress::Go,
            Err(violation) => self.fail_transfer(session, key, violation),
        };
        if self.has_segment() {
            let (offset, ttt) = (pdu.buffer_offset, pdu.ttt);
            self.set_sink(Sink::Task {
                task: key,
                offset,
                ttt,
                is_final: pdu.is_final,
            });
            return Ok(failed);
        }
        if let Progress::Report(_) = failed {
            return Ok(failed);
        }
        let sequence = (pdu.ttt, pdu.is_final);
        Ok(self.data_segment_done(session, key, sequence, true, now))
    }

    /// A data segment has arrived as a whole.
    pub(super) fn data_segment_done(
        &mut self,
        session: &mut Session,
        key: TaskKey,
        (ttt, is_final): (u32, bool),
        good: bool,
        now: Instant,
    ) -> Progress {
        let Some(task) = session.task_mut(key) else {
            return Progress::Go;
        };
        if ttt != RESERVED_TAG {
            task.r2ts.retain(|r2t| r2t.ttt != ttt || !is_final);
        } else if is_final {
            task.unsolicited = None;
        }
        // The caller has answered already: its answer stands, and goes out when nothing unsolicited comes.
        if task.held.is_some() {
            if task.unsolicited.is_none() {
                self.release_held(session, key);
            }
            return Progress::Go;
        }
        if !good {
            return self.fail_transfer(session, key, Violation::DataDigest);
        }
        if task.failure.is_some() {
            return self.report_failure(session, key);
        }
        self.solicit(session, key, now);
        self.report_completion(session, key)
    }

    /// Reports that all wanted data is there, once.
    fn report_completion(&mut self, session: &mut Session, key: TaskKey) -> Progress {
        let Some(task) = session.task_mut(key) else {
            return Progress::Go;
        };
        let complete = task.out == DataOutState::Receiving
            && !task.data_on_its_way()
            && task.next_offset >= task.wanted;
        if complete {
            task.out = DataOutState::Complete;
            task.waiting_since = None;
            return Progress::Report(Event::DataComplete(key));
        }
        Progress::Go
    }

    /// Asks for the data not yet asked for, as far as MaxOutstandingR2T allows.
    fn solicit(&mut self, session: &mut Session, key: TaskKey, now: Instant) {
        let SessionParams {
            max_outstanding_r2t,
            max_burst_length,
            ..
        } = *session.params();
        loop {
            let ttt = session.allocate_ttt();
            let Some(task) = session.task_mut(key) else {
                return;
            };
            let wanted = task.wanted.saturating_sub(task.next_offset);
            if task.out != DataOutState::Receiving
                || task.unsolicited.is_some()
                || wanted == 0
                || task.r2ts.len() >= usize::from(max_outstanding_r2t.max(1))
            {
                return;
            }
            let len = wanted.min(max_burst_length.max(512));
            let r2t = OutstandingR2t {
                ttt,
                offset: task.next_offset,
                len,
                received: 0,
                data_sn: 0,
            };
            task.r2ts.push(r2t);
            task.next_offset += len;
            task.waiting_since.get_or_insert(now);
            let r2t_sn = task.r2t_sn;
            task.r2t_sn = r2t_sn.wrapping_add(1);
            let pdu = R2t {
                lun: task.lun,
                itt: task.itt,
                ttt,
                stat_sn: self.stat_sn,
                exp_cmd_sn: 0,
                max_cmd_sn: 0,
                r2t_sn,
                buffer_offset: r2t.offset,
                desired_data_transfer_length: len,
            };
            self.timers.data_awaited(now);
            self.send_header(session, pdu.emit());
        }
    }
}

/// Checks a PDU of the unsolicited sequence and moves on in it.
fn check_unsolicited(task: &mut Task, pdu: &DataOut, max_first: u32) -> Result<(), Violation> {
    let Some(sequence) = &mut task.unsolicited else {
        return Err(Violation::UnexpectedUnsolicited);
    };
    let in_order = pdu.data_sn == sequence.data_sn && pdu.buffer_offset == task.next_offset;
    sequence.data_sn = sequence.data_sn.wrapping_add(1);
    let end = pdu.buffer_offset.checked_add(pdu.data_segment_length);
    let Some(end) = end.filter(|_| in_order) else {
        return Err(Violation::IncorrectAmount);
    };
    if end > max_first {
        return Err(Violation::UnexpectedUnsolicited);
    }
    if end > task.expected_out {
        return Err(Violation::IncorrectAmount);
    }
    task.next_offset = end;
    Ok(())
}

/// Checks a PDU that answers an R2T; the outer error rejects the PDU, the inner fails the command.
fn check_solicited(task: &mut Task, pdu: &DataOut) -> Result<Result<(), Violation>, Violation> {
    let position = task.r2ts.iter().position(|r2t| r2t.ttt == pdu.ttt);
    let r2t = position
        .and_then(|at| task.r2ts.get_mut(at))
        .ok_or(Violation::TransferTag)?;
    let in_order = pdu.data_sn == r2t.data_sn
        && Some(pdu.buffer_offset) == r2t.offset.checked_add(r2t.received)
        && pdu.data_segment_length <= r2t.len - r2t.received;
    r2t.data_sn = r2t.data_sn.wrapping_add(1);
    if in_order {
        r2t.received += pdu.data_segment_length;
    }
    // The final bit has to come with the last byte and not before (RFC 7143 §11.7.2).
    if in_order && pdu.is_final == (r2t.received == r2t.len) {
        return Ok(Ok(()));
    }
    // The sequence cannot be brought to a good end: nothing more of it is waited for.
    task.r2ts.retain(|r2t| r2t.ttt != pdu.ttt);
    Ok(Err(Violation::IncorrectAmount))
}
