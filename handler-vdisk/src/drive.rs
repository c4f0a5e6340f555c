//! Carries a command through its store operations: inline as long as the store answers at once, then by completions.
//!
//! ```text
//!   start ─▶ Next::Submit(op) ─▶ store ─ Done ─▶ step.advance ─▶ Next … ─▶ Next::Done: Execute::Done, no allocation
//!                                  └─ keep ─▶ Driver (token + step) ─ finish ─▶ step.advance ─▶ … ─▶ token.complete
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::sense::Sense;
use lunforge_core::shard::completion::CompletionToken;
use lunforge_core::status::Status;

use crate::disk::Disk;
use crate::outcome::{Doing, of_error};
use crate::store::{
    Stamp, StoreCx, StoreError, StoreOp, StoreReply, StoreResult, Submitted, Submitter, Waiter,
};
use crate::transfer::Plain;

/// What a command does next.
pub(crate) enum Next {
    /// This store operation.
    Submit(StoreOp),
    /// It ends. The buffer holds the Data-In.
    Done(Outcome, IoBuf),
}

impl Next {
    /// Ends with a status or sense and no data.
    pub(crate) fn end(outcome: impl Into<Outcome>) -> Self {
        Self::Done(outcome.into(), IoBuf::empty())
    }
}

/// A command of several store operations.
pub(crate) trait Machine: Send {
    /// Takes the result of the operation before and says what comes next. Must not block.
    fn advance(&mut self, disk: &Disk, result: StoreResult, buf: Option<IoBuf>) -> Next;
}

/// The state of a command that is in the store.
pub(crate) enum Step {
    /// READ and WRITE: kept without an allocation.
    Plain(Plain),
    /// Everything else.
    Machine(Box<dyn Machine>),
}

impl Step {
    fn advance(&mut self, disk: &Disk, result: StoreResult, buf: Option<IoBuf>) -> Next {
        match self {
            Self::Plain(plain) => plain.advance(disk, result, buf),
            Self::Machine(machine) => machine.advance(disk, result, buf),
        }
    }
}

/// A deferred command: its token and its state.
struct Driver {
    disk: Arc<Disk>,
    token: CompletionToken,
    step: Step,
    stamp: Stamp,
}

impl Waiter for Driver {
    fn resume(mut self: Box<Self>, result: StoreResult, buf: Option<IoBuf>) {
        let next = self.step.advance(&self.disk, result, buf);
        self.go(next, false);
    }
}

impl Submitter for Option<Box<Driver>> {
    fn waiter(&mut self) -> Box<dyn Waiter> {
        match self.take() {
            Some(driver) => driver,
            None => nobody(),
        }
    }
}

/// A store that keeps twice what it got once: the second waiter has nobody to tell.
pub(crate) fn nobody() -> Box<dyn Waiter> {
    Box::new(|_: StoreResult, _: Option<IoBuf>| tracing::error!("a store kept one operation twice"))
}

impl Driver {
    /// Does the first piece of work, unless the command waited for it over a fence.
    fn begin(self: Box<Self>, first: First) {
        let disk = Arc::clone(&self.disk);
        let next = if disk.stamp() == self.stamp {
            first(&disk)
        } else {
            Next::end(of_error(StoreError::Fenced, Doing::Write, disk.block()))
        };
        self.go(next, true);
    }

    fn go(self: Box<Self>, mut next: Next, may_block: bool) {
        let (disk, stamp) = (Arc::clone(&self.disk), self.stamp);
        let mut driver = Some(self);
        loop {
            match next {
                Next::Done(outcome, buf) => {
                    if let Some(driver) = driver {
                        driver.token.complete(outcome, buf);
                    }
                    return;
                }
                Next::Submit(op) => {
                    let submitted = submit(&disk, op, &mut driver, stamp, may_block);
                    let Some(this) = &mut driver else { return };
                    next = match submitted {
                        Some(Submitted::Done(reply)) => {
                            this.step.advance(&disk, reply.result, reply.buf)
                        }
                        // Neither kept nor answered: the store broke its word.
                        _ => Next::end(broken()),
                    };
                }
            }
        }
    }
}

/// Submits, unless the command is of a generation that was fenced. A panic of the store ends the command only.
pub(crate) fn submit(
    disk: &Disk,
    op: StoreOp,
    submitter: &mut dyn Submitter,
    stamp: Stamp,
    may_block: bool,
) -> Option<Submitted> {
    if disk.stamp() != stamp {
        return Some(op.done(Err(StoreError::Fenced)));
    }
    let mut cx = StoreCx::new(submitter, stamp, may_block);
    match catch_unwind(AssertUnwindSafe(|| disk.store().submit(op, &mut cx))) {
        Ok(submitted) => Some(submitted),
        Err(_) => {
            tracing::error!("a backing store panicked");
            None
        }
    }
}

fn broken() -> Sense {
    Sense::hardware(Asc::INTERNAL_TARGET_FAILURE)
}

/// The command while it is still on its shard.
struct Inline<'a, 'b> {
    disk: &'a Arc<Disk>,
    execution: &'a mut Execution<'b>,
    step: Option<Step>,
    stamp: Stamp,
}

impl Submitter for Inline<'_, '_> {
    fn waiter(&mut self) -> Box<dyn Waiter> {
        match self.step.take() {
            Some(step) => Box::new(Driver {
                disk: Arc::clone(self.disk),
                token: self.execution.defer(),
                step,
                stamp: self.stamp,
            }),
            None => nobody(),
        }
    }
}

/// Runs a command from its first operation on, on the shard.
pub(crate) fn start(
    disk: &Arc<Disk>,
    execution: &mut Execution<'_>,
    step: Step,
    mut next: Next,
) -> Execute {
    let stamp = disk.stamp();
    let mut inline = Inline {
        disk,
        execution,
        step: Some(step),
        stamp,
    };
    loop {
        match next {
            Next::Done(outcome, buf) => {
                inline.execution.put_buf(buf);
                return Execute::Done(outcome);
            }
            Next::Submit(op) => {
                let submitted = submit(disk, op, &mut inline, stamp, false);
                let Some(step) = &mut inline.step else {
                    return Execute::Pending;
                };
                next = match submitted {
                    Some(Submitted::Done(StoreReply { result, buf })) => {
                        step.advance(disk, result, buf)
                    }
                    _ => Next::end(broken()),
                };
            }
        }
    }
}

/// Runs a long command on the unit's own threads, where the store may block.
pub(crate) fn start_long(
    disk: &Arc<Disk>,
    execution: &mut Execution<'_>,
    step: Step,
    next: Next,
) -> Execute {
    start_long_with(disk, execution, step, move |_| next)
}

/// As [`start_long`], with a first piece of work that blocks and says what comes next.
pub(crate) fn start_long_with(
    disk: &Arc<Disk>,
    execution: &mut Execution<'_>,
    step: Step,
    first: impl FnOnce(&Disk) -> Next + Send + 'static,
) -> Execute {
    let driver = Driver {
        disk: Arc::clone(disk),
        token: execution.defer(),
        step,
        stamp: disk.stamp(),
    };
    let mut job = Long(Some((Box::new(driver), Box::new(first))));
    disk.run_long(move || {
        if let Some((driver, first)) = job.0.take() {
            driver.begin(first);
        }
    });
    Execute::Pending
}

/// A long command on its way to a thread; when the queue refuses it, it ends BUSY.
struct Long(Option<(Box<Driver>, First)>);

type First = Box<dyn FnOnce(&Disk) -> Next + Send>;

impl Drop for Long {
    fn drop(&mut self) {
        if let Some((driver, _)) = self.0.take() {
            driver
                .token
                .complete(Outcome::status(Status::Busy), IoBuf::empty());
        }
    }
}
