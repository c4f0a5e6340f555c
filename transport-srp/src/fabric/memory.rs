//! A fabric in memory, for tests, fuzzing and simulation: no hardware, no thread, and faults when they are asked for.
//!
//! Work is done when it is flushed, on the thread that does so, unless the wire is held. Each piece of it and each information
//! unit that arrives is a *step*; a connection can be lost at any of them.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use lunforge_core::buffer::IoBuf;
use parking_lot::Mutex;

use super::{
    Completion, ConnectError, Endpoint, Listener, Pending, Request, Setup, Shared, Waker, WorkError,
};
use crate::proto::data::Remote;
use crate::proto::iu::login::LoginForm;

mod initiator;
mod shared;

use shared::SharedQueue;

pub use initiator::{Answer, Initiator};

/// Where regions of memory begin: far apart, so that what runs over one is in none.
const REGION: u64 = 1 << 32;

enum Work {
    Send(Vec<u8>),
    Read(u64, IoBuf, Vec<Remote>),
    Write(u64, IoBuf, Vec<Remote>),
}

/// How far a connection is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum State {
    #[default]
    Requested,
    /// The initiator does not wait any more.
    Withdrawn,
    Rejected(Vec<u8>),
    Accepted(Vec<u8>),
}

/// Both ends of a connection.
#[derive(Default)]
struct Wire {
    state: State,
    /// Regions of the initiator's memory by key.
    memory: BTreeMap<u32, Vec<u8>>,
    receives: VecDeque<IoBuf>,
    /// Where they are instead, if they are shared.
    shared: Option<Arc<SharedQueue>>,
    /// Only there to be held.
    sends: IoBuf,
    queued: Vec<Work>,
    work: VecDeque<Work>,
    done: VecDeque<Completion>,
    to_target: VecDeque<Vec<u8>>,
    to_initiator: VecDeque<Vec<u8>>,
    /// What the initiator has room for; sends beyond are counted.
    initiator_receives: usize,
    overrun_initiator: u64,
    /// Information units that found no buffer at the target.
    overrun_target: u64,
    waker: Option<Waker>,
    /// Nothing works any more.
    dead: bool,
    /// Buffers do not come back yet.
    flush_held: bool,
    /// Nothing moves.
    held: bool,
    /// Reads do not move; other work overtakes them.
    reads_held: bool,
    parked: Vec<Work>,
    /// The initiator ends the connection at this step.
    lost_at: Option<u64>,
    /// The work at this step fails.
    fails_at: Option<u64>,
    steps: u64,
    gone: bool,
}

impl Wire {
    fn complete(&mut self, completion: Completion) {
        self.done.push_back(completion);
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    /// Moves what can be moved.
    fn run(&mut self) {
        while !self.dead && !self.held && self.state_is_open() {
            if let Some(work) = self.work.pop_front() {
                self.step();
                self.perform(work);
            } else if !self.to_target.is_empty()
                && let Some(buf) = self.take_receive()
            {
                self.step();
                self.arrive(buf);
            } else {
                break;
            }
        }
        self.give_back();
    }

    fn state_is_open(&self) -> bool {
        matches!(self.state, State::Accepted(_))
    }

    fn step(&mut self) {
        self.steps += 1;
        if self.lost_at == Some(self.steps) {
            self.lose();
        }
    }

    fn take_receive(&mut self) -> Option<IoBuf> {
        match &self.shared {
            Some(queue) => queue.buffers.lock().pop_front(),
            None => self.receives.pop_front(),
        }
    }

    fn arrive(&mut self, mut buf: IoBuf) {
        let iu = self.to_target.pop_front().unwrap_or_default();
        if self.dead || iu.len() > buf.len() {
            match &self.shared {
                Some(queue) => queue.buffers.lock().push_front(buf),
                None => self.receives.push_front(buf),
            }
            return self.lose();
        }
        buf.write_at(0, &iu);
        self.complete(Completion::Received(buf, iu.len()));
    }

    fn perform(&mut self, work: Work) {
        if self.dead {
            return self.work.push_front(work);
        }
        let fails = self.fails_at == Some(self.steps);
        match work {
            Work::Send(_) if fails => self.lose(),
            Work::Send(iu) => {
                match self.initiator_receives.checked_sub(1) {
                    Some(left) => self.initiator_receives = left,
                    None => self.overrun_initiator += 1,
                }
                self.to_initiator.push_back(iu);
                self.complete(Completion::Sent);
            }
            work @ Work::Read(..) if self.reads_held => self.parked.push(work),
            Work::Read(id, mut buf, from) => {
                let result = if fails {
                    Err(WorkError::Remote)
                } else {
                    self.copy_in(&mut buf, &from)
                };
                self.complete(Completion::Read { id, buf, result });
                self.lose_if(result);
            }
            Work::Write(id, buf, to) => {
                let result = if fails {
                    Err(WorkError::Remote)
                } else {
                    self.copy_out(&buf, &to)
                };
                self.complete(Completion::Wrote { id, buf, result });
                self.lose_if(result);
            }
        }
    }

    fn lose_if(&mut self, result: Result<(), WorkError>) {
        if result.is_err() {
            self.lose();
        }
    }

    /// The range of a region that a remote range names.
    fn region(&mut self, part: &Remote) -> Result<&mut [u8], WorkError> {
        let base = u64::from(part.key) * REGION;
        let region = self.memory.get_mut(&part.key);
        let start = part.address.checked_sub(base).map(usize::try_from);
        let (Some(region), Some(Ok(start))) = (region, start) else {
            return Err(WorkError::Remote);
        };
        let end = start.checked_add(part.len as usize);
        end.and_then(|end| region.get_mut(start..end))
            .ok_or(WorkError::Remote)
    }

    fn copy_in(&mut self, buf: &mut IoBuf, from: &[Remote]) -> Result<(), WorkError> {
        let mut at = 0;
        for part in from {
            let bytes = self.region(part)?;
            if buf.write_at(at, bytes) != bytes.len() {
                return Err(WorkError::Remote);
            }
            at += bytes.len();
        }
        Ok(())
    }

    fn copy_out(&mut self, buf: &IoBuf, to: &[Remote]) -> Result<(), WorkError> {
        let mut at = 0;
        for part in to {
            let bytes = self.region(part)?;
            if buf.read_at(at, bytes) != bytes.len() {
                return Err(WorkError::Remote);
            }
            at += bytes.len();
        }
        Ok(())
    }

    /// The connection breaks.
    fn lose(&mut self) {
        if !std::mem::replace(&mut self.dead, true) {
            self.complete(Completion::Disconnected);
            self.give_back();
        }
    }

    /// Buffers of a dead connection come back.
    fn give_back(&mut self) {
        if !self.dead || self.flush_held {
            return;
        }
        let queued = std::mem::take(&mut self.queued);
        let parked = std::mem::take(&mut self.parked);
        let work = parked.into_iter().chain(self.work.drain(..));
        let work: Vec<Work> = work.chain(queued).collect();
        for work in work {
            let result = Err(WorkError::Flushed);
            match work {
                Work::Send(_) => {}
                Work::Read(id, buf, _) => self.complete(Completion::Read { id, buf, result }),
                Work::Write(id, buf, _) => self.complete(Completion::Wrote { id, buf, result }),
            }
        }
        while let Some(buf) = self.receives.pop_front() {
            self.complete(Completion::Unused(buf));
        }
    }

    fn in_flight(&self) -> usize {
        let has_buffer = |work: &&Work| !matches!(work, Work::Send(_));
        let work = self.parked.iter().chain(&self.work).chain(&self.queued);
        let done = self.done.iter().filter(|done| done.buf().is_some());
        self.receives.len() + work.filter(has_buffer).count() + done.count()
    }
}

/// The target's end.
struct MemoryEndpoint(Arc<Mutex<Wire>>);

impl Endpoint for MemoryEndpoint {
    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn wake_by(&mut self, waker: Waker) {
        let mut wire = self.0.lock();
        if !wire.done.is_empty() {
            waker.wake();
        }
        wire.waker = Some(waker);
    }

    fn receive(&mut self, buf: IoBuf) {
        let mut wire = self.0.lock();
        let Some(queue) = wire.shared.clone() else {
            wire.receives.push_back(buf);
            return wire.run();
        };
        if let Err(buf) = queue.give(buf) {
            wire.complete(Completion::Unused(buf));
        }
        wire.run();
        drop(wire);
        // Somebody else may have waited for it.
        queue.run_all();
    }

    fn send(&mut self, iu: &[u8]) {
        self.0.lock().queued.push(Work::Send(iu.to_vec()));
    }

    fn read(&mut self, id: u64, buf: IoBuf, from: &[Remote]) {
        let work = Work::Read(id, buf, from.to_vec());
        self.0.lock().queued.push(work);
    }

    fn write(&mut self, id: u64, buf: IoBuf, to: &[Remote]) {
        let work = Work::Write(id, buf, to.to_vec());
        self.0.lock().queued.push(work);
    }

    fn flush(&mut self) {
        let mut wire = self.0.lock();
        let queued = std::mem::take(&mut wire.queued);
        wire.work.extend(queued);
        wire.run();
    }

    fn poll(&mut self, into: &mut Vec<Completion>) -> bool {
        let mut wire = self.0.lock();
        let some = !wire.done.is_empty();
        into.extend(wire.done.drain(..));
        some
    }

    fn disconnect(&mut self) {
        let mut wire = self.0.lock();
        wire.lose();
        wire.give_back();
    }

    fn in_flight(&self) -> usize {
        self.0.lock().in_flight()
    }
}

impl Drop for MemoryEndpoint {
    fn drop(&mut self) {
        let mut wire = self.0.lock();
        wire.dead = true;
        wire.gone = true;
        wire.waker = None;
        (wire.work, wire.receives, wire.done) = Default::default();
        (wire.queued, wire.parked, wire.sends) = Default::default();
        wire.shared = None;
    }
}

struct MemoryPending(Arc<Mutex<Wire>>);

impl Pending for MemoryPending {
    fn wants(&self, shared: &Shared, most: usize) -> usize {
        SharedQueue::of(shared).room().min(most)
    }

    fn accept(
        self: Box<Self>,
        answer: &[u8],
        setup: Setup,
    ) -> Result<Box<dyn Endpoint>, ConnectError> {
        let mut wire = self.0.lock();
        if wire.state != State::Requested {
            return Err(ConnectError("the initiator has given up".to_owned()));
        }
        wire.sends = setup.sends;
        wire.state = State::Accepted(answer.to_vec());
        wire.shared = setup.shared.map(|shared| SharedQueue::of(&shared));
        if let Some(queue) = &wire.shared {
            queue.wires.lock().push(Arc::downgrade(&self.0));
        }
        drop(wire);
        let mut endpoint = MemoryEndpoint(self.0);
        setup
            .receives
            .into_iter()
            .for_each(|buf| endpoint.receive(buf));
        Ok(Box::new(endpoint))
    }

    fn reject(self: Box<Self>, answer: &[u8]) {
        let mut wire = self.0.lock();
        if wire.state == State::Requested {
            wire.state = State::Rejected(answer.to_vec());
        }
    }
}

/// A request for a connection, and the initiator that makes it.
#[must_use]
pub fn request(form: LoginForm, private_data: &[u8], peer: &str) -> (Request, Initiator) {
    let wire = Arc::new(Mutex::new(Wire::default()));
    let request = Request {
        private_data: private_data.to_vec(),
        form,
        peer: peer.to_owned(),
        local: String::new(),
        port: None,
        pending: Box::new(MemoryPending(Arc::clone(&wire))),
    };
    (request, Initiator::new(wire))
}

#[derive(Default)]
struct Door {
    requests: VecDeque<Request>,
    waker: Option<Waker>,
    closed: bool,
}

/// Initiators' way to a [`MemoryListener`].
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Door>>);

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

/// A listener in memory.
pub struct MemoryListener(Network);

impl Network {
    /// A network with its listener.
    #[must_use]
    pub fn new() -> (Self, MemoryListener) {
        let network = Self::default();
        (network.clone(), MemoryListener(network))
    }

    /// Asks for a connection; false if nobody listens any more.
    pub fn connect(&self, request: Request) -> bool {
        let mut door = self.0.lock();
        if door.closed {
            return false;
        }
        door.requests.push_back(request);
        if let Some(waker) = &door.waker {
            waker.wake();
        }
        true
    }
}

impl Listener for MemoryListener {
    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn wake_by(&mut self, waker: Waker) {
        let mut door = self.0.0.lock();
        if !door.requests.is_empty() {
            waker.wake();
        }
        door.waker = Some(waker);
    }

    fn poll(&mut self) -> Option<Request> {
        self.0.0.lock().requests.pop_front()
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        let mut door = self.0.0.lock();
        door.closed = true;
        door.requests.clear();
    }
}

#[cfg(test)]
mod tests;
