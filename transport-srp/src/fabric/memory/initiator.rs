//! The initiator's end of a connection in memory.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Completion, REGION, State, Wire};
use crate::proto::data::Remote;

/// What became of a request for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    Waiting,
    /// It was accepted, with this private data.
    Accepted(Vec<u8>),
    /// It was rejected, with this private data.
    Rejected(Vec<u8>),
}

/// See the module's head. Dropped, it ends the connection.
pub struct Initiator(Arc<Mutex<Wire>>);

impl std::fmt::Debug for Initiator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Initiator")
    }
}

impl Initiator {
    pub(super) fn new(wire: Arc<Mutex<Wire>>) -> Self {
        Self(wire)
    }

    /// What became of the request.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match &self.0.lock().state {
            State::Requested | State::Withdrawn => Answer::Waiting,
            State::Accepted(answer) => Answer::Accepted(answer.clone()),
            State::Rejected(answer) => Answer::Rejected(answer.clone()),
        }
    }

    /// Does not wait for the answer any more.
    pub fn withdraw(&self) {
        let mut wire = self.0.lock();
        if wire.state == State::Requested {
            wire.state = State::Withdrawn;
        }
    }

    /// Tells the target that the connection is established.
    pub fn establish(&self) {
        self.0.lock().complete(Completion::Established);
    }

    /// Registers a region of memory that holds `bytes`; the range of all of it.
    pub fn map(&self, bytes: Vec<u8>) -> Remote {
        let mut wire = self.0.lock();
        let key = wire.memory.keys().next_back().map_or(1, |key| key + 1);
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        wire.memory.insert(key, bytes);
        Remote {
            address: u64::from(key) * REGION,
            key,
            len,
        }
    }

    /// Takes a region back; what it holds.
    pub fn unmap(&self, key: u32) -> Option<Vec<u8>> {
        self.0.lock().memory.remove(&key)
    }

    /// Makes room for so many information units more. The target is to send no more than there is room for.
    pub fn post_receives(&self, n: usize) {
        self.0.lock().initiator_receives += n;
    }

    /// Sends an information unit.
    pub fn send(&self, iu: &[u8]) {
        let mut wire = self.0.lock();
        if wire.dead {
            return;
        }
        // What is shared may be out for a moment.
        if wire.receives.is_empty() && wire.shared.is_none() {
            wire.overrun_target += 1;
        }
        wire.to_target.push_back(iu.to_vec());
        wire.run();
    }

    /// Takes an information unit of the target.
    #[must_use]
    pub fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().to_initiator.pop_front()
    }

    /// Ends the connection: the target is told. Its buffers come back when it has ended the connection, too.
    pub fn disconnect(&self) {
        let mut wire = self.0.lock();
        let held = std::mem::replace(&mut wire.flush_held, true);
        wire.lose();
        wire.flush_held = held;
    }

    /// Whether the connection is lost.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.0.lock().dead
    }

    /// Whether the target has dropped its end.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        self.0.lock().gone
    }

    /// Nothing moves until [`Initiator::release`].
    pub fn hold(&self) {
        self.0.lock().held = true;
    }

    /// Everything moves again.
    pub fn release(&self) {
        let mut wire = self.0.lock();
        wire.held = false;
        wire.run();
    }

    /// Reads of the target do not move until [`Initiator::release_reads`]; everything else overtakes them.
    pub fn hold_reads(&self) {
        self.0.lock().reads_held = true;
    }

    /// Reads move again.
    pub fn release_reads(&self) {
        let mut wire = self.0.lock();
        wire.reads_held = false;
        let parked = std::mem::take(&mut wire.parked);
        parked
            .into_iter()
            .rev()
            .for_each(|work| wire.work.push_front(work));
        wire.run();
    }

    /// Buffers of a lost connection do not come back until [`Initiator::release_flush`].
    pub fn hold_flush(&self) {
        self.0.lock().flush_held = true;
    }

    /// Buffers come back.
    pub fn release_flush(&self) {
        let mut wire = self.0.lock();
        wire.flush_held = false;
        wire.give_back();
    }

    /// Loses the connection at the `step`th step from now.
    pub fn lose_at(&self, step: u64) {
        let mut wire = self.0.lock();
        wire.lost_at = Some(wire.steps + step);
    }

    /// Lets the work of the `step`th step from now fail.
    pub fn fail_at(&self, step: u64) {
        let mut wire = self.0.lock();
        wire.fails_at = Some(wire.steps + step);
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// Information units that found no room: those of the target, and those of the initiator.
    #[must_use]
    pub fn overruns(&self) -> (u64, u64) {
        let wire = self.0.lock();
        (wire.overrun_initiator, wire.overrun_target)
    }

    /// Buffers of the target that the fabric has.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.lock().in_flight()
    }
}

impl Drop for Initiator {
    fn drop(&mut self) {
        self.withdraw();
        self.disconnect();
    }
}
