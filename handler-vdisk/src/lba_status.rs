//! GET LBA STATUS (SBC-4 5.6).

use std::sync::Arc;

use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::units::Lba;

use crate::disk::Disk;
use crate::drive::{self, Machine, Next, Step};
use crate::outcome::{Doing, of_error};
use crate::store::{Answer, Capabilities, StoreOp, StoreResult};

/// Descriptors per answer, to bound the work.
pub(crate) const MAX_DESCRIPTORS: usize = 64;
const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;
/// PROVISIONING STATUS: mapped or unknown, and deallocated.
const MAPPED: u8 = 0;
const DEALLOCATED: u8 = 1;

/// Bytes that an answer can have.
pub(crate) const MAX_LEN: usize = HEADER + MAX_DESCRIPTORS * DESCRIPTOR;

/// Asks the store from `lba` on; the answer goes into the command's buffer.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>, lba: Lba) -> Execute {
    let buf = execution.take_buf();
    let room = buf.len().saturating_sub(HEADER) / DESCRIPTOR;
    let mut machine = LbaStatus {
        at: lba.0,
        first: lba.0,
        runs: Vec::new(),
        room: room.clamp(1, MAX_DESCRIPTORS),
        asks: 256,
        buf,
    };
    if !disk.has(Capabilities::ALLOCATION_STATUS) {
        // Unknown counts as mapped.
        machine.runs.push((disk.blocks().0 - lba.0, MAPPED));
        let next = machine.answer();
        return drive::start(disk, execution, Step::Machine(Box::new(machine)), next);
    }
    let next = machine.ask(disk);
    drive::start(disk, execution, Step::Machine(Box::new(machine)), next)
}

struct LbaStatus {
    first: u64,
    at: u64,
    /// Lengths in blocks and their status.
    runs: Vec<(u64, u8)>,
    room: usize,
    /// Questions to the store that are left: a bound of work where runs are shorter than a block.
    asks: u32,
    buf: IoBuf,
}

impl LbaStatus {
    fn ask(&self, disk: &Disk) -> Next {
        Next::Submit(StoreOp::AllocationStatus {
            offset: disk.offset(Lba(self.at)),
        })
    }

    fn take(&mut self, blocks: u64, status: u8) {
        self.at = self.at.saturating_add(blocks);
        match self.runs.last_mut() {
            Some((len, last)) if *last == status => *len = len.saturating_add(blocks),
            _ => self.runs.push((blocks, status)),
        }
    }

    fn answer(&mut self) -> Next {
        let mut out = Vec::with_capacity(HEADER + self.runs.len() * DESCRIPTOR);
        // PARAMETER DATA LENGTH counts what follows it.
        let len = u32::try_from(4 + self.runs.len() * DESCRIPTOR).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        let mut lba = self.first;
        for &(blocks, status) in &self.runs {
            out.extend_from_slice(&lba.to_be_bytes());
            out.extend_from_slice(&u32::try_from(blocks).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(&[status, 0, 0, 0]);
            lba = lba.saturating_add(blocks);
        }
        let mut buf = std::mem::take(&mut self.buf);
        let sent = buf.write_at(0, &out);
        Next::Done(Outcome::data(sent), buf)
    }
}

impl Machine for LbaStatus {
    fn advance(&mut self, disk: &Disk, result: StoreResult, _buf: Option<IoBuf>) -> Next {
        let found = match result {
            Ok(Answer::Allocation(found)) => found,
            Ok(Answer::Done) => {
                return Next::end(of_error(
                    crate::store::StoreError::Dropped,
                    Doing::Read,
                    disk.block(),
                ));
            }
            Err(error) => return Next::end(of_error(error, Doing::Read, disk.block())),
        };
        let shift = disk.block().shift();
        let left = disk.blocks().0.saturating_sub(self.at);
        // A block counts as deallocated only when all of it is; one that is partly mapped is mapped.
        let (blocks, status) = match (found.mapped, found.len >> shift) {
            (false, 0) => (1, MAPPED),
            (false, whole) => (whole, DEALLOCATED),
            (true, _) => (found.len.div_ceil(1 << shift), MAPPED),
        };
        // The field has 32 bits.
        self.take(blocks.min(left).min(u64::from(u32::MAX)), status);
        self.asks = self.asks.saturating_sub(1);
        let full = self.asks == 0
            || self.runs.len() >= self.room
            || self
                .runs
                .last()
                .is_some_and(|run| run.0 >= u64::from(u32::MAX));
        if full || self.at >= disk.blocks().0 {
            self.answer()
        } else {
            self.ask(disk)
        }
    }
}
