//! The request limit (SRP clause 5): how many requests the initiator may have sent that are not answered.

/// The books of one channel. What the initiator may send and what it has sent are never more than the depth together, so
/// there is always a receive buffer for what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credits {
    /// What there is a buffer for.
    depth: u32,
    /// What is given out at present: less while memory is short.
    target: u32,
    /// Requests that the initiator may send yet.
    allowed: u32,
    /// Requests that came and are not ended.
    taken: u32,
}

/// The initiator sent more requests than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded;

impl Credits {
    /// The books of a channel with so many receive buffers for requests, at least one. The login response gives all of
    /// them out ([`Credits::allowed`]).
    #[must_use]
    pub fn new(depth: u32) -> Self {
        let depth = depth.max(1);
        Self {
            depth,
            target: depth,
            allowed: depth,
            taken: 0,
        }
    }

    /// Requests that the initiator may send now.
    #[must_use]
    pub fn allowed(&self) -> u32 {
        self.allowed
    }

    /// Requests that came and are not ended.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Most requests at a time.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Gives out less, or more again: from one to the depth.
    pub fn aim(&mut self, target: u32) {
        self.target = target.clamp(1, self.depth);
    }

    /// A request came.
    ///
    /// # Errors
    /// [`Exceeded`] if there was none left.
    pub fn take(&mut self) -> Result<(), Exceeded> {
        self.allowed = self.allowed.checked_sub(1).ok_or(Exceeded)?;
        self.taken += 1;
        Ok(())
    }

    /// A request is answered: REQUEST LIMIT DELTA of its response.
    #[must_use]
    pub fn answer(&mut self) -> u32 {
        self.taken = self.taken.saturating_sub(1);
        self.give()
    }

    /// A request ended without a response.
    pub fn forfeit(&mut self) {
        self.taken = self.taken.saturating_sub(1);
    }

    /// Whether the initiator may send nothing although it could: only a credit request can tell it so.
    #[must_use]
    pub fn starves(&self) -> bool {
        self.allowed == 0 && self.room() > 0
    }

    /// REQUEST LIMIT DELTA of a request of the target's own.
    #[must_use]
    pub fn give(&mut self) -> u32 {
        let delta = self.room();
        self.allowed += delta;
        delta
    }

    fn room(&self) -> u32 {
        self.target.saturating_sub(self.allowed + self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Send,
        Answer,
        Forfeit,
        Aim(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Send),
            2 => Just(Step::Answer),
            1 => Just(Step::Forfeit),
            1 => (0u32..20).prop_map(Step::Aim),
        ]
    }

    proptest! {
        #[test]
        fn the_depth_is_never_exceeded_and_nobody_starves(
            depth in 0u32..12, steps in proptest::collection::vec(step(), 0..200)
        ) {
            let mut credits = Credits::new(depth);
            let depth = depth.max(1);
            let mut limit = credits.allowed();
            let mut out = 0;
            for step in steps {
                match step {
                    Step::Send => {
                        prop_assert_eq!(credits.take().is_ok(), limit > 0);
                        if limit > 0 {
                            limit -= 1;
                            out += 1;
                        }
                    }
                    Step::Answer if out > 0 => {
                        out -= 1;
                        limit += credits.answer();
                    }
                    Step::Forfeit if out > 0 => {
                        out -= 1;
                        credits.forfeit();
                    }
                    Step::Aim(n) => credits.aim(n),
                    _ => {}
                }
                if credits.starves() {
                    let given = credits.give();
                    prop_assert!(given > 0);
                    limit += given;
                }
                prop_assert_eq!((credits.allowed(), credits.taken()), (limit, out));
                prop_assert!(limit + out <= depth);
                // Whoever has nothing unanswered may send something.
                prop_assert!(limit > 0 || out > 0);
            }
        }
    }

    #[test]
    fn less_is_given_out_while_memory_is_short_and_all_of_it_afterwards() {
        let mut credits = Credits::new(8);
        (0..8).for_each(|_| credits.take().unwrap());
        assert_eq!(credits.take(), Err(Exceeded));
        credits.aim(1);
        (0..7).for_each(|_| assert_eq!(credits.answer(), 0));
        assert_eq!(credits.answer(), 1);
        credits.take().unwrap();
        credits.aim(8);
        assert!(credits.starves());
        assert_eq!(credits.give(), 7);
        assert_eq!(credits.answer(), 1);
    }
}
