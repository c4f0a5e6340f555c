//! Commands: their data, and their answers.
//!
//! Data-Out is read from the initiator's memory into the command's buffer, Data-In written to it. The response goes behind
//! a write on the same channel, so it arrives later; nobody waits. As long as something is read for a command, it is not
//! ended towards the initiator: who has a response takes the memory away.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::Transfer;
use lunforge_core::pipeline::{Begun, CommandRequest, Finished};
use lunforge_core::sense::Sense;
use lunforge_core::shard::ShardCx;
use lunforge_core::shard::completion::CommandKey;
use lunforge_core::status::Status;
use lunforge_core::task_set::TaskAttribute;

use super::open::Open;
use crate::io::service::Barrier;
use crate::proto::channel::Answer;
use crate::proto::data::{DataBuffer, Remote, cut, read_table};
use crate::proto::error::{Consequence, Violation};
use crate::proto::iu::{self, FormatError};
use crate::proto::tags::TaskId;

/// Memory for so many parts is kept between commands. A table of thousands is an initiator's to have, not to keep at each place.
const KEPT: usize = 64;

/// A data buffer of the initiator.
#[derive(Debug, Default)]
struct Buffer {
    len: u32,
    /// Its parts, unless they are to be fetched.
    parts: Vec<Remote>,
    /// The table that has its parts.
    table: Option<Remote>,
}

impl Buffer {
    fn set(&mut self, buffer: &DataBuffer<'_>) {
        self.parts.clear();
        self.table = None;
        self.len = buffer.len();
        match buffer {
            DataBuffer::None | DataBuffer::Immediate(_) => {}
            DataBuffer::Direct(part) => self.parts.push(*part),
            DataBuffer::Indirect(table) if table.is_complete() => self.parts.extend(table.parts()),
            DataBuffer::Indirect(table) => self.table = Some(table.table),
        }
    }

    /// Nothing is moved any more.
    fn forget(&mut self) {
        self.parts.clear();
        self.parts.shrink_to(KEPT);
    }
}

/// What is being read for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Reading {
    #[default]
    Nothing,
    /// The parts of its data-out buffer.
    OutTable,
    /// Its Data-Out.
    DataOut,
    /// The parts of its data-in buffer.
    InTable,
}

/// What is kept of a command, at its place in the channel. A place is used again when its command is answered; what is
/// read has ended by then.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) lun: [u8; 8],
    /// The core has it.
    pub(super) in_core: bool,
    /// The core waits for its Data-Out.
    command: Option<CommandKey>,
    data_out: Buffer,
    data_in: Buffer,
    reading: Reading,
    /// Where Data-Out goes, while its parts are fetched.
    buf: IoBuf,
    /// How it ended, while something is read.
    finished: Option<Finished>,
    pub(super) barriers: Vec<Arc<Barrier>>,
}

impl Slot {
    pub(super) fn is_reading(&self) -> bool {
        self.reading != Reading::Nothing
    }
}

/// The transport has no memory for a moment.
fn no_memory() -> Sense {
    Sense::aborted(Asc::INSUFFICIENT_RESOURCES)
}

fn malformed(error: FormatError) -> Sense {
    match Violation::Format(error).consequence() {
        Consequence::Check(sense) => *sense,
        _ => Sense::illegal_request(Asc::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT),
    }
}

impl Open {
    pub(super) fn command(
        &mut self,
        cx: &mut ShardCx<'_>,
        task: TaskId,
        command: &iu::Command<'_>,
        attribute: TaskAttribute,
    ) {
        let index = task.index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.lun = command.lun;
        slot.in_core = true;
        slot.data_out.set(&command.data_out);
        slot.data_in.set(&command.data_in);
        self.in_core += 1;
        let request = CommandRequest {
            nexus: self.session.nexus,
            lun: command.lun,
            cdb: command.cdb,
            attribute,
            tag: task.to_u64(),
            expected_in: slot.data_in.len as usize,
            expected_out: slot.data_out.len as usize,
        };
        if let Begun::DataOut {
            command: key,
            mut buf,
        } = cx.begin(&request)
        {
            if let DataBuffer::Immediate(data) = command.data_out {
                buf.write_at(0, data);
                return cx.data_out(key, buf);
            }
            slot.command = Some(key);
            self.fetch(cx, task.index, buf);
        }
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)
    }

    /// Reads Data-Out into its buffer, or first where it is.
    fn fetch(&mut self, cx: &mut ShardCx<'_>, index: u32, buf: IoBuf) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return cx.pool().recycle(buf);
        };
        if let Some(table) = slot.data_out.table.take() {
            return match cx.pool().take(table.len as usize) {
                Ok(into) => {
                    slot.buf = buf;
                    slot.reading = Reading::OutTable;
                    self.endpoint.read(index.into(), into, &[table]);
                    self.reads_out += 1;
                }
                Err(_) => self.data_out_failed(cx, index, buf, no_memory()),
            };
        }
        cut(&mut slot.data_out.parts, buf.len());
        slot.reading = Reading::DataOut;
        self.endpoint.read(index.into(), buf, &slot.data_out.parts);
        self.reads_out += 1;
    }

    fn data_out_failed(&mut self, cx: &mut ShardCx<'_>, index: u32, buf: IoBuf, sense: Sense) {
        match self.slot(index).and_then(|slot| slot.command.take()) {
            Some(command) => cx.data_out_failed(command, buf, sense),
            None => cx.pool().recycle(buf),
        }
    }

    /// Something was read, or could not be: then the connection is lost.
    pub(super) fn read(&mut self, cx: &mut ShardCx<'_>, id: u64, buf: IoBuf, ok: bool) {
        let index = u32::try_from(id).unwrap_or(u32::MAX);
        let Some(slot) = self.slot(index) else {
            return cx.pool().recycle(buf);
        };
        // An aborted command has ended while this was read.
        let wanted = ok && (slot.reading == Reading::InTable || slot.finished.is_none());
        match std::mem::take(&mut slot.reading) {
            Reading::DataOut if wanted => match slot.command.take() {
                Some(command) => cx.data_out(command, buf),
                None => cx.pool().recycle(buf),
            },
            Reading::OutTable if wanted => self.out_table(cx, index, buf),
            Reading::InTable if wanted => self.in_table(cx, index, buf),
            _ => {
                let unused = std::mem::take(&mut slot.buf);
                cx.pool().recycle(unused);
                cx.pool().recycle(buf);
            }
        }
        self.read_on(cx, index);
    }

    /// What waited for the end of reading goes on, unless there is more to read.
    fn read_on(&mut self, cx: &mut ShardCx<'_>, index: u32) {
        let Some(slot) = self.slot(index).filter(|slot| !slot.is_reading()) else {
            return;
        };
        let barriers = std::mem::take(&mut slot.barriers);
        let before = self.writes_out;
        if let Some(finished) = self.slot(index).and_then(|slot| slot.finished.take()) {
            self.conclude(cx, index, finished);
        }
        if self.writes_out > before {
            let writes = self.writes_out;
            let behind = barriers.into_iter().map(|barrier| (writes, barrier));
            self.behind_writes.extend(behind);
        }
    }

    fn out_table(&mut self, cx: &mut ShardCx<'_>, index: u32, table: IoBuf) {
        let Some(slot) = self.slot(index) else {
            return cx.pool().recycle(table);
        };
        let data = std::mem::take(&mut slot.buf);
        let Buffer { len, parts, .. } = &mut slot.data_out;
        let read = read_table(whole(&table), *len, parts);
        cx.pool().recycle(table);
        match read {
            Ok(()) => self.fetch(cx, index, data),
            Err(error) => {
                let sense = malformed(FormatError::DataOut(error));
                self.data_out_failed(cx, index, data, sense);
            }
        }
    }

    fn in_table(&mut self, cx: &mut ShardCx<'_>, index: u32, table: IoBuf) {
        let Some(slot) = self.slot(index) else {
            return cx.pool().recycle(table);
        };
        let Buffer { len, parts, .. } = &mut slot.data_in;
        let read = read_table(whole(&table), *len, parts);
        cx.pool().recycle(table);
        if let Err(error) = read
            && let Some(finished) = slot.finished.take()
        {
            let sense = malformed(FormatError::DataIn(error));
            self.fail(cx, index, finished, &sense);
        }
    }

    /// The core is done with a command.
    pub(in crate::io) fn finished(&mut self, cx: &mut ShardCx<'_>, finished: Finished) {
        self.in_core = self.in_core.saturating_sub(1);
        let index = TaskId::from_u64(finished.tag).index;
        let Some(slot) = self.slot(index) else {
            return cx.pool().recycle(finished.buf);
        };
        slot.in_core = false;
        slot.command = None;
        if slot.is_reading() {
            slot.finished = Some(finished);
        } else {
            self.conclude(cx, index, finished);
        }
        cx.wants_flush();
    }

    /// Sends Data-In and the response.
    fn conclude(&mut self, cx: &mut ShardCx<'_>, index: u32, mut finished: Finished) {
        if !finished.respond || !self.wire.is_live() {
            return self.abandon(cx, index, finished.buf);
        }
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return self.abandon(cx, index, finished.buf);
        };
        let len = finished.data_in.min(slot.data_in.len as usize);
        let buf = std::mem::take(&mut finished.buf);
        if len == 0 {
            cx.pool().recycle(buf);
        } else if let Some(table) = slot.data_in.table.take() {
            finished.buf = buf;
            return match cx.pool().take(table.len as usize) {
                Ok(into) => {
                    slot.reading = Reading::InTable;
                    slot.finished = Some(finished);
                    self.endpoint.read(index.into(), into, &[table]);
                    self.reads_out += 1;
                }
                Err(_) => self.fail(cx, index, finished, &no_memory()),
            };
        } else {
            cut(&mut slot.data_in.parts, len);
            self.endpoint.write(index.into(), buf, &slot.data_in.parts);
            self.writes_out += 1;
        }
        self.respond(index, &finished);
    }

    fn abandon(&mut self, cx: &mut ShardCx<'_>, index: u32, buf: IoBuf) {
        cx.pool().recycle(buf);
        self.forget(index);
        let task = self.task(index);
        let mut tags = self.session.tags.lock();
        self.wire.abandon(&mut tags, task);
    }

    /// Answers a command whose data could not be moved.
    fn fail(&mut self, cx: &mut ShardCx<'_>, index: u32, mut finished: Finished, sense: &Sense) {
        cx.pool().recycle(std::mem::take(&mut finished.buf));
        let sense = sense.emit_fixed();
        self.answer(
            index,
            &Answer {
                status: Status::CheckCondition,
                sense: &sense,
                total_in: 0,
                total_out: 0,
            },
        );
    }

    fn respond(&mut self, index: u32, finished: &Finished) {
        let (total_in, total_out) = match finished.transfer {
            Transfer::None => (0, 0),
            Transfer::In(len) => (len as u64, 0),
            Transfer::Out(len) | Transfer::OutExactly(len) | Transfer::OutAtMost(len) => {
                (0, len as u64)
            }
        };
        let sense = finished.sense.as_ref();
        self.answer(
            index,
            &Answer {
                status: finished.status,
                sense: sense.map_or(&[], |sense| sense.as_slice()),
                total_in,
                total_out,
            },
        );
    }

    fn answer(&mut self, index: u32, answer: &Answer<'_>) {
        let task = self.task(index);
        self.forget(index);
        {
            let mut tags = self.session.tags.lock();
            self.wire.respond(&mut tags, task, answer, &mut self.out);
        }
        self.send();
    }

    fn forget(&mut self, index: u32) {
        if let Some(slot) = self.slot(index) {
            slot.data_out.forget();
            slot.data_in.forget();
        }
    }
}

/// The bytes of a table: no longer than a segment.
fn whole(table: &IoBuf) -> &[u8] {
    table.contiguous(0..table.len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_parts_is_not_kept_when_its_command_has_ended() {
        let mut buffer = Buffer::default();
        buffer.parts.extend([Remote::default(); 4096]);
        buffer.forget();
        assert!(buffer.parts.is_empty() && buffer.parts.capacity() <= 2 * KEPT);
    }
}
