//! A synchronous store made into a [`BackingStore`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lunforge_core::buffer::IoBuf;

use super::{
    Answer, BackingStore, Capabilities, Limits, OffloadPool, StoreCx, StoreError, StoreOp,
    StoreResult, Submitted,
};

/// The least that a store needs: synchronous, positioned calls. Errors are mapped by [`StoreError::from_io`]; a call
/// that returns has transferred everything.
pub trait SimpleStore: Send + Sync + 'static {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()>;

    /// Writes all of `buf` at `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> std::io::Result<()>;

    /// Makes finished writes stable. Without a volatile cache it may do nothing.
    fn flush(&self) -> std::io::Result<()>;

    /// A finished write may be lost by a power cut until `flush`.
    fn volatile_cache(&self) -> bool {
        true
    }

    /// Nothing may be written.
    fn read_only(&self) -> bool {
        false
    }

    /// Calls may take long: run them on offload threads. `false` runs them on the shard.
    fn blocking(&self) -> bool {
        true
    }
}

/// Runs a [`SimpleStore`], inline or on its own threads as it declares.
#[derive(Debug)]
pub struct SimpleAdapter<S> {
    store: Arc<S>,
    pool: OffloadPool,
}

impl<S: SimpleStore> SimpleAdapter<S> {
    /// Adapts `store`; blocking calls run on at most `threads` threads.
    pub fn new(store: S, threads: usize) -> Self {
        Self {
            store: Arc::new(store),
            pool: OffloadPool::new("vdisk-simple", threads),
        }
    }
}

/// Calls `f(slice, offset)` for each part of a buffer range.
fn run<S: SimpleStore>(store: &S, op: &mut StoreOp) -> StoreResult {
    fn failed(at: u64) -> impl Fn(std::io::Error) -> StoreError {
        move |error| StoreError::from_io(&error, at)
    }
    match op {
        StoreOp::Read { offset, buf, range } => {
            let mut at = *offset;
            for slice in IoBuf::slices_mut(buf, range.clone()) {
                store.read_at(slice, at).map_err(failed(at))?;
                at += slice.len() as u64;
            }
        }
        StoreOp::Write {
            offset,
            buf,
            range,
            fua,
        } => {
            let mut at = *offset;
            for slice in buf.slices(range.clone()) {
                store.write_at(slice, at).map_err(failed(at))?;
                at += slice.len() as u64;
            }
            if *fua && store.volatile_cache() {
                store.flush().map_err(failed(*offset))?;
            }
        }
        StoreOp::Flush => store.flush().map_err(failed(0))?,
        StoreOp::Discard { .. }
        | StoreOp::WriteZeroes { .. }
        | StoreOp::AllocationStatus { .. }
        | StoreOp::Prefetch { .. }
        | StoreOp::CopyFrom { .. } => {
            return Err(StoreError::Unsupported);
        }
    }
    Ok(Answer::Done)
}

fn contained<S: SimpleStore>(store: &S, op: &mut StoreOp) -> StoreResult {
    catch_unwind(AssertUnwindSafe(|| run(store, op))).unwrap_or_else(|_| {
        tracing::error!("a store call panicked");
        Err(StoreError::Dropped)
    })
}

impl<S: SimpleStore> BackingStore for SimpleAdapter<S> {
    fn limits(&self) -> Limits {
        Limits {
            max_transfer: 1 << 20,
            ..Limits::new(self.store.size())
        }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::FUA;
        capabilities.set(Capabilities::VOLATILE_CACHE, self.store.volatile_cache());
        capabilities.set(Capabilities::READ_ONLY, self.store.read_only());
        capabilities
    }

    fn submit(&self, mut op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        if cx.may_block() || !self.store.blocking() {
            let result = contained(&*self.store, &mut op);
            return op.done(result);
        }
        let (mut request, kept) = cx.keep(op);
        let store = Arc::clone(&self.store);
        // A refused job drops the request, which ends the command.
        let _ = self.pool.run(move || {
            let result = request
                .op_mut()
                .map_or(Err(StoreError::Dropped), |op| contained(&*store, op));
            request.finish(result);
        });
        Submitted::Pending(kept)
    }
}
