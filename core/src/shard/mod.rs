//! A shard: one thread's worth of a target. It owns its event sources, commands, timers and buffers.
//!
//! A transport lives on a shard as [`Source`]s: listeners, connections. The shard calls them, they call back through
//! [`ShardCx`]. Nothing here is shared; other threads reach a shard by its mailbox ([`ShardHandle`]).

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use slab::Slab;

use crate::buffer::{BufferPool, IoBuf};
use crate::command::{Begun, Command, CommandRequest, Finished, live};
use crate::copy::Running;
use crate::gate::Ticket;
use crate::lu::{LogicalUnit, UnitId};
use crate::nexus::{Itl, Nexus, NexusId};
use crate::offload::Offload;
use crate::range::LocalRange;
use crate::sense::Sense;
use crate::target::Target;
use crate::task_set::TaskSet;
use crate::tmf::sweep::Reset;
use crate::tmf::{Abort, Function, Manner, Response, Then};
use crate::transport_id::TransportId;

pub mod completion;
mod end;
pub(crate) mod mailbox;
mod turn;

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
}

/// Another thread's way to a shard.
#[derive(Debug, Clone)]
pub struct ShardHandle {
    pub(crate) mailbox: Arc<Mailbox>,
    load: Arc<AtomicUsize>,
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

    /// Completion tokens that handlers dropped unanswered.
    pub fn dropped_tokens(&self) -> u64 {
        self.mailbox.dropped_tokens.value()
    }

    /// Whether both lead to the same shard.
    pub fn same_shard(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mailbox, &other.mailbox)
    }

    pub(crate) fn stop(&self) {
        self.mailbox.post(Message::Stop);
    }
}

/// Hard limits of a shard.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Commands at a time.
    pub commands: usize,
    /// Commands of one session for one unit at a time; beyond, TASK SET FULL.
    pub commands_per_itl: usize,
    /// Bytes of buffers at a time.
    pub buffer_bytes: usize,
    /// Bytes of free buffers kept.
    pub free_bytes: usize,
    /// How long to spin for the next event before sleeping, while traffic is dense. Zero: never.
    pub spin: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            commands: 65_536,
            commands_per_itl: 64,
            buffer_bytes: 256 << 20,
            free_bytes: 8 << 20,
            spin: Duration::from_micros(50),
        }
    }
}

/// One unit as a session on this shard sees it.
pub(crate) struct LocalUnit {
    pub(crate) lun: u16,
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
    /// The version of the target's map by which that one was found.
    pub(crate) seen: Option<u64>,
    pub(crate) closing: bool,
}

/// Everything of a shard but its sources, so that a source and this can be borrowed at once.
pub(crate) struct ShardCore {
    pub(crate) lane: usize,
    pub(crate) now: Instant,
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
    /// Commands that wait for their rights to be settled, by the end of their patience.
    pub(crate) held: BTreeSet<(Instant, CommandKey)>,
    pub(crate) events: VecDeque<(SourceId, Event)>,
    pub(crate) generation: u32,
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
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("lane", &self.core.lane)
            .finish_non_exhaustive()
    }
}

/// What a source may do to its shard, for the length of a call.
pub struct ShardCx<'a> {
    pub(crate) core: &'a mut ShardCore,
    this: SourceId,
}

impl std::fmt::Debug for ShardCx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardCx")
            .field("this", &self.this)
            .finish_non_exhaustive()
    }
}

impl ShardCx<'_> {
    /// The time of this turn.
    pub fn now(&self) -> Instant {
        self.core.now
    }

    /// The source that was called.
    pub fn this(&self) -> SourceId {
        self.this
    }

    /// All shards of the engine, this one too.
    pub fn shards(&self) -> &Arc<[ShardHandle]> {
        &self.core.peers
    }

    /// This shard.
    pub fn handle(&self) -> ShardHandle {
        self.core.peers[self.core.lane].clone()
    }

    /// The shard's buffers.
    pub fn pool(&mut self) -> &mut BufferPool {
        &mut self.core.pool
    }

    /// Whether the engine stops: new sessions are to be refused.
    pub fn stopping(&self) -> bool {
        self.core.stopping
    }

    /// Adds a source to this shard; its calls begin after the present one returns.
    pub fn add_source(&mut self, source: Box<dyn Source>) -> SourceId {
        self.core.add_source(source)
    }

    /// Adds a source that is built with its own id known, for instance to watch a descriptor.
    pub fn add_source_with(
        &mut self,
        build: impl FnOnce(&mut ShardCx<'_>) -> Option<Box<dyn Source>>,
    ) -> Option<SourceId> {
        let id = self.core.reserve();
        let built = build(&mut ShardCx {
            core: self.core,
            this: id,
        });
        match built {
            Some(source) => {
                self.core.added.push((id, source));
                Some(id)
            }
            None => {
                self.core.remove(id);
                self.core.free_slots.push(id.index);
                None
            }
        }
    }

    /// Ends this source after the present call. Its descriptor must be closed by its `Drop`, its sessions be closed
    /// by itself before.
    pub fn remove_source(&mut self) {
        self.core.remove(self.this);
    }

    /// Watches this source's descriptor, level triggered. One descriptor per source.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn watch(
        &mut self,
        fd: BorrowedFd<'_>,
        readable: bool,
        writable: bool,
    ) -> std::io::Result<()> {
        let data = epoll::EventData::new_u64(self.this.to_u64());
        Ok(epoll::add(
            &self.core.epoll,
            fd,
            data,
            interest(readable, writable),
        )?)
    }

    /// Changes what a watched descriptor is watched for.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn rewatch(
        &mut self,
        fd: BorrowedFd<'_>,
        readable: bool,
        writable: bool,
    ) -> std::io::Result<()> {
        let data = epoll::EventData::new_u64(self.this.to_u64());
        Ok(epoll::modify(
            &self.core.epoll,
            fd,
            data,
            interest(readable, writable),
        )?)
    }

    /// Stops watching a descriptor.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn unwatch(&mut self, fd: BorrowedFd<'_>) -> std::io::Result<()> {
        Ok(epoll::delete(&self.core.epoll, fd)?)
    }

    /// Sets this source's one timer, or clears it.
    pub fn set_timer(&mut self, at: Option<Instant>) {
        self.core.set_timer(self.this, at);
    }

    /// Has `flush` called at the end of this batch.
    pub fn wants_flush(&mut self) {
        self.core.touch(self.this);
    }

    /// Opens a session with a target. The events of a command go to the source that began it.
    pub fn open_nexus(&mut self, target: &Arc<Target>, initiator: TransportId) -> NexusKey {
        self.core.open_nexus(target, initiator)
    }

    /// The shared part of a session.
    pub fn nexus(&self, key: NexusKey) -> Option<&Arc<Nexus>> {
        self.core.nexus(key).map(|n| &n.shared)
    }

    /// Closes a session: ends its commands, and says [`Event::NexusClosed`] when nothing of them can take effect any
    /// more. Bounded by [`crate::tmf::BOUND`].
    pub fn close_nexus(&mut self, key: NexusKey) {
        self.core.close_nexus(self.this, key);
    }

    /// Begins a command (see [`crate::pipeline`]).
    pub fn begin(&mut self, request: &CommandRequest<'_>) -> Begun {
        self.core.begin(self.this, request)
    }

    /// All Data-Out of a command has arrived in `buf`; a shorter buffer than was given says how much did.
    pub fn data_out(&mut self, command: CommandKey, buf: IoBuf) {
        self.core.data_out(command, buf);
    }

    /// The Data-Out of a command cannot be had (digest error, protocol error): the command ends with `sense`.
    pub fn data_out_failed(&mut self, command: CommandKey, buf: IoBuf, sense: Sense) {
        self.core.data_out_failed(command, buf, sense);
    }

    /// Begins a task management function; its end comes as [`Event::TaskManagement`] with `tag`.
    pub fn task_management(&mut self, nexus: NexusKey, lun: [u8; 8], function: Function, tag: u64) {
        self.core
            .task_management(self.this, nexus, lun, function, tag);
    }
}

fn interest(readable: bool, writable: bool) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, readable);
    flags.set(epoll::EventFlags::OUT, writable);
    flags
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

    fn open_nexus(&mut self, target: &Arc<Target>, initiator: TransportId) -> NexusKey {
        let shared = Arc::new(Nexus::new(Arc::clone(target), initiator));
        let id = shared.id;
        target.join(&shared, &self.mailbox);
        let index = self.nexuses.insert(LocalNexus {
            shared,
            units: Slab::new(),
            last: 0,
            seen: None,
            closing: false,
        });
        self.peers[self.lane].load.fetch_add(1, Ordering::Relaxed);
        NexusKey {
            index: index as u32,
            id,
        }
    }

    pub(crate) fn nexus(&self, key: NexusKey) -> Option<&LocalNexus> {
        self.nexuses
            .get(key.index as usize)
            .filter(|n| n.shared.id == key.id)
    }

    pub(crate) fn nexus_mut(&mut self, key: NexusKey) -> Option<&mut LocalNexus> {
        self.nexuses
            .get_mut(key.index as usize)
            .filter(|n| n.shared.id == key.id)
    }

    /// A session of this shard by its id.
    pub(crate) fn nexus_key(&self, id: NexusId) -> Option<NexusKey> {
        let (index, _) = self.nexuses.iter().find(|(_, n)| n.shared.id == id)?;
        Some(NexusKey::new(index, id))
    }

    fn close_nexus(&mut self, to: SourceId, key: NexusKey) {
        match self.nexus_mut(key) {
            Some(nexus) if !nexus.closing => {
                nexus.closing = true;
                let victims = self.commands_of(key, None);
                self.abort(
                    victims,
                    Manner::of(key.id),
                    Then::NexusClosed { to, nexus: key },
                );
            }
            Some(_) => {}
            None => self.events.push_back((to, Event::NexusClosed(key))),
        }
    }

    pub(crate) fn drop_nexus(&mut self, key: NexusKey) {
        if self.nexus(key).is_some() {
            let nexus = self.nexuses.remove(key.index as usize);
            for (_, local) in &nexus.units {
                local.unit.leave(&local.itl);
            }
            self.peers[self.lane].load.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Units of a session that are not in its target's map any more lose their commands, and are forgotten.
    fn luns_changed(&mut self, id: NexusId, gone: &[Arc<LogicalUnit>]) {
        let Some(key) = self.nexus_key(id) else {
            return;
        };
        for unit in gone {
            let victims = self.commands_of(key, Some(unit));
            self.abort(
                victims,
                Manner::of(id),
                Then::UnitLeft(key, Arc::clone(unit)),
            );
        }
    }

    /// A unit's commands of a session are gone, since the unit left the session's target: so does the I_T_L nexus.
    /// One that came back meanwhile and left again has commands, whose abort comes here once more.
    pub(crate) fn forget_unit(&mut self, key: NexusKey, unit: &LogicalUnit) {
        let busy: Vec<_> = live(&self.commands)
            .filter(|(_, command)| command.nexus == key)
            .map(|(_, command)| command.local_unit)
            .collect();
        let Some(nexus) = self.nexus_mut(key) else {
            return;
        };
        let map = nexus.shared.target.snapshot();
        let gone = |local: &LocalUnit| {
            local.unit.id() == unit.id()
                && map.get(&local.lun).is_none_or(|now| now.id() != unit.id())
        };
        nexus.units.retain(|place, local| {
            let gone = gone(local) && !busy.contains(&place);
            if gone {
                local.unit.leave(&local.itl);
            }
            !gone
        });
    }

    fn next_deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|t| t.0);
        let abort = self.deadlines.first().map(|t| t.0);
        let held = self.held.first().map(|t| t.0);
        let closer = self.closers.first_key_value().map(|c| c.0.0);
        let due = [timer, abort, held, closer];
        due.into_iter().flatten().min()
    }
}

pub(crate) fn handle(mailbox: Arc<Mailbox>) -> ShardHandle {
    ShardHandle {
        mailbox,
        load: Arc::default(),
    }
}
