//! Runs of pages, and what devices know of them.

use std::any::Any;
use std::ops::Range;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{BufferExhausted, PAGE_LEN};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_LEN]);

/// What a device knows of a segment: its registration in a protection domain of RDMA, say, or a place in an io_uring's table of
/// fixed buffers. Whoever makes one tells it from others by its type, and by what it holds.
///
/// The memory stays where it is, and exists, until the registration is dropped.
pub type Registration = Box<dyn Any + Send + Sync>;

/// A run of pages. Registrations stay with it through pools, so that a device is told of it once.
///
/// A thin pointer: buffers are moved more often than their bytes are looked for.
pub(super) struct Segment(Box<Run>);

struct Run {
    /// Before the memory, so that they are dropped before it.
    registrations: Vec<Registration>,
    pages: Box<[Page]>,
}

impl Segment {
    pub(super) fn new(pages: usize) -> Result<Self, BufferExhausted> {
        Ok(Self(Box::new(Run {
            registrations: Vec::new(),
            pages: <[Page]>::new_box_zeroed_with_elems(pages).map_err(|_| BufferExhausted)?,
        })))
    }

    pub(super) fn pages(&self) -> usize {
        self.0.pages.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.pages.as_bytes()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.pages.as_mut_bytes()
    }
}

/// The part of a buffer that lies in one segment, with what devices know of the segment.
pub struct Part<'a> {
    segment: &'a mut Segment,
    range: Range<usize>,
}

impl<'a> Part<'a> {
    pub(super) fn new(segment: &'a mut Segment, range: Range<usize>) -> Self {
        Self { segment, range }
    }

    /// The bytes of the part.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.segment.bytes_mut()[self.range.clone()]
    }

    /// The registration of this type for which `is` holds.
    pub fn registration<T: Any>(&self, is: impl Fn(&T) -> bool) -> Option<&T> {
        let all = self.segment.0.registrations.iter();
        all.filter_map(|one| one.downcast_ref()).find(|one| is(one))
    }

    /// Has a device know all of the segment, from now until its memory goes back to the system. `make` may block for as long
    /// as the device takes.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn register<T: Any + Send + Sync, E>(
        &mut self,
        make: impl FnOnce(&mut [u8]) -> Result<T, E>,
    ) -> Result<(), E> {
        let made = Box::new(make(self.segment.bytes_mut())?);
        self.segment.0.registrations.push(made);
        Ok(())
    }

    /// Drops the registrations of this type for which `is` holds.
    pub fn deregister<T: Any>(&mut self, is: impl Fn(&T) -> bool) {
        let all = &mut self.segment.0.registrations;
        all.retain(|one| !one.downcast_ref().is_some_and(&is));
    }
}

/// Without its bytes.
impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} pages", self.pages())
    }
}

impl std::fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {} pages", self.range, self.segment.pages())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::buffer::{BufferPool, IoBuf, SEGMENT_LEN};

    /// Counts those that exist.
    struct Known(Arc<AtomicUsize>, usize);

    impl Known {
        fn new(count: &Arc<AtomicUsize>, memory: &[u8]) -> Self {
            count.fetch_add(1, Ordering::Relaxed);
            Self(Arc::clone(count), memory.len())
        }
    }

    impl Drop for Known {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn register(buf: &mut IoBuf, count: &Arc<AtomicUsize>) {
        let len = buf.len();
        for mut part in buf.parts_mut(0..len) {
            if part.registration(|_: &Known| true).is_none() {
                let made = part.register(|memory| Ok::<_, ()>(Known::new(count, memory)));
                made.unwrap();
            }
        }
    }

    #[test]
    fn a_registration_is_of_the_whole_segment_and_stays_until_the_pool_lets_it_go() {
        let count = Arc::default();
        let mut pool = BufferPool::new(4 * SEGMENT_LEN, 4 * SEGMENT_LEN);
        for _ in 0..3 {
            let mut buf = pool.take(SEGMENT_LEN + 5000).unwrap();
            register(&mut buf, &count);
            let lengths: Vec<usize> = buf
                .parts_mut(0..SEGMENT_LEN + 1)
                .map(|part| part.registration(|_: &Known| true).unwrap().1)
                .collect();
            assert_eq!(lengths, [SEGMENT_LEN, 4 * 4096]);
            pool.recycle(buf);
            assert_eq!(count.load(Ordering::Relaxed), 2);
        }
        pool.trim();
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_pool_that_keeps_nothing_lets_registrations_go_at_once() {
        let count = Arc::default();
        let mut pool = BufferPool::new(SEGMENT_LEN, 0);
        let mut buf = pool.take(10).unwrap();
        register(&mut buf, &count);
        pool.recycle(buf);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn registrations_are_told_apart_by_type_and_content_and_can_be_dropped_alone() {
        let count = Arc::default();
        let mut buf = IoBuf::unpooled(10).unwrap();
        register(&mut buf, &count);
        for mut part in buf.parts_mut(0..10) {
            part.register(|_| Ok::<_, ()>(7_u32)).unwrap();
            part.register(|_| Ok::<_, ()>(8_u32)).unwrap();
            assert_eq!(part.registration(|&n: &u32| n > 7), Some(&8));
            part.deregister(|&n: &u32| n == 8);
            assert_eq!(part.registration(|&n: &u32| n > 7), None);
            assert_eq!(part.registration(|_: &u32| true), Some(&7));
            assert_eq!(part.bytes_mut().len(), 10);
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
