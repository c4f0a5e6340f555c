//! The right to complete a command, used exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::handler::Outcome;
use crate::sense::Sense;
use crate::shard::mailbox::{Mailbox, Message};

/// A command's place in its shard's slab. The generation tells a later tenant of the same place apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Whether a command may still take effect: settled once, by whoever comes first.
#[derive(Default)]
pub(crate) struct Cancel {
    state: AtomicU8,
    /// Runs when the command is aborted.
    on_abort: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cancel").field(&self.state).finish()
    }
}

impl Cancel {
    const OPEN: u8 = 0;
    const CANCELLED: u8 = 1;
    const COMMITTED: u8 = 2;

    /// False when the command took effect already.
    pub(crate) fn cancel(&self) -> bool {
        let cancelled = self.settle(Self::CANCELLED);
        if cancelled {
            self.tell();
        }
        cancelled
    }

    fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) == Self::CANCELLED
    }

    /// Runs what is to run at an abort, without the lock.
    fn tell(&self) {
        let told = self.on_abort.lock().take();
        if let Some(told) = told {
            told();
        }
    }

    fn settle(&self, to: u8) -> bool {
        // AcqRel: what one side did before it settled is seen by the other.
        let was = self
            .state
            .compare_exchange(Self::OPEN, to, Ordering::AcqRel, Ordering::Acquire);
        was.map_or_else(|now| now == to, |_| true)
    }
}

/// Notices the abort of a command. Of a token of [`Execution::defer`](crate::Execution::defer) it never does.
#[derive(Debug, Clone)]
pub struct AbortWatch(Option<Arc<Cancel>>);

impl AbortWatch {
    /// Has `told` run if the command is aborted before it takes effect; at once if it was already. It runs on a shard or
    /// on this thread and must not block. Of several calls the last counts.
    pub fn on_abort(&self, told: impl FnOnce() + Send + 'static) {
        let Some(cancel) = &self.0 else { return };
        *cancel.on_abort.lock() = Some(Box::new(told));
        // The abort came before the line above, or it finds what that line left.
        if cancel.is_cancelled() {
            cancel.tell();
        }
    }
}

/// Completes one command, once, from any thread. Dropped unanswered it answers HARDWARE ERROR.
#[derive(Debug)]
pub struct CompletionToken {
    mailbox: Option<Arc<Mailbox>>,
    key: CommandKey,
    cancel: Option<Arc<Cancel>>,
}

impl CompletionToken {
    pub(crate) fn new(mailbox: Arc<Mailbox>, key: CommandKey, cancel: Option<Arc<Cancel>>) -> Self {
        Self {
            mailbox: Some(mailbox),
            key,
            cancel,
        }
    }

    /// Whether the command may take effect. Of this and an abort of the command the first counts: after true no
    /// abort is answered as if nothing had happened, after false nothing may happen. Always true for a token of
    /// [`Execution::defer`](crate::Execution::defer).
    #[must_use]
    pub fn commit(&self) -> bool {
        self.cancel
            .as_ref()
            .is_none_or(|cancel| cancel.settle(Cancel::COMMITTED))
    }

    /// Whether the command was aborted, as far as is known: a hint to stop early.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cancel
            .as_ref()
            .is_some_and(|cancel| cancel.is_cancelled())
    }

    /// Lets an abort of the command be noticed by whoever does not hold the token.
    #[must_use]
    pub fn watch(&self) -> AbortWatch {
        AbortWatch(self.cancel.clone())
    }

    /// Ends the command. `buf` goes back to its shard, with Data-In at its start if `outcome` says so.
    pub fn complete(mut self, outcome: Outcome, buf: IoBuf) {
        self.send(outcome, buf);
    }

    fn send(&mut self, outcome: Outcome, buf: IoBuf) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.post(Message::Completed {
                key: self.key,
                outcome,
                buf,
            });
        }
    }
}

impl Drop for CompletionToken {
    fn drop(&mut self) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.dropped_tokens.add(1);
            self.send(
                Outcome::check(Sense::hardware(Asc::INTERNAL_TARGET_FAILURE)),
                IoBuf::empty(),
            );
        }
    }
}
