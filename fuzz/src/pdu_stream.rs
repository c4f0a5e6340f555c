//! A connection in full feature phase, driven as a caller drives it, fed arbitrary bytes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lunforge_iscsi::proto::connection::{
    Answer, Command, Connection, ConnectionParams, Event, Payload, Step, TxPayload,
};
use lunforge_iscsi::proto::digest::crc32c;
use lunforge_iscsi::proto::pdu::{
    BHS_LEN, DIGEST_LEN, MAX_HEADER_LEN, ahs_len, data_segment_len, pad_len,
};
use lunforge_iscsi::proto::session::{
    MAX_IMMEDIATE, MAX_QUEUED_COMMANDS, Session, SessionParams, serial_lt,
};
use lunforge_iscsi::proto::task::TaskKey;

/// Most that is staged at a time; has to hold the longest header.
const STAGE: usize = 4096;

/// Bytes 0 to 3 choose what was negotiated, how input is split, what the device does and how output drains;
/// the rest is the stream.
pub fn pdu_stream(bytes: &[u8]) {
    let Some((&[negotiated, split, device, drain], stream)) = bytes.split_first_chunk() else {
        return;
    };
    let mut driver = Driver::new(negotiated, device, drain);
    let mut stream = stream.to_vec();
    if device & 0x80 != 0 {
        repair_digests(&mut stream, negotiated & 0x01 != 0, negotiated & 0x02 != 0);
    }
    let chunk = if split == 0 {
        STAGE
    } else {
        usize::from(split)
    };
    let mut staged = Vec::new();
    for part in stream.chunks(chunk) {
        staged.extend_from_slice(part);
        // What is left is an incomplete header at most.
        while driver.run(&mut staged) {}
        assert!(
            driver.connection.closed().is_some() || driver.stalled || staged.len() < MAX_HEADER_LEN
        );
        if driver.over {
            break;
        }
    }
    driver.end();
}

/// Makes the digests right, so that mutated PDUs get past them.
fn repair_digests(stream: &mut [u8], header: bool, data: bool) {
    let mut rest = stream;
    while let Some(bhs) = rest.first_chunk::<BHS_LEN>() {
        let (head_len, data_len) = (BHS_LEN + ahs_len(bhs), data_segment_len(bhs));
        let padded = data_len as usize + usize::from(pad_len(data_len));
        let Some((head, tail)) = rest.split_at_mut_checked(head_len) else {
            return;
        };
        let Some(tail) = repair(head, tail, header) else {
            return;
        };
        let Some((segment, tail)) = tail.split_at_mut_checked(padded) else {
            return;
        };
        let Some(tail) = repair(segment, tail, data && padded > 0) else {
            return;
        };
        rest = tail;
    }
}

/// Writes the digest of `covered` to the start of `tail`; what follows it.
fn repair<'a>(covered: &[u8], tail: &'a mut [u8], enabled: bool) -> Option<&'a mut [u8]> {
    if !enabled {
        return Some(tail);
    }
    let (digest, rest) = tail.split_first_chunk_mut::<DIGEST_LEN>()?;
    *digest = crc32c(covered);
    Some(rest)
}

/// What the device knows about a command.
#[derive(Default)]
struct Known {
    wanted: u32,
    received: u64,
    complete: bool,
    expected_in: u32,
}

struct Driver {
    session: Session,
    connection: Connection,
    now: Instant,
    device: u8,
    drain: u8,
    /// Commands not answered, by the raw key of their task.
    known: HashMap<u64, Known>,
    waiting: Vec<TaskKey>,
    functions: Vec<TaskKey>,
    max_cmd_sn: u32,
    events: u32,
    stalled: bool,
    over: bool,
}

impl Driver {
    fn new(negotiated: u8, device: u8, drain: u8) -> Self {
        let bit = |mask: u8| negotiated & mask != 0;
        let now = Instant::now();
        let params = SessionParams {
            discovery: bit(0x04),
            initial_r2t: bit(0x08),
            immediate_data: !bit(0x10),
            max_burst_length: if bit(0x20) { 512 } else { 65_536 },
            first_burst_length: if bit(0x20) { 512 } else { 8192 },
            max_outstanding_r2t: if bit(0x40) { 4 } else { 1 },
            queued_commands: if bit(0x80) { 4 } else { 64 },
            ..SessionParams::default()
        };
        let connection = ConnectionParams {
            header_digest: bit(0x01),
            data_digest: bit(0x02),
            max_recv_data_segment_length: 8192,
            max_xmit_data_segment_length: if bit(0x20) { 512 } else { 8192 },
            ..ConnectionParams::default()
        };
        let mut session = Session::new(params, 1);
        Self {
            max_cmd_sn: session.max_cmd_sn(),
            session,
            connection: Connection::new(connection, 1, now),
            now,
            device,
            drain,
            known: HashMap::new(),
            waiting: Vec::new(),
            functions: Vec::new(),
            events: 0,
            stalled: false,
            over: false,
        }
    }

    /// One step of the engine; false when it wants more bytes or is over.
    fn run(&mut self, staged: &mut Vec<u8>) -> bool {
        let Step { consumed, event } = self.connection.next(&mut self.session, staged, self.now);
        assert!(consumed <= staged.len());
        staged.drain(..consumed);
        self.events = self.events.wrapping_add(1);
        self.now += Duration::from_millis(u64::from(self.drain >> 4) * 100);
        self.stalled = false;
        let go_on = self.react(event, staged);
        self.check();
        if self.events.is_multiple_of(8) {
            self.connection.handle_timeout(&mut self.session, self.now);
        }
        go_on
    }

    fn react(&mut self, event: Event, staged: &mut Vec<u8>) -> bool {
        match event {
            Event::NeedBytes => return false,
            Event::Closed(close) => {
                assert_eq!(self.connection.closed(), Some(close));
                assert!(staged.is_empty());
                self.over = true;
                return false;
            }
            Event::Command(command) => self.command(&command),
            Event::AwaitDecision(task) => {
                assert!(self.waiting.contains(&task), "no decision is due");
                self.decide(task);
            }
            Event::Payload(payload) => {
                assert_eq!(self.connection.payload(&self.session), Some(payload));
                return self.payload(payload, staged);
            }
            Event::DataComplete(task) => {
                let known = self
                    .known
                    .get_mut(&task.to_u64())
                    .expect("a task not answered");
                assert!(!known.complete && known.wanted > 0);
                assert_eq!(known.received, u64::from(known.wanted));
                known.complete = true;
                self.answer(task);
            }
            Event::TransferFailed { task, asc, ascq } => {
                assert!(asc != 0);
                let sense = [
                    0x70, 0, 0x0b, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq, 0, 0, 0, 0,
                ];
                let answer = Answer {
                    status: 2,
                    sense: &sense,
                    ..Answer::default()
                };
                self.forget(task);
                self.connection.respond(&mut self.session, task, &answer);
            }
            Event::TaskManagement(request) => {
                if let Some(task) = request.referenced {
                    assert!(self.session.initiator_task_tag(task).is_some());
                    self.forget(task);
                    self.connection.abandon(&mut self.session, task);
                }
                if self.device & 0x20 != 0 {
                    self.functions.push(request.task);
                } else {
                    self.connection
                        .respond_task_management(&mut self.session, request.task, 0);
                }
            }
            Event::Text(text) if self.device & 0x40 != 0 => {
                self.connection
                    .answer_text(&mut self.session, text.repeat(3));
            }
            Event::Text(_) => self.connection.reject_text(&mut self.session),
            Event::Logout => {
                self.known.clear();
                self.waiting.clear();
                self.connection.complete_logout(&mut self.session);
                assert_eq!(self.session.tasks_in_flight(), self.sending());
            }
            Event::Congested => {
                assert!(self.connection.has_output());
                self.flush(usize::MAX);
                self.answer_all();
                self.flush(usize::MAX);
                // Nothing can be in the way any more.
                let Step { consumed, event } =
                    self.connection.next(&mut self.session, &[], self.now);
                assert!(consumed == 0 && !matches!(event, Event::Congested));
                return self.react(event, staged);
            }
        }
        self.flush(usize::from(self.drain & 0x0f) * 64);
        true
    }

    fn command(&mut self, command: &Command) {
        assert!(!self.session.params().discovery);
        let known = Known {
            expected_in: command.expected_in,
            ..Known::default()
        };
        assert!(self.known.insert(command.task.to_u64(), known).is_none());
        match self.device & 0x03 {
            // Decides at once, later, when it has to, or refuses.
            0 => self.decide(command.task),
            1 if command.header.itt.is_multiple_of(2) => self.decide(command.task),
            3 if command.header.itt % 3 == 1 => self.answer(command.task),
            _ => self.waiting.push(command.task),
        }
    }

    fn decide(&mut self, task: TaskKey) {
        self.waiting.retain(|other| *other != task);
        let Some(known) = self.known.get_mut(&task.to_u64()) else {
            return;
        };
        let wanted = if self.device & 0x04 != 0 {
            700
        } else {
            u32::MAX
        };
        known.wanted = self
            .connection
            .accept_data(&mut self.session, task, wanted, self.now);
        if known.wanted == 0 {
            self.answer(task);
        }
    }

    fn payload(&mut self, payload: Payload, staged: &mut Vec<u8>) -> bool {
        let known = self
            .known
            .get_mut(&payload.task.to_u64())
            .expect("a task not answered");
        assert!(payload.len > 0 && !known.complete);
        assert!(
            payload
                .offset
                .checked_add(payload.len)
                .is_some_and(|end| end <= known.wanted)
        );
        if staged.is_empty() {
            return false;
        }
        let take = staged.len().min(payload.len as usize);
        known.received += take as u64;
        if self.connection.needs_payload_bytes() || self.device & 0x08 != 0 {
            self.connection.payload_chunk(&staged[..take]);
        } else {
            self.connection.payload_taken(take as u32);
        }
        staged.drain(..take);
        true
    }

    fn answer(&mut self, task: TaskKey) {
        let Some(known) = self.known.get(&task.to_u64()) else {
            return;
        };
        let expected_in = known.expected_in;
        let complete = known.complete || known.wanted == 0;
        self.forget(task);
        let sense = [0x72, 5, 0x24, 0, 0, 0, 0, 0];
        let good = Answer {
            data_in: expected_in.min(20_000),
            total_in: u64::from(expected_in / 2),
            ..Answer::default()
        };
        let bad = Answer {
            status: 2,
            sense: &sense,
            ..Answer::default()
        };
        let answer = if self.device & 0x10 != 0 || !complete {
            &bad
        } else {
            &good
        };
        self.connection.respond(&mut self.session, task, answer);
        // A second answer of the same task finds nothing.
        let sent = self.connection.statistics().pdus_sent;
        assert!(!self.connection.respond(&mut self.session, task, &bad) || answer.data_in > 0);
        assert!(self.connection.statistics().pdus_sent >= sent);
    }

    fn answer_all(&mut self) {
        for task in std::mem::take(&mut self.waiting) {
            self.answer(task);
        }
        for task in std::mem::take(&mut self.functions) {
            self.connection
                .respond_task_management(&mut self.session, task, 0);
        }
    }

    fn forget(&mut self, task: TaskKey) {
        self.known.remove(&task.to_u64());
        self.waiting.retain(|other| *other != task);
    }

    /// Tasks whose answer is being sent or waits for the end of their unsolicited data.
    fn sending(&self) -> usize {
        self.session.tasks_in_flight() - self.known.len().min(self.session.tasks_in_flight())
    }

    /// What is on its way out is well formed; sends `room` bytes of it.
    fn flush(&mut self, room: usize) {
        let mut room = room;
        loop {
            self.connection.fill(&mut self.session);
            self.connection
                .seal(|_, range, crc| crc.update(&vec![0; range.len()]));
            let mut wire = 0;
            for pdu in self.connection.ready() {
                let head = pdu.head();
                assert!(head.len() == BHS_LEN || head.len() == BHS_LEN + 4);
                assert!(head[0] & 0x20 != 0, "an opcode of a target");
                let len = u32::from_be_bytes([0, head[5], head[6], head[7]]);
                assert_eq!(len as usize, pdu.data_len());
                assert_eq!(pdu.wire_len() % 4, 0);
                if matches!(pdu.data(), TxPayload::Task { len: 0, .. }) {
                    panic!("an empty range");
                }
                let max = u32::from_be_bytes([head[32], head[33], head[34], head[35]]);
                assert!(!serial_lt(max, self.max_cmd_sn), "MaxCmdSN went back");
                self.max_cmd_sn = max;
                wire += pdu.wire_len();
            }
            let sent = room.min(wire - self.connection.front_sent());
            self.connection
                .sent(&mut self.session, sent, self.now, |_| ());
            room -= sent;
            // The window is looked at in order of sending; what is ready already is not news.
            self.max_cmd_sn = self
                .connection
                .ready()
                .next()
                .map_or(self.max_cmd_sn, |pdu| {
                    let head = pdu.head();
                    u32::from_be_bytes([head[32], head[33], head[34], head[35]])
                });
            if sent == 0 || room == 0 || !self.connection.has_output() {
                return;
            }
        }
    }

    fn check(&mut self) {
        let most = (MAX_QUEUED_COMMANDS + MAX_IMMEDIATE) as usize * 4;
        assert!(self.session.tasks_in_flight() <= most);
        assert!(self.known.len() <= self.session.tasks_in_flight());
        let _ = self.connection.next_timeout();
    }

    /// Ends the connection as a caller does: every task is told, nothing is left.
    fn end(mut self) {
        self.answer_all();
        self.flush(usize::MAX);
        self.connection.close();
        let keys: Vec<_> = self.session.task_keys().collect();
        for key in keys {
            self.connection.abandon(&mut self.session, key);
        }
        assert_eq!(
            self.session.tasks_in_flight(),
            self.session.task_keys().count()
        );
        let Step { event, .. } = self.connection.next(&mut self.session, &[0; 64], self.now);
        assert!(matches!(event, Event::Closed(_)));
    }
}
