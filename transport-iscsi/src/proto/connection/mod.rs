//! One connection in full feature phase: receive and transmit state, StatSN, timers.
//!
//! ```text
//!  loop { step = connection.next(session, staged, now); staged = staged[step.consumed..]; match step.event {
//!      Command(c)       submit; answer with accept_data or respond, now or later
//!      AwaitDecision    stop; go on after accept_data or respond of that task
//!      Payload(p)       copy or receive p.len bytes to p.offset of the task's buffer, then payload_chunk
//!      DataComplete(t)  execute the command
//!      ...
//!      NeedBytes        read more
//!  } }
//!  connection.fill(session); one sendmsg over connection.ready(); connection.sent(session, n, ..)
//! ```
//!
//! The engine never copies payload: received data is announced by where it belongs, data to send is
//! a range of the task's buffer. ErrorRecoveryLevel is 0.

mod command;
mod data_out;
mod receive;
mod respond;
mod text;
mod timers;
mod transmit;

use std::time::{Duration, Instant};

use super::digest::Crc32c;
use super::error::Violation;
use super::pdu::{BHS_LEN, Bhs, ScsiCommand};
use super::session::Session;
use super::task::TaskKey;
use crate::record::Tap;

pub use respond::Answer;
pub(crate) use respond::HeldAnswer;
pub use transmit::{ReadyPdu, TxPayload};

/// What the connection negotiated and how it is watched; lengths in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionParams {
    /// HeaderDigest is CRC32C.
    pub header_digest: bool,
    /// DataDigest is CRC32C.
    pub data_digest: bool,
    /// MaxRecvDataSegmentLength that we declared.
    pub max_recv_data_segment_length: u32,
    /// MaxRecvDataSegmentLength that the initiator declared.
    pub max_xmit_data_segment_length: u32,
    /// Connection identifier.
    pub cid: u16,
    /// A NOP-In is sent after this much silence; zero: never.
    pub nop_in_interval: Duration,
    /// The connection is dropped when that NOP-In stays unanswered for this long.
    pub nop_in_timeout: Duration,
    /// The connection is dropped when the initiator makes no progress for this long; zero: never.
    pub response_timeout: Duration,
    /// The connection is dropped when the initiator takes nothing of what is sent to it for this long; zero: only
    /// `response_timeout` counts.
    pub send_timeout: Duration,
    /// What may wait at a time.
    pub limits: ConnectionLimits,
}

/// What may wait on one connection, beside its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Length of a text request, all its parts together, in bytes.
    pub text_bytes: usize,
    /// Text requests of one exchange.
    pub text_parts: u32,
    /// Time for one text exchange.
    pub text_time: Duration,
    /// Answers to pings. Beyond, no input is taken.
    pub pings: usize,
    /// Bytes of sense, text and ping data to send. Beyond, no input is taken.
    pub output_bytes: usize,
    /// PDUs to send. Beyond, no input is taken.
    pub output_pdus: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            text_bytes: 64 << 10,
            text_parts: 256,
            text_time: Duration::from_secs(15),
            pings: 64,
            output_bytes: 256 << 10,
            output_pdus: 1024,
        }
    }
}

impl Default for ConnectionParams {
    fn default() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            max_recv_data_segment_length: 262_144,
            max_xmit_data_segment_length: 8192,
            cid: 0,
            nop_in_interval: Duration::from_secs(30),
            nop_in_timeout: Duration::from_secs(30),
            response_timeout: Duration::from_secs(90),
            send_timeout: Duration::ZERO,
            limits: ConnectionLimits::default(),
        }
    }
}

/// Result of one step: what was used up and what happened.
#[derive(Debug)]
pub struct Step {
    /// Bytes of the staged input that are done with.
    pub consumed: usize,
    /// What happened.
    pub event: Event,
}

/// What the caller has to do.
#[derive(Debug)]
pub enum Event {
    /// The staged bytes hold no further complete header; read more. Bytes not consumed have to stay.
    NeedBytes,
    /// A SCSI command.
    Command(Command),
    /// The stream goes on with data of this task, and the caller has not yet decided on it.
    AwaitDecision(TaskKey),
    /// The next bytes of the stream are data of a task.
    Payload(Payload),
    /// All data that was accepted has arrived.
    DataComplete(TaskKey),
    /// The initiator broke a rule of data transfer: end the command with ABORTED COMMAND and this
    /// additional sense, by [`Connection::respond`].
    TransferFailed {
        /// The command.
        task: TaskKey,
        /// Additional sense code.
        asc: u8,
        /// Additional sense code qualifier.
        ascq: u8,
    },
    /// A task management function; answer with [`Connection::respond_task_management`].
    TaskManagement(TaskManagement),
    /// A whole text request; answer with [`Connection::answer_text`] or [`Connection::reject_text`].
    Text(Vec<u8>),
    /// The initiator logs out: stop all its commands, then call [`Connection::complete_logout`].
    Logout,
    /// Too much waits to be sent; go on after [`Connection::sent`] made room.
    Congested,
    /// The connection is over: send what is ready, then close.
    Closed(Close),
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// After an orderly logout.
    Logout,
    /// The initiator broke this rule.
    Violation(Violation),
    /// We asked for it by [`Connection::close`].
    Local,
}

/// A SCSI command.
#[derive(Debug)]
pub struct Command {
    /// Names the task until its status is sent.
    pub task: TaskKey,
    /// Header fields; `itt` is the tag that task management functions refer to.
    pub header: ScsiCommand,
    /// CDB bytes beyond the 16th.
    pub extended_cdb: Vec<u8>,
    /// Expected data-in length, bytes.
    pub expected_in: u32,
    /// Expected data-out length, bytes.
    pub expected_out: u32,
}

/// Where the next bytes of the stream belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// The task whose buffer it is.
    pub task: TaskKey,
    /// Offset in that buffer, bytes.
    pub offset: u32,
    /// How many bytes; never 0.
    pub len: u32,
}

/// A task management function (RFC 7143 §11.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskManagement {
    /// Names the function until it is answered.
    pub task: TaskKey,
    /// Function code, one that exists ([`super::pdu::task_management_request::function`]).
    pub function: u8,
    /// Logical unit.
    pub lun: [u8; 8],
    /// The command that ABORT TASK names.
    pub referenced: Option<TaskKey>,
}

/// Counters of a connection; they only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionStatistics {
    /// PDUs received.
    pub pdus_received: u64,
    /// PDUs queued for sending.
    pub pdus_sent: u64,
    /// Data bytes received for commands.
    pub data_received: u64,
    /// Data bytes queued for sending.
    pub data_sent: u64,
    /// Reject PDUs sent.
    pub rejects: u64,
    /// Header and data digest errors.
    pub digest_errors: u64,
    /// Requests ignored without an answer.
    pub ignored: u64,
    /// Commands ended because the initiator broke a rule of data transfer.
    pub failed_transfers: u64,
    /// Text exchanges that were ended for their length, their parts or their time.
    pub text_cut: u64,
}

#[derive(Debug)]
enum Rx {
    Header,
    Segment(Segment),
}

/// The data segment being received.
#[derive(Debug)]
struct Segment {
    bhs: Bhs,
    sink: Sink,
    remaining: u32,
    pad: u8,
    crc: Option<Box<Crc32c>>,
}

#[derive(Debug, Clone, Copy)]
enum Sink {
    /// Data of a command, from `offset` on.
    Task {
        task: TaskKey,
        offset: u32,
        ttt: u32,
        is_final: bool,
    },
    /// Collected here: ping data and text.
    Gather,
    Discard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logout {
    No,
    Requested { itt: u32 },
}

/// One connection of a session.
#[derive(Debug)]
pub struct Connection {
    params: ConnectionParams,
    stat_sn: u32,
    rx: Rx,
    gathered: Vec<u8>,
    tx: transmit::Transmit,
    text: text::TextExchange,
    logout: Logout,
    closed: Option<Close>,
    timers: timers::Timers,
    /// How many PDUs may have been received before the next one waits.
    pause_at: u64,
    statistics: ConnectionStatistics,
    tap: Option<Box<Tap>>,
}

impl Connection {
    /// A connection that enters full feature phase; `stat_sn` is the next to use.
    #[must_use]
    pub fn new(params: ConnectionParams, stat_sn: u32, now: Instant) -> Self {
        Self {
            stat_sn,
            rx: Rx::Header,
            gathered: Vec::new(),
            tx: transmit::Transmit::default(),
            text: text::TextExchange::default(),
            logout: Logout::No,
            closed: None,
            timers: timers::Timers::new(&params, now),
            pause_at: u64::MAX,
            statistics: ConnectionStatistics::default(),
            tap: None,
            params,
        }
    }

    /// What was negotiated.
    #[must_use]
    pub fn params(&self) -> &ConnectionParams {
        &self.params
    }

    /// Takes over a MaxRecvDataSegmentLength that the initiator declared anew (RFC 7143 §13.12).
    pub fn set_max_xmit_data_segment_length(&mut self, len: u32) {
        self.params.max_xmit_data_segment_length = len.clamp(512, (1 << 24) - 1);
    }

    /// Stops, with [`Event::NeedBytes`] and bytes that are not consumed, before a PDU beyond so many in all, so that a
    /// caller can serve others in between.
    pub fn pause_at(&mut self, pdus: u64) {
        self.pause_at = pdus;
    }

    /// Counters.
    #[must_use]
    pub fn statistics(&self) -> ConnectionStatistics {
        self.statistics
    }

    /// Bytes held beside the buffers of tasks: text, ping data, and what waits to be sent.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.gathered.len() + self.text.bytes() + self.tx.held_bytes()
    }

    /// Has `tap` told of every PDU from here on.
    pub fn record(&mut self, tap: Box<Tap>) {
        self.tap = Some(tap);
    }

    /// What [`Connection::record`] was given.
    pub fn tap(&mut self) -> Option<&mut Tap> {
        self.tap.as_deref_mut()
    }

    /// Whether the connection is over, and why.
    #[must_use]
    pub fn closed(&self) -> Option<Close> {
        self.closed
    }

    /// Ends the connection from our side; what is ready may still be sent.
    pub fn close(&mut self) {
        self.closed.get_or_insert(Close::Local);
    }

    /// Ends a task without an answer, as an abort does. Later data for it is ignored.
    pub fn abandon(&mut self, session: &mut Session, task: TaskKey) {
        if session.task(task).is_some_and(|task| !task.retired) {
            session.remove(task);
        }
    }

    fn stat_sn(&mut self) -> u32 {
        let stat_sn = self.stat_sn;
        self.stat_sn = stat_sn.wrapping_add(1);
        stat_sn
    }
}

/// Length of header digests on this connection.
fn digest_len(enabled: bool) -> usize {
    if enabled { super::pdu::DIGEST_LEN } else { 0 }
}

/// CmdSN of a request header that has one.
fn cmd_sn_of(bhs: &Bhs) -> u32 {
    let [.., a, b, c, d] = *bhs.first_chunk::<28>().unwrap_or(&[0; 28]);
    u32::from_be_bytes([a, b, c, d])
}

const _: () = assert!(BHS_LEN >= 28);

#[cfg(test)]
mod tests;
