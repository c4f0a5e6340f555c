//! The `lunforge-bench` command.

mod again;
mod power;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use lunforge_bench::abuse::{self, AbuseError, SCENARIOS};
use lunforge_bench::compare::{self, CompareOptions, Contender, Row};
use lunforge_bench::initiator::{self, Chap, Options, Url};
use lunforge_bench::load::{self, LoadError, LoadOptions, Mode};
use lunforge_bench::parse::{seconds, size};
use lunforge_bench::{ceiling, copy, idle, logins, probe};

/// Load generator and measurements for iSCSI targets.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Puts load on one logical unit and reports rates, latency and the target's CPU time.
    Load(LoadArgs),
    /// Compares targets in interleaved rounds: medians, and ratios of the first to the others.
    Compare(CompareArgs),
    /// Opens sessions, leaves them idle and reports what that costs the target.
    Idle(IdleArgs),
    /// Copies between two logical units, by READ and WRITE and by EXTENDED COPY. Overwrites the destination.
    Copy(CopyArgs),
    /// Opens and closes sessions in a row.
    Sessions(SessionsArgs),
    /// Asks a target this and that without writing.
    Probe(ProbeArgs),
    /// Does to a target on the loopback what no initiator should, and judges how it stands that. Overwrites the unit.
    Abuse(AbuseArgs),
    /// What is left of acknowledged writes after a power cut.
    #[command(subcommand)]
    Durable(power::Durable),
    /// Serves files as disks with a volatile write cache, over NBD. SIGKILL is the power cut.
    Disk(power::DiskArgs),
    /// Sends what the initiators of a recording sent, to another target or after a change. Writes what they wrote.
    Replay(again::ReplayArgs),
}

#[derive(Args)]
struct LoginArgs {
    /// Offer CRC32C header digests.
    #[arg(long)]
    header_digest: bool,
    /// Offer CRC32C data digests.
    #[arg(long)]
    data_digest: bool,
    /// Refuse immediate data.
    #[arg(long)]
    no_immediate: bool,
    /// Ask for an R2T before any write data.
    #[arg(long)]
    initial_r2t: bool,
    /// CHAP name and a file with the secret (its first line).
    #[arg(long, value_name = "USER:FILE")]
    chap: Option<String>,
    /// CHAP_A offer, strongest first: 8 SHA3-256, 7 SHA-256, 6 SHA-1, 5 MD5.
    #[arg(long, value_name = "LIST", default_value = "8,7,5")]
    chap_algorithms: String,
    /// InitiatorName.
    #[arg(long, value_name = "NAME")]
    initiator: Option<String>,
}

impl LoginArgs {
    fn options(&self) -> Result<Options, String> {
        let mut o = Options {
            header_digest: self.header_digest,
            data_digest: self.data_digest,
            immediate_data: !self.no_immediate,
            initial_r2t: self.initial_r2t,
            ..Options::default()
        };
        if let Some(name) = &self.initiator {
            o.initiator_name.clone_from(name);
        }
        if let Some(text) = &self.chap {
            let (user, file) = text.split_once(':').ok_or("--chap is not USER:FILE")?;
            let secret =
                std::fs::read_to_string(file).map_err(|e| format!("cannot read {file}: {e}"))?;
            let mut chap = Chap::new(user, secret.lines().next().unwrap_or(""));
            chap.algorithms.clone_from(&self.chap_algorithms);
            o.chap = Some(chap);
        }
        Ok(o)
    }
}

/// A target, or the generator's own peer.
#[derive(Clone)]
enum Where {
    Target(Url),
    Ceiling,
}

impl std::str::FromStr for Where {
    type Err = initiator::url::UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "ceiling" {
            return Ok(Self::Ceiling);
        }
        text.parse().map(Self::Target)
    }
}

#[derive(Args)]
struct LoadArgs {
    /// iscsi://HOST[:PORT]/TARGET/LUN; `ceiling` for a peer that does nothing: the generator's own limit.
    url: Where,
    /// Which commands.
    #[arg(long, value_enum, default_value = "randread")]
    mode: Mode,
    /// Bytes per command (suffixes k, m, g).
    #[arg(long, default_value = "4096", value_parser = size)]
    block: u64,
    /// Commands outstanding per session.
    #[arg(long, default_value_t = 32)]
    depth: usize,
    /// Number of sessions.
    #[arg(long, default_value_t = 4)]
    sessions: usize,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Measured time, seconds.
    #[arg(long, default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Time before it that does not count, seconds.
    #[arg(long, default_value = "0.4", value_parser = seconds)]
    warmup: Duration,
    /// Bytes of the logical unit used from its start (suffixes k, m, g); all of it when not given.
    #[arg(long, value_parser = size)]
    span: Option<u64>,
    /// Never sleep.
    #[arg(long)]
    spin: bool,
    /// Write a pattern and check every block read; writes to the logical unit in every mode.
    #[arg(long)]
    verify: bool,
    /// Process of the target (repeat or separate by commas): report its CPU time and memory.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// CPUs the generator's threads are pinned to.
    #[arg(long, value_delimiter = ',', value_name = "CPU")]
    pin: Vec<usize>,
    #[command(flatten)]
    login: LoginArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct CompareArgs {
    /// LABEL=URL,PID[+PID...]; the first is the numerator of every ratio.
    #[arg(required_unless_present = "list")]
    targets: Vec<Contender>,
    /// Rows by name, or NAME:MODE:BYTES:DEPTH:SESSIONS.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<Row>,
    /// List the rows known by name.
    #[arg(long)]
    list: bool,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measured time of a run, seconds.
    #[arg(long, default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// Warm-up of a run, seconds.
    #[arg(long, default_value = "0.4", value_parser = seconds)]
    warmup: Duration,
    /// Pause before each run, seconds.
    #[arg(long, default_value = "0", value_parser = seconds)]
    gap: Duration,
    /// Bytes of the logical unit used (suffixes k, m, g).
    #[arg(long, default_value = "256m", value_parser = size)]
    span: u64,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Generator never sleeps.
    #[arg(long)]
    spin: bool,
    /// CPUs the generator's threads are pinned to.
    #[arg(long, value_delimiter = ',', value_name = "CPU")]
    pin: Vec<usize>,
    /// CPU every thread of every target is pinned to.
    #[arg(long, value_name = "CPU")]
    pin_target: Option<usize>,
    /// Stop the targets that are not being measured; needed when one of them polls.
    #[arg(long)]
    freeze: bool,
    /// Repeat a run, three times at most, while other processes used more CPUs than this.
    #[arg(long, value_name = "CPUS")]
    foreign_limit: Option<f64>,
    #[command(flatten)]
    login: LoginArgs,
    /// Print every run and the summary as JSON lines.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct IdleArgs {
    /// iscsi://HOST[:PORT]/TARGET/LUN
    url: Url,
    /// Number of sessions.
    #[arg(long, default_value_t = 64)]
    sessions: usize,
    /// Idle time, seconds.
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// Process of the target (repeat or separate by commas).
    #[arg(long, value_delimiter = ',', required = true)]
    pid: Vec<u32>,
    #[command(flatten)]
    login: LoginArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct CopyArgs {
    /// iscsi://HOST[:PORT]/TARGET/LUN of the source.
    url: Url,
    /// LUN of the destination at the same target: what it holds is lost.
    #[arg(long, value_name = "LUN")]
    to: u16,
    /// Bytes to copy (suffixes k, m, g).
    #[arg(long, default_value = "256m", value_parser = size)]
    bytes: u64,
    /// Rounds of both ways; the medians are reported.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Process of the target (repeat or separate by commas).
    #[arg(long, value_delimiter = ',', required = true)]
    pid: Vec<u32>,
    #[command(flatten)]
    login: LoginArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SessionsArgs {
    /// iscsi://HOST[:PORT]/TARGET/LUN
    url: Url,
    /// Number of logins.
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// Process of the target (repeat or separate by commas).
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    #[command(flatten)]
    login: LoginArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ProbeArgs {
    /// iscsi://HOST[:PORT]/TARGET/LUN
    url: Url,
    #[command(flatten)]
    login: LoginArgs,
}

#[derive(Args)]
struct AbuseArgs {
    #[command(flatten)]
    abuse: abuse::AbuseArgs,
    #[command(flatten)]
    login: LoginArgs,
    /// Print one JSON object for each scenario.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Load(args) => load(&args),
        Command::Compare(args) => compare(args),
        Command::Idle(args) => idle(&args),
        Command::Copy(args) => copy(&args),
        Command::Sessions(args) => sessions(&args),
        Command::Probe(args) => probe(&args),
        Command::Abuse(args) => abuse(args),
        Command::Durable(command) => power::durable(command),
        Command::Disk(args) => power::disk(&args),
        Command::Replay(args) => again::replay(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("lunforge-bench: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// A sentence for the user and the exit code: 2 for bad arguments, else 1.
struct Failure {
    text: String,
    code: u8,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { text, code: 2 }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let code = if matches!(error, LoadError::Argument(_)) {
            2
        } else {
            1
        };
        Self {
            text: error.to_string(),
            code,
        }
    }
}

impl From<initiator::Error> for Failure {
    fn from(error: initiator::Error) -> Self {
        LoadError::from(error).into()
    }
}

impl From<AbuseError> for Failure {
    fn from(error: AbuseError) -> Self {
        let code = if matches!(error, AbuseError::Argument(_)) {
            2
        } else {
            1
        };
        Self {
            text: error.to_string(),
            code,
        }
    }
}

fn abuse(args: AbuseArgs) -> Result<ExitCode, Failure> {
    if args.abuse.list {
        SCENARIOS.iter().for_each(|scenario| println!("{scenario}"));
        return Ok(ExitCode::SUCCESS);
    }
    let options = args.abuse.options(args.login.options()?)?;
    let report = abuse::run(&options, |row| print(args.json, row.json(), row))?;
    if !args.json {
        println!("{report}");
    }
    Ok(ExitCode::from(u8::from(!report.passed())))
}

fn compare(args: CompareArgs) -> Result<ExitCode, Failure> {
    if args.list {
        for (r, default) in Row::all() {
            let mark = if default { "  (default)" } else { "" };
            println!(
                "{}:{:?}:{}:{}:{}{mark}",
                r.name, r.mode, r.block, r.depth, r.sessions
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let options = CompareOptions {
        contenders: args.targets,
        rows: if args.rows.is_empty() {
            Row::defaults()
        } else {
            args.rows
        },
        rounds: args.rounds,
        measure: args.seconds,
        warmup: args.warmup,
        gap: args.gap,
        span: args.span,
        threads: args.threads,
        spin: args.spin,
        cpus: args.pin,
        target_cpu: args.pin_target,
        freeze: args.freeze,
        foreign_limit: args.foreign_limit,
        login: args.login.options()?,
    };
    let outcome = compare::run(&options, |run| {
        if args.json {
            println!("{}", run.json());
        }
    })?;
    if args.json {
        outcome
            .json_lines()
            .iter()
            .for_each(|line| println!("{line}"));
        outcome
            .failures
            .iter()
            .for_each(|line| eprintln!("lunforge-bench: {line}"));
    } else {
        print!("{outcome}");
    }
    Ok(ExitCode::from(u8::from(
        outcome.errors() > 0 || !outcome.failures.is_empty(),
    )))
}

fn idle(args: &IdleArgs) -> Result<ExitCode, Failure> {
    let login = args.login.options()?;
    let outcome = idle::run(&args.url, &login, args.sessions, args.seconds, &args.pid)?;
    print(args.json, outcome.json(), &outcome);
    Ok(ExitCode::SUCCESS)
}

fn copy(args: &CopyArgs) -> Result<ExitCode, Failure> {
    let login = args.login.options()?;
    let outcome = copy::run(
        &args.url,
        &login,
        args.to,
        args.bytes,
        args.rounds,
        &args.pid,
    )?;
    print(args.json, outcome.json(), &outcome);
    Ok(ExitCode::SUCCESS)
}

fn sessions(args: &SessionsArgs) -> Result<ExitCode, Failure> {
    let outcome = logins::run(&args.url, &args.login.options()?, args.count, &args.pid)?;
    print(args.json, outcome.json(), &outcome);
    Ok(ExitCode::SUCCESS)
}

fn probe(args: &ProbeArgs) -> Result<ExitCode, Failure> {
    for line in probe::run(&args.url, &args.login.options()?)? {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn print(json: bool, object: lunforge_bench::json::Object, text: &dyn std::fmt::Display) {
    if json {
        println!("{object}");
    } else {
        println!("{text}");
    }
}

fn load(args: &LoadArgs) -> Result<ExitCode, Failure> {
    let block = u32::try_from(args.block).map_err(|_| "the block size is over 4 GiB".to_owned())?;
    let url = match &args.url {
        Where::Target(url) => url.clone(),
        Where::Ceiling => ceiling::start()?,
    };
    let options = LoadOptions {
        url,
        mode: args.mode,
        block,
        depth: args.depth,
        sessions: args.sessions,
        threads: args.threads,
        measure: args.seconds,
        warmup: args.warmup,
        span: args.span,
        spin: args.spin,
        verify: args.verify,
        pids: args.pid.clone(),
        cpus: args.pin.clone(),
        login: args.login.options()?,
    };
    let report = load::run(&options)?;
    print(args.json, report.json(), &report);
    Ok(ExitCode::from(u8::from(report.errors > 0)))
}
