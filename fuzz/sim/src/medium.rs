//! The store under a unit: blocks in memory, behind operations that wait, fail, get stuck or lost.

use std::sync::Arc;

use lunforge::vdisk::store::{
    Allocation, Answer, BackingStore, Capabilities, Limits, Stamp, StoreCx, StoreError, StoreOp,
    StoreRequest, StoreResult, Submitted,
};
use parking_lot::Mutex;

use crate::chronicle::Chronicle;
use crate::config::{Config, Fault, Fencing, UnitConfig};
use crate::model::Model;
use crate::pattern::{self, BLOCK, Content};
use crate::rng::{PerMille, Rng};

/// What a panicking store says.
pub(crate) const PANIC: &str = "a simulated store panics";

struct Pending {
    request: StoreRequest,
    /// It reached the medium, with this result.
    applied: Option<StoreResult>,
    stuck: bool,
    /// Begun: a fence comes too late.
    inside: bool,
    /// The target was told that it may take effect after a fence.
    excused: bool,
    /// The write whose data it carries.
    write: Option<u32>,
}

struct State {
    contents: Vec<Content>,
    pending: Vec<Pending>,
    stamp: Stamp,
    rng: Rng,
    calm: bool,
    scratch: Vec<Content>,
}

/// See the module's head.
pub(crate) struct Medium {
    unit: usize,
    config: UnitConfig,
    slow: PerMille,
    failing: PerMille,
    stuck: PerMille,
    broken: PerMille,
    chronicle: Arc<Chronicle>,
    model: Arc<Mutex<Model>>,
    state: Mutex<State>,
}

impl Medium {
    pub(crate) fn new(
        unit: usize,
        config: &Config,
        seed: u64,
        chronicle: &Arc<Chronicle>,
        model: &Arc<Mutex<Model>>,
    ) -> Arc<Self> {
        let of_unit = config.units[unit].clone();
        let state = State {
            contents: vec![0; of_unit.blocks as usize],
            pending: Vec::new(),
            stamp: Stamp::from(1),
            rng: Rng::of(seed, 2, unit as u64),
            calm: false,
            scratch: Vec::new(),
        };
        Arc::new(Self {
            unit,
            slow: (config.strength(Fault::SlowStore) * 2).min(1000),
            failing: config.strength(Fault::FailingStore) / 2,
            stuck: config.strength(Fault::StuckStore) / 4,
            broken: config.strength(Fault::BrokenStore) / 8,
            config: of_unit,
            chronicle: Arc::clone(chronicle),
            model: Arc::clone(model),
            state: Mutex::new(state),
        })
    }

    /// From now on nothing waits or fails any more.
    pub(crate) fn calm(&self) {
        self.state.lock().calm = true;
    }

    /// Ends one of the operations that wait, stuck or not. False when there is none.
    pub(crate) fn let_go_one(&self) -> bool {
        let mut state = self.state.lock();
        if state.pending.is_empty() {
            return false;
        }
        let result = self.apply_at(&mut state, 0);
        let ended = state.pending.remove(0);
        drop(state);
        ended.request.finish(result);
        true
    }

    /// Something happens to one of the operations that wait.
    pub(crate) fn step(&self, rng: &mut Rng) {
        let mut state = self.state.lock();
        let moving: Vec<usize> = (0..state.pending.len())
            .filter(|at| !state.pending[*at].stuck)
            .collect();
        if moving.is_empty() {
            return;
        }
        let at = rng.pick(&moving);
        let (failing, broken) = (rng.chance(self.failing), rng.chance(self.broken));
        if !failing && !broken && rng.one_in(4) {
            let result = self.apply_at(&mut state, at);
            state.pending[at].applied = Some(result);
            return;
        }
        let result = if failing {
            self.fail_at(&mut state, at, rng)
        } else {
            self.apply_at(&mut state, at)
        };
        let ended = state.pending.remove(at);
        drop(state);
        self.chronicle.note(3, u64::from(broken), || {
            format!(
                "unit {}: the store answers {result:?}{}",
                self.unit,
                if broken { " by a drop" } else { "" }
            )
        });
        if broken {
            drop(ended.request);
        } else {
            ended.request.finish(result);
        }
    }

    /// Fails an operation, which may have reached a part of the medium.
    fn fail_at(&self, state: &mut State, at: usize, rng: &mut Rng) -> StoreResult {
        let offset = state.pending[at].request.op().map_or(0, |op| op.extent().0);
        if rng.one_in(3) {
            let _ = self.apply_at(state, at);
        }
        Err(rng.pick(&[
            StoreError::Transient,
            StoreError::NoSpace,
            StoreError::Medium { offset },
            StoreError::Short { offset },
            StoreError::ReadOnly,
        ]))
    }

    fn refused(&self, pending: &Pending, stamp: Stamp) -> bool {
        let stale = pending.request.stamp() != stamp;
        match self.config.fencing {
            Fencing::All => stale,
            Fencing::Queued => stale && !pending.inside,
            Fencing::Nothing => false,
        }
    }

    fn apply_at(&self, state: &mut State, at: usize) -> StoreResult {
        let State {
            contents,
            pending,
            stamp,
            scratch,
            ..
        } = state;
        let Some(one) = pending.get_mut(at) else {
            return Err(StoreError::Dropped);
        };
        if let Some(result) = one.applied {
            return result;
        }
        if self.refused(one, *stamp) {
            return Err(StoreError::Fenced);
        }
        let excused = one.excused;
        match one.request.op_mut() {
            Some(op) => self.apply(contents, scratch, op, excused),
            None => Err(StoreError::Dropped),
        }
    }

    fn apply(
        &self,
        contents: &mut [Content],
        scratch: &mut Vec<Content>,
        op: &mut StoreOp,
        excused: bool,
    ) -> StoreResult {
        let (offset, len) = op.extent();
        let (first, blocks) = (offset / BLOCK as u64, (len / BLOCK as u64) as usize);
        let place = first as usize..first as usize + blocks;
        let Some(mine) = contents.get_mut(place) else {
            return Err(StoreError::Short { offset });
        };
        match op {
            StoreOp::Read { buf, range, .. } => {
                let mut held = mine.iter();
                for slice in buf.slices_mut(range.clone()) {
                    for (block, content) in slice.chunks_mut(BLOCK).zip(&mut held) {
                        pattern::fill(block, *content);
                    }
                }
            }
            StoreOp::Write {
                buf, range, fua, ..
            } => {
                self.gather(scratch, buf.slices(range.clone()), first);
                let fua = *fua;
                self.land(mine, scratch, first, excused, fua);
            }
            StoreOp::Discard { .. } | StoreOp::WriteZeroes { .. } => {
                scratch.clear();
                scratch.resize(blocks, 0);
                self.land(mine, scratch, first, excused, false);
            }
            StoreOp::Flush => {
                let unit = self.unit;
                self.chronicle
                    .note(4, unit as u64, || format!("unit {unit}: flushed"));
                self.model.lock().flushed(self.unit);
            }
            StoreOp::AllocationStatus { .. } => {
                let one = Allocation {
                    mapped: true,
                    len: BLOCK as u64,
                };
                return Ok(Answer::Allocation(one));
            }
            StoreOp::Prefetch { .. } => {}
            StoreOp::CopyFrom { .. } => return Err(StoreError::Unsupported),
        }
        Ok(Answer::Done)
    }

    fn gather<'a>(
        &self,
        into: &mut Vec<Content>,
        slices: impl Iterator<Item = &'a [u8]>,
        first: u64,
    ) {
        into.clear();
        for block in slices.flat_map(|slice| slice.chunks(BLOCK)) {
            let content = pattern::read(block).unwrap_or_else(|| {
                let detail = format!(
                    "unit {} block {}: torn",
                    self.unit,
                    first + into.len() as u64
                );
                self.chronicle.fail("garbage-written", detail);
                0
            });
            into.push(content);
        }
    }

    fn land(&self, mine: &mut [Content], new: &[Content], first: u64, excused: bool, fua: bool) {
        let unit = self.unit;
        let what = new.first().copied().unwrap_or(0);
        self.chronicle.note(5, what ^ first << 40, || {
            format!(
                "unit {unit}: blocks {first}+{} become {what:#x}..",
                new.len()
            )
        });
        let mut model = self.model.lock();
        model.land(unit, first, new, excused);
        if fua || !self.config.volatile {
            model.stable(unit, first, new.len());
        }
        mine.copy_from_slice(new);
    }

    /// A write that the initiator sent after an older one was given up, which may still land: the medium should have
    /// been closed.
    fn check_order(&self, state: &State, write: Option<u32>) {
        let mut model = self.model.lock();
        let Some(sent) = write.and_then(|id| model.write(id)).map(|write| write.sent) else {
            return;
        };
        for stale in state
            .pending
            .iter()
            .filter(|p| p.excused && p.applied.is_none())
        {
            let old = stale.write.and_then(|id| model.write(id));
            if old
                .and_then(|old| old.end)
                .is_some_and(|(seq, _)| seq < sent)
            {
                let detail = format!(
                    "unit {}: {write:?} while {:?} may land",
                    self.unit, stale.write
                );
                model.fail("medium-open-over-stale-write", detail);
            }
        }
    }

    fn keep(&self, state: &mut State, op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        let write = write_of(&op);
        let stuck = state.rng.chance(self.stuck);
        let inside = state.rng.one_in(2);
        let twice = state.rng.chance(self.broken);
        let (request, kept) = cx.keep(op);
        if twice {
            drop(cx.keep(StoreOp::Flush));
        }
        let unit = self.unit;
        self.chronicle.note(6, u64::from(stuck), || {
            let extent = request.op().map(StoreOp::extent);
            format!(
                "unit {unit}: {extent:?} of write {write:?} waits{}",
                if stuck { " for ever" } else { "" }
            )
        });
        state.pending.push(Pending {
            request,
            applied: None,
            stuck,
            inside,
            excused: false,
            write,
        });
        Submitted::Pending(kept)
    }
}

/// The write whose data an operation carries.
fn write_of(op: &StoreOp) -> Option<u32> {
    let StoreOp::Write { buf, range, .. } = op else {
        return None;
    };
    let first = buf.slices(range.clone()).next()?;
    let content = pattern::read(first.get(..BLOCK)?)?;
    (content != 0).then(|| pattern::origin(content).0)
}

impl BackingStore for Medium {
    fn limits(&self) -> Limits {
        let size = self.state.lock().contents.len() * BLOCK;
        Limits {
            logical_block: BLOCK as u32,
            physical_block: BLOCK as u32,
            max_transfer: self.config.max_transfer,
            ..Limits::new(size as u64)
        }
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::ALLOCATION_STATUS;
        can.set(
            Capabilities::DISCARD
                | Capabilities::READS_ZERO_AFTER_DISCARD
                | Capabilities::WRITE_ZEROES,
            self.config.thin,
        );
        can.set(Capabilities::VOLATILE_CACHE, self.config.volatile);
        can.set(Capabilities::FUA, self.config.fua);
        can
    }

    fn submit(&self, mut op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        let mut state = self.state.lock();
        let fenced = self.config.fencing != Fencing::Nothing && cx.stamp() != state.stamp;
        if fenced {
            return op.done(Err(StoreError::Fenced));
        }
        self.check_order(&state, write_of(&op));
        if !state.calm {
            if state.rng.chance(self.broken) {
                drop(state);
                self.chronicle.note(7, 0, || "the store panics".into());
                std::panic::panic_any(PANIC);
            }
            if state.rng.chance(self.slow) || state.rng.chance(self.stuck) {
                return self.keep(&mut state, op, cx);
            }
            if state.rng.chance(self.failing / 4) {
                return op.done(Err(StoreError::Transient));
            }
        }
        let State {
            contents, scratch, ..
        } = &mut *state;
        let result = self.apply(contents, scratch, &mut op, false);
        op.done(result)
    }

    fn activate(&self, generation: u64) -> Result<(), StoreError> {
        self.state.lock().stamp.generation = generation;
        Ok(())
    }

    fn renew(&self, epoch: u64) -> Option<usize> {
        let mut state = self.state.lock();
        state.stamp.epoch = epoch;
        let fencing = self.config.fencing;
        let mut left = 0;
        for pending in state.pending.iter_mut().filter(|p| p.applied.is_none()) {
            let escapes = match fencing {
                Fencing::All => false,
                Fencing::Queued => pending.inside,
                Fencing::Nothing => true,
            };
            pending.excused |= escapes;
            left += usize::from(escapes);
        }
        let unit = self.unit;
        self.model.lock().units[unit].unfenced |= fencing == Fencing::Nothing;
        self.chronicle.note(8, left as u64, || {
            format!("unit {unit}: fenced but for {left} operations")
        });
        (fencing != Fencing::Nothing).then_some(left)
    }

    fn resize(&self, size: u64) -> Result<Limits, StoreError> {
        let blocks = (size / BLOCK as u64) as usize;
        self.state.lock().contents.resize(blocks, 0);
        self.model.lock().resized(self.unit, blocks as u64);
        Ok(self.limits())
    }
}
