//! A command: what a transport hands in, what it gets back, and its place in the shard's slab.

use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use crate::buffer::IoBuf;
use crate::cdb::{Attributes, CommandClass, ParsedCdb};
use crate::gate::Ticket;
use crate::handler::{Outcome, Transfer};
use crate::lu::{Closed, LogicalUnit, Owner, UnitId};
use crate::nexus::Itl;
use crate::range::{RangeGuard, RangeLock};
use crate::sense::{Sense, SenseBytes};
use crate::shard::completion::{Cancel, CommandKey};
use crate::shard::{LocalUnit, NexusKey, ShardCore, SourceId};
use crate::status::Status;
use crate::task_set::TaskAttribute;
use crate::tmf::Told;

/// A command as a transport received it.
#[derive(Debug)]
pub struct CommandRequest<'a> {
    /// The session.
    pub nexus: NexusKey,
    /// LUN field.
    pub lun: [u8; 8],
    /// Command descriptor block, without padding beyond the transport's own.
    pub cdb: &'a [u8],
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Names the command in task management and in [`Finished`]; unique in the session while the command lives.
    pub tag: u64,
    /// Data-In bytes that the initiator has room for.
    pub expected_in: usize,
    /// Data-Out bytes that the initiator is going to send.
    pub expected_out: usize,
}

/// What becomes of a command that was begun.
#[derive(Debug)]
pub enum Begun {
    /// Its Data-Out is wanted: fill `buf` and hand it to [`ShardCx::data_out`](crate::ShardCx::data_out).
    DataOut {
        /// The command.
        command: CommandKey,
        /// Room for the bytes wanted: what the CDB asks for, or less if the initiator sends less.
        buf: IoBuf,
    },
    /// It runs, waits, or has ended. [`Event::Finished`](crate::Event::Finished) comes.
    Running,
}

/// The end of a command.
#[derive(Debug)]
pub struct Finished {
    /// The transport's tag.
    pub tag: u64,
    /// False: it was aborted, and no response is sent.
    pub respond: bool,
    /// SCSI status.
    pub status: Status,
    /// Sense data, ready to send.
    pub sense: Option<Box<SenseBytes>>,
    /// Data-In at the start of it. Goes back to the pool when sent.
    pub buf: IoBuf,
    /// Bytes of Data-In.
    pub data_in: usize,
    /// What the command was to move: less or more than the initiator expected makes a residual.
    pub transfer: Transfer,
}

/// Where a command is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its turn has not come (stage 7).
    Dormant,
    /// The transport receives its Data-Out (stage 8).
    DataOut,
    /// The gate is closed, or the rights are being changed (stage 9).
    AtGate,
    /// An ACA keeps it from beginning, or, with an outcome, from ending (SAM-5 8.5.6).
    Blocked(Option<Box<Outcome>>),
    /// It may run, and does in this turn of the shard.
    Ready,
    /// The handler has it (stage 10), since then, by the shard's turn or by the clock (`measure_latency`).
    Executing(Instant),
    /// It was given up; the handler still has it.
    Detached(Box<Detached>),
}

/// See [`Phase::Detached`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Detached {
    /// To say when the handler is through.
    pub(crate) unit: Arc<LogicalUnit>,
    /// Whether the unit's medium is closed because of it.
    pub(crate) unfenced: bool,
    /// Since when the handler has it.
    pub(crate) since: Instant,
}

/// How a command stands to its unit's gate.
#[derive(Debug)]
pub(crate) enum Inside {
    /// Not in it.
    No,
    /// Among others.
    Shared,
    /// Among others, and in the gate of the unit that it copies from.
    Copying(Arc<LogicalUnit>),
    /// Alone.
    Alone(Closed),
}

/// What is known of a command that a copy manager began on behalf of its session.
#[derive(Debug)]
pub(crate) struct Inner {
    /// The unit whose copy manager began it: what ends that unit's commands ends this one.
    pub(crate) manager: UnitId,
    /// The command that it is part of, unless that has ended already.
    pub(crate) outer: Option<CommandKey>,
    /// Set if it copies by itself.
    pub(crate) copy: Option<CopyFrom>,
}

/// Where a command gets its data that the handlers copy by themselves: a write of its unit and a read of this one.
#[derive(Debug)]
pub(crate) struct CopyFrom {
    pub(crate) unit: Arc<LogicalUnit>,
    pub(crate) itl: Arc<Itl>,
    /// The read that it stands for.
    pub(crate) cdb: ParsedCdb,
    /// The shard's place in the gates.
    pub(crate) lane: usize,
    /// An exclusion of blocks keeps it out of the source.
    pub(crate) kept_out: bool,
}

/// A command in its shard's slab.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) generation: u32,
    pub(crate) nexus: NexusKey,
    pub(crate) source: SourceId,
    /// Place among the session's units.
    pub(crate) local_unit: usize,
    pub(crate) unit_id: Option<UnitId>,
    pub(crate) owner: Owner,
    pub(crate) tag: u64,
    pub(crate) attribute: TaskAttribute,
    pub(crate) cdb: ParsedCdb,
    pub(crate) transfer: Transfer,
    pub(crate) buf: IoBuf,
    /// As the shard measures time ([`ShardCore::time`]).
    pub(crate) arrived: Instant,
    pub(crate) phase: Phase,
    /// Its Data-Out is here, or it has none.
    pub(crate) has_data: bool,
    /// Its turn in the task set has come.
    pub(crate) enabled: bool,
    /// From a copy manager, not from an initiator: it has no place in a task set and no tag that task management could
    /// name; no unit attention is reported to it, and no ACA concerns it.
    pub(crate) inner: bool,
    pub(crate) inside: Inside,
    pub(crate) aborted: bool,
    /// What few commands have: apart, so that the others are small.
    pub(crate) rare: Option<Box<Rare>>,
}

/// See [`Command::rare`].
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Until when it waits for its rights to be settled, since it first had to.
    pub(crate) held: Option<Instant>,
    /// Until when it waits at the gate for another reason, since it first had to.
    pub(crate) waits: Option<Instant>,
    /// Which of the two is the end of its present wait.
    pub(crate) unsettled: bool,
    /// Settles whether it takes effect, if its executor wants that settled.
    pub(crate) cancel: Option<Arc<Cancel>>,
    /// Its claim to run alone in its range of blocks.
    pub(crate) range: Option<RangeGuard>,
    /// Its claim to run alone in the unit.
    pub(crate) closer: Option<Ticket>,
    /// Ranges that wait for it to end.
    pub(crate) delays: Vec<Arc<RangeLock>>,
    /// Aborts that wait for it to end.
    pub(crate) aborts: Vec<usize>,
    /// What its initiator is told when it was aborted and has ended; it may be nothing.
    pub(crate) told: Option<Told>,
    /// PREEMPT AND ABORT that came past the ACA of another nexus, which does not block it.
    pub(crate) past_aca: bool,
    /// Whose an inner command is.
    pub(crate) inner: Option<Inner>,
}

impl Command {
    /// Its name, given its place in the slab.
    pub(crate) fn key(&self, index: usize) -> CommandKey {
        CommandKey {
            index: index as u32,
            generation: self.generation,
        }
    }

    /// Since when a handler has it that ends at `ended`, if one got it.
    pub(crate) fn begun(&self, ended: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Executing(since) => Some(since),
            // Its handler ended it at once.
            Phase::Ready => Some(ended),
            _ => None,
        }
    }

    /// Whether a handler has it, and it was not given up.
    pub(crate) fn executes(&self) -> bool {
        matches!(self.phase, Phase::Executing(_))
    }

    /// Whether a handler has or had it.
    pub(crate) fn has_begun(&self) -> bool {
        match self.phase {
            Phase::Dormant | Phase::DataOut | Phase::AtGate => false,
            Phase::Blocked(None) | Phase::Ready => false,
            Phase::Blocked(Some(_)) | Phase::Executing(_) | Phase::Detached(_) => true,
        }
    }

    /// Whether nothing that a handler still does for it can change the medium or anything else.
    pub(crate) fn changes_nothing(&self) -> bool {
        let class = self.cdb.class;
        !self.cdb.entry.has(Attributes::WRITES_MEDIUM)
            && (class == CommandClass::READ || class == CommandClass::SYNCHRONIZE_CACHE)
    }

    /// Whether it ends when the commands of a unit do.
    pub(crate) fn concerns(&self, unit: UnitId) -> bool {
        self.unit_id == Some(unit) || self.works_on(unit)
    }

    /// Whether it is a part of what a unit's copy manager does, or copies from the unit.
    pub(crate) fn works_on(&self, unit: UnitId) -> bool {
        let works_on = |inner: &Inner| {
            let copies = |copy: &CopyFrom| copy.unit.id() == unit;
            inner.manager == unit || inner.copy.as_ref().is_some_and(copies)
        };
        self.inner_part().is_some_and(works_on)
    }

    /// Whose it is, if it is an inner command.
    pub(crate) fn inner_part(&self) -> Option<&Inner> {
        self.rare.as_ref()?.inner.as_ref()
    }

    /// The rare part, made when it is not there.
    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

impl ShardCore {
    pub(crate) fn local(&self, nexus: NexusKey, unit: usize) -> Option<&LocalUnit> {
        self.nexus(nexus)?.units.get(unit)
    }

    pub(crate) fn local_mut(&mut self, nexus: NexusKey, unit: usize) -> Option<&mut LocalUnit> {
        self.nexus_mut(nexus)?.units.get_mut(unit)
    }

    pub(crate) fn command_mut(&mut self, key: CommandKey) -> Option<&mut Command> {
        self.commands
            .get_mut(key.index as usize)
            .filter(|c| c.generation == key.generation)
    }

    pub(crate) fn unit_of(&mut self, key: CommandKey) -> Option<Arc<LogicalUnit>> {
        let (nexus, unit) = self.command_mut(key).map(|c| (c.nexus, c.local_unit))?;
        self.local(nexus, unit).map(|local| Arc::clone(&local.unit))
    }

    pub(crate) fn keys_where(&self, mut wanted: impl FnMut(&Command) -> bool) -> Vec<CommandKey> {
        live(&self.commands)
            .filter(|(_, c)| wanted(c))
            .map(|(index, c)| c.key(index))
            .collect()
    }

    /// Commands of a session that are in the task set of a unit.
    pub(crate) fn tasks_of(&self, nexus: NexusKey, unit: &LogicalUnit) -> Vec<CommandKey> {
        self.keys_where(|c| c.nexus == nexus && c.unit_id == Some(unit.id()) && !c.inner)
    }

    /// Commands of a session, for one unit or for all; those of its copies, too.
    pub(crate) fn commands_of(
        &self,
        nexus: NexusKey,
        unit: Option<&LogicalUnit>,
    ) -> Vec<CommandKey> {
        self.keys_where(|c| c.nexus == nexus && unit.is_none_or(|u| c.concerns(u.id())))
    }

    /// The command in the task set of a unit that a session names so.
    pub(crate) fn command_by_tag(
        &self,
        nexus: NexusKey,
        unit: &LogicalUnit,
        tag: u64,
    ) -> Option<CommandKey> {
        let of_unit = |c: &Command| c.nexus == nexus && c.unit_id == Some(unit.id());
        self.keys_where(|c| of_unit(c) && c.tag == tag && !c.inner)
            .first()
            .copied()
    }
}

/// Commands that have not been given up.
pub(crate) fn live(commands: &Slab<Command>) -> impl Iterator<Item = (usize, &Command)> {
    commands
        .iter()
        .filter(|(_, c)| !matches!(c.phase, Phase::Detached(_)))
}

/// The end of a command that never came into the slab.
pub(crate) struct Refused {
    pub(crate) outcome: Outcome,
    pub(crate) data: Vec<u8>,
}

impl Refused {
    /// GOOD with parameter data, for what is answered without a unit.
    pub(crate) fn data(data: Vec<u8>) -> Self {
        Self {
            outcome: Outcome::data(data.len()),
            data,
        }
    }
}

impl From<Outcome> for Refused {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            data: Vec::new(),
        }
    }
}

impl From<Sense> for Refused {
    fn from(sense: Sense) -> Self {
        Outcome::check(sense).into()
    }
}
