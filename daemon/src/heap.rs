//! What a large change leaves to the allocator.

use std::hint::black_box;

/// More than any piece that glibc keeps apart, and less than what it asks the kernel for.
const LARGE: usize = 64 << 10;

/// Drops what a large change leaves, and has the allocator join the pieces.
///
/// glibc keeps freed pieces of up to 128 bytes apart, and joins all that a thread freed when somebody wants 1 KiB or more.
/// After 10 000 LUNs were loaded that takes 25 to 190 ms. Whoever frees them does it, so that the next change need not.
/// When there is nothing to join it takes less than a microsecond.
pub fn discard<T>(garbage: T) {
    drop(garbage);
    drop(black_box(Vec::<u8>::with_capacity(black_box(LARGE))));
}
