//! What is counted of a logical unit's commands: how long they took, how they ended, and what they were told.
//!
//! A command that ends GOOD in the turn of its shard in which it came adds one to two counters of its shard's lane. Its
//! times are those of turns, so it took none; what takes longer (data that has to arrive, a handler that defers) takes
//! turns. With [`Engine::measure_latency`](crate::Engine::measure_latency) each command reads the clock thrice instead.
//!
//! A lane is made with the first command that ends on it, so a unit that nobody uses keeps a few words only. What ends
//! otherwise than GOOD is counted under a lock of the unit, for one step in a small map.

mod histogram;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Instant;

use parking_lot::Mutex;

use crate::cdb::CommandId;
use crate::cdb::table::TABLE;
use crate::handler::Outcome;
use crate::stats::Counter;
use crate::status::Status;
use crate::tmf::{Function, Response};
use histogram::Histogram;
pub use histogram::Times;

/// Shards with a lane of their own; further ones share.
const LANES: usize = 8;
/// Sense codes of a unit that are told apart; further ones are counted together.
const MOST_CODES: usize = 64;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// With a status.
    Status(Status),
    /// By task management or the loss of its session, without a response.
    Aborted,
}

/// Commands that ended in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandCount {
    /// T10's name; `UNKNOWN` for opcodes that are in no table.
    pub command: &'static str,
    /// How they ended.
    pub end: End,
    /// How many.
    pub count: u64,
}

/// Commands that were answered with the same sense code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenseCount {
    /// SENSE KEY.
    pub key: u8,
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
    /// How many.
    pub count: u64,
}

/// Task management functions with the same response. RESET of a target counts at each of its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionCount {
    /// SAM-5's name.
    pub function: &'static str,
    /// The service response.
    pub response: Response,
    /// How many.
    pub count: u64,
}

/// How long a unit's commands took: those that were answered and had been let in. Those that the copy manager sends
/// are among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// From the arrival until the handler had the command: Data-Out, other commands, the gate.
    pub wait: Times,
    /// From then until the command ended; commands that no handler got have none.
    pub backend: Times,
    /// From the arrival until the end.
    pub total: Times,
}

/// When a command arrived, when its handler got it, if it did, and when it ended.
pub(crate) type Moments = (Instant, Option<Instant>, Instant);

/// See the module's head.
#[derive(Debug, Default)]
pub struct Measures {
    lanes: [OnceLock<Box<Lane>>; LANES],
    rare: OnceLock<Box<Mutex<Rare>>>,
}

/// What one shard counts. On cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Lane {
    /// GOOD, by [`CommandId`].
    good: [Counter; CommandId::COUNT],
    /// Commands that ended in the turn in which they came.
    instant: Counter,
    wait: Histogram,
    backend: Histogram,
    total: Histogram,
}

impl Lane {
    #[cold]
    fn new() -> Box<Self> {
        Box::new(Self {
            good: std::array::from_fn(|_| Counter::default()),
            instant: Counter::default(),
            wait: Histogram::default(),
            backend: Histogram::default(),
            total: Histogram::default(),
        })
    }

    fn time(&self, (arrived, begun, ended): Moments) {
        let waited = begun.unwrap_or(ended);
        self.wait.add(waited.saturating_duration_since(arrived));
        if let Some(begun) = begun {
            self.backend.add(ended.saturating_duration_since(begun));
        }
        self.total.add(ended.saturating_duration_since(arrived));
    }
}

/// What is counted under a lock. All are bounded: by the commands and statuses there are, by [`MOST_CODES`], by the
/// functions and responses there are.
#[derive(Debug, Default)]
struct Rare {
    ends: BTreeMap<(Option<CommandId>, End), u64>,
    sense: BTreeMap<(u8, u8, u8), u64>,
    other_sense: u64,
    functions: BTreeMap<(&'static str, Response), u64>,
}

impl Rare {
    fn sense(&mut self, code: (u8, u8, u8)) {
        if self.sense.len() < MOST_CODES || self.sense.contains_key(&code) {
            *self.sense.entry(code).or_default() += 1;
        } else {
            self.other_sense += 1;
        }
    }
}

impl Measures {
    /// How long commands took.
    pub fn latency(&self) -> Latency {
        let mut sum = Latency::default();
        for lane in self.lanes() {
            lane.wait.sum_into(&mut sum.wait);
            lane.backend.sum_into(&mut sum.backend);
            lane.total.sum_into(&mut sum.total);
            let instant = lane.instant.value();
            for times in [&mut sum.wait, &mut sum.backend, &mut sum.total] {
                times.add_instant(instant);
            }
        }
        sum
    }

    /// How commands ended, those GOOD first, in the order of the table of commands.
    pub fn commands(&self) -> Vec<CommandCount> {
        let good = TABLE.iter().map(|entry| {
            let of_lane = |lane: &Lane| lane.good[entry.id as usize].value();
            CommandCount {
                command: entry.name,
                end: End::Status(Status::Good),
                count: self.lanes().map(of_lane).sum(),
            }
        });
        let mut counts: Vec<_> = good.filter(|count| count.count > 0).collect();
        if let Some(rare) = self.rare.get() {
            let named = |(&(id, end), &count): (&(Option<CommandId>, End), &u64)| CommandCount {
                command: id.map_or("UNKNOWN", |id| TABLE[id as usize].name),
                end,
                count,
            };
            counts.extend(rare.lock().ends.iter().map(named));
        }
        counts
    }

    /// The sense codes that were answered, and how many answers had further ones that are not told apart.
    pub fn sense(&self) -> (Vec<SenseCount>, u64) {
        let Some(rare) = self.rare.get() else {
            return (Vec::new(), 0);
        };
        let rare = rare.lock();
        let counted = |(&(key, asc, ascq), &count)| SenseCount {
            key,
            asc,
            ascq,
            count,
        };
        (rare.sense.iter().map(counted).collect(), rare.other_sense)
    }

    /// Task management functions that named the unit.
    pub fn task_management(&self) -> Vec<FunctionCount> {
        let Some(rare) = self.rare.get() else {
            return Vec::new();
        };
        let counted =
            |(&(function, response), &count): (&(&'static str, Response), &u64)| FunctionCount {
                function,
                response,
                count,
            };
        rare.lock().functions.iter().map(counted).collect()
    }

    /// A command ended GOOD and took no time.
    #[inline]
    pub(crate) fn at_once(&self, lane: usize, id: CommandId) {
        let lane = self.lane(lane);
        lane.good[id as usize].add(1);
        lane.instant.add(1);
    }

    /// A command ended with a response.
    pub(crate) fn ended(&self, lane: usize, id: CommandId, outcome: &Outcome, moments: Moments) {
        let lane = self.lane(lane);
        lane.time(moments);
        if outcome.status == Status::Good {
            lane.good[id as usize].add(1);
        } else {
            self.failed(Some(id), outcome);
        }
    }

    /// A command was answered with another status than GOOD, or without having been let in.
    #[cold]
    pub(crate) fn failed(&self, id: Option<CommandId>, outcome: &Outcome) {
        let mut rare = self.rare().lock();
        let end = End::Status(outcome.status);
        *rare.ends.entry((id, end)).or_default() += 1;
        if let Some(sense) = &outcome.sense {
            rare.sense((sense.key.code(), sense.asc.asc, sense.asc.ascq));
        }
    }

    /// A command was aborted, and ended without a response.
    pub(crate) fn aborted(&self, id: CommandId) {
        let end = (Some(id), End::Aborted);
        *self.rare().lock().ends.entry(end).or_default() += 1;
    }

    /// A task management function has this response, or will.
    pub(crate) fn function(&self, function: Function, response: Response) {
        let key = (function.name(), response);
        *self.rare().lock().functions.entry(key).or_default() += 1;
    }

    #[inline]
    fn lane(&self, lane: usize) -> &Lane {
        self.lanes[lane % LANES].get_or_init(Lane::new)
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes
            .iter()
            .filter_map(OnceLock::get)
            .map(|lane| &**lane)
    }

    fn rare(&self) -> &Mutex<Rare> {
        self.rare.get_or_init(Box::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asc::Asc;
    use crate::sense::Sense;

    #[test]
    fn a_unit_that_nobody_uses_has_no_lane() {
        let measures = Measures::default();
        assert_eq!(measures.lanes().count(), 0);
        assert!(measures.rare.get().is_none());
        assert!(measures.commands().is_empty() && measures.task_management().is_empty());
        assert_eq!(measures.latency(), Latency::default());
        assert!(std::mem::size_of::<Measures>() <= 256);
    }

    #[test]
    fn sense_codes_beyond_the_bound_are_counted_together() {
        let measures = Measures::default();
        for ascq in 0..=u8::MAX {
            let sense = Sense::hardware(Asc { asc: 0x80, ascq });
            measures.failed(None, &sense.into());
        }
        let (codes, other) = measures.sense();
        assert_eq!((codes.len(), other), (MOST_CODES, 256 - MOST_CODES as u64));
        assert_eq!(measures.commands()[0].command, "UNKNOWN");
    }
}
