//! A channel that was let in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::budget::Budget;
use lunforge_core::shard::ShardCx;
use lunforge_core::tmf::{Function, Response};

use super::command::Slot;
use crate::fabric::{Completion, Endpoint};
use crate::io::receives::Held;
use crate::io::registry::{NexusName, Place};
use crate::io::service::{Barrier, Notice, Service};
use crate::io::session::{Gauge, Session};
use crate::proto::channel::{self, Event};
use crate::proto::iu::logout::LogoutReason;
use crate::proto::login::Terms;
use crate::proto::tags::TaskId;

/// How long the last words get to leave.
const GRACE: Duration = Duration::from_millis(250);
/// How long running commands get when the engine stops.
const STOP_GRACE: Duration = Duration::from_millis(200);
/// How long buffers of a lost connection are waited for before the endpoint is dropped with them.
const LINGER: Duration = Duration::from_secs(80);
/// Batches of completions taken in one turn.
const ROUNDS: usize = 8;
/// Task management that this channel asks for itself.
const OWN_TAG: u64 = u64::MAX;

/// What an ending channel waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It goes on.
    No,
    /// Its own commands; others of the session go on.
    Commands,
    /// The I_T nexus.
    Nexus,
    /// Its buffers only; it is no part of the session any more.
    Buffers,
    /// Nothing.
    Over,
}

pub(super) struct Open {
    pub(super) service: Arc<Service>,
    me: Place,
    name: NexusName,
    number: u32,
    pub(super) endpoint: Box<dyn Endpoint>,
    /// The memory of its receive buffers.
    _receives: Held,
    pub(super) wire: channel::Channel,
    pub(super) session: Arc<Session>,
    budget: Budget,
    pub(super) slots: Vec<Slot>,
    /// What is to be sent next.
    pub(super) out: Vec<u8>,
    completions: Vec<Completion>,
    /// Commands and functions that the core has.
    pub(super) in_core: usize,
    sends_out: usize,
    pub(super) reads_out: usize,
    pub(super) writes_out: usize,
    /// Since when the initiator's side has owed the end of something that is out, and has not ended anything.
    owed_since: Option<Instant>,
    /// The timer will look at that.
    watched: bool,
    /// Barriers that wait for so many writes.
    pub(super) behind_writes: Vec<(usize, Arc<Barrier>)>,
    last_words: bool,
    ending: Ending,
    gauge: Arc<Gauge>,
}

impl Open {
    pub(super) fn new(
        cx: &mut ShardCx<'_>,
        service: Arc<Service>,
        (me, name): (Place, NexusName),
        (number, terms): (u32, Terms),
        (endpoint, receives): (Box<dyn Endpoint>, Held),
        session: Arc<Session>,
    ) -> Self {
        let budget = cx.budget(session.nexus).cloned();
        let wire = channel::Channel::new(number, terms);
        let gauge = session.gauge();
        gauge.set(wire.credits(), false);
        Self {
            budget: budget.unwrap_or_else(|| cx.pool().budget(usize::MAX)),
            service,
            me,
            name,
            number,
            endpoint,
            _receives: receives,
            wire,
            session,
            slots: Vec::new(),
            out: Vec::new(),
            completions: Vec::new(),
            in_core: 0,
            sends_out: 0,
            reads_out: 0,
            writes_out: 0,
            owed_since: None,
            watched: false,
            behind_writes: Vec::new(),
            last_words: false,
            ending: Ending::No,
            gauge,
        }
    }

    /// Whether it ends: nothing is answered any more.
    pub(super) fn ends(&self) -> bool {
        self.ending != Ending::No
    }

    pub(super) fn task(&self, index: u32) -> TaskId {
        TaskId {
            channel: self.number,
            index,
        }
    }

    /// Takes what the fabric has.
    pub(super) fn poll(&mut self, cx: &mut ShardCx<'_>) {
        for _ in 0..ROUNDS {
            let mut batch = std::mem::take(&mut self.completions);
            let more = self.endpoint.poll(&mut batch);
            for completion in batch.drain(..) {
                self.completion(cx, completion);
            }
            self.completions = batch;
            if !more {
                return;
            }
        }
        self.me.tell(Notice::Poll);
    }

    fn completion(&mut self, cx: &mut ShardCx<'_>, completion: Completion) {
        let moves = matches!(
            completion,
            Completion::Sent | Completion::Read { .. } | Completion::Wrote { .. }
        );
        if moves {
            self.owed_since = None;
        }
        match completion {
            Completion::Established => {}
            Completion::Received(buf, len) => {
                if !self.ends() {
                    let iu = buf.contiguous(0..len).unwrap_or_default();
                    self.receive(cx, iu);
                }
                // Of one that ends it comes back as unused, unless it is shared.
                self.endpoint.receive(buf);
            }
            Completion::Sent => {
                self.sends_out = self.sends_out.saturating_sub(1);
                if self.last_words && self.sends_out == 0 {
                    self.end(cx);
                }
            }
            Completion::Read { id, buf, result } => {
                self.reads_out = self.reads_out.saturating_sub(1);
                self.read(cx, id, buf, result.is_ok());
                if result.is_err() {
                    self.lost(cx);
                }
            }
            Completion::Wrote { buf, result, .. } => {
                cx.pool().recycle(buf);
                self.wrote();
                if result.is_err() {
                    self.lost(cx);
                }
            }
            Completion::Unused(buf) => cx.pool().recycle(buf),
            Completion::Disconnected => self.lost(cx),
        }
    }

    fn receive(&mut self, cx: &mut ShardCx<'_>, iu: &[u8]) {
        let event = {
            let mut tags = self.session.tags.lock();
            self.wire.receive(&mut tags, iu, &mut self.out)
        };
        match event {
            Event::Command {
                task,
                command,
                attribute,
            } => self.command(cx, task, &command, attribute),
            Event::Function {
                task,
                lun,
                function,
            } => {
                self.in_core += 1;
                cx.task_management(self.session.nexus, lun, function, task.to_u64());
            }
            Event::Answered => self.send(),
            Event::Nothing => {}
            Event::Logout => {
                self.service.tally.logouts.add(1);
                self.end(cx);
            }
            Event::Broken(violation) => {
                self.service.tally.violations.add(1);
                if let Some(left_out) = self.service.logs.ended.say(cx.now()) {
                    let initiator = self.name.initiator;
                    tracing::info!(%initiator, reason = %violation, left_out, "SRP channel closed");
                }
                self.say_last_words(cx);
            }
        }
    }

    /// Sends what is in `out`.
    pub(super) fn send(&mut self) {
        if !self.out.is_empty() {
            self.endpoint.send(&self.out);
            self.sends_out += 1;
            self.out.clear();
        }
    }

    /// Sends what is in `out`, then ends the channel.
    fn say_last_words(&mut self, cx: &mut ShardCx<'_>) {
        self.send();
        self.last_words = true;
        let at = cx.now() + GRACE;
        cx.set_timer(Some(at));
        cx.wants_flush();
    }

    /// Logs the initiator out.
    pub(super) fn log_out(&mut self, cx: &mut ShardCx<'_>, reason: LogoutReason) {
        if !self.ends() && self.wire.log_out(reason, &mut self.out) {
            self.say_last_words(cx);
        }
    }

    /// The engine stops.
    pub(super) fn stop(&mut self, cx: &mut ShardCx<'_>) {
        let at = cx.now() + if self.ends() { GRACE } else { STOP_GRACE };
        cx.set_timer(Some(at));
        if self.in_core == 0 {
            self.log_out(cx, LogoutReason::Unspecified);
        }
    }

    pub(super) fn timeout(&mut self, cx: &mut ShardCx<'_>) {
        match self.ending {
            Ending::No if self.last_words => self.end(cx),
            Ending::No if cx.stopping() => self.log_out(cx, LogoutReason::Unspecified),
            Ending::No => self.look(cx),
            // The endpoint goes, and its hardware cannot reach the buffers from then on.
            Ending::Buffers => self.ending = Ending::Over,
            // What the core bounds.
            _ => {
                let at = cx.now() + GRACE;
                cx.set_timer(Some(at));
            }
        }
    }

    pub(super) fn flush(&mut self, cx: &mut ShardCx<'_>) {
        if !self.ends() {
            let all = self.wire.terms().depth;
            self.wire.aim(if self.budget.is_tight() { 1 } else { all });
            if self.wire.ask(&mut self.out) {
                self.service.tally.credit_requests.add(1);
                self.send();
            }
            if cx.stopping() && self.in_core == 0 && !self.last_words {
                self.log_out(cx, LogoutReason::Unspecified);
            }
        }
        self.endpoint.flush();
        self.gauge.set(self.wire.credits(), self.ends());
        self.watch(cx);
        self.settle();
    }

    /// Notes since when something is owed, and has it looked at when it has been for too long.
    fn watch(&mut self, cx: &mut ShardCx<'_>) {
        if self.sends_out + self.reads_out + self.writes_out == 0 {
            return;
        }
        let since = *self.owed_since.get_or_insert(cx.now());
        let free = !self.watched && !self.ends() && !self.last_words && !cx.stopping();
        if free {
            self.watched = true;
            cx.set_timer(Some(since + self.service.limits.stall));
        }
    }

    /// Looks whether something has been owed for too long.
    fn look(&mut self, cx: &mut ShardCx<'_>) {
        self.watched = false;
        let stall = self.service.limits.stall;
        let over = |since| cx.now().saturating_duration_since(since) >= stall;
        if self.owed_since.is_some_and(over) {
            self.service.tally.stalled.add(1);
            return self.give_up(cx, "the initiator takes nothing any more");
        }
        self.watch(cx);
    }

    /// Since when the peer has owed something and not moved.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.owed_since.filter(|_| !self.ends())
    }

    /// Buffers run out, and this one does not move.
    pub(super) fn shed(&mut self, cx: &mut ShardCx<'_>) {
        self.service.tally.shed.add(1);
        self.give_up(cx, "buffers run out, and it does not move");
    }

    /// Ends it without a word, which would not arrive.
    fn give_up(&mut self, cx: &mut ShardCx<'_>, why: &str) {
        if let Some(left_out) = self.service.logs.ended.say(cx.now()) {
            let initiator = self.name.initiator;
            tracing::warn!(%initiator, reason = why, left_out, "SRP channel closed");
        }
        self.end(cx);
    }

    fn lost(&mut self, cx: &mut ShardCx<'_>) {
        if !self.ends() {
            self.service.tally.lost.add(1);
            self.end(cx);
        }
    }

    /// Ends the channel: the connection at once, the rest when the core and the fabric have given everything back.
    fn end(&mut self, cx: &mut ShardCx<'_>) {
        if self.ends() {
            return;
        }
        self.wire.lose();
        self.endpoint.disconnect();
        let last = {
            let mut registry = self.service.registry.lock();
            registry.leaving(&self.name, self.number)
        };
        let nexus = self.session.nexus;
        if last {
            self.ending = Ending::Nexus;
            cx.close_nexus(nexus);
        } else {
            self.ending = Ending::Commands;
            // Others of the session go on: only what came by this channel ends.
            for (index, slot) in (0..).zip(&self.slots) {
                if slot.in_core {
                    let task = self.task(index).to_u64();
                    cx.task_management(nexus, slot.lun, Function::AbortTask(task), OWN_TAG);
                }
            }
        }
        let linger = if cx.stopping() { GRACE } else { LINGER };
        let at = cx.now() + linger;
        cx.set_timer(Some(at));
        // What comes back may be there already.
        self.me.tell(Notice::Poll);
    }

    pub(super) fn nexus_closed(&mut self) {
        if self.ending == Ending::Nexus {
            self.leave();
        }
    }

    /// The session has nothing to do with the channel any more.
    fn leave(&mut self) {
        self.ending = Ending::Buffers;
        self.session.tags.lock().forget(self.number);
        self.behind_writes.clear();
        let waiters = {
            let mut registry = self.service.registry.lock();
            registry.left(&self.name, self.number)
        };
        waiters.iter().for_each(|place| place.tell(Notice::Free));
    }

    fn settle(&mut self) {
        if self.ending == Ending::Commands && self.in_core == 0 {
            self.leave();
        }
        if self.ending == Ending::Buffers && self.endpoint.in_flight() == 0 {
            self.ending = Ending::Over;
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.ending == Ending::Over
    }

    /// A task management function has ended in the core. It is answered when data that is on its way has arrived.
    pub(super) fn function_ended(&mut self, tag: u64, response: Response) {
        if tag == OWN_TAG {
            return;
        }
        self.in_core = self.in_core.saturating_sub(1);
        let barrier = Arc::new(Barrier {
            to: self.me.clone(),
            task: TaskId::from_u64(tag),
            response,
        });
        // Writes of this channel arrive before the answer does.
        self.hold_reads(&barrier);
        let siblings = {
            let registry = self.service.registry.lock();
            registry.siblings(&self.name, self.number)
        };
        for place in siblings {
            place.tell(Notice::Barrier(Arc::clone(&barrier)));
        }
    }

    /// Holds a barrier until what is on its way has arrived.
    pub(super) fn hold(&mut self, barrier: &Arc<Barrier>) {
        self.hold_reads(barrier);
        if self.writes_out > 0 {
            self.behind_writes
                .push((self.writes_out, Arc::clone(barrier)));
        }
    }

    fn hold_reads(&mut self, barrier: &Arc<Barrier>) {
        let moving = self.slots.iter_mut().filter(|slot| slot.is_reading());
        moving.for_each(|slot| slot.barriers.push(Arc::clone(barrier)));
    }

    pub(super) fn function_passed(&mut self, task: TaskId, response: Response) {
        {
            let mut tags = self.session.tags.lock();
            self.wire
                .respond_function(&mut tags, task, response, &mut self.out);
        }
        self.send();
    }

    fn wrote(&mut self) {
        self.writes_out = self.writes_out.saturating_sub(1);
        self.behind_writes.retain_mut(|(writes, _)| {
            *writes -= 1;
            *writes > 0
        });
    }
}
