//! Full feature phase: between the protocol engine and the core.
//!
//! Here are the session's state and the way of an event; what each kind of event means stands in the files beside.

mod command;
mod memory;
mod params;
mod recording;
mod task_management;
mod text;
mod transmit;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::shard::completion::CommandKey;
use lunforge_core::shard::{NexusKey, ShardCx};
use lunforge_core::transport_id::TransportId;

use super::catalogue::Served;
use super::connection::Ends;
use super::login::Finish;
use super::service::{PortName, Service};
use super::sessions::{SessionId, SessionInfo};
use crate::proto::connection::{Close, Connection, Event};
use crate::proto::error::Violation;
use crate::proto::pdu::{AsyncMessage, async_message};
use crate::proto::session::Session;
use crate::proto::task::TaskKey;
use memory::{Held, Memory};
use params::{connection_params, session_params, window};

/// What the connection has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Verdict {
    /// Go on.
    Go,
    /// Send what is there, then close.
    SayAndClose,
    /// There is more to work through, but not in this turn.
    Later,
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
    since: recording::Begun,
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
    initiator: String,
    /// The initiator has proved itself.
    proved: bool,
    local: SocketAddr,
    held: Held,
    /// The socket took nothing at the last attempt.
    blocked: bool,
    /// Commands and functions that the core has.
    in_core: usize,
    /// Commands whose Data-Out is on its way.
    receiving: usize,
    memory: Memory,
    /// Counts that are in the transport's already.
    told: Told,
    /// The session is being closed.
    closing: bool,
    /// Somebody wants it to end: it goes on with no other connection.
    told_to_end: bool,
    watch: Option<recording::Watch>,
}

/// Counts of this connection that the transport has been told.
#[derive(Debug, Default)]
struct Told {
    rejects: u64,
    immediate_rejected: u64,
    text_cut: u64,
}

impl FullFeature {
    /// Opens the session. `None` when the initiator's name makes no TransportID.
    pub(super) fn open(
        cx: &mut ShardCx<'_>,
        finish: &Finish,
        target: Option<Served>,
        port: Option<PortName>,
        service: Arc<Service>,
        local: SocketAddr,
    ) -> Option<Self> {
        let login = &finish.login;
        let nexus = match &target {
            None => None,
            Some(Served {
                target, settings, ..
            }) => {
                let initiator = TransportId::iscsi(&login.initiator_name, login.isid).ok()?;
                let name = settings.session_name(&login.initiator_name, local);
                Some(cx.open_nexus_as(target, initiator, &*name))
            }
        };
        let now = cx.now();
        let limits = &service.limits;
        Some(Self {
            wire: Connection::new(connection_params(finish, limits), finish.stat_sn, now),
            session: Session::new(
                session_params(finish, limits, nexus.is_none(), window(cx, finish, nexus)),
                login.cmd_sn,
            ),
            memory: Memory::new(cx, nexus),
            nexus,
            slots: Vec::new(),
            target: target.map(|served| served.target.name().to_owned()),
            port,
            tsih: login.tsih,
            service,
            initiator: login.initiator_name.clone(),
            proved: login.auth_user.is_some(),
            local,
            held: Held::No,
            blocked: false,
            in_core: 0,
            receiving: 0,
            told: Told::default(),
            closing: false,
            told_to_end: false,
            watch: None,
        })
    }

    /// Depth of the CmdSN window.
    pub(super) fn window(&self) -> u32 {
        self.session.params().queued_commands
    }

    /// Goes on with another connection, after the commands of the old one are gone (RFC 7143 6.3.4). The I_T nexus stays;
    /// commands that were lost on their way are not waited for, since they belonged to the old connection.
    pub(super) fn reopen(&mut self, cx: &mut ShardCx<'_>, finish: &Finish, local: SocketAddr) {
        self.drop_buffers(cx);
        self.slots.clear();
        let limits = &self.service.limits;
        let params = connection_params(finish, limits);
        self.wire = Connection::new(params, finish.stat_sn, cx.now());
        let window = window(cx, finish, self.nexus);
        let params = session_params(finish, limits, self.nexus.is_none(), window);
        self.session = Session::new(params, finish.login.cmd_sn);
        (self.held, self.blocked, self.receiving) = (Held::No, false, 0);
        (self.local, self.told) = (local, Told::default());
    }

    /// Ends all commands of the session; false when it is being closed.
    pub(super) fn abort_commands(&mut self, cx: &mut ShardCx<'_>) -> bool {
        match self.nexus {
            Some(nexus) if !self.closing => {
                self.drop_buffers(cx);
                cx.abort_commands(nexus);
                true
            }
            _ => false,
        }
    }

    pub(super) fn told_to_end(&mut self) {
        self.told_to_end = true;
    }

    pub(super) fn is_told_to_end(&self) -> bool {
        self.told_to_end
    }

    /// The PDUs received so far.
    pub(super) fn pdus_received(&self) -> u64 {
        self.wire.statistics().pdus_received
    }

    pub(super) fn has_nexus(&self) -> bool {
        self.nexus.is_some()
    }

    /// Tells whoever looks after the transport of the session, which is open now or goes on with another connection.
    pub(super) fn publish(&self, cx: &ShardCx<'_>, finish: &Finish, ends: Ends) {
        let nexus = self.nexus.and_then(|nexus| cx.nexus(nexus));
        let (Some(port), Some(target), Some(nexus)) = (&self.port, &self.target, nexus) else {
            return;
        };
        let login = &finish.login;
        let info = SessionInfo {
            id: SessionId(0),
            initiator: login.initiator_name.clone(),
            initiator_alias: login.initiator_alias.clone(),
            isid: login.isid,
            tsih: login.tsih,
            cid: login.cid,
            target: target.clone(),
            ends,
            params: login.params.clone(),
            window: self.window(),
            auth_user: login.auth_user.clone(),
            nexus: Arc::clone(nexus),
            since: cx.now(),
        };
        self.service.registry.lock().opened(port, info);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match (self.wire.next_timeout(), self.next_look()) {
            (Some(wire), Some(look)) => Some(wire.min(look)),
            (wire, look) => wire.or(look),
        }
    }

    pub(super) fn is_held(&self) -> bool {
        match self.held {
            Held::No => false,
            Held::Output => true,
            Held::Memory => self.is_short_of_memory(),
        }
    }

    /// Whether the core has nothing of this session.
    pub(super) fn is_idle(&self) -> bool {
        self.in_core == 0
    }

    pub(super) fn has_output(&self) -> bool {
        self.wire.has_output()
    }

    /// Works through received bytes, until so many PDUs have been received; returns how many bytes were used.
    pub(super) fn process(
        &mut self,
        cx: &mut ShardCx<'_>,
        bytes: &[u8],
        pdus: u64,
    ) -> (usize, Verdict) {
        self.held = Held::No;
        if self.is_short_of_memory() {
            self.held = Held::Memory;
            self.service.tally.held_for_memory.add(1);
            return (0, Verdict::Go);
        }
        let worked = self.work_through(cx, bytes, pdus);
        self.account(cx.now());
        worked
    }

    fn work_through(&mut self, cx: &mut ShardCx<'_>, bytes: &[u8], pdus: u64) -> (usize, Verdict) {
        let now = cx.now();
        let mut used = 0;
        self.wire.pause_at(pdus);
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let step = self.wire.next(&mut self.session, rest, now);
            used += step.consumed;
            let rest = bytes.get(used..).unwrap_or_default();
            match step.event {
                Event::NeedBytes if self.pdus_received() >= pdus && !rest.is_empty() => {
                    self.service.tally.turns_cut.add(1);
                    return (used, Verdict::Later);
                }
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
                    self.memory.moved += n as u64;
                    used += n;
                }
                Event::Command(command) => self.command(cx, &command, now),
                Event::DataComplete(task) => self.data_complete(cx, task),
                Event::TransferFailed { task, asc, ascq } => {
                    self.transfer_failed(cx, task, Asc { asc, ascq })
                }
                Event::TaskManagement(request) => self.task_management(cx, &request),
                Event::Text(pairs) => self.text(&pairs, now),
                Event::Logout => {
                    self.say_session_end(now, "logout");
                    if !self.close_nexus(cx) {
                        self.wire.complete_logout(&mut self.session);
                    }
                }
                // Every command is decided on when it arrives; congestion ends when output leaves.
                Event::AwaitDecision(_) | Event::Congested => {
                    self.held = Held::Output;
                    break;
                }
                Event::Closed(close) => {
                    self.count_end(close, now);
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

    /// All commands of a session that logs out are gone.
    pub(super) fn logged_out(&mut self, now: Instant) -> Verdict {
        self.say_session_end(now, "logged out");
        self.nexus = None;
        self.wire.complete_logout(&mut self.session);
        Verdict::SayAndClose
    }

    fn count_end(&self, close: Close, now: Instant) {
        let Close::Violation(violation) = close else {
            return;
        };
        let tally = &self.service.tally;
        match violation {
            Violation::NopTimeout => tally.ping_timeouts.add(1),
            Violation::ResponseTimeout => tally.stalled.add(1),
            _ => tally.violations.add(1),
        }
        if let Some(left_out) = self.service.logs.closed.say(now) {
            let initiator = self.initiator.escape_debug();
            tracing::info!(%initiator, reason = %violation, left_out, "connection closed");
        }
    }

    /// Tells the initiator that the connection, or the session with all it has, will be dropped (RFC 7143 11.9).
    pub(super) fn announce(&mut self, event: u8) {
        let connection = event == async_message::event::DROP_CONNECTION;
        let message = AsyncMessage {
            data_segment_length: 0,
            lun: [0; 8],
            stat_sn: 0,
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            event,
            vendor_code: 0,
            parameter1: if connection {
                self.wire.params().cid
            } else {
                0
            },
            parameter2: 0,
            parameter3: 0,
        };
        self.wire.send_async(&mut self.session, message, &[]);
    }

    pub(super) fn timeout(&mut self, now: Instant) -> Verdict {
        self.look_for_unanswered(now);
        // What the link has not refused yet waits for the end of this batch, not for the peer.
        if !self.blocked && self.wire.has_output() {
            self.wire.output_started(now);
        }
        self.wire.handle_timeout(&mut self.session, now);
        if let Some(close) = self.wire.closed() {
            self.count_end(close, now);
            Verdict::SayAndClose
        } else {
            Verdict::Go
        }
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
                self.closing = true;
                cx.close_nexus(nexus);
                true
            }
            None => false,
        }
    }

    fn say_session_end(&self, now: Instant, what: &str) {
        if let Some(left_out) = self.service.logs.session_end.say(now) {
            tracing::info!(tsih = self.tsih, left_out, "{what}");
        }
    }

    /// Gives the port back.
    pub(super) fn release(&mut self, now: Instant) {
        if let Some(port) = self.port.take() {
            self.say_session_end(now, "the session is closed");
            self.service.release(&port, self.tsih);
        }
    }
}
