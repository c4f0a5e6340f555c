//! READ and WRITE: the part that both share.

use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::Outcome;

use crate::disk::Disk;
use crate::drive::Next;
use crate::outcome::{Doing, of_error};
use crate::store::{Capabilities, StoreOp, StoreResult};

/// A plain transfer between the command's buffer and the store.
pub(crate) struct Plain {
    pub(crate) doing: Doing,
    /// Bytes of the command.
    pub(crate) len: usize,
    /// Offset of the data on the medium.
    pub(crate) offset: u64,
    pub(crate) stage: Stage,
    /// A flush must follow: the write has to be stable and the store has no FUA.
    pub(crate) flush_after: bool,
}

/// Which operation is in the store.
pub(crate) enum Stage {
    /// READ with FUA: written data goes to the medium first (SBC-4 5.14); the buffer waits here.
    FlushFirst(IoBuf),
    /// The transfer.
    Transfer,
    /// The write is followed by a flush, since the store has no FUA.
    FlushAfter,
}

impl Plain {
    /// The first operation of a READ.
    pub(crate) fn read(disk: &Disk, offset: u64, buf: IoBuf, fua: bool) -> (Self, Next) {
        let len = buf.len();
        let this = |stage| Self {
            doing: Doing::Read,
            len,
            offset,
            stage,
            flush_after: false,
        };
        if fua && disk.has(Capabilities::VOLATILE_CACHE) && !disk.read_only() {
            return (this(Stage::FlushFirst(buf)), Next::Submit(StoreOp::Flush));
        }
        (
            this(Stage::Transfer),
            Next::Submit(StoreOp::Read {
                offset,
                buf,
                range: 0..len,
            }),
        )
    }

    /// The first operation of a WRITE.
    pub(crate) fn write(disk: &Disk, offset: u64, buf: IoBuf, fua: bool) -> (Self, Next) {
        let len = buf.len();
        let stable = disk.must_be_stable(fua);
        let fua = stable && disk.has(Capabilities::FUA);
        let this = Self {
            doing: Doing::Write,
            len,
            offset,
            stage: Stage::Transfer,
            flush_after: stable && !fua,
        };
        (
            this,
            Next::Submit(StoreOp::Write {
                offset,
                buf,
                range: 0..len,
                fua,
            }),
        )
    }

    pub(crate) fn advance(&mut self, disk: &Disk, result: StoreResult, buf: Option<IoBuf>) -> Next {
        if let Err(error) = result {
            return Next::Done(
                of_error(error, self.doing, disk.block()),
                buf.unwrap_or_default(),
            );
        }
        match std::mem::replace(&mut self.stage, Stage::FlushAfter) {
            Stage::FlushFirst(buf) => {
                self.stage = Stage::Transfer;
                Next::Submit(StoreOp::Read {
                    offset: self.offset,
                    buf,
                    range: 0..self.len,
                })
            }
            Stage::Transfer if self.doing == Doing::Read => match buf {
                Some(buf) => Next::Done(Outcome::data(self.len), buf),
                // A store that loses the buffer of a read has nothing to answer with.
                None => Next::end(of_error(
                    crate::store::StoreError::Dropped,
                    Doing::Read,
                    disk.block(),
                )),
            },
            Stage::Transfer if self.flush_after => {
                drop(buf);
                Next::Submit(StoreOp::Flush)
            }
            Stage::Transfer | Stage::FlushAfter => {
                Next::Done(Outcome::good(), buf.unwrap_or_default())
            }
        }
    }
}
