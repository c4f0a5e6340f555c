//! SYNCHRONIZE CACHE (10), (16) (SBC-4 5.32, 5.33). The whole store is flushed, whatever the extent.
//!
//! With IMMED nothing bounds how many an initiator sends before the first flush ends. So there is one flush of that kind
//! in the store at a time, and one that follows it for all that came meanwhile.

use std::sync::Arc;

use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::{Execute, Execution, Outcome};
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::drive::{self, Machine, Next, Step};
use crate::outcome::{Doing, of_error};
use crate::store::{Capabilities, StoreOp, StoreResult, submit_with};

/// The flush that no command waits for.
#[derive(Debug, Default)]
pub(crate) struct Unawaited(Mutex<State>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    /// In the store.
    Running,
    /// In the store, and asked for once more since it began.
    Again,
}

impl Unawaited {
    /// Begins a flush, now or when the one that runs ends. Does not block.
    fn begin(disk: &Arc<Disk>) {
        {
            let mut state = disk.unawaited_flush.0.lock();
            if *state != State::Idle {
                *state = State::Again;
                return;
            }
            *state = State::Running;
        }
        let running = Running(Some(Arc::clone(disk)));
        submit_with(
            disk.store(),
            StoreOp::Flush,
            disk.stamp(),
            move |result, _| {
                if let Err(error) = result {
                    tracing::error!(%error, "SYNCHRONIZE CACHE with IMMED failed after its GOOD status");
                }
                if let Some(disk) = running.end() {
                    Self::begin(&disk);
                }
            },
        );
    }

    /// The flush is over; whether another one is to follow.
    fn end(&self) -> bool {
        std::mem::take(&mut *self.0.lock()) == State::Again
    }
}

/// A flush in the store. Dropped without [`Running::end`], by a store that loses it, it is over too.
struct Running(Option<Arc<Disk>>);

impl Running {
    /// The disk, if another flush is to follow.
    fn end(mut self) -> Option<Arc<Disk>> {
        self.0.take().filter(|disk| disk.unawaited_flush.end())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(disk) = self.0.take() {
            disk.unawaited_flush.end();
        }
    }
}

/// Flushes the store, or starts to with IMMED.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>, immed: bool) -> Execute {
    if !disk.has(Capabilities::VOLATILE_CACHE) {
        return Execute::Done(Outcome::good());
    }
    if immed {
        Unawaited::begin(disk);
        return Execute::Done(Outcome::good());
    }
    drive::start(
        disk,
        execution,
        Step::Machine(Box::new(Flush)),
        Next::Submit(StoreOp::Flush),
    )
}

/// Waits for a flush and ends with GOOD.
pub(crate) struct Flush;

impl Machine for Flush {
    fn advance(&mut self, disk: &Disk, result: StoreResult, _buf: Option<IoBuf>) -> Next {
        match result {
            Ok(_) => Next::end(Outcome::good()),
            Err(error) => Next::end(of_error(error, Doing::Write, disk.block())),
        }
    }
}
