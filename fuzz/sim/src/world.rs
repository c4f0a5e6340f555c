//! A target as it is shipped, over simulated stores and streams, and its initiators.

mod build;
mod end;
mod steps;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge::core::engine::Engine;
use lunforge::core::lu::LogicalUnit;
use lunforge::core::offload::Jobs;
use lunforge::core::shard::Shard;
use lunforge::core::{Target, tmf};
use lunforge::iscsi::IscsiAttachment;
use lunforge::vdisk::Vdisk;

use crate::chronicle::Chronicle;
use crate::initiator::{Initiator, Shared};
use crate::medium::Medium;
use crate::rng::Rng;

/// Room that a reader who is not slow gives.
pub(crate) const ROOM: usize = 1 << 40;
/// Time that an engine's end may take once every shard has heard of it: the grace of connections, and the bound of their
/// commands. A shard that has no turn hears nothing: however far the clock leaps before, the grace begins after that.
const STOP_BOUND: u64 = Duration::from_secs(1).as_nanos() as u64 + tmf::BOUND.as_nanos() as u64;
/// Turns of all shards in which what is due gets through.
const TURNS: u32 = 40;

/// A unit, with the hands that its owner keeps on it.
struct Lun {
    medium: Arc<Medium>,
    disk: Vdisk,
    unit: Arc<LogicalUnit>,
    mapped: bool,
}

/// See the module's head.
pub(crate) struct World {
    seed: u64,
    skipped: Vec<u32>,
    origin: Instant,
    now: u64,
    shared: Shared,
    luns: Vec<Lun>,
    target: Arc<Target>,
    jobs: Jobs,
    shards: Vec<Option<Shard>>,
    engine: Option<Engine>,
    iscsi: IscsiAttachment,
    initiators: Vec<Initiator>,
    /// Shards that had no turn since the last one had that all had.
    due: u32,
    /// Until which step a shard is not driven.
    starved: Vec<u32>,
    stop: Option<Stop>,
}

/// The engine was told to stop.
#[derive(Default)]
struct Stop {
    /// When every shard had heard of it.
    heard: Option<u64>,
    late: u32,
}

impl World {
    fn failed(&self) -> bool {
        self.shared.chronicle.failed()
    }

    fn instant(&self) -> Instant {
        self.origin + Duration::from_nanos(self.now)
    }

    pub(crate) fn chronicle(&self) -> Arc<Chronicle> {
        Arc::clone(&self.shared.chronicle)
    }

    /// Runs the seed's steps, and then brings everything to its end.
    pub(crate) fn run(&mut self) {
        for step in 0..self.shared.config.steps {
            if self.skipped.binary_search(&step).is_ok() {
                continue;
            }
            self.shared.chronicle.begin_step(step, self.now);
            self.step(step);
            if self.failed() {
                return;
            }
        }
        self.shared.chronicle.begin_step(u32::MAX, self.now);
        self.finish();
    }

    /// A shard's turn, and what the initiators see of it.
    fn drive(&mut self, at: usize, rng: &mut Rng) {
        let now = self.instant();
        let Some(shard) = self.shards[at].as_mut() else {
            self.due &= !(1 << at);
            return self.turn_over();
        };
        shard.poll_mail(now);
        let over = shard.finished();
        self.look(rng);
        if over {
            self.shared
                .chronicle
                .note(70, at as u64, || format!("shard {at} has ended"));
            self.shards[at] = None;
        }
        self.due &= !(1 << at);
        self.turn_over();
    }

    fn all_shards(&self) -> u32 {
        (1 << self.shards.len()) - 1
    }

    /// The engine is told to stop, which the shards hear in their next turns.
    fn begin_stop(&mut self) {
        self.stop = Some(Stop::default());
        self.due = self.all_shards();
        self.engine.iter().for_each(Engine::begin_stop);
    }

    fn look(&mut self, rng: &mut Rng) {
        for initiator in &mut self.initiators {
            initiator.absorb(rng);
            initiator.watch();
        }
    }

    /// Every shard has had a turn.
    fn turn_over(&mut self) {
        if self.due != 0 {
            return;
        }
        self.due = self.all_shards();
        if let Some(stop) = &mut self.stop {
            let heard = *stop.heard.get_or_insert(self.now);
            stop.late += u32::from(self.now > heard + STOP_BOUND);
            if stop.late > TURNS && self.shards.iter().any(Option::is_some) {
                self.shared
                    .chronicle
                    .fail("late", "the engine does not stop".into());
            }
            return;
        }
        for initiator in &mut self.initiators {
            initiator.turn(self.now);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What waits holds the disks, which hold the stores.
        self.luns.iter().for_each(|lun| lun.medium.calm());
        self.shards.clear();
        loop {
            let going = self.luns.iter().any(|lun| lun.medium.let_go_one());
            if !self.jobs.lose_one() && !going {
                break;
            }
        }
        self.engine = None;
    }
}
