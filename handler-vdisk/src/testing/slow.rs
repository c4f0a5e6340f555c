//! A store that is as slow as the test wants.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::store::{
    BackingStore, Capabilities, Limits, RamStore, Stamp, StoreCx, StoreError, StoreOp,
    StoreRequest, StoreResult, Submitted,
};

/// Which operations wait for the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// None: the store is a [`RamStore`].
    Nothing,
    /// Those that change stored bytes.
    Writes,
    /// All.
    Everything,
}

/// Names an operation of a [`SlowStore`]; ascends in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(u64);

/// What an operation does.
#[allow(missing_docs, reason = "named as the variants of StoreOp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    Read,
    Write { fua: bool },
    Flush,
    Discard,
    WriteZeroes,
    AllocationStatus,
    Prefetch,
    CopyFrom,
}

impl OpKind {
    fn of(op: &StoreOp) -> Self {
        match op {
            StoreOp::Read { .. } => Self::Read,
            StoreOp::Write { fua, .. } => Self::Write { fua: *fua },
            StoreOp::Flush => Self::Flush,
            StoreOp::Discard { .. } => Self::Discard,
            StoreOp::WriteZeroes { .. } => Self::WriteZeroes,
            StoreOp::AllocationStatus { .. } => Self::AllocationStatus,
            StoreOp::Prefetch { .. } => Self::Prefetch,
            StoreOp::CopyFrom { .. } => Self::CopyFrom,
        }
    }
}

/// An operation that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub id: OpId,
    /// What it does.
    pub kind: OpKind,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// A change that reached the medium. The order of the record is the order in which they did.
#[derive(Clone, Debug)]
pub struct Landed {
    /// The operation.
    pub id: OpId,
    /// What it did.
    pub kind: OpKind,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// The first byte written, of a WRITE: tells writes of one byte value apart.
    pub first: Option<u8>,
    /// When.
    pub at: Instant,
}

struct Waiting {
    held: Held,
    request: StoreRequest,
    applied: bool,
}

struct State {
    hold: Hold,
    waiting: Vec<Waiting>,
    record: Vec<Landed>,
    next: u64,
    stamp: Stamp,
    fences: bool,
}

/// Bytes in memory behind operations that wait until the test lets them go, in any order; what reached the medium is
/// recorded. Works under any number of sessions and threads.
///
/// Where it fences ([`SlowStore::fences`], the default), an operation of an older stamp that has not been applied never
/// is: it ends with [`StoreError::Fenced`].
pub struct SlowStore {
    medium: RamStore,
    capabilities: Capabilities,
    state: Mutex<State>,
    arrived: Condvar,
}

impl std::fmt::Debug for SlowStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlowStore")
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

impl SlowStore {
    /// A store of `size` zero bytes that holds nothing back yet, with the capabilities of a [`RamStore`].
    pub fn new(size: u64) -> Arc<Self> {
        let capabilities = RamStore::new(0).capabilities();
        Self::with(size, capabilities)
    }

    /// The same with other capabilities.
    pub fn with(size: u64, capabilities: Capabilities) -> Arc<Self> {
        let state = State {
            hold: Hold::Nothing,
            waiting: Vec::new(),
            record: Vec::new(),
            next: 0,
            stamp: Stamp::from(1),
            fences: true,
        };
        Arc::new(Self {
            medium: RamStore::new(size),
            capabilities,
            state: Mutex::new(state),
            arrived: Condvar::new(),
        })
    }

    /// Which operations wait from now on.
    pub fn hold(&self, hold: Hold) {
        self.state.lock().hold = hold;
    }

    /// Whether the store can refuse operations of an older stamp.
    pub fn fences(&self, can: bool) {
        self.state.lock().fences = can;
    }

    /// What waits, in the order of arrival.
    pub fn held(&self) -> Vec<Held> {
        let state = self.state.lock();
        state.waiting.iter().map(|w| w.held.clone()).collect()
    }

    /// Waits until at least `count` operations wait, and names all that do. Blocks at most `patience`.
    ///
    /// # Panics
    /// When they do not come.
    pub fn wait_held(&self, count: usize, patience: Duration) -> Vec<Held> {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock();
        while state.waiting.len() < count {
            let late = self.arrived.wait_until(&mut state, deadline).timed_out();
            assert!(
                !late || state.waiting.len() >= count,
                "{} of {count} operations came",
                state.waiting.len()
            );
        }
        state.waiting.iter().map(|w| w.held.clone()).collect()
    }

    /// What reached the medium, in order.
    pub fn record(&self) -> Vec<Landed> {
        self.state.lock().record.clone()
    }

    /// Bytes on the medium.
    ///
    /// # Panics
    /// When they are not within the store.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let buf = lunforge_core::buffer::IoBuf::unpooled(len).expect("memory");
        let mut op = StoreOp::Read {
            offset,
            buf,
            range: 0..len,
        };
        let read = self.medium.run(&mut op, Stamp::from(1));
        assert!(read.is_ok(), "{read:?}");
        match op {
            StoreOp::Read { buf, .. } => buf.to_vec(0..len),
            _ => Vec::new(),
        }
    }

    /// Lets an operation reach the medium, without answering it yet. False when it does not wait, or was fenced.
    pub fn apply(&self, id: OpId) -> bool {
        let mut state = self.state.lock();
        let Some(at) = state.waiting.iter().position(|w| w.held.id == id) else {
            return false;
        };
        self.apply_at(&mut state, at).is_ok()
    }

    fn apply_at(&self, state: &mut State, at: usize) -> StoreResult {
        let (stamp, fences) = (state.stamp, state.fences);
        let Some(waiting) = state.waiting.get_mut(at) else {
            return Err(StoreError::Dropped);
        };
        if waiting.applied {
            return Ok(crate::store::Answer::Done);
        }
        if fences && waiting.request.stamp() != stamp {
            return Err(StoreError::Fenced);
        }
        waiting.applied = true;
        let id = waiting.held.id;
        let Some(op) = waiting.request.op_mut() else {
            return Err(StoreError::Dropped);
        };
        let (result, landed) = self.carry_out(id, op);
        state.record.extend(landed);
        result
    }

    fn carry_out(&self, id: OpId, op: &mut StoreOp) -> (StoreResult, Option<Landed>) {
        let result = self.medium.run(op, Stamp::from(1));
        let (offset, len) = op.extent();
        let first = match op {
            StoreOp::Write { buf, range, .. } => buf
                .slices(range.clone())
                .next()
                .and_then(|slice| slice.first().copied()),
            _ => None,
        };
        let landed = (op.is_write() && result.is_ok()).then(|| Landed {
            id,
            kind: OpKind::of(op),
            offset,
            len,
            first,
            at: Instant::now(),
        });
        (result, landed)
    }

    /// Lets an operation reach the medium, if it has not, and answers it on this thread. False when it does not wait.
    pub fn complete(&self, id: OpId) -> bool {
        self.answer(id, None)
    }

    /// Answers an operation with an error; it does not reach the medium any more. False when it does not wait.
    pub fn fail(&self, id: OpId, error: StoreError) -> bool {
        self.answer(id, Some(error))
    }

    fn answer(&self, id: OpId, error: Option<StoreError>) -> bool {
        let mut state = self.state.lock();
        let Some(at) = state.waiting.iter().position(|w| w.held.id == id) else {
            return false;
        };
        let result = match error {
            Some(error) => Err(error),
            None => self.apply_at(&mut state, at),
        };
        let waiting = state.waiting.remove(at);
        // The command goes on on this thread, and may submit more.
        drop(state);
        waiting.request.finish(result);
        true
    }

    /// Completes all that wait, in the order of arrival; how many.
    pub fn complete_all(&self) -> usize {
        let held = self.held();
        held.iter().filter(|held| self.complete(held.id)).count()
    }

    /// Holds nothing back any more and completes all that waits.
    pub fn let_go(&self) {
        self.hold(Hold::Nothing);
        self.complete_all();
    }
}

impl BackingStore for SlowStore {
    fn limits(&self) -> Limits {
        self.medium.limits()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn submit(&self, mut op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        let mut state = self.state.lock();
        if state.fences && cx.stamp() != state.stamp {
            drop(state);
            return op.done(Err(StoreError::Fenced));
        }
        let id = OpId(state.next);
        state.next += 1;
        let holds = match state.hold {
            Hold::Nothing => false,
            Hold::Writes => op.is_write(),
            Hold::Everything => true,
        };
        if !holds {
            let (result, landed) = self.carry_out(id, &mut op);
            state.record.extend(landed);
            drop(state);
            return op.done(result);
        }
        let (offset, len) = op.extent();
        let held = Held {
            id,
            kind: OpKind::of(&op),
            offset,
            len,
        };
        let (request, kept) = cx.keep(op);
        state.waiting.push(Waiting {
            held,
            request,
            applied: false,
        });
        self.arrived.notify_all();
        Submitted::Pending(kept)
    }

    fn activate(&self, generation: u64) -> Result<(), StoreError> {
        self.state.lock().stamp.generation = generation;
        Ok(())
    }

    fn fence(&self) -> usize {
        let mut state = self.state.lock();
        state.stamp.generation = 0;
        if state.fences { 0 } else { state.waiting.len() }
    }

    fn deactivate(&self, _patience: Duration) -> Result<(), StoreError> {
        match self.fence() {
            0 => Ok(()),
            _ => Err(StoreError::Transient),
        }
    }

    fn renew(&self, epoch: u64) -> Option<usize> {
        let mut state = self.state.lock();
        state.stamp.epoch = epoch;
        state.fences.then_some(0)
    }
}
