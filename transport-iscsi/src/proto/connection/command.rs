//! SCSI Command, task management, NOP-Out and Logout requests.

use std::time::Instant;

use super::receive::Progress;
use super::{Command, Connection, Event, Logout, Sink, TaskManagement};
use crate::proto::error::Violation;
use crate::proto::pdu::task_management_request::function;
use crate::proto::pdu::task_management_response::response;
use crate::proto::pdu::{
    Ahs, LogoutRequest, NopOut, RESERVED_TAG, ScsiCommand, TaskManagementRequest,
};
use crate::proto::session::{Session, serial_lt};
use crate::proto::task::{DataOutState, Kind, TaskKey, Unsolicited};

impl Connection {
    pub(super) fn scsi_command(
        &mut self,
        session: &mut Session,
        header: ScsiCommand,
        ahs: &[u8],
        now: Instant,
    ) -> Result<Progress, Violation> {
        check_tag(session, header.itt)?;
        let ahs = if ahs.is_empty() {
            Ahs::default()
        } else {
            Ahs::parse(ahs)?
        };
        let edtl = header.expected_data_transfer_length;
        let expected_out = if header.write { edtl } else { 0 };
        let expected_in = match (header.read, header.write) {
            (true, true) => ahs.read_length.unwrap_or(0),
            (true, false) => edtl,
            (false, _) => 0,
        };
        let broken = unsolicited_rule_broken(session, &header, expected_out);
        let key = session.insert(header.itt, header.immediate);
        session.statistics.commands += 1;
        let Some(task) = session.task_mut(key) else {
            return Ok(Progress::Go);
        };
        task.kind = Kind::Scsi;
        task.cmd_sn = header.cmd_sn;
        task.lun = header.lun;
        (task.read, task.write) = (header.read, header.write);
        (task.expected_in, task.expected_out) = (expected_in, expected_out);
        task.next_offset = header.data_segment_length;
        if header.write && !header.is_final {
            task.unsolicited = Some(Unsolicited { data_sn: 0 });
            task.waiting_since = Some(now);
            self.timers.data_awaited(now);
        }
        if let Some(violation) = broken {
            return Ok(self.fail_transfer(session, key, violation));
        }
        if header.data_segment_length > 0 {
            self.set_sink(Sink::Task {
                task: key,
                offset: 0,
                ttt: RESERVED_TAG,
                is_final: false,
            });
        }
        Ok(Progress::Report(Event::Command(Command {
            task: key,
            header,
            extended_cdb: ahs.extended_cdb,
            expected_in,
            expected_out,
        })))
    }

    pub(super) fn nop_out(
        &mut self,
        session: &mut Session,
        nop: NopOut,
    ) -> Result<Progress, Violation> {
        if nop.itt == RESERVED_TAG {
            // An answer to our ping, or a ping that wants no answer. A tag that we did not give, or
            // no longer wait for, means nothing.
            self.timers.nop_answered(nop.ttt);
            return Ok(Progress::Go);
        }
        if nop.ttt != RESERVED_TAG {
            return Err(Violation::TransferTag);
        }
        if self.has_segment() {
            self.gathered.clear();
            self.set_sink(Sink::Gather);
        } else {
            self.nop_in_answer(session, &nop, Vec::new());
        }
        Ok(Progress::Go)
    }

    pub(super) fn task_management(
        &mut self,
        session: &mut Session,
        request: TaskManagementRequest,
    ) -> Result<Progress, Violation> {
        check_tag(session, request.itt)?;
        let key = session.insert(request.itt, request.immediate);
        session.statistics.task_management += 1;
        if let Some(task) = session.task_mut(key) {
            task.kind = Kind::TaskManagement;
            task.cmd_sn = request.cmd_sn;
            task.lun = request.lun;
        }
        let referenced = match judge(session, &request) {
            Ok(referenced) => referenced,
            Err(code) => {
                self.respond_task_management(session, key, code);
                return Ok(Progress::Go);
            }
        };
        Ok(Progress::Report(Event::TaskManagement(TaskManagement {
            task: key,
            function: request.function,
            lun: request.lun,
            referenced,
        })))
    }

    pub(super) fn logout_request(
        &mut self,
        session: &mut Session,
        request: LogoutRequest,
    ) -> Result<Progress, Violation> {
        const CLOSE_SESSION: u8 = 0;
        const CLOSE_CONNECTION: u8 = 1;
        const RECOVERY: u8 = 2;
        const CID_NOT_FOUND: u8 = 1;
        const RECOVERY_NOT_SUPPORTED: u8 = 2;
        check_tag(session, request.itt)?;
        match request.reason {
            CLOSE_SESSION => {}
            CLOSE_CONNECTION if request.cid == self.params.cid => {}
            CLOSE_CONNECTION => {
                self.logout_response(session, request.itt, CID_NOT_FOUND);
                return Ok(Progress::Go);
            }
            RECOVERY => {
                self.logout_response(session, request.itt, RECOVERY_NOT_SUPPORTED);
                return Ok(Progress::Go);
            }
            _ => return Err(Violation::LogoutReason),
        }
        self.logout = Logout::Requested { itt: request.itt };
        Ok(Progress::Report(Event::Logout))
    }

    /// Marks the write side of a task as failed; reports it when no data is on its way any more.
    pub(super) fn fail_transfer(
        &mut self,
        session: &mut Session,
        key: TaskKey,
        violation: Violation,
    ) -> Progress {
        use crate::proto::error::Disposition::FailCommand;
        let Some(task) = session.task_mut(key) else {
            return Progress::Go;
        };
        let (asc, ascq) = match violation {
            // Protocol service CRC error (RFC 7143 §11.4.7.2).
            Violation::DataDigest => (0x47, 0x05),
            other => match other.disposition() {
                FailCommand { asc, ascq } => (asc, ascq),
                _ => (0x0c, 0x0d),
            },
        };
        task.out = DataOutState::Discarding;
        if task.failure.is_none() {
            task.failure = Some((asc, ascq));
            self.statistics.failed_transfers += 1;
        }
        self.report_failure(session, key)
    }

    pub(super) fn report_failure(&mut self, session: &mut Session, key: TaskKey) -> Progress {
        let Some(task) = session.task_mut(key) else {
            return Progress::Go;
        };
        match task.failure {
            // The caller has answered already; its answer stands.
            Some(_) if task.held.is_some() => Progress::Go,
            Some((asc, ascq)) if !task.data_on_its_way() => {
                task.failure = None;
                task.waiting_since = None;
                Progress::Report(Event::TransferFailed {
                    task: key,
                    asc,
                    ascq,
                })
            }
            _ => Progress::Go,
        }
    }
}

fn check_tag(session: &Session, itt: u32) -> Result<(), Violation> {
    if itt == RESERVED_TAG {
        return Err(Violation::ReservedTag);
    }
    if session.find(itt).is_some() {
        return Err(Violation::TagInUse);
    }
    Ok(())
}

/// The rule that a command breaks by its immediate data or by announcing unsolicited data.
fn unsolicited_rule_broken(
    session: &Session,
    header: &ScsiCommand,
    expected_out: u32,
) -> Option<Violation> {
    let params = session.params();
    let immediate = header.data_segment_length;
    if immediate > 0 && (!params.immediate_data || immediate > params.first_burst_length) {
        return Some(Violation::UnexpectedUnsolicited);
    }
    if immediate > expected_out {
        return Some(Violation::IncorrectAmount);
    }
    if header.write && !header.is_final && params.initial_r2t {
        return Some(Violation::UnexpectedUnsolicited);
    }
    None
}

/// The command an ABORT TASK means, or the response that ends the function at once.
fn judge(session: &mut Session, request: &TaskManagementRequest) -> Result<Option<TaskKey>, u8> {
    match request.function {
        function::ABORT_TASK => abort_target(session, request).map(Some),
        function::TASK_REASSIGN => Err(response::REASSIGNMENT_NOT_SUPPORTED),
        function::ABORT_TASK_SET..=function::TARGET_COLD_RESET => Ok(None),
        _ => Err(response::FUNCTION_NOT_SUPPORTED),
    }
}

fn abort_target(session: &mut Session, request: &TaskManagementRequest) -> Result<TaskKey, u8> {
    let found = session.find(request.referenced_task_tag).and_then(|key| {
        session
            .task(key)
            .map(|task| (key, task.kind, task.immediate, task.cmd_sn))
    });
    match found {
        // RefCmdSN of an immediate command is that of the function itself (RFC 7143 §11.5.5).
        Some((key, Kind::Scsi, immediate, cmd_sn)) => {
            if immediate || cmd_sn == request.ref_cmd_sn {
                Ok(key)
            } else {
                Err(response::FUNCTION_REJECTED)
            }
        }
        // A command that was sent before and is still on its way counts as received and aborted (§11.5.1).
        None if serial_lt(request.ref_cmd_sn, request.cmd_sn)
            && session.plug(request.ref_cmd_sn) =>
        {
            Err(response::FUNCTION_COMPLETE)
        }
        _ => Err(response::TASK_DOES_NOT_EXIST),
    }
}
