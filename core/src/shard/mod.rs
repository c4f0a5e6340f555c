//! A shard: one thread's worth of a target. It owns its event sources, commands, timers and buffers.
//!
//! A transport lives on a shard as [`Source`]s: listeners, connections. The shard calls them, they call back through
//! [`ShardCx`]. Nothing here is shared; other threads reach a shard by its mailbox ([`ShardHandle`]).

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use slab::Slab;

use crate::budget::Budget;
use crate::buffer::BufferPool;
use crate::command::{Command, Finished};
use crate::copy::Running;
use crate::engine::Roster;
use crate::gate::Ticket;
use crate::lu::{LogicalUnit, UnitId};
use crate::nexus::{Itl, Nexus, NexusId};
use crate::offload::Offload;
use crate::range::LocalRange;
use crate::share::Shares;
use crate::task_set::TaskSet;
use crate::tmf::sweep::Reset;
use crate::tmf::{Abort, Response};

mod census;
pub mod completion;
mod cx;
mod end;
mod limits;
pub(crate) mod mailbox;
mod sessions;
mod shed;
mod turn;

pub use census::Census;
pub use cx::ShardCx;
pub use limits::{Limits, ShardCounters};

use completion::CommandKey;
use mailbox::{Mailbox, Message};

/// A source's place on its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId {
    index: u32,
    generation: u32,
}

impl SourceId {
    fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    fn from_u64(raw: u64) -> Self {
        Self {
            index: (raw & 0xFFFF_FFFF) as u32,
            generation: (raw >> 32) as u32,
        }
    }
}

/// The mailbox's wake-up in the shard's epoll set; no source has this index.
const WAKE: SourceId = SourceId {
    index: u32::MAX,
    generation: u32::MAX,
};

/// A session's place on its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NexusKey {
    index: u32,
    id: NexusId,
}

impl NexusKey {
    pub(crate) fn new(index: usize, id: NexusId) -> Self {
        Self {
            index: index as u32,
            id,
        }
    }

    /// The session's id in the process.
    pub fn id(&self) -> NexusId {
        self.id
    }

    pub(crate) fn index(&self) -> usize {
        self.index as usize
    }
}

/// What a descriptor is ready for. A hang-up or an error counts as both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// There is something to read, or an end of file, or an error.
    pub readable: bool,
    /// There is room to write, or an error.
    pub writable: bool,
}

/// What the core tells a source.
#[derive(Debug)]
pub enum Event {
    /// A command ended. Comes exactly once for each command that was begun.
    Finished(Finished),
    /// A task management function ended.
    TaskManagement {
        /// The tag that the transport gave.
        tag: u64,
        /// Service response.
        response: Response,
    },
    /// A session that was to be closed is: nothing of it has an effect any more.
    NexusClosed(NexusKey),
    /// Another part of the transport sent this.
    Message(Box<dyn Any + Send>),
    /// The engine stops: take nothing new, end what runs, close.
    Stop,
}

/// An event source of a transport. It lives on one shard, on whose thread it is called. No call may block.
pub trait Source: Send {
    /// Its descriptor is ready.
    fn ready(&mut self, cx: &mut ShardCx<'_>, readiness: Readiness);

    /// The core has something to tell.
    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event);

    /// Its timer ([`ShardCx::set_timer`]) is due.
    fn timeout(&mut self, cx: &mut ShardCx<'_>);

    /// The end of a batch in which it was called: send what is ready to be sent.
    fn flush(&mut self, cx: &mut ShardCx<'_>);

    /// Since when its peer has owed something that buffers wait for (data, or to take what is sent to it) and has not
    /// moved. `None`: it owes nothing, or moves. Asked when buffers run out, of sources that have a session.
    fn stalled_since(&self, now: Instant) -> Option<Instant> {
        let _ = now;
        None
    }

    /// The shard's buffers are nearly used up and the peer has been stalled for [`Limits::stall_time`]: close its
    /// session, so that the others live.
    fn shed(&mut self, cx: &mut ShardCx<'_>) {
        let _ = cx;
    }
}

/// Another thread's way to a shard.
#[derive(Debug, Clone)]
pub struct ShardHandle {
    pub(crate) mailbox: Arc<Mailbox>,
    load: Arc<AtomicUsize>,
    counters: Arc<ShardCounters>,
    /// The targets of all shards of the engine.
    pub(crate) roster: Arc<Roster>,
}

impl ShardHandle {
    /// Runs `task` on the shard, soon.
    pub fn run(&self, task: impl FnOnce(&mut ShardCx<'_>) + Send + 'static) {
        self.mailbox.post(Message::Run(Box::new(task)));
    }

    /// Sends a message to a source of the shard; it is dropped when the source is gone.
    pub fn send(&self, to: SourceId, body: Box<dyn Any + Send>) {
        self.mailbox.post(Message::Source { to, body });
    }

    /// Sessions on the shard, to place a new one where there are fewest.
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// What the shard's limits did.
    pub fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    /// Completion tokens that handlers dropped unanswered.
    pub fn dropped_tokens(&self) -> u64 {
        self.mailbox.dropped_tokens.value()
    }

    pub(crate) fn stop(&self) {
        self.mailbox.post(Message::Stop);
    }
}

/// One unit as a session on this shard sees it.
pub(crate) struct LocalUnit {
    pub(crate) lun: u16,
    /// The version of the session's view that put it there.
    pub(crate) since: u64,
    /// It is not in the view any more; its commands are being ended.
    pub(crate) gone: bool,
    pub(crate) unit: Arc<LogicalUnit>,
    pub(crate) itl: Arc<Itl>,
    /// The nexus' own task set; empty where the unit has a shared one.
    pub(crate) tasks: TaskSet,
    /// Commands in either of them.
    pub(crate) commands: usize,
}

/// A session on this shard.
pub(crate) struct LocalNexus {
    pub(crate) shared: Arc<Nexus>,
    pub(crate) units: Slab<LocalUnit>,
    /// The unit of the last command: most sessions use one.
    pub(crate) last: usize,
    /// The version of the session's view that its units are in line with.
    pub(crate) seen: u64,
    pub(crate) closing: bool,
    /// Its connections: who opened it, and who joined it.
    pub(crate) sources: Vec<SourceId>,
    /// What it may hold of the shard's buffers.
    pub(crate) budget: Budget,
    /// Who else wants to be told when it is closed.
    pub(crate) told: Vec<SourceId>,
}

/// Everything of a shard but its sources, so that a source and this can be borrowed at once.
pub(crate) struct ShardCore {
    pub(crate) lane: usize,
    pub(crate) now: Instant,
    /// Commands are timed by the clock, not by turns.
    pub(crate) measure_latency: Arc<AtomicBool>,
    pub(crate) limits: Limits,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) peers: Arc<[ShardHandle]>,
    pub(crate) offload: Offload,
    pub(crate) pool: BufferPool,
    pub(crate) commands: Slab<Command>,
    pub(crate) nexuses: Slab<LocalNexus>,
    pub(crate) runnable: VecDeque<CommandKey>,
    pub(crate) at_gate: HashMap<UnitId, VecDeque<CommandKey>>,
    /// Commands that an ACA keeps from beginning or from ending.
    pub(crate) blocked: HashMap<UnitId, Vec<CommandKey>>,
    /// Closers of gates, by the end of their patience.
    pub(crate) closers: BTreeMap<(Instant, UnitId, Ticket), Weak<LogicalUnit>>,
    /// Ranges of blocks into which no command goes now.
    pub(crate) ranges: Vec<LocalRange>,
    pub(crate) aborts: Slab<Abort>,
    pub(crate) resets: Slab<Reset>,
    pub(crate) deadlines: BTreeSet<(Instant, usize)>,
    /// When to look at commands whose time may be over; none while there is no command to look at.
    pub(crate) watch: Option<Instant>,
    /// The look before this one came late and was not taken.
    pub(crate) look_put_off: bool,
    /// Units whose oldest command was worth telling at the last look.
    pub(crate) aged: Vec<Weak<LogicalUnit>>,
    pub(crate) events: VecDeque<(SourceId, Event)>,
    pub(crate) generation: u32,
    pub(crate) shares: Shares,
    /// Third-party copies that run.
    pub(crate) copies: Vec<Running>,
    epoll: OwnedFd,
    slots: Vec<Slot>,
    free_slots: Vec<u32>,
    added: Vec<(SourceId, Box<dyn Source>)>,
    timers: BTreeSet<(Instant, SourceId)>,
    dirty: Vec<SourceId>,
    stopping: bool,
    live_sources: usize,
    /// Before this no further source is shed.
    next_shed: Option<Instant>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    live: bool,
    dirty: bool,
    timer: Option<Instant>,
}

/// A shard. Driven by a thread of the engine ([`Shard::run`]) or by an embedder's own loop ([`Shard::poll`]).
pub struct Shard {
    core: ShardCore,
    sources: Vec<Option<Box<dyn Source>>>,
    last_turn: Instant,
    /// Turns for which timers wait at most.
    put_off: usize,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("lane", &self.core.lane)
            .finish_non_exhaustive()
    }
}

impl ShardCore {
    fn reserve(&mut self) -> SourceId {
        let index = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.live = true;
        self.live_sources += 1;
        SourceId {
            index,
            generation: slot.generation,
        }
    }

    fn add_source(&mut self, source: Box<dyn Source>) -> SourceId {
        let id = self.reserve();
        self.added.push((id, source));
        id
    }

    fn slot(&mut self, id: SourceId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.index as usize)
            .filter(|s| s.live && s.generation == id.generation)
    }

    fn remove(&mut self, id: SourceId) {
        self.set_timer(id, None);
        let Some(slot) = self.slot(id) else { return };
        slot.live = false;
        slot.dirty = false;
        slot.generation = slot.generation.wrapping_add(1);
        self.live_sources -= 1;
    }

    fn set_timer(&mut self, id: SourceId, at: Option<Instant>) {
        let Some(slot) = self.slot(id) else { return };
        let old = std::mem::replace(&mut slot.timer, at);
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.timers.remove(&(old, id));
        }
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
    }

    fn touch(&mut self, id: SourceId) {
        if let Some(slot) = self.slot(id)
            && !slot.dirty
        {
            slot.dirty = true;
            self.dirty.push(id);
        }
    }

    /// The time as commands are measured by it.
    #[inline]
    pub(crate) fn time(&self) -> Instant {
        time_of(&self.measure_latency, self.now)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|t| t.0);
        let abort = self.deadlines.first().map(|t| t.0);
        let closer = self.closers.first_key_value().map(|c| c.0.0);
        let due = [timer, abort, self.watch, closer];
        due.into_iter().flatten().min()
    }
}

/// The time as commands are measured by it: by the clock, or that of the shard's turn.
#[inline]
pub(crate) fn time_of(by_clock: &AtomicBool, turn: Instant) -> Instant {
    // Relaxed: nothing is published through it.
    if by_clock.load(Ordering::Relaxed) {
        Instant::now()
    } else {
        turn
    }
}

pub(crate) fn handle(mailbox: Arc<Mailbox>, roster: Arc<Roster>) -> ShardHandle {
    ShardHandle {
        mailbox,
        roster,
        load: Arc::default(),
        counters: Arc::default(),
    }
}
