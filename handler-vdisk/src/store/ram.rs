//! A store in memory, allocated as it is written.

use std::time::Duration;

use parking_lot::RwLock;

use super::{
    Allocation, Answer, BackingStore, Capabilities, Limits, Stamp, StoreCx, StoreError, StoreOp,
    StoreResult, Submitted,
};

/// Unit of allocation, in bytes.
const CHUNK: usize = 64 * 1024;

type Chunk = RwLock<Option<Box<[u8]>>>;

struct Memory {
    chunks: Vec<Chunk>,
    /// The owner's; read under the lock that the operation holds, so that a fenced one is either over or refused.
    stamp: Stamp,
}

/// Bytes in memory, thin. A lock per 64 KiB; an operation over several chunks is not atomic, as on a disk.
pub struct RamStore {
    memory: RwLock<Memory>,
    size: std::sync::atomic::AtomicU64,
    volatile: bool,
}

impl std::fmt::Debug for RamStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RamStore")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

fn chunks_for(size: u64) -> usize {
    usize::try_from(size.div_ceil(CHUNK as u64)).unwrap_or(usize::MAX)
}

impl RamStore {
    /// A store of `size` bytes, all zero.
    pub fn new(size: u64) -> Self {
        let chunks = (0..chunks_for(size)).map(|_| RwLock::new(None)).collect();
        Self {
            memory: RwLock::new(Memory {
                chunks,
                stamp: Stamp::from(1),
            }),
            size: size.into(),
            volatile: false,
        }
    }

    /// Declares a volatile write cache, so that the unit above reports WCE=1.
    #[must_use]
    pub fn volatile_cache(mut self, volatile: bool) -> Self {
        self.volatile = volatile;
        self
    }

    /// Calls `f(chunk, offset in chunk, length)` for each chunk of a range.
    fn each(
        memory: &Memory,
        offset: u64,
        len: u64,
        mut f: impl FnMut(&Chunk, usize, usize) -> Result<(), StoreError>,
    ) -> StoreResult {
        let (mut at, mut left) = (offset, len);
        while left > 0 {
            let inside = (at % CHUNK as u64) as usize;
            let n = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(CHUNK - inside);
            let index = usize::try_from(at / CHUNK as u64).unwrap_or(usize::MAX);
            let chunk = memory
                .chunks
                .get(index)
                .ok_or(StoreError::Short { offset: at })?;
            f(chunk, inside, n)?;
            at += n as u64;
            left -= n as u64;
        }
        Ok(Answer::Done)
    }

    fn zero(memory: &Memory, offset: u64, len: u64) -> StoreResult {
        Self::each(memory, offset, len, |chunk, at, n| {
            let mut chunk = chunk.write();
            if n == CHUNK {
                *chunk = None;
            } else if let Some(part) = chunk.as_mut().and_then(|bytes| bytes.get_mut(at..at + n)) {
                part.fill(0);
            }
            Ok(())
        })
    }

    fn allocation(&self, memory: &Memory, offset: u64) -> StoreResult {
        let chunks = &memory.chunks;
        let size = self.size.load(std::sync::atomic::Ordering::Acquire);
        let first = usize::try_from(offset / CHUNK as u64).unwrap_or(usize::MAX);
        let mapped = chunks
            .get(first)
            .ok_or(StoreError::Short { offset })?
            .read()
            .is_some();
        let run = chunks
            .iter()
            .skip(first)
            .take_while(|chunk| chunk.read().is_some() == mapped)
            .count();
        let end = ((first + run) as u64 * CHUNK as u64).min(size);
        Ok(Answer::Allocation(Allocation {
            mapped,
            len: end.saturating_sub(offset).max(1),
        }))
    }

    pub(crate) fn run(&self, op: &mut StoreOp, stamp: Stamp) -> StoreResult {
        let memory = &*self.memory.read();
        if memory.stamp != stamp {
            return Err(StoreError::Fenced);
        }
        match op {
            StoreOp::Read { offset, buf, range } => {
                let mut pos = range.start;
                Self::each(memory, *offset, range.len() as u64, |chunk, at, n| {
                    match chunk
                        .read()
                        .as_ref()
                        .and_then(|bytes| bytes.get(at..at + n))
                    {
                        Some(bytes) => {
                            buf.write_at(pos, bytes);
                        }
                        None => buf.fill(pos..pos + n, 0),
                    }
                    pos += n;
                    Ok(())
                })
            }
            StoreOp::Write {
                offset, buf, range, ..
            } => {
                let mut pos = range.start;
                Self::each(memory, *offset, range.len() as u64, |chunk, at, n| {
                    let mut chunk = chunk.write();
                    let bytes = chunk.get_or_insert_with(|| vec![0; CHUNK].into_boxed_slice());
                    buf.read_at(pos, bytes.get_mut(at..at + n).unwrap_or_default());
                    pos += n;
                    Ok(())
                })
            }
            StoreOp::CopyFrom { .. } => Err(StoreError::Unsupported),
            // It is all in memory.
            StoreOp::Flush | StoreOp::Prefetch { .. } => Ok(Answer::Done),
            StoreOp::Discard { offset, len } | StoreOp::WriteZeroes { offset, len, .. } => {
                Self::zero(memory, *offset, *len)
            }
            StoreOp::AllocationStatus { offset } => self.allocation(memory, *offset),
        }
    }
}

impl BackingStore for RamStore {
    fn limits(&self) -> Limits {
        Limits {
            discard_granularity: CHUNK as u32,
            ..Limits::new(self.size.load(std::sync::atomic::Ordering::Acquire))
        }
    }

    fn capabilities(&self) -> Capabilities {
        let cache = if self.volatile {
            Capabilities::VOLATILE_CACHE
        } else {
            Capabilities::empty()
        };
        cache
            | Capabilities::FUA
            | Capabilities::DISCARD
            | Capabilities::WRITE_ZEROES
            | Capabilities::READS_ZERO_AFTER_DISCARD
            | Capabilities::ALLOCATION_STATUS
            | Capabilities::ATOMIC_WRITE
    }

    fn submit(&self, mut op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        let result = self.run(&mut op, cx.stamp());
        op.done(result)
    }

    fn activate(&self, generation: u64) -> Result<(), StoreError> {
        self.memory.write().stamp.generation = generation;
        Ok(())
    }

    fn fence(&self) -> usize {
        self.memory.write().stamp.generation = 0;
        0
    }

    fn deactivate(&self, _patience: Duration) -> Result<(), StoreError> {
        self.fence();
        Ok(())
    }

    fn renew(&self, epoch: u64) -> Option<usize> {
        // Waits for copies in memory only.
        self.memory.write().stamp.epoch = epoch;
        Some(0)
    }

    fn resize(&self, size: u64) -> Result<Limits, StoreError> {
        let mut memory = self.memory.write();
        let chunks = &mut memory.chunks;
        chunks.resize_with(chunks_for(size), || RwLock::new(None));
        if let Some(last) = chunks.last_mut() {
            let keep = (size % CHUNK as u64) as usize;
            if keep != 0
                && let Some(tail) = last
                    .get_mut()
                    .as_mut()
                    .and_then(|bytes| bytes.get_mut(keep..))
            {
                tail.fill(0);
            }
        }
        self.size.store(size, std::sync::atomic::Ordering::Release);
        drop(memory);
        Ok(self.limits())
    }
}
