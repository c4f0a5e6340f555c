//! What a FORMAT UNIT or SANITIZE in progress, or one that failed, lets through (SBC-4 4.11, 4.33, 5.4, 5.31).
//!
//! The state belongs to the disk: it shows on every nexus, in TEST UNIT READY and REQUEST SENSE, and refuses commands
//! before their data moves and once more when they execute. A disk with a parameters file keeps there that an operation has
//! begun, so that one which the process did not survive shows as failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lunforge_core::asc::Asc;
use lunforge_core::cdb::{Attributes, CommandClass, OpcodeEntry};
use lunforge_core::sense::{Sense, SenseKey, SenseSpecific};
use parking_lot::{Condvar, Mutex};

/// SANITIZE, in every service action.
const SANITIZE: u8 = 0x48;
const FORMAT_UNIT: u8 = 0x04;

/// What is done to the whole medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Format,
    /// `restricted`: AUSE was zero, so that only another sanitize operation leads out of a failure.
    Sanitize {
        restricted: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is wrong with the medium.
    Idle,
    Running {
        kind: Kind,
        /// PROGRESS INDICATION: a numerator over 65536.
        progress: u16,
    },
    /// 31/00 or 31/01: until a format or sanitize operation succeeds.
    FormatFailed(Asc),
    SanitizeFailed {
        restricted: bool,
    },
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing was written: all is as before.
    NotBegun,
    Complete,
    /// Cut short by a reset, an abort or the end of the unit.
    Stopped,
    Failed,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Background {
    /// The state is not [`State::Idle`]: all that a command has to look at, usually.
    restricts: AtomicBool,
    stop: AtomicBool,
    states: Mutex<States>,
    ended: Condvar,
}

#[derive(Debug)]
struct States {
    now: State,
    /// What it was before the operation that runs.
    before: State,
}

impl Kind {
    /// The state that an unfinished operation leaves.
    fn unfinished(self) -> State {
        match self {
            Self::Format => State::FormatFailed(Asc::MEDIUM_FORMAT_CORRUPTED),
            Self::Sanitize { restricted } => State::SanitizeFailed { restricted },
        }
    }
}

fn failed(asc: Asc) -> Sense {
    Sense::new(SenseKey::MediumError, asc)
}

fn in_progress(kind: Kind, progress: u16) -> Sense {
    let asc = match kind {
        Kind::Format => Asc::LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS,
        Kind::Sanitize { .. } => Asc::LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS,
    };
    Sense::not_ready(asc).with_specific(SenseSpecific::Progress(progress))
}

impl Background {
    /// `unfinished`: the operation that was at work when the disk was last in use.
    pub(crate) fn new(unfinished: Option<Kind>) -> Self {
        let now = unfinished.map_or(State::Idle, Kind::unfinished);
        Self {
            restricts: AtomicBool::new(now != State::Idle),
            stop: AtomicBool::new(false),
            states: Mutex::new(States { now, before: now }),
            ended: Condvar::new(),
        }
    }

    /// Whether a command may run.
    pub(crate) fn check(&self, entry: &OpcodeEntry) -> Result<(), Sense> {
        // Acquire: pairs with the release of `set`; who sees it idle sees what the operation wrote.
        if !self.restricts.load(Ordering::Acquire) || entry.has(Attributes::DURING_FORMAT) {
            return Ok(());
        }
        let sanitizes = entry.opcode == SANITIZE;
        match self.states.lock().now {
            State::Running { kind, progress } => Err(in_progress(kind, progress)),
            State::SanitizeFailed { .. } if !sanitizes => Err(failed(Asc::SANITIZE_COMMAND_FAILED)),
            State::FormatFailed(asc)
                if entry.has(Attributes::NEEDS_MEDIUM)
                    && entry.class != CommandClass::READ_CAPACITY
                    && entry.opcode != FORMAT_UNIT
                    && !sanitizes =>
            {
                Err(failed(asc))
            }
            _ => Ok(()),
        }
    }

    /// For TEST UNIT READY and REQUEST SENSE.
    pub(crate) fn ready(&self) -> Result<(), Sense> {
        match self.states.lock().now {
            State::Idle => Ok(()),
            State::Running { kind, progress } => Err(in_progress(kind, progress)),
            State::FormatFailed(asc) => Err(failed(asc)),
            State::SanitizeFailed { .. } => Err(failed(Asc::SANITIZE_COMMAND_FAILED)),
        }
    }

    /// The sanitize operation before this failed and AUSE was zero.
    pub(crate) fn restricted_failure(&self) -> bool {
        matches!(
            self.states.lock().now,
            State::SanitizeFailed { restricted: true }
        )
    }

    /// The sanitize operation before this failed, and EXIT FAILURE MODE may end that.
    pub(crate) fn sanitize_failed(&self) -> bool {
        matches!(self.states.lock().now, State::SanitizeFailed { .. })
    }

    /// SANITIZE EXIT FAILURE MODE.
    pub(crate) fn exit_failure_mode(&self) {
        let mut states = self.states.lock();
        if states.now == (State::SanitizeFailed { restricted: false }) {
            self.set(&mut states, State::Idle);
        }
    }

    fn set(&self, states: &mut States, to: State) {
        states.now = to;
        self.restricts.store(to != State::Idle, Ordering::Release);
    }

    /// Begins an operation; what was before.
    ///
    /// # Errors
    /// NOT READY while there is one.
    pub(crate) fn begin(&self, kind: Kind) -> Result<(), Sense> {
        let mut states = self.states.lock();
        if let State::Running { kind, progress } = states.now {
            return Err(in_progress(kind, progress));
        }
        self.stop.store(false, Ordering::Relaxed);
        states.before = states.now;
        self.set(&mut states, State::Running { kind, progress: 0 });
        Ok(())
    }

    /// So much of the operation is done.
    pub(crate) fn advance(&self, done: u64, total: u64) {
        let parts = u128::from(done) * 65536 / u128::from(total.max(1));
        if let State::Running { progress, .. } = &mut self.states.lock().now {
            *progress = u16::try_from(parts).unwrap_or(u16::MAX);
        }
    }

    /// The operation is over.
    pub(crate) fn end(&self, ending: Ending) {
        let mut states = self.states.lock();
        if let State::Running { kind, .. } = states.now {
            let to = match (ending, kind) {
                (Ending::NotBegun, _) => states.before,
                (Ending::Complete, _) => State::Idle,
                (Ending::Failed, Kind::Format) => State::FormatFailed(Asc::FORMAT_COMMAND_FAILED),
                (Ending::Stopped | Ending::Failed, _) => kind.unfinished(),
            };
            self.set(&mut states, to);
        }
        self.ended.notify_all();
    }

    /// Whether the operation is to end early.
    pub(crate) fn stopping(&self) -> bool {
        // Relaxed: only a wish; the operation reads it between two pieces.
        self.stop.load(Ordering::Relaxed)
    }

    /// A reset: a format operation ends early, a sanitize operation goes on (SBC-4 4.11.2).
    pub(crate) fn reset(&self) {
        self.stop_if(|kind| kind == Kind::Format);
    }

    fn stop_if(&self, wanted: impl Fn(Kind) -> bool) {
        if let State::Running { kind, .. } = self.states.lock().now
            && wanted(kind)
        {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Ends any operation after the piece in the store, for which it waits at most `patience`. Blocks.
    pub(crate) fn shut_down(&self, patience: Duration) {
        self.stop_if(|_| true);
        let deadline = Instant::now() + patience;
        let mut states = self.states.lock();
        while matches!(states.now, State::Running { .. }) {
            if self.ended.wait_until(&mut states, deadline).timed_out() {
                tracing::error!("a format or sanitize operation does not end");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_finds_no_thread_leaves_what_was_before() {
        let background = Background::new(None);
        background.begin(Kind::Format).unwrap();
        assert!(background.ready().is_err());
        background.end(Ending::NotBegun);
        assert_eq!(background.ready(), Ok(()));
        background.begin(Kind::Format).unwrap();
        background.end(Ending::Failed);
        background.begin(Kind::Format).unwrap();
        background.end(Ending::NotBegun);
        assert_eq!(background.ready(), Err(failed(Asc::FORMAT_COMMAND_FAILED)));
    }
}
