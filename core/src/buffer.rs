//! I/O buffers: page-aligned segments, owned by the operation until it completes.
//!
//! A [`BufferPool`] belongs to one shard and is not shared. An [`IoBuf`] is `Send`: it travels with the
//! operation to an offload thread or an io_uring and comes back with the completion. Free segments are kept
//! in last-in-first-out order so that a busy shard works in cache-warm memory. The bytes charged to a pool
//! are counted until the buffer is dropped or recycled, wherever that happens, so a cap is a cap.
//!
//! Segments are zeroed once, when they are made. A recycled segment holds old bytes: whoever sends a buffer
//! sends only the length that the device server says it wrote.
//!
//! A device that has to know memory before it can reach it (RDMA, fixed buffers of an io_uring) is told of a segment once, and
//! what it knows ([`Registration`]) stays with the segment until the pool gives that back. Who has no such device pays nothing.

use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;
use std::sync::Arc;

use crate::budget::{Account, Budget, fair_part};

mod segment;

use segment::Segment;
pub use segment::{Part, Registration};

/// Alignment and smallest size of a segment, in bytes.
pub const PAGE_LEN: usize = 4096;
/// Largest segment, in bytes. Every segment of a buffer but the last has this length.
pub const SEGMENT_LEN: usize = 64 * PAGE_LEN;

/// Segment sizes in pages. The last one is `SEGMENT_LEN`.
const CLASSES: [usize; 4] = [1, 4, 16, 64];

fn class_of(pages: usize) -> usize {
    CLASSES
        .iter()
        .position(|&c| pages <= c)
        .unwrap_or(CLASSES.len() - 1)
}

/// No buffer can be had: the pool's cap is reached, or the process is out of memory.
///
/// The command that asked is answered TASK SET FULL (SAM-5 5.3.1); it may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no I/O buffer left")]
pub struct BufferExhausted;

/// An owned scatter-gather buffer of `len` bytes in page-aligned segments.
pub struct IoBuf {
    // The first segment stands apart so that a small buffer needs no second allocation.
    first: Option<Segment>,
    rest: Vec<Segment>,
    len: usize,
    charged: usize,
    account: Option<Arc<Account>>,
}

impl IoBuf {
    /// A buffer of no bytes and no memory.
    pub const fn empty() -> Self {
        Self {
            first: None,
            rest: Vec::new(),
            len: 0,
            charged: 0,
            account: None,
        }
    }

    /// A zeroed buffer that belongs to no pool, for tests and for data made outside of a shard.
    ///
    /// # Errors
    /// [`BufferExhausted`] when the process is out of memory.
    pub fn unpooled(len: usize) -> Result<Self, BufferExhausted> {
        let mut buf = Self::empty();
        buf.grow(len, Segment::new)?;
        Ok(buf)
    }

    /// An unpooled buffer that holds a copy of `bytes`.
    ///
    /// # Errors
    /// [`BufferExhausted`] when the process is out of memory.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, BufferExhausted> {
        let mut buf = Self::unpooled(bytes.len())?;
        buf.write_at(0, bytes);
        Ok(buf)
    }

    fn grow(
        &mut self,
        len: usize,
        mut segment: impl FnMut(usize) -> Result<Segment, BufferExhausted>,
    ) -> Result<(), BufferExhausted> {
        let mut left = len.div_ceil(PAGE_LEN);
        while left > 0 {
            let pages = CLASSES[class_of(left)];
            let new = segment(pages)?;
            if self.first.is_none() {
                self.first = Some(new);
            } else {
                self.rest.push(new);
            }
            left = left.saturating_sub(pages);
        }
        self.len = len;
        Ok(())
    }

    /// Usable length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the buffer holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Shortens the buffer to `len` bytes; the memory stays. A `len` beyond the present one changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The part of each segment that lies in `range`, in order. `range` is cut to the buffer's length.
    pub fn slices(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        let skip = start / SEGMENT_LEN;
        self.first
            .iter()
            .chain(self.rest.iter())
            .enumerate()
            .skip(skip)
            .map_while(move |(i, s)| cut(i, start, end).map(|r| &s.bytes()[r]))
    }

    /// As [`IoBuf::slices`], to write to.
    pub fn slices_mut(&mut self, range: Range<usize>) -> impl Iterator<Item = &mut [u8]> {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        let skip = start / SEGMENT_LEN;
        self.first
            .iter_mut()
            .chain(self.rest.iter_mut())
            .enumerate()
            .skip(skip)
            .map_while(move |(i, s)| cut(i, start, end).map(|r| &mut s.bytes_mut()[r]))
    }

    /// As [`IoBuf::slices_mut`], with what devices know of the segments.
    // Both are written out: by way of one iterator that both map, a read costs some 30 instructions more.
    pub fn parts_mut(&mut self, range: Range<usize>) -> impl Iterator<Item = Part<'_>> {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        let skip = start / SEGMENT_LEN;
        self.first
            .iter_mut()
            .chain(self.rest.iter_mut())
            .enumerate()
            .skip(skip)
            .map_while(move |(i, s)| cut(i, start, end).map(|r| Part::new(s, r)))
    }

    /// The bytes of `range` when they lie in one segment, which holds for every buffer up to [`SEGMENT_LEN`].
    pub fn contiguous(&self, range: Range<usize>) -> Option<&[u8]> {
        let len = range.len();
        self.slices(range).next().filter(|s| s.len() == len)
    }

    /// As [`IoBuf::contiguous`], to write to.
    pub fn contiguous_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        let len = range.len();
        self.slices_mut(range).next().filter(|s| s.len() == len)
    }

    /// I/O vectors over `range`.
    pub fn io_slices(&self, range: Range<usize>) -> Vec<IoSlice<'_>> {
        self.slices(range).map(IoSlice::new).collect()
    }

    /// I/O vectors over `range`, to read into.
    pub fn io_slices_mut(&mut self, range: Range<usize>) -> Vec<IoSliceMut<'_>> {
        self.slices_mut(range).map(IoSliceMut::new).collect()
    }

    /// Copies `bytes` in at `offset`; returns how many fitted.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> usize {
        let mut done = 0;
        for part in self.slices_mut(offset..offset.saturating_add(bytes.len())) {
            let n = part.len();
            part.copy_from_slice(&bytes[done..done + n]);
            done += n;
        }
        done
    }

    /// Copies out from `offset`; returns how many bytes there were.
    pub fn read_at(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut done = 0;
        for part in self.slices(offset..offset.saturating_add(out.len())) {
            out[done..done + part.len()].copy_from_slice(part);
            done += part.len();
        }
        done
    }

    /// Sets every byte of `range`.
    pub fn fill(&mut self, range: Range<usize>, byte: u8) {
        self.slices_mut(range).for_each(|s| s.fill(byte));
    }

    /// A copy of the bytes of `range`.
    pub fn to_vec(&self, range: Range<usize>) -> Vec<u8> {
        let mut out = Vec::with_capacity(range.len());
        self.slices(range).for_each(|s| out.extend_from_slice(s));
        out
    }
}

/// The part of segment `index` inside `start..end` (buffer offsets), none past the end.
fn cut(index: usize, start: usize, end: usize) -> Option<Range<usize>> {
    let base = index * SEGMENT_LEN;
    (base < end && start < end).then(|| start.saturating_sub(base)..(end - base).min(SEGMENT_LEN))
}

impl Drop for IoBuf {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.sub(self.charged);
        }
    }
}

impl std::fmt::Debug for IoBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IoBuf")
            .field("len", &self.len)
            .field("charged", &self.charged)
            .finish()
    }
}

impl Default for IoBuf {
    fn default() -> Self {
        Self::empty()
    }
}

/// One shard's buffers: a hard cap on what is in use, and free segments to use again.
#[derive(Debug)]
pub struct BufferPool {
    free: [Vec<Segment>; CLASSES.len()],
    free_bytes: usize,
    keep: usize,
    cap: usize,
    half: usize,
    account: Arc<Account>,
    /// Somebody found no room since [`BufferPool::is_under_pressure`] was asked last.
    refused: bool,
}

impl BufferPool {
    /// A pool that hands out at most `cap` bytes at a time and keeps at most `keep` bytes of free segments.
    pub fn new(cap: usize, keep: usize) -> Self {
        Self {
            free: Default::default(),
            free_bytes: 0,
            keep,
            cap,
            half: cap / 2,
            account: Arc::default(),
            refused: false,
        }
    }

    /// A buffer of `len` bytes. Its content is whatever the segments held before.
    ///
    /// # Errors
    /// [`BufferExhausted`] at the cap.
    pub fn take(&mut self, len: usize) -> Result<IoBuf, BufferExhausted> {
        let account = Arc::clone(&self.account);
        let charged = Self::footprint(len);
        if self.in_use().saturating_add(charged) > self.cap {
            self.refused = true;
            return Err(BufferExhausted);
        }
        self.take_for(account, len, charged)
    }

    /// As [`BufferPool::take`], for a session with a budget in this pool, who may have it, beyond half of the cap, only
    /// if `may` says so.
    ///
    /// A session may hold no more than a fair part of what is left ([`fair_part`]), of that half and of the whole.
    ///
    /// # Errors
    /// [`BufferExhausted`] at the cap, when the budget is used up, or when `may` says no.
    #[inline]
    pub(crate) fn take_within(
        &mut self,
        budget: &Budget,
        len: usize,
        may: impl FnOnce() -> bool,
    ) -> Result<IoBuf, BufferExhausted> {
        let charged = Self::footprint(len);
        if !budget.admits(charged) {
            return Err(BufferExhausted);
        }
        let used = budget.in_use().saturating_add(charged);
        let after = self.in_use().saturating_add(charged);
        let of_half = used <= fair_part(self.half.saturating_sub(after), self.half);
        if !of_half && (used > fair_part(self.cap.saturating_sub(after), self.cap) || !may()) {
            self.refused = true;
            return Err(BufferExhausted);
        }
        self.take_for(Arc::clone(budget.account()), len, charged)
    }

    /// One copy in each of its two callers: as a function of its own it costs every command some 20 instructions.
    #[inline(always)]
    fn take_for(
        &mut self,
        account: Arc<Account>,
        len: usize,
        charged: usize,
    ) -> Result<IoBuf, BufferExhausted> {
        let mut buf = IoBuf::empty();
        buf.grow(len, |pages| match self.free[class_of(pages)].pop() {
            Some(segment) => {
                self.free_bytes -= pages * PAGE_LEN;
                Ok(segment)
            }
            None => Segment::new(pages),
        })?;
        buf.charged = charged;
        account.add(charged);
        buf.account = Some(account);
        Ok(buf)
    }

    /// Takes a buffer's segments back. Any buffer will do, also one of another pool.
    pub fn recycle(&mut self, mut buf: IoBuf) {
        for segment in buf.first.take().into_iter().chain(buf.rest.drain(..)) {
            let bytes = segment.pages() * PAGE_LEN;
            if self.free_bytes + bytes <= self.keep {
                self.free_bytes += bytes;
                self.free[class_of(segment.pages())].push(segment);
            }
        }
    }

    /// Bytes in buffers that were handed out and still exist.
    pub fn in_use(&self) -> usize {
        self.account.used()
    }

    /// A budget of `cap` bytes for one holder: counted here too.
    pub fn budget(&self, cap: usize) -> Budget {
        Budget::new(&self.account, cap)
    }

    /// Whether less than an eighth is left, or somebody found no room since this was asked last.
    pub(crate) fn is_under_pressure(&mut self) -> bool {
        std::mem::take(&mut self.refused) || self.in_use() > self.cap - self.cap / 8
    }

    /// Bytes beyond three quarters of the cap, at least one: so much should be given back under pressure.
    pub(crate) fn excess(&self) -> usize {
        self.in_use().saturating_sub(self.cap - self.cap / 4).max(1)
    }

    /// Whether there are free segments.
    pub fn has_free(&self) -> bool {
        self.free_bytes > 0
    }

    /// Gives free segments back to the system; a shard calls it when it has been idle for a while.
    pub fn trim(&mut self) {
        self.free.iter_mut().for_each(|list| *list = Vec::new());
        self.free_bytes = 0;
    }

    /// Memory that a buffer of `len` bytes takes, in bytes.
    pub fn footprint(len: usize) -> usize {
        let pages = len.div_ceil(PAGE_LEN);
        let whole = pages / CLASSES[3] * CLASSES[3];
        let tail = pages - whole;
        (whole
            + if tail == 0 {
                0
            } else {
                CLASSES[class_of(tail)]
            })
            * PAGE_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_at_an_offset_is_read_back(len in 0usize..1_200_000, offset in 0usize..1_200_000, seed: u8) {
            let mut buf = IoBuf::unpooled(len).unwrap();
            let data: Vec<u8> = (0..4096u32).map(|i| (i as u8) ^ seed).collect();
            let n = buf.write_at(offset, &data);
            prop_assert_eq!(n, data.len().min(len.saturating_sub(offset)));
            prop_assert_eq!(buf.to_vec(offset.min(len)..offset.min(len) + n), &data[..n]);
        }

        #[test]
        fn slices_cover_exactly_the_range(len in 1usize..1_000_000, a in 0usize..1_000_000, b in 0usize..1_000_000) {
            let buf = IoBuf::unpooled(len).unwrap();
            let (a, b) = (a.min(b), a.max(b));
            let total: usize = buf.slices(a..b).map(<[u8]>::len).sum();
            prop_assert_eq!(total, b.min(len).saturating_sub(a.min(len)));
        }
    }

    #[test]
    fn segments_are_page_aligned() {
        let buf = IoBuf::unpooled(3 * SEGMENT_LEN + 5).unwrap();
        assert!(
            buf.slices(0..buf.len())
                .all(|s| s.as_ptr().addr() % PAGE_LEN == 0)
        );
    }

    #[test]
    fn the_cap_holds_wherever_a_buffer_is_dropped() {
        let mut pool = BufferPool::new(2 * PAGE_LEN, PAGE_LEN);
        let a = pool.take(1).unwrap();
        let b = pool.take(PAGE_LEN).unwrap();
        assert_eq!(pool.take(1).unwrap_err(), BufferExhausted);
        std::thread::spawn(move || drop(a)).join().unwrap();
        let c = pool.take(1).unwrap();
        pool.recycle(b);
        drop(c);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn n30_sessions_that_take_all_they_can_get_leave_something_to_those_that_come() {
        const MIB: usize = 1 << 20;
        for may in [true, false] {
            let mut pool = BufferPool::new(64 * MIB, 0);
            let hogs: Vec<_> = (0..9).map(|_| pool.budget(32 * MIB)).collect();
            let mut held = Vec::new();
            while let Some(buf) = hogs
                .iter()
                .find_map(|hog| pool.take_within(hog, MIB, || may).ok())
            {
                held.push(buf);
            }
            let newcomer = pool.budget(32 * MIB);
            for _ in 0..4 {
                let buf = pool.take_within(&newcomer, MIB / 16, || may);
                held.push(buf.expect("there is something left"));
            }
        }
    }

    #[test]
    fn a_recycled_segment_is_used_again_before_a_new_one() {
        let mut pool = BufferPool::new(1 << 20, 1 << 20);
        let mut a = pool.take(8).unwrap();
        a.write_at(0, b"warm");
        pool.recycle(a);
        assert_eq!(pool.take(4).unwrap().to_vec(0..4), b"warm");
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn footprint_is_what_grow_takes() {
        for len in [
            0,
            1,
            4096,
            4097,
            65536,
            65537,
            SEGMENT_LEN,
            SEGMENT_LEN + 1,
            3 * SEGMENT_LEN + 20_000,
        ] {
            let buf = IoBuf::unpooled(len).unwrap();
            let real: usize = buf
                .first
                .iter()
                .chain(&buf.rest)
                .map(|s| s.pages() * PAGE_LEN)
                .sum();
            assert_eq!(real, BufferPool::footprint(len), "{len}");
        }
    }
}
