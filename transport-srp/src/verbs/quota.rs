//! How many registrations of a device stay with their memory.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Half of a device's registrations may stay, so that work which needs one of its own always finds it.
#[derive(Debug)]
pub(super) struct Quota {
    lasting: AtomicUsize,
    most: AtomicUsize,
}

impl Quota {
    /// That of a device with so many.
    pub(super) fn new(all: usize) -> Self {
        Self {
            lasting: AtomicUsize::new(0),
            most: AtomicUsize::new(all / 2),
        }
    }

    /// Counts one, if there may be one more. Whoever has it says when it is gone.
    pub(super) fn may_last(&self) -> bool {
        // Relaxed: nothing else depends on these counts.
        let before = self.lasting.fetch_add(1, Ordering::Relaxed);
        let may = before < self.most.load(Ordering::Relaxed);
        if !may {
            self.gone();
        }
        may
    }

    /// One that was counted is no more.
    pub(super) fn gone(&self) {
        self.lasting.fetch_sub(1, Ordering::Relaxed);
    }

    /// The device refuses one more: from now on half of what there was, so that work finds room.
    pub(super) fn refuses(&self) {
        let half = self.lasting.load(Ordering::Relaxed) / 2;
        self.most.fetch_min(half, Ordering::Relaxed);
    }

    /// Whether there are more that stay than there may be.
    pub(super) fn is_crowded(&self) -> bool {
        self.lasting.load(Ordering::Relaxed) > self.most.load(Ordering::Relaxed)
    }

    /// None is to stay any more.
    pub(super) fn none(&self) {
        self.most.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_registrations_stay() {
        let quota = Quota::new(5);
        assert_eq!(
            [(); 3].map(|()| quota.may_last()),
            [true, true, false],
            "the third is one of the other half"
        );
        assert!(!quota.is_crowded());
        quota.gone();
        assert!(quota.may_last());
    }

    #[test]
    fn a_device_that_refuses_one_is_left_half_of_what_it_has() {
        let quota = Quota::new(100);
        assert!((0..8).all(|_| quota.may_last()));
        quota.refuses();
        assert!(quota.is_crowded() && !quota.may_last());
        (0..4).for_each(|_| quota.gone());
        assert!(!quota.is_crowded() && !quota.may_last());
        quota.gone();
        assert!(quota.may_last());
    }

    #[test]
    fn nothing_stays_registered_with_a_device_that_is_removed() {
        let quota = Quota::new(100);
        assert!(quota.may_last());
        quota.none();
        assert!(quota.is_crowded() && !quota.may_last());
    }
}
