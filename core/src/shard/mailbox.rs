//! What other threads tell a shard: a queue and, only while the shard sleeps, a wake-up.

use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam::queue::SegQueue;
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

use crate::buffer::IoBuf;
use crate::gate::Ticket;
use crate::handler::Outcome;
use crate::lu::{Breath, Closed, LogicalUnit, UnitId};
use crate::range::{RangeId, RangeLock};
use crate::shard::completion::CommandKey;
use crate::shard::{NexusKey, ShardCx, SourceId};
use crate::stats::Counter;
use crate::tmf::sweep::Share;

/// Work that was sent to a shard to run there.
pub(crate) type Task = Box<dyn FnOnce(&mut ShardCx<'_>) + Send>;

pub(crate) enum Message {
    /// A deferred command ended.
    Completed {
        key: CommandKey,
        outcome: Outcome,
        buf: IoBuf,
    },
    /// A transport's message from one of its parts to another.
    Source {
        to: SourceId,
        body: Box<dyn Any + Send>,
    },
    /// Run this.
    Run(Task),
    /// A range of blocks is going to be excluded.
    RangeWanted(Arc<RangeLock>),
    /// It is: the command that wanted it may run.
    RangeExcluded(CommandKey, RangeId),
    /// It is not any more.
    RangeReleased(UnitId, RangeId),
    /// A closer of a unit's gate waits for so long at most.
    GateBound(Weak<LogicalUnit>, Ticket, Duration),
    /// A unit's gate opened again: its waiting commands go on.
    GateOpened(UnitId),
    /// A command's turn in a shared task set has come.
    Enabled(CommandKey),
    /// The ACA of a shared task set is over: blocked commands of the unit go on.
    AcaEnded(UnitId),
    /// A task management function that went over all shards is complete.
    Complete { to: SourceId, tag: u64 },
    /// Abort, or give up, the commands of a unit on this shard that a sweep wants.
    Sweep(Share),
    /// All shards have swept for a reset (its place here) and the unit's gate is closed and empty.
    Swept(Arc<LogicalUnit>, Option<Closed>, usize),
    /// It is open for the commands that waited.
    Breath(Arc<Breath>),
    /// A command that runs alone has the unit's gate closed for it, or has waited for that in vain.
    Alone(CommandKey, Option<Closed>),
    /// The view of a session changed: take commands of units that are gone out.
    LunsChanged(NexusKey),
    /// Finish what runs, take nothing new.
    Stop,
}

/// A shard's letter box. Any thread may post; only the shard takes.
pub(crate) struct Mailbox {
    queue: SegQueue<Message>,
    asleep: AtomicBool,
    /// The shard has ended: mail is dropped, which tells whoever waits for it.
    closed: AtomicBool,
    wake: OwnedFd,
    /// Operations that a backend still owns although the shard has ended, and whether it could not fence them: then their
    /// end lets commands at the unit's medium again.
    orphans: Mutex<Vec<(CommandKey, Weak<LogicalUnit>, bool)>>,
    /// Completion tokens that were dropped unanswered: each one a bug of a handler.
    pub(crate) dropped_tokens: Counter,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("waiting", &self.queue.len())
            .finish_non_exhaustive()
    }
}

impl Mailbox {
    pub(crate) fn new() -> std::io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self {
            queue: SegQueue::new(),
            asleep: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            wake,
            orphans: Mutex::default(),
            dropped_tokens: Counter::default(),
        })
    }

    pub(crate) fn post(&self, message: Message) {
        self.queue.push(message);
        // Pairs with the fence in `sleep`: either the shard sees the message or we see it asleep.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            return self.drop_mail();
        }
        if self.asleep.swap(false, Ordering::AcqRel) {
            // A full counter wakes as well; no other error can concern an eventfd that we own.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    /// The shard ends with this operation unfinished. Before [`Mailbox::close`].
    pub(crate) fn orphan(&self, key: CommandKey, unit: &Arc<LogicalUnit>, unfenced: bool) {
        let orphan = (key, Arc::downgrade(unit), unfenced);
        self.orphans.lock().push(orphan);
    }

    fn orphan_ended(&self, ended: CommandKey) {
        let orphan = {
            let mut orphans = self.orphans.lock();
            let at = orphans.iter().position(|(key, ..)| *key == ended);
            at.map(|at| orphans.swap_remove(at))
        };
        // Not under the lock: the last to hold the unit drops its handler, which may hold further operations.
        if let Some((_, unit, unfenced)) = orphan
            && let Some(unit) = unit.upgrade()
        {
            unit.operation_ended(unfenced);
        }
    }

    /// Messages that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The shard has ended.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        // Pairs with the fence in `post`: either the poster sees it closed, or we see its message.
        fence(Ordering::SeqCst);
        self.drop_mail();
    }

    fn drop_mail(&self) {
        while let Some(message) = self.queue.pop() {
            if let Message::Completed { key, .. } = message {
                self.orphan_ended(key);
            }
        }
    }

    pub(crate) fn take(&self) -> Option<Message> {
        self.queue.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Says that the shard is about to sleep. False when there is mail, and it must not.
    pub(crate) fn sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.asleep.store(false, Ordering::Release);
        false
    }

    /// The shard is up; clears the wake-up when there was one.
    pub(crate) fn woke(&self, signalled: bool) {
        self.asleep.store(false, Ordering::Release);
        if signalled {
            let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        }
    }

    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
