//! A store without storage: writes vanish, reads return zeroes.

use super::{
    Allocation, Answer, BackingStore, Capabilities, Limits, StoreCx, StoreError, StoreOp, Submitted,
};

/// Writes vanish and reads return zeroes (never old memory). For measuring everything but the medium.
#[derive(Debug)]
pub struct NullStore {
    size: u64,
}

impl NullStore {
    /// A store of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self { size }
    }
}

impl BackingStore for NullStore {
    fn limits(&self) -> Limits {
        Limits::new(self.size)
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
                let len = self.size.saturating_sub(*offset).max(1);
                answer = Answer::Allocation(Allocation { mapped: false, len });
            }
            _ => {}
        }
        op.done(Ok(answer))
    }

    fn renew(&self, _epoch: u64) -> Option<usize> {
        Some(0)
    }
}
