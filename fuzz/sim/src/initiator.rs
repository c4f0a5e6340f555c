//! An initiator port that follows the rules, and checks that its target does.
//!
//! It sees what the target sends the moment that is sent (see [`crate::wire`]); what it answers waits in its queue until
//! a step delivers it.

mod answer;
mod issue;
mod login;
mod manage;
mod receive;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lunforge::core::transport_id::TransportId;
use lunforge::iscsi::proto::digest::crc32c;
use lunforge::iscsi::proto::pdu::Bhs;
use parking_lot::Mutex;

use crate::chronicle::{Chronicle, Seq};
use crate::config::{Config, PortConfig};
use crate::model::{Model, SessionId};
use crate::wire::{Life, Wire};
use crate::world::ROOM;

pub(crate) use login::{SECRET, TARGET};

/// What the parts of a world share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) chronicle: Arc<Chronicle>,
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) config: Arc<Config>,
}

/// A command's part that its answer is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Read {
        lba: u64,
        blocks: usize,
    },
    Write {
        id: u32,
    },
    Compare {
        id: u32,
    },
    Synchronize,
    /// Nothing depends on the answer.
    Plain,
    RequestSense,
    ReportLuns,
    ModeSense,
    ModeSelect {
        modes: u8,
    },
    PrOut {
        action: u8,
        victim: usize,
    },
    Ping(Vec<u8>),
    Manage {
        function: u8,
        of: u32,
    },
    Logout,
}

#[derive(Clone)]
struct Task {
    what: What,
    unit: usize,
    cmd_sn: u32,
    sent: Seq,
    /// Place in the stream where its request ends, its header that is.
    header_end: u64,
    /// Place where its unsolicited data ends.
    unsolicited_end: u64,
    expected: usize,
    /// Data-In of a read that succeeds; for a write what it moves.
    actual: Option<usize>,
    data: Vec<u8>,
    read: Vec<u8>,
    data_sn: u32,
    r2t_sn: u32,
    /// INQUIRY and its like: no unit attention.
    exempt: bool,
    /// Its data has a wrong digest.
    damaged: bool,
    /// The target has surely begun it.
    began: Option<Seq>,
    /// When the target had read it, in virtual time; and turns of all shards since its time is over.
    seen: Option<u64>,
    late: u32,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            what, unit, sent, ..
        } = self;
        write!(
            f,
            "{what:?} to unit {unit}, sent at #{sent}, {} bytes out, {} in",
            self.data.len(),
            self.read.len()
        )
    }
}

impl Task {
    fn new(what: What, unit: usize, cmd_sn: u32, sent: Seq, expected: usize) -> Self {
        Self {
            what,
            unit,
            cmd_sn,
            sent,
            header_end: 0,
            unsolicited_end: 0,
            expected,
            actual: None,
            data: Vec::new(),
            read: Vec::new(),
            data_sn: 0,
            r2t_sn: 0,
            exempt: false,
            damaged: false,
            began: None,
            seen: None,
            late: 0,
        }
    }

    fn writes(&self) -> Option<u32> {
        match self.what {
            What::Write { id } | What::Compare { id } => Some(id),
            _ => None,
        }
    }

    fn is_command(&self) -> bool {
        !matches!(
            self.what,
            What::Ping(_) | What::Manage { .. } | What::Logout
        )
    }
}

/// What was negotiated.
#[derive(Debug, Clone, Default)]
struct Agreed {
    header_digest: bool,
    data_digest: bool,
    initial_r2t: bool,
    immediate_data: bool,
    max_burst: usize,
    first_burst: usize,
    /// What the target takes in a data segment.
    target_recv: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Out,
    /// Security, then operational negotiation.
    Login(login::Stage),
    Full,
}

/// A connection as its initiator has it.
#[derive(Debug)]
struct Link {
    wire: Wire,
    /// It was made with little room for what the target sends.
    slow: bool,
    /// Not delivered yet.
    out: VecDeque<u8>,
    /// Bytes ever put into `out`.
    queued: u64,
    input: Vec<u8>,
    /// Bytes of input used up, and where sends ended, in the same count.
    used: u64,
    marks: VecDeque<(u64, Seq)>,
    received: u64,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Initiator {
    pub(crate) index: usize,
    shared: Shared,
    config: PortConfig,
    pub(crate) port: TransportId,
    iqn: String,
    isid: [u8; 6],
    pub(crate) phase: Phase,
    link: Option<Link>,
    /// Streams that it let go of without an end.
    abandoned: Vec<Wire>,
    session: Option<SessionId>,
    agreed: Agreed,
    cmd_sn: u32,
    max_cmd_sn: u32,
    exp_cmd_sn: u32,
    /// Width of the command window at the login.
    window: u32,
    stat_sn: u32,
    tasks: BTreeMap<u32, Task>,
    unbegun: VecDeque<u32>,
    next_itt: u32,
    /// Control mode page of each unit as last read.
    control_pages: Vec<Option<Vec<u8>>>,
    login: login::State,
    pub(crate) logins: u32,
    /// Damaged data was sent: a Reject may come.
    rejects_due: u32,
}

impl Initiator {
    pub(crate) fn new(index: usize, shared: &Shared) -> Self {
        let config = shared.config.ports[index].clone();
        let iqn = format!("iqn.2026-11.org.example:host{}", config.iqn);
        let isid = [0x40, 0, 0, 1, 0, index as u8];
        let port = TransportId::iscsi(&iqn, isid).unwrap_or_else(|_| unreachable!("a good name"));
        Self {
            index,
            shared: shared.clone(),
            port,
            iqn,
            isid,
            phase: Phase::Out,
            link: None,
            abandoned: Vec::new(),
            session: None,
            agreed: Agreed::default(),
            cmd_sn: config.first_cmd_sn,
            max_cmd_sn: 0,
            exp_cmd_sn: 0,
            window: 0,
            stat_sn: 0,
            tasks: BTreeMap::new(),
            unbegun: VecDeque::new(),
            next_itt: 0,
            control_pages: vec![None; shared.config.units.len()],
            login: login::State::default(),
            logins: 0,
            rejects_due: 0,
            config,
        }
    }

    fn fail(&self, rule: &'static str, detail: String) {
        let who = self.index;
        self.shared
            .chronicle
            .fail(rule, format!("initiator {who}: {detail}"));
    }

    fn note(&self, what: u64, detail: u64, words: impl FnOnce() -> String) -> Seq {
        let who = self.index;
        let what = what << 8 | who as u64;
        self.shared
            .chronicle
            .note(what, detail, || format!("initiator {who} {}", words()))
    }

    /// Begins a login over a new stream; the target's end of it is the caller's.
    pub(crate) fn connect(&mut self, room: usize) -> Wire {
        self.forget(None);
        let wire = Wire::new(&self.shared.chronicle, room);
        self.link = Some(Link {
            wire: wire.clone(),
            slow: room < ROOM,
            out: VecDeque::new(),
            queued: 0,
            input: Vec::new(),
            used: 0,
            marks: VecDeque::new(),
            received: 0,
        });
        self.begin_login();
        wire
    }

    /// Lets go of the connection: with an end, or silently.
    pub(crate) fn forget(&mut self, end: Option<Life>) {
        let Some(link) = self.link.take() else {
            return;
        };
        self.note(20, 0, || format!("lets its connection go: {end:?}"));
        match end {
            Some(life) => link.wire.end(life),
            None => self.abandoned.push(link.wire),
        }
        self.phase = Phase::Out;
        self.tasks.clear();
        self.unbegun.clear();
    }

    /// Ends all streams that it let go of.
    pub(crate) fn end_abandoned(&mut self) {
        self.abandoned
            .drain(..)
            .for_each(|wire| wire.end(Life::Reset));
    }

    /// Bytes that wait for delivery.
    pub(crate) fn undelivered(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.out.len())
    }

    /// Delivers at most so many bytes.
    pub(crate) fn deliver(&mut self, most: usize) {
        if let Some(link) = &mut self.link {
            let n = most.min(link.out.len());
            if n > 0 {
                link.wire.deliver(link.out.drain(..n));
                self.note(21, n as u64, || format!("gets {n} bytes through"));
            }
        }
    }

    /// Takes at most so many bytes more from the target.
    pub(crate) fn give_room(&self, room: usize) {
        if let Some(link) = &self.link {
            link.wire.give_room(room);
        }
    }

    pub(crate) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Puts a PDU into the queue; the place in the stream where its header ends.
    fn send(&mut self, bhs: &Bhs, data: &[u8], damaged: bool) -> u64 {
        let full = self.phase == Phase::Full;
        let header_digest = full && self.agreed.header_digest;
        let data_digest = full && self.agreed.data_digest;
        let Some(link) = &mut self.link else { return 0 };
        let before = link.out.len();
        link.out.extend(bhs);
        if header_digest {
            link.out.extend(crc32c(bhs));
        }
        let header_end = link.queued + (link.out.len() - before) as u64;
        if !data.is_empty() {
            let mut padded = data.to_vec();
            padded.resize(data.len().next_multiple_of(4), 0);
            link.out.extend(&padded);
            if data_digest {
                let [a, rest @ ..] = crc32c(&padded);
                link.out.push_back(if damaged { !a } else { a });
                link.out.extend(rest);
            }
        }
        link.queued += (link.out.len() - before) as u64;
        header_end
    }

    fn queued(&self) -> u64 {
        self.link.as_ref().map_or(0, |link| link.queued)
    }

    fn consumed(&self) -> u64 {
        self.link
            .as_ref()
            .map_or(0, |link| link.wire.look(|pipe| pipe.consumed))
    }
}
