//! Full feature phase: between the protocol engine and the core.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::Target;
use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::Transfer;
use lunforge_core::pipeline::{Begun, CommandRequest, Finished};
use lunforge_core::sense::Sense;
use lunforge_core::shard::completion::CommandKey;
use lunforge_core::shard::{NexusKey, ShardCx};
use lunforge_core::status::Status;
use lunforge_core::task_set::TaskAttribute;
use lunforge_core::tmf::{Function, Response};
use lunforge_core::transport_id::TransportId;

use super::link::{Link, Moved};
use super::login::Finish;
use super::service::{PortName, Service};
use crate::proto::connection::{
    Answer, Command, Connection, ConnectionParams, Event, Payload, TaskManagement, TxPayload,
};
use crate::proto::discovery::{self, DiscoveryOptions, DiscoveryScope};
use crate::proto::keys::{self, Digest};
use crate::proto::pdu::task_management_request::function;
use crate::proto::pdu::task_management_response::response;
use crate::proto::pdu::{self, AsyncMessage, async_message};
use crate::proto::session::{Session, SessionParams};
use crate::proto::task::TaskKey;
use crate::proto::text;

/// I/O vectors in one call.
const MAX_VECTORS: usize = 512;

/// Bytes sent in one turn of the shard: a peer that reads as fast as that does not have the shard to itself.
const TURN_BYTES: usize = 4 << 20;

/// What the connection has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Verdict {
    /// Go on.
    Go,
    /// Send what is there, then close.
    SayAndClose,
}

/// What the io layer keeps of a task, at the task's place in the session's table.
#[derive(Default)]
struct Slot {
    key: Option<TaskKey>,
    command: Option<CommandKey>,
    /// Data-Out that arrives, or Data-In that is sent.
    buf: IoBuf,
    cold_reset: bool,
    /// The core has the command and is going to end it.
    begun: bool,
}

pub(super) struct FullFeature {
    wire: Connection,
    session: Session,
    nexus: Option<NexusKey>,
    slots: Vec<Slot>,
    target: Option<String>,
    port: Option<PortName>,
    tsih: u16,
    service: Arc<Service>,
    local: SocketAddr,
    held: bool,
    /// The socket took nothing at the last attempt.
    blocked: bool,
    /// Commands and functions that the core has.
    in_core: usize,
}

impl FullFeature {
    /// Opens the session. `None` when the initiator's name makes no TransportID.
    pub(super) fn open(
        cx: &mut ShardCx<'_>,
        finish: &Finish,
        target: Option<Arc<Target>>,
        port: Option<PortName>,
        service: Arc<Service>,
        local: SocketAddr,
    ) -> Option<Self> {
        let login = &finish.login;
        let nexus = match &target {
            None => None,
            Some(target) => {
                let initiator = TransportId::iscsi(&login.initiator_name, login.isid).ok()?;
                Some(cx.open_nexus(target, initiator))
            }
        };
        Some(Self {
            wire: Connection::new(connection_params(finish), finish.stat_sn, cx.now()),
            session: Session::new(session_params(finish, nexus.is_none()), login.cmd_sn),
            nexus,
            slots: Vec::new(),
            target: target.map(|target| target.name().to_owned()),
            port,
            tsih: login.tsih,
            service,
            local,
            held: false,
            blocked: false,
            in_core: 0,
        })
    }

    pub(super) fn has_nexus(&self) -> bool {
        self.nexus.is_some()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.wire.next_timeout()
    }

    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// Whether the core has nothing of this session.
    pub(super) fn is_idle(&self) -> bool {
        self.in_core == 0
    }

    pub(super) fn has_output(&self) -> bool {
        self.wire.has_output()
    }

    /// Payload that the stream goes on with, if its task has a buffer.
    pub(super) fn payload(&self) -> Option<Payload> {
        self.wire.payload(&self.session)
    }

    /// Where that payload belongs.
    pub(super) fn payload_slices(&mut self) -> Vec<IoSliceMut<'_>> {
        let Some(Payload { task, offset, len }) = self.payload() else {
            return Vec::new();
        };
        let start = offset as usize;
        match self.slots.get_mut(task.index()) {
            Some(slot) => slot.buf.io_slices_mut(start..start + len as usize),
            None => Vec::new(),
        }
    }

    /// So many bytes of it were received.
    pub(super) fn payload_received(&mut self, len: usize) {
        let Some(Payload { task, offset, .. }) = self.payload() else {
            return;
        };
        if !self.wire.needs_payload_bytes() {
            return self.wire.payload_taken(len as u32);
        }
        let start = offset as usize;
        if let Some(slot) = self.slots.get(task.index()) {
            slot.buf
                .slices(start..start + len)
                .for_each(|part| self.wire.payload_chunk(part));
        }
    }

    /// Works through received bytes; returns how many were used.
    pub(super) fn process(&mut self, cx: &mut ShardCx<'_>, bytes: &[u8]) -> (usize, Verdict) {
        let now = cx.now();
        let mut used = 0;
        self.held = false;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let step = self.wire.next(&mut self.session, rest, now);
            used += step.consumed;
            let rest = bytes.get(used..).unwrap_or_default();
            match step.event {
                Event::NeedBytes => break,
                Event::Payload(payload) => {
                    let n = rest.len().min(payload.len as usize);
                    let Some(part) = rest.get(..n).filter(|part| !part.is_empty()) else {
                        break;
                    };
                    if let Some(slot) = self.slots.get_mut(payload.task.index()) {
                        slot.buf.write_at(payload.offset as usize, part);
                    }
                    self.wire.payload_chunk(part);
                    used += n;
                }
                Event::Command(command) => self.command(cx, &command, now),
                Event::DataComplete(task) => self.data_complete(cx, task),
                Event::TransferFailed { task, asc, ascq } => {
                    self.transfer_failed(cx, task, Asc { asc, ascq })
                }
                Event::TaskManagement(request) => self.task_management(cx, &request),
                Event::Text(pairs) => self.text(&pairs),
                Event::Logout => {
                    if !self.close_nexus(cx) {
                        self.wire.complete_logout(&mut self.session);
                    }
                }
                // Every command is decided on when it arrives; congestion ends when output leaves.
                Event::AwaitDecision(_) | Event::Congested => {
                    self.held = true;
                    break;
                }
                Event::Closed(close) => {
                    tracing::debug!(?close, "connection over");
                    return (bytes.len(), Verdict::SayAndClose);
                }
            }
        }
        (used, Verdict::Go)
    }

    fn slot(&mut self, task: TaskKey) -> &mut Slot {
        let index = task.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let slot = &mut self.slots[index];
        slot.key = Some(task);
        slot
    }

    fn command(&mut self, cx: &mut ShardCx<'_>, command: &Command, now: Instant) {
        let Some(nexus) = self.nexus else { return };
        let long;
        let cdb: &[u8] = if command.extended_cdb.is_empty() {
            &command.header.cdb
        } else {
            long = [&command.header.cdb[..], &command.extended_cdb].concat();
            &long
        };
        let request = CommandRequest {
            nexus,
            lun: command.header.lun,
            cdb,
            attribute: attribute(command.header.attribute),
            tag: command.task.index() as u64,
            expected_in: command.expected_in as usize,
            expected_out: command.expected_out as usize,
        };
        self.in_core += 1;
        let slot = self.slot(command.task);
        slot.cold_reset = false;
        slot.begun = true;
        let wanted = match cx.begin(&request) {
            Begun::DataOut { command, buf } => {
                slot.command = Some(command);
                slot.buf = buf;
                slot.buf.len() as u32
            }
            Begun::Running => {
                slot.command = None;
                0
            }
        };
        if command.expected_out > 0 {
            self.wire
                .accept_data(&mut self.session, command.task, wanted, now);
        }
    }

    fn data_complete(&mut self, cx: &mut ShardCx<'_>, task: TaskKey) {
        let slot = self.slot(task);
        let buf = std::mem::take(&mut slot.buf);
        match slot.command.take() {
            Some(command) => cx.data_out(command, buf),
            None => cx.pool().recycle(buf),
        }
    }

    fn transfer_failed(&mut self, cx: &mut ShardCx<'_>, task: TaskKey, asc: Asc) {
        let slot = self.slot(task);
        let buf = std::mem::take(&mut slot.buf);
        let begun = slot.begun;
        match slot.command.take() {
            Some(command) => cx.data_out_failed(command, buf, Sense::aborted(asc)),
            None => cx.pool().recycle(buf),
        }
        if !begun {
            // Refused by its header: the core never saw the command, so nobody else answers it.
            let sense = Sense::aborted(asc).emit_fixed();
            let answer = Answer {
                status: Status::CheckCondition.code(),
                sense: &sense,
                ..Answer::default()
            };
            self.wire.respond(&mut self.session, task, &answer);
        }
    }

    /// The core is done with a command.
    pub(super) fn finished(&mut self, cx: &mut ShardCx<'_>, finished: Finished) {
        self.in_core = self.in_core.saturating_sub(1);
        let slot = usize::try_from(finished.tag)
            .ok()
            .and_then(|index| self.slots.get_mut(index));
        let Some((slot, key)) = slot.and_then(|slot| slot.key.map(|key| (slot, key))) else {
            return cx.pool().recycle(finished.buf);
        };
        slot.command = None;
        slot.begun = false;
        let unused = std::mem::replace(&mut slot.buf, finished.buf);
        cx.pool().recycle(unused);
        let kept = finished.respond && {
            let (total_in, total_out) = match finished.transfer {
                Transfer::None => (0, 0),
                Transfer::In(len) => (len as u64, 0),
                Transfer::Out(len) | Transfer::OutExactly(len) | Transfer::OutAtMost(len) => {
                    (0, len as u64)
                }
            };
            let answer = Answer {
                status: finished.status.code(),
                sense: finished
                    .sense
                    .as_ref()
                    .map_or(&[], |sense| sense.as_slice()),
                data_in: u32::try_from(finished.data_in).unwrap_or(u32::MAX),
                total_in,
                total_out,
            };
            self.wire.respond(&mut self.session, key, &answer)
        };
        if !finished.respond {
            self.wire.abandon(&mut self.session, key);
        }
        if !kept {
            let slot = self.slot(key);
            let buf = std::mem::take(&mut slot.buf);
            cx.pool().recycle(buf);
        }
        cx.wants_flush();
    }

    fn task_management(&mut self, cx: &mut ShardCx<'_>, request: &TaskManagement) {
        let Some(nexus) = self.nexus else { return };
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
        tracing::info!(function = ?ask, ?task, "task management");
        self.in_core += 1;
        let tag = request.task.index() as u64;
        self.slot(request.task).cold_reset = request.function == function::TARGET_COLD_RESET;
        cx.task_management(nexus, request.lun, ask, tag);
    }

    /// The core is done with a task management function.
    pub(super) fn task_management_done(&mut self, tag: u64, answer: Response) -> Verdict {
        self.in_core = self.in_core.saturating_sub(1);
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

    fn text(&mut self, bytes: &[u8]) {
        match self.text_answer(bytes) {
            Ok(answer) => self.wire.answer_text(&mut self.session, answer),
            Err(error) => {
                tracing::debug!(%error, "text request refused");
                self.wire.reject_text(&mut self.session);
            }
        }
    }

    fn text_answer(&self, bytes: &[u8]) -> Result<Vec<u8>, text::TextError> {
        let pairs = text::parse(bytes)?;
        let mut asked = keys::full_feature(&pairs, discovery::MAX_ANSWER)?;
        if let Some(wanted) = asked.send_targets {
            let scope = match &self.target {
                Some(target) => DiscoveryScope::Normal { target },
                None => DiscoveryScope::Discovery,
            };
            let visible = self.service.visible(self.local);
            discovery::send_targets(
                wanted,
                scope,
                &visible,
                DiscoveryOptions::default(),
                &mut asked.out,
            )?;
        }
        Ok(asked.out.finish())
    }

    /// All commands of a session that logs out are gone.
    pub(super) fn logged_out(&mut self) -> Verdict {
        self.nexus = None;
        self.wire.complete_logout(&mut self.session);
        Verdict::SayAndClose
    }

    /// Tells the initiator that the connection will be dropped: the target stops.
    pub(super) fn say_goodbye(&mut self) {
        let message = AsyncMessage {
            data_segment_length: 0,
            lun: [0; 8],
            stat_sn: 0,
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            event: async_message::event::DROP_CONNECTION,
            vendor_code: 0,
            parameter1: self.wire.params().cid,
            parameter2: 0,
            parameter3: 0,
        };
        self.wire.send_async(&mut self.session, message, &[]);
    }

    pub(super) fn timeout(&mut self, now: Instant) -> Verdict {
        self.wire.handle_timeout(&mut self.session, now);
        if self.wire.closed().is_some() {
            Verdict::SayAndClose
        } else {
            Verdict::Go
        }
    }

    /// Sends what is ready, as far as the link and [`TURN_BYTES`] go. False when the peer is gone.
    pub(super) fn send(&mut self, cx: &mut ShardCx<'_>, link: &mut Link) -> bool {
        let Self {
            wire,
            session,
            slots,
            blocked,
            ..
        } = self;
        wire.fill(session);
        let mut budget = TURN_BYTES;
        while wire.has_output() {
            wire.seal(|task, range, crc| {
                if let Some(slot) = slots.get(task.index()) {
                    slot.buf.slices(range).for_each(|part| crc.update(part));
                }
            });
            let (vectors, total) = gather(wire, slots);
            let sent = match link.send(&vectors) {
                Moved::Bytes(n) => n,
                Moved::WouldBlock => {
                    // RspTimeout counts from here, not from the last thing that was sent.
                    if !std::mem::replace(blocked, true) {
                        wire.output_started(cx.now());
                    }
                    return true;
                }
                Moved::Gone => return false,
            };
            drop(vectors);
            *blocked = false;
            wire.sent(session, sent, cx.now(), |task| {
                if let Some(slot) = slots.get_mut(task.index()) {
                    cx.pool().recycle(std::mem::take(&mut slot.buf));
                }
            });
            budget = budget.saturating_sub(sent);
            // The rest goes when the socket is writable, which it may be at once.
            if sent < total || budget == 0 && wire.has_output() {
                return true;
            }
        }
        // Output has left: a connection that was held back may go on.
        self.held = false;
        true
    }

    /// Gives all buffers back.
    pub(super) fn drop_buffers(&mut self, cx: &mut ShardCx<'_>) {
        for slot in &mut self.slots {
            cx.pool().recycle(std::mem::take(&mut slot.buf));
        }
    }

    /// Begins to end the session; false when there is none.
    pub(super) fn close_nexus(&mut self, cx: &mut ShardCx<'_>) -> bool {
        match self.nexus {
            Some(nexus) => {
                cx.close_nexus(nexus);
                true
            }
            None => false,
        }
    }

    /// Gives the port back.
    pub(super) fn release(&mut self) {
        if let Some(port) = self.port.take() {
            self.service.release(&port, self.tsih);
        }
    }
}

/// I/O vectors over what is ready, and their length in all.
fn gather<'a>(wire: &'a Connection, slots: &'a [Slot]) -> (Vec<IoSlice<'a>>, usize) {
    let mut vectors = Vec::with_capacity(64);
    let (mut skip, mut total) = (wire.front_sent(), 0);
    let mut push = |bytes: &'a [u8], vectors: &mut Vec<IoSlice<'a>>| {
        let n = skip.min(bytes.len());
        skip -= n;
        if let Some(rest) = bytes.get(n..).filter(|rest| !rest.is_empty()) {
            total += rest.len();
            vectors.push(IoSlice::new(rest));
        }
    };
    for pdu in wire.ready() {
        if vectors.len() >= MAX_VECTORS {
            break;
        }
        push(pdu.head(), &mut vectors);
        match pdu.data() {
            TxPayload::None => {}
            TxPayload::Own(bytes) => push(bytes, &mut vectors),
            TxPayload::Task { task, offset, len } => {
                let start = *offset as usize;
                if let Some(slot) = slots.get(task.index()) {
                    slot.buf
                        .slices(start..start + *len as usize)
                        .for_each(|part| push(part, &mut vectors));
                }
            }
        }
        push(pdu.tail(), &mut vectors);
    }
    (vectors, total)
}

fn attribute(wire: pdu::TaskAttribute) -> TaskAttribute {
    match wire {
        pdu::TaskAttribute::Untagged | pdu::TaskAttribute::Simple => TaskAttribute::Simple,
        pdu::TaskAttribute::Ordered => TaskAttribute::Ordered,
        pdu::TaskAttribute::HeadOfQueue => TaskAttribute::HeadOfQueue,
        pdu::TaskAttribute::Aca => TaskAttribute::Aca,
    }
}

fn connection_params(finish: &Finish) -> ConnectionParams {
    let (agreed, ours) = (&finish.login.params, &finish.login.target_params);
    let seconds = |s: u32| Duration::from_secs(s.into());
    ConnectionParams {
        header_digest: agreed.header_digest == Digest::Crc32c,
        data_digest: agreed.data_digest == Digest::Crc32c,
        max_recv_data_segment_length: agreed.max_recv_data_segment_length,
        max_xmit_data_segment_length: agreed.max_xmit,
        cid: finish.login.cid,
        nop_in_interval: seconds(ours.nop_in_interval),
        nop_in_timeout: seconds(ours.nop_in_timeout),
        response_timeout: seconds(ours.rsp_timeout),
    }
}

fn session_params(finish: &Finish, discovery: bool) -> SessionParams {
    let (agreed, ours) = (&finish.login.params, &finish.login.target_params);
    let short = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    SessionParams {
        discovery,
        initial_r2t: agreed.initial_r2t,
        immediate_data: agreed.immediate_data,
        max_burst_length: agreed.max_burst_length,
        first_burst_length: agreed.first_burst_length,
        max_outstanding_r2t: short(agreed.max_outstanding_r2t.into()),
        default_time2wait: short(agreed.default_time2wait.as_secs()),
        default_time2retain: short(agreed.default_time2retain.as_secs()),
        queued_commands: ours.queued_commands,
    }
}
