//! What happened at the portals and what the limits did.

use std::collections::BTreeMap;

use lunforge_core::quiet::Quiet;
use lunforge_core::stats::Counter;
use parking_lot::Mutex;

use crate::proto::login::LoginStatus;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the transport began, taken at one moment. They only grow.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Each count with its name.
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }

        /// The counts behind [`Counters`].
        #[derive(Debug, Default)]
        pub(super) struct Tally {
            $(pub(super) $name: Counter,)*
        }

        impl Tally {
            pub(super) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.value(),)* }
            }
        }
    };
}

counters! {
    /// Connections that were taken.
    connections,
    /// Connections closed at once because there were as many as are allowed.
    refused_full,
    /// Connections closed at once because their address had as many as one may have.
    refused_address,
    /// Connections closed at once because their address had failed to log in too often.
    refused_offender,
    /// Connections closed at once because no descriptor was left.
    refused_descriptors,
    /// Connections that had not logged in and gave way to newer ones.
    gave_way,
    /// Discovery sessions that gave way to newer ones.
    discoveries_gave_way,
    /// Connections closed because their login took too long, as a whole or for one request.
    login_timeouts,
    /// Logins that succeeded.
    logins,
    /// Logins that were refused.
    logins_refused,
    /// Of these, those that failed to authenticate.
    authentication_failures,
    /// Failed authentications whose answer was left out, since too many of their address were held back already.
    unanswered_failures,
    /// Logins refused because the initiator, the target or the transport had as many sessions as are allowed.
    sessions_full,
    /// Sessions that were reinstated by a login of the same port.
    reinstatements,
    /// Sessions that a new connection went on with in place of the old one.
    continuations,
    /// Connections closed because the peer broke a rule for which that is the consequence.
    violations,
    /// Connections closed because the peer did not answer pings.
    ping_timeouts,
    /// Connections closed because the peer did not send data that it owed, or did not read.
    stalled,
    /// Sessions closed because their peer stalled while the shard's buffers were nearly used up.
    shed,
    /// Reject PDUs.
    rejects,
    /// Immediate commands rejected because there were too many.
    immediate_rejects,
    /// Turns that ended with input left because a connection had sent more PDUs than one turn takes.
    turns_cut,
    /// Times that a session took no further commands because its buffers were used up.
    held_for_memory,
    /// Text exchanges that took too long or had too many parts.
    text_exchanges_cut,
}

/// Logins that were refused, by the status that told so: as many entries as there are statuses.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<u16, (LoginStatus, u64)>>);

impl Refusals {
    pub(super) fn count(&self, status: LoginStatus) {
        let mut counts = self.0.lock();
        counts.entry(status.code()).or_insert((status, 0)).1 += 1;
    }

    pub(super) fn snapshot(&self) -> Vec<(LoginStatus, u64)> {
        self.0.lock().values().copied().collect()
    }
}

/// One bound for each kind of line that a peer can cause.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) refused: Quiet,
    pub(super) descriptors: Quiet,
    pub(super) gave_way: Quiet,
    pub(super) login: Quiet,
    pub(super) login_failed: Quiet,
    pub(super) authentication: Quiet,
    pub(super) reinstated: Quiet,
    pub(super) closed: Quiet,
    pub(super) session_end: Quiet,
    pub(super) task_management: Quiet,
    pub(super) text: Quiet,
}

impl Logs {
    pub(super) fn new(per_minute: u32) -> Self {
        let quiet = || Quiet::new(per_minute);
        Self {
            refused: quiet(),
            descriptors: quiet(),
            gave_way: quiet(),
            login: quiet(),
            login_failed: quiet(),
            authentication: quiet(),
            reinstated: quiet(),
            closed: quiet(),
            session_end: quiet(),
            task_management: quiet(),
            text: quiet(),
        }
    }
}
