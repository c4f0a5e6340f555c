//! One channel: requests come in, and what is to be sent comes out.
//!
//! ```text
//!            receive                       respond, abandon
//!   Live ───────────────► requests ──────────────────────► Live
//!    │  violation, logout
//!    └───────────────────► LoggedOut: nothing is taken any more
//! ```

use lunforge_core::status::Status;
use lunforge_core::task_set::TaskAttribute;
use lunforge_core::tmf;

use super::credit::{Credits, Exceeded};
use super::error::{Consequence, Violation};
use super::iu::logout::LogoutReason;
use super::iu::response::{self, Residual, ResponseCode};
use super::iu::task::function;
use super::iu::{self, AsyncEvent, CreditRequest, Response, Solicited, TargetLogout, ToTarget};
use super::login::Terms;
use super::tags::{Tags, TaskId};

/// What an information unit came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A command, to be ended by [`Channel::respond`] or [`Channel::abandon`].
    Command {
        /// Its place.
        task: TaskId,
        /// What was sent.
        command: iu::Command<'a>,
        /// Its task attribute.
        attribute: TaskAttribute,
    },
    /// A task management function, to be ended by [`Channel::respond_function`].
    Function {
        /// Its place.
        task: TaskId,
        /// LUN.
        lun: [u8; 8],
        /// The function; a task is named by [`TaskId::to_u64`].
        function: tmf::Function,
    },
    /// Nothing but an answer, which was appended.
    Answered,
    /// Nothing.
    Nothing,
    /// The initiator logs out: the channel is to be disconnected.
    Logout,
    /// It broke a rule. A target logout was appended; when it is sent, the channel is to be disconnected.
    Broken(Violation),
}

/// How a command ended.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Its status.
    pub status: Status,
    /// Sense data; empty if there is none.
    pub sense: &'a [u8],
    /// Data-In that the command has, sent or not, in bytes.
    pub total_in: u64,
    /// Data-Out that the command has, in bytes.
    pub total_out: u64,
}

#[derive(Debug)]
struct Task {
    tag: u64,
    solicited: Solicited,
    expected_in: u32,
    expected_out: u32,
}

/// What the target waits for an answer to. It asks one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Credit(u64),
    Event(u64),
}

/// See the module's head.
#[derive(Debug)]
pub struct Channel {
    number: u32,
    terms: Terms,
    credits: Credits,
    tasks: Vec<Option<Task>>,
    free: Vec<u32>,
    asked: Option<Asked>,
    next_tag: u64,
    live: bool,
}

impl Channel {
    /// A channel with this number in its session, which was let in on these terms.
    #[must_use]
    pub fn new(number: u32, terms: Terms) -> Self {
        Self {
            number,
            terms,
            credits: Credits::new(terms.depth),
            tasks: Vec::new(),
            free: Vec::new(),
            asked: None,
            next_tag: 1,
            live: true,
        }
    }

    /// What its login agreed on.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The books of its request limit.
    #[must_use]
    pub fn credits(&self) -> &Credits {
        &self.credits
    }

    /// Gives out fewer requests, or more again.
    pub fn aim(&mut self, requests: u32) {
        self.credits.aim(requests);
    }

    /// Requests that have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks.len() - self.free.len()
    }

    /// An information unit came. What is to be sent at once is appended to `out`.
    pub fn receive<'a>(&mut self, tags: &mut Tags, iu: &'a [u8], out: &mut Vec<u8>) -> Event<'a> {
        if !self.live {
            return Event::Nothing;
        }
        match self.take(tags, iu, out) {
            Ok(event) => event,
            Err(violation) => {
                let reason = match violation.consequence() {
                    Consequence::Logout(reason) => reason,
                    _ => LogoutReason::Unspecified,
                };
                self.log_out(reason, out);
                Event::Broken(violation)
            }
        }
    }

    fn take<'a>(
        &mut self,
        tags: &mut Tags,
        iu: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<Event<'a>, Violation> {
        match ToTarget::parse(iu, self.terms.immediate) {
            Ok(ToTarget::Command(command)) => self.command(tags, command, out),
            Ok(ToTarget::TaskManagement(request)) => self.function(tags, &request, out),
            Ok(ToTarget::Logout(_)) => {
                self.live = false;
                Ok(Event::Logout)
            }
            Ok(ToTarget::Credit(answer)) => self.answered(Asked::Credit(answer.tag)),
            Ok(ToTarget::Event(answer)) => self.answered(Asked::Event(answer.tag)),
            Err(error) => {
                let violation = Violation::Format(error);
                let Consequence::Check(sense) = violation.consequence() else {
                    return Err(violation);
                };
                let Some((tag, solicited)) = iu::Command::tag_of(iu) else {
                    return Err(violation);
                };
                self.count()?;
                self.check(tag, solicited, &sense.emit_fixed(), out);
                Ok(Event::Answered)
            }
        }
    }

    fn command<'a>(
        &mut self,
        tags: &mut Tags,
        command: iu::Command<'a>,
        out: &mut Vec<u8>,
    ) -> Result<Event<'a>, Violation> {
        self.count()?;
        let attribute = match command.attribute {
            0 => TaskAttribute::Simple,
            1 => TaskAttribute::HeadOfQueue,
            2 => TaskAttribute::Ordered,
            4 => TaskAttribute::Aca,
            other => {
                let violation = Violation::Attribute(other);
                let Consequence::Check(sense) = violation.consequence() else {
                    return Err(violation);
                };
                self.check(command.tag, command.solicited, &sense.emit_fixed(), out);
                return Ok(Event::Answered);
            }
        };
        let task = Task {
            tag: command.tag,
            solicited: command.solicited,
            expected_in: command.data_in.len(),
            expected_out: command.data_out.len(),
        };
        Ok(Event::Command {
            task: self.enter(tags, task)?,
            command,
            attribute,
        })
    }

    fn function<'a>(
        &mut self,
        tags: &mut Tags,
        request: &iu::TaskManagement,
        out: &mut Vec<u8>,
    ) -> Result<Event<'a>, Violation> {
        self.count()?;
        let named = tags.find(request.managed, self.number);
        let function = match request.function {
            function::ABORT_TASK => match named {
                Some(task) => tmf::Function::AbortTask(task.to_u64()),
                // SAM-5 7.2: it has ended, so there is nothing left to do.
                None => {
                    self.answer_function(request, ResponseCode::Complete, out);
                    return Ok(Event::Answered);
                }
            },
            function::ABORT_TASK_SET => tmf::Function::AbortTaskSet,
            function::CLEAR_TASK_SET => tmf::Function::ClearTaskSet,
            function::LOGICAL_UNIT_RESET => tmf::Function::LogicalUnitReset,
            function::CLEAR_ACA => tmf::Function::ClearAca,
            other => {
                let violation = Violation::Function(other);
                let Consequence::Answer(code) = violation.consequence() else {
                    return Err(violation);
                };
                self.answer_function(request, code, out);
                return Ok(Event::Answered);
            }
        };
        let task = Task {
            tag: request.tag,
            solicited: request.solicited,
            expected_in: 0,
            expected_out: 0,
        };
        Ok(Event::Function {
            task: self.enter(tags, task)?,
            lun: request.lun,
            function,
        })
    }

    fn answered<'a>(&mut self, answers: Asked) -> Result<Event<'a>, Violation> {
        if self.asked != Some(answers) {
            return Err(Violation::SpuriousResponse);
        }
        self.asked = None;
        Ok(Event::Nothing)
    }

    fn count(&mut self) -> Result<(), Violation> {
        self.credits
            .take()
            .map_err(|Exceeded| Violation::RequestLimit)
    }

    fn enter(&mut self, tags: &mut Tags, task: Task) -> Result<TaskId, Violation> {
        let index = self.free.last().copied();
        // No more than the depth of the channel.
        let index = index.unwrap_or(self.tasks.len() as u32);
        let id = TaskId {
            channel: self.number,
            index,
        };
        if !tags.insert(task.tag, id) {
            self.credits.forfeit();
            return Err(Violation::Tag);
        }
        match self.tasks.get_mut(index as usize) {
            Some(place) => {
                self.free.pop();
                *place = Some(task);
            }
            None => self.tasks.push(Some(task)),
        }
        Ok(id)
    }

    fn leave(&mut self, tags: &mut Tags, id: TaskId) -> Option<Task> {
        let task = self.tasks.get_mut(id.index as usize)?.take()?;
        self.free.push(id.index);
        tags.remove(task.tag, self.number);
        Some(task)
    }

    /// Ends a command: its response is appended, unless the channel is logged out. False if there is no such command.
    pub fn respond(
        &mut self,
        tags: &mut Tags,
        id: TaskId,
        answer: &Answer<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(task) = self.leave(tags, id) else {
            return false;
        };
        let good = matches!(answer.status, Status::Good | Status::ConditionMet);
        let response = Response {
            solicited: task.solicited.of(good),
            request_limit_delta: self.credits.answer(),
            tag: task.tag,
            status: answer.status.code(),
            residual_out: Residual::between(task.expected_out, answer.total_out),
            residual_in: Residual::between(task.expected_in, answer.total_in),
            code: None,
            sense: self.cut(answer.sense),
        };
        if self.live {
            response.emit(out);
        }
        true
    }

    /// Ends a command that was aborted, without a response; its credit goes with what is sent next.
    pub fn abandon(&mut self, tags: &mut Tags, id: TaskId) {
        if self.leave(tags, id).is_some() {
            self.credits.forfeit();
        }
    }

    /// Ends a task management function: its response is appended, unless the channel is logged out.
    pub fn respond_function(
        &mut self,
        tags: &mut Tags,
        id: TaskId,
        response: tmf::Response,
        out: &mut Vec<u8>,
    ) {
        let Some(task) = self.leave(tags, id) else {
            return;
        };
        let code = match response {
            // No such task: it has ended meanwhile.
            tmf::Response::Complete | tmf::Response::Succeeded | tmf::Response::NoSuchTask => {
                ResponseCode::Complete
            }
            tmf::Response::IncorrectLun => ResponseCode::InvalidFields,
            tmf::Response::Rejected => ResponseCode::Failed,
        };
        self.emit_function(task.tag, task.solicited, code, out);
    }

    fn answer_function(
        &mut self,
        request: &iu::TaskManagement,
        code: ResponseCode,
        out: &mut Vec<u8>,
    ) {
        self.emit_function(request.tag, request.solicited, code, out);
    }

    fn emit_function(
        &mut self,
        tag: u64,
        solicited: Solicited,
        code: ResponseCode,
        out: &mut Vec<u8>,
    ) {
        let response = Response {
            solicited: solicited.of(code == ResponseCode::Complete),
            request_limit_delta: self.credits.answer(),
            tag,
            status: 0,
            residual_out: Residual::None,
            residual_in: Residual::None,
            code: Some(code),
            sense: &[],
        };
        if self.live {
            response.emit(out);
        }
    }

    /// Answers a command that is refused by its information unit.
    fn check(&mut self, tag: u64, solicited: Solicited, sense: &[u8], out: &mut Vec<u8>) {
        Response {
            solicited: solicited.of(false),
            request_limit_delta: self.credits.answer(),
            tag,
            status: Status::CheckCondition.code(),
            residual_out: Residual::None,
            residual_in: Residual::None,
            code: None,
            sense: self.cut(sense),
        }
        .emit(out);
    }

    /// Sense data as far as an information unit has room for it.
    fn cut<'a>(&self, sense: &'a [u8]) -> &'a [u8] {
        let room = (self.terms.ti_iu_len as usize).saturating_sub(response::FIXED_LEN);
        sense.get(..room).unwrap_or(sense)
    }

    /// Appends a credit request if the initiator would starve without one; false if it would not, or if it has not answered
    /// the last request of the target.
    pub fn ask(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.live || self.asked.is_some() || !self.credits.starves() {
            return false;
        }
        let tag = self.tag();
        self.asked = Some(Asked::Credit(tag));
        CreditRequest {
            tag,
            solicited: self.terms.credit_solicited,
            request_limit_delta: self.credits.give(),
        }
        .emit(out);
        true
    }

    /// Appends an asynchronous event report; false if the initiator has not answered the last request of the target.
    pub fn report(&mut self, lun: [u8; 8], sense: &[u8], out: &mut Vec<u8>) -> bool {
        if !self.live || self.asked.is_some() {
            return false;
        }
        let tag = self.tag();
        self.asked = Some(Asked::Event(tag));
        AsyncEvent {
            tag,
            solicited: self.terms.event_solicited,
            request_limit_delta: self.credits.give(),
            lun,
            sense: self.cut(sense),
        }
        .emit(out);
        true
    }

    /// Appends a target logout; nothing is taken or sent any more. False if that was so already.
    pub fn log_out(&mut self, reason: LogoutReason, out: &mut Vec<u8>) -> bool {
        if !std::mem::replace(&mut self.live, false) {
            return false;
        }
        TargetLogout {
            tag: self.tag(),
            solicited: self.terms.logout_solicited,
            reason,
        }
        .emit(out);
        true
    }

    /// The channel is gone without a word.
    pub fn lose(&mut self) {
        self.live = false;
    }

    /// Whether requests are taken.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    fn tag(&mut self) -> u64 {
        let tag = self.next_tag;
        self.next_tag = self.next_tag.wrapping_add(1);
        tag
    }
}

#[cfg(test)]
mod tests;
