//! The login phase of a connection: PDUs in, the login machine's replies out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::catalogue::Served;
use super::doorway::Origin;
use super::gate::Gate;
use super::service::Service;
use crate::proto::chap::ChapError;
use crate::proto::login::{
    LoggedIn, LoginFailure, LoginMachine, LoginNext, LoginPolicy, LoginReply, LoginRequest,
    LoginStatus, LoginStep,
};
use crate::proto::pdu::{self, opcode};

/// Longest data segment before full feature phase (RFC 7143 13.12).
const MAX_DATA: u32 = 8192;

/// A login under way.
pub(super) struct Login {
    machine: Option<LoginMachine>,
    gate: Arc<Gate>,
    stat_sn: u32,
    service: Arc<Service>,
    origin: Origin,
    /// A right answer was taken.
    proved: bool,
}

/// What one round brought.
pub(super) enum Progress {
    /// More bytes are needed.
    NeedBytes,
    /// A reply was written and the login goes on.
    Going,
    /// The initiator is in, when this last reply is sent.
    Done(Box<Finish>),
    /// The connection ends, after what was written is sent.
    Failed,
    /// As [`Progress::Failed`], for an initiator of this name that could not prove itself.
    Denied(String),
}

/// A login that succeeded but was not yet told so.
pub(super) struct Finish {
    pub(super) login: LoggedIn,
    gate: Arc<Gate>,
    reply: LoginReply,
    echo: Echo,
    /// StatSN of the first response after the login.
    pub(super) stat_sn: u32,
}

/// What a response repeats of its request.
#[derive(Debug, Clone, Copy)]
struct Echo {
    isid: [u8; 6],
    itt: u32,
    cmd_sn: u32,
    stat_sn: u32,
}

impl Login {
    /// A login that comes by the address `local` of ours.
    pub(super) fn new(service: &Arc<Service>, origin: Origin, local: SocketAddr) -> Self {
        let gate = Arc::new(Gate::new(Arc::clone(service), local));
        let policy: Arc<dyn LoginPolicy> = Arc::clone(&gate) as _;
        Self {
            machine: Some(LoginMachine::new(policy, service.random.make())),
            gate,
            stat_sn: 0,
            service: Arc::clone(service),
            origin,
            proved: false,
        }
    }

    /// While an address is refused, a user who has not proved himself from there before is not believed: his right answer
    /// is answered like a wrong one, at the step that would tell.
    fn doubt(&mut self, step: LoginStep, request: &LoginRequest<'_>, now: Instant) -> LoginStep {
        let (user, initiator) = match &step.next {
            LoginNext::Continue(machine) => (machine.auth_user(), machine.initiator()),
            LoginNext::Done(login) => (login.auth_user.as_deref(), &*login.initiator_name),
            LoginNext::Failed { .. } => (None, ""),
        };
        let Some(user) = user.filter(|_| !self.proved) else {
            return step;
        };
        self.proved = true;
        if !self.service.offenders.doubts(self.origin, user, now) {
            return step;
        }
        let (failure, initiator) = (ChapError::WrongResponse.into(), initiator.to_owned());
        self.service.login_failed(&initiator, &failure);
        LoginStep {
            reply: LoginReply::failure(&failure, request),
            next: LoginNext::Failed { failure, initiator },
        }
    }

    /// Takes one PDU from `staged`; replies are appended to `out`. Also returns how many bytes were used.
    pub(super) fn feed(
        &mut self,
        staged: &[u8],
        out: &mut Vec<u8>,
        now: Instant,
    ) -> (usize, Progress) {
        let frame = match pdu::frame(staged, MAX_DATA) {
            Ok(Some(frame)) => frame,
            Ok(None) => return (0, Progress::NeedBytes),
            Err(_) => return (staged.len(), Progress::Failed),
        };
        let Ok(header) = pdu::LoginRequest::parse(frame.bhs) else {
            return (frame.consumed, Progress::Failed);
        };
        let request = LoginRequest {
            transit: header.transit,
            cont: header.is_continue,
            csg: header.current_stage,
            nsg: header.next_stage,
            version_max: header.version_max,
            version_min: header.version_min,
            isid: header.isid,
            tsih: header.tsih,
            cid: header.cid,
            itt: header.itt,
            cmd_sn: header.cmd_sn,
            exp_stat_sn: header.exp_stat_sn,
            data: frame.data,
        };
        let stat_sn = self.stat_sn;
        self.stat_sn = stat_sn.wrapping_add(1);
        let echo = Echo {
            isid: header.isid,
            itt: header.itt,
            cmd_sn: header.cmd_sn,
            stat_sn,
        };
        if pdu::opcode_of(frame.bhs) != opcode::LOGIN_REQUEST {
            emit(
                &LoginReply::failure(&LoginFailure::NotLogin, &request),
                echo,
                0,
                out,
            );
            return (frame.consumed, Progress::Failed);
        }
        let Some(machine) = self.machine.take() else {
            return (frame.consumed, Progress::Failed);
        };
        let step = self.doubt(machine.handle(&request), &request, now);
        let progress = match step.next {
            LoginNext::Continue(machine) => {
                self.machine = Some(*machine);
                emit(&step.reply, echo, 0, out);
                Progress::Going
            }
            LoginNext::Failed { failure, initiator } => {
                emit(&step.reply, echo, 0, out);
                if failure.is_authentication() {
                    Progress::Denied(initiator)
                } else {
                    Progress::Failed
                }
            }
            LoginNext::Done(login) => Progress::Done(Box::new(Finish {
                login: *login,
                gate: Arc::clone(&self.gate),
                reply: step.reply,
                echo,
                stat_sn: self.stat_sn,
            })),
        };
        (frame.consumed, progress)
    }
}

impl Finish {
    /// The target, if the login gets in as things are now; `None` in a discovery session.
    pub(super) fn admit(&self) -> Result<Option<Served>, LoginStatus> {
        self.gate.admit(&self.login)
    }

    /// The last reply, with the window that the session opens with.
    pub(super) fn accept(&self, window: u32, out: &mut Vec<u8>) {
        emit(&self.reply, self.echo, window, out);
    }

    /// A last reply that refuses after all.
    pub(super) fn refuse(&self, status: LoginStatus, out: &mut Vec<u8>) {
        let reply = LoginReply {
            status,
            transit: false,
            nsg: 0,
            data: Vec::new(),
            ..self.reply.clone()
        };
        emit(&reply, self.echo, 0, out);
    }
}

fn emit(reply: &LoginReply, echo: Echo, window: u32, out: &mut Vec<u8>) {
    let header = pdu::LoginResponse {
        transit: reply.transit,
        is_continue: reply.cont,
        current_stage: reply.csg,
        next_stage: reply.nsg,
        version_max: 0,
        version_active: 0,
        // A reply's data never exceeds what a login PDU may carry.
        data_segment_length: reply.data.len() as u32,
        isid: echo.isid,
        tsih: reply.tsih,
        itt: echo.itt,
        stat_sn: echo.stat_sn,
        // Login requests are immediate: the first command carries the same CmdSN (RFC 7143 4.2.2.1).
        exp_cmd_sn: echo.cmd_sn,
        max_cmd_sn: echo.cmd_sn.wrapping_add(window.saturating_sub(1)),
        status_class: reply.status.class(),
        status_detail: reply.status.detail(),
    };
    out.extend_from_slice(&header.emit());
    out.extend_from_slice(&reply.data);
    let pad = usize::from(pdu::pad_len(reply.data.len() as u32));
    out.extend_from_slice(&[0; 3][..pad]);
}
