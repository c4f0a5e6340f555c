//! One session under load: non-blocking, many commands outstanding, every answer checked.

use std::io::Read as _;
use std::net::TcpStream;

use super::transmit::{Payload, Transmit};
use super::workload::{Kind, Operation, Workload};
use super::{LoadError, LoadOptions, Tally};
use crate::initiator::pdu::{Frame, Header, RESERVED_TAG, opcode, parse};
use crate::initiator::session::{Sequence, Violation};
use crate::initiator::transfer::{Solicited, Transfer, data_out_parts};
use crate::initiator::{Connection, Digests, Initiator, Lun, Negotiated, Residual, rw_cdb};

/// Receive buffer: room for several of the largest PDUs.
const RECEIVE: usize = 1 << 20;
/// Bits of the task tag that name the slot; the rest counts uses, so that late answers show.
const SLOT_BITS: u32 = 12;
/// `recv` calls per readiness before another session gets its turn.
const RECV_TURNS: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Task {
    tag: u32,
    live: bool,
    transfer: Transfer,
    operation: Operation,
    sent_at: u64,
}

/// What a session needs to know of its surroundings.
pub(crate) struct Surroundings<'a> {
    /// Payload of writes that are not verified.
    pub(crate) shared: &'a [u8],
    /// Clock, ns.
    pub(crate) now: &'a dyn Fn() -> u64,
}

/// One session.
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    params: Negotiated,
    sequence: Sequence,
    digests: Digests,
    lun: [u8; 8],
    block: u32,
    transfer_len: u32,
    receive: Vec<u8>,
    head: usize,
    tail: usize,
    transmit: Transmit,
    tasks: Vec<Task>,
    free: Vec<usize>,
    pub(crate) workload: Workload,
    pub(crate) tally: Tally,
    /// Answers count into the tally.
    pub(crate) measuring: bool,
    /// EPOLLOUT is asked for.
    pub(crate) wants_out: bool,
    scratch: Vec<u8>,
}

impl Link {
    /// Takes over a logged-in session.
    pub(crate) fn new(
        session: Initiator,
        options: &LoadOptions,
        block: u32,
        workload: Workload,
    ) -> Result<Self, LoadError> {
        let (connection, params, sequence) = session.into_connection();
        let (stream, early) = connection.into_parts();
        stream
            .set_read_timeout(None)
            .and_then(|()| stream.set_nonblocking(true))
            .map_err(LoadError::Socket)?;
        let largest = usize::try_from(params.max_recv_data_segment_length).unwrap_or(0) + 1024;
        let mut receive = vec![0; RECEIVE.max(2 * largest).max(early.len())];
        for (to, from) in receive.iter_mut().zip(&early) {
            *to = *from;
        }
        let operation = Operation::default();
        let idle = Task {
            tag: 0,
            live: false,
            transfer: Transfer::none(),
            operation,
            sent_at: 0,
        };
        Ok(Self {
            stream,
            digests: Digests {
                header: params.header_digest,
                data: params.data_digest,
            },
            params,
            sequence,
            lun: Lun::from(options.url.lun).0,
            block,
            transfer_len: options.block,
            receive,
            head: 0,
            tail: early.len(),
            transmit: Transmit::default(),
            tasks: vec![idle; options.depth],
            free: (0..options.depth).rev().collect(),
            workload,
            tally: Tally::default(),
            measuring: false,
            wants_out: false,
            scratch: Vec::new(),
        })
    }

    /// Commands sent and not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.tasks.len() - self.free.len()
    }

    /// Queues as many commands as depth, command window and workload allow.
    pub(crate) fn submit(&mut self, around: &Surroundings<'_>) {
        if self.free.is_empty() {
            return;
        }
        let sent_at = (around.now)();
        while self.sequence.window_open() {
            let Some(&slot) = self.free.last() else {
                return;
            };
            let Some(operation) = self.workload.next() else {
                return;
            };
            self.free.pop();
            self.command(slot, operation, sent_at, around.shared);
        }
        if !self.free.is_empty() {
            self.tally.window_closed += 1;
        }
    }

    fn command(&mut self, slot: usize, operation: Operation, sent_at: u64, shared: &[u8]) {
        let len = self.transfer_len;
        let plan = match operation.kind {
            Kind::Write => self.params.write_plan(len),
            _ => self.params.write_plan(0),
        };
        let mut h = Header::new(opcode::SCSI_COMMAND);
        let (flags, transfer) = match operation.kind {
            Kind::Read => (0x40, Transfer::read(len)),
            Kind::Write => (
                0x20,
                Transfer::write(len, plan.immediate + plan.unsolicited),
            ),
            Kind::Flush => (0, Transfer::none()),
        };
        let last = if plan.unsolicited == 0 { 0x80 } else { 0 };
        let Some(task) = self.tasks.get_mut(slot) else {
            return;
        };
        let uses = (task.tag >> SLOT_BITS).wrapping_add(1) & 0x7_ffff;
        let tag = uses << SLOT_BITS | slot as u32;
        *task = Task {
            tag,
            live: true,
            transfer,
            operation,
            sent_at,
        };
        h.put_flags(last | flags | 1)
            .put_lun(self.lun)
            .put_word(16, tag);
        h.put_word(20, transfer.expected)
            .put_word(24, self.sequence.cmd_sn);
        h.put_word(28, self.sequence.exp_stat_sn)
            .put_data_len(plan.immediate);
        self.sequence.cmd_sn = self.sequence.cmd_sn.wrapping_add(1);
        let cdb = match operation.kind {
            Kind::Flush => {
                let mut cdb = [0; 16];
                cdb[0] = 0x35;
                cdb
            }
            kind => rw_cdb(kind == Kind::Write, operation.lba, len / self.block).0,
        };
        h.0[32..48].copy_from_slice(&cdb);
        self.push(&h, &operation, 0, plan.immediate, shared);
        if plan.unsolicited > 0 {
            let rest = Solicited {
                ttt: RESERVED_TAG,
                offset: plan.immediate,
                len: plan.unsolicited,
            };
            self.data_out(tag, &operation, rest, shared);
        }
    }

    /// Queues one PDU whose payload is `len` bytes from `offset` of a write.
    fn push(&mut self, h: &Header, operation: &Operation, offset: u32, len: u32, shared: &[u8]) {
        let (offset, len) = (offset as usize, len as usize);
        let payload = if len == 0 {
            Payload::None
        } else if self.workload.verifies() {
            self.scratch.clear();
            let pattern = self.workload.pattern;
            pattern.emit(
                operation.lba,
                operation.generation,
                offset,
                len,
                &mut self.scratch,
            );
            Payload::Copy(&self.scratch)
        } else {
            // A little different for each LBA, so that equal blocks cannot hide a mix-up from a reader.
            let start = (operation.lba as usize % super::SHARED_SHIFTS) * 64 + offset;
            Payload::Shared { start, len }
        };
        self.transmit.push(h, payload, shared, self.digests);
    }

    fn data_out(&mut self, tag: u32, operation: &Operation, part: Solicited, shared: &[u8]) {
        let max = self.params.target_max_recv_data_segment_length;
        for p in data_out_parts(part.offset, part.len, max) {
            let mut h = Header::new(opcode::DATA_OUT);
            h.put_flags(if p.last { 0x80 } else { 0 })
                .put_lun(self.lun)
                .put_data_len(p.len);
            h.put_word(16, tag)
                .put_word(20, part.ttt)
                .put_word(28, self.sequence.exp_stat_sn);
            h.put_word(36, p.data_sn).put_word(40, p.offset);
            self.push(&h, operation, p.offset, p.len, shared);
        }
    }

    /// Sends what is queued; `false` when the socket is full.
    pub(crate) fn flush(&mut self, shared: &[u8]) -> Result<bool, LoadError> {
        self.transmit
            .flush(&self.stream, shared)
            .map_err(LoadError::Socket)
    }

    /// Receives what is there and serves every whole PDU of it.
    pub(crate) fn input(&mut self, around: &Surroundings<'_>) -> Result<(), LoadError> {
        let mut receive = std::mem::take(&mut self.receive);
        let outcome = self.input_into(&mut receive, around);
        self.receive = receive;
        outcome
    }

    fn input_into(
        &mut self,
        receive: &mut [u8],
        around: &Surroundings<'_>,
    ) -> Result<(), LoadError> {
        for _ in 0..RECV_TURNS {
            let room = receive.get_mut(self.tail..).unwrap_or(&mut []);
            let asked = room.len();
            let got = match (&self.stream).read(room) {
                Ok(0) => return Err(LoadError::Closed),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(LoadError::Socket(e)),
            };
            self.tally.receives += 1;
            self.tail += got;
            self.serve(receive, around)?;
            if got < asked {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Serves all whole PDUs in the buffer. They have arrived together, so one time is theirs.
    pub(crate) fn serve(
        &mut self,
        receive: &mut [u8],
        around: &Surroundings<'_>,
    ) -> Result<(), LoadError> {
        let now = (around.now)();
        let max = usize::try_from(self.params.max_recv_data_segment_length).unwrap_or(0);
        while let Some(frame) = parse(
            receive.get(self.head..self.tail).unwrap_or(&[]),
            self.digests,
            max,
        )? {
            self.pdu(&frame, now, around.shared)?;
            self.head += frame.wire_len;
        }
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        } else if self.tail > receive.len() / 2 {
            receive.copy_within(self.head..self.tail, 0);
            (self.head, self.tail) = (0, self.tail - self.head);
        }
        Ok(())
    }

    #[inline]
    fn task(&mut self, h: &Header) -> Result<&mut Task, Violation> {
        let (opcode, itt) = (h.opcode(), h.itt());
        let slot = itt & ((1 << SLOT_BITS) - 1);
        match self.tasks.get_mut(slot as usize) {
            Some(task) if task.live && task.tag == itt => Ok(task),
            _ => Err(Violation::UnknownTag { opcode, itt }),
        }
    }

    fn pdu(&mut self, frame: &Frame<'_>, now: u64, shared: &[u8]) -> Result<(), LoadError> {
        let h = &frame.header;
        self.sequence.update_window(h)?;
        match h.opcode() {
            opcode::DATA_IN => self.data_in(h, frame.data, now),
            opcode::SCSI_RESPONSE => {
                self.tally.responses += 1;
                self.task(h)?.transfer.exp_data_sn(h)?;
                self.end(h, h.response(), now)
            }
            opcode::R2T => {
                let max_burst = self.params.max_burst_length;
                let task = self.task(h)?;
                let (operation, part) = (task.operation, task.transfer.r2t(h, max_burst)?);
                self.tally.r2ts += 1;
                self.data_out(h.itt(), &operation, part, shared);
                Ok(())
            }
            opcode::NOP_IN => {
                if h.ttt() != RESERVED_TAG {
                    self.pong(h, shared);
                }
                Ok(())
            }
            opcode => {
                let reason = h.response();
                let detail = match opcode {
                    opcode::REJECT => format!(" (Reject, reason {reason:#04x})"),
                    opcode::ASYNC_MESSAGE => format!(" (Asynchronous Message, event {})", h.0[36]),
                    _ => String::new(),
                };
                Err(Violation::Unexpected { opcode, detail }.into())
            }
        }
    }

    fn pong(&mut self, ping: &Header, shared: &[u8]) {
        let mut h = Header::new(opcode::NOP_OUT | 0x40);
        h.put_flags(0x80)
            .put_lun(ping.lun())
            .put_word(16, RESERVED_TAG)
            .put_word(20, ping.ttt());
        h.put_word(24, self.sequence.cmd_sn)
            .put_word(28, self.sequence.exp_stat_sn);
        self.transmit.push(&h, Payload::None, shared, self.digests);
    }

    #[inline]
    fn data_in(&mut self, h: &Header, data: &[u8], now: u64) -> Result<(), LoadError> {
        let task = self.task(h)?;
        let offset = task.transfer.data_in(h, data.len())?;
        let operation = task.operation;
        self.tally.data_ins += 1;
        if operation.generation > 0 && self.workload.verifies() {
            let pattern = self.workload.pattern;
            pattern.check(
                operation.lba,
                operation.generation,
                offset as usize,
                data,
                &mut self.scratch,
            )?;
            self.tally.verified += data.len() as u64;
        }
        if h.flags() & 1 != 0 {
            self.tally.collapsed += 1;
            return self.end(h, 0, now);
        }
        Ok(())
    }

    fn end(&mut self, h: &Header, response: u8, now: u64) -> Result<(), LoadError> {
        self.sequence.advance_stat_sn(h)?;
        let task = self.task(h)?;
        task.live = false;
        let Task {
            transfer,
            operation,
            sent_at,
            tag,
            ..
        } = *task;
        self.free.push((tag & ((1 << SLOT_BITS) - 1)) as usize);
        let clean = response == 0 && h.status() == 0;
        let good = transfer.finish(h, clean)? == Residual::None && clean;
        self.workload.ended(&operation, good);
        self.tally.ended += 1;
        if !good {
            self.tally.failed(operation.lba, response, h);
        } else if self.measuring {
            self.tally.histogram.record(now.saturating_sub(sent_at));
            if operation.kind != Kind::Flush {
                self.tally.bytes += u64::from(self.transfer_len);
            }
        }
        Ok(())
    }

    /// Takes the counts out of the session.
    pub(crate) fn finish(mut self) -> (Tally, Self) {
        (std::mem::take(&mut self.tally), self)
    }

    /// Logs out; a target that does not answer is left alone after the timeout.
    pub(crate) fn logout(self) {
        let timeout = std::time::Duration::from_secs(2);
        let usable = self.transmit.is_empty() && self.stream.set_nonblocking(false).is_ok();
        let Ok(mut connection) = Connection::from_stream(self.stream, timeout) else {
            return;
        };
        connection.set_params(self.digests, RECEIVE);
        let mut h = Header::new(opcode::LOGOUT_REQUEST | 0x40);
        h.put_flags(0x80)
            .put_word(16, 0x7fff_0000)
            .put_word(24, self.sequence.cmd_sn);
        h.put_word(28, self.sequence.exp_stat_sn);
        if usable && connection.send(&crate::initiator::Pdu::new(h, [])).is_ok() {
            // The session is over either way; an answer only makes the end orderly.
            let _ = connection.recv();
        }
    }
}
