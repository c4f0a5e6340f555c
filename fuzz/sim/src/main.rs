//! Runs seeds, replays one, makes a failing one smaller.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use lunforge_sim::{FAULTS, Mask, run, shrink, size};

/// A deterministic simulation of whole targets.
#[derive(Debug, Parser)]
#[command(name = "lunforge-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds, and makes each that fails smaller.
    Run {
        /// First seed, and the first beyond: `0..1000`.
        #[arg(long, value_parser = seeds)]
        seeds: (u64, u64),
        /// Threads; each run has one.
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Ends after so many failures.
        #[arg(long, default_value_t = 1)]
        failures: usize,
        /// Does not make failing runs smaller.
        #[arg(long)]
        no_shrink: bool,
        #[command(flatten)]
        mask: MaskArgs,
    },
    /// Runs one seed and prints all that happens.
    Replay {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        mask: MaskArgs,
    },
}

/// What is left out of runs.
#[derive(Debug, Args)]
struct MaskArgs {
    /// At most so many steps.
    #[arg(long)]
    steps: Option<u32>,
    /// At most so many initiators.
    #[arg(long)]
    initiators: Option<usize>,
    /// At most so many shards.
    #[arg(long)]
    shards: Option<usize>,
    /// At most so many units.
    #[arg(long)]
    units: Option<usize>,
    /// Faults that do not happen.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Steps left out: `3,7-12`.
    #[arg(long, value_delimiter = ',')]
    skip: Vec<String>,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("two numbers with .. between")?;
    let number = |text: &str| text.parse().map_err(|error| format!("{text:?}: {error}"));
    Ok((number(from)?, number(to)?))
}

impl MaskArgs {
    fn mask(&self) -> anyhow::Result<Mask> {
        let mut mask = Mask {
            steps: self.steps,
            initiators: self.initiators,
            shards: self.shards,
            units: self.units,
            ..Mask::default()
        };
        for name in &self.without {
            let known = FAULTS.iter().find(|(_, known)| known == name);
            let (fault, _) = known.ok_or_else(|| anyhow::anyhow!("no fault is named {name:?}"))?;
            mask = mask.without(*fault);
        }
        for part in &self.skip {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            mask.skipped.extend(from.parse::<u32>()?..=to.parse()?);
        }
        mask.skipped.sort_unstable();
        mask.skipped.dedup();
        Ok(mask)
    }
}

/// The command line that repeats a run.
fn command_line(seed: u64, mask: &Mask) -> String {
    let mut line = format!("lunforge-sim replay {seed}");
    let number =
        |name: &str, n: Option<u64>| n.map(|n| format!(" --{name} {n}")).unwrap_or_default();
    line += &number("steps", mask.steps.map(u64::from));
    line += &number("initiators", mask.initiators.map(|n| n as u64));
    line += &number("shards", mask.shards.map(|n| n as u64));
    line += &number("units", mask.units.map(|n| n as u64));
    let without: Vec<_> = FAULTS
        .iter()
        .filter(|(fault, _)| mask.faults & 1 << *fault as u32 != 0)
        .map(|(_, name)| *name)
        .collect();
    if !without.is_empty() {
        line += &format!(" --without {}", without.join(","));
    }
    let skipped = ranges(&mask.skipped);
    if !skipped.is_empty() {
        line += &format!(" --skip {}", skipped.join(","));
    }
    line
}

fn ranges(sorted: &[u32]) -> Vec<String> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &at in sorted {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == at => *last = at,
            _ => ranges.push((at, at)),
        }
    }
    let text = |(from, to)| {
        if from == to {
            format!("{from}")
        } else {
            format!("{from}-{to}")
        }
    };
    ranges.into_iter().map(text).collect()
}

fn report(seed: u64, mask: &Mask, no_shrink: bool) {
    let Some(failure) = run(seed, mask, false).failure else {
        return println!(
            "seed {seed} fails once and not again: the simulation is not deterministic"
        );
    };
    println!(
        "seed {seed} step {}: {}: {}",
        failure.step, failure.rule, failure.detail
    );
    if no_shrink {
        return;
    }
    let small = shrink(seed, mask, failure.rule, 600);
    let (steps, ..) = size(seed, &small);
    let left = steps as usize - small.skipped.len().min(steps as usize);
    println!("  {left} steps are enough: {}", command_line(seed, &small));
}

fn run_many(
    (from, to): (u64, u64),
    threads: usize,
    failures: usize,
    no_shrink: bool,
    mask: &Mask,
) -> ExitCode {
    let (next, failed, hash) = (AtomicU64::new(from), AtomicUsize::new(0), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) < failures {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        break;
                    }
                    let outcome = run(seed, mask, false);
                    hash.fetch_xor(outcome.hash, Ordering::Relaxed);
                    if outcome.failure.is_some() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        report(seed, mask, no_shrink);
                    }
                }
            });
        }
    });
    let ran = next.load(Ordering::Relaxed).min(to) - from;
    let (failed, seconds) = (
        failed.load(Ordering::Relaxed),
        start.elapsed().as_secs_f64(),
    );
    println!(
        "{ran} seeds, {failed} failed, {seconds:.1} s, {:.0} seeds/s, hash {:016x}",
        ran as f64 / seconds,
        hash.load(Ordering::Relaxed)
    );
    ExitCode::from(u8::from(failed > 0))
}

fn replay(seed: u64, mask: &Mask) -> ExitCode {
    let outcome = run(seed, mask, true);
    outcome.words.iter().for_each(|line| println!("{line}"));
    println!("hash {:016x}", outcome.hash);
    match outcome.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!(
                "step {}: {}: {}",
                failure.step, failure.rule, failure.detail
            );
            ExitCode::FAILURE
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    Ok(match Cli::parse().command {
        Command::Run {
            seeds,
            threads,
            failures,
            no_shrink,
            mask,
        } => run_many(seeds, threads, failures, no_shrink, &mask.mask()?),
        Command::Replay { seed, mask } => replay(seed, &mask.mask()?),
    })
}
