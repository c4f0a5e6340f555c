//! The steps of a change that cannot be made at once.
//!
//! ```text
//! turn → apply → store → close the gate, abort the victims' commands → commit → publish → unit attentions
//!      → abort what the victims still have → status → open the gate → next turn
//! ```
//!
//! The gate closes only if somebody loses rights, and for PREEMPT AND ABORT only if somebody else than its victims
//! does: theirs ends with the sweep that follows the publication, which is bounded whatever the backend does. A command
//! looks at its rights and begins to execute in one go on its shard, so the sweep finds it or it finds the new rights.
//!
//! Storing comes before the gate closes, so that a slow disk delays this command and nobody's I/O. Up to `commit` an
//! abort of the command wins; then what was stored is stored back.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::Outcome;
use lunforge_core::lu::{Closed, LogicalUnit};
use lunforge_core::nexus::NexusId;
use lunforge_core::offload::Offload;
use lunforge_core::sense::Sense;
use lunforge_core::shard::completion::CompletionToken;
use lunforge_core::status::Status;

use super::turn::Turn;
use super::{Shared, nexuses_of};
use crate::access::takes_rights;
use crate::apply::apply;
use crate::event::{Effects, Event};
use crate::state::State;

/// A command that changes reservations, deferred.
pub(super) struct Deferred {
    pub(super) shared: Arc<Shared>,
    pub(super) unit: Arc<LogicalUnit>,
    pub(super) event: Event,
    pub(super) session: NexusId,
    pub(super) token: CompletionToken,
    pub(super) buf: IoBuf,
    pub(super) offload: Offload,
}

/// A change whose outcome is settled unless its command is aborted.
struct Change {
    command: Deferred,
    old: Arc<State>,
    new: Arc<State>,
    effects: Effects,
    /// Whether `new` was stored.
    stored: bool,
    turn: Turn,
}

impl Deferred {
    /// The command's turn has come.
    pub(super) fn run(self, turn: Turn) {
        if self.token.cancelled() {
            return self.answer(Outcome::status(Status::TaskAborted));
        }
        let old = match self.shared.known() {
            Ok(state) => state,
            Err(sense) => return self.answer(sense.into()),
        };
        match apply(&old, &self.event) {
            Err(refusal) => self.answer(refusal.into()),
            Ok((new, effects)) => Change {
                command: self,
                old,
                new: Arc::new(new),
                effects,
                stored: false,
                turn,
            }
            .store(),
        }
    }

    /// Ends the command. BUSY is what it gets where a queue is full.
    pub(super) fn answer(self, outcome: Outcome) {
        self.token.complete(outcome, self.buf);
    }
}

impl Change {
    fn store(self) {
        if !self
            .command
            .shared
            .persistence
            .concerns(&self.old, &self.new)
        {
            return self.take_rights();
        }
        let offload = self.command.offload.clone();
        let slot = Slot::new(self);
        let job = slot.another();
        let submitted = offload.submit(Box::new(move || {
            let Some(mut change) = job.take() else { return };
            match change.command.shared.persistence.store(&change.new) {
                Ok(()) => {
                    change.stored = true;
                    change.take_rights();
                }
                Err(error) => {
                    tracing::error!(%error, "reservations were not stored; the command is refused");
                    change.store_back();
                    change
                        .command
                        .answer(Sense::hardware(Asc::INTERNAL_TARGET_FAILURE).into());
                }
            }
        }));
        if submitted.is_err()
            && let Some(change) = slot.take()
        {
            change.command.answer(Outcome::status(Status::Busy));
        }
    }

    /// The gate is closed when no command of the unit runs any more. What the victims of PREEMPT AND ABORT have running is
    /// ended meanwhile: their backend may never end it. The change waits for that to be over, so that it takes nothing
    /// that victims begin after the command's end.
    fn take_rights(self) {
        if self.command.token.cancelled() {
            return self.store_back_and_answer(Status::TaskAborted);
        }
        if !takes_rights(&self.old, &self.new, &self.effects.abort) {
            return self.commit(None);
        }
        let unit = Arc::clone(&self.command.unit);
        let victims = nexuses_of(&unit, &self.effects.abort);
        let watch = self.command.token.watch();
        let quiet = Arc::new(Quiet::default());
        let swept = Arc::clone(&quiet);
        let ticket = unit.close_gate_within(unit.ladder().hold, move |closed| {
            *quiet.0.lock() = Some((self, closed));
        });
        let waits = Arc::clone(&unit);
        watch.on_abort(move || waits.stop_waiting(ticket));
        if !victims.is_empty() {
            unit.abort_nexuses(victims, None, move || drop(swept));
        }
    }

    fn commit(self, closed: Option<Closed>) {
        if !self.command.token.commit() {
            drop(closed);
            return self.take_back(Status::TaskAborted);
        }
        let Deferred {
            shared,
            unit,
            event,
            session,
            ..
        } = &self.command;
        shared.publish(unit, &self.new, &self.effects);
        shared.succeeded(event, *session);
        // All that victims have now. With the new rights nothing of theirs begins any more, without a reservation it may.
        let victims = nexuses_of(unit, &self.effects.abort);
        if victims.is_empty() {
            return self.end(closed);
        }
        let unit = Arc::clone(unit);
        unit.abort_nexuses(victims, None, move || self.end(closed));
    }

    /// The change comes to nothing after commands of its victims were aborted. Nothing else tells them (SAM-5 5.6).
    fn tell_of_lost_commands(&self) {
        if !takes_rights(&self.old, &self.new, &self.effects.abort) {
            return;
        }
        let victims = nexuses_of(&self.command.unit, &self.effects.abort);
        for itl in self.command.unit.itls() {
            if victims.contains(&itl.nexus.id) {
                itl.ua.establish(Asc::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR);
            }
        }
    }

    fn end(self, closed: Option<Closed>) {
        let Self { command, turn, .. } = self;
        command.answer(Outcome::good());
        drop(closed);
        drop(turn);
    }

    /// Stores what was, after a store that failed half way or in vain.
    fn store_back(&self) {
        if let Err(error) = self.command.shared.persistence.store(&self.old) {
            // The next change that is stored mends it. A restart before that may find this one made.
            tracing::error!(%error, "nor could the reservations before be stored");
        }
    }

    /// The command was aborted, or a backend does not end what runs: what is kept is to be as before.
    fn take_back(self, status: Status) {
        self.tell_of_lost_commands();
        self.store_back_and_answer(status);
    }

    fn store_back_and_answer(self, status: Status) {
        if !self.stored {
            return self.command.answer(Outcome::status(status));
        }
        let offload = self.command.offload.clone();
        let slot = Slot::new(self);
        let job = slot.another();
        let restore = move || {
            let Some(change) = job.take() else { return };
            change.store_back();
            change.command.answer(Outcome::status(status));
        };
        if offload.submit(Box::new(restore)).is_err()
            && let Some(change) = slot.take()
        {
            tracing::error!(
                "no thread to take stored reservations back; those of an aborted command stay stored"
            );
            change.command.answer(Outcome::status(Status::TaskAborted));
        }
    }
}

/// A change whose unit's gate has been closed, or cannot be. It goes on when this is dropped: by the gate, and by the
/// abort of the victims' commands if there are any.
#[derive(Default)]
struct Quiet(parking_lot::Mutex<Option<(Change, Option<Closed>)>>);

impl Drop for Quiet {
    fn drop(&mut self) {
        match self.0.get_mut().take() {
            Some((change, Some(closed))) => change.commit(Some(closed)),
            Some((change, None)) => change.take_back(Status::Busy),
            None => {}
        }
    }
}

/// A change that a job takes, or its submitter if there is no job to be had.
struct Slot(Arc<parking_lot::Mutex<Option<Change>>>);

impl Slot {
    fn new(change: Change) -> Self {
        Self(Arc::new(parking_lot::Mutex::new(Some(change))))
    }

    fn another(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn take(&self) -> Option<Change> {
        self.0.lock().take()
    }
}
