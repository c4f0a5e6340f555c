//! Memory of receive buffers: half of a shard's at most, however many log in. The rest is for data.
//!
//! The last eighth of it is for addresses that have none yet: a flood of logins from one address keeps nobody else out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

/// What is held, by shard.
#[derive(Debug, Default)]
pub(super) struct Receives(Mutex<BTreeMap<usize, Lane>>);

#[derive(Debug, Default)]
struct Lane {
    bytes: usize,
    /// How often each address holds some.
    holders: HashMap<String, usize>,
}

/// A part of it, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    of: Arc<Receives>,
    lane: usize,
    peer: String,
    bytes: usize,
}

impl Receives {
    /// Bytes on a shard that nobody holds, of `most`.
    pub(super) fn left(&self, lane: usize, most: usize) -> usize {
        let lanes = self.0.lock();
        let held = lanes.get(&lane).map_or(0, |held| held.bytes);
        most.saturating_sub(held)
    }

    /// Holds `bytes` on a shard for an address, of which there are `most` there; `None` if that is too many.
    pub(super) fn hold(
        self: &Arc<Self>,
        lane: usize,
        peer: &str,
        bytes: usize,
        most: usize,
    ) -> Option<Held> {
        let mut lanes = self.0.lock();
        let held = lanes.entry(lane).or_default();
        let most = match held.holders.contains_key(peer) {
            true => most - most / 8,
            false => most,
        };
        held.bytes = held
            .bytes
            .checked_add(bytes)
            .filter(|after| *after <= most)?;
        *held.holders.entry(peer.to_owned()).or_default() += 1;
        Some(Held {
            of: Arc::clone(self),
            lane,
            peer: peer.to_owned(),
            bytes,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut lanes = self.of.0.lock();
        let Some(held) = lanes.get_mut(&self.lane) else {
            return;
        };
        held.bytes = held.bytes.saturating_sub(self.bytes);
        if let Some(count) = held.holders.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.holders.remove(&self.peer);
            }
        }
    }
}
