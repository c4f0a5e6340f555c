//! The right to complete a command, used exactly once.

use std::sync::Arc;

use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::handler::Outcome;
use crate::sense::Sense;
use crate::shard::mailbox::{Mailbox, Message};

/// A command's place in its shard's slab. The generation tells a later tenant of the same place apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommandKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Completes one command, once, from any thread. Dropped unanswered it answers HARDWARE ERROR.
#[derive(Debug)]
pub struct CompletionToken {
    mailbox: Option<Arc<Mailbox>>,
    key: CommandKey,
}

impl CompletionToken {
    pub(crate) fn new(mailbox: Arc<Mailbox>, key: CommandKey) -> Self {
        Self {
            mailbox: Some(mailbox),
            key,
        }
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
