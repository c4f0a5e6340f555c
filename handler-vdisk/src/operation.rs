//! Goes over the whole medium for FORMAT UNIT and SANITIZE, piece by piece, on the unit's long threads.
//!
//! ```text
//!   start ─▶ Background: running ─▶ pass 1 ─▶ flush ─▶ pass 2 … ─▶ flush ─▶ Background: idle or failed ─▶ token
//!               others: NOT READY        └ a piece: one store operation, then progress, then "stop?"
//! ```
//!
//! Ownership: the operation owns its buffer, its token and its place in [`Background`]; dropped unfinished it leaves the
//! failed state. A fence (a new epoch of the same owner) refuses pieces that have not reached the store; those are done
//! again in the new epoch. When the owner changes (another generation) the operation ends: it never writes for another.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::sense::{Sense, SenseKey};
use lunforge_core::shard::completion::CompletionToken;
use lunforge_core::units::BlockCount;

use crate::background::{Ending, Kind};
use crate::disk::Disk;
use crate::drive::{self, nobody};
use crate::provisioning::Provisioning;
use crate::store::{
    Capabilities, Stamp, StoreError, StoreOp, StoreReply, StoreResult, Submitted, Submitter, Waiter,
};

/// Bytes of a pattern written at a time.
const PIECE: u64 = 1 << 20;

/// What one pass puts on the medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Storage is given up; reads give zeroes.
    Discard,
    /// Zeroes, by the store's own means.
    Zeroes,
    /// This, from the start of each block on, as often as it fits. Not empty.
    Pattern(Vec<u8>),
}

/// An operation as its command asks for it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// At least one.
    pub(crate) passes: Vec<Fill>,
    /// GOOD comes now, not at the end.
    pub(crate) immed: bool,
}

/// Starts an operation. The command's exclusion ends with its start: from then on the disk refuses what may not run.
pub(crate) fn start(disk: &Arc<Disk>, execution: &mut Execution<'_>, plan: Plan) -> Execute {
    if let Err(sense) = disk.background.begin(plan.kind) {
        return Execute::Done(sense.into());
    }
    execution.end_exclusion();
    let token = (!plan.immed).then(|| execution.defer_cancellable());
    let mut job = Some(Box::new(Operation {
        disk: Arc::clone(disk),
        kind: plan.kind,
        passes: plan.passes,
        pass: 0,
        at: 0,
        piece: 0,
        stage: Stage::Fill,
        stamp: disk.settled_stamp(),
        size: disk.bytes(disk.blocks()),
        buf: None,
        token,
        over: false,
    }));
    disk.run_long(move || {
        if let Some(operation) = job.take() {
            operation.go();
        }
    });
    if plan.immed {
        Execute::Done(Outcome::good())
    } else {
        Execute::Pending
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fill,
    Flush,
}

struct Operation {
    disk: Arc<Disk>,
    kind: Kind,
    passes: Vec<Fill>,
    pass: usize,
    /// Bytes of the pass that are done.
    at: u64,
    /// Bytes of the operation in the store.
    piece: u64,
    stage: Stage,
    stamp: Stamp,
    size: u64,
    /// Full of the pass's pattern.
    buf: Option<IoBuf>,
    token: Option<CompletionToken>,
    over: bool,
}

impl Waiter for Operation {
    fn resume(self: Box<Self>, result: StoreResult, buf: Option<IoBuf>) {
        // Back to a thread that may block; a completion's thread has others to serve.
        let disk = Arc::clone(&self.disk);
        let mut reply = Some(StoreReply { result, buf });
        let mut job = Some(self);
        disk.run_long(move || {
            if let (Some(mut operation), Some(reply)) = (job.take(), reply.take()) {
                match operation.took(reply) {
                    None => operation.go(),
                    Some(ending) => operation.finish(ending),
                }
            }
        });
    }
}

impl Submitter for Option<Box<Operation>> {
    fn waiter(&mut self) -> Box<dyn Waiter> {
        match self.take() {
            Some(operation) => operation,
            None => nobody(),
        }
    }
}

impl Operation {
    fn go(self: Box<Self>) {
        let disk = Arc::clone(&self.disk);
        let stamp_of = |this: &Option<Box<Self>>| this.as_ref().map(|this| this.stamp);
        let mut this = Some(self);
        loop {
            let next = this.as_mut().map(|operation| operation.next());
            let (op, stamp) = match (next, stamp_of(&this)) {
                (Some(Ok(op)), Some(stamp)) => (op, stamp),
                (Some(Err(ending)), _) => {
                    if let Some(mut operation) = this {
                        operation.finish(ending);
                    }
                    return;
                }
                _ => return,
            };
            let submitted = drive::submit(&disk, op, &mut this, stamp, true);
            // Kept: it goes on in `resume`.
            let Some(operation) = &mut this else { return };
            let ending = match submitted {
                Some(Submitted::Done(reply)) => operation.took(reply),
                _ => Some(Ending::Failed),
            };
            if let Some(ending) = ending {
                operation.finish(ending);
                return;
            }
        }
    }

    /// The next piece, or that there is none.
    fn next(&mut self) -> Result<StoreOp, Ending> {
        self.listen()?;
        let disk = &*self.disk;
        if self.stage == Stage::Flush {
            return Ok(StoreOp::Flush);
        }
        let left = self.size.saturating_sub(self.at);
        let fill = self.passes.get(self.pass).ok_or(Ending::Complete)?;
        Ok(match fill {
            Fill::Discard => {
                self.piece = left.min(disk.discard_chunk());
                StoreOp::Discard {
                    offset: self.at,
                    len: self.piece,
                }
            }
            Fill::Zeroes if disk.has(Capabilities::WRITE_ZEROES) => {
                self.piece = left.min(disk.discard_chunk());
                StoreOp::WriteZeroes {
                    offset: self.at,
                    len: self.piece,
                    may_unmap: false,
                }
            }
            Fill::Zeroes => self.write(left, &[0])?,
            Fill::Pattern(pattern) => {
                let pattern = pattern.clone();
                self.write(left, &pattern)?
            }
        })
    }

    fn write(&mut self, left: u64, pattern: &[u8]) -> Result<StoreOp, Ending> {
        let buf = match self.buf.take() {
            Some(buf) => buf,
            None => filled(&self.disk, pattern)?,
        };
        self.piece = left.min(buf.len() as u64);
        Ok(StoreOp::Write {
            offset: self.at,
            range: 0..usize::try_from(self.piece).unwrap_or(buf.len()),
            buf,
            fua: false,
        })
    }

    /// Whether somebody wants the operation to end, or only no longer waits for it.
    fn listen(&mut self) -> Result<(), Ending> {
        let aborted = self.token.as_ref().is_some_and(CompletionToken::cancelled);
        if aborted && self.kind == Kind::Format {
            return Err(Ending::Stopped);
        }
        if aborted && let Some(token) = self.token.take() {
            // SBC-4 4.11.2: a sanitize operation goes on.
            token.complete(
                Sense::aborted(Asc::NO_ADDITIONAL_SENSE_INFORMATION).into(),
                IoBuf::empty(),
            );
        }
        // The last owner of the disk: nobody is left to do it for.
        if self.disk.background.stopping() || Arc::strong_count(&self.disk) <= OWN {
            return Err(Ending::Stopped);
        }
        Ok(())
    }

    /// Takes a piece's result; `Some` ends the operation.
    fn took(&mut self, reply: StoreReply) -> Option<Ending> {
        let StoreReply { result, buf } = reply;
        self.buf = buf;
        match result {
            Ok(_) => self.advance(),
            Err(StoreError::Fenced) if self.same_owner() => None,
            Err(StoreError::Unsupported) if self.passes.get(self.pass) == Some(&Fill::Zeroes) => {
                // The store said it could and now says no: write them.
                self.passes
                    .get_mut(self.pass)
                    .map_or(Some(Ending::Failed), |fill| {
                        *fill = Fill::Pattern(vec![0]);
                        None
                    })
            }
            Err(error) => {
                tracing::error!(%error, kind = ?self.kind, at = self.at, "a format or sanitize operation failed");
                Some(Ending::Failed)
            }
        }
    }

    /// After a fence: the new stamp, if only the epoch is new.
    fn same_owner(&mut self) -> bool {
        let now = self.disk.settled_stamp();
        let same = now.generation == self.stamp.generation && now != self.stamp;
        self.stamp = now;
        same
    }

    fn advance(&mut self) -> Option<Ending> {
        match self.stage {
            Stage::Fill => {
                self.at = self.at.saturating_add(self.piece);
                let whole = self.size.saturating_mul(self.passes.len() as u64);
                let done = self
                    .size
                    .saturating_mul(self.pass as u64)
                    .saturating_add(self.at);
                self.disk.background.advance(done, whole);
                if self.at < self.size {
                    return None;
                }
                if self.disk.has(Capabilities::VOLATILE_CACHE) {
                    // Each pass reaches the medium, not only the last one.
                    self.stage = Stage::Flush;
                    return None;
                }
            }
            Stage::Flush => self.stage = Stage::Fill,
        }
        self.pass = self.pass.saturating_add(1);
        self.at = 0;
        self.buf = None;
        (self.pass >= self.passes.len()).then_some(Ending::Complete)
    }

    fn finish(&mut self, ending: Ending) {
        self.over = true;
        Provisioning::changed(&self.disk, self.size);
        self.disk.background.end(ending);
        let outcome = match (ending, self.kind) {
            (Ending::Complete, _) => Outcome::good(),
            (Ending::Stopped, _) => Sense::aborted(Asc::COMMANDS_CLEARED_BY_DEVICE_SERVER).into(),
            (Ending::Failed, Kind::Format) => {
                Sense::new(SenseKey::MediumError, Asc::FORMAT_COMMAND_FAILED).into()
            }
            (Ending::Failed, Kind::Sanitize { .. }) => {
                Sense::new(SenseKey::MediumError, Asc::SANITIZE_COMMAND_FAILED).into()
            }
        };
        if let Some(token) = self.token.take() {
            token.complete(outcome, IoBuf::empty());
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.over {
            // No thread could be had.
            self.finish(Ending::Failed);
        }
    }
}

/// References to the disk that an operation at work holds itself.
const OWN: usize = 2;

/// A buffer full of `pattern`, which starts anew at each block.
fn filled(disk: &Disk, pattern: &[u8]) -> Result<IoBuf, Ending> {
    let block = usize::try_from(disk.block().bytes()).unwrap_or(usize::MAX);
    let most = disk.bytes(BlockCount(disk.max_transfer_blocks()));
    let len = usize::try_from(PIECE.min(most)).unwrap_or(block) / block * block;
    let mut buf = IoBuf::unpooled(len.max(block)).map_err(|_| Ending::Failed)?;
    let unit: Vec<u8> = pattern.iter().copied().cycle().take(block).collect();
    let whole = 0..buf.len();
    for slice in buf.slices_mut(whole) {
        // A segment is a whole number of blocks: both are powers of two, and a block is not longer.
        for part in slice.chunks_mut(block) {
            for (to, from) in part.iter_mut().zip(&unit) {
                *to = *from;
            }
        }
    }
    Ok(buf)
}
