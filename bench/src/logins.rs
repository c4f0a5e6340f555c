//! Logins and logouts in a row.

use std::time::Instant;

use crate::histogram::Histogram;
use crate::initiator::{Initiator, Options, Url};
use crate::json::Object;
use crate::load::LoadError;
use crate::procfs::Usage;

/// What logins cost.
#[derive(Debug, Clone)]
pub struct Logins {
    /// Sessions opened and closed.
    pub count: u64,
    /// Sessions per second, login and logout.
    pub rate: f64,
    /// Half of them took no longer, µs.
    pub p50_us: f64,
    /// 99 %, µs.
    pub p99_us: f64,
    /// The slowest, µs.
    pub max_us: f64,
    /// CPU time of the target per session, µs; 0 without a PID.
    pub target_us: f64,
    /// Growth of the target's resident memory, KiB.
    pub rss_growth_kib: i64,
}

/// Opens and closes `count` sessions one after the other.
pub fn run(url: &Url, login: &Options, count: u64, pids: &[u32]) -> Result<Logins, LoadError> {
    let mut times = Histogram::new();
    let first = Usage::sample(pids)?;
    let start = Instant::now();
    for number in 0..count {
        let isid = u32::try_from(number & 0xff_ffff).unwrap_or(0);
        let login = login.clone().isid_number(0x1000_0000 | isid);
        let begin = Instant::now();
        Initiator::connect(url.address(), &url.iqn, &login)?.logout()?;
        times.record(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    let seconds = start.elapsed().as_secs_f64();
    let last = Usage::sample(pids)?;
    let us = |share| times.quantile(share) as f64 / 1e3;
    let each = |total: f64| if count > 0 { total / count as f64 } else { 0.0 };
    Ok(Logins {
        count,
        rate: if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        },
        p50_us: us(0.5),
        p99_us: us(0.99),
        max_us: times.max() as f64 / 1e3,
        target_us: each(last.since(&first).run_ns as f64 / 1e3),
        rss_growth_kib: last.rss_kib.cast_signed() - first.rss_kib.cast_signed(),
    })
}

impl Logins {
    /// One JSON object.
    pub fn json(&self) -> Object {
        let mut o = Object::new();
        o.int("count", self.count)
            .float("rate", self.rate)
            .float("p50_us", self.p50_us);
        o.float("p99_us", self.p99_us).float("max_us", self.max_us);
        o.float("target_us", self.target_us)
            .float("rss_growth_kib", self.rss_growth_kib as f64);
        o
    }
}

impl std::fmt::Display for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} logins and logouts: {:.0} per s, p50 {:.0} us, p99 {:.0} us, max {:.0} us; target {:.0} us CPU each, memory grew by {} KiB",
            self.count,
            self.rate,
            self.p50_us,
            self.p99_us,
            self.max_us,
            self.target_us,
            self.rss_growth_kib
        )
    }
}
