//! What happened, for whoever looks after the transport.

use lunforge_core::quiet::Quiet;
use lunforge_core::stats::Counter;

/// Counts since the transport began; they only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Logins that were accepted: channels.
    pub logins: u64,
    /// Logins that were rejected.
    pub rejects: u64,
    /// Connection requests that nobody could answer any more, or that came when the transport had stopped.
    pub given_up: u64,
    /// Sessions that a login without MULTI-CHANNEL ACTION ended.
    pub replaced: u64,
    /// Channels that ended for a violation of the protocol.
    pub violations: u64,
    /// Channels that ended by a logout of the initiator.
    pub logouts: u64,
    /// Channels that were lost.
    pub lost: u64,
    /// Channels closed because their initiator took nothing for [`Limits::stall`](super::Limits::stall).
    pub stalled: u64,
    /// Channels closed because their initiator took nothing while the shard's buffers were nearly used up.
    pub shed: u64,
    /// Credit requests.
    pub credit_requests: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) logins: Counter,
    pub(super) rejects: Counter,
    pub(super) given_up: Counter,
    pub(super) replaced: Counter,
    pub(super) violations: Counter,
    pub(super) logouts: Counter,
    pub(super) lost: Counter,
    pub(super) stalled: Counter,
    pub(super) shed: Counter,
    pub(super) credit_requests: Counter,
}

impl Tally {
    pub(super) fn snapshot(&self) -> Counters {
        Counters {
            logins: self.logins.value(),
            rejects: self.rejects.value(),
            given_up: self.given_up.value(),
            replaced: self.replaced.value(),
            violations: self.violations.value(),
            logouts: self.logouts.value(),
            lost: self.lost.value(),
            stalled: self.stalled.value(),
            shed: self.shed.value(),
            credit_requests: self.credit_requests.value(),
        }
    }
}

/// Bounds of log lines that a peer can cause.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) rejected: Quiet,
    pub(super) ended: Quiet,
}

impl Logs {
    pub(super) fn new(lines: u32) -> Self {
        Self {
            rejected: Quiet::new(lines),
            ended: Quiet::new(lines),
        }
    }
}
