//! The subcommands about power cuts: `durable` and `disk`.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use lunforge_bench::disk::{self, Export};
use lunforge_bench::durable::replay::{self, Place};
use lunforge_bench::durable::write::{self, Until, WriteOptions};
use lunforge_bench::durable::{DurableError, UnderTest, verify};
use lunforge_bench::parse::{seconds, size};

use super::{Failure, LoginArgs};

/// Status when a promise was broken: what was acknowledged as durable is not there, or a block is torn.
const BROKEN: u8 = 3;

#[derive(Subcommand)]
pub(crate) enum Durable {
    /// Writes to all units at once and records what is acknowledged as durable, until the power is cut.
    Write(WriteArgs),
    /// Reads every block after a power cut and compares it with the record. Exit status 3: a promise was broken.
    Verify(VerifyArgs),
    /// Replays a log of dm-log-writes against a record, at every flush and FUA. Exit status 3: a promise was broken.
    Replay(ReplayArgs),
}

#[derive(Args)]
pub(crate) struct WriteArgs {
    /// NAME=MODE@iscsi://HOST[:PORT]/TARGET/LUN; modes: write-through, cache-off, fua, sync, nv-cache, volatile.
    #[arg(required = true, value_name = "UNIT")]
    units: Vec<UnderTest>,
    /// Folder of the records, NAME.acks each.
    #[arg(long, value_name = "DIR")]
    records: PathBuf,
    /// Commands outstanding per unit.
    #[arg(long, default_value_t = 8)]
    depth: usize,
    /// Blocks used of each unit, from its start.
    #[arg(long)]
    blocks: Option<u64>,
    /// Write so long and end, instead of until the connections are lost.
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Of what is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// NAME=DEVICE: set marks in the log of this dm-log-writes device, which is under the unit NAME.
    #[arg(long, value_name = "NAME=DEVICE", value_parser = pair)]
    mark: Vec<(String, String)>,
    #[command(flatten)]
    login: LoginArgs,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// As for `durable write`.
    #[arg(required = true, value_name = "UNIT")]
    units: Vec<UnderTest>,
    /// Folder of the records.
    #[arg(long, value_name = "DIR")]
    records: PathBuf,
    #[command(flatten)]
    login: LoginArgs,
}

#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// The log device, or a copy of it.
    log: PathBuf,
    /// Bytes of the logged device, which held zeroes when the log began (suffixes k, m, g).
    #[arg(long, value_parser = size)]
    size: u64,
    /// Folder of the records.
    #[arg(long, value_name = "DIR")]
    records: PathBuf,
    /// Name of the unit.
    #[arg(long)]
    unit: String,
    /// The unit is this file of an ext4 file system on the device (needs e2fsck and debugfs).
    #[arg(long, value_name = "PATH", requires = "scratch")]
    ext4: Option<String>,
    /// Folder for images, with --ext4.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Points that are looked at with --ext4, evenly spread.
    #[arg(long, default_value_t = u64::MAX)]
    points: u64,
}

#[derive(Args)]
pub(crate) struct DiskArgs {
    /// Unix socket to listen on.
    #[arg(long)]
    socket: PathBuf,
    /// NAME=FILE: serve FILE as NAME.
    #[arg(required = true, value_name = "NAME=FILE")]
    exports: Vec<Export>,
    /// Of what disks write back unasked.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, device)) if !name.is_empty() && !device.is_empty() => {
            Ok((name.to_owned(), device.to_owned()))
        }
        _ => Err(format!("{text:?} is not NAME=DEVICE")),
    }
}

impl From<DurableError> for Failure {
    fn from(error: DurableError) -> Self {
        Self {
            text: error.to_string(),
            code: 1,
        }
    }
}

pub(crate) fn durable(command: Durable) -> Result<ExitCode, Failure> {
    match command {
        Durable::Write(args) => write(args),
        Durable::Verify(args) => verify(&args),
        Durable::Replay(args) => replay(&args),
    }
}

pub(crate) fn disk(args: &DiskArgs) -> Result<ExitCode, Failure> {
    let served = disk::serve(&args.socket, &args.exports, args.seed);
    served.map(|()| ExitCode::SUCCESS).map_err(|error| Failure {
        text: error.to_string(),
        code: 1,
    })
}

fn write(args: WriteArgs) -> Result<ExitCode, Failure> {
    let options = WriteOptions {
        units: args.units,
        records: args.records,
        depth: args.depth,
        span: args.blocks,
        until: args.seconds.map_or(Until::Cut, Until::Time),
        seed: args.seed,
        marks: args.mark,
        login: args.login.options()?,
    };
    let written = write::run(&options)?;
    println!(
        "{:<16} {:<14} {:>8} {:>8}",
        "unit", "mode", "issued", "durable"
    );
    for (unit, written) in options.units.iter().zip(written) {
        println!(
            "{:<16} {:<14} {:>8} {:>8}",
            unit.name,
            unit.mode.name(),
            written.issued,
            written.acked
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let tallies = verify::run(&args.units, &args.records, &args.login.options()?)?;
    let mut broken = false;
    println!(
        "{:<16} {:<14} {:>8} {:>8} {:>6} {:>6} {:>6}",
        "unit", "mode", "acked", "blocks", "later", "lost", "torn"
    );
    for (unit, tally) in args.units.iter().zip(tallies) {
        println!(
            "{:<16} {:<14} {:>8} {:>8} {:>6} {:>6} {:>6}",
            unit.name,
            unit.mode.name(),
            tally.acked,
            tally.owed,
            tally.later,
            tally.lost,
            tally.torn
        );
        if tally.torn > 0 || tally.lost > 0 && unit.mode.must_hold() {
            broken = true;
            tally
                .examples
                .iter()
                .for_each(|example| eprintln!("{}: {example}", unit.name));
        }
    }
    Ok(ExitCode::from(if broken { BROKEN } else { 0 }))
}

fn replay(args: &ReplayArgs) -> Result<ExitCode, Failure> {
    let place = match (&args.ext4, &args.scratch) {
        (Some(path), Some(scratch)) => Place::Ext4 {
            path: path.clone(),
            scratch: scratch.clone(),
            points: args.points,
        },
        _ => Place::Device,
    };
    let log =
        File::open(&args.log).map_err(|e| format!("cannot read {}: {e}", args.log.display()))?;
    let found = replay::run(log, args.size, &args.records, &args.unit, &place)?;
    println!(
        "{}: {} entries, {} flushes and FUA writes, {} points judged, {} acks; {} blocks lost, {} torn at {} points",
        args.unit,
        found.entries,
        found.stable,
        found.points,
        found.acks,
        found.tally.lost,
        found.tally.torn,
        found.bad
    );
    found
        .tally
        .examples
        .iter()
        .for_each(|example| println!("  {example}"));
    Ok(ExitCode::from(if found.bad > 0 { BROKEN } else { 0 }))
}
