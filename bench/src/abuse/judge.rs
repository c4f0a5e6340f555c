//! What every scenario is judged by: the good session, and the target's process.

use std::time::Duration;

use super::findings::Findings;
use super::good::Window;
use super::watch::{Rest, State};

/// The bounds.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// p99 of the good session under attack is at most this many times its p99 before, or that of the control under the
    /// same attack,
    pub factor: f64,
    /// or at most this, whichever is more. It is stretched by the time in which the target's threads had work and no
    /// processor.
    pub floor: Duration,
    /// Resident memory at any time, KiB.
    pub peak_kib: u64,
    /// Resident memory above the baseline after an attack, KiB.
    pub growth_kib: u64,
    /// Threads above the baseline after an attack: the good session goes on, and may have work for some.
    pub threads: u64,
    /// Longest wait for the process to be as it was.
    pub settle: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            factor: 10.0,
            floor: Duration::from_millis(20),
            peak_kib: 768 << 10,
            growth_kib: 32 << 10,
            threads: 8,
            settle: Duration::from_secs(20),
        }
    }
}

impl Bounds {
    /// Whether the process is as it was, within the bounds.
    pub(super) fn is_back(&self, state: &State, baseline: &State) -> bool {
        state.descriptors <= baseline.descriptors
            && state.threads <= baseline.threads + self.threads
            && state.rss_kib <= baseline.rss_kib + self.growth_kib
    }
}

/// A scenario's result.
#[derive(Debug, Clone)]
pub struct Row {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) count: u64,
    pub(super) seconds: f64,
    pub(super) calm: Window,
    pub(super) under_attack: Window,
    pub(super) control: Window,
    /// How many times longer the target took than with processors of its own.
    pub(super) stretch: f64,
    pub(super) peak: State,
    pub(super) after: Rest,
    pub(super) findings: Findings,
}

impl Row {
    /// Whether everything was as it must be.
    pub fn passed(&self) -> bool {
        self.findings.fault_count == 0
    }

    /// p99 of the good session before and during, and of the control during, ns.
    pub(super) fn p99(&self) -> [u64; 3] {
        [&self.calm, &self.under_attack, &self.control].map(|w| w.times.quantile(0.99))
    }

    pub(super) fn judged(mut self, baseline: &State, bounds: &Bounds) -> Self {
        self.findings.merge(self.under_attack.findings());
        let [before, during, control] = self.p99();
        let floor = bounds.floor.as_secs_f64() * 1e9 * self.stretch;
        let most = (before.max(control) as f64 * bounds.factor).max(floor) as u64;
        let f = &mut self.findings;
        f.must(during <= most, || {
            format!(
                "good session: p99 {:.2} ms, before {:.2} ms, control {:.2} ms, allowed {:.2} ms",
                during as f64 / 1e6,
                before as f64 / 1e6,
                control as f64 / 1e6,
                most as f64 / 1e6
            )
        });
        f.must(self.under_attack.ended > 0, || {
            "good session: no command ended".to_owned()
        });
        f.must(self.peak.rss_kib <= bounds.peak_kib, || {
            let (got, may) = (self.peak.rss_kib >> 10, bounds.peak_kib >> 10);
            format!("memory: {got} MiB at the most, {may} MiB allowed")
        });
        let after = &self.after.state;
        f.must(bounds.is_back(after, baseline), || {
            format!(
                "after {:.1} s the target had {} descriptors ({} before), {} threads ({}), {} KiB ({}, and {} allowed)",
                self.after.seconds,
                after.descriptors,
                baseline.descriptors,
                after.threads,
                baseline.threads,
                after.rss_kib,
                baseline.rss_kib,
                bounds.growth_kib
            )
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: State = State {
        rss_kib: 5000,
        descriptors: 20,
        threads: 4,
        run_ns: 0,
        wait_ns: 0,
    };

    fn row(change: impl FnOnce(&mut Row)) -> Row {
        let mut good = Window::default();
        (0..1000).for_each(|_| good.times.record(100_000));
        good.ended = 1000;
        let mut row = Row {
            name: "test",
            unit: "things",
            count: 1,
            seconds: 1.0,
            calm: good.clone(),
            under_attack: good.clone(),
            control: good,
            stretch: 1.0,
            peak: BASE,
            after: Rest {
                state: BASE,
                seconds: 0.0,
            },
            findings: Findings::default(),
        };
        change(&mut row);
        row.judged(&BASE, &Bounds::default())
    }

    #[test]
    fn a_quiet_run_passes() {
        assert!(row(|_| ()).passed());
    }

    #[test]
    fn each_bound_fails_the_row_that_passes_it() {
        let slow = |r: &mut Row| (0..100).for_each(|_| r.under_attack.times.record(21_000_000));
        assert!(!row(slow).passed());
        assert!(!row(|r| r.under_attack.errors = 1).passed());
        assert!(!row(|r| r.under_attack.mismatches = 1).passed());
        assert!(!row(|r| r.under_attack = Window::default()).passed());
        assert!(!row(|r| r.peak.rss_kib = (768 << 10) + 1).passed());
        assert!(!row(|r| r.after.state.descriptors += 1).passed());
        assert!(!row(|r| r.after.state.threads += 9).passed());
        assert!(!row(|r| r.after.state.rss_kib += (32 << 10) + 1).passed());
        assert!(!row(|r| r.findings.fault("x".into())).passed());
    }

    #[test]
    fn noise_below_the_floor_is_no_fault() {
        let noise = |r: &mut Row| (0..100).for_each(|_| r.under_attack.times.record(19_000_000));
        assert!(row(noise).passed());
    }

    #[test]
    fn the_floor_is_stretched_by_waits_for_a_processor() {
        let late = |r: &mut Row| (0..100).for_each(|_| r.under_attack.times.record(30_000_000));
        assert!(!row(late).passed());
        assert!(row(|r| (late(r), r.stretch = 2.0).1).passed());
        let before = State {
            run_ns: 10_000_000,
            ..BASE
        };
        let after = State {
            run_ns: 30_000_000,
            wait_ns: 40_000_000,
            ..BASE
        };
        assert_eq!(after.stretch_since(&before), 3.0);
    }

    #[test]
    fn what_the_control_sees_too_is_no_fault() {
        let noise = |r: &mut Row| {
            (0..100).for_each(|_| r.under_attack.times.record(90_000_000));
            (0..100).for_each(|_| r.control.times.record(10_000_000));
        };
        assert!(row(noise).passed());
    }
}
