//! A shared receive queue in memory.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Weak};

use lunforge_core::buffer::IoBuf;
use parking_lot::Mutex;

use super::{Shared, Wire};

/// Buffers for whichever of some connections needs one. A wire may be locked before these, never after.
pub(super) struct SharedQueue {
    size: usize,
    pub(super) buffers: Mutex<VecDeque<IoBuf>>,
    pub(super) wires: Mutex<Vec<Weak<Mutex<Wire>>>>,
}

impl SharedQueue {
    pub(super) fn of(shared: &Shared) -> Arc<Self> {
        let make = || {
            Ok::<_, Infallible>(Arc::new(Self {
                size: shared.size(),
                buffers: Mutex::default(),
                wires: Mutex::default(),
            }))
        };
        match shared.queue(|_: &Self| true, make) {
            Ok(queue) => queue,
            Err(never) => match never {},
        }
    }

    /// Buffers that it has room for.
    pub(super) fn room(&self) -> usize {
        self.size.saturating_sub(self.buffers.lock().len())
    }

    /// Takes a buffer, if there is room.
    pub(super) fn give(&self, buf: IoBuf) -> Result<(), IoBuf> {
        let mut buffers = self.buffers.lock();
        if buffers.len() >= self.size {
            return Err(buf);
        }
        buffers.push_back(buf);
        Ok(())
    }

    /// Has all connections take what they waited for. Nobody holds one.
    pub(super) fn run_all(&self) {
        let mut wires = self.wires.lock();
        wires.retain(|wire| wire.strong_count() > 0);
        let wires: Vec<_> = wires.iter().filter_map(Weak::upgrade).collect();
        wires.iter().for_each(|wire| wire.lock().run());
    }
}
