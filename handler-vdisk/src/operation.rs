//! Goes over the whole medium for FORMAT UNIT and SANITIZE, piece by piece, on the unit's long threads.
//!
//! ```text
//!   start ─▶ Background: running ─▶ noted ─▶ pass 1 ─▶ flush ─▶ pass 2 … ─▶ flush ─▶ noted ─▶ Background: idle or failed ─▶ token
//!               others: NOT READY        └ a piece: one store operation, then progress, then "stop?"
//! ```
//!
//! Ownership: the operation owns its buffer, its token and its place in [`Background`]; dropped unfinished it leaves the
//! failed state, dropped before its first piece the state that was before. A fence (a new epoch of the same owner) refuses pieces that have not reached the store; those are done
//! again in the new epoch. When the owner changes (another generation) the operation ends: it never writes for another.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::sense::{Sense, SenseKey};
use lunforge_core::shard::completion::CompletionToken;
use lunforge_core::status::Status;
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
    // With IMMED the answer comes when it is sure that the end of the process cannot make a begun operation unseen.
    let noted = disk.parameters.is_some();
    let token = (!plan.immed || noted).then(|| execution.defer_cancellable());
    let pending = token.is_some();
    let operation = Box::new(Operation {
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
        immed: plan.immed,
        progress: Progress::Waiting,
    });
    let runs = disk.run_long(move || operation.begin());
    match (pending, runs) {
        (true, _) => Execute::Pending,
        (false, true) => Execute::Done(Outcome::good()),
        (false, false) => Execute::Done(Outcome::status(Status::Busy)),
    }
}

/// Keeps over the end of the process that an operation has begun, or that there is none any more. Blocks.
///
/// # Errors
/// As writing a file; then what was kept before still is.
pub(crate) fn note(disk: &Disk, unfinished: Option<Kind>) -> std::io::Result<()> {
    disk.parameters.as_ref().map_or(Ok(()), |parameters| {
        parameters.save(|contents| contents.unfinished = unfinished)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// For a thread.
    Waiting,
    Begun,
    Over,
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
    immed: bool,
    progress: Progress,
}

impl Waiter for Operation {
    fn resume(mut self: Box<Self>, result: StoreResult, buf: Option<IoBuf>) {
        // Back to a thread that may block; a completion's thread has others to serve.
        let disk = Arc::clone(&self.disk);
        disk.run_long(move || match self.took(StoreReply { result, buf }) {
            None => self.go(),
            Some(ending) => self.finish(ending),
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
    /// Before the first piece is touched it is on record that there is an operation.
    fn begin(mut self: Box<Self>) {
        if self.token.as_ref().is_some_and(CompletionToken::cancelled) {
            return self.finish(Ending::NotBegun);
        }
        if let Err(error) = note(&self.disk, Some(self.kind)) {
            tracing::error!(%error, kind = ?self.kind, "an operation could not be noted and is not begun");
            return self.finish(Ending::NotBegun);
        }
        self.progress = Progress::Begun;
        // One that was aborted meanwhile is not answered GOOD: the next piece finds out.
        if self.immed
            && let Some(token) = self.token.take_if(|token| token.commit())
        {
            token.complete(Outcome::good(), IoBuf::empty());
        }
        self.go();
    }

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

    fn finish(&mut self, mut ending: Ending) {
        self.progress = Progress::Over;
        if ending == Ending::Complete
            && let Err(error) = note(&self.disk, None)
        {
            tracing::error!(%error, kind = ?self.kind, "the end of an operation could not be noted");
            ending = Ending::Failed;
        }
        Provisioning::changed(&self.disk, self.size);
        self.disk.background.end(ending);
        let outcome = match (ending, self.kind) {
            (Ending::Complete, _) => Outcome::good(),
            (Ending::Stopped, _) => Sense::aborted(Asc::COMMANDS_CLEARED_BY_DEVICE_SERVER).into(),
            (Ending::Failed | Ending::NotBegun, Kind::Format) => {
                Sense::new(SenseKey::MediumError, Asc::FORMAT_COMMAND_FAILED).into()
            }
            (Ending::Failed | Ending::NotBegun, Kind::Sanitize { .. }) => {
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
        match self.progress {
            // No thread could be had to begin: it may be sent again.
            Progress::Waiting => {
                self.disk.background.end(Ending::NotBegun);
                if let Some(token) = self.token.take() {
                    token.complete(Outcome::status(Status::Busy), IoBuf::empty());
                }
            }
            Progress::Begun => self.finish(Ending::Failed),
            Progress::Over => {}
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
