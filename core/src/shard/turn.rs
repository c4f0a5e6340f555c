//! A shard's turn: mail, ready descriptors, timers, flush; and when to sleep.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use slab::Slab;

use super::mailbox::{Mailbox, Message};
use super::{
    Event, Limits, Readiness, Shard, ShardCore, ShardCx, ShardHandle, Source, SourceId, WAKE,
};
use crate::buffer::BufferPool;
use crate::offload::Offload;

/// Descriptors served in one turn; the rest are next.
const EVENTS_PER_TURN: usize = 128;
/// A shard that has had no turn for so long, and has much to read, was stopped.
const STOPPED: Duration = Duration::from_secs(1);
/// Idle time after which free buffers are given back.
const TRIM_AFTER: Duration = Duration::from_secs(1);

impl Shard {
    pub(crate) fn new(
        lane: usize,
        limits: Limits,
        mailbox: Arc<Mailbox>,
        peers: Arc<[ShardHandle]>,
        offload: Offload,
        measure_latency: Arc<AtomicBool>,
    ) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            mailbox.wake_fd(),
            epoll::EventData::new_u64(WAKE.to_u64()),
            epoll::EventFlags::IN,
        )?;
        let core = ShardCore {
            lane,
            now: Instant::now(),
            measure_latency,
            limits,
            mailbox,
            peers,
            offload,
            pool: BufferPool::new(limits.buffer_bytes, limits.free_bytes),
            commands: Slab::new(),
            nexuses: Slab::new(),
            runnable: VecDeque::new(),
            at_gate: HashMap::new(),
            blocked: HashMap::new(),
            aborts: Slab::new(),
            resets: Slab::new(),
            deadlines: BTreeSet::new(),
            watch: None,
            look_put_off: false,
            aged: Vec::new(),
            closers: BTreeMap::new(),
            ranges: Vec::new(),
            events: VecDeque::new(),
            generation: 0,
            shares: Default::default(),
            copies: Vec::new(),
            epoll,
            slots: Vec::new(),
            free_slots: Vec::new(),
            added: Vec::new(),
            timers: BTreeSet::new(),
            dirty: Vec::new(),
            stopping: false,
            live_sources: 0,
            next_shed: None,
        };
        Ok(Self {
            last_turn: core.now,
            put_off: 0,
            core,
            sources: Vec::new(),
        })
    }

    /// One turn without waiting: takes mail, serves what is ready, runs timers. Returns when to call again at the
    /// latest; before that, call when [`Shard::wait_fd`] is readable.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.core.now = now;
        self.turn(Some(Duration::ZERO), true);
        // Mail that is posted from here on makes `wait_fd` readable; mail that is there already means "call at once".
        if self.core.mailbox.sleep() {
            self.core.next_deadline()
        } else {
            Some(now)
        }
    }

    /// As [`Shard::poll`], without a look at descriptors: for a caller whose sources have none, such as connections over
    /// streams in memory. [`Shard::wait_fd`] tells nothing then; `Some(now)` means that there is mail.
    pub fn poll_mail(&mut self, now: Instant) -> Option<Instant> {
        self.core.now = now;
        self.serve(&[]);
        if self.core.mailbox.is_empty() {
            self.core.next_deadline()
        } else {
            Some(now)
        }
    }

    /// Readable when there is something to do.
    pub fn wait_fd(&self) -> BorrowedFd<'_> {
        self.core.epoll.as_fd()
    }

    /// Whether the engine stopped and this shard has nothing left to do.
    pub fn finished(&self) -> bool {
        self.core.stopping && self.core.live_sources == 0
    }

    /// Serves until the engine stops.
    pub fn run(&mut self) {
        let mut spin = Spin::new(self.core.limits.spin);
        let mut idle_since: Option<Instant> = None;
        while !self.finished() {
            let wait = if spin.on(self.core.now) {
                Some(Duration::ZERO)
            } else {
                self.sleep_time()
            };
            let busy = self.turn(wait, false);
            self.core.now = Instant::now();
            spin.turn(busy, self.core.now);
            if busy {
                idle_since = None;
            } else if wait == Some(Duration::ZERO) {
                // Whoever else wants this processor shall have it.
                std::thread::yield_now();
            } else if *idle_since.get_or_insert(self.core.now) + TRIM_AFTER < self.core.now {
                self.core.pool.trim();
            }
        }
    }

    /// How long the shard may sleep; `None` for ever.
    fn sleep_time(&self) -> Option<Duration> {
        if !self.core.mailbox.sleep() {
            return Some(Duration::ZERO);
        }
        let due = self.core.next_deadline();
        let due = due.map(|at| at.saturating_duration_since(self.core.now));
        // Free buffers go back to the system after a while; then nothing wakes an idle shard any more.
        let trim = self.core.pool.has_free().then_some(TRIM_AFTER);
        due.into_iter().chain(trim).min()
    }

    /// One turn. True when anything happened.
    fn turn(&mut self, wait: Option<Duration>, time_given: bool) -> bool {
        let timeout = wait.map(|w| Timespec {
            tv_sec: w.as_secs() as i64,
            tv_nsec: i64::from(w.subsec_nanos()),
        });
        let mut space = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS_PER_TURN];
        // EINTR, the only error an epoll set that we own can have, is a turn without events.
        let ready: &[epoll::Event] =
            match epoll::wait(&self.core.epoll, &mut space[..], timeout.as_ref()) {
                Ok((ready, _)) => ready,
                Err(_) => &[],
            };
        if !time_given && wait != Some(Duration::ZERO) {
            self.core.now = Instant::now();
        }
        let woken = ready
            .iter()
            .any(|e| SourceId::from_u64(e.data.u64()) == WAKE);
        self.core.mailbox.woke(woken);
        self.serve(ready)
    }

    /// Mail, ready descriptors, timers, flush.
    fn serve(&mut self, ready: &[epoll::Event]) -> bool {
        let mut busy = false;
        // What is posted meanwhile waits for the next turn, so that who writes to himself leaves others their share.
        for _ in 0..self.core.mailbox.waiting() {
            let Some(message) = self.core.mailbox.take() else {
                break;
            };
            busy = true;
            self.receive(message);
        }
        for &event in ready {
            let flags = event.flags;
            let id = SourceId::from_u64(event.data.u64());
            if id == WAKE {
                continue;
            }
            busy = true;
            let failed = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
            let readiness = Readiness {
                readable: failed || flags.contains(epoll::EventFlags::IN),
                writable: failed || flags.contains(epoll::EventFlags::OUT),
            };
            self.call(id, |source, cx| source.ready(cx, readiness));
            self.settle();
            // What one connection asked for at once is answered at once. Those that are served after it, who may ask for
            // much, do not hold its answers back.
            self.flush();
        }
        if !self.put_off_timers(ready.len()) {
            busy |= self.run_timers();
        }
        self.settle();
        if self.core.pool.is_under_pressure() {
            self.shed();
        }
        self.flush();
        busy
    }

    /// Whether timers have to wait for what else there is to read: after a time in which the shard had no turn (the process
    /// was stopped) what arrived meanwhile comes before what it was waited for. Not for longer than it takes to serve
    /// every source once.
    fn put_off_timers(&mut self, ready: usize) -> bool {
        let last = std::mem::replace(&mut self.last_turn, self.core.now);
        if ready < EVENTS_PER_TURN {
            self.put_off = 0;
            return false;
        }
        if self.core.now.saturating_duration_since(last) >= STOPPED {
            self.put_off = self.core.live_sources / EVENTS_PER_TURN + 1;
        }
        self.put_off = self.put_off.saturating_sub(1);
        self.put_off > 0
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Completed { key, outcome, buf } => self.core.completed(key, outcome, buf),
            Message::Source { to, body } => {
                self.call(to, |source, cx| source.event(cx, Event::Message(body)))
            }
            Message::Run(task) => {
                task(&mut ShardCx {
                    core: &mut self.core,
                    this: WAKE,
                });
                self.adopt();
            }
            Message::RangeWanted(lock) => self.core.range_wanted(&lock),
            Message::RangeExcluded(key, id) => self.core.range_excluded(key, id),
            Message::RangeReleased(unit, id) => self.core.range_released(unit, id),
            Message::GateBound(unit, ticket, bound) => self.core.bound_closer(unit, ticket, bound),
            Message::GateOpened(unit) => self.core.gate_opened(unit),
            Message::Breath(breath) => {
                self.core.gate_opened(breath.unit());
                // They enter before the share goes.
                self.core.run_ready();
            }
            Message::Enabled(key) => self.core.enabled(key),
            Message::AcaEnded(unit) => self.core.aca_ended(unit),
            Message::Complete { to, tag } => self.core.complete(to, tag),
            Message::Sweep(share) => self.core.sweep(share),
            Message::Swept(unit, closed, reset) => self.core.swept(&unit, closed, reset),
            Message::Alone(key, closed) => self.core.run_alone(key, closed),
            Message::LunsChanged(nexus) => self.core.luns_changed(nexus),
            Message::Stop => self.stop(),
        }
        self.settle();
    }

    fn stop(&mut self) {
        self.core.stopping = true;
        for index in 0..self.core.slots.len() {
            let slot = &self.core.slots[index];
            if slot.live {
                let id = SourceId {
                    index: index as u32,
                    generation: slot.generation,
                };
                self.call(id, |source, cx| source.event(cx, Event::Stop));
            }
        }
    }

    fn run_timers(&mut self) -> bool {
        let mut busy = false;
        while let Some(&(at, abort)) = self.core.deadlines.first() {
            if at > self.core.now {
                break;
            }
            busy = true;
            self.core.deadlines.pop_first();
            self.core.give_up(abort);
        }
        busy |= self.core.look();
        busy |= self.core.end_waits_at_gates();
        while let Some(&(at, id)) = self.core.timers.first() {
            if at > self.core.now {
                break;
            }
            busy = true;
            self.core.set_timer(id, None);
            self.call(id, |source, cx| source.timeout(cx));
        }
        busy
    }

    /// Runs commands and delivers events until there are none.
    pub(super) fn settle(&mut self) {
        loop {
            self.core.run_ready();
            let Some((to, event)) = self.core.events.pop_front() else {
                break;
            };
            self.call(to, |source, cx| source.event(cx, event));
        }
    }

    fn flush(&mut self) {
        while let Some(id) = self.core.dirty.pop() {
            if let Some(slot) = self.core.slot(id) {
                slot.dirty = false;
                self.call_quietly(id, |source, cx| source.flush(cx));
                self.settle();
            }
        }
    }

    /// Calls a source, and has it flushed at the end of the turn.
    pub(super) fn call(&mut self, id: SourceId, f: impl FnOnce(&mut dyn Source, &mut ShardCx<'_>)) {
        self.core.touch(id);
        self.call_quietly(id, f);
    }

    fn call_quietly(&mut self, id: SourceId, f: impl FnOnce(&mut dyn Source, &mut ShardCx<'_>)) {
        if self.core.slot(id).is_none() {
            return;
        }
        let Some(mut source) = self
            .sources
            .get_mut(id.index as usize)
            .and_then(Option::take)
        else {
            return;
        };
        f(
            &mut *source,
            &mut ShardCx {
                core: &mut self.core,
                this: id,
            },
        );
        if self.core.slot(id).is_some() {
            self.sources[id.index as usize] = Some(source);
        } else {
            drop(source);
            self.core.free_slots.push(id.index);
        }
        self.adopt();
    }

    /// Takes in the sources that the last call added.
    fn adopt(&mut self) {
        while let Some((id, source)) = self.core.added.pop() {
            let index = id.index as usize;
            if self.sources.len() <= index {
                self.sources.resize_with(index + 1, || None);
            }
            self.sources[index] = Some(source);
            self.core.touch(id);
            if self.core.stopping {
                self.call(id, |source, cx| source.event(cx, Event::Stop));
            }
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.core.give_all_up();
        self.core.mailbox.close();
    }
}

/// Whether to spin before sleeping: only while events have lately come within twice the spin time of each other.
struct Spin {
    window: Duration,
    last: Option<Instant>,
    credit: u32,
}

impl Spin {
    const MAX_CREDIT: u32 = 16;

    fn new(window: Duration) -> Self {
        Self {
            window,
            last: None,
            credit: 0,
        }
    }

    fn on(&self, now: Instant) -> bool {
        self.credit > 0
            && self
                .last
                .is_some_and(|last| now.saturating_duration_since(last) < self.window)
    }

    fn turn(&mut self, busy: bool, now: Instant) {
        if !busy {
            return;
        }
        let dense = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < 2 * self.window);
        self.credit = if dense {
            (self.credit + 1).min(Self::MAX_CREDIT)
        } else {
            self.credit / 2
        };
        self.last = Some(now);
    }
}
