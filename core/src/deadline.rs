//! The ladder of times between a backend and an initiator's applications, each shorter than the next.
//!
//! ```text
//!   backend   the target gives up a command that its backend does not answer
//!   hold      a command that waits (gate, access states, reservations, a range of blocks) is answered all the same
//!   abort     the initiator aborts a command that is not answered
//!   replace   the initiator gives up a lost session, and fails what waits for it
//! ```
//!
//! Where a rung is longer than the one above it, the side that should have been told acts by itself: an initiator that
//! aborts and resets what was about to be answered ends with offline disks and read-only file systems. So a ladder is
//! checked when it is set, and refused, never bent.
//!
//! What is not a rung: [`crate::tmf::BOUND`], in which task management ends, is far below all of them, since an
//! initiator that aborts has no patience left; the time that an initiator has to send data it promised (RspTimeout of a
//! transport) is about the initiator, not about the backend.

use std::time::Duration;

use crate::cdb::Timeouts;

/// Shortest time that a backend may be given: less cannot be told from a busy machine.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// See the module's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// How long a command may be with its backend. Those whose recommended timeout (RCTD of REPORT SUPPORTED OPERATION
    /// CODES, SPC-4 6.35.4) is longer than that of a READ have that, less [`Ladder::hold`]. Those that a
    /// [`UnitService`](crate::UnitService) executes have this and [`Ladder::hold`], since they wait by themselves.
    pub backend: Duration,
    /// How long a command may wait for other reasons.
    pub hold: Duration,
    /// The initiator's command timeout.
    pub abort: Duration,
    /// How long the initiator waits for a lost session or path before it fails what waits.
    pub replacement: Duration,
}

/// Which rung is wrong, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LadderError {
    /// BACKEND is below [`SHORTEST`].
    #[error(
        "the backend's time of {0:?} is too short: below a second it cannot be told from a busy machine"
    )]
    Short(Duration),
    /// HOLD is not above BACKEND.
    #[error(
        "the hold time of {hold:?} must be longer than the backend's {backend:?}: who waits for a command that is stuck would give up before it is ended"
    )]
    Hold {
        /// The hold time.
        hold: Duration,
        /// The backend's time.
        backend: Duration,
    },
    /// ABORT is not above the sum of the two below it.
    #[error(
        "the initiator's command timeout of {abort:?} must be longer than hold time and backend's time together ({both:?}): a command may wait first and then be stuck"
    )]
    Abort {
        /// The initiator's command timeout.
        abort: Duration,
        /// BACKEND and HOLD.
        both: Duration,
    },
    /// REPLACEMENT is below ABORT.
    #[error(
        "the initiator's replacement timeout of {replacement:?} must not be shorter than its command timeout of {abort:?}: it would fail the path of a command that it still waits for"
    )]
    Replacement {
        /// The initiator's replacement timeout.
        replacement: Duration,
        /// Its command timeout.
        abort: Duration,
    },
}

const fn seconds(backend: u64, hold: u64, abort: u64, replacement: u64) -> Ladder {
    Ladder {
        backend: Duration::from_secs(backend),
        hold: Duration::from_secs(hold),
        abort: Duration::from_secs(abort),
        replacement: Duration::from_secs(replacement),
    }
}

impl Default for Ladder {
    /// [`Ladder::linux`]: the shortest command timeout of the common initiators.
    fn default() -> Self {
        Self::linux()
    }
}

impl Ladder {
    /// Linux as it comes: 30 s for a command (SD_TIMEOUT of its sd driver, `/sys/block/*/device/timeout`),
    /// `node.session.timeo.replacement_timeout` 120 s (iscsid.conf). Who sets the latter low for multipath, below the
    /// command timeout, lowers the command timeout too.
    pub const fn linux() -> Self {
        seconds(10, 15, 30, 120)
    }

    /// Windows as it comes: disk TimeOutValue 60 s, MaxRequestHoldTime 60 s of its iSCSI initiator (with MPIO it is
    /// LinkDownTime, 15 s, that counts; commands keep their 60 s then).
    pub const fn windows() -> Self {
        seconds(20, 30, 60, 60)
    }

    /// ESXi as it comes: its guests' disks time out after 30 s at the earliest (Linux without tools), all paths down
    /// (Misc.APDTimeout) is 140 s; RecoveryTimeout, 10 s, only says when another path is tried. Backend and hold stay
    /// together below 16 s, after which VMFS takes a host whose heartbeat is not written for dead.
    pub const fn esxi() -> Self {
        seconds(5, 8, 30, 140)
    }

    /// Whether each rung is longer than what it has to outlast.
    ///
    /// # Errors
    /// The lowest rung that is wrong.
    pub fn check(&self) -> Result<(), LadderError> {
        let Self {
            backend,
            hold,
            abort,
            replacement,
        } = *self;
        if backend < SHORTEST {
            return Err(LadderError::Short(backend));
        }
        if hold <= backend {
            return Err(LadderError::Hold { hold, backend });
        }
        let both = backend.saturating_add(hold);
        if abort <= both {
            return Err(LadderError::Abort { abort, both });
        }
        if replacement < abort {
            return Err(LadderError::Replacement { replacement, abort });
        }
        Ok(())
    }

    /// How long a command with these timeouts may be with its backend. One that is expected to take longer than a READ
    /// has its recommended timeout, less what it may have waited before.
    pub(crate) fn limit(&self, timeouts: Timeouts) -> Duration {
        let recommended = Duration::from_secs(timeouts.recommended.into());
        if timeouts.recommended > Timeouts::MEDIUM.recommended {
            recommended.saturating_sub(self.hold).max(self.backend)
        } else {
            self.backend
        }
    }

    /// RECOMMENDED COMMAND TIMEOUT in seconds: what the table says, or as long as an answer may take if that is longer.
    pub(crate) fn recommended(&self, timeouts: Timeouts) -> u32 {
        let answer = self.hold.saturating_add(self.backend).as_secs();
        let answer = u32::try_from(answer).unwrap_or(u32::MAX).saturating_add(1);
        timeouts.recommended.max(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_are_ladders() {
        for ladder in [Ladder::linux(), Ladder::windows(), Ladder::esxi()] {
            assert_eq!(ladder.check(), Ok(()), "{ladder:?}");
        }
    }

    #[test]
    fn each_wrong_rung_is_named() {
        let wrong = |backend, hold, abort, replacement| {
            seconds(backend, hold, abort, replacement)
                .check()
                .unwrap_err()
                .to_string()
        };
        assert!(wrong(0, 15, 30, 120).contains("backend's time of 0ns is too short"));
        assert!(wrong(15, 15, 60, 120).contains("hold time of 15s must be longer"));
        assert!(wrong(10, 20, 30, 120).contains("command timeout of 30s must be longer"));
        assert!(wrong(10, 15, 30, 29).contains("replacement timeout of 29s must not be shorter"));
    }

    #[test]
    fn long_commands_have_what_report_supported_operation_codes_recommends() {
        let ladder = Ladder::linux();
        assert_eq!(ladder.limit(Timeouts::MEDIUM), ladder.backend);
        assert_eq!(ladder.limit(Timeouts::SHORT), ladder.backend);
        for long in [Timeouts::LONG, Timeouts::WHOLE] {
            let answered = ladder.limit(long) + ladder.hold;
            assert_eq!(answered.as_secs(), ladder.recommended(long).into());
        }
        assert_eq!(ladder.recommended(Timeouts::MEDIUM), 60);
        let slow = seconds(100, 200, 400, 500);
        assert_eq!(slow.recommended(Timeouts::MEDIUM), 301);
    }
}
