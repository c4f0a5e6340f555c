//! What happens to a command, in order.
//!
//! | # | stage | clause | ends the command with |
//! |---|---|---|---|
//! | 1 | LUN map | SAM-5 4.7, SPC-4 6.6.2 | LOGICAL UNIT NOT SUPPORTED; INQUIRY, REPORT LUNS, REQUEST SENSE are answered |
//! | 2 | parse | SPC-4 4.2 | INVALID COMMAND OPERATION CODE, INVALID FIELD IN CDB |
//! | 3 | unit attention | SAM-5 5.14 | UNIT ATTENTION, and that clears it; some commands pass |
//! | 4 | access: ALUA, reservations | SPC-4 5.15, 5.13 | NOT READY 04/0A-0C, RESERVATION CONFLICT |
//! | 5 | prepare | the handler's | out of range, invalid field, write protected |
//! | 6 | resources | SAM-5 5.3.1 | TASK SET FULL |
//! | 7 | task set | SAM-5 8.6 | waits for its turn |
//! | 8 | Data-Out | | waits for the transport |
//! | 9 | gate, access once more | | waits while the unit is being changed; RESERVATION CONFLICT |
//! | 10 | execute | | waits for the handler, if it defers |
//! | 11 | respond | | [`Event::Finished`] |
//!
//! Unit attention comes before reservation conflict as SAM-5 5.14.2 lists the exceptions by command, not by
//! reservation. Stages 1 to 6 run when the command arrives and move no data, so what is wrong is said before an
//! initiator sends a byte. Access is looked at again inside the gate: a right that was taken away in between is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::cdb::{self, Attributes, CommandClass, ParsedCdb};
use crate::command::{Command, Phase, Refusal};
use crate::handler::{Execute, Execution, Outcome, Transfer};
use crate::lu::{LogicalUnit, UnitId};
use crate::lun::LunAddress;
use crate::nexus::Itl;
use crate::sense::{Sense, SenseFormat};
use crate::shard::completion::CommandKey;
use crate::shard::{Event, LocalUnit, NexusKey, ShardCore, SourceId};
use crate::spc;
use crate::status::Status;
use crate::task_set::{TaskAttribute, TaskSet};

pub use crate::command::{Begun, CommandRequest, Finished};

impl ShardCore {
    /// Stages 1 to 8.
    pub(crate) fn begin(&mut self, source: SourceId, request: &CommandRequest<'_>) -> Begun {
        match self.admit(source, request) {
            Ok(begun) => begun,
            Err(refusal) => {
                self.refuse(source, request, refusal);
                Begun::Running
            }
        }
    }

    fn admit(&mut self, source: SourceId, request: &CommandRequest<'_>) -> Result<Begun, Refusal> {
        let Some(local_unit) = self.find_unit(request.nexus, request.lun) else {
            return Err(spc::without_unit(
                self.nexus(request.nexus).map(|n| &*n.shared),
                request,
            ));
        };
        let Some(local) = self.local(request.nexus, local_unit) else {
            return Err(Sense::logical_unit_not_supported().into());
        };
        let entry = cdb::lookup(request.cdb)?;
        let supports = |id| spc::executes(id) || local.unit.handler().supports(id);
        if !supports(entry.id) {
            return Err(cdb::unsupported(entry, supports).into());
        }
        let cdb = ParsedCdb::decode(entry, request.cdb)?;
        if local.itl.ua.any()
            && !entry.has(Attributes::PASSES_UNIT_ATTENTION)
            && let Some(asc) = local.itl.ua.take()
        {
            return Err(Sense::unit_attention(asc).into());
        }
        check_access(&local.itl, &local.unit, cdb.class)?;
        if cdb.control.naca() {
            // NormACA is 0 in INQUIRY: NACA is not supported (SAM-5 5.2).
            return Err(Sense::invalid_field_in_cdb(control_byte(entry), Some(2)).into());
        }
        let transfer = match spc::prepare(&cdb) {
            Some(transfer) => transfer,
            None => local.unit.handler().prepare(&cdb)?,
        };
        let transfer = match transfer {
            Transfer::OutExactly(len) if request.expected_out != len => {
                return Err(Sense::illegal_request(Asc::INVALID_FIELD_IN_CDB).into());
            }
            Transfer::OutExactly(len) => Transfer::Out(len),
            other => other,
        };
        let attribute = match request.attribute {
            TaskAttribute::Simple if entry.has(Attributes::IMPLICIT_HEAD_OF_QUEUE) => {
                TaskAttribute::HeadOfQueue
            }
            TaskAttribute::Simple if local.unit.handler().control().restricted_reordering => {
                TaskAttribute::Ordered
            }
            TaskAttribute::Aca => {
                return Err(Sense::illegal_request(Asc::INVALID_MESSAGE_ERROR).into());
            }
            asked => asked,
        };
        let unit_id = Some(local.unit.id());
        let full = local.tasks.len() >= self.limits.commands_per_itl
            || self.commands.len() >= self.limits.commands;
        if full {
            return Err(Outcome::status(Status::TaskSetFull).into());
        }
        let room = match transfer {
            Transfer::None => 0,
            Transfer::In(len) => len,
            Transfer::Out(len) | Transfer::OutExactly(len) => len.min(request.expected_out),
        };
        let buf = if room == 0 {
            IoBuf::empty()
        } else {
            self.pool
                .take(room)
                .map_err(|_| Outcome::status(Status::TaskSetFull))?
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
            tag: request.tag,
            attribute,
            cdb,
            transfer,
            buf,
            phase: Phase::Ready,
            has_data: !wants_data,
            enabled: false,
            in_gate: false,
            aborted: false,
            aborts: Vec::new(),
        });
        let key = CommandKey {
            index: index as u32,
            generation,
        };
        let enabled = self
            .tasks_of(request.nexus, local_unit)
            .is_some_and(|tasks| tasks.admit(key, attribute));
        let command = &mut self.commands[index];
        command.enabled = enabled;
        if wants_data {
            command.phase = Phase::DataOut;
            return Ok(Begun::DataOut {
                command: key,
                buf: std::mem::take(&mut command.buf),
            });
        }
        self.proceed(key);
        Ok(Begun::Running)
    }

    /// Stage 8 is over.
    pub(crate) fn data_out(&mut self, key: CommandKey, buf: IoBuf) {
        match self.command_mut(key) {
            Some(command) if command.phase == Phase::DataOut => {
                command.buf = buf;
                command.has_data = true;
                self.proceed(key);
            }
            // It was aborted while its data arrived.
            _ => self.pool.recycle(buf),
        }
    }

    pub(crate) fn data_out_failed(&mut self, key: CommandKey, buf: IoBuf, sense: Sense) {
        self.pool.recycle(buf);
        if self
            .command_mut(key)
            .is_some_and(|c| c.phase == Phase::DataOut)
        {
            self.finish(key, Outcome::check(sense), IoBuf::empty());
        }
    }

    /// Lets a command run if nothing holds it.
    fn proceed(&mut self, key: CommandKey) {
        let Some(command) = self.command_mut(key) else {
            return;
        };
        command.phase = match (command.has_data, command.enabled) {
            (false, _) => Phase::DataOut,
            (true, false) => Phase::Dormant,
            (true, true) => Phase::Ready,
        };
        if command.phase == Phase::Ready {
            self.runnable.push_back(key);
        }
    }

    /// Runs what may run; commands that end may let others run.
    pub(crate) fn run_ready(&mut self) {
        while let Some(key) = self.runnable.pop_front() {
            self.run(key);
        }
    }

    /// Stages 9 and 10.
    fn run(&mut self, key: CommandKey) {
        let Some(command) = self
            .commands
            .get_mut(key.index as usize)
            .filter(|c| c.generation == key.generation)
        else {
            return;
        };
        let Some(nexus) = self
            .nexuses
            .get(command.nexus.index())
            .filter(|n| n.shared.id == command.nexus.id())
        else {
            return;
        };
        let Some(local) = nexus.units.get(command.local_unit) else {
            return;
        };
        if !local.unit.gate.enter(self.lane) {
            command.phase = Phase::AtGate;
            let unit = local.unit.id();
            self.at_gate.entry(unit).or_default().push_back(key);
            return;
        }
        command.in_gate = true;
        command.phase = Phase::Executing;
        let mut execution = Execution {
            cdb: &command.cdb,
            nexus: command.nexus.id(),
            buf: std::mem::take(&mut command.buf),
            lu: &local.unit,
            offload: &self.offload,
            key,
            mailbox: &self.mailbox,
            deferred: false,
        };
        let done = match check_access(&local.itl, &local.unit, command.cdb.class) {
            Err(refusal) => Execute::Done(refusal),
            Ok(()) if spc::executes(command.cdb.entry.id) => {
                Execute::Done(spc::execute(&mut execution, &nexus.shared, &local.itl))
            }
            Ok(()) => local.unit.handler().execute(&mut execution),
        };
        let (buf, deferred) = (execution.buf, execution.deferred);
        match done {
            Execute::Done(outcome) => self.finish(key, outcome, buf),
            Execute::Pending if deferred => {}
            // Nobody is left who could complete it.
            Execute::Pending => self.finish(
                key,
                Sense::hardware(Asc::INTERNAL_TARGET_FAILURE).into(),
                buf,
            ),
        }
    }

    /// A deferred command's completion has come.
    pub(crate) fn completed(&mut self, key: CommandKey, outcome: Outcome, buf: IoBuf) {
        let Some(command) = self.command_mut(key) else {
            self.pool.recycle(buf);
            return;
        };
        if let Phase::Detached { unit, unfenced } = &command.phase {
            if *unfenced {
                unit.unfenced.fetch_sub(1, Ordering::AcqRel);
            }
            self.commands.remove(key.index as usize);
            self.pool.recycle(buf);
        } else {
            self.finish(key, outcome, buf);
        }
    }

    /// Stage 11.
    fn finish(&mut self, key: CommandKey, outcome: Outcome, buf: IoBuf) {
        self.release(key);
        let Some(command) = self.command_mut(key) else {
            return;
        };
        if command.aborted {
            self.pool.recycle(buf);
            let aborts = self
                .command_mut(key)
                .map(|c| std::mem::take(&mut c.aborts))
                .unwrap_or_default();
            self.notify_aborted(key);
            self.commands.remove(key.index as usize);
            for abort in aborts {
                self.victim_gone(abort);
            }
            return;
        }
        let command = self.commands.remove(key.index as usize);
        // How much parameter data there is to read is known only now: that is what was to move.
        let (transfer, written) = match command.transfer {
            Transfer::In(_) => (Transfer::In(outcome.data_in), 0),
            Transfer::Out(len) | Transfer::OutExactly(len) => (command.transfer, len),
            Transfer::None => (Transfer::None, 0),
        };
        let mut format = SenseFormat::Fixed;
        let failed = !matches!(outcome.status, Status::Good | Status::ConditionMet);
        if let Some(nexus) = self.nexus(command.nexus) {
            nexus.shared.stats.count(outcome.data_in, written, failed);
            if let Some(local) = nexus.units.get(command.local_unit) {
                local
                    .unit
                    .stats_of(self.lane)
                    .count(outcome.data_in, written, failed);
                if failed {
                    format = local.unit.handler().control().sense_format();
                }
            }
        }
        let sense = outcome.sense.map(|sense| Box::new(sense.emit(format)));
        let (status, data_in) = (outcome.status, outcome.data_in.min(buf.len()));
        let finished = Finished {
            tag: command.tag,
            respond: true,
            status,
            sense,
            buf,
            data_in,
            transfer,
        };
        self.events
            .push_back((command.source, Event::Finished(finished)));
    }

    /// Takes a command out of the gate and out of its task set, and lets those go that waited for it.
    pub(crate) fn release(&mut self, key: CommandKey) {
        let Some(command) = self
            .commands
            .get_mut(key.index as usize)
            .filter(|c| c.generation == key.generation)
        else {
            return;
        };
        let Some(nexus) = self
            .nexuses
            .get_mut(command.nexus.index())
            .filter(|n| n.shared.id == command.nexus.id())
        else {
            return;
        };
        let Some(local) = nexus.units.get_mut(command.local_unit) else {
            return;
        };
        if std::mem::take(&mut command.in_gate) {
            local.unit.gate.leave(self.lane);
        }
        let first = self.runnable.len();
        if std::mem::take(&mut command.enabled) {
            local.tasks.leave(command.attribute, &mut self.runnable);
        } else {
            local.tasks.remove(key, &mut self.runnable);
        }
        // Those that were promised a turn run only if their data is here; `proceed` sorts that out.
        if self.runnable.len() > first {
            let promoted: Vec<_> = self.runnable.drain(first..).collect();
            for key in promoted {
                if let Some(command) = self.command_mut(key) {
                    command.enabled = true;
                    self.proceed(key);
                }
            }
        }
    }

    /// Ends a command that no handler has.
    pub(crate) fn end_aborted(&mut self, key: CommandKey) {
        if matches!(
            self.command_mut(key).map(|c| &c.phase),
            None | Some(Phase::Detached { .. })
        ) {
            return;
        }
        self.release(key);
        self.notify_aborted(key);
        if let Some(unit) = self.command_mut(key).and_then(|c| c.unit_id)
            && let Some(waiting) = self.at_gate.get_mut(&unit)
        {
            waiting.retain(|k| *k != key);
        }
        let command = self.commands.remove(key.index as usize);
        self.pool.recycle(command.buf);
    }

    /// Tells the transport that no response will come.
    pub(crate) fn notify_aborted(&mut self, key: CommandKey) {
        let Some(command) = self.command_mut(key) else {
            return;
        };
        let (source, tag, nexus) = (command.source, command.tag, command.nexus);
        if let Some(nexus) = self.nexus(nexus) {
            nexus.shared.stats.aborted_commands.add(1);
        }
        let finished = Finished {
            tag,
            respond: false,
            status: Status::TaskAborted,
            sense: None,
            buf: IoBuf::empty(),
            data_in: 0,
            transfer: Transfer::None,
        };
        self.events.push_back((source, Event::Finished(finished)));
    }

    pub(crate) fn gate_opened(&mut self, unit: UnitId) {
        if let Some(waiting) = self.at_gate.remove(&unit) {
            self.runnable.extend(waiting);
        }
    }

    /// Ends a command that never came into the slab.
    fn refuse(&mut self, source: SourceId, request: &CommandRequest<'_>, refusal: Refusal) {
        let Refusal { outcome, data } = refusal;
        let mut format = SenseFormat::Fixed;
        if let Some(nexus) = self.nexus(request.nexus) {
            let failed = outcome.status != Status::Good;
            nexus.shared.stats.count(0, 0, failed);
            if let Some(local) = nexus.units.get(nexus.last) {
                format = local.unit.handler().control().sense_format();
            }
        }
        // Only commands without a unit have data here; their few bytes need no pool.
        let buf = IoBuf::from_slice(&data).unwrap_or_default();
        let finished = Finished {
            tag: request.tag,
            respond: true,
            status: outcome.status,
            sense: outcome.sense.map(|sense| Box::new(sense.emit(format))),
            data_in: buf.len(),
            transfer: Transfer::In(buf.len()),
            buf,
        };
        self.events.push_back((source, Event::Finished(finished)));
    }

    /// Stage 1: the place of the unit that a LUN field names, among the session's units.
    fn find_unit(&mut self, key: NexusKey, field: [u8; 8]) -> Option<usize> {
        let lun = LunAddress::parse(field).resolve()?;
        let nexus = self.nexus_mut(key).filter(|n| !n.closing)?;
        let number = u16::try_from(lun.number()).ok()?;
        let map = nexus.shared.target.snapshot();
        let unit = map.get(&number)?;
        let is_it = |local: &LocalUnit| local.lun == number && local.unit.id() == unit.id();
        if nexus.units.get(nexus.last).is_some_and(is_it) {
            return Some(nexus.last);
        }
        if let Some((found, _)) = nexus.units.iter().find(|(_, local)| is_it(local)) {
            nexus.last = found;
            return Some(found);
        }
        let itl = Itl::new(nexus.shared.id, unit);
        let unit = Arc::clone(unit);
        nexus.last = nexus.units.insert(LocalUnit {
            lun: number,
            unit,
            itl,
            tasks: TaskSet::default(),
        });
        Some(nexus.last)
    }
}

/// Place of the CONTROL byte (SPC-4 4.3.2, 4.3.3).
fn control_byte(entry: &cdb::OpcodeEntry) -> u16 {
    if entry.opcode == 0x7F {
        1
    } else {
        entry.cdb_len() as u16 - 1
    }
}

/// Stage 4.
fn check_access(itl: &Itl, unit: &LogicalUnit, class: CommandClass) -> Result<(), Outcome> {
    // Acquire: pairs with the count going up before the abort that made it is answered.
    if unit.unfenced.load(Ordering::Acquire) != 0 && class.intersects(spc::MEDIUM_CLASSES) {
        return Err(Sense::not_ready(Asc::LOGICAL_UNIT_IS_IN_PROCESS_OF_BECOMING_READY).into());
    }
    if !itl.reservation.allows(class) {
        return Err(Outcome::status(Status::ReservationConflict));
    }
    if !itl.alua.allows(class) {
        return Err(Sense::not_ready(
            Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_UNAVAILABLE_STATE,
        )
        .into());
    }
    Ok(())
}
