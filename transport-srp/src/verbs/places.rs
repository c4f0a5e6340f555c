//! Places for information units that leave.

use std::sync::Arc;

use lunforge_core::buffer::{IoBuf, SEGMENT_LEN};

use super::device::Device;
use super::memory::{self, Local, Registered, Use};

/// Places of one length in a buffer.
pub(super) struct Places {
    /// Of the buffer, where the device refused one that stays; before it, so that they are dropped before it.
    _own: Vec<Registered>,
    buf: IoBuf,
    /// Its segments.
    locals: Vec<Local>,
    /// A power of two, so that no place lies in two segments.
    len: usize,
    free: Vec<usize>,
}

impl Places {
    /// Places for information units of `len` bytes, as many as the buffer has room for.
    pub(super) fn new(buf: IoBuf, len: usize) -> Self {
        let len = len.clamp(1, SEGMENT_LEN).next_power_of_two();
        Self {
            _own: Vec::new(),
            locals: Vec::new(),
            len,
            free: (0..buf.len() / len).collect(),
            buf,
        }
    }

    pub(super) fn registered(
        device: &Arc<Device>,
        mut buf: IoBuf,
        len: usize,
    ) -> std::io::Result<Self> {
        let (mut locals, mut own) = (Vec::new(), Vec::new());
        let all = buf.len();
        memory::register(device, &mut buf, all, Use::Local, &mut locals, &mut own)?;
        Ok(Self {
            _own: own,
            locals,
            ..Self::new(buf, len)
        })
    }

    /// Copies an information unit to a free place, cut to its length: the place, and how much is there.
    pub(super) fn put(&mut self, iu: &[u8]) -> Option<(usize, usize)> {
        let place = self.free.pop()?;
        let iu = iu.get(..self.len).unwrap_or(iu);
        Some((place, self.buf.write_at(place * self.len, iu)))
    }

    pub(super) fn free(&mut self, place: usize) {
        self.free.push(place);
    }

    pub(super) fn are_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Where a place is.
    pub(super) fn local(&self, place: usize, len: usize) -> Local {
        let at = place * self.len;
        let segment = self.locals.get(at / SEGMENT_LEN);
        let (addr, lkey) = segment.map_or((0, 0), |segment| (segment.addr, segment.lkey));
        Local {
            addr: addr + (at % SEGMENT_LEN) as u64,
            len,
            lkey,
        }
    }

    #[cfg(test)]
    pub(super) fn all_free(&self) -> bool {
        let mut free = self.free.clone();
        free.sort_unstable();
        free.into_iter().eq(0..self.buf.len() / self.len)
    }
}
