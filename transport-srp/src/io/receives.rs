//! Memory of receive buffers: half of a shard's at most, however many log in. The rest is for data.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Bytes held, by shard.
#[derive(Debug, Default)]
pub(super) struct Receives(Mutex<BTreeMap<usize, usize>>);

/// A part of it, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    of: Arc<Receives>,
    lane: usize,
    bytes: usize,
}

impl Receives {
    /// Holds `bytes` on a shard, of which there are `most` there; `None` if that is too many.
    pub(super) fn hold(self: &Arc<Self>, lane: usize, bytes: usize, most: usize) -> Option<Held> {
        let mut lanes = self.0.lock();
        let held = lanes.entry(lane).or_default();
        let after = held.checked_add(bytes).filter(|after| *after <= most)?;
        *held = after;
        Some(Held {
            of: Arc::clone(self),
            lane,
            bytes,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(held) = self.of.0.lock().get_mut(&self.lane) {
            *held = held.saturating_sub(self.bytes);
        }
    }
}
