//! Unit attention conditions of one I_T_L nexus (SAM-5 5.14).

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::asc::Asc;

/// Conditions kept per nexus. The queue cannot grow beyond: equal conditions are one, and at the bound the oldest
/// that is not a reset gives way (N50).
const CAPACITY: usize = 16;

/// The pending conditions, highest precedence first: resets and power on (29h) before all others, which keep
/// their order.
#[derive(Debug, Default)]
pub struct UnitAttentions {
    pending: AtomicBool,
    queue: Mutex<Vec<Asc>>,
}

impl UnitAttentions {
    /// Establishes a condition. A reset condition clears what it supersedes (SAM-5 5.14.4).
    pub fn establish(&self, asc: Asc) {
        let mut queue = self.queue.lock();
        if queue.contains(&asc) {
            return;
        }
        if asc.asc == RESET {
            queue.retain(|a| a.asc != RESET);
            queue.insert(0, asc);
        } else {
            if queue.len() >= CAPACITY {
                let oldest = queue.iter().position(|a| a.asc != RESET).unwrap_or(0);
                queue.remove(oldest);
            }
            queue.push(asc);
        }
        // Release: whoever sees the flag sees the queue; the lock gives the rest.
        self.pending.store(true, Ordering::Release);
    }

    /// Whether a condition is pending: one load, for every command.
    pub fn any(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Reports, and so clears, the next condition.
    pub fn take(&self) -> Option<Asc> {
        let mut queue = self.queue.lock();
        let asc = (!queue.is_empty()).then(|| queue.remove(0));
        self.pending.store(!queue.is_empty(), Ordering::Release);
        asc
    }

    /// Clears one condition without a report (REPORT LUNS clears 3F/0E, SPC-4 6.33).
    pub fn clear(&self, asc: Asc) {
        let mut queue = self.queue.lock();
        queue.retain(|a| *a != asc);
        self.pending.store(!queue.is_empty(), Ordering::Release);
    }
}

/// ASC of power on, reset, and nexus loss.
const RESET: u8 = 0x29;

#[cfg(test)]
mod tests {
    use super::*;

    const fn asc(asc: u8, ascq: u8) -> Asc {
        Asc { asc, ascq }
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
