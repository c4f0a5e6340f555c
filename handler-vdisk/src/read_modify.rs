//! Commands that read an extent, look at it, and then write it: COMPARE AND WRITE and ORWRITE.
//!
//! Nothing overlapping runs meanwhile: their rows have [`Attributes::LBA_EXCLUSIVE`], which the pipeline keeps. The
//! extent is read in bounded pieces and written by one store operation, so that a command that ends early has written
//! nothing.
//!
//! [`Attributes::LBA_EXCLUSIVE`]: lunforge_core::cdb::Attributes::LBA_EXCLUSIVE

use std::ops::Range;
use std::sync::Arc;

use lunforge_core::buffer::{IoBuf, SEGMENT_LEN};
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::sense::Sense;
use lunforge_core::status::Status;
use lunforge_core::units::Lba;

use crate::disk::Disk;
use crate::drive::{self, Machine, Next, Step};
use crate::outcome::{Doing, of_error};
use crate::provisioning::Provisioning;
use crate::store::{Capabilities, StoreError, StoreOp, StoreResult};

/// Bytes read at a time: one segment, so that a piece is one slice.
const PIECE: usize = SEGMENT_LEN;

/// What is done with the bytes of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// They must equal the first half of the Data-Out; the second half is written.
    Compare,
    /// They are ORed into the Data-Out, which is written.
    Or,
}

/// Runs the command over the `data` that arrived, which is whole: a multiple of the block, twice the extent for
/// [`Rule::Compare`].
pub(crate) fn start(
    disk: &Arc<Disk>,
    execution: &mut Execution<'_>,
    rule: Rule,
    lba: Lba,
    fua: bool,
    data: IoBuf,
) -> Execute {
    let len = match rule {
        Rule::Compare => data.len() / 2,
        Rule::Or => data.len(),
    };
    if len == 0 {
        return Execute::Done(Outcome::good());
    }
    Provisioning::changed(disk, len as u64);
    let mut machine = ReadModify {
        rule,
        offset: disk.offset(lba),
        len,
        done: 0,
        stable: disk.must_be_stable(fua),
        data,
        stage: Stage::Read,
    };
    let next = machine.read(None);
    drive::start(disk, execution, Step::Machine(Box::new(machine)), next)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Read,
    Write,
    Flush,
}

struct ReadModify {
    rule: Rule,
    offset: u64,
    /// Bytes of the extent.
    len: usize,
    /// Bytes looked at.
    done: usize,
    /// The write must be on the medium before GOOD.
    stable: bool,
    data: IoBuf,
    stage: Stage,
}

impl ReadModify {
    fn piece(&self) -> Range<usize> {
        self.done..self.done.saturating_add(PIECE).min(self.len)
    }

    fn read(&mut self, reuse: Option<IoBuf>) -> Next {
        let piece = self.piece().len();
        let buf = match reuse.map_or_else(|| IoBuf::unpooled(piece), Ok) {
            Ok(buf) => buf,
            Err(_) => return Next::end(Outcome::status(Status::TaskSetFull)),
        };
        Next::Submit(StoreOp::Read {
            offset: self.offset.saturating_add(self.done as u64),
            buf,
            range: 0..piece,
        })
    }

    /// A piece has been read.
    fn look(&mut self, disk: &Disk, buf: Option<IoBuf>) -> Next {
        let piece = self.piece();
        let Some(buf) = buf else { return lost(disk) };
        let Some(got) = buf.contiguous(0..piece.len()) else {
            return lost(disk);
        };
        match self.rule {
            Rule::Compare => {
                if let Some(at) = difference(&self.data, piece.clone(), got) {
                    return Next::end(Sense::miscompare(at as u64));
                }
            }
            Rule::Or => or(&mut self.data, piece.clone(), got),
        }
        self.done = piece.end;
        if self.done < self.len {
            self.read(Some(buf))
        } else {
            self.write(disk)
        }
    }

    fn write(&mut self, disk: &Disk) -> Next {
        self.stage = Stage::Write;
        let range = match self.rule {
            Rule::Compare => self.len..self.len.saturating_mul(2),
            Rule::Or => 0..self.len,
        };
        Next::Submit(StoreOp::Write {
            offset: self.offset,
            buf: std::mem::take(&mut self.data),
            range,
            fua: self.stable && disk.has(Capabilities::FUA),
        })
    }
}

/// Place in `data` of the first byte of `range` that differs from `got`.
fn difference(data: &IoBuf, range: Range<usize>, got: &[u8]) -> Option<usize> {
    let mut at = 0usize;
    for want in data.slices(range.clone()) {
        let part = got.get(at..at.saturating_add(want.len()))?;
        if part != want {
            let within = part.iter().zip(want).position(|(a, b)| a != b)?;
            return Some(range.start.saturating_add(at).saturating_add(within));
        }
        at = at.saturating_add(want.len());
    }
    None
}

/// ORs `got` into `range` of `data`.
fn or(data: &mut IoBuf, range: Range<usize>, got: &[u8]) {
    let mut from = got.iter();
    for slice in data.slices_mut(range) {
        for (to, from) in slice.iter_mut().zip(&mut from) {
            *to |= from;
        }
    }
}

fn lost(disk: &Disk) -> Next {
    Next::end(of_error(StoreError::Dropped, Doing::Read, disk.block()))
}

impl Machine for ReadModify {
    fn advance(&mut self, disk: &Disk, result: StoreResult, buf: Option<IoBuf>) -> Next {
        let doing = match self.stage {
            Stage::Read => Doing::Read,
            Stage::Write | Stage::Flush => Doing::Write,
        };
        if let Err(error) = result {
            return Next::end(of_error(error, doing, disk.block()));
        }
        match self.stage {
            Stage::Read => self.look(disk, buf),
            Stage::Write if self.stable && !disk.has(Capabilities::FUA) => {
                self.stage = Stage::Flush;
                Next::Submit(StoreOp::Flush)
            }
            Stage::Write | Stage::Flush => Next::end(Outcome::good()),
        }
    }
}
