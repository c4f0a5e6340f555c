//! The verdicts, as text and as JSON.

use std::fmt;

use super::judge::Row;
use super::watch::State;
use crate::json::Object;

/// All verdicts of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The process before the good session came.
    pub baseline: State,
    /// The process some time after the good session has gone.
    pub end: State,
    /// One for each scenario.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether every scenario passed, and nothing is left of any of them.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(Row::passed) && self.is_as_before()
    }

    /// Whether the process has no more descriptors and threads than before.
    fn is_as_before(&self) -> bool {
        self.end.descriptors <= self.baseline.descriptors
            && self.end.threads <= self.baseline.threads + super::ON_DEMAND
    }
}

const MIB: f64 = 1024.0;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.rows.iter().filter(|row| !row.passed()).count();
        let (first, last) = (self.baseline, self.end);
        write!(
            f,
            "{} scenarios passed, {failed} failed; the target at the beginning: {:.1} MiB, {} descriptors, {} threads; at the end: {:.1} MiB, {}, {}",
            self.rows.len() - failed,
            first.rss_kib as f64 / MIB,
            first.descriptors,
            first.threads,
            last.rss_kib as f64 / MIB,
            last.descriptors,
            last.threads
        )?;
        match self.is_as_before() {
            true => Ok(()),
            false => write!(f, "\nFAULT: descriptors or threads are left over"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        let [before, during, control] = self.p99();
        write!(
            f,
            "{:<13} {verdict}: {} {} in {:.1} s; good session: {} commands, {} errors, {} mismatches, p99 {:.2} ms (before {:.2}, control {:.2}; waits for a processor stretch by {:.1}), max {:.1}; memory {:.1} MiB at most, {:.1} after {:.1} s; descriptors {}, {}; threads {}, {}",
            self.name,
            self.count,
            self.unit,
            self.seconds,
            self.under_attack.ended,
            self.under_attack.errors,
            self.under_attack.mismatches,
            during as f64 / 1e6,
            before as f64 / 1e6,
            control as f64 / 1e6,
            self.stretch,
            self.under_attack.times.max() as f64 / 1e6,
            self.peak.rss_kib as f64 / MIB,
            self.after.state.rss_kib as f64 / MIB,
            self.after.seconds,
            self.peak.descriptors,
            self.after.state.descriptors,
            self.peak.threads,
            self.after.state.threads,
        )?;
        for note in &self.findings.notes {
            write!(f, "\n    {note}")?;
        }
        for fault in &self.findings.faults {
            write!(f, "\n    FAULT: {fault}")?;
        }
        let more = self.findings.fault_count - self.findings.faults.len() as u64;
        if more > 0 {
            write!(f, "\n    and {more} faults more")?;
        }
        Ok(())
    }
}

impl Row {
    /// One JSON object.
    pub fn json(&self) -> Object {
        let [before, during, control] = self.p99();
        let mut o = Object::new();
        o.text("scenario", self.name)
            .boolean("passed", self.passed())
            .int("count", self.count)
            .float("seconds", self.seconds);
        o.int("good_commands", self.under_attack.ended)
            .int("good_errors", self.under_attack.errors)
            .int("good_mismatches", self.under_attack.mismatches);
        o.float("good_p99_before_ms", before as f64 / 1e6)
            .float("good_p99_ms", during as f64 / 1e6)
            .float("control_p99_ms", control as f64 / 1e6)
            .float("stretch", self.stretch)
            .float("good_max_ms", self.under_attack.times.max() as f64 / 1e6);
        o.int("rss_peak_kib", self.peak.rss_kib)
            .int("rss_after_kib", self.after.state.rss_kib)
            .int("descriptors_peak", self.peak.descriptors)
            .int("descriptors_after", self.after.state.descriptors)
            .int("threads_peak", self.peak.threads)
            .int("threads_after", self.after.state.threads)
            .float("settled_s", self.after.seconds)
            .int("faults", self.findings.fault_count);
        let words = |lines: &[String]| lines.join("; ");
        o.text("notes", &words(&self.findings.notes))
            .text("fault_texts", &words(&self.findings.faults));
        o
    }
}
