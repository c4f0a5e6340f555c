//! What the metrics are made of.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use lunforge::LogicalUnit;
use lunforge::core::measure::{CommandCount, FunctionCount, Latency, SenseCount};
use lunforge::core::shard::{Census, ShardCx, ShardHandle};
use lunforge::iscsi::IscsiAttachment;
use lunforge::iscsi::io::Counters;
use lunforge::iscsi::proto::login::LoginStatus;
use lunforge::iscsi::record::RecorderStatistics;
use lunforge::srp::SrpAttachment;

use crate::control::{Observe, report};
use crate::manage::Model;

/// How long shards are waited for. One that does not answer has no census.
const CENSUS_BOUND: Duration = Duration::from_millis(500);

/// A running target at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Version of the program.
    pub version: String,
    /// Time since its start.
    pub uptime: Duration,
    /// The devices.
    pub devices: Vec<Device>,
    /// The targets.
    pub targets: Vec<report::Target>,
    /// The reservations.
    pub reservations: Vec<report::Reservation>,
    /// The transport, if there is one.
    pub transport: Option<Transport>,
    /// That of SRP, if there is one.
    pub srp: Option<Srp>,
    /// The shards.
    pub shards: Vec<Shard>,
}

impl Snapshot {
    /// What reports tell, without what only the running target counts.
    pub fn of_reports<O: Observe + ?Sized>(observe: &O, model: &Model) -> Self {
        let status = observe.status(model);
        let device = |told| Device {
            told,
            ..Device::default()
        };
        Self {
            version: status.version,
            uptime: Duration::from_secs(status.uptime),
            devices: observe.devices(model).into_iter().map(device).collect(),
            targets: observe.targets(model),
            reservations: observe.reservations(model),
            ..Self::default()
        }
    }
}

/// A device.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// What it tells of itself.
    pub told: report::Device,
    /// How long its commands took.
    pub latency: Latency,
    /// How they ended.
    pub commands: Vec<CommandCount>,
    /// What they were told.
    pub sense: Vec<SenseCount>,
    /// How many had sense codes that are not told apart.
    pub other_sense: u64,
    /// Task management functions.
    pub functions: Vec<FunctionCount>,
    /// Commands that its backend did not answer in time.
    pub timed_out: u64,
    /// Operations that its backend still has although their commands were given up.
    pub detached: u64,
}

impl Device {
    /// A device that is served by `unit`.
    pub fn new(told: report::Device, unit: &LogicalUnit) -> Self {
        let measures = unit.measures();
        let (sense, other_sense) = measures.sense();
        Self {
            told,
            latency: measures.latency(),
            commands: measures.commands(),
            sense,
            other_sense,
            functions: measures.task_management(),
            timed_out: unit.backend().timed_out(),
            detached: u64::try_from(unit.backend().detached()).unwrap_or(u64::MAX),
        }
    }

    /// What is said of a unit that has no other name or place: its counters, and how its backend is.
    pub fn of_unit(name: &str, handler: &str, unit: &LogicalUnit) -> Self {
        let sum =
            |of: fn(&lunforge::core::stats::IoStats) -> u64| unit.stats().iter().map(of).sum();
        let backend = unit.backend();
        let told = report::Device {
            name: name.to_owned(),
            handler: handler.to_owned(),
            active: true,
            dead: backend.is_dead(),
            oldest_ms: u64::try_from(backend.oldest().as_millis()).unwrap_or(u64::MAX),
            reads: sum(|stats| stats.read_commands.value()),
            writes: sum(|stats| stats.write_commands.value()),
            others: sum(|stats| stats.none_commands.value()),
            read_bytes: sum(|stats| stats.read_bytes.value()),
            write_bytes: sum(|stats| stats.write_bytes.value()),
            ..report::Device::default()
        };
        Self::new(told, unit)
    }
}

/// The iSCSI transport.
#[derive(Debug, Clone, Default)]
pub struct Transport {
    /// Its connections now.
    pub connections: u64,
    /// Its normal sessions now.
    pub sessions: u64,
    /// What happened.
    pub counters: Counters,
    /// Logins that were refused, by status.
    pub refusals: Vec<(LoginStatus, u64)>,
    /// The recorder, if there is one.
    pub recorder: Option<RecorderStatistics>,
}

impl Transport {
    /// The transport as it is now.
    pub fn new(attached: &IscsiAttachment) -> Self {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Self {
            connections: count(attached.connections()),
            sessions: count(attached.sessions()),
            counters: attached.counters(),
            refusals: attached.refusals(),
            recorder: attached.recorder_statistics(),
        }
    }
}

/// The transport of SRP.
#[derive(Debug, Clone, Default)]
pub struct Srp {
    /// Its channels now.
    pub channels: u64,
    /// Its sessions now.
    pub sessions: u64,
    /// What happened.
    pub counters: lunforge::srp::io::Counters,
}

impl Srp {
    /// The transport as it is now.
    pub fn new(attached: &SrpAttachment) -> Self {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let sessions = attached.sessions_list();
        let channels = sessions.iter().map(|session| session.channels.len());
        Self {
            channels: count(channels.sum()),
            sessions: count(attached.sessions()),
            counters: attached.counters(),
        }
    }
}

/// A shard.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shard {
    /// What there is on it, if it has answered.
    pub census: Option<Census>,
    /// Commands answered TASK SET FULL for their number.
    pub full_commands: u64,
    /// For the buffers of their session.
    pub full_session: u64,
    /// For the buffers of the shard.
    pub full_shard: u64,
    /// Sessions closed because their peer did not move while buffers were nearly used up.
    pub shed: u64,
    /// Completions that handlers dropped.
    pub dropped: u64,
}

impl Shard {
    /// All shards, asked at the same time. Blocks, for half a second at most.
    pub fn all(shards: &[ShardHandle]) -> Vec<Self> {
        let told = shards.iter().zip(ask_all(shards, |cx| cx.census()));
        told.map(|(shard, census)| Self::new(shard, census))
            .collect()
    }

    fn new(shard: &ShardHandle, census: Option<Census>) -> Self {
        let counters = shard.counters();
        Self {
            census,
            full_commands: counters.full_commands.value(),
            full_session: counters.full_session.value(),
            full_shard: counters.full_shard.value(),
            shed: counters.shed.value(),
            dropped: shard.dropped_tokens(),
        }
    }
}

/// Asks all shards at the same time. Blocks, for half a second at most; of one that does not answer in time there is
/// nothing.
pub(crate) fn ask_all<T: Send + 'static>(
    shards: &[ShardHandle],
    question: fn(&ShardCx<'_>) -> T,
) -> Vec<Option<T>> {
    let ask = |shard: &ShardHandle| {
        let (tell, told) = mpsc::sync_channel(1);
        shard.run(move |cx| {
            // Whoever asked may have gone.
            let _ = tell.try_send(question(cx));
        });
        told
    };
    let answers: Vec<_> = shards.iter().map(ask).collect();
    let end = Instant::now() + CENSUS_BOUND;
    let answer = |answer: mpsc::Receiver<T>| {
        let left = end.saturating_duration_since(Instant::now());
        answer.recv_timeout(left).ok()
    };
    answers.into_iter().map(answer).collect()
}
