//! A logical unit: a device handler and what the pipeline keeps for it, shared by all shards.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::asc::Asc;
use crate::backend::Backend;
use crate::cdb::{self, CommandId};
use crate::deadline::{Ladder, LadderError};
use crate::gate::{Gate, Opened, Ticket};
use crate::handler::{DeviceHandler, UnitEvents};
use crate::measure::Measures;
use crate::nexus::{Itl, NexusId};
use crate::range::Ranges;
use crate::service::UnitService;
use crate::shard::mailbox::{Mailbox, Message};
use crate::spc;
use crate::stats::IoStats;
use crate::task_set::shared::SharedTaskSet;
use crate::tmf::sweep::Sweep;

mod closed;
mod reach;

pub(crate) use closed::Breath;
pub use closed::Closed;
use reach::Reach;

/// Tells units of a process apart; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitId(u64);

static NEXT_UNIT: AtomicU64 = AtomicU64::new(1);

/// See the module's head. A unit may be a LUN of several targets; it belongs to one engine.
pub struct LogicalUnit {
    id: UnitId,
    handler: Arc<dyn DeviceHandler>,
    services: Vec<Arc<dyn UnitService>>,
    owners: Owners,
    pub(crate) gate: Gate,
    pub(crate) ranges: Ranges,
    /// The task set of all nexuses (TST 000b); with TST 001b each has its own, on its shard.
    pub(crate) tasks: Option<SharedTaskSet>,
    /// Operations that a backend still owns although their commands were given up, and that it could not fence.
    pub(crate) unfenced: AtomicUsize,
    backend: Backend,
    ladder: Ladder,
    resets: AtomicU64,
    itls: Mutex<Vec<Weak<Itl>>>,
    targets: Mutex<Vec<Reach>>,
    shards: Mutex<Vec<Arc<Mailbox>>>,
    stats: [IoStats; STAT_LANES],
    measures: Measures,
}

/// Shards with counters of their own; further ones share.
const STAT_LANES: usize = 8;

impl std::fmt::Debug for LogicalUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogicalUnit")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Who executes a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    Core,
    Handler,
    Service(u8),
    /// The handler, from another unit: an inner command that copies ([`crate::command::CopyFrom`]).
    Copy,
}

/// The owner of every command, looked up once when the unit is made.
struct Owners([Owner; CommandId::COUNT]);

impl Owners {
    fn new(handler: &dyn DeviceHandler, services: &[Arc<dyn UnitService>]) -> Self {
        let owner = |id| {
            if spc::executes(id) {
                return Owner::Core;
            }
            let service = services.iter().position(|service| service.claims(id));
            match service.and_then(|at| u8::try_from(at).ok()) {
                Some(at) => Owner::Service(at),
                None if handler.supports(id) => Owner::Handler,
                None => Owner::Nobody,
            }
        };
        let mut owners = [Owner::Nobody; CommandId::COUNT];
        for (slot, row) in owners.iter_mut().zip(&cdb::table::TABLE) {
            *slot = owner(row.id);
        }
        Self(owners)
    }
}

/// Describes a unit with more than a device type.
pub struct LogicalUnitBuilder {
    handler: Arc<dyn DeviceHandler>,
    services: Vec<Arc<dyn UnitService>>,
    ladder: Ladder,
}

impl std::fmt::Debug for LogicalUnitBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogicalUnitBuilder")
            .field("services", &self.services.len())
            .finish_non_exhaustive()
    }
}

impl LogicalUnitBuilder {
    /// Adds a service. Of several that refuse a command the first added explains; access states belong before
    /// reservations, so that an initiator tries another path before it believes in a conflict.
    #[must_use]
    pub fn service(mut self, service: Arc<dyn UnitService>) -> Self {
        self.services.push(service);
        self
    }

    /// Sets the times after which a command that its backend does not answer, or that waits, is answered all the same;
    /// [`Ladder::default`] unless set.
    ///
    /// # Errors
    /// Those of [`Ladder::check`].
    pub fn ladder(mut self, ladder: Ladder) -> Result<Self, LadderError> {
        ladder.check()?;
        self.ladder = ladder;
        Ok(self)
    }

    /// Makes the unit.
    pub fn build(self) -> Arc<LogicalUnit> {
        let Self {
            handler,
            services,
            ladder,
        } = self;
        let tasks = handler.control().shared_task_set.then(Default::default);
        Arc::new_cyclic(|weak| {
            handler.attached(UnitEvents(Weak::clone(weak)));
            for service in &services {
                service.attached(Weak::clone(weak));
            }
            LogicalUnit {
                id: UnitId(NEXT_UNIT.fetch_add(1, Ordering::Relaxed)),
                owners: Owners::new(&*handler, &services),
                handler,
                services,
                gate: Gate::new(),
                ranges: Ranges::default(),
                tasks,
                unfenced: AtomicUsize::new(0),
                backend: Backend::default(),
                ladder,
                resets: AtomicU64::new(0),
                itls: Mutex::default(),
                targets: Mutex::default(),
                shards: Mutex::default(),
                stats: Default::default(),
                measures: Measures::default(),
            }
        })
    }
}

impl LogicalUnit {
    /// A unit over `handler`, without services.
    pub fn new(handler: impl DeviceHandler) -> Arc<Self> {
        Self::from_arc(Arc::new(handler))
    }

    /// As [`LogicalUnit::new`], for a handler that its owner keeps a hand on.
    pub fn from_arc(handler: Arc<dyn DeviceHandler>) -> Arc<Self> {
        Self::builder(handler).build()
    }

    /// Starts to describe a unit over `handler`.
    pub fn builder(handler: Arc<dyn DeviceHandler>) -> LogicalUnitBuilder {
        LogicalUnitBuilder {
            handler,
            services: Vec::new(),
            ladder: Ladder::default(),
        }
    }

    /// The unit's id in this process.
    pub fn id(&self) -> UnitId {
        self.id
    }

    /// The device type behind the unit.
    pub fn handler(&self) -> &Arc<dyn DeviceHandler> {
        &self.handler
    }

    /// What the unit offers beyond its device type.
    pub fn services(&self) -> &[Arc<dyn UnitService>] {
        &self.services
    }

    /// How the unit's backend answers.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The times that the unit keeps.
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// An operation of a command that was given up has ended.
    pub(crate) fn operation_ended(&self, unfenced: bool) {
        if unfenced {
            self.unfenced.fetch_sub(1, Ordering::AcqRel);
        }
        self.backend.ended(|| self.handler.identity().serial);
    }

    pub(crate) fn owner(&self, command: CommandId) -> Owner {
        self.owners.0[command as usize]
    }

    pub(crate) fn service(&self, at: u8) -> Option<&Arc<dyn UnitService>> {
        self.services.get(usize::from(at))
    }

    /// Whether a command is supported now.
    pub fn supports(&self, command: CommandId) -> bool {
        match self.owner(command) {
            Owner::Nobody => false,
            Owner::Core | Owner::Handler | Owner::Copy => true,
            Owner::Service(at) => self.service(at).is_some_and(|s| s.supports(command)),
        }
    }

    /// What went to the unit over all nexuses, in parts that add up.
    pub fn stats(&self) -> &[IoStats] {
        &self.stats
    }

    /// How long its commands took, and how they ended.
    pub fn measures(&self) -> &Measures {
        &self.measures
    }

    pub(crate) fn stats_of(&self, shard: usize) -> &IoStats {
        &self.stats[shard % STAT_LANES]
    }

    /// The sessions that have used the unit and live.
    pub fn itls(&self) -> Vec<Arc<Itl>> {
        self.itls.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Establishes a unit attention for every nexus except `but`. Any thread; does not block.
    pub fn unit_attention(&self, asc: Asc, but: Option<NexusId>) {
        for itl in self.itls() {
            if Some(itl.nexus.id) != but {
                itl.ua.establish(asc);
            }
        }
    }

    /// Closes the gate: runs `action` when no command of the unit executes on any shard. None starts before
    /// [`Closed`] is dropped, which may be later and on another thread. `action` runs on this thread or on the one
    /// whose command ends last, and must not block. Several closers take turns. Not bounded: a command that its backend
    /// never ends keeps the action waiting until it is aborted.
    pub fn close_gate(self: &Arc<Self>, action: impl FnOnce(Closed) + Send + 'static) {
        let unit = Arc::clone(self);
        self.gate.close(Box::new(move |closed| {
            if closed {
                action(Closed(unit));
            }
        }));
    }

    /// As [`LogicalUnit::close_gate`], for so long at most: with `None` when commands still execute at the end of
    /// `bound`, or when [`LogicalUnit::stop_waiting`] ends the wait before. So nobody else's commands wait longer than
    /// that for one that its backend does not end; and those that wait have their turn before the next closer of this
    /// kind. Not bounded while no engine serves the unit.
    pub fn close_gate_within(
        self: &Arc<Self>,
        bound: Duration,
        action: impl FnOnce(Option<Closed>) + Send + 'static,
    ) -> Ticket {
        let unit = Arc::clone(self);
        let ticket = self.gate.close_patiently(Box::new(move |closed| {
            action(closed.then(|| Closed(unit)));
        }));
        // Every shard keeps the bound: one of them may end. An action that begins meanwhile, or was taken back by
        // another shard, cannot be taken back, which does no harm.
        if self.gate.waits(ticket) {
            for shard in self.shards() {
                shard.post(Message::GateBound(Arc::downgrade(self), ticket, bound));
            }
        }
        ticket
    }

    /// As [`LogicalUnit::close_gate_within`], with a caller that keeps the bound himself.
    pub(crate) fn close_gate_patiently(
        self: &Arc<Self>,
        action: impl FnOnce(Option<Closed>) + Send + 'static,
    ) -> Ticket {
        let unit = Arc::clone(self);
        self.gate.close_patiently(Box::new(move |closed| {
            action(closed.then(|| Closed(unit)));
        }))
    }

    /// Ends the wait of a closer whose action has not begun; of another it changes nothing.
    pub fn stop_waiting(self: &Arc<Self>, ticket: Ticket) {
        self.opened(self.gate.withdraw(ticket));
    }

    /// Runs `action` as [`LogicalUnit::close_gate`] does, and lets waiting commands go on when it returns.
    pub fn exclusively(self: &Arc<Self>, action: impl FnOnce() + Send + 'static) {
        self.close_gate(move |_closed| action());
    }

    /// Ends all commands that these nexuses have for the unit, on every shard; then calls `then`, on a shard or on this
    /// thread, which must not block. Bounded by [`crate::tmf::BOUND`]. The commands end as aborted by another
    /// nexus: with TASK ABORTED if TAS is one, else silently; then each nexus that loses a command so is told `attention`
    /// (SAM-5 5.6), unless the caller tells them by himself. An auto contingent allegiance of one of the nexuses ends
    /// (SPC-4 5.13.11.2.6).
    pub fn abort_nexuses(
        self: &Arc<Self>,
        nexuses: Vec<NexusId>,
        attention: Option<Asc>,
        then: impl FnOnce() + Send + 'static,
    ) {
        Sweep::nexuses(self, nexuses, attention, Box::new(then));
    }

    /// Ends the ACA of a shared task set if `of` names the faulted nexus: blocked commands of all shards go on.
    pub(crate) fn end_shared_aca(&self, of: impl FnOnce(NexusId) -> bool) {
        if self.tasks.as_ref().is_some_and(|tasks| tasks.end_aca(of)) {
            for mailbox in self.shards() {
                mailbox.post(Message::AcaEnded(self.id));
            }
        }
    }

    /// What nexuses may do has changed: commands that wait for that go on.
    pub fn access_changed(&self) {
        for mailbox in self.shards() {
            mailbox.post(Message::GateOpened(self.id));
        }
    }

    /// Commands that wait at the gate go on, as far as they may.
    fn opened(self: &Arc<Self>, opened: Opened) {
        match opened {
            Opened::Open => self.access_changed(),
            Opened::Closed => {}
            Opened::Breath(breath) => {
                let breath = Arc::new(Breath(Arc::clone(self), breath));
                for mailbox in self.shards() {
                    mailbox.post(Message::Breath(Arc::clone(&breath)));
                }
            }
        }
    }

    pub(crate) fn join(&self, itl: &Arc<Itl>) {
        {
            let mut itls = self.itls.lock();
            itls.retain(|w| w.strong_count() > 0);
            itls.push(Arc::downgrade(itl));
        }
        for service in &self.services {
            service.joined(itl);
        }
    }

    /// An I_T_L nexus ends. Unless the session uses the unit by another LUN, it has lost the unit.
    pub(crate) fn leave(&self, itl: &Arc<Itl>, another: bool) {
        self.itls
            .lock()
            .retain(|weak| !std::ptr::eq(weak.as_ptr(), Arc::as_ptr(itl)));
        if another {
            return;
        }
        for service in &self.services {
            service.left(itl);
        }
        // The loss of the faulted nexus ends its ACA (SAM-5 5.9.5).
        self.end_shared_aca(|faulted| faulted == itl.nexus.id);
        self.handler.nexus_lost(itl.nexus.id);
    }

    /// How often the unit was reset: who works for long over several commands sees whether it still is his unit.
    pub(crate) fn resets(&self) -> u64 {
        // Acquire: who sees the number sees the reset.
        self.resets.load(Ordering::Acquire)
    }

    /// A reset's part that concerns the unit; its gate is closed and empty.
    pub(crate) fn reset(&self) {
        self.resets.fetch_add(1, Ordering::AcqRel);
        self.handler.reset();
        self.services.iter().for_each(|service| service.reset());
    }

    /// Makes the unit known to an engine's shards. Idempotent.
    pub(crate) fn bind(&self, shards: &[Arc<Mailbox>]) {
        let mut bound = self.shards.lock();
        for shard in shards {
            if !bound.iter().any(|b| Arc::ptr_eq(b, shard)) {
                bound.push(Arc::clone(shard));
            }
        }
    }

    /// Forgets shards that have ended: nothing waits for them any more.
    pub(crate) fn unbind(&self, shards: &[Arc<Mailbox>]) {
        let ended = |bound: &Arc<Mailbox>| shards.iter().any(|s| Arc::ptr_eq(s, bound));
        self.shards.lock().retain(|bound| !ended(bound));
    }

    /// A copy: mail to a shard that has ended is dropped by who posts it, and with it may go a [`Closed`] of this unit,
    /// which comes back here. The lock must not be held then.
    pub(crate) fn shards(&self) -> Vec<Arc<Mailbox>> {
        self.shards.lock().clone()
    }
}

impl PartialEq for LogicalUnit {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for LogicalUnit {}

/// What may become a LUN of a target: a unit that exists, or a handler to make one of.
pub trait IntoLogicalUnit {
    /// The unit.
    fn into_logical_unit(self) -> Arc<LogicalUnit>;
}

impl IntoLogicalUnit for Arc<LogicalUnit> {
    fn into_logical_unit(self) -> Arc<LogicalUnit> {
        self
    }
}

impl<H: DeviceHandler> IntoLogicalUnit for H {
    fn into_logical_unit(self) -> Arc<LogicalUnit> {
        LogicalUnit::new(self)
    }
}
