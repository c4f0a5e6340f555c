//! Timers: our NOP-In ping, its answer, and the initiator's progress.

use std::time::{Duration, Instant};

use super::{Close, Connection, ConnectionParams};
use crate::proto::error::Violation;
use crate::proto::pdu::RESERVED_TAG;
use crate::proto::session::Session;
use crate::record::Incident;

#[derive(Debug)]
pub(super) struct Timers {
    nop_in_interval: Duration,
    nop_in_timeout: Duration,
    response_timeout: Duration,
    send_timeout: Duration,
    last_received: Instant,
    last_sent: Instant,
    /// The ping that waits for its answer.
    ping: Option<(u32, Instant)>,
    /// Next look at the tasks that wait for data.
    next_scan: Option<Instant>,
}

impl Timers {
    pub(super) fn new(params: &ConnectionParams, now: Instant) -> Self {
        Self {
            nop_in_interval: params.nop_in_interval,
            nop_in_timeout: params.nop_in_timeout,
            response_timeout: params.response_timeout,
            send_timeout: params.send_timeout,
            last_received: now,
            last_sent: now,
            ping: None,
            next_scan: None,
        }
    }

    pub(super) fn received(&mut self, now: Instant) {
        self.last_received = now;
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    pub(super) fn nop_answered(&mut self, ttt: u32) {
        if self.ping.is_some_and(|(expected, _)| expected == ttt) {
            self.ping = None;
        }
    }

    /// Data is awaited from now on: the tasks are looked at four times in the time they have.
    pub(super) fn data_awaited(&mut self, now: Instant) {
        if !self.response_timeout.is_zero() {
            self.next_scan
                .get_or_insert(now + self.response_timeout / 4);
        }
    }

    fn next_ping(&self) -> Option<Instant> {
        (!self.nop_in_interval.is_zero() && self.ping.is_none())
            .then(|| self.last_received + self.nop_in_interval)
    }

    fn output_deadline(&self, has_output: bool) -> Option<Instant> {
        let bounds = [self.response_timeout, self.send_timeout];
        let bound = bounds.into_iter().filter(|bound| !bound.is_zero()).min();
        bound
            .filter(|_| has_output)
            .map(|bound| self.last_sent + bound)
    }
}

impl Connection {
    /// When [`Connection::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        let timers = &self.timers;
        let answer = timers.ping.map(|(_, deadline)| deadline);
        [
            timers.next_ping(),
            answer,
            timers.next_scan,
            timers.output_deadline(self.has_output()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes note that output was queued while none waited, so that the time before does not count.
    pub fn output_started(&mut self, now: Instant) {
        self.timers.sent(now);
    }

    /// Does what is due: sends a ping, or closes the connection.
    pub fn handle_timeout(&mut self, session: &mut Session, now: Instant) {
        if self.closed.is_some() {
            return;
        }
        if let Some((ttt, _)) = self.timers.ping.filter(|(_, deadline)| now >= *deadline) {
            let Timers {
                last_received,
                last_sent,
                nop_in_timeout,
                ..
            } = self.timers;
            // Anything received since shows that the initiator lives, if it was slow to answer. The ping may have waited
            // behind data that a slow line took all the while: its time counts from the last byte that left.
            self.timers.ping = if now < last_received + nop_in_timeout {
                None
            } else if now < last_sent + nop_in_timeout {
                Some((ttt, last_sent + nop_in_timeout))
            } else {
                return self.overdue(Violation::NopTimeout);
            };
        }
        let stuck = self
            .timers
            .output_deadline(self.has_output())
            .is_some_and(|at| now >= at);
        if stuck || self.data_overdue(session, now) {
            return self.overdue(Violation::ResponseTimeout);
        }
        if self.timers.next_ping().is_some_and(|at| now >= at) {
            if !self.has_output() {
                self.output_started(now);
            }
            let ttt = session.allocate_ttt();
            debug_assert_ne!(ttt, RESERVED_TAG);
            self.timers.ping = Some((ttt, now + self.timers.nop_in_timeout));
            self.nop_in_ping(session, ttt);
        }
    }

    fn overdue(&mut self, violation: Violation) {
        self.note(Incident::Dropped(violation));
        self.closed = Some(Close::Violation(violation));
    }

    fn data_overdue(&mut self, session: &Session, now: Instant) -> bool {
        if self.timers.next_scan.is_none_or(|at| now < at) {
            return false;
        }
        let oldest = session
            .task_keys()
            .filter_map(|key| session.task(key).and_then(|task| task.waiting_since))
            .min();
        self.timers.next_scan = oldest.map(|_| now + self.timers.response_timeout / 4);
        oldest.is_some_and(|since| now >= since + self.timers.response_timeout)
    }
}
