//! Which unit attentions a nexus may and must see (SAM-5 5.14): each event once, and before another status of a command
//! that was sent after the event.
//!
//! An event *must* be reported when it is certain that it reached the nexus: the nexus used the unit before, and the
//! function or command that caused it was answered. Before that, and where several causes overlap, it *may* be. To a
//! nexus that has not used the unit power on tells that everything about it may be new; it does not tell that other LUNs
//! came or went. So a change of the LUN map must be reported by every unit of the map, used or not.

use crate::chronicle::Seq;

/// ASC and ASCQ.
pub(crate) type Asc = (u8, u8);

pub(crate) const POWER_ON: Asc = (0x29, 0x00);
pub(crate) const RESET: Asc = (0x29, 0x03);
pub(crate) const MODE_CHANGED: Asc = (0x2A, 0x01);
pub(crate) const RESERVATIONS_PREEMPTED: Asc = (0x2A, 0x03);
pub(crate) const RESERVATIONS_RELEASED: Asc = (0x2A, 0x04);
pub(crate) const REGISTRATIONS_PREEMPTED: Asc = (0x2A, 0x05);
pub(crate) const CAPACITY_CHANGED: Asc = (0x2A, 0x09);
pub(crate) const COMMANDS_CLEARED: Asc = (0x2F, 0x00);
pub(crate) const INQUIRY_CHANGED: Asc = (0x3F, 0x03);
pub(crate) const LUNS_CHANGED: Asc = (0x3F, 0x0E);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// It may be pending.
    May,
    /// Its cause is not answered yet; then it must, if `sure`.
    Open {
        sure: bool,
    },
    Must,
}

#[derive(Debug, Clone)]
struct Event {
    asc: Asc,
    seq: Seq,
    certainty: Certainty,
    cause: Seq,
}

impl Event {
    fn is_open(&self) -> bool {
        matches!(self.certainty, Certainty::Open { .. })
    }

    /// It may have been reported: what was certain is not.
    fn doubt(&mut self) {
        self.certainty = match self.certainty {
            Certainty::Open { .. } => Certainty::Open { sure: false },
            _ => Certainty::May,
        };
    }
}

/// What is known of the conditions of one I_T_L nexus.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attentions {
    /// The nexus has used the unit: the answer to a command shows it that was sent since the unit left or came back.
    known: bool,
    left: Seq,
    events: Vec<Event>,
}

/// How an event is raised.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Raise {
    May,
    /// By a cause that is named so and not answered.
    Open(Seq),
    Must,
    /// To a nexus, too, that has not used the unit.
    MustUnused,
}

impl Attentions {
    /// A nexus that has not used the unit: the first use tells of power on (SAM-5 6.2).
    pub(crate) fn new() -> Self {
        let mut this = Self::default();
        this.push(POWER_ON, 0, Certainty::Must, 0);
        this
    }

    fn push(&mut self, asc: Asc, seq: Seq, certainty: Certainty, cause: Seq) {
        self.events.push(Event {
            asc,
            seq,
            certainty,
            cause,
        });
    }

    /// A command that was sent at `sent` was answered by the unit.
    pub(crate) fn used(&mut self, sent: Seq) {
        self.known |= sent > self.left;
    }

    pub(crate) fn raise(&mut self, asc: Asc, seq: Seq, raise: Raise) {
        let (certainty, cause) = match raise {
            Raise::Must if self.known => (Certainty::Must, 0),
            Raise::MustUnused => (Certainty::Must, 0),
            Raise::Open(cause) => (Certainty::Open { sure: self.known }, cause),
            _ => (Certainty::May, 0),
        };
        self.push(asc, seq, certainty, cause);
    }

    /// The cause of an event was answered: with `certain`, it happened.
    pub(crate) fn settle(&mut self, cause: Seq, seq: Seq, certain: bool) {
        for event in &mut self.events {
            if let Certainty::Open { sure } = event.certainty
                && event.cause == cause
            {
                event.certainty = if certain && sure {
                    Certainty::Must
                } else {
                    Certainty::May
                };
                event.seq = seq;
            }
        }
    }

    /// Nothing is certain any more: the unit left, or a command may have taken a condition with it.
    pub(crate) fn doubt(&mut self) {
        self.events.iter_mut().for_each(Event::doubt);
    }

    /// The unit may be forgotten, and met anew. The next I_T_L nexus tells what the one before had to tell, and a command
    /// that was on its way to that one may have been told it, too: no command runs while a condition is pending.
    pub(crate) fn left(&mut self, seq: Seq) {
        self.doubt();
        let again: Vec<_> = self.events.iter().map(|event| event.asc).collect();
        for asc in again.into_iter().filter(|asc| *asc != POWER_ON) {
            self.push(asc, seq, Certainty::May, 0);
        }
        (self.known, self.left) = (false, seq);
        for _ in 0..2 {
            self.push(POWER_ON, seq, Certainty::May, 0);
        }
    }

    /// A command that was sent at `sent` reports a condition.
    pub(crate) fn reported(&mut self, asc: Asc, sent: Seq) -> Result<(), &'static str> {
        let exact = |event: &Event| event.asc == asc;
        if !self.events.iter().any(exact) {
            return Err("attention-without-cause");
        }
        let waits = |event: &Event| event.asc == POWER_ON && event.certainty == Certainty::Must;
        if asc.0 == POWER_ON.0 && asc != POWER_ON && self.events.iter().any(waits) {
            return Err("attention-out-of-order");
        }
        // Of resets one is reported for all (SAM-5 5.14.4).
        let same = |event: &Event| event.asc == asc || asc.0 == POWER_ON.0 && event.asc.0 == asc.0;
        let over = |event: &Event| same(event) && event.seq < sent && !event.is_open();
        let had_exact = self.events.iter().any(|e| exact(e) && over(e));
        self.events.retain(|event| !over(event));
        if !had_exact && let Some(at) = self.events.iter().position(|e| exact(e) && !e.is_open()) {
            self.events.remove(at);
        }
        self.events
            .iter_mut()
            .filter(|event| same(event))
            .for_each(Event::doubt);
        Ok(())
    }

    /// A condition that a command sent at `sent` must have met.
    pub(crate) fn missed(&self, sent: Seq) -> Option<Asc> {
        let missed = |event: &&Event| event.certainty == Certainty::Must && event.seq < sent;
        self.events.iter().find(missed).map(|event| event.asc)
    }

    /// REPORT LUNS clears a condition without a report (SPC-4 6.33).
    pub(crate) fn cleared(&mut self, asc: Asc) {
        self.events
            .iter_mut()
            .filter(|event| event.asc == asc)
            .for_each(Event::doubt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certain_event_is_missed_by_a_later_command_until_it_is_reported_once() {
        let mut nexus = Attentions::new();
        assert_eq!(nexus.missed(1), Some(POWER_ON));
        assert_eq!(nexus.reported(POWER_ON, 1), Ok(()));
        nexus.used(1);
        assert_eq!(nexus.missed(9), None);
        nexus.raise(RESET, 10, Raise::Must);
        assert_eq!(nexus.missed(10), None, "sent before");
        assert_eq!(nexus.missed(11), Some(RESET));
        assert_eq!(nexus.reported(RESET, 11), Ok(()));
        assert_eq!(nexus.reported(RESET, 12), Err("attention-without-cause"));
    }

    #[test]
    fn an_event_whose_cause_is_not_answered_may_be_reported() {
        let mut nexus = Attentions::new();
        nexus.reported(POWER_ON, 1).unwrap();
        nexus.used(1);
        nexus.raise(RESET, 10, Raise::Open(10));
        assert_eq!(nexus.missed(20), None);
        nexus.settle(10, 15, true);
        assert_eq!(nexus.missed(20), Some(RESET));
    }

    #[test]
    fn an_answer_to_a_command_from_before_the_unit_left_shows_no_use_of_it() {
        let mut nexus = Attentions::new();
        nexus.reported(POWER_ON, 1).unwrap();
        nexus.used(1);
        nexus.left(5);
        nexus.used(4);
        nexus.raise(CAPACITY_CHANGED, 10, Raise::Must);
        assert_eq!(nexus.missed(11), None);
        nexus.used(6);
        nexus.raise(CAPACITY_CHANGED, 12, Raise::Must);
        assert_eq!(nexus.missed(13), Some(CAPACITY_CHANGED));
    }

    #[test]
    fn what_was_pending_when_a_unit_came_anew_may_be_told_by_both_nexuses() {
        let mut nexus = Attentions::new();
        nexus.reported(POWER_ON, 1).unwrap();
        nexus.used(1);
        nexus.raise(RESET, 10, Raise::Must);
        nexus.left(12);
        assert_eq!(nexus.reported(RESET, 9), Ok(()), "on its way before");
        assert_eq!(nexus.reported(RESET, 13), Ok(()));
        assert_eq!(nexus.reported(RESET, 14), Err("attention-without-cause"));
    }

    #[test]
    fn a_change_of_the_luns_must_be_reported_by_a_unit_that_was_not_used() {
        let mut nexus = Attentions::new();
        nexus.raise(LUNS_CHANGED, 10, Raise::MustUnused);
        assert_eq!(nexus.reported(POWER_ON, 11), Ok(()));
        assert_eq!(nexus.missed(12), Some(LUNS_CHANGED));
    }
}
