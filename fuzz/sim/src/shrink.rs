//! Makes a failing run smaller: fewer steps, fewer faults, fewer parts, as long as the same rule is broken.

use crate::chronicle::Failure;
use crate::config::{FAULTS, Fault, Mask};
use crate::run::{run, size};

/// The smallest mask found with which `seed` still breaks `rule`, in at most `tries` runs.
#[must_use]
pub fn shrink(seed: u64, mask: &Mask, rule: &str, tries: u32) -> Mask {
    shrink_by(seed, mask, rule, tries, |mask| {
        run(seed, mask, false).failure
    })
}

fn shrink_by(
    seed: u64,
    mask: &Mask,
    rule: &str,
    tries: u32,
    run: impl FnMut(&Mask) -> Option<Failure>,
) -> Mask {
    let mut this = Shrinking {
        seed,
        rule: rule.to_owned(),
        best: mask.clone(),
        left: tries,
        run,
    };
    this.steps();
    this.parts();
    this.faults();
    this.skips();
    this.parts();
    this.faults();
    this.best
}

struct Shrinking<R> {
    seed: u64,
    rule: String,
    best: Mask,
    left: u32,
    run: R,
}

impl<R: FnMut(&Mask) -> Option<Failure>> Shrinking<R> {
    /// Whether the rule is broken with `mask`, which is the best one then.
    fn try_it(&mut self, mask: Mask) -> bool {
        if self.left == 0 || mask == self.best {
            return false;
        }
        self.left -= 1;
        let broken = (self.run)(&mask).is_some_and(|failure| failure.rule == self.rule);
        if broken {
            self.best = mask;
        }
        broken
    }

    /// Nothing after the step in which it showed.
    fn steps(&mut self) {
        let Some(failure) = (self.run)(&self.best) else {
            return;
        };
        let steps = failure
            .step
            .saturating_add(1)
            .min(size(self.seed, &self.best).0);
        let cut = |steps| Mask {
            steps: Some(steps),
            ..self.best.clone()
        };
        let (last, half) = (cut(steps), cut(steps / 2));
        if !self.try_it(half) {
            self.try_it(last);
        }
    }

    fn parts(&mut self) {
        loop {
            let (_, initiators, shards, units) = size(self.seed, &self.best);
            let fewer = [
                Mask {
                    initiators: Some(initiators - 1),
                    ..self.best.clone()
                },
                Mask {
                    shards: Some(shards - 1),
                    ..self.best.clone()
                },
                Mask {
                    units: Some(units - 1),
                    ..self.best.clone()
                },
            ];
            let more = [initiators, shards, units].map(|n| n > 1);
            let tried = fewer
                .into_iter()
                .zip(more)
                .any(|(mask, some)| some && self.try_it(mask));
            if !tried {
                return;
            }
        }
    }

    fn faults(&mut self) {
        for (fault, _) in FAULTS {
            self.fault(fault);
        }
    }

    fn fault(&mut self, fault: Fault) {
        let mask = self.best.clone().without(fault);
        self.try_it(mask);
    }

    /// Leaves out runs of steps, long ones first.
    fn skips(&mut self) {
        let steps = size(self.seed, &self.best).0;
        let mut len = steps.div_ceil(2);
        while len > 0 && self.left > 0 {
            let mut at = 0;
            while at < steps {
                let more = at..steps.min(at + len);
                let mut skipped = self.best.skipped.clone();
                skipped.extend(more);
                skipped.sort_unstable();
                skipped.dedup();
                if skipped.len() > self.best.skipped.len() {
                    let mask = Mask {
                        skipped,
                        ..self.best.clone()
                    };
                    self.try_it(mask);
                }
                at += len;
            }
            len /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failure_does_not_need_is_left_out_and_what_it_needs_stays() {
        let needed = [7, 40];
        let fails = |mask: &Mask| {
            let steps = size(1, mask).0;
            let there = |step: &u32| *step < steps && !mask.skipped.contains(step);
            let store = mask.faults & 1 << Fault::SlowStore as u32 == 0;
            (needed.iter().all(there) && store).then(|| Failure {
                rule: "rule",
                detail: String::new(),
                step: 45,
            })
        };
        let small = shrink_by(1, &Mask::default(), "rule", 600, fails);
        let steps = size(1, &small).0;
        let left: Vec<u32> = (0..steps).filter(|s| !small.skipped.contains(s)).collect();
        assert_eq!(left, needed);
        assert_eq!(small.faults.count_ones() as usize, FAULTS.len() - 1);
        assert_eq!(
            (small.initiators, small.shards, small.units).0.unwrap_or(1),
            1
        );
    }
}
