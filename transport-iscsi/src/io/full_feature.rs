//! Full feature phase: between the protocol engine and the core.
//!
//! Here are the session's state and the way of an event; what each kind of event means stands in the files beside.

mod command;
mod params;
mod task_management;
mod text;
mod transmit;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use lunforge_core::Target;
use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::shard::completion::CommandKey;
use lunforge_core::shard::{NexusKey, ShardCx};
use lunforge_core::transport_id::TransportId;

use super::login::Finish;
use super::service::{PortName, Service};
use crate::proto::connection::{Connection, Event};
use crate::proto::pdu::{AsyncMessage, async_message};
use crate::proto::session::Session;
use crate::proto::task::TaskKey;
use params::{connection_params, session_params};

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
    initiator: String,
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
            initiator: login.initiator_name.clone(),
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
