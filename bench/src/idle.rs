//! What many sessions that do nothing cost a target.

use std::time::{Duration, Instant};

use crate::initiator::{Initiator, Options, Url};
use crate::json::Object;
use crate::load::LoadError;
use crate::procfs::Usage;

/// What idle sessions cost.
#[derive(Debug, Clone)]
pub struct Idle {
    /// Sessions open.
    pub sessions: usize,
    /// Idle time, s.
    pub seconds: f64,
    /// Resident memory before the first login, KiB.
    pub rss_before_kib: u64,
    /// Resident memory with all sessions open, at the end, KiB.
    pub rss_kib: u64,
    /// CPU time of the target while idle, ms.
    pub cpu_ms: f64,
    /// Share of one CPU, percent.
    pub cpu_percent: f64,
    /// Threads of the target.
    pub threads: u64,
    /// NOP-In pings answered.
    pub pings: u64,
}

/// Opens `sessions` sessions, leaves them idle for `time`, logs out.
///
/// Pings of the target are answered once a second.
pub fn run(
    url: &Url,
    login: &Options,
    sessions: usize,
    time: Duration,
    pids: &[u32],
) -> Result<Idle, LoadError> {
    let empty = Usage::sample(pids)?;
    let mut open = Vec::with_capacity(sessions);
    for number in 0..sessions {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let login = login
            .clone()
            .isid_number(0x1d1e_0000u32.wrapping_add(number));
        let mut session = Initiator::connect(url.address(), &url.iqn, &login)?;
        session.ready(url.lun, 8)?;
        open.push(session);
    }
    // What login left running shall end before the clock starts.
    std::thread::sleep(Duration::from_millis(500));
    let first = Usage::sample(pids)?;
    let start = Instant::now();
    let mut pings = 0;
    while let Some(left) = time.checked_sub(start.elapsed()) {
        std::thread::sleep(left.min(Duration::from_secs(1)));
        for session in &mut open {
            while session.serve(Duration::from_micros(50))? {}
            pings += session.events().len() as u64;
        }
    }
    let last = Usage::sample(pids)?;
    let used = last.since(&first);
    let seconds = start.elapsed().as_secs_f64();
    for session in open {
        session.logout()?;
    }
    let cpu_ms = used.run_ns as f64 / 1e6;
    Ok(Idle {
        sessions,
        seconds,
        rss_before_kib: empty.rss_kib,
        rss_kib: used.rss_kib,
        cpu_ms,
        cpu_percent: if seconds > 0.0 {
            cpu_ms / seconds / 10.0
        } else {
            0.0
        },
        threads: used.threads,
        pings,
    })
}

impl Idle {
    /// One JSON object.
    pub fn json(&self) -> Object {
        let mut o = Object::new();
        o.int("sessions", self.sessions as u64)
            .float("seconds", self.seconds);
        o.int("rss_before_kib", self.rss_before_kib)
            .int("rss_kib", self.rss_kib);
        o.float("cpu_ms", self.cpu_ms)
            .float("cpu_percent", self.cpu_percent);
        o.int("threads", self.threads).int("pings", self.pings);
        o
    }
}

impl std::fmt::Display for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} sessions idle for {:.1} s: {:.1} MiB resident ({:.1} before), {:.2} ms CPU ({:.3} % of one), {} threads, {} pings",
            self.sessions,
            self.seconds,
            self.rss_kib as f64 / 1024.0,
            self.rss_before_kib as f64 / 1024.0,
            self.cpu_ms,
            self.cpu_percent,
            self.threads,
            self.pings
        )
    }
}
