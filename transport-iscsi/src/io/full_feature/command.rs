//! SCSI commands: their data and their answers, between the protocol's task and the core's command.

use std::io::IoSliceMut;
use std::time::Instant;

use lunforge_core::asc::Asc;
use lunforge_core::handler::Transfer;
use lunforge_core::pipeline::{Begun, CommandRequest, Finished};
use lunforge_core::sense::Sense;
use lunforge_core::shard::ShardCx;
use lunforge_core::status::Status;
use lunforge_core::task_set::TaskAttribute;

use super::FullFeature;
use crate::proto::connection::{Answer, Command, Payload};
use crate::proto::pdu;
use crate::proto::task::TaskKey;

impl FullFeature {
    /// Payload that the stream goes on with, if its task has a buffer.
    pub(in crate::io) fn payload(&self) -> Option<Payload> {
        self.wire.payload(&self.session)
    }

    /// Where that payload belongs.
    pub(in crate::io) fn payload_slices(&mut self) -> Vec<IoSliceMut<'_>> {
        let Some(Payload { task, offset, len }) = self.payload() else {
            return Vec::new();
        };
        let start = offset as usize;
        match self.slots.get_mut(task.index()) {
            Some(slot) => slot.buf.io_slices_mut(start..start + len as usize),
            None => Vec::new(),
        }
    }

    /// So many bytes of it were received.
    pub(in crate::io) fn payload_received(&mut self, len: usize) {
        self.memory.moved += len as u64;
        let Some(Payload { task, offset, .. }) = self.payload() else {
            return;
        };
        if !self.wire.needs_payload_bytes() {
            return self.wire.payload_taken(len as u32);
        }
        let start = offset as usize;
        if let Some(slot) = self.slots.get(task.index()) {
            slot.buf
                .slices(start..start + len)
                .for_each(|part| self.wire.payload_chunk(part));
        }
    }

    pub(super) fn command(&mut self, cx: &mut ShardCx<'_>, command: &Command, now: Instant) {
        let Some(nexus) = self.nexus else { return };
        let long;
        let cdb: &[u8] = if command.extended_cdb.is_empty() {
            &command.header.cdb
        } else {
            long = [&command.header.cdb[..], &command.extended_cdb].concat();
            &long
        };
        let request = CommandRequest {
            nexus,
            lun: command.header.lun,
            cdb,
            attribute: attribute(command.header.attribute),
            tag: command.task.index() as u64,
            expected_in: command.expected_in as usize,
            expected_out: command.expected_out as usize,
        };
        self.in_core += 1;
        let since = self.begins(now);
        let slot = self.slot(command.task);
        slot.cold_reset = false;
        slot.begun = true;
        slot.since = since;
        let wanted = match cx.begin(&request) {
            Begun::DataOut { command, buf } => {
                let len = buf.len() as u32;
                slot.command = Some(command);
                slot.buf = buf;
                self.receiving += 1;
                len
            }
            Begun::Running => {
                slot.command = None;
                0
            }
        };
        self.adapt_window();
        if command.expected_out > 0 {
            self.wire
                .accept_data(&mut self.session, command.task, wanted, now);
        }
    }

    pub(super) fn data_complete(&mut self, cx: &mut ShardCx<'_>, task: TaskKey) {
        let slot = self.slot(task);
        let buf = std::mem::take(&mut slot.buf);
        match slot.command.take() {
            Some(command) => {
                self.receiving = self.receiving.saturating_sub(1);
                cx.data_out(command, buf);
            }
            None => cx.pool().recycle(buf),
        }
    }

    pub(super) fn transfer_failed(&mut self, cx: &mut ShardCx<'_>, task: TaskKey, asc: Asc) {
        let slot = self.slot(task);
        let buf = std::mem::take(&mut slot.buf);
        let begun = slot.begun;
        match slot.command.take() {
            Some(command) => {
                self.receiving = self.receiving.saturating_sub(1);
                cx.data_out_failed(command, buf, Sense::aborted(asc));
            }
            None => cx.pool().recycle(buf),
        }
        if !begun {
            // Refused by its header: the core never saw the command, so nobody else answers it.
            let sense = Sense::aborted(asc).emit_fixed();
            let answer = Answer {
                status: Status::CheckCondition.code(),
                sense: &sense,
                ..Answer::default()
            };
            self.wire.respond(&mut self.session, task, &answer);
        }
    }

    /// The core is done with a command.
    pub(in crate::io) fn finished(&mut self, cx: &mut ShardCx<'_>, finished: Finished) {
        self.in_core = self.in_core.saturating_sub(1);
        let slot = usize::try_from(finished.tag)
            .ok()
            .and_then(|index| self.slots.get_mut(index));
        let Some((slot, key)) = slot.and_then(|slot| slot.key.map(|key| (slot, key))) else {
            return cx.pool().recycle(finished.buf);
        };
        if slot.command.take().is_some() {
            self.receiving = self.receiving.saturating_sub(1);
        }
        slot.begun = false;
        let since = std::mem::take(&mut slot.since);
        let unused = std::mem::replace(&mut slot.buf, finished.buf);
        cx.pool().recycle(unused);
        self.took(since, cx.now());
        let kept = finished.respond && {
            let (total_in, total_out) = match finished.transfer {
                Transfer::None => (0, 0),
                Transfer::In(len) => (len as u64, 0),
                Transfer::Out(len) | Transfer::OutExactly(len) | Transfer::OutAtMost(len) => {
                    (0, len as u64)
                }
            };
            let answer = Answer {
                status: finished.status.code(),
                sense: finished
                    .sense
                    .as_ref()
                    .map_or(&[], |sense| sense.as_slice()),
                data_in: u32::try_from(finished.data_in).unwrap_or(u32::MAX),
                total_in,
                total_out,
            };
            self.wire.respond(&mut self.session, key, &answer)
        };
        if !finished.respond {
            self.wire.abandon(&mut self.session, key);
        }
        if !kept {
            let slot = self.slot(key);
            let buf = std::mem::take(&mut slot.buf);
            cx.pool().recycle(buf);
        }
        cx.wants_flush();
    }
}

fn attribute(wire: pdu::TaskAttribute) -> TaskAttribute {
    match wire {
        pdu::TaskAttribute::Untagged | pdu::TaskAttribute::Simple => TaskAttribute::Simple,
        pdu::TaskAttribute::Ordered => TaskAttribute::Ordered,
        pdu::TaskAttribute::HeadOfQueue => TaskAttribute::HeadOfQueue,
        pdu::TaskAttribute::Aca => TaskAttribute::Aca,
    }
}
