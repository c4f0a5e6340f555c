//! Stages 1 to 8: from a transport's request to a command in the slab.

use super::{aca, access};
use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::cdb::{self, Attributes, ParsedCdb};
use crate::command::{Begun, Command, CommandRequest, Inside, Phase, Refused};
use crate::handler::{Outcome, Transfer};
use crate::lu::{LogicalUnit, Owner};
use crate::lun::LunAddress;
use crate::nexus::Itl;
use crate::sense::Sense;
use crate::service::Refusal;
use crate::shard::completion::CommandKey;
use crate::shard::{LocalUnit, NexusKey, ShardCore, SourceId, time_of};
use crate::spc;
use crate::status::Status;
use crate::task_set::{Entrance, TaskAttribute, TaskSet};
use crate::ua;

impl ShardCore {
    /// Stages 1 to 8.
    pub(crate) fn begin(&mut self, source: SourceId, request: &CommandRequest<'_>) -> Begun {
        let found = self.find_unit(request.nexus, request.lun);
        let admitted = match found {
            Some(unit) => self.admit(source, request, unit),
            None => {
                let nexus = self.nexus(request.nexus).map(|n| &*n.shared);
                Err(spc::without_unit(nexus, request))
            }
        };
        match admitted {
            Ok(None) => Begun::Running,
            Ok(Some(command)) => {
                let buf = self
                    .command_mut(command)
                    .map(|c| std::mem::take(&mut c.buf));
                let buf = buf.unwrap_or_default();
                Begun::DataOut { command, buf }
            }
            Err(refused) => {
                self.refuse(source, request, found, refused);
                Begun::Running
            }
        }
    }

    /// The command, if its Data-Out is wanted.
    ///
    /// In one piece: split after stage 5, with the command handed on, it takes 26 instructions more.
    #[inline]
    fn admit(
        &mut self,
        source: SourceId,
        request: &CommandRequest<'_>,
        local_unit: usize,
    ) -> Result<Option<CommandKey>, Refused> {
        let session = self.nexuses.get_mut(request.nexus.index());
        let session = session.filter(|n| n.shared.id == request.nexus.id());
        let session = session.and_then(|n| Some((n.units.get_mut(local_unit)?, &n.budget)));
        let Some((local, budget)) = session else {
            return Err(Sense::logical_unit_not_supported().into());
        };
        // One load tells whether there is an ACA to judge by or a unit attention to report.
        let care = local.itl.ua.care();
        let mut entrance = Entrance::Ordinary;
        if care & aca::MAY_BE != 0 {
            entrance = aca::judge(local, request)?;
        }
        let (cdb, owner) = parse(&local.unit, request.cdb)?;
        if care & ua::PENDING != 0 {
            unit_attention(local, &cdb)?;
        }
        // One that is to wait does so at the gate.
        if !access::allowed(&local.itl, &local.unit, cdb.class)
            && let Err(Refusal::Answer(outcome)) = access::judge(&local.itl, &local.unit, &cdb)
        {
            return Err(outcome.into());
        }
        let transfer = prepare(&local.unit, owner, &cdb, request.expected_out)?;
        let attribute = match entrance {
            Entrance::Ordinary => attribute(&local.unit, &cdb, request.attribute)?,
            Entrance::Aca => TaskAttribute::Aca,
            Entrance::Past => TaskAttribute::HeadOfQueue,
        };
        let (unit, limits, now) = (local.unit.id(), &self.limits, self.now);
        let full = local.commands >= limits.commands_per_itl
            || self.commands.len() >= limits.commands / 2
                && !self.shares.command(unit, &self.commands, limits, now);
        if full {
            self.peers[self.lane].counters().full_commands.add(1);
            return Err(Outcome::status(Status::TaskSetFull).into());
        }
        let unit_id = Some(unit);
        let room = room(transfer, request.expected_out);
        let buf = if room == 0 {
            IoBuf::empty()
        } else {
            let (shares, commands) = (&mut self.shares, &self.commands);
            let wanted = (budget.in_use(), room);
            let may = || shares.buffer(unit, wanted, commands, limits, now);
            self.pool.take_within(budget, room, may).map_err(|_| {
                let counters = self.peers[self.lane].counters();
                counters.full_of_buffers(budget.admits(room));
                Outcome::status(Status::TaskSetFull)
            })?
        };
        let wants_data = matches!(transfer, Transfer::Out(_)) && room > 0;
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.commands.insert(Command {
            generation,
            nexus: request.nexus,
            source,
            local_unit,
            unit_id,
            owner,
            tag: request.tag,
            attribute,
            cdb,
            transfer,
            buf,
            arrived: time_of(&self.measure_latency, self.now),
            phase: Phase::Ready,
            has_data: !wants_data,
            enabled: false,
            inner: false,
            inside: Inside::No,
            aborted: false,
            rare: None,
        });
        let key = CommandKey {
            index: index as u32,
            generation,
        };
        local.commands += 1;
        let enabled = match &local.unit.tasks {
            None => local.tasks.admit(|| key, attribute),
            Some(shared) => shared.admit(&self.mailbox, key, attribute),
        };
        let command = &mut self.commands[index];
        command.enabled = enabled;
        if entrance == Entrance::Past {
            command.rare().past_aca = true;
        }
        if wants_data {
            command.phase = Phase::DataOut;
            return Ok(Some(key));
        }
        if enabled {
            self.runnable.push_back(key);
        } else {
            command.phase = Phase::Dormant;
        }
        Ok(None)
    }

    /// Stage 1: the place of the unit that a LUN field names, among the session's units.
    fn find_unit(&mut self, key: NexusKey, field: [u8; 8]) -> Option<usize> {
        let lun = LunAddress::parse(field).resolve()?;
        self.place_of(key, u16::try_from(lun.number()).ok()?)
    }

    /// The place of a LUN's unit among the session's units.
    pub(super) fn place_of(&mut self, key: NexusKey, number: u16) -> Option<usize> {
        let nexus = self.nexus_mut(key).filter(|n| !n.closing)?;
        let changed = nexus.seen != nexus.shared.view.version();
        let last = nexus.units.get(nexus.last);
        if !changed && last.is_some_and(|local| local.lun == number) {
            return Some(nexus.last);
        }
        if changed {
            self.luns_changed(key);
        }
        let nexus = self.nexus_mut(key)?;
        let is_it = |local: &LocalUnit| local.lun == number && !local.gone;
        if let Some((found, _)) = nexus.units.iter().find(|(_, local)| is_it(local)) {
            nexus.last = found;
            return Some(found);
        }
        let place = nexus.shared.view.place(number)?;
        let itl = Itl::new(&nexus.shared, number, &place);
        nexus.last = nexus.units.insert(LocalUnit {
            lun: number,
            since: place.since,
            gone: false,
            unit: place.unit,
            itl,
            tasks: TaskSet::default(),
            commands: 0,
        });
        Some(nexus.last)
    }
}

/// Bytes of buffer that a command takes.
#[inline]
fn room(transfer: Transfer, expected_out: usize) -> usize {
    match transfer {
        Transfer::None => 0,
        Transfer::In(len) => len,
        Transfer::Out(len) | Transfer::OutExactly(len) | Transfer::OutAtMost(len) => {
            len.min(expected_out)
        }
    }
}

/// Stage 2.
#[inline]
fn parse(unit: &LogicalUnit, cdb: &[u8]) -> Result<(ParsedCdb, Owner), Sense> {
    let entry = cdb::lookup(cdb)?;
    let owner = unit.owner(entry.id);
    let supported = match owner {
        Owner::Core | Owner::Handler | Owner::Copy => true,
        Owner::Nobody => false,
        Owner::Service(_) => unit.supports(entry.id),
    };
    if !supported {
        return Err(cdb::unsupported(entry, |id| unit.supports(id)));
    }
    Ok((ParsedCdb::decode(entry, cdb)?, owner))
}

/// Stage 3.
#[cold]
fn unit_attention(local: &LocalUnit, cdb: &ParsedCdb) -> Result<(), Sense> {
    let interlock = || local.unit.handler().control().interlock;
    if !cdb.entry.has(Attributes::PASSES_UNIT_ATTENTION)
        && let Some(asc) = local.itl.ua.report(interlock())
    {
        return Err(Sense::unit_attention(asc));
    }
    Ok(())
}

/// Stage 5.
#[inline]
pub(super) fn prepare(
    unit: &LogicalUnit,
    owner: Owner,
    cdb: &ParsedCdb,
    expected_out: usize,
) -> Result<Transfer, Sense> {
    let transfer = match owner {
        Owner::Core => spc::prepare(cdb),
        Owner::Service(at) => match unit.service(at) {
            Some(service) => service.prepare(cdb)?,
            None => Transfer::None,
        },
        Owner::Handler | Owner::Copy | Owner::Nobody => unit.handler().prepare(cdb)?,
    };
    match transfer {
        Transfer::OutExactly(len) if expected_out != len => {
            Err(Sense::illegal_request(Asc::INVALID_FIELD_IN_CDB))
        }
        Transfer::OutExactly(len) => Ok(Transfer::Out(len)),
        Transfer::OutAtMost(len) => Ok(Transfer::Out(len.min(expected_out))),
        other => Ok(other),
    }
}

/// The attribute under which a command enters its task set.
#[inline]
fn attribute(
    unit: &LogicalUnit,
    cdb: &ParsedCdb,
    asked: TaskAttribute,
) -> Result<TaskAttribute, Sense> {
    match asked {
        TaskAttribute::Simple if cdb.entry.has(Attributes::IMPLICIT_HEAD_OF_QUEUE) => {
            Ok(TaskAttribute::HeadOfQueue)
        }
        TaskAttribute::Simple if unit.handler().control().restricted_reordering => {
            Ok(TaskAttribute::Ordered)
        }
        TaskAttribute::Aca => Err(Sense::illegal_request(Asc::INVALID_MESSAGE_ERROR)),
        asked => Ok(asked),
    }
}
