//! One session of the mix: commands out, answers in.

use std::io::Read as _;
use std::net::TcpStream;

use super::area::Area;
use super::choice::{self, Abilities};
use super::operation::{Kind, Operation};
use super::task_management::Functions;
use crate::abuse::rng::Rng;
use crate::abuse::site::{Site, reset};
use crate::initiator::pdu::{Frame, Header, RESERVED_TAG, opcode, parse};
use crate::initiator::session::{Sequence, Violation};
use crate::initiator::transfer::{Solicited, Transfer, data_out_parts};
use crate::initiator::{Digests, Initiator, Lun, Negotiated};
use crate::load::LoadError;
use crate::load::transmit::{Payload, Transmit};

/// Commands outstanding.
const DEPTH: usize = 32;
/// Room for several of the largest PDUs.
const RECEIVE: usize = 2 << 20;
/// Bits of the tag that name the place; the rest counts uses, so that late answers show.
const PLACE_BITS: u32 = 8;
/// Blocks of one READ at the end.
const READ_BACK: u32 = 256;
/// Digests are not negotiated here.
const NO_DIGESTS: Digests = Digests {
    header: false,
    data: false,
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub(super) tag: u32,
    pub(super) live: bool,
    pub(super) cmd_sn: u32,
    transfer: Transfer,
    pub(super) operation: Operation,
}

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) ended: u64,
    pub(super) verified: u64,
    pub(super) kinds: [u64; Kind::ALL.len()],
    /// Commands whose end was not as it must be; the first few.
    pub(super) messages: Vec<String>,
}

impl Tally {
    pub(super) fn failed(&mut self, text: String) {
        if self.messages.len() < 5 {
            self.messages.push(text);
        }
    }
}

pub(super) struct Link {
    pub(super) stream: TcpStream,
    params: Negotiated,
    pub(super) sequence: Sequence,
    pub(super) lun: [u8; 8],
    receive: Vec<u8>,
    head: usize,
    tail: usize,
    pub(super) transmit: Transmit,
    pub(super) tasks: Vec<Task>,
    free: Vec<usize>,
    pub(super) area: Area,
    pub(super) rng: Rng,
    abilities: Abilities,
    /// Commands still to be sent.
    quota: u64,
    /// Next block to be read back; `None` before the quota is used up.
    read_back: Option<u32>,
    pub(super) functions: Functions,
    /// What INQUIRY and READ CAPACITY said first.
    said: [Vec<u8>; 2],
    pub(super) tally: Tally,
    /// The socket was full.
    pub(super) wants_out: bool,
    scratch: Vec<u8>,
}

impl Link {
    pub(super) fn new(
        site: &Site,
        session: Initiator,
        area: Area,
        rng: Rng,
        quota: u64,
        abilities: Abilities,
    ) -> std::io::Result<Self> {
        let (connection, params, sequence) = session.into_connection();
        let (stream, early) = connection.into_parts();
        stream.set_read_timeout(None)?;
        stream.set_nonblocking(true)?;
        let mut receive = early;
        let tail = receive.len();
        receive.resize(RECEIVE, 0);
        let idle = Task {
            tag: 0,
            live: false,
            cmd_sn: 0,
            transfer: Transfer::none(),
            operation: Operation::default(),
        };
        Ok(Self {
            stream,
            params,
            sequence,
            lun: Lun::from(site.url.lun).0,
            receive,
            head: 0,
            tail,
            transmit: Transmit::default(),
            tasks: vec![idle; DEPTH],
            free: (0..DEPTH).rev().collect(),
            area,
            rng,
            abilities,
            quota,
            read_back: None,
            functions: Functions::default(),
            said: Default::default(),
            tally: Tally::default(),
            wants_out: false,
            scratch: Vec::new(),
        })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.tasks.len() - self.free.len()
    }

    /// Everything sent, ended and read back.
    pub(super) fn is_done(&self) -> bool {
        self.read_back
            .is_some_and(|next| next >= self.area.blocks())
            && self.in_flight() == 0
            && !self.functions.outstanding()
    }

    /// Queues as many commands as depth, window and quota allow.
    pub(super) fn submit(&mut self) {
        while self.sequence.window_open()
            && let Some(&place) = self.free.last()
            && let Some(operation) = self.next()
        {
            match operation.kind {
                Kind::AbortTask | Kind::AbortTaskSet => {
                    let sent = self.task_management(operation.kind);
                    self.quota += u64::from(!sent);
                }
                _ => {
                    self.free.pop();
                    self.command(place, operation);
                }
            }
        }
    }

    fn next(&mut self) -> Option<Operation> {
        if self.quota > 0 {
            let next = choice::next(&mut self.area, &mut self.rng, self.abilities)?;
            self.quota -= 1;
            return Some(next);
        }
        // Whatever was outstanding when the quota ended is over before its blocks are read.
        if self.read_back.is_none() && self.in_flight() > 0 {
            return None;
        }
        let start = self.read_back.unwrap_or(0);
        let blocks = READ_BACK.min(self.area.blocks().saturating_sub(start));
        self.read_back = Some(start + blocks);
        let read = Operation {
            kind: Kind::Read,
            start,
            blocks,
            generation: 0,
        };
        (blocks > 0 && self.area.claim(&read)).then_some(read)
    }

    fn command(&mut self, place: usize, operation: Operation) {
        let block_len = self.area.block_len();
        let (out, into) = operation.lengths(block_len);
        let plan = self.params.write_plan(out);
        let Some(task) = self.tasks.get_mut(place) else {
            return;
        };
        let uses = (task.tag >> PLACE_BITS).wrapping_add(1) & 0x3f_ffff;
        *task = Task {
            tag: uses << PLACE_BITS | place as u32,
            live: true,
            cmd_sn: self.sequence.cmd_sn,
            transfer: operation.transfer(block_len, plan.immediate + plan.unsolicited),
            operation,
        };
        let tag = task.tag;
        let mut h = Header::new(opcode::SCSI_COMMAND);
        let last = if plan.unsolicited == 0 { 0x80 } else { 0 };
        let write = if out > 0 { 0x20 } else { 0 };
        let read = if into > 0 { 0x40 } else { 0 };
        h.put_flags(last | write | read | 1)
            .put_lun(self.lun)
            .put_word(16, tag)
            .put_word(20, out + into)
            .put_word(24, self.sequence.cmd_sn)
            .put_word(28, self.sequence.exp_stat_sn)
            .put_data_len(plan.immediate);
        h.0[32..].copy_from_slice(&operation.cdb(self.area.first));
        self.sequence.cmd_sn = self.sequence.cmd_sn.wrapping_add(1);
        self.push(&h, &operation, 0, plan.immediate);
        if plan.unsolicited > 0 {
            let rest = Solicited {
                ttt: RESERVED_TAG,
                offset: plan.immediate,
                len: plan.unsolicited,
            };
            self.data_out(tag, &operation, rest);
        }
    }

    /// Queues one PDU whose data is `len` bytes from `offset` of what the operation sends.
    fn push(&mut self, h: &Header, operation: &Operation, offset: u32, len: u32) {
        let (start, end) = (offset as usize, (offset + len) as usize);
        self.scratch.clear();
        if len > 0 {
            self.area.data_out(operation, &mut self.scratch);
        }
        let data = self.scratch.get(start..end).unwrap_or(&[]);
        let payload = if data.is_empty() {
            Payload::None
        } else {
            Payload::Copy(data)
        };
        self.transmit.push(h, payload, &[], NO_DIGESTS);
    }

    fn data_out(&mut self, tag: u32, operation: &Operation, part: Solicited) {
        let max = self.params.target_max_recv_data_segment_length;
        for p in data_out_parts(part.offset, part.len, max) {
            let mut h = Header::new(opcode::DATA_OUT);
            h.put_flags(if p.last { 0x80 } else { 0 })
                .put_lun(self.lun)
                .put_data_len(p.len)
                .put_word(16, tag)
                .put_word(20, part.ttt)
                .put_word(28, self.sequence.exp_stat_sn)
                .put_word(36, p.data_sn)
                .put_word(40, p.offset);
            self.push(&h, operation, p.offset, p.len);
        }
    }

    /// Sends what is queued; `false` when the socket is full.
    pub(super) fn flush(&mut self) -> Result<bool, LoadError> {
        let outcome = self.transmit.flush(&self.stream, &[]);
        outcome.map_err(LoadError::Socket)
    }

    /// Receives what is there and serves every whole PDU of it.
    pub(super) fn input(&mut self) -> Result<(), LoadError> {
        let mut receive = std::mem::take(&mut self.receive);
        let outcome = self.input_into(&mut receive);
        self.receive = receive;
        outcome
    }

    fn input_into(&mut self, receive: &mut [u8]) -> Result<(), LoadError> {
        let room = receive.get_mut(self.tail..).unwrap_or(&mut []);
        match (&self.stream).read(room) {
            Ok(0) => return Err(LoadError::Closed),
            Ok(n) => self.tail += n,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(LoadError::Socket(e)),
        }
        let max = usize::try_from(self.params.max_recv_data_segment_length).unwrap_or(0);
        let bytes = |from, to| receive.get(from..to).unwrap_or(&[]);
        while let Some(frame) = parse(bytes(self.head, self.tail), NO_DIGESTS, max)? {
            self.pdu(&frame)?;
            self.head += frame.wire_len;
        }
        receive.copy_within(self.head..self.tail, 0);
        (self.head, self.tail) = (0, self.tail - self.head);
        Ok(())
    }

    fn task(&mut self, h: &Header) -> Result<&mut Task, Violation> {
        let (opcode, itt) = (h.opcode(), h.itt());
        let place = itt & ((1 << PLACE_BITS) - 1);
        match self.tasks.get_mut(place as usize) {
            Some(task) if task.live && task.tag == itt => Ok(task),
            _ => Err(Violation::UnknownTag { opcode, itt }),
        }
    }

    fn pdu(&mut self, frame: &Frame<'_>) -> Result<(), LoadError> {
        let h = &frame.header;
        self.sequence.update_window(h)?;
        match h.opcode() {
            opcode::DATA_IN => self.data_in(h, frame.data),
            opcode::SCSI_RESPONSE => {
                self.task(h)?.transfer.exp_data_sn(h)?;
                self.end(h, h.response(), sense(frame.data))
            }
            opcode::R2T => {
                let max_burst = self.params.max_burst_length;
                let task = self.task(h)?;
                let (operation, part) = (task.operation, task.transfer.r2t(h, max_burst)?);
                self.data_out(h.itt(), &operation, part);
                Ok(())
            }
            opcode::NOP_IN => {
                self.pong(h);
                Ok(())
            }
            opcode::TASK_MANAGEMENT_RESPONSE => {
                self.sequence.advance_stat_sn(h)?;
                self.task_management_done(h)
            }
            opcode => {
                let detail = format!(", reason or event {:#04x}", h.response());
                Err(Violation::Unexpected { opcode, detail }.into())
            }
        }
    }

    fn pong(&mut self, ping: &Header) {
        if ping.ttt() == RESERVED_TAG {
            return;
        }
        let mut h = Header::new(opcode::NOP_OUT | 0x40);
        h.put_flags(0x80)
            .put_lun(ping.lun())
            .put_word(16, RESERVED_TAG)
            .put_word(20, ping.ttt())
            .put_word(24, self.sequence.cmd_sn)
            .put_word(28, self.sequence.exp_stat_sn);
        self.transmit.push(&h, Payload::None, &[], NO_DIGESTS);
    }

    fn data_in(&mut self, h: &Header, data: &[u8]) -> Result<(), LoadError> {
        let task = self.task(h)?;
        let offset = task.transfer.data_in(h, data.len())?;
        let operation = task.operation;
        match operation.kind {
            Kind::Read => {
                let compared = self.area.check(&operation, offset as usize, data)?;
                self.tally.verified += compared;
            }
            kind => self.said_again(kind, data),
        }
        if h.flags() & 1 != 0 {
            return self.end(h, 0, None);
        }
        Ok(())
    }

    /// INQUIRY and READ CAPACITY say the same each time.
    fn said_again(&mut self, kind: Kind, data: &[u8]) {
        let [inquiry, capacity] = &mut self.said;
        let said = if kind == Kind::Inquiry {
            inquiry
        } else {
            capacity
        };
        if said.is_empty() {
            said.extend_from_slice(data);
        } else if said != data {
            let text = format!("{} said something else than before", kind.name());
            self.tally.failed(text);
        }
    }

    fn end(
        &mut self,
        h: &Header,
        response: u8,
        sense: Option<(u8, u8, u8)>,
    ) -> Result<(), LoadError> {
        self.sequence.advance_stat_sn(h)?;
        let task = *self.task(h)?;
        let kind = task.operation.kind;
        let good = response == 0 && h.status() == 0;
        task.transfer.finish(h, good)?;
        if response != 0 || !choice::is_expected(kind, h.status(), sense) {
            self.tally.failed(format!(
                "{} at block {} of {}: response {response:#04x}, status {:#04x}, sense {sense:02x?}",
                kind.name(),
                task.operation.start,
                task.operation.blocks,
                h.status()
            ));
        }
        self.release(task.tag, good);
        self.tally.ended += 1;
        if let Some(n) = self.tally.kinds.get_mut(kind as usize) {
            *n += 1;
        }
        Ok(())
    }

    /// The command's place and blocks are free again; `certain` says that its effect is there as a whole.
    pub(super) fn release(&mut self, tag: u32, certain: bool) {
        let place = (tag & ((1 << PLACE_BITS) - 1)) as usize;
        let Some(task) = self.tasks.get_mut(place) else {
            return;
        };
        task.live = false;
        let operation = task.operation;
        self.free.push(place);
        let zero = self.abilities.unmapped_is_zero;
        self.area.ended(&operation, certain, zero);
    }

    /// Ends the session by RST: the orderly way is another scenario's.
    pub(super) fn logout(self) {
        reset(&self.stream);
    }
}

/// Sense key, ASC and ASCQ of a SCSI Response's data.
fn sense(data: &[u8]) -> Option<(u8, u8, u8)> {
    let sense = data.get(2..)?;
    match sense.first()? & 0x7f {
        0x70 | 0x71 => Some((sense.get(2)? & 0x0f, *sense.get(12)?, *sense.get(13)?)),
        _ => Some((sense.get(1)? & 0x0f, *sense.get(2)?, *sense.get(3)?)),
    }
}
