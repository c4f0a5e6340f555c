//! What a seed's world is made of. Each seed switches most faults off and some on, each with a strength of its own: so
//! seeds differ in character, and a rare meeting of two faults is not drowned by all the others.

use crate::rng::{PerMille, Rng};

/// Things that go wrong, or that somebody does on purpose. A set of these can be forbidden to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Fault {
    /// Bytes arrive in small pieces.
    Split,
    /// A connection is lost: FIN or RST, at any byte.
    Lost,
    /// An initiator falls silent without an end of its connection, and comes back by a new one.
    HalfOpen,
    /// Logins of one port in quick succession.
    Reinstatement,
    /// The initiator reads little and late.
    SlowReader,
    /// A data digest is wrong.
    BadDigest,
    /// Store operations wait.
    SlowStore,
    /// Store operations fail.
    FailingStore,
    /// Store operations never end, until the run does.
    StuckStore,
    /// A store drops what it kept, keeps it twice, or panics.
    BrokenStore,
    /// A store cannot fence what it has begun.
    Unfenced,
    /// The clock leaps.
    Leap,
    /// Shards are not driven for long.
    Starved,
    /// Few bytes of buffers.
    LittleMemory,
    /// Few commands at a time.
    FewCommands,
    /// The offload queue is short, and loses jobs.
    Offload,
    /// LUNs go and come.
    Luns,
    /// Units change their size.
    Resize,
    /// Task management: aborts of single commands and of task sets.
    Aborts,
    /// Logical unit and target resets.
    Resets,
    /// Persistent reservations.
    Reservations,
    /// Mode parameters change.
    Modes,
    /// The engine is stopped in the middle.
    Stop,
}

/// All faults, with their names.
pub const FAULTS: [(Fault, &str); 23] = [
    (Fault::Split, "split"),
    (Fault::Lost, "lost"),
    (Fault::HalfOpen, "half-open"),
    (Fault::Reinstatement, "reinstatement"),
    (Fault::SlowReader, "slow-reader"),
    (Fault::BadDigest, "bad-digest"),
    (Fault::SlowStore, "slow-store"),
    (Fault::FailingStore, "failing-store"),
    (Fault::StuckStore, "stuck-store"),
    (Fault::BrokenStore, "broken-store"),
    (Fault::Unfenced, "unfenced"),
    (Fault::Leap, "leap"),
    (Fault::Starved, "starved"),
    (Fault::LittleMemory, "little-memory"),
    (Fault::FewCommands, "few-commands"),
    (Fault::Offload, "offload"),
    (Fault::Luns, "luns"),
    (Fault::Resize, "resize"),
    (Fault::Aborts, "aborts"),
    (Fault::Resets, "resets"),
    (Fault::Reservations, "reservations"),
    (Fault::Modes, "modes"),
    (Fault::Stop, "stop"),
];

/// What is cut off a run to make it smaller. Everything else of it stays as its seed says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask {
    /// Bits of [`Fault`]s that do not happen.
    pub faults: u32,
    /// At most so many steps.
    pub steps: Option<u32>,
    /// At most so many initiators.
    pub initiators: Option<usize>,
    /// At most so many shards.
    pub shards: Option<usize>,
    /// At most so many units.
    pub units: Option<usize>,
    /// Steps left out, ascending.
    pub skipped: Vec<u32>,
}

impl Mask {
    /// Forbids a fault.
    #[must_use]
    pub fn without(mut self, fault: Fault) -> Self {
        self.faults |= 1 << fault as u32;
        self
    }
}

/// How a unit's store can fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fencing {
    /// What has not reached the medium never does.
    All,
    /// What it has not begun never does.
    Queued,
    /// It cannot tell.
    Nothing,
}

#[derive(Debug, Clone)]
pub(crate) struct UnitConfig {
    pub(crate) blocks: u64,
    pub(crate) thin: bool,
    pub(crate) volatile: bool,
    pub(crate) fua: bool,
    pub(crate) shared_task_set: bool,
    pub(crate) fencing: Fencing,
    pub(crate) persistent: bool,
    /// Most bytes of one store operation.
    pub(crate) max_transfer: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct PortConfig {
    pub(crate) iqn: usize,
    pub(crate) header_digest: bool,
    pub(crate) data_digest: bool,
    pub(crate) initial_r2t: bool,
    pub(crate) immediate_data: bool,
    pub(crate) max_recv: u32,
    pub(crate) max_burst: u32,
    pub(crate) first_burst: u32,
    pub(crate) max_outstanding_r2t: u32,
    /// Commands in flight that it is content with.
    pub(crate) depth: usize,
    pub(crate) first_cmd_sn: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) steps: u32,
    pub(crate) shards: usize,
    pub(crate) units: Vec<UnitConfig>,
    pub(crate) ports: Vec<PortConfig>,
    pub(crate) chap: bool,
    pub(crate) queued_commands: u32,
    pub(crate) target_recv: u32,
    pub(crate) max_sessions: u32,
    strengths: [PerMille; FAULTS.len()],
}

impl Config {
    pub(crate) fn of(seed: u64, mask: &Mask) -> Self {
        let rng = &mut Rng::of(seed, 1, 0);
        let strengths = strengths(rng, mask);
        let on = |fault: Fault| strengths[fault as usize] > 0;
        let units = rng.pick(&[1, 1, 2, 3]);
        let units: Vec<_> = (0..units).map(|_| unit(rng, on(Fault::Unfenced))).collect();
        let ports = rng.pick(&[1, 2, 2, 3, 3, 4, 5, 6]);
        let ports: Vec<_> = (0..ports).map(|at| port(rng, at)).collect();
        let mut config = Self {
            steps: rng.pick(&[120, 200, 300, 500]),
            shards: rng.pick(&[1, 1, 2, 3]),
            units,
            ports,
            chap: rng.one_in(8),
            queued_commands: rng.pick(&[1, 4, 16, 32]),
            target_recv: rng.pick(&[512, 1024, 4096, 65_536]),
            max_sessions: if rng.one_in(16) { 2 } else { 0 },
            strengths,
        };
        config.steps = mask.steps.unwrap_or(config.steps).min(config.steps);
        config.shards = mask.shards.unwrap_or(config.shards).clamp(1, config.shards);
        let most = |now: usize, cut: Option<usize>| cut.unwrap_or(now).clamp(1, now);
        config.units.truncate(most(config.units.len(), mask.units));
        config
            .ports
            .truncate(most(config.ports.len(), mask.initiators));
        config
    }

    /// How strong a fault is; 0 when it does not happen.
    pub(crate) fn strength(&self, fault: Fault) -> PerMille {
        self.strengths[fault as usize]
    }

    pub(crate) fn on(&self, fault: Fault) -> bool {
        self.strength(fault) > 0
    }
}

fn strengths(rng: &mut Rng, mask: &Mask) -> [PerMille; FAULTS.len()] {
    // Some seeds are quiet, some are wild.
    let likely = rng.pick(&[0, 100, 200, 300, 500]);
    let mut strengths = [0; FAULTS.len()];
    for (fault, _) in FAULTS {
        let strength = rng.pick(&[20, 60, 150, 400]);
        let rare = matches!(fault, Fault::Stop | Fault::LittleMemory | Fault::Luns);
        let happens = rng.chance(likely) && (!rare || rng.one_in(2));
        if happens && mask.faults & 1 << fault as u32 == 0 {
            strengths[fault as usize] = strength;
        }
    }
    strengths
}

fn unit(rng: &mut Rng, unfenced: bool) -> UnitConfig {
    let fencing = rng.pick(&[Fencing::Queued, Fencing::Nothing]);
    UnitConfig {
        blocks: rng.pick(&[8, 16, 64, 200]),
        thin: rng.one_in(3),
        volatile: rng.one_in(2),
        fua: rng.one_in(2),
        shared_task_set: rng.one_in(3),
        fencing: if unfenced { fencing } else { Fencing::All },
        persistent: rng.one_in(2),
        max_transfer: rng.pick(&[8 << 20, 4096, 8192]),
    }
}

fn port(rng: &mut Rng, at: usize) -> PortConfig {
    let max_burst = rng.pick(&[512, 1024, 8192, 65_536]);
    PortConfig {
        // Two ports of one initiator now and then.
        iqn: if at > 0 && rng.one_in(3) { at - 1 } else { at },
        header_digest: rng.one_in(3),
        data_digest: rng.one_in(3),
        initial_r2t: rng.one_in(2),
        immediate_data: !rng.one_in(3),
        max_recv: rng.pick(&[512, 1000, 4096, 65_536]),
        max_burst,
        first_burst: rng.pick(&[512, 1024, 8192]).min(max_burst),
        max_outstanding_r2t: rng.pick(&[1, 2, 8]),
        depth: rng.pick(&[1, 2, 4, 8]),
        first_cmd_sn: rng.pick(&[1, 0x7FFF_FFF8, 0xFFFF_FFF8]),
    }
}
