//! WRITE SAME (10), (16) (SBC-4 5.48, 5.49): zeroes by the store's own means, other patterns in bounded pieces.

use std::sync::Arc;

use lunforge_core::buffer::IoBuf;
use lunforge_core::cdb::Cdb;
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::sense::Sense;
use lunforge_core::status::Status;
use lunforge_core::units::{BlockCount, Lba};

use crate::disk::Disk;
use crate::drive::{self, Machine, Next, Step};
use crate::outcome::{Doing, of_error};
use crate::store::{Capabilities, StoreError, StoreOp, StoreResult};

/// Bytes of pattern written at a time.
const PIECE: usize = 1 << 20;
/// Up to so many bytes the command stays on its shard.
const SHORT: u64 = 256 << 10;

/// The fields of the CDB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) lba: Lba,
    pub(crate) blocks: BlockCount,
    pub(crate) unmap: bool,
    pub(crate) anchor: bool,
    pub(crate) ndob: bool,
}

impl Fields {
    /// Those of a WRITE SAME, `None` for other commands.
    pub(crate) fn of(cdb: &Cdb) -> Option<Self> {
        let Cdb::WriteSame {
            lba,
            blocks,
            unmap,
            anchor,
            ndob,
            ..
        } = *cdb
        else {
            return None;
        };
        Some(Self {
            lba,
            blocks,
            unmap,
            anchor,
            ndob,
        })
    }
}

/// Checks what the extent check does not: `length_at` is the CDB byte of NUMBER OF LOGICAL BLOCKS.
pub(crate) fn check(disk: &Disk, fields: Fields, length_at: u16) -> Result<(), Sense> {
    // ANC_SUP is 0 in VPD page B2h.
    if fields.anchor {
        return Err(Sense::invalid_field_in_cdb(1, Some(4)));
    }
    if fields.unmap && !disk.settings.thin {
        // Write protection weighs more than what the unit would not do anyway.
        disk.check_writable()?;
        return Err(Sense::invalid_field_in_cdb(1, Some(3)));
    }
    // WSNZ is 1 in VPD page B0h.
    if fields.blocks.is_zero() || fields.blocks.0 > disk.max_write_same_blocks() {
        return Err(Sense::invalid_field_in_cdb(length_at, Some(7)));
    }
    Ok(())
}

/// Writes the block of Data-Out, or zeroes, over the extent.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>, fields: Fields) -> Execute {
    let data = execution.take_buf();
    let block = usize::try_from(disk.block().bytes()).unwrap_or(usize::MAX);
    let pattern = match data.contiguous(0..block) {
        _ if fields.ndob => vec![0; block],
        Some(data) => data.to_vec(),
        // The initiator sent less than the one block.
        None => return Execute::Done(Sense::invalid_field_in_cdb(1, Some(0)).into()),
    };
    let zero = pattern.iter().all(|&byte| byte == 0);
    let len = disk.bytes(fields.blocks);
    let mut machine = WriteSame {
        offset: disk.offset(fields.lba),
        len,
        done: 0,
        step: 0,
        may_unmap: fields.unmap,
        pattern,
        stage: if zero && disk.has(Capabilities::WRITE_ZEROES) {
            Stage::Zero
        } else {
            Stage::Pattern
        },
    };
    let next = machine.next(disk, None);
    let step = Step::Machine(Box::new(machine));
    if len <= SHORT {
        drive::start(disk, execution, step, next)
    } else {
        drive::start_long(disk, execution, step, next)
    }
}

#[derive(Clone, Copy)]
enum Stage {
    Zero,
    Pattern,
    Flush,
}

struct WriteSame {
    offset: u64,
    len: u64,
    done: u64,
    /// Bytes of the operation in the store.
    step: u64,
    may_unmap: bool,
    pattern: Vec<u8>,
    stage: Stage,
}

impl WriteSame {
    fn next(&mut self, disk: &Disk, buf: Option<IoBuf>) -> Next {
        let left = self.len - self.done;
        let offset = self.offset.saturating_add(self.done);
        if left == 0 {
            if disk.must_be_stable(false) {
                self.stage = Stage::Flush;
                return Next::Submit(StoreOp::Flush);
            }
            return Next::end(Outcome::good());
        }
        if matches!(self.stage, Stage::Zero) {
            self.step = left.min(disk.discard_chunk());
            return Next::Submit(StoreOp::WriteZeroes {
                offset,
                len: self.step,
                may_unmap: self.may_unmap,
            });
        }
        let buf = match buf.map_or_else(|| self.fill(disk), Ok) {
            Ok(buf) => buf,
            Err(outcome) => return Next::end(outcome),
        };
        self.step = left.min(buf.len() as u64);
        let range = 0..usize::try_from(self.step).unwrap_or(buf.len());
        Next::Submit(StoreOp::Write {
            offset,
            buf,
            range,
            fua: false,
        })
    }

    /// A buffer full of the pattern.
    fn fill(&self, disk: &Disk) -> Result<IoBuf, Outcome> {
        let most = usize::try_from(disk.bytes(BlockCount(disk.max_transfer_blocks())))
            .unwrap_or(PIECE)
            .min(PIECE);
        let len = usize::try_from(self.len - self.done).map_or(most, |left| left.min(most));
        let mut buf = IoBuf::unpooled(len).map_err(|_| Outcome::status(Status::TaskSetFull))?;
        for slice in buf.slices_mut(0..len) {
            for part in slice.chunks_mut(self.pattern.len().max(1)) {
                for (to, from) in part.iter_mut().zip(&self.pattern) {
                    *to = *from;
                }
            }
        }
        Ok(buf)
    }
}

impl Machine for WriteSame {
    fn advance(&mut self, disk: &Disk, result: StoreResult, buf: Option<IoBuf>) -> Next {
        match (result, self.stage) {
            (Ok(_), Stage::Flush) => Next::end(Outcome::good()),
            (Ok(_), _) => {
                self.done += self.step;
                self.next(disk, buf)
            }
            // The store said it could and now says no: write the zeroes.
            (Err(StoreError::Unsupported), Stage::Zero) => {
                self.stage = Stage::Pattern;
                self.next(disk, None)
            }
            (Err(error), _) => Next::end(of_error(error, Doing::Write, disk.block())),
        }
    }
}
