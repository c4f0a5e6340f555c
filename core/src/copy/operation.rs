//! Copy operations as those see them who ask: what runs, how far it is, how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::CopyLimits;
use super::parameter_list::{ListFormat, ListIdUsage, ParameterList};
use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::handler::Outcome;
use crate::nexus::NexusId;
use crate::sense::Sense;
use crate::shard::completion::CompletionToken;
use crate::shard::{ShardHandle, SourceId};
use crate::status::Status;

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All of it was done.
    Good,
    /// It failed.
    Failed(Sense),
    /// It was aborted: by task management, a reset, COPY OPERATION ABORT.
    Aborted,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Segments done, with the one that is being done.
    pub(super) segments: u16,
    /// Bytes written.
    pub(super) bytes: u64,
    /// Changes of the above.
    pub(super) updates: u16,
    /// `None` while it runs.
    pub(super) end: Option<End>,
}

#[derive(Debug, Default)]
struct State {
    progress: Progress,
    /// Who works on it.
    copier: Option<(ShardHandle, SourceId)>,
    /// COPY OPERATION ABORT commands that wait for its end.
    aborts: Vec<CompletionToken>,
}

/// One EXTENDED COPY, from its acceptance until nobody can ask for it any more.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) nexus: NexusId,
    pub(super) format: ListFormat,
    /// `None`: nobody can ask for it.
    pub(super) list_id: Option<u32>,
    /// It goes on after its command.
    pub(super) background: bool,
    stop: AtomicBool,
    unit_lost: AtomicBool,
    state: Mutex<State>,
}

/// Sent to the copier when the operation is to be aborted.
#[derive(Debug)]
pub(super) struct StopNow;

impl Operation {
    pub(super) fn progress(&self) -> Progress {
        self.state.lock().progress
    }

    fn running(&self) -> bool {
        self.progress().end.is_none()
    }

    /// Whether nothing more may be begun for it.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Nothing more is begun for it.
    pub(super) fn stop(&self) {
        // Release: who sees it sees why.
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the commands that the session had for a unit of it were aborted.
    pub(super) fn lost_unit(&self) -> bool {
        self.unit_lost.load(Ordering::Acquire)
    }

    /// The commands that the session had for a unit of it were aborted: nothing more is begun.
    pub(super) fn lose_unit(&self) {
        // Release: as above.
        self.unit_lost.store(true, Ordering::Release);
    }

    pub(super) fn started(&self, shard: ShardHandle, copier: SourceId) {
        self.state.lock().copier = Some((shard, copier));
    }

    /// Another segment is begun, or more bytes were written.
    pub(super) fn advance(&self, segments: u16, bytes: u64) {
        let progress = &mut self.state.lock().progress;
        progress.segments = segments;
        progress.bytes = progress.bytes.saturating_add(bytes);
        progress.updates = progress.updates.wrapping_add(1);
    }

    pub(super) fn end(&self, end: End) {
        let aborts = {
            let mut state = self.state.lock();
            state.progress.end.get_or_insert(end);
            state.progress.updates = state.progress.updates.wrapping_add(1);
            state.copier = None;
            std::mem::take(&mut state.aborts)
        };
        for token in aborts {
            token.complete(Outcome::good(), IoBuf::empty());
        }
    }

    /// Stops the operation; `token` is completed when nothing of it can take effect any more.
    fn abort(&self, token: CompletionToken) {
        self.stop();
        let mut state = self.state.lock();
        if state.progress.end.is_some() {
            drop(state);
            return token.complete(Outcome::good(), IoBuf::empty());
        }
        state.aborts.push(token);
        if let Some((shard, copier)) = &state.copier {
            shard.send(*copier, Box::new(StopNow));
        }
    }
}

/// The operations of a unit's copy manager, oldest first. Bounded by [`CopyLimits`].
#[derive(Debug, Default)]
pub(super) struct Operations(Mutex<Vec<Arc<Operation>>>);

impl Operations {
    /// Takes an operation in.
    ///
    /// # Errors
    /// ILLEGAL REQUEST, OPERATION IN PROGRESS when the session has a running one with that identifier (SPC-4
    /// 5.17); BUSY when there are too many.
    pub(super) fn begin(
        &self,
        nexus: NexusId,
        list: &ParameterList,
        limits: &CopyLimits,
    ) -> Result<Arc<Operation>, Outcome> {
        let list_id = (list.usage != ListIdUsage::None).then_some(list.list_id);
        let mut operations = self.0.lock();
        let same = |o: &Operation| o.nexus == nexus && o.list_id.is_some() && o.list_id == list_id;
        if operations.iter().any(|o| same(o) && o.running()) {
            return Err(Sense::illegal_request(Asc::OPERATION_IN_PROGRESS).into());
        }
        let running = |of: Option<NexusId>| {
            let counts = |o: &&Arc<Operation>| of.is_none_or(|n| o.nexus == n) && o.running();
            operations.iter().filter(counts).count()
        };
        if running(Some(nexus)) >= limits.copies_per_session.into()
            || running(None) >= limits.copies.into()
        {
            return Err(Outcome::status(Status::Busy));
        }
        operations.retain(|o| !same(o) && (o.list_id.is_some() || o.running()));
        forget_old(&mut operations, nexus, limits);
        let operation = Arc::new(Operation {
            nexus,
            format: list.format,
            list_id,
            background: list.immediate,
            stop: AtomicBool::new(false),
            unit_lost: AtomicBool::new(false),
            state: Mutex::default(),
        });
        operations.push(Arc::clone(&operation));
        Ok(operation)
    }

    /// The session's operation with an identifier.
    pub(super) fn find(
        &self,
        nexus: NexusId,
        format: ListFormat,
        list_id: u32,
    ) -> Option<Arc<Operation>> {
        let operations = self.0.lock();
        let it = |o: &&Arc<Operation>| {
            o.nexus == nexus && o.format == format && o.list_id == Some(list_id)
        };
        operations.iter().find(it).cloned()
    }

    /// Stops a running operation of the session. False, and `token` untouched, if there is none with that identifier.
    pub(super) fn abort(
        &self,
        nexus: NexusId,
        list_id: u32,
        token: impl FnOnce() -> CompletionToken,
    ) -> bool {
        let operations = self.0.lock();
        let it =
            |o: &&Arc<Operation>| o.nexus == nexus && o.list_id == Some(list_id) && o.running();
        let found = operations.iter().find(it).cloned();
        drop(operations);
        match found {
            Some(operation) => {
                operation.abort(token());
                true
            }
            None => false,
        }
    }

    /// Stops and forgets the operations of a session, or all.
    pub(super) fn forget(&self, nexus: Option<NexusId>) {
        self.0.lock().retain(|operation| {
            let gone = nexus.is_none_or(|n| operation.nexus == n);
            if gone {
                operation.stop();
            }
            !gone
        });
    }
}

/// Makes room for one more that has ended.
fn forget_old(operations: &mut Vec<Arc<Operation>>, nexus: NexusId, limits: &CopyLimits) {
    let ended = |o: &Operation| o.nexus == nexus && !o.running();
    let kept = operations.iter().filter(|o| ended(o)).count();
    let mut surplus = (kept + 1).saturating_sub(limits.results_kept.into());
    operations.retain(|o| {
        let goes = surplus > 0 && ended(o);
        surplus -= usize::from(goes);
        !goes
    });
}
