//! The result of a run, as text and as JSON.

use super::{Edge, LoadOptions, Tally};
use crate::initiator::Negotiated;
use crate::json::Object;

/// What one run measured. Times are those of the measured window.
#[derive(Debug, Clone)]
pub struct Report {
    /// Length of the window, s.
    pub seconds: f64,
    /// Commands ended GOOD in it.
    pub ios: u64,
    /// Commands per second.
    pub iops: f64,
    /// MiB per second.
    pub mib_s: f64,
    /// Latency that half of the commands do not pass, µs.
    pub p50_us: f64,
    /// 90 %, µs.
    pub p90_us: f64,
    /// 99 %, µs.
    pub p99_us: f64,
    /// 99.9 %, µs.
    pub p999_us: f64,
    /// Slowest command, µs.
    pub max_us: f64,
    /// CPU time of the target per command, µs; 0 without a PID.
    pub target_us_per_io: f64,
    /// CPUs the target used.
    pub target_util: f64,
    /// CPUs the generator used.
    pub client_util: f64,
    /// CPUs the whole machine used.
    pub machine_busy: f64,
    /// CPUs taken by the hypervisor.
    pub steal: f64,
    /// Resident memory of the target at the end, KiB.
    pub rss_kib: u64,
    /// Threads of the target at the end.
    pub target_threads: u64,
    /// Commands that did not end GOOD, warm-up included.
    pub errors: u64,
    /// The first of them.
    pub messages: Vec<String>,
    /// Data-In PDUs.
    pub data_ins: u64,
    /// SCSI Response PDUs.
    pub responses: u64,
    /// Data-In PDUs with status (phase collapse).
    pub collapsed: u64,
    /// R2Ts.
    pub r2ts: u64,
    /// `recv` calls that returned data.
    pub receives: u64,
    /// Times the command window kept the depth from being reached.
    pub window_closed: u64,
    /// Bytes compared with their pattern.
    pub verified: u64,
    /// What login agreed (first session).
    pub params: Negotiated,
}

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

impl Report {
    pub(super) fn new(
        o: &LoadOptions,
        params: Negotiated,
        t: Tally,
        first: Edge,
        last: Edge,
    ) -> Self {
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        let used = last.target.since(&first.target);
        let ios = t.histogram.total();
        let cpus = |ns: u64| ratio(ns as f64 / 1e9, seconds);
        let us = |share: f64| t.histogram.quantile(share) as f64 / 1e3;
        Self {
            seconds,
            ios,
            iops: ratio(ios as f64, seconds),
            mib_s: ratio(t.bytes as f64 / 1_048_576.0, seconds),
            p50_us: us(0.5),
            p90_us: us(0.9),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: t.histogram.max() as f64 / 1e3,
            target_us_per_io: ratio(used.run_ns as f64 / 1e3, ios as f64),
            target_util: cpus(used.run_ns),
            client_util: cpus(last.own_ns.saturating_sub(first.own_ns)),
            machine_busy: cpus(used.machine_busy_ns),
            steal: cpus(used.steal_ns),
            rss_kib: if o.pids.is_empty() { 0 } else { used.rss_kib },
            target_threads: used.threads,
            errors: t.errors,
            messages: t.messages,
            data_ins: t.data_ins,
            responses: t.responses,
            collapsed: t.collapsed,
            r2ts: t.r2ts,
            receives: t.receives,
            window_closed: t.window_closed,
            verified: t.verified,
            params,
        }
    }

    /// CPUs taken by neither the target nor the generator.
    pub fn foreign(&self) -> f64 {
        (self.machine_busy - self.target_util - self.client_util).max(0.0)
    }

    /// One JSON object.
    pub fn json(&self) -> Object {
        let p = &self.params;
        let mut o = Object::new();
        o.float("seconds", self.seconds)
            .int("ios", self.ios)
            .float("iops", self.iops);
        o.float("mib_s", self.mib_s)
            .float("p50_us", self.p50_us)
            .float("p90_us", self.p90_us);
        o.float("p99_us", self.p99_us)
            .float("p999_us", self.p999_us)
            .float("max_us", self.max_us);
        o.float("target_us_per_io", self.target_us_per_io)
            .float("target_util", self.target_util);
        o.float("client_util", self.client_util)
            .float("machine_busy", self.machine_busy);
        o.float("steal", self.steal)
            .float("foreign", self.foreign())
            .int("rss_kib", self.rss_kib);
        o.int("target_threads", self.target_threads)
            .int("errors", self.errors);
        o.int("data_ins", self.data_ins)
            .int("responses", self.responses);
        o.int("collapsed", self.collapsed)
            .int("r2ts", self.r2ts)
            .int("receives", self.receives);
        o.int("window_closed", self.window_closed)
            .int("verified_bytes", self.verified);
        o.int(
            "target_max_recv_data_segment_length",
            p.target_max_recv_data_segment_length.into(),
        );
        o.int("max_burst_length", p.max_burst_length.into());
        o.int("first_burst_length", p.first_burst_length.into());
        o.boolean("immediate_data", p.immediate_data)
            .boolean("initial_r2t", p.initial_r2t);
        o.boolean("header_digest", p.header_digest)
            .boolean("data_digest", p.data_digest);
        o
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let p = &self.params;
        writeln!(
            f,
            "{:.0} IOPS, {:.1} MiB/s, {} commands in {:.2} s, {} errors",
            self.iops, self.mib_s, self.ios, self.seconds, self.errors
        )?;
        writeln!(
            f,
            "latency us: p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}",
            self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us
        )?;
        if self.target_threads > 0 {
            writeln!(
                f,
                "target: {:.2} us CPU per command, {:.2} CPUs, {} threads, {:.1} MiB resident",
                self.target_us_per_io,
                self.target_util,
                self.target_threads,
                self.rss_kib as f64 / 1024.0
            )?;
        }
        writeln!(
            f,
            "CPUs: generator {:.2}, machine {:.2}, others {:.2}, stolen {:.2}",
            self.client_util,
            self.machine_busy,
            self.foreign(),
            self.steal
        )?;
        writeln!(
            f,
            "PDUs: {} Data-In ({} with status), {} responses, {} R2Ts, {} receives; window closed {} times",
            self.data_ins,
            self.collapsed,
            self.responses,
            self.r2ts,
            self.receives,
            self.window_closed
        )?;
        write!(
            f,
            "agreed: target segment {}, first burst {}, max burst {}, immediate {}, initial R2T {}, digests {}/{}",
            p.target_max_recv_data_segment_length,
            p.first_burst_length,
            p.max_burst_length,
            p.immediate_data,
            p.initial_r2t,
            p.header_digest,
            p.data_digest
        )?;
        if self.verified > 0 {
            write!(
                f,
                "\nverified: {:.1} MiB read equal what was written",
                self.verified as f64 / 1_048_576.0
            )?;
        }
        for message in &self.messages {
            write!(f, "\nerror: {message}")?;
        }
        Ok(())
    }
}
