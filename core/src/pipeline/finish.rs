//! Stage 11: the end of a command, and what it lets go.

use super::run::leave_gate;
use crate::buffer::IoBuf;
use crate::command::{CommandRequest, Finished, Phase, Refused};
use crate::handler::{Outcome, Transfer};
use crate::sense::SenseFormat;
use crate::shard::completion::CommandKey;
use crate::shard::{Event, ShardCore, SourceId};
use crate::status::Status;

impl ShardCore {
    /// Stage 11.
    pub(super) fn finish(&mut self, key: CommandKey, outcome: Outcome, buf: IoBuf) {
        self.release(key);
        let Some(command) = self.command_mut(key) else {
            return;
        };
        if command.aborted {
            self.pool.recycle(buf);
            let aborts = self
                .command_mut(key)
                .map(|c| std::mem::take(&mut c.rare().aborts))
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
        leave_gate(&local.unit, self.lane, command);
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
        self.leave_queue_at_gate(key);
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

    /// Ends a command that never came into the slab.
    pub(super) fn refuse(
        &mut self,
        source: SourceId,
        request: &CommandRequest<'_>,
        refused: Refused,
    ) {
        let Refused { outcome, data } = refused;
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
}
