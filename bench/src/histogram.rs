//! Log-linear latency histogram: 64 steps per power of two, so at most 1.6 % off.

/// Linear steps per power of two, as a power of two.
const STEP_BITS: u32 = 6;
const STEPS: usize = 1 << STEP_BITS;
/// Powers of two covered: values up to 2^42 ns (over an hour), larger ones fall into the last bucket.
const RANGES: usize = 37;

/// Counts of nanosecond values.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self {
            counts: vec![0; STEPS * RANGES],
            total: 0,
            max: 0,
        }
    }

    #[inline]
    fn bucket(ns: u64) -> usize {
        let top = 63 - (ns | 1).leading_zeros();
        if top < STEP_BITS {
            return ns as usize;
        }
        let range = (top - STEP_BITS) as usize;
        let step = (ns >> range) as usize & (STEPS - 1);
        ((range + 1) * STEPS + step).min(STEPS * RANGES - 1)
    }

    /// Middle of a bucket, ns.
    fn middle(bucket: usize) -> u64 {
        if bucket < STEPS {
            return bucket as u64;
        }
        let range = bucket / STEPS - 1;
        let low = ((STEPS + bucket % STEPS) as u64) << range;
        low + (1u64 << range) / 2
    }

    /// Counts one value, ns.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(Self::bucket(ns)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(ns);
    }

    /// Adds everything another histogram counted.
    pub fn merge(&mut self, other: &Self) {
        for (to, from) in self.counts.iter_mut().zip(&other.counts) {
            *to += from;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Number of values.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Largest value, exact, ns.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that `share` (0 to 1) of all values do not pass, ns; 0 when empty.
    pub fn quantile(&self, share: f64) -> u64 {
        if self.total == 0 {
            return 0;
        }
        let rank = ((share.clamp(0.0, 1.0) * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Self::middle(bucket).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_within_two_percent_of_its_bucket() {
        let mut ns = 1u64;
        while ns < 1 << 41 {
            let middle = Histogram::middle(Histogram::bucket(ns));
            assert!(
                ns.abs_diff(middle) as f64 <= ns as f64 * 0.016,
                "{ns} -> {middle}"
            );
            ns += ns / 7 + 1;
        }
    }

    #[test]
    fn buckets_never_decrease_with_the_value() {
        let mut last = 0;
        for ns in (0..100_000u64).chain((17..63).map(|p| 1 << p)) {
            let bucket = Histogram::bucket(ns);
            assert!(bucket >= last);
            last = bucket;
        }
    }

    #[test]
    fn quantiles_of_a_uniform_spread() {
        let mut h = Histogram::new();
        for ns in 1..=10_000 {
            h.record(ns);
        }
        for (share, expected) in [
            (0.5, 5000.0),
            (0.9, 9000.0),
            (0.99, 9900.0),
            (1.0, 10_000.0),
        ] {
            let got = h.quantile(share) as f64;
            assert!((got - expected).abs() < expected * 0.02, "{share}: {got}");
        }
        assert_eq!(h.max(), 10_000);
        assert_eq!(Histogram::new().quantile(0.5), 0);
    }

    #[test]
    fn merged_histograms_count_both() {
        let (mut a, mut b) = (Histogram::new(), Histogram::new());
        a.record(10);
        b.record(1_000_000);
        a.merge(&b);
        assert_eq!((a.total(), a.max()), (2, 1_000_000));
        assert_eq!(a.quantile(0.5), 10);
    }
}
