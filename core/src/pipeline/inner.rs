//! Inner commands: what a copy manager sends to units on behalf of a session.
//!
//! An inner command goes the way of every command, with the rights of the session that it works for: access, prepare,
//! resources, range, gate, access once more, execute, statistics of the unit. It leaves out what is between an
//! initiator and a unit: unit attention, task set, Data-Out of a transport, the session's statistics. Its end comes as
//! [`Event::Finished`](crate::Event::Finished) to the source that began it, with the tag that this one gave.

use std::sync::Arc;

use super::{access, admit};
use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::cdb::ParsedCdb;
use crate::command::{Command, CopyFrom, Finished, Inner, Inside, Phase, Rare};
use crate::handler::{Execute, Execution, Outcome, Transfer};
use crate::lu::{LogicalUnit, Owner, UnitId};
use crate::nexus::NexusId;
use crate::sense::{Sense, SenseFormat};
use crate::service::Refusal;
use crate::shard::completion::CommandKey;
use crate::shard::{Event, NexusKey, ShardCore, SourceId};
use crate::status::Status;
use crate::task_set::TaskAttribute;
use crate::tmf::{Manner, Then};

/// An inner command.
#[derive(Debug)]
pub(crate) struct InnerRequest<'a> {
    /// The session.
    pub(crate) nexus: NexusKey,
    /// Where the unit was found in the map of the session's target.
    pub(crate) lun: u16,
    /// The unit; no other one that got its LUN since.
    pub(crate) unit: &'a Arc<LogicalUnit>,
    pub(crate) cdb: ParsedCdb,
    /// Data-Out; empty when it is only asked whether the command would be let in.
    pub(crate) buf: IoBuf,
    /// Bytes of Data-Out.
    pub(crate) data_out: usize,
    pub(crate) tag: u64,
    pub(crate) manager: UnitId,
    pub(crate) outer: Option<CommandKey>,
}

/// A command that the handlers do by themselves: stage 10 of one with a [`CopyFrom`]. It is in its own unit's gate and
/// tries the source's, but never waits there, where it would keep out who waits for it: BUSY tells its owner to read
/// and write this time, every other status to do so from now on.
pub(super) fn copy(
    rare: &Option<Box<Rare>>,
    inside: &mut Inside,
    execution: &mut Execution<'_>,
) -> Execute {
    let busy = || Execute::Done(Outcome::status(Status::Busy));
    let cannot = || Sense::illegal_request(Asc::INVALID_COMMAND_OPERATION_CODE);
    let part = rare.as_ref().and_then(|rare| rare.inner.as_ref());
    let Some(copy) = part.and_then(|inner| inner.copy.as_ref()) else {
        return busy();
    };
    let (Some((from, blocks)), Some((to, _))) = (copy.cdb.cdb.extent(), execution.cdb().extent())
    else {
        return busy();
    };
    if copy.kept_out || !copy.unit.gate.enter(copy.lane) {
        return busy();
    }
    *inside = Inside::Copying(Arc::clone(&copy.unit));
    // Looked at inside the gate: what takes the right away closes it, and waits for who is in.
    if !access::allowed(&copy.itl, &copy.unit, copy.cdb.class) {
        return busy();
    }
    let (handler, source) = (execution.lu.handler(), copy.unit.handler());
    handler
        .copy_from(execution, source, from, to, blocks)
        .unwrap_or_else(|| Execute::Done(cannot().into()))
}

/// An inner command that may begin.
struct Admitted {
    local_unit: usize,
    owner: Owner,
    transfer: Transfer,
}

impl ShardCore {
    /// Begins a command. Its end comes as an event, also when it is refused: then with the buffer given.
    pub(crate) fn begin_inner(&mut self, source: SourceId, request: InnerRequest<'_>) {
        let refused = match self.admit_inner(&request) {
            Ok(admitted) => match self.inner_buf(request.nexus, admitted.transfer) {
                Ok(room) => return self.insert_inner(source, request, admitted, room, None),
                Err(outcome) => outcome,
            },
            Err(outcome) => outcome,
        };
        self.refuse_inner(source, request, refused);
    }

    /// Begins a write whose data the handlers copy by themselves, where `read` would have read it. BUSY, or any other
    /// end than GOOD, means that it has to be read and written; what was copied may be written again.
    pub(crate) fn begin_copy(
        &mut self,
        source: SourceId,
        read: &InnerRequest<'_>,
        write: InnerRequest<'_>,
    ) {
        let admitted = self
            .admit_inner(read)
            .and_then(|from| Ok((from, self.admit_inner(&write)?)));
        let (from, to) = match admitted {
            Ok(admitted) => admitted,
            Err(outcome) => return self.refuse_inner(source, write, outcome),
        };
        let Some(local) = self.local(read.nexus, from.local_unit) else {
            let gone = Sense::logical_unit_not_supported();
            return self.refuse_inner(source, write, gone.into());
        };
        let copy = CopyFrom {
            unit: Arc::clone(&local.unit),
            itl: Arc::clone(&local.itl),
            cdb: read.cdb,
            lane: self.lane,
            kept_out: false,
        };
        let owner = Owner::Copy;
        self.insert_inner(source, write, Admitted { owner, ..to }, None, Some(copy));
    }

    fn refuse_inner(&mut self, source: SourceId, request: InnerRequest<'_>, refused: Outcome) {
        let sense = refused.sense.map(|s| Box::new(s.emit(SenseFormat::Fixed)));
        let finished = Finished {
            tag: request.tag,
            respond: true,
            status: refused.status,
            sense,
            buf: request.buf,
            data_in: 0,
            transfer: Transfer::None,
        };
        self.events.push_back((source, Event::Finished(finished)));
    }

    /// Whether a command that is to come would be let in now.
    pub(crate) fn vet_inner(&mut self, request: &InnerRequest<'_>) -> Result<(), Outcome> {
        self.admit_inner(request).map(|_| ())
    }

    /// Ends inner commands; each end comes as an event.
    pub(crate) fn abort_inner(&mut self, source: SourceId, nexus: NexusId) {
        let mine = self.keys_where(|c| c.source == source && c.inner);
        self.abort(mine, Manner::of(nexus), Then::Nothing);
    }

    fn admit_inner(&mut self, request: &InnerRequest<'_>) -> Result<Admitted, Outcome> {
        let gone = || Outcome::from(Sense::logical_unit_not_supported());
        let local_unit = self.place_of(request.nexus, request.lun).ok_or_else(gone)?;
        let local = self.local(request.nexus, local_unit).ok_or_else(gone)?;
        if local.unit.id() != request.unit.id() {
            return Err(gone());
        }
        let (entry, cdb) = (request.cdb.entry, &request.cdb);
        if !local.unit.supports(entry.id) {
            return Err(crate::cdb::unsupported(entry, |id| local.unit.supports(id)).into());
        }
        // One that is to wait does so at the gate.
        if !access::allowed(&local.itl, &local.unit, cdb.class)
            && let Err(Refusal::Answer(outcome)) = access::judge(&local.itl, &local.unit, cdb)
        {
            return Err(outcome);
        }
        let owner = local.unit.owner(entry.id);
        let transfer = admit::prepare(&local.unit, owner, cdb, request.data_out)?;
        if self.commands.len() >= self.limits.commands {
            return Err(Outcome::status(Status::TaskSetFull));
        }
        Ok(Admitted {
            local_unit,
            owner,
            transfer,
        })
    }

    /// Room for Data-In; Data-Out is there already.
    fn inner_buf(&mut self, nexus: NexusKey, transfer: Transfer) -> Result<Option<IoBuf>, Outcome> {
        match transfer {
            Transfer::In(len) => {
                let full = |_| Outcome::status(Status::TaskSetFull);
                let budget = self.nexus(nexus).map(|nexus| nexus.budget.clone());
                let taken = match budget {
                    Some(budget) => self.pool.take_within(&budget, len, || true),
                    None => self.pool.take(len),
                };
                taken.map(Some).map_err(full)
            }
            _ => Ok(None),
        }
    }

    fn insert_inner(
        &mut self,
        source: SourceId,
        request: InnerRequest<'_>,
        admitted: Admitted,
        room: Option<IoBuf>,
        copy: Option<CopyFrom>,
    ) {
        let arrived = self.time();
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.commands.insert(Command {
            generation,
            nexus: request.nexus,
            source,
            local_unit: admitted.local_unit,
            unit_id: Some(request.unit.id()),
            owner: admitted.owner,
            tag: request.tag,
            attribute: TaskAttribute::Simple,
            cdb: request.cdb,
            transfer: admitted.transfer,
            buf: room.unwrap_or(request.buf),
            arrived,
            phase: Phase::Ready,
            has_data: true,
            enabled: true,
            inner: true,
            inside: Inside::No,
            aborted: false,
            rare: Some(Box::new(Rare {
                inner: Some(Inner {
                    manager: request.manager,
                    outer: request.outer,
                    copy,
                }),
                ..Rare::default()
            })),
        });
        let index = index as u32;
        self.runnable.push_back(CommandKey { index, generation });
    }
}
