//! A test bed for device handlers and for the pipeline: sessions without a wire, and a clock that can be turned.
//!
//! The bed drives real shards by hand on the calling thread, with the transport replaced by a [`Source`] that hands
//! commands in and keeps what comes back. It is public so that the author of a handler can test it as the core's own
//! tests do.
//!
//! ```
//! # use lunforge_core::testing::{Bed, doubles::Blank};
//! let mut bed = Bed::new(1, Blank::default());
//! let session = bed.session(0, "iqn.2026-11.org.example:a");
//! let reply = bed.command(session, 0, &[0x12, 0, 0, 0, 36, 0], &[], 36);
//! assert_eq!(reply.data.len(), 36);
//! ```

pub mod doubles;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::buffer::IoBuf;
use crate::engine::Engine;
use crate::handler::Transfer;
use crate::lu::IntoLogicalUnit;
use crate::lun::{AddressMethod, Lun};
use crate::pipeline::{Begun, CommandRequest, Finished};
use crate::sense::Sense;
use crate::shard::{Event, Limits, NexusKey, Readiness, Shard, ShardCx, Source, SourceId};
use crate::status::Status;
use crate::target::Target;
use crate::task_set::TaskAttribute;
use crate::tmf::{Function, Response};
use crate::transport_id::TransportId;

/// How far the clock goes between two turns.
const STEP: Duration = Duration::from_millis(500);
/// Turns of each shard in one look at all of them, at most.
const TURNS: usize = 8;
/// How long a wait may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The end of a command as a test sees it.
#[derive(Debug, Clone)]
pub struct Reply {
    /// False: aborted, no response.
    pub responded: bool,
    /// SCSI status.
    pub status: Status,
    /// Sense data, parsed.
    pub sense: Option<Sense>,
    /// Data-In.
    pub data: Vec<u8>,
    /// What the CDB was to move.
    pub transfer: Transfer,
}

impl Reply {
    /// ASC and ASCQ of the sense data.
    pub fn asc(&self) -> Option<(u8, u8)> {
        self.sense.as_ref().map(|s| (s.asc.asc, s.asc.ascq))
    }
}

/// A session of the bed.
#[derive(Debug, Clone, Copy)]
pub struct Session(usize);

/// A command to send: CDB, Data-Out, room for Data-In.
#[derive(Debug, Clone, Default)]
pub struct Send {
    /// LUN, peripheral addressing.
    pub lun: u16,
    /// CDB.
    pub cdb: Vec<u8>,
    /// Data-Out.
    pub data_out: Vec<u8>,
    /// Room for Data-In.
    pub expected_in: usize,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Keep the Data-Out back until [`Bed::release_data`].
    pub hold_data: bool,
}

enum Order {
    Command(u64, Send),
    ReleaseData(u64),
    Tmf(u64, u16, Function),
    Close,
}

enum Report {
    Finished(u64, Reply),
    Tmf(u64, Response),
    Closed,
}

struct Port {
    nexus: NexusKey,
    reports: Sender<Report>,
    held: HashMap<u64, (crate::shard::completion::CommandKey, IoBuf, Vec<u8>)>,
}

fn lun_field(lun: u16) -> [u8; 8] {
    Lun::new(lun.into()).map_or([0xFF; 8], |l| l.address(AddressMethod::Peripheral).emit())
}

impl Port {
    fn order(&mut self, cx: &mut ShardCx<'_>, order: Order) {
        match order {
            Order::Command(tag, send) => {
                let request = CommandRequest {
                    nexus: self.nexus,
                    lun: lun_field(send.lun),
                    cdb: &send.cdb,
                    attribute: send.attribute,
                    tag,
                    expected_in: send.expected_in,
                    expected_out: send.data_out.len(),
                };
                if let Begun::DataOut { command, mut buf } = cx.begin(&request) {
                    if send.hold_data {
                        self.held.insert(tag, (command, buf, send.data_out));
                    } else {
                        buf.write_at(0, &send.data_out);
                        cx.data_out(command, buf);
                    }
                }
            }
            Order::ReleaseData(tag) => {
                if let Some((command, mut buf, data)) = self.held.remove(&tag) {
                    buf.write_at(0, &data);
                    cx.data_out(command, buf);
                }
            }
            Order::Tmf(tag, lun, function) => {
                cx.task_management(self.nexus, lun_field(lun), function, tag)
            }
            Order::Close => cx.close_nexus(self.nexus),
        }
    }
}

impl Source for Port {
    fn ready(&mut self, _: &mut ShardCx<'_>, _: Readiness) {}

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        let report = match event {
            Event::Message(body) => {
                if let Ok(order) = body.downcast::<Order>() {
                    self.order(cx, *order);
                }
                return;
            }
            Event::Finished(finished) => {
                let Finished {
                    tag,
                    respond,
                    status,
                    sense,
                    buf,
                    data_in,
                    transfer,
                } = finished;
                let data = buf.to_vec(0..data_in);
                cx.pool().recycle(buf);
                let sense = sense.and_then(|s| Sense::parse(s.as_slice()));
                Report::Finished(
                    tag,
                    Reply {
                        responded: respond,
                        status,
                        sense,
                        data,
                        transfer,
                    },
                )
            }
            Event::TaskManagement { tag, response } => Report::Tmf(tag, response),
            Event::NexusClosed(_) => Report::Closed,
            Event::Stop => return cx.remove_source(),
        };
        // The test may have stopped listening.
        let _ = self.reports.send(report);
    }

    fn timeout(&mut self, _: &mut ShardCx<'_>) {}

    fn flush(&mut self, _: &mut ShardCx<'_>) {}
}

struct Line {
    shard: usize,
    source: SourceId,
    reports: Receiver<Report>,
    replies: HashMap<u64, Reply>,
    responses: HashMap<u64, Response>,
    closed: bool,
}

/// See the module's head.
pub struct Bed {
    engine: Engine,
    shards: Vec<Option<Shard>>,
    target: Arc<Target>,
    lines: Vec<Line>,
    next_tag: u64,
    ahead: Duration,
}

impl std::fmt::Debug for Bed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bed")
            .field("sessions", &self.lines.len())
            .finish_non_exhaustive()
    }
}

struct Nothing;

impl crate::engine::Transport for Nothing {
    type Attachment = ();
    type Error = std::convert::Infallible;

    fn attach(
        self,
        _: &Arc<[crate::shard::ShardHandle]>,
        _: Vec<Arc<Target>>,
    ) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl Bed {
    /// A bed of `shards` shards and a target with `unit` at LUN 0.
    ///
    /// # Panics
    /// When no shard can be set up.
    pub fn new(shards: usize, unit: impl IntoLogicalUnit) -> Self {
        let target = Target::builder("iqn.2026-11.org.example:bed")
            .lun(0, unit)
            .build()
            .expect("a target of one LUN");
        Self::with_target(shards, target)
    }

    /// A bed over a target.
    ///
    /// # Panics
    /// When no shard can be set up.
    pub fn with_target(shards: usize, target: Arc<Target>) -> Self {
        Self::with_targets(shards, target, &[])
    }

    /// A bed over several targets, for units that have several ports. Sessions are with the first unless said otherwise.
    ///
    /// # Panics
    /// When no shard can be set up.
    pub fn with_targets(shards: usize, target: Arc<Target>, more: &[Arc<Target>]) -> Self {
        Self::with_limits(shards, target, more, Limits::default())
    }

    /// As [`Bed::with_targets`], with shards of other limits.
    ///
    /// # Panics
    /// When no shard can be set up.
    pub fn with_limits(
        shards: usize,
        target: Arc<Target>,
        more: &[Arc<Target>],
        limits: Limits,
    ) -> Self {
        let builder = Engine::builder().shards(shards).limits(limits);
        let (engine, shards) = builder.parts().expect("shards");
        let all: Vec<_> = [&target].into_iter().chain(more).cloned().collect();
        let Ok(()) = engine.attach(Nothing, all);
        Self {
            engine,
            shards: shards.into_iter().map(Some).collect(),
            target,
            lines: Vec::new(),
            next_tag: 0,
            ahead: Duration::ZERO,
        }
    }

    /// The target.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Has commands timed by the clock instead of by turns, or not; see [`Engine::measure_latency`].
    pub fn measure_latency(&self, on: bool) {
        let measure = self.engine.measure_latency();
        measure.store(on, std::sync::atomic::Ordering::Relaxed);
    }

    /// Turns the shards' clock forward, as it goes: in steps, with a turn of every shard at each. The time that the turns
    /// take is part of it.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now() + by;
        loop {
            let left = end.saturating_duration_since(self.now());
            if left.is_zero() {
                break;
            }
            self.leap(left.min(STEP));
        }
    }

    fn now(&self) -> Instant {
        Instant::now() + self.ahead
    }

    /// Turns the shards' clock forward at once, as if the process had been stopped.
    pub fn leap(&mut self, by: Duration) {
        self.ahead += by;
        self.poll();
    }

    /// Opens a session on a shard, without clearing its power on unit attention.
    ///
    /// # Panics
    /// When `initiator` is no iSCSI name.
    pub fn raw_session(&mut self, shard: usize, initiator: &str) -> Session {
        let target = Arc::clone(&self.target);
        self.raw_session_with(&target, shard, initiator)
    }

    /// As [`Bed::raw_session`], with one of the bed's targets.
    ///
    /// # Panics
    /// When `initiator` is no iSCSI name.
    pub fn raw_session_with(
        &mut self,
        target: &Arc<Target>,
        shard: usize,
        initiator: &str,
    ) -> Session {
        let id = TransportId::iscsi(initiator, [0, 0, 0, 0, 0, self.lines.len() as u8])
            .expect("an initiator name");
        self.raw_session_as(target, shard, id)
    }

    /// As [`Bed::raw_session_with`], for an initiator port that may have a session already.
    ///
    /// # Panics
    /// When the source cannot be added.
    pub fn raw_session_as(
        &mut self,
        target: &Arc<Target>,
        shard: usize,
        id: TransportId,
    ) -> Session {
        let (reports, received) = channel();
        let (tell, told) = channel();
        let target = Arc::clone(target);
        self.engine.shards()[shard].run(move |cx| {
            let source = cx.add_source_with(|cx| {
                let nexus = cx.open_nexus(&target, id);
                Some(Box::new(Port {
                    nexus,
                    reports,
                    held: HashMap::new(),
                }))
            });
            let _ = tell.send(source);
        });
        self.poll();
        let source = told
            .try_recv()
            .ok()
            .flatten()
            .expect("the source was added");
        let (replies, responses) = (HashMap::new(), HashMap::new());
        self.lines.push(Line {
            shard,
            source,
            reports: received,
            replies,
            responses,
            closed: false,
        });
        Session(self.lines.len() - 1)
    }

    /// Opens a session on a shard and clears the power on unit attention of LUN 0.
    pub fn session(&mut self, shard: usize, initiator: &str) -> Session {
        let session = self.raw_session(shard, initiator);
        self.command(session, 0, &[0; 6], &[], 0);
        session
    }

    /// As [`Bed::session`], with one of the bed's targets.
    pub fn session_with(&mut self, target: &Arc<Target>, shard: usize, initiator: &str) -> Session {
        let session = self.raw_session_with(target, shard, initiator);
        self.command(session, 0, &[0; 6], &[], 0);
        session
    }

    /// Sends a command; returns its tag.
    pub fn send(&mut self, session: Session, send: Send) -> u64 {
        self.next_tag += 1;
        self.order(session, Order::Command(self.next_tag, send));
        self.next_tag
    }

    /// Lets the held Data-Out of a command arrive.
    pub fn release_data(&mut self, session: Session, tag: u64) {
        self.order(session, Order::ReleaseData(tag));
    }

    /// Sends a SIMPLE command and waits for its end.
    pub fn command(
        &mut self,
        session: Session,
        lun: u16,
        cdb: &[u8],
        data_out: &[u8],
        expected_in: usize,
    ) -> Reply {
        let (cdb, data_out) = (cdb.to_vec(), data_out.to_vec());
        let tag = self.send(
            session,
            Send {
                lun,
                cdb,
                data_out,
                expected_in,
                ..Send::default()
            },
        );
        self.wait(session, tag)
    }

    /// Waits for the end of a command.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait(&mut self, session: Session, tag: u64) -> Reply {
        self.until(|bed| bed.lines[session.0].replies.remove(&tag))
    }

    /// The end of a command, if it has come.
    pub fn ended(&mut self, session: Session, tag: u64) -> Option<Reply> {
        self.poll();
        self.lines[session.0].replies.remove(&tag)
    }

    /// Begins a task management function; returns its tag.
    pub fn begin_tmf(&mut self, session: Session, lun: u16, function: Function) -> u64 {
        self.next_tag += 1;
        self.order(session, Order::Tmf(self.next_tag, lun, function));
        self.next_tag
    }

    /// The response of a task management function, if it has come.
    pub fn tmf_ended(&mut self, session: Session, tag: u64) -> Option<Response> {
        self.poll();
        self.lines[session.0].responses.remove(&tag)
    }

    /// Runs a task management function to its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn tmf(&mut self, session: Session, lun: u16, function: Function) -> Response {
        let tag = self.begin_tmf(session, lun, function);
        self.until(|bed| bed.lines[session.0].responses.remove(&tag))
    }

    /// Begins to close a session.
    pub fn close(&mut self, session: Session) {
        self.order(session, Order::Close);
    }

    /// Whether a session is closed.
    pub fn closed(&mut self, session: Session) -> bool {
        self.poll();
        self.lines[session.0].closed
    }

    /// Ends a shard as it is, with all of its sessions and commands; nothing is heard of them any more.
    pub fn end_shard(&mut self, shard: usize) {
        self.shards[shard] = None;
    }

    /// One turn of every shard.
    pub fn poll(&mut self) {
        // What one shard posts to another in a turn is taken in the next, and may be answered: until nothing waits, as
        // far as that comes to an end. In a quiet turn the last shard may still have written to the first.
        let (mut quiet, ahead) = (0, self.ahead);
        for _ in 0..TURNS {
            let mut mail = false;
            for shard in self.shards.iter_mut().flatten() {
                let now = Instant::now() + ahead;
                mail |= shard.poll(now) == Some(now);
            }
            quiet = if mail { 0 } else { quiet + 1 };
            if quiet == 2 {
                break;
            }
        }
        for line in &mut self.lines {
            for report in line.reports.try_iter() {
                match report {
                    Report::Finished(tag, reply) => {
                        assert!(
                            line.replies.insert(tag, reply).is_none(),
                            "command {tag} ended twice"
                        );
                    }
                    Report::Tmf(tag, response) => {
                        assert!(
                            line.responses.insert(tag, response).is_none(),
                            "function {tag} ended twice"
                        );
                    }
                    Report::Closed => line.closed = true,
                }
            }
        }
    }

    fn order(&mut self, session: Session, order: Order) {
        let line = &self.lines[session.0];
        self.engine.shards()[line.shard].send(line.source, Box::new(order));
        self.poll();
    }

    fn until<T>(&mut self, mut what: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            self.poll();
            if let Some(found) = what(self) {
                return found;
            }
            assert!(Instant::now() < end, "waited {PATIENCE:?} in vain");
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}
