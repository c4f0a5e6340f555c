//! Abuse: what initiators should never do, done to a target program over loopback, and judged.
//!
//! ```text
//!  run ── good session (steady, verified), and a control of it ──────────────────── all the while
//!      ── per scenario: calm window │ attack, /proc watched │ back to the baseline │ verdict
//! ```
//! A scenario is one row of [`SCENARIOS`] and one file. It says what it saw and what was wrong; whether the good session
//! and the target's process came through is judged for all of them in one place, `judge`.
//!
//! Only loopback addresses are attacked.

mod args;
mod cut_logins;
mod findings;
mod flood;
mod good;
mod half_open;
mod judge;
mod logins;
mod mix;
mod over_limit;
mod protocol;
mod report;
mod rng;
mod sessions;
mod site;
mod slow_readers;
mod slow_writers;
mod watch;

use std::time::{Duration, Instant};

pub use args::AbuseArgs;
pub use judge::{Bounds, Row};
pub use report::Report;
pub use watch::State;

use crate::initiator::{self, Options, Url};
use crate::load::Mismatch;
use crate::procfs::NoProcess;
use findings::Findings;
use good::Good;
use site::Site;
use watch::Watch;

/// One attack.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is done.
    pub about: &'static str,
    /// What its count counts.
    pub unit: &'static str,
    /// The count for a run of seconds.
    pub small: u64,
    /// The count of the whole.
    pub whole: u64,
    attack: fn(&Site, u64, &mut Findings) -> Result<(), AbuseError>,
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (small, whole) = (self.small, self.whole);
        let (name, unit, about) = (self.name, self.unit, self.about);
        write!(f, "{name:<13} {small} or {whole} {unit}: {about}")
    }
}

/// Every attack, in the order in which they are run.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "sessions",
        about: "sessions at once: verified I/O, idle, then ended in disorder, some with commands outstanding",
        unit: "sessions",
        small: 500,
        whole: 10_000,
        attack: sessions::run,
    },
    Scenario {
        name: "logins",
        about: "logins of one initiator port in a row, each taking the place of the one before; then two at once",
        unit: "logins",
        small: 1500,
        whole: 100_000,
        attack: logins::run,
    },
    Scenario {
        name: "cut-logins",
        about: "logins that end at a random byte, by FIN or RST",
        unit: "logins",
        small: 1500,
        whole: 100_000,
        attack: cut_logins::run,
    },
    Scenario {
        name: "half-open",
        about: "connections that say nothing, or a byte in a second",
        unit: "connections",
        small: 4000,
        whole: 100_000,
        attack: half_open::run,
    },
    Scenario {
        name: "over-limit",
        about: "sessions until the target takes no more, and attempts beyond",
        unit: "sessions",
        small: 1700,
        whole: 17_000,
        attack: over_limit::run,
    },
    Scenario {
        name: "slow-readers",
        about: "sessions that ask for 32 MiB each and do not read",
        unit: "sessions",
        small: 24,
        whole: 40,
        attack: slow_readers::run,
    },
    Scenario {
        name: "slow-writers",
        about: "sessions that owe 32 MiB each and send a byte in a second",
        unit: "sessions",
        small: 24,
        whole: 40,
        attack: slow_writers::run,
    },
    Scenario {
        name: "flood",
        about: "sessions that send pings without reading the answers, and sessions that do nothing",
        unit: "sessions",
        small: 16,
        whole: 64,
        attack: flood::run,
    },
    Scenario {
        name: "protocol",
        about: "random PDUs, bad digests, endless text, immediate floods, CmdSN and Data-Out out of place, R2T never answered",
        unit: "abuses",
        small: 300,
        whole: 20_000,
        attack: protocol::run,
    },
    Scenario {
        name: "mix",
        about: "mixed commands of 512 bytes to 256 KiB, every byte read compared with what was written",
        unit: "commands",
        small: 300_000,
        whole: 100_000_000,
        attack: mix::run,
    },
];

/// How much of each attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    /// Seconds each.
    Small,
    /// What the counts were made for; over half an hour.
    Whole,
}

/// Threads that a target starts when they are needed for the first time, and keeps.
const ON_DEMAND: u64 = 1;

/// One run.
#[derive(Debug, Clone)]
pub struct AbuseOptions {
    /// The logical unit; what it holds is lost.
    pub url: Url,
    /// Process of the target.
    pub pid: u32,
    /// Names of the scenarios to run; none for all.
    pub scenarios: Vec<String>,
    /// How much of each.
    pub size: Size,
    /// Counts that differ, by scenario.
    pub counts: Vec<(String, u64)>,
    /// How long an attack that waits is kept up.
    pub hold: Duration,
    /// Time of the good session's window before each attack.
    pub calm: Duration,
    /// What is judged by.
    pub bounds: Bounds,
    /// Login of all sessions.
    pub login: Options,
}

/// Why there is no verdict, or why a scenario could not go on.
#[derive(Debug, thiserror::Error)]
pub enum AbuseError {
    /// An argument makes no sense.
    #[error("{0}")]
    Argument(String),
    /// A session that should work does not.
    #[error(transparent)]
    Initiator(#[from] initiator::Error),
    /// Data read is not data written.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A socket of this side failed.
    #[error("socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The target's process cannot be watched: it is gone.
    #[error(transparent)]
    NoProcess(#[from] NoProcess),
}

/// Runs the scenarios asked for, one after the other, and judges each. `tell` is called with each row as it is made.
///
/// Blocks for seconds to hours, as the counts say. The good session goes on all the while, on a thread of its own.
///
/// # Errors
/// [`AbuseError`] when the run cannot begin, or the target's process is gone. Everything else is a verdict.
pub fn run(options: &AbuseOptions, mut tell: impl FnMut(&Row)) -> Result<Report, AbuseError> {
    let chosen = choose(&options.scenarios)?;
    for (name, _) in &options.counts {
        choose(std::slice::from_ref(name))?;
    }
    let before = State::sample(options.pid)?;
    let site = Site::new(options)?;
    let (good, control) = (Good::start(&site)?, Good::control(&site)?);
    std::thread::sleep(options.calm);
    let baseline = State::sample(options.pid)?;
    let mut rows = Vec::new();
    for scenario in chosen {
        let row = attack(scenario, options, &site, (&good, &control), &baseline)?;
        tell(&row);
        rows.push(row);
    }
    good.stop();
    control.stop();
    let alone = Bounds {
        threads: ON_DEMAND,
        ..options.bounds.clone()
    };
    // Threads that had work for the good session end after a while without.
    let end = watch::settle(options.pid, &before, &alone)?.state;
    Ok(Report {
        baseline: before,
        end,
        rows,
    })
}

fn choose(names: &[String]) -> Result<Vec<&'static Scenario>, AbuseError> {
    let unknown = |name: &String| AbuseError::Argument(format!("there is no scenario {name:?}"));
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            SCENARIOS
                .iter()
                .find(|s| s.name == name)
                .ok_or_else(|| unknown(name))
        })
        .collect()
}

fn attack(
    scenario: &Scenario,
    options: &AbuseOptions,
    site: &Site,
    (good, control): (&Good, &Good),
    baseline: &State,
) -> Result<Row, AbuseError> {
    let own = options.counts.iter().rfind(|(n, _)| n == scenario.name);
    let count = match (own, options.size) {
        (Some((_, count)), _) => *count,
        (None, Size::Small) => scenario.small,
        (None, Size::Whole) => scenario.whole,
    };
    good.take();
    std::thread::sleep(options.calm);
    let calm = good.take();
    control.take();
    let mut findings = Findings::default();
    let watch = Watch::start(options.pid);
    let before = State::sample(options.pid)?;
    let start = Instant::now();
    if let Err(error) = (scenario.attack)(site, count, &mut findings) {
        findings.fault(format!("the scenario could not go on: {error}"));
    }
    let seconds = start.elapsed().as_secs_f64();
    let under_attack = good.take();
    let control = control.take();
    let stretch = State::sample(options.pid)?.stretch_since(&before);
    let peak = watch.stop();
    let after = watch::settle(options.pid, baseline, &options.bounds)?;
    findings.merge(good.take().findings());
    Ok(Row {
        name: scenario.name,
        unit: scenario.unit,
        count,
        seconds,
        calm,
        under_attack,
        control,
        stretch,
        peak,
        after,
        findings,
    }
    .judged(baseline, &options.bounds))
}
