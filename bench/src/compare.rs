//! Targets side by side: interleaved rounds, medians, ratios to the first one.
//!
//! Every round runs every row on every target, in turn forwards and backwards, so that a slow
//! spell of the machine meets all of them. Ratios are taken within a round, then their median.

mod rows;
mod summary;

use std::time::Duration;

pub use rows::{Contender, Row};
pub use summary::{Figure, median};

use rustix::process::{Pid, Signal, kill_process};

use crate::initiator::Options;
use crate::json::Object;
use crate::load::{self, LoadError, LoadOptions, Report};
use crate::pin;

/// A whole comparison.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// Targets; the first one is the numerator of every ratio.
    pub contenders: Vec<Contender>,
    /// Loads.
    pub rows: Vec<Row>,
    /// Rounds.
    pub rounds: usize,
    /// Measured time of a run.
    pub measure: Duration,
    /// Warm-up of a run.
    pub warmup: Duration,
    /// Pause before each run.
    pub gap: Duration,
    /// Bytes of the logical unit used.
    pub span: u64,
    /// Generator threads (at most the sessions of a row are used).
    pub threads: usize,
    /// Generator never sleeps.
    pub spin: bool,
    /// CPUs for the generator's threads.
    pub cpus: Vec<usize>,
    /// CPU for every thread of every target.
    pub target_cpu: Option<usize>,
    /// Stop (SIGSTOP) the targets that are not being measured.
    pub freeze: bool,
    /// Repeat a run, three times at most, while others used more CPUs than this.
    pub foreign_limit: Option<f64>,
    /// Login.
    pub login: Options,
}

/// One run of a comparison.
#[derive(Debug, Clone)]
pub struct Run {
    /// Row name.
    pub row: String,
    /// Target label.
    pub label: String,
    /// Round, from 0.
    pub round: usize,
    /// What was measured.
    pub report: Report,
}

impl Run {
    /// One JSON object.
    pub fn json(&self) -> Object {
        let mut o = Object::new();
        o.text("row", &self.row)
            .text("target", &self.label)
            .int("round", self.round as u64);
        o.extend(&self.report.json());
        o
    }
}

/// All runs of a comparison.
#[derive(Debug, Clone)]
pub struct Comparison {
    rows: Vec<Row>,
    labels: Vec<String>,
    runs: Vec<Run>,
    /// Runs that failed, each with its reason.
    pub failures: Vec<String>,
}

/// Runs the comparison; `progress` sees every run as it ends.
pub fn run(
    options: &CompareOptions,
    mut progress: impl FnMut(&Run),
) -> Result<Comparison, LoadError> {
    if let Some(cpu) = options.target_cpu {
        for pid in options.contenders.iter().flat_map(|c| &c.pids) {
            pin::process(*pid, cpu).map_err(|source| LoadError::Pin { cpu, source })?;
        }
    }
    let labels = options.contenders.iter().map(|c| c.label.clone()).collect();
    let mut all = Comparison {
        rows: options.rows.clone(),
        labels,
        runs: Vec::new(),
        failures: Vec::new(),
    };
    for round in 0..options.rounds {
        for row in &options.rows {
            let mut order: Vec<_> = options.contenders.iter().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for contender in order {
                match quietest(options, row, contender) {
                    Ok(report) => {
                        let (row, label) = (row.name.clone(), contender.label.clone());
                        let run = Run {
                            row,
                            label,
                            round,
                            report,
                        };
                        progress(&run);
                        all.runs.push(run);
                    }
                    Err(e @ LoadError::Argument(_)) => return Err(e),
                    Err(e) => all
                        .failures
                        .push(format!("{} {}: {e}", contender.label, row.name)),
                }
            }
        }
    }
    Ok(all)
}

fn quietest(
    options: &CompareOptions,
    row: &Row,
    contender: &Contender,
) -> Result<Report, LoadError> {
    let _frozen = Frozen::others(options, contender);
    let mut best = once(options, row, contender)?;
    for _ in 1..3 {
        if options
            .foreign_limit
            .is_none_or(|limit| best.foreign() <= limit)
        {
            break;
        }
        let next = once(options, row, contender)?;
        if next.foreign() < best.foreign() {
            best = next;
        }
    }
    Ok(best)
}

fn once(options: &CompareOptions, row: &Row, contender: &Contender) -> Result<Report, LoadError> {
    std::thread::sleep(options.gap);
    load::run(&LoadOptions {
        mode: row.mode,
        block: row.block,
        depth: row.depth,
        sessions: row.sessions,
        threads: options.threads.clamp(1, row.sessions.max(1)),
        measure: options.measure,
        warmup: options.warmup,
        span: Some(options.span),
        spin: options.spin,
        verify: false,
        pids: contender.pids.clone(),
        cpus: options.cpus.clone(),
        login: options.login.clone(),
        url: contender.url.clone(),
    })
}

/// Processes stopped until this is dropped.
struct Frozen(Vec<Pid>);

impl Frozen {
    fn others(options: &CompareOptions, running: &Contender) -> Self {
        if !options.freeze {
            return Self(Vec::new());
        }
        let all = options.contenders.iter().flat_map(|c| &c.pids);
        let others = all.filter(|pid| !running.pids.contains(pid));
        let pids: Vec<Pid> = others
            .filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?))
            .collect();
        for pid in &pids {
            // One that has gone shows as a failed run of its own.
            let _ = kill_process(*pid, Signal::STOP);
        }
        Self(pids)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}
