//! A histogram of times in buckets at powers of two.

use std::time::Duration;

use crate::stats::Counter;

/// Buckets with a bound: the first is of one microsecond, each next one of twice as much.
const BOUNDED: usize = 25;

/// How often something took how long. Counted by one shard, read by anybody.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [Counter; BOUNDED],
    beyond: Counter,
    nanos: Counter,
}

impl Histogram {
    pub(super) fn add(&self, time: Duration) {
        let bucket = self.buckets.get(bucket_of(time));
        bucket.unwrap_or(&self.beyond).add(1);
        self.nanos.add(nanos(time));
    }

    /// Adds what was counted to `times`.
    pub(super) fn sum_into(&self, times: &mut Times) {
        for (sum, bucket) in times.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.value();
        }
        times.beyond += self.beyond.value();
        times.nanos = times.nanos.saturating_add(self.nanos.value());
    }
}

/// What a histogram has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    buckets: [u64; BOUNDED],
    beyond: u64,
    nanos: u64,
}

impl Times {
    /// The bounds, ascending, each with how many times were not longer.
    pub fn up_to(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let bounds = (0..).map(|power| Duration::from_micros(1 << power));
        let mut sum = 0;
        bounds.zip(&self.buckets).map(move |(bound, bucket)| {
            sum += bucket;
            (bound, sum)
        })
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum::<u64>() + self.beyond
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// Adds times that were too short to be told from nothing.
    pub(super) fn add_instant(&mut self, count: u64) {
        self.buckets[0] += count;
    }
}

/// The bucket whose bound is the first that a time does not exceed; [`BOUNDED`] or more: there is none.
fn bucket_of(time: Duration) -> usize {
    let micros = nanos(time).div_ceil(1000);
    (u64::BITS - micros.saturating_sub(1).leading_zeros()) as usize
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(times: &[Duration]) -> Times {
        let histogram = Histogram::default();
        times.iter().for_each(|time| histogram.add(*time));
        let mut counted = Times::default();
        histogram.sum_into(&mut counted);
        counted
    }

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        for power in 0..BOUNDED {
            let bound = Duration::from_micros(1 << power);
            assert_eq!(bucket_of(bound), power, "{bound:?}");
            assert_eq!(bucket_of(bound + Duration::from_nanos(1)), power + 1);
        }
        assert_eq!(bucket_of(Duration::ZERO), 0);
        assert!(bucket_of(Duration::MAX) >= BOUNDED);
    }

    #[test]
    fn bounds_go_from_a_microsecond_to_sixteen_seconds_and_counts_add_up() {
        let long = Duration::from_secs(17);
        let times = counted(&[Duration::from_micros(3), Duration::from_micros(5), long]);
        let all: Vec<_> = times.up_to().collect();
        assert_eq!(all[0], (Duration::from_micros(1), 0));
        assert_eq!(all[2], (Duration::from_micros(4), 1));
        assert_eq!(all[3], (Duration::from_micros(8), 2));
        assert_eq!(all[24], (Duration::from_micros(1 << 24), 2));
        assert_eq!((all.len(), times.count()), (25, 3));
        assert_eq!(times.sum(), long + Duration::from_micros(8));
    }
}
