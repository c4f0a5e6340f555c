//! The transmit side: queued answers become PDUs with inline headers and ranges of task buffers.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Connection, digest_len};
use crate::proto::digest::{Crc32c, crc32c};
use crate::proto::pdu::scsi_response::Residual;
use crate::proto::pdu::{
    BHS_LEN, Bhs, DIGEST_LEN, DataIn, RESERVED_TAG, data_segment_len, opcode, pad_len,
};
use crate::proto::session::Session;
use crate::proto::task::TaskKey;
use crate::record::Tap;

/// PDUs made ready at a time: two I/O vectors each and some to spare stay below IOV_MAX.
const MAX_READY: usize = 128;

/// Data segment of a PDU to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxPayload {
    /// No data.
    None,
    /// Bytes `offset..offset + len` of the task's buffer.
    Task {
        /// The task.
        task: TaskKey,
        /// Offset in its buffer.
        offset: u32,
        /// Length in bytes.
        len: u32,
    },
    /// Bytes held here.
    Own(Vec<u8>),
}

/// One PDU ready to be sent: header, data, then padding and digest.
#[derive(Debug)]
pub struct ReadyPdu {
    head: [u8; BHS_LEN + DIGEST_LEN],
    head_len: u8,
    tail: [u8; 3 + DIGEST_LEN],
    tail_len: u8,
    pad: u8,
    sealed: bool,
    data: TxPayload,
    finishes: Option<TaskKey>,
}

impl ReadyPdu {
    fn new(bhs: Bhs, data: TxPayload, finishes: Option<TaskKey>, digests: (bool, bool)) -> Self {
        let (header_digest, data_digest) = digests;
        let mut head = [0; BHS_LEN + DIGEST_LEN];
        let (header, digest) = head.split_at_mut(BHS_LEN);
        header.copy_from_slice(&bhs);
        if header_digest {
            digest.copy_from_slice(&crc32c(&bhs));
        }
        let pad = pad_len(data_segment_len(&bhs));
        let with_digest = data_digest && data != TxPayload::None;
        Self {
            head,
            head_len: (BHS_LEN + digest_len(header_digest)) as u8,
            tail: [0; 3 + DIGEST_LEN],
            tail_len: pad + digest_len(with_digest) as u8,
            pad,
            sealed: !with_digest,
            data,
            finishes,
        }
    }

    /// Header and its digest.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.head
            .get(..usize::from(self.head_len))
            .unwrap_or_default()
    }

    /// The data segment.
    #[must_use]
    pub fn data(&self) -> &TxPayload {
        &self.data
    }

    /// Padding and data digest.
    #[must_use]
    pub fn tail(&self) -> &[u8] {
        self.tail
            .get(..usize::from(self.tail_len))
            .unwrap_or_default()
    }

    /// Bytes of the data segment.
    #[must_use]
    pub fn data_len(&self) -> usize {
        match &self.data {
            TxPayload::None => 0,
            TxPayload::Task { len, .. } => *len as usize,
            TxPayload::Own(bytes) => bytes.len(),
        }
    }

    /// All bytes of the PDU.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        usize::from(self.head_len) + self.data_len() + usize::from(self.tail_len)
    }

    /// A NOP-In with the tag of a NOP-Out.
    fn answers_ping(&self) -> bool {
        self.head[0] & 0x3f == opcode::NOP_IN && self.head[16..20] != RESERVED_TAG.to_be_bytes()
    }

    fn seal(&mut self, data: &mut impl FnMut(TaskKey, Range<usize>, &mut Crc32c)) {
        let mut crc = Crc32c::default();
        match &self.data {
            TxPayload::None => {}
            TxPayload::Task { task, offset, len } => {
                let start = *offset as usize;
                data(*task, start..start + *len as usize, &mut crc);
            }
            TxPayload::Own(bytes) => crc.update(bytes),
        }
        let (padding, rest) = self.tail.split_at_mut(usize::from(self.pad.min(3)));
        crc.update(padding);
        if let Some(digest) = rest.first_chunk_mut() {
            *digest = crc.finish();
        }
        self.sealed = true;
    }
}

/// A read's data, cut into PDUs as they are made ready.
#[derive(Debug)]
pub(super) struct DataInJob {
    task: TaskKey,
    itt: u32,
    offset: u32,
    end: u32,
    data_sn: u32,
    max_burst: u32,
    burst_left: u32,
    status: Option<(u8, Residual, u32)>,
}

impl DataInJob {
    pub(super) fn new(
        task: TaskKey,
        itt: u32,
        len: u32,
        max_burst: u32,
        status: Option<(u8, Residual, u32)>,
    ) -> Self {
        let max_burst = max_burst.max(512);
        Self {
            task,
            itt,
            offset: 0,
            end: len,
            data_sn: 0,
            max_burst,
            burst_left: max_burst,
            status,
        }
    }

    /// Number of PDUs the data takes.
    pub(super) fn pdu_count(&self, max_segment: u32) -> u32 {
        let max_segment = max_segment.max(512);
        let len = self.end - self.offset;
        let (bursts, rest) = (len / self.max_burst, len % self.max_burst);
        bursts * self.max_burst.div_ceil(max_segment) + rest.div_ceil(max_segment)
    }

    /// The next PDU; `None` after the last.
    fn next(&mut self, max_segment: u32) -> Option<(Bhs, TxPayload, Option<TaskKey>)> {
        let left = self.end - self.offset;
        if left == 0 {
            return None;
        }
        let len = left.min(max_segment.max(512)).min(self.burst_left);
        let last = len == left;
        let status = self.status.filter(|_| last);
        let pdu = DataIn {
            is_final: last || len == self.burst_left,
            status: status.map(|(status, residual, _)| (status, residual)),
            data_segment_length: len,
            lun: [0; 8],
            itt: self.itt,
            ttt: RESERVED_TAG,
            stat_sn: status.map_or(0, |(_, _, stat_sn)| stat_sn),
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            data_sn: self.data_sn,
            buffer_offset: self.offset,
        };
        let data = TxPayload::Task {
            task: self.task,
            offset: self.offset,
            len,
        };
        self.offset += len;
        self.data_sn = self.data_sn.wrapping_add(1);
        self.burst_left -= len;
        if self.burst_left == 0 {
            self.burst_left = self.max_burst;
        }
        Some((pdu.emit(), data, status.map(|_| self.task)))
    }
}

#[derive(Debug)]
enum Job {
    Pdu {
        bhs: Bhs,
        data: TxPayload,
        finishes: Option<TaskKey>,
    },
    DataIn(DataInJob),
}

#[derive(Debug, Default)]
pub(super) struct Transmit {
    jobs: VecDeque<Job>,
    ready: VecDeque<ReadyPdu>,
    /// Bytes of the first ready PDU that are sent.
    front_sent: usize,
    /// Ready PDUs that the recorder has seen.
    recorded: usize,
    own_bytes: usize,
    /// Answers to pings that are not sent.
    pings: usize,
    /// Tasks whose buffer is still being sent.
    sending: usize,
}

impl Transmit {
    /// Bytes of memory: own data, and what each waiting PDU takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.own_bytes
            + self.jobs.len() * size_of::<Job>()
            + self.ready.len() * size_of::<ReadyPdu>()
    }
}

impl Connection {
    pub(super) fn send_header(&mut self, session: &mut Session, bhs: Bhs) {
        self.send(session, bhs, Vec::new(), None);
    }

    pub(super) fn send(
        &mut self,
        session: &mut Session,
        bhs: Bhs,
        data: Vec<u8>,
        finishes: Option<TaskKey>,
    ) {
        self.tx.own_bytes += data.len();
        let data = if data.is_empty() {
            TxPayload::None
        } else {
            TxPayload::Own(data)
        };
        self.tx.jobs.push_back(Job::Pdu {
            bhs,
            data,
            finishes,
        });
        self.fill(session);
    }

    pub(super) fn send_data_in(&mut self, session: &mut Session, job: DataInJob) {
        self.tx.sending += 1;
        self.tx.jobs.push_back(Job::DataIn(job));
        self.fill(session);
    }

    /// Whether no more input should be taken until output has drained.
    pub(super) fn congested(&self, session: &Session) -> bool {
        let (tx, limits) = (&self.tx, &self.params.limits);
        tx.own_bytes > limits.output_bytes
            || tx.jobs.len() + tx.ready.len() > limits.output_pdus
            || tx.pings > limits.pings
            || self.tx.sending > session.params().queued_commands.max(32) as usize * 2
    }

    /// Sends the answer to a ping.
    pub(super) fn send_ping_answer(&mut self, session: &mut Session, bhs: Bhs, data: Vec<u8>) {
        self.tx.pings += 1;
        self.send(session, bhs, data, None);
    }

    /// Makes PDUs of what is queued, as many as one call to the socket takes.
    pub fn fill(&mut self, session: &mut Session) {
        while self.tx.ready.len() < MAX_READY {
            let Some(job) = self.tx.jobs.front_mut() else {
                return;
            };
            let (bhs, data, finishes) = match job {
                Job::Pdu {
                    bhs,
                    data,
                    finishes,
                } => {
                    let pdu = (
                        *bhs,
                        std::mem::replace(data, TxPayload::None),
                        finishes.take(),
                    );
                    self.tx.jobs.pop_front();
                    pdu
                }
                Job::DataIn(job) => match job.next(self.params.max_xmit_data_segment_length) {
                    Some(pdu) => pdu,
                    None => {
                        self.tx.jobs.pop_front();
                        continue;
                    }
                },
            };
            self.make_ready(session, bhs, data, finishes);
        }
    }

    fn make_ready(
        &mut self,
        session: &mut Session,
        mut bhs: Bhs,
        data: TxPayload,
        finishes: Option<TaskKey>,
    ) {
        // ExpCmdSN and MaxCmdSN stand in the same place in every target PDU (RFC 7143 §11).
        if let Some(window) = bhs.get_mut(28..36) {
            let (exp, max) = window.split_at_mut(4);
            exp.copy_from_slice(&session.exp_cmd_sn().to_be_bytes());
            max.copy_from_slice(&session.max_cmd_sn().to_be_bytes());
        }
        self.statistics.pdus_sent += 1;
        let digests = (self.params.header_digest, self.params.data_digest);
        let pdu = ReadyPdu::new(bhs, data, finishes, digests);
        self.statistics.data_sent += pdu.data_len() as u64;
        self.tx.ready.push_back(pdu);
    }

    /// Computes the data digests that are missing; `data` feeds the range of a task's buffer to the
    /// CRC. Does nothing on a connection without data digest.
    pub fn seal(&mut self, mut data: impl FnMut(TaskKey, Range<usize>, &mut Crc32c)) {
        if self.params.data_digest {
            self.tx
                .ready
                .iter_mut()
                .filter(|pdu| !pdu.sealed)
                .for_each(|pdu| pdu.seal(&mut data));
        }
    }

    /// Shows the PDUs that are ready to the recorder, each once; `data` has to give it the range of a task's buffer by
    /// [`Tap::sent_part`]. To be called after [`Connection::seal`]. Does nothing on a connection that is not recorded.
    #[inline]
    pub fn show(
        &mut self,
        now: std::time::Instant,
        mut data: impl FnMut(TaskKey, Range<usize>, &mut Tap),
    ) {
        let Some(tap) = &mut self.tap else { return };
        for pdu in self.tx.ready.iter().skip(self.tx.recorded) {
            let wanted = tap.sending(now, pdu.head(), pdu.data_len(), pdu.wire_len());
            match &pdu.data {
                TxPayload::None => {}
                TxPayload::Own(bytes) => tap.sent_part(bytes.get(..wanted).unwrap_or_default()),
                TxPayload::Task { task, offset, .. } => {
                    let start = *offset as usize;
                    data(*task, start..start + wanted, tap);
                }
            }
            if wanted == pdu.data_len() {
                tap.sent_part(pdu.tail());
            }
        }
        self.tx.recorded = self.tx.ready.len();
    }

    /// PDUs to send, in order.
    pub fn ready(&self) -> impl Iterator<Item = &ReadyPdu> {
        self.tx.ready.iter()
    }

    /// Whether anything waits to be sent.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.tx.ready.is_empty() || !self.tx.jobs.is_empty()
    }

    /// Bytes of the first ready PDU that are sent already.
    #[must_use]
    pub fn front_sent(&self) -> usize {
        self.tx.front_sent
    }

    /// Takes note that `bytes` more bytes were sent; `finished` is told each task whose buffer is no
    /// longer needed.
    pub fn sent(
        &mut self,
        session: &mut Session,
        bytes: usize,
        now: std::time::Instant,
        mut finished: impl FnMut(TaskKey),
    ) {
        let mut left = self.tx.front_sent + bytes;
        while let Some(pdu) = self.tx.ready.front().filter(|pdu| pdu.wire_len() <= left) {
            left -= pdu.wire_len();
            if let TxPayload::Own(bytes) = &pdu.data {
                self.tx.own_bytes -= bytes.len();
            }
            if pdu.answers_ping() {
                self.tx.pings = self.tx.pings.saturating_sub(1);
            }
            if let Some(task) = pdu.finishes {
                self.tx.sending -= 1;
                session.remove(task);
                finished(task);
            }
            self.tx.ready.pop_front();
            self.tx.recorded = self.tx.recorded.saturating_sub(1);
        }
        self.tx.front_sent = left;
        self.timers.sent(now);
        self.fill(session);
    }
}
