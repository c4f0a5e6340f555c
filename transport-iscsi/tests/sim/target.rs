//! The engine with a caller around it: a disk in memory that decides and completes in any order.

use std::collections::HashMap;
use std::time::Instant;

use lunforge_iscsi::proto::connection::{Answer, Connection, Event, TxPayload};
use lunforge_iscsi::proto::session::Session;
use lunforge_iscsi::proto::task::TaskKey;

use super::{Agreed, Rng};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Undecided,
    Receiving,
    Ready,
}

#[derive(Debug)]
struct Running {
    read: bool,
    write: bool,
    start: usize,
    actual: usize,
    expected_in: usize,
    buffer: Vec<u8>,
    state: State,
}

/// See the module's head.
pub(crate) struct Target {
    session: Session,
    conn: Connection,
    running: HashMap<TaskKey, Running>,
    /// Buffers of reads being sent.
    sending: HashMap<TaskKey, Vec<u8>>,
    functions: Vec<(TaskKey, Option<TaskKey>)>,
    staged: Vec<u8>,
}

impl Target {
    pub(crate) fn new(agreed: &Agreed, first: u32, now: Instant) -> Self {
        Self {
            session: Session::new(agreed.session.clone(), first),
            conn: Connection::new(agreed.connection.clone(), first, now),
            running: HashMap::new(),
            sending: HashMap::new(),
            functions: Vec::new(),
            staged: Vec::new(),
        }
    }

    pub(crate) fn tasks(&self) -> usize {
        self.session.tasks_in_flight()
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.running.is_empty() || !self.functions.is_empty() || self.conn.has_output()
    }

    pub(crate) fn timers(&mut self, now: Instant) {
        if self.conn.next_timeout().is_some_and(|at| at <= now) {
            self.conn.handle_timeout(&mut self.session, now);
        }
        assert_eq!(self.conn.closed(), None);
    }

    /// The connection is gone: what is left of it has to go too.
    pub(crate) fn lose(&mut self) {
        self.conn.close();
        let keys: Vec<_> = self.session.task_keys().collect();
        for key in keys {
            self.conn.abandon(&mut self.session, key);
        }
        assert_eq!(
            self.tasks(),
            self.sending.len(),
            "only what is being sent is left"
        );
        assert_eq!(self.conn.payload(&self.session), None);
    }

    pub(crate) fn receive(&mut self, bytes: Vec<u8>, rng: &mut Rng, now: Instant) {
        self.staged.extend(bytes);
        self.process(rng, now);
    }

    fn process(&mut self, rng: &mut Rng, now: Instant) {
        let staged = std::mem::take(&mut self.staged);
        let mut done = 0;
        loop {
            let step = self.conn.next(&mut self.session, &staged[done..], now);
            done += step.consumed;
            match step.event {
                Event::NeedBytes | Event::AwaitDecision(_) | Event::Congested => break,
                Event::Payload(payload) => {
                    let take = (staged.len() - done).min(payload.len as usize);
                    if take == 0 {
                        break;
                    }
                    let bytes = &staged[done..done + take];
                    let start = payload.offset as usize;
                    let running = self.running.get_mut(&payload.task).expect("a running task");
                    assert_eq!(
                        running.state,
                        State::Receiving,
                        "data for a task that is complete"
                    );
                    running.buffer[start..start + take].copy_from_slice(bytes);
                    self.conn.payload_chunk(bytes);
                    done += take;
                }
                Event::Command(command) => {
                    let word = |at: usize| {
                        u32::from_be_bytes(*command.header.cdb[at..].first_chunk().expect("four"))
                            as usize
                    };
                    let running = Running {
                        read: command.header.read,
                        write: command.header.write,
                        start: word(2),
                        actual: word(6),
                        expected_in: command.expected_in as usize,
                        buffer: Vec::new(),
                        state: if command.header.write {
                            State::Undecided
                        } else {
                            State::Ready
                        },
                    };
                    assert!(self.running.insert(command.task, running).is_none());
                    if !rng.one_in(4) {
                        self.decide(command.task, now);
                    }
                }
                Event::DataComplete(task) => {
                    let running = self.running.get_mut(&task).expect("a running task");
                    assert_eq!(running.state, State::Receiving);
                    running.state = State::Ready;
                }
                Event::TaskManagement(request) => {
                    self.functions.push((request.task, request.referenced));
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        self.staged = staged[done..].to_vec();
    }

    fn decide(&mut self, task: TaskKey, now: Instant) {
        let Some(running) = self
            .running
            .get_mut(&task)
            .filter(|r| r.state == State::Undecided)
        else {
            return;
        };
        let len = self
            .conn
            .accept_data(&mut self.session, task, running.actual as u32, now);
        running.buffer = vec![0; len as usize];
        running.state = if len == 0 {
            State::Ready
        } else {
            State::Receiving
        };
    }

    /// Decides on, completes or refuses a command, or ends a function.
    pub(crate) fn work(&mut self, rng: &mut Rng, disk: &mut [u8], now: Instant) {
        if !self.functions.is_empty() && rng.one_in(2) {
            let at = rng.below(self.functions.len());
            let (function, victim) = self.functions.swap_remove(at);
            return self.abort(function, victim);
        }
        if rng.one_in(10) {
            self.session.set_depth(rng.below(20) as u32);
        }
        let mut keys: Vec<_> = self.running.keys().copied().collect();
        keys.sort_by_key(|key| key.to_u64());
        if !keys.is_empty() {
            let key = rng.pick(&keys);
            match self.running[&key].state {
                State::Undecided if rng.one_in(6) => self.refuse(key),
                State::Undecided => self.decide(key, now),
                State::Receiving => {}
                State::Ready => self.complete(key, disk, rng.one_in(8)),
            }
        }
        self.process(rng, now);
    }

    fn abort(&mut self, function: TaskKey, victim: Option<TaskKey>) {
        let victim = victim.expect("only ABORT TASK is sent");
        // Its answer may have been given while the function waited.
        let code = if self.running.remove(&victim).is_some() {
            self.conn.abandon(&mut self.session, victim);
            0
        } else {
            1
        };
        self.conn
            .respond_task_management(&mut self.session, function, code);
    }

    fn refuse(&mut self, key: TaskKey) {
        self.running.remove(&key);
        let answer = Answer {
            status: 2,
            sense: &[0x70; 18],
            ..Answer::default()
        };
        assert!(!self.conn.respond(&mut self.session, key, &answer));
    }

    /// Ends a command; a read that fails sends its data and sense.
    fn complete(&mut self, key: TaskKey, disk: &mut [u8], fails: bool) {
        let running = self.running.remove(&key).expect("a running task");
        let total = running.actual as u64;
        if running.write {
            disk[running.start..][..running.buffer.len()].copy_from_slice(&running.buffer);
            let answer = Answer {
                total_out: total,
                ..Answer::default()
            };
            assert!(!self.conn.respond(&mut self.session, key, &answer));
            return;
        }
        let data = disk[running.start..][..running.actual].to_vec();
        let (status, sense): (u8, &[u8]) = if fails && running.read {
            (2, &[0x70; 18])
        } else {
            (0, &[])
        };
        let data_in = data.len() as u32;
        let answer = Answer {
            status,
            sense,
            data_in,
            total_in: total,
            ..Answer::default()
        };
        let sends = self.conn.respond(&mut self.session, key, &answer);
        assert_eq!(sends, running.expected_in > 0 && !data.is_empty());
        if sends {
            self.sending.insert(key, data);
        }
    }

    /// At most `room` bytes for the wire, which takes any part of a PDU.
    pub(crate) fn transmit(&mut self, room: usize, now: Instant) -> Vec<u8> {
        self.conn.fill(&mut self.session);
        let sending = &self.sending;
        self.conn
            .seal(|task, range, crc| crc.update(&sending[&task][range]));
        let mut wire = Vec::new();
        for pdu in self.conn.ready() {
            wire.extend_from_slice(pdu.head());
            match pdu.data() {
                TxPayload::None => {}
                TxPayload::Own(bytes) => wire.extend_from_slice(bytes),
                TxPayload::Task { task, offset, len } => {
                    let start = *offset as usize;
                    wire.extend_from_slice(&sending[task][start..start + *len as usize]);
                }
            }
            wire.extend_from_slice(pdu.tail());
            if wire.len() > room + self.conn.front_sent() {
                break;
            }
        }
        let out: Vec<u8> = wire
            .into_iter()
            .skip(self.conn.front_sent())
            .take(room)
            .collect();
        let sending = &mut self.sending;
        self.conn.sent(&mut self.session, out.len(), now, |task| {
            assert!(
                sending.remove(&task).is_some(),
                "a buffer is given back once"
            );
        });
        out
    }
}
