//! A store without storage: writes vanish, reads return zeroes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    Allocation, Answer, BackingStore, Capabilities, Limits, StoreCx, StoreError, StoreOp, Submitted,
};

/// Writes vanish and reads return zeroes (never old memory). For measuring everything but the medium.
#[derive(Debug)]
pub struct NullStore {
    size: AtomicU64,
}

impl NullStore {
    /// A store of `size` bytes.
    pub fn new(size: u64) -> Self {
        let size = AtomicU64::new(size);
        Self { size }
    }
}

impl NullStore {
    /// Relaxed: a number that publishes nothing else.
    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }
}

impl BackingStore for NullStore {
    fn limits(&self) -> Limits {
        Limits::new(self.size())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::FUA
            | Capabilities::DISCARD
            | Capabilities::WRITE_ZEROES
            | Capabilities::READS_ZERO_AFTER_DISCARD
            | Capabilities::ALLOCATION_STATUS
            | Capabilities::ATOMIC_WRITE
    }

    fn submit(&self, mut op: StoreOp, _cx: &mut StoreCx<'_>) -> Submitted {
        let mut answer = Answer::Done;
        match &mut op {
            StoreOp::CopyFrom { .. } => return op.done(Err(StoreError::Unsupported)),
            StoreOp::Read { buf, range, .. } => buf.fill(range.clone(), 0),
            StoreOp::AllocationStatus { offset } => {
                let len = self.size().saturating_sub(*offset).max(1);
                answer = Answer::Allocation(Allocation { mapped: false, len });
            }
            _ => {}
        }
        op.done(Ok(answer))
    }

    fn renew(&self, _epoch: u64) -> Option<usize> {
        Some(0)
    }

    fn resize(&self, size: u64) -> Result<Limits, StoreError> {
        self.size.store(size, Ordering::Relaxed);
        Ok(self.limits())
    }
}
