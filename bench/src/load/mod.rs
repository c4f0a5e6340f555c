//! Load: sessions × depth against one logical unit, one thread for many sessions.
//!
//! ```text
//!  run ── login, capacity ── split sessions over threads
//!   thread: epoll ─ link.input ─ link.submit ─ link.flush   (thread 0 also samples /proc)
//! ```
//! Each session belongs to one thread; threads share the payload (read-only) and meet at the end.

mod link;
pub(crate) mod pattern;
mod report;
pub(crate) mod transmit;
mod worker;
mod workload;

use std::time::{Duration, Instant};

pub use pattern::Mismatch;
pub use report::Report;

use crate::histogram::Histogram;
use crate::initiator::pdu::Header;
use crate::initiator::{Error, Initiator, Negotiated, Options, Url, Violation, WireError};
use crate::procfs::{NoProcess, Usage, own_cpu_ns};
use link::Link;
use pattern::Pattern;
use worker::{Plan, Worker};
use workload::{Kind, Workload};

/// Most commands outstanding per session.
pub const MAX_DEPTH: usize = 1024;
/// Most sessions of one run.
pub const MAX_SESSIONS: usize = 1024;
/// Longest single transfer, bytes.
pub const MAX_BLOCK: u32 = 16 << 20;
/// Different starts of a payload in the shared bytes, 64 bytes apart.
const SHARED_SHIFTS: usize = 64;
/// Error messages kept per session.
const MESSAGES: usize = 3;

/// Which commands a run is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Random reads.
    #[value(name = "randread")]
    RandRead,
    /// Random writes.
    #[value(name = "randwrite")]
    RandWrite,
    /// Sequential reads.
    Read,
    /// Sequential writes.
    Write,
    /// Random, 70 % reads and 30 % writes.
    #[value(name = "randrw")]
    RandRw,
    /// Random, 70 % reads, 29.5 % writes and 0.5 % SYNCHRONIZE CACHE.
    Mixed,
}

impl Mode {
    fn is_random(self) -> bool {
        !matches!(self, Self::Read | Self::Write)
    }
    fn is_mixed(self) -> bool {
        matches!(self, Self::RandRw | Self::Mixed)
    }
    /// Does it only read?
    pub fn only_reads(self) -> bool {
        matches!(self, Self::Read | Self::RandRead)
    }
    /// The command for a throw of 0 to 999.
    fn kind(self, dice: u32) -> Kind {
        match self {
            Self::Read | Self::RandRead => Kind::Read,
            Self::Write | Self::RandWrite => Kind::Write,
            Self::Mixed if dice >= 995 => Kind::Flush,
            Self::RandRw | Self::Mixed => {
                if dice < 700 {
                    Kind::Read
                } else {
                    Kind::Write
                }
            }
        }
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Where to.
    pub url: Url,
    /// Which commands.
    pub mode: Mode,
    /// Bytes per command.
    pub block: u32,
    /// Commands outstanding per session.
    pub depth: usize,
    /// Sessions.
    pub sessions: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// Measured time.
    pub measure: Duration,
    /// Time before it that does not count.
    pub warmup: Duration,
    /// Bytes of the logical unit used from its start; `None` for all.
    pub span: Option<u64>,
    /// Never sleep.
    pub spin: bool,
    /// Check data, see [`run`].
    pub verify: bool,
    /// Processes of the target, for CPU time and memory.
    pub pids: Vec<u32>,
    /// CPUs for the threads of the generator, in turn; empty for no pinning.
    pub cpus: Vec<usize>,
    /// Login.
    pub login: Options,
}

impl LoadOptions {
    /// A short random read of 4 KiB at depth 32 in one session.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            mode: Mode::RandRead,
            block: 4096,
            depth: 32,
            sessions: 1,
            threads: 1,
            measure: Duration::from_secs(5),
            warmup: Duration::from_millis(400),
            span: None,
            spin: false,
            verify: false,
            pids: Vec::new(),
            cpus: Vec::new(),
            login: Options::default(),
        }
    }

    fn check(&self) -> Result<(), LoadError> {
        let bad = |text: &str| Err(LoadError::Argument(text.to_owned()));
        if self.depth == 0 || self.depth > MAX_DEPTH {
            return bad("the depth is not 1 to 1024");
        }
        if self.sessions == 0 || self.sessions > MAX_SESSIONS {
            return bad("the number of sessions is not 1 to 1024");
        }
        if self.threads == 0 || self.threads > self.sessions {
            return bad("the number of threads is not 1 to the number of sessions");
        }
        if self.block == 0 || !self.block.is_multiple_of(512) || self.block > MAX_BLOCK {
            return bad("the block size is not a multiple of 512 up to 16 MiB");
        }
        Ok(())
    }
}

/// Why a run gave no result.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An argument makes no sense.
    #[error("{0}")]
    Argument(String),
    /// Before the load: connect, login, capacity.
    #[error(transparent)]
    Initiator(#[from] Error),
    /// The target broke a rule.
    #[error("protocol violation by the target: {0}")]
    Violation(#[from] Violation),
    /// The target sent malformed bytes.
    #[error("malformed PDU from the target: {0}")]
    Wire(#[from] WireError),
    /// Data read is not data written.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(std::io::Error),
    /// The target closed the connection.
    #[error("the target closed the connection")]
    Closed,
    /// No command ended for ten seconds.
    #[error("the target stalled: {0} commands outstanding and none ended for 10 s")]
    Stalled(usize),
    /// The target's process cannot be watched.
    #[error(transparent)]
    NoProcess(#[from] NoProcess),
    /// Pinning failed.
    #[error("cannot pin to CPU {cpu}: {source}")]
    Pin {
        /// CPU number.
        cpu: usize,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// What the sessions counted.
#[derive(Debug, Default)]
struct Tally {
    histogram: Histogram,
    bytes: u64,
    ended: u64,
    errors: u64,
    data_ins: u64,
    responses: u64,
    collapsed: u64,
    r2ts: u64,
    receives: u64,
    window_closed: u64,
    verified: u64,
    messages: Vec<String>,
}

impl Tally {
    fn failed(&mut self, lba: u64, response: u8, h: &Header) {
        self.errors += 1;
        if self.messages.len() < MESSAGES {
            self.messages.push(format!(
                "command at LBA {lba} ended with status {:#04x}, response {response:#04x}, flags {:#04x}, residual {}",
                h.status(), h.flags(), h.residual_count()
            ));
        }
    }

    fn merge(&mut self, other: Self) {
        self.histogram.merge(&other.histogram);
        self.bytes += other.bytes;
        self.ended += other.ended;
        self.errors += other.errors;
        self.data_ins += other.data_ins;
        self.responses += other.responses;
        self.collapsed += other.collapsed;
        self.r2ts += other.r2ts;
        self.receives += other.receives;
        self.window_closed += other.window_closed;
        self.verified += other.verified;
        self.messages.extend(other.messages);
        self.messages.truncate(MESSAGES);
    }
}

/// State of everything at an edge of the measured window.
#[derive(Debug, Clone, Copy)]
struct Edge {
    at: Instant,
    target: Usage,
    own_ns: u64,
}

impl Edge {
    fn sample(pids: &[u32]) -> Result<Self, LoadError> {
        Ok(Self {
            target: Usage::sample(pids)?,
            own_ns: own_cpu_ns(),
            at: Instant::now(),
        })
    }
}

/// Runs a load and waits for its end.
///
/// With `verify` each session has its own part of the span. Every write carries a pattern made of
/// LBA, generation and a number of this run; reads of written blocks are checked at once, and
/// after the measured time all written blocks are read back and checked. A mode that only reads
/// first writes the whole span once.
pub fn run(options: &LoadOptions) -> Result<Report, LoadError> {
    options.check()?;
    Usage::sample(&options.pids)?;
    let (links, params) = open_sessions(options)?;
    let shared = shared_payload(options.block);
    let mut workers = split(links, options)?;
    if options.verify && options.mode.only_reads() {
        run_phase(
            &mut workers,
            &Plan::untimed(options),
            &shared,
            Workload::fill,
        )?;
    }
    let plan = Plan::timed(options, Instant::now());
    let edges = run_phase(&mut workers, &plan, &shared, Workload::run)?;
    if options.verify {
        run_phase(
            &mut workers,
            &Plan::untimed(options),
            &shared,
            Workload::read_back,
        )?;
    }
    let mut tally = Tally::default();
    for link in workers.into_iter().flat_map(Worker::into_links) {
        let (own, link) = link.finish();
        tally.merge(own);
        link.logout();
    }
    let Some((first, last)) = edges else {
        return Err(LoadError::Stalled(0));
    };
    Ok(Report::new(options, params, tally, first, last))
}

fn open_sessions(options: &LoadOptions) -> Result<(Vec<Link>, Negotiated), LoadError> {
    let mut links = Vec::with_capacity(options.sessions);
    let mut agreed = None;
    let seed = run_seed();
    for number in 0..options.sessions {
        let login = options
            .login
            .clone()
            .isid_number(seed.wrapping_add(number as u32));
        let mut session = Initiator::connect(options.url.address(), &options.url.iqn, &login)?;
        session.ready(options.url.lun, 8)?;
        let (blocks, block_len) = session.capacity(options.url.lun)?;
        let workload = workload(options, number, (blocks, block_len), seed)?;
        agreed.get_or_insert_with(|| session.params().clone());
        links.push(Link::new(session, options, block_len, workload)?);
    }
    let agreed = agreed.ok_or_else(|| LoadError::Argument("no session".into()))?;
    Ok((links, agreed))
}

/// The part of the span a session works on, and its command source.
fn workload(
    options: &LoadOptions,
    number: usize,
    (blocks, block_len): (u64, u32),
    seed: u32,
) -> Result<Workload, LoadError> {
    if block_len == 0 || !options.block.is_multiple_of(block_len) {
        let text = format!(
            "{}-byte commands do not fit blocks of {block_len} bytes",
            options.block
        );
        return Err(LoadError::Argument(text));
    }
    let per = u64::from(options.block / block_len);
    let wanted = options
        .span
        .map_or(blocks, |span| span / u64::from(block_len));
    let transfers = blocks.min(wanted) / per;
    let (sessions, number) = (options.sessions as u64, number as u64);
    let own = transfers / sessions;
    let shares = options.verify || !options.mode.is_random();
    let depth = if options.verify {
        options.depth as u64
    } else {
        1
    };
    let (first, count) = match shares {
        true if own >= depth => (number * own * per, own),
        true if options.verify => (0, 0),
        _ => (0, transfers),
    };
    if count == 0 {
        let text = format!("{blocks} blocks of {block_len} bytes are too few for this run");
        return Err(LoadError::Argument(text));
    }
    let pattern = Pattern {
        seed,
        block: block_len,
    };
    let rng = u64::from(seed) << 16 | (number + 1);
    Ok(Workload::new(
        options.mode,
        rng,
        (first, count, per),
        pattern,
        options.verify,
    ))
}

/// A number that differs between runs.
fn run_seed() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) as u32 & 0x7fff_ffff
}

/// Payload of writes: bytes that do not compress.
fn shared_payload(block: u32) -> Vec<u8> {
    let len = block as usize + SHARED_SHIFTS * 64;
    let mut out = Vec::with_capacity(len + 8);
    Pattern {
        seed: 1,
        block: 1 << 30,
    }
    .emit(0, 1, 16, len, &mut out);
    out
}

fn split(links: Vec<Link>, options: &LoadOptions) -> Result<Vec<Worker>, LoadError> {
    let mut groups: Vec<Vec<Link>> = (0..options.threads).map(|_| Vec::new()).collect();
    for (number, link) in links.into_iter().enumerate() {
        if let Some(group) = groups.get_mut(number % options.threads) {
            group.push(link);
        }
    }
    let cpu = |n: usize| options.cpus.get(n % options.cpus.len().max(1)).copied();
    groups
        .into_iter()
        .enumerate()
        .map(|(n, g)| Worker::new(g, cpu(n)))
        .collect()
}

/// Runs one phase on all threads; the first thread is this one and takes the samples.
fn run_phase(
    workers: &mut [Worker],
    plan: &Plan<'_>,
    shared: &[u8],
    enter: fn(&mut Workload),
) -> Result<Option<(Edge, Edge)>, LoadError> {
    let Some((first, others)) = workers.split_first_mut() else {
        return Ok(None);
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = others
            .iter_mut()
            .map(|worker| scope.spawn(move || worker.run(plan, shared, enter, false)))
            .collect();
        let mut outcome = first.run(plan, shared, enter, true);
        for handle in handles {
            let other = handle.join().unwrap_or(Err(LoadError::Stalled(0)));
            if let (Ok(_), Err(e)) = (&outcome, other) {
                outcome = Err(e);
            }
        }
        outcome
    })
}
