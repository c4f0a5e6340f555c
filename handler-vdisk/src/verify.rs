//! VERIFY and WRITE AND VERIFY (10), (12), (16) (SBC-4 5.35, 5.44): the medium is read back in bounded pieces.

use std::sync::Arc;

use lunforge_core::buffer::{IoBuf, SEGMENT_LEN};
use lunforge_core::cdb::{ByteCheck, Cdb};
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::sense::Sense;
use lunforge_core::status::Status;
use lunforge_core::units::Lba;

use crate::check::unsupported;
use crate::disk::Disk;
use crate::drive::{self, Machine, Next, Step};
use crate::outcome::{Doing, of_error};
use crate::store::{Capabilities, StoreError, StoreOp, StoreResult};
use crate::write::whole_blocks;

/// Bytes read back at a time: one segment, so that a piece is one slice.
const PIECE: usize = SEGMENT_LEN;

/// Verifies an extent against the command's Data-Out.
pub(crate) fn verify(disk: &Arc<Disk>, execution: &mut Execution<'_>) -> Execute {
    let Cdb::Verify {
        lba,
        blocks,
        bytchk,
        ..
    } = *execution.cdb()
    else {
        return Execute::Done(unsupported().into());
    };
    let len = disk.bytes(blocks);
    if len == 0 {
        return Execute::Done(Outcome::good());
    }
    let data = execution.take_buf();
    let needed = match bytchk {
        ByteCheck::None => 0,
        ByteCheck::Whole => len,
        ByteCheck::OneBlock => u64::from(disk.block().bytes()),
    };
    if (data.len() as u64) < needed {
        return Execute::Done(Sense::invalid_field_in_cdb(1, Some(2)).into());
    }
    let mut machine = Verify::new(disk, lba, len, bytchk, data);
    let next = machine.after_write(disk);
    begin(disk, execution, machine, next)
}

/// Writes the Data-Out stably and verifies it.
pub(crate) fn write_and_verify(
    disk: &Arc<Disk>,
    execution: &mut Execution<'_>,
    lba: Lba,
    bytchk: ByteCheck,
) -> Execute {
    let mut data = execution.take_buf();
    data.truncate(whole_blocks(disk, data.len()));
    if data.is_empty() {
        return Execute::Done(Outcome::good());
    }
    let len = data.len();
    let fua = disk.has(Capabilities::FUA);
    let mut machine = Verify::new(disk, lba, len as u64, bytchk, IoBuf::empty());
    machine.stage = Stage::Write { flushed: fua };
    let next = Next::Submit(StoreOp::Write {
        offset: disk.offset(lba),
        buf: data,
        range: 0..len,
        fua,
    });
    begin(disk, execution, machine, next)
}

fn begin(disk: &Arc<Disk>, execution: &mut Execution<'_>, machine: Verify, next: Next) -> Execute {
    let short = machine.len <= PIECE as u64;
    let step = Step::Machine(Box::new(machine));
    if short {
        drive::start(disk, execution, step, next)
    } else {
        drive::start_long(disk, execution, step, next)
    }
}

enum Stage {
    /// The data is being written; `flushed`: stably.
    Write { flushed: bool },
    /// Cached data goes to the medium before it is read back.
    Flush,
    /// A piece is being read.
    Read,
}

struct Verify {
    offset: u64,
    len: u64,
    done: u64,
    bytchk: ByteCheck,
    expected: IoBuf,
    block: usize,
    stage: Stage,
}

impl Verify {
    fn new(disk: &Disk, lba: Lba, len: u64, bytchk: ByteCheck, expected: IoBuf) -> Self {
        let block = usize::try_from(disk.block().bytes()).unwrap_or(512);
        Self {
            offset: disk.offset(lba),
            len,
            done: 0,
            bytchk,
            expected,
            block,
            stage: Stage::Read,
        }
    }

    /// SBC-4 5.35: cached data is written to the medium before it is verified.
    fn after_write(&mut self, disk: &Disk) -> Next {
        if disk.has(Capabilities::VOLATILE_CACHE) && !disk.read_only() {
            self.stage = Stage::Flush;
            return Next::Submit(StoreOp::Flush);
        }
        self.read(None)
    }

    fn piece(&self) -> usize {
        usize::try_from(self.len - self.done).map_or(PIECE, |left| left.min(PIECE))
    }

    fn read(&mut self, reuse: Option<IoBuf>) -> Next {
        self.stage = Stage::Read;
        let piece = self.piece();
        let buf = match reuse
            .filter(|buf| buf.len() >= piece)
            .map_or_else(|| IoBuf::unpooled(piece), Ok)
        {
            Ok(buf) => buf,
            Err(_) => return Next::end(Outcome::status(Status::TaskSetFull)),
        };
        Next::Submit(StoreOp::Read {
            offset: self.offset.saturating_add(self.done),
            buf,
            range: 0..piece,
        })
    }

    fn check(&mut self, disk: &Disk, buf: Option<IoBuf>) -> Next {
        let piece = self.piece();
        let Some(buf) = buf else {
            return Next::end(of_error(StoreError::Dropped, Doing::Read, disk.block()));
        };
        let Some(got) = buf.contiguous(0..piece) else {
            return Next::end(of_error(StoreError::Dropped, Doing::Read, disk.block()));
        };
        if let Some(at) = self.difference(got) {
            return Next::end(Sense::miscompare(at));
        }
        self.done += piece as u64;
        if self.done >= self.len {
            Next::end(Outcome::good())
        } else {
            self.read(Some(buf))
        }
    }

    /// Data-Out offset of the first byte that differs from `got`.
    fn difference(&self, got: &[u8]) -> Option<u64> {
        match self.bytchk {
            ByteCheck::None => None,
            ByteCheck::Whole => {
                let start = usize::try_from(self.done).ok()?;
                let mut at = 0;
                for want in self.expected.slices(start..start.saturating_add(got.len())) {
                    let part = got.get(at..at + want.len())?;
                    if let Some(i) = mismatch(part, want) {
                        return Some((start + at + i) as u64);
                    }
                    at += want.len();
                }
                None
            }
            ByteCheck::OneBlock => {
                let want = self.expected.contiguous(0..self.block)?;
                got.chunks(self.block)
                    .find_map(|part| mismatch(part, want))
                    .map(|i| i as u64)
            }
        }
    }
}

/// Index of the first difference. Equal slices, the usual case, are compared at once.
fn mismatch(a: &[u8], b: &[u8]) -> Option<usize> {
    if a == b {
        None
    } else {
        a.iter().zip(b).position(|(a, b)| a != b)
    }
}

impl Machine for Verify {
    fn advance(&mut self, disk: &Disk, result: StoreResult, buf: Option<IoBuf>) -> Next {
        let doing = if matches!(self.stage, Stage::Read) {
            Doing::Read
        } else {
            Doing::Write
        };
        if let Err(error) = result {
            return Next::end(of_error(error, doing, disk.block()));
        }
        match self.stage {
            Stage::Write { flushed } => {
                self.expected = buf.unwrap_or_default();
                if (self.expected.len() as u64) < self.len {
                    return Next::end(of_error(StoreError::Dropped, Doing::Write, disk.block()));
                }
                if flushed {
                    self.read(None)
                } else {
                    self.after_write(disk)
                }
            }
            Stage::Flush => self.read(None),
            Stage::Read => self.check(disk, buf),
        }
    }
}
