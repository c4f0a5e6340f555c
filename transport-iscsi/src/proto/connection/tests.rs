//! Rules of the full feature phase, one connection at a time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::*;
use crate::proto::digest::crc32c;
use crate::proto::pdu::{
    self, DataIn, DataOut, LogoutRequest, LogoutResponse, NopIn, NopOut, R2t, RESERVED_TAG, Reject,
    ScsiResponse, Snack, TaskAttribute, TaskManagementRequest, TaskManagementResponse, TextRequest,
    TextResponse, opcode,
};
use crate::proto::session::SessionParams;

mod data_in;
mod data_out;
mod digests;
mod negative;
mod requests;
mod timers;
mod window;

const LUN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

/// An event without its payload, which the bench has put in its place.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Command(u32),
    Complete(u32),
    Failed(u32, u8, u8),
    TaskManagement(u8, Option<u32>),
    Text(Vec<u8>),
    Logout,
    Congested,
    Closed(Close),
}

/// What a test expects to be sent: header and data segment.
type Sent = (Bhs, Vec<u8>);

/// An engine with a caller that keeps buffers and takes all data unless told otherwise.
struct Bench {
    session: Session,
    conn: Connection,
    now: Instant,
    keys: HashMap<u32, TaskKey>,
    buffers: HashMap<TaskKey, Vec<u8>>,
    /// Bytes of Data-Out that commands want; `None` decides nothing.
    wanted: Option<u32>,
    staged: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_, _| {})
    }

    fn with(change: impl FnOnce(&mut SessionParams, &mut ConnectionParams)) -> Self {
        let mut session = SessionParams {
            initial_r2t: false,
            max_burst_length: 4096,
            first_burst_length: 2048,
            max_outstanding_r2t: 1,
            queued_commands: 4,
            ..SessionParams::default()
        };
        let mut connection = ConnectionParams {
            max_recv_data_segment_length: 4096,
            max_xmit_data_segment_length: 1024,
            ..ConnectionParams::default()
        };
        change(&mut session, &mut connection);
        let now = Instant::now();
        Self {
            session: Session::new(session, 1),
            conn: Connection::new(connection, 100, now),
            now,
            keys: HashMap::new(),
            buffers: HashMap::new(),
            wanted: Some(u32::MAX),
            staged: Vec::new(),
        }
    }

    /// Feeds bytes; returns what happened.
    fn feed(&mut self, bytes: &[u8]) -> Vec<Seen> {
        self.staged.extend_from_slice(bytes);
        let staged = std::mem::take(&mut self.staged);
        let (mut done, mut seen) = (0, Vec::new());
        loop {
            let step = self.conn.next(&mut self.session, &staged[done..], self.now);
            done += step.consumed;
            match step.event {
                Event::NeedBytes | Event::AwaitDecision(_) => break,
                Event::Congested => {
                    seen.push(Seen::Congested);
                    break;
                }
                Event::Closed(close) => {
                    seen.push(Seen::Closed(close));
                    break;
                }
                Event::Payload(payload) => {
                    let take = (staged.len() - done).min(payload.len as usize);
                    if take == 0 {
                        break;
                    }
                    let bytes = &staged[done..done + take];
                    let start = payload.offset as usize;
                    let buffer = self.buffers.get_mut(&payload.task).expect("accepted");
                    buffer[start..start + take].copy_from_slice(bytes);
                    self.conn.payload_chunk(bytes);
                    done += take;
                }
                Event::Command(command) => {
                    seen.push(Seen::Command(command.header.itt));
                    self.keys.insert(command.header.itt, command.task);
                    if let Some(wanted) = self.wanted.filter(|_| command.header.write) {
                        self.accept(command.header.itt, wanted);
                    }
                }
                Event::DataComplete(task) => seen.push(Seen::Complete(self.itt(task))),
                Event::TransferFailed { task, asc, ascq } => {
                    self.keys.insert(self.itt(task), task);
                    seen.push(Seen::Failed(self.itt(task), asc, ascq));
                }
                Event::TaskManagement(request) => {
                    self.keys.insert(self.itt(request.task), request.task);
                    let referenced = request.referenced.map(|task| self.itt(task));
                    seen.push(Seen::TaskManagement(request.function, referenced));
                }
                Event::Text(text) => seen.push(Seen::Text(text)),
                Event::Logout => seen.push(Seen::Logout),
            }
        }
        self.staged = staged[done..].to_vec();
        seen
    }

    fn itt(&self, task: TaskKey) -> u32 {
        self.session.initiator_task_tag(task).expect("a live task")
    }

    fn accept(&mut self, itt: u32, wanted: u32) -> u32 {
        let task = self.keys[&itt];
        let len = self
            .conn
            .accept_data(&mut self.session, task, wanted, self.now);
        self.buffers.insert(task, vec![0; len as usize]);
        len
    }

    fn buffer(&self, itt: u32) -> &[u8] {
        &self.buffers[&self.keys[&itt]]
    }

    fn answer(&mut self, itt: u32, answer: &Answer<'_>) -> bool {
        self.conn
            .respond(&mut self.session, self.keys[&itt], answer)
    }

    fn good(&mut self, itt: u32) {
        self.answer(itt, &Answer::default());
    }

    /// Answers a read with these bytes.
    fn good_read(&mut self, itt: u32, bytes: &[u8], total: u64) {
        self.buffers.insert(self.keys[&itt], bytes.to_vec());
        let data_in = bytes.len() as u32;
        self.answer(
            itt,
            &Answer {
                data_in,
                total_in: total,
                ..Answer::default()
            },
        );
    }

    /// Takes everything that is ready off the wire, digests checked.
    fn sent(&mut self) -> Vec<Sent> {
        let mut out = Vec::new();
        loop {
            let buffers = &self.buffers;
            self.conn
                .seal(|task, range, crc| crc.update(&buffers[&task][range]));
            let mut bytes = 0;
            for pdu in self.conn.ready() {
                let data = match pdu.data() {
                    TxPayload::None => Vec::new(),
                    TxPayload::Own(bytes) => bytes.clone(),
                    TxPayload::Task { task, offset, len } => {
                        let start = *offset as usize;
                        buffers[task][start..start + *len as usize].to_vec()
                    }
                };
                self.check_digests(pdu, &data);
                bytes += pdu.wire_len();
                out.push((*pdu.head().first_chunk().expect("a header"), data));
            }
            if bytes == 0 {
                return out;
            }
            let now = self.now;
            self.conn.sent(&mut self.session, bytes, now, |_| ());
        }
    }

    fn check_digests(&self, pdu: &ReadyPdu, data: &[u8]) {
        let params = self.conn.params();
        let head_len = BHS_LEN + if params.header_digest { 4 } else { 0 };
        assert_eq!(pdu.head().len(), head_len);
        if params.header_digest {
            assert_eq!(pdu.head()[BHS_LEN..], crc32c(&pdu.head()[..BHS_LEN]));
        }
        let pad = pdu::pad_len(data.len() as u32) as usize;
        if params.data_digest && !data.is_empty() {
            let mut padded = data.to_vec();
            padded.resize(data.len() + pad, 0);
            assert_eq!(pdu.tail()[pad..], crc32c(&padded));
        } else {
            assert_eq!(pdu.tail(), &[0; 3][..pad]);
        }
    }

    /// The only PDU ready to be sent.
    fn one(&mut self) -> Sent {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    fn response(&mut self) -> (ScsiResponse, Vec<u8>) {
        let (bhs, data) = self.one();
        assert_eq!(pdu::opcode_of(&bhs), opcode::SCSI_RESPONSE);
        (ScsiResponse::parse(&bhs).expect("legal"), data)
    }

    fn reject_reason(&mut self) -> u8 {
        let (bhs, data) = self.one();
        assert_eq!(
            (pdu::opcode_of(&bhs), data.len()),
            (opcode::REJECT, BHS_LEN)
        );
        Reject::parse(&bhs).expect("legal").reason
    }

    fn r2t(&mut self) -> R2t {
        let (bhs, _) = self.one();
        assert_eq!(pdu::opcode_of(&bhs), opcode::R2T);
        R2t::parse(&bhs).expect("legal")
    }
}

fn padded(bhs: Bhs, data: &[u8]) -> Vec<u8> {
    let mut out = bhs.to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn base(itt: u32, cmd_sn: u32) -> ScsiCommand {
    ScsiCommand {
        immediate: false,
        is_final: true,
        read: false,
        write: false,
        attribute: TaskAttribute::Simple,
        ahs_words: 0,
        data_segment_length: 0,
        lun: LUN,
        itt,
        expected_data_transfer_length: 0,
        cmd_sn,
        exp_stat_sn: 100,
        cdb: [0; 16],
    }
}

fn no_data(itt: u32, cmd_sn: u32) -> Vec<u8> {
    base(itt, cmd_sn).emit().to_vec()
}

fn read(itt: u32, cmd_sn: u32, len: u32) -> Vec<u8> {
    ScsiCommand {
        read: true,
        expected_data_transfer_length: len,
        ..base(itt, cmd_sn)
    }
    .emit()
    .to_vec()
}

/// A write of `len` bytes with this immediate data; `is_final` clear announces unsolicited data.
fn write(itt: u32, cmd_sn: u32, len: u32, immediate: &[u8], is_final: bool) -> Vec<u8> {
    let command = ScsiCommand {
        write: true,
        is_final,
        expected_data_transfer_length: len,
        data_segment_length: immediate.len() as u32,
        ..base(itt, cmd_sn)
    };
    padded(command.emit(), immediate)
}

fn data_out(itt: u32, ttt: u32, data_sn: u32, offset: u32, data: &[u8], is_final: bool) -> Vec<u8> {
    let pdu = DataOut {
        is_final,
        data_segment_length: data.len() as u32,
        lun: LUN,
        itt,
        ttt,
        exp_stat_sn: 100,
        data_sn,
        buffer_offset: offset,
    };
    padded(pdu.emit(), data)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}
