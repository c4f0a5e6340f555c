//! Unit attention conditions of one I_T_L nexus (SAM-5 5.14).

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::asc::Asc;
use crate::handler::UnitAttentionInterlock;

/// Conditions kept per nexus. The queue cannot grow beyond: equal conditions are one, and at the bound the oldest
/// that is not a reset gives way (N50).
const CAPACITY: usize = 16;

/// The pending conditions by precedence; those of one rank keep their order.
#[derive(Debug, Default)]
pub struct UnitAttentions {
    /// Why a command of this nexus is to be looked at closely: one load for all reasons.
    care: AtomicU32,
    queue: Mutex<Vec<Asc>>,
}

/// A condition is pending.
pub(crate) const PENDING: u32 = 1;
/// The nexus has an auto contingent allegiance in a task set of its own.
pub(crate) const CONTINGENT: u32 = 2;
/// The nexus shares its task set with others, which may have an auto contingent allegiance.
pub(crate) const SHARED: u32 = 4;

impl UnitAttentions {
    /// Establishes a condition. Of resets and nexus losses (29h) the weightiest is kept, since it says all that the
    /// others would (SAM-5 5.14.4).
    pub fn establish(&self, asc: Asc) {
        let mut queue = self.queue.lock();
        if queue.contains(&asc) {
            return;
        }
        if asc.asc == RESET {
            if queue
                .iter()
                .any(|a| a.asc == RESET && rank(*a) <= rank(asc))
            {
                return;
            }
            queue.retain(|a| a.asc != RESET);
        } else if queue.len() >= CAPACITY {
            let oldest = queue.iter().position(|a| a.asc != RESET).unwrap_or(0);
            queue.remove(oldest);
        }
        let place = queue.partition_point(|a| rank(*a) <= rank(asc));
        queue.insert(place, asc);
        self.set_care(PENDING);
    }

    /// UA_INTLCK_CTRL 11b: BUSY, TASK SET FULL or RESERVATION CONFLICT was returned. Until REQUEST SENSE has cleared it,
    /// one such condition is all there is (SPC-4 7.5.8).
    pub(crate) fn establish_previous_status(&self, asc: Asc) {
        let previous = |a: &Asc| a.asc == asc.asc && PREVIOUS_STATUS.contains(&a.ascq);
        // Only the shard of the nexus comes here, so nobody else establishes one in between.
        if !self.queue.lock().iter().any(previous) {
            self.establish(asc);
        }
    }

    /// The conditions that are pending, the next to be reported first.
    pub(crate) fn pending(&self) -> Vec<Asc> {
        self.queue.lock().clone()
    }

    /// Whether a condition is pending.
    pub fn any(&self) -> bool {
        self.care() & PENDING != 0
    }

    /// Reports the next condition with CHECK CONDITION, which clears it unless the interlock keeps it.
    pub(crate) fn report(&self, interlock: UnitAttentionInterlock) -> Option<Asc> {
        match interlock {
            UnitAttentionInterlock::Clear => self.take(),
            UnitAttentionInterlock::Keep | UnitAttentionInterlock::KeepAndEstablish => {
                self.queue.lock().first().copied()
            }
        }
    }

    /// Reports, and so clears, the next condition.
    pub fn take(&self) -> Option<Asc> {
        let mut queue = self.queue.lock();
        let asc = (!queue.is_empty()).then(|| queue.remove(0));
        self.settle(&queue);
        asc
    }

    /// Clears one condition without a report (REPORT LUNS clears 3F/0E, SPC-4 6.33).
    pub fn clear(&self, asc: Asc) {
        let mut queue = self.queue.lock();
        queue.retain(|a| *a != asc);
        self.settle(&queue);
    }

    /// Makes [`PENDING`] true to a queue that is locked.
    fn settle(&self, queue: &[Asc]) {
        if queue.is_empty() {
            self.clear_care(PENDING);
        }
    }

    /// Every reason for care; zero for almost every command.
    pub(crate) fn care(&self) -> u32 {
        // Acquire: whoever sees a reason sees what it stands for.
        self.care.load(Ordering::Acquire)
    }

    pub(crate) fn set_care(&self, reason: u32) {
        self.care.fetch_or(reason, Ordering::Release);
    }

    pub(crate) fn clear_care(&self, reason: u32) {
        self.care.fetch_and(!reason, Ordering::Release);
    }
}

/// ASC of power on, reset, and nexus loss.
const RESET: u8 = 0x29;
/// ASCQs of the conditions for BUSY, TASK SET FULL and RESERVATION CONFLICT.
const PREVIOUS_STATUS: [u8; 3] = [
    Asc::PREVIOUS_BUSY_STATUS.ascq,
    Asc::PREVIOUS_TASK_SET_FULL_STATUS.ascq,
    Asc::PREVIOUS_RESERVATION_CONFLICT_STATUS.ascq,
];

/// Precedence, the weightiest first (SAM-5 5.14.2). Its last level leaves the order to the device: what tells of
/// the target as a whole (3Fh) waits for what tells of the unit (N50).
fn rank(asc: Asc) -> u8 {
    match (asc.asc, asc.ascq) {
        (RESET, 0x00 | 0x01) => 0,
        (RESET, 0x02 | 0x04) => 1,
        (RESET, 0x03) => 2,
        (RESET, _) => 3,
        (0x2F, 0x01) => 4,
        (0x3F, _) => 6,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn asc(asc: u8, ascq: u8) -> Asc {
        Asc { asc, ascq }
    }

    fn drain(ua: &UnitAttentions) -> Vec<Asc> {
        std::iter::from_fn(|| ua.take()).collect()
    }

    #[test]
    fn n50_the_order_of_the_report_does_not_depend_on_the_order_of_the_events() {
        let events = [asc(0x3F, 0xE), asc(0x2F, 1), asc(0x2A, 9), asc(0x29, 3)];
        for turn in 0..events.len() {
            let ua = UnitAttentions::default();
            (0..events.len()).for_each(|i| ua.establish(events[(i + turn) % events.len()]));
            let sorted = [asc(0x29, 3), asc(0x2F, 1), asc(0x2A, 9), asc(0x3F, 0xE)];
            assert_eq!(drain(&ua), sorted);
        }
    }

    #[test]
    fn of_several_resets_the_weightiest_is_reported() {
        for order in [[0, 3, 7], [7, 3, 0], [3, 0, 7]] {
            let ua = UnitAttentions::default();
            order.iter().for_each(|ascq| ua.establish(asc(0x29, *ascq)));
            assert_eq!(drain(&ua), [asc(0x29, 0)], "{order:?}");
        }
    }

    #[test]
    fn an_interlocked_condition_stays_until_it_is_taken() {
        let ua = UnitAttentions::default();
        ua.establish(asc(0x2A, 9));
        for _ in 0..3 {
            let reported = ua.report(UnitAttentionInterlock::Keep);
            assert_eq!(reported, Some(asc(0x2A, 9)));
        }
        assert_eq!(ua.take(), Some(asc(0x2A, 9)));
        assert_eq!(ua.report(UnitAttentionInterlock::Keep), None);
    }

    #[test]
    fn only_one_condition_tells_of_a_previous_status() {
        let ua = UnitAttentions::default();
        for ascq in [8, 7, 9, 8] {
            ua.establish_previous_status(asc(0x2C, ascq));
        }
        assert_eq!(drain(&ua), [asc(0x2C, 8)]);
        ua.establish_previous_status(asc(0x2C, 7));
        assert_eq!(drain(&ua), [asc(0x2C, 7)]);
    }

    #[test]
    fn a_report_leaves_the_other_reasons_for_care() {
        let ua = UnitAttentions::default();
        ua.set_care(CONTINGENT);
        ua.establish(asc(0x2A, 9));
        assert_eq!(ua.care(), CONTINGENT | PENDING);
        ua.take();
        assert_eq!(ua.care(), CONTINGENT);
    }

    #[test]
    fn n50_a_reset_comes_first_and_the_rest_in_order() {
        let ua = UnitAttentions::default();
        for a in [asc(0x2A, 9), asc(0x3F, 0xE), asc(0x29, 0), asc(0x2A, 9)] {
            ua.establish(a);
        }
        let order: Vec<_> = std::iter::from_fn(|| ua.take()).collect();
        assert_eq!(order, [asc(0x29, 0), asc(0x2A, 9), asc(0x3F, 0xE)]);
        assert!(!ua.any());
    }

    #[test]
    fn n50_a_hundred_thousand_events_stay_bounded() {
        let ua = UnitAttentions::default();
        for i in 0..100_000u32 {
            ua.establish(asc(0x2A, (i % 251) as u8));
        }
        ua.establish(asc(0x29, 0));
        assert_eq!(ua.take(), Some(asc(0x29, 0)));
        assert!(std::iter::from_fn(|| ua.take()).count() <= CAPACITY);
    }

    #[test]
    fn report_luns_clears_only_its_own_condition() {
        let ua = UnitAttentions::default();
        ua.establish(asc(0x3F, 0xE));
        ua.establish(asc(0x2A, 9));
        ua.clear(asc(0x3F, 0xE));
        assert_eq!(ua.take(), Some(asc(0x2A, 9)));
        assert_eq!(ua.take(), None);
    }
}
