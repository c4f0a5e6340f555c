//! Task management functions (RFC 7143 11.5, 11.6).

use std::time::Instant;

use lunforge_core::shard::ShardCx;
use lunforge_core::tmf::{Function, Response};

use super::{FullFeature, Verdict};
use crate::proto::connection::TaskManagement;
use crate::proto::pdu::task_management_request::function;
use crate::proto::pdu::task_management_response::response;

impl FullFeature {
    pub(super) fn task_management(&mut self, cx: &mut ShardCx<'_>, request: &TaskManagement) {
        let Some(nexus) = self.nexus else { return };
        self.task_management_came(request.function);
        let referenced = request.referenced.map(|task| task.index() as u64);
        let (ask, task) = match (request.function, referenced) {
            (function::ABORT_TASK, Some(task)) => (Some(Function::AbortTask(task)), Some(task)),
            (function::QUERY_TASK, Some(task)) => (Some(Function::QueryTask(task)), Some(task)),
            (function::ABORT_TASK | function::QUERY_TASK, None) => {
                return self.wire.respond_task_management(
                    &mut self.session,
                    request.task,
                    response::TASK_DOES_NOT_EXIST,
                );
            }
            (function::ABORT_TASK_SET, _) => (Some(Function::AbortTaskSet), None),
            (function::CLEAR_ACA, _) => (Some(Function::ClearAca), None),
            (function::CLEAR_TASK_SET, _) => (Some(Function::ClearTaskSet), None),
            (function::LOGICAL_UNIT_RESET, _) => (Some(Function::LogicalUnitReset), None),
            (function::TARGET_WARM_RESET | function::TARGET_COLD_RESET, _) => {
                (Some(Function::TargetReset), None)
            }
            (function::QUERY_TASK_SET, _) => (Some(Function::QueryTaskSet), None),
            _ => (None, None),
        };
        let Some(ask) = ask else {
            let code = match request.function {
                function::TASK_REASSIGN => response::REASSIGNMENT_NOT_SUPPORTED,
                _ => response::FUNCTION_NOT_SUPPORTED,
            };
            return self
                .wire
                .respond_task_management(&mut self.session, request.task, code);
        };
        let tag = request.task.index() as u64;
        if let Some(left_out) = self.service.logs.task_management.say(cx.now()) {
            tracing::info!(task = tag, function = ?ask, referenced = ?task, left_out, "task management");
        }
        self.in_core += 1;
        self.slot(request.task).cold_reset = request.function == function::TARGET_COLD_RESET;
        cx.task_management(nexus, request.lun, ask, tag);
    }

    /// The core is done with a task management function.
    pub(in crate::io) fn task_management_done(
        &mut self,
        tag: u64,
        answer: Response,
        now: Instant,
    ) -> Verdict {
        self.in_core = self.in_core.saturating_sub(1);
        if let Some(left_out) = self.service.logs.task_management.say(now) {
            tracing::info!(task = tag, ?answer, left_out, "task management ended");
        }
        let Some(slot) = usize::try_from(tag)
            .ok()
            .and_then(|index| self.slots.get_mut(index))
        else {
            return Verdict::Go;
        };
        let Some(key) = slot.key else {
            return Verdict::Go;
        };
        let code = match answer {
            Response::Complete | Response::Succeeded => response::FUNCTION_COMPLETE,
            Response::NoSuchTask => response::TASK_DOES_NOT_EXIST,
            Response::IncorrectLun => response::LUN_DOES_NOT_EXIST,
            Response::Rejected => response::FUNCTION_REJECTED,
        };
        let cold = std::mem::take(&mut slot.cold_reset);
        self.wire
            .respond_task_management(&mut self.session, key, code);
        // RFC 7143 11.5.1: after a cold reset the target ends all connections.
        if cold && code == response::FUNCTION_COMPLETE {
            if let Some(port) = &self.port {
                self.service.end_other_sessions(port);
            }
            Verdict::SayAndClose
        } else {
            Verdict::Go
        }
    }
}
