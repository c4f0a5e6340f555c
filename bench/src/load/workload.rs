//! Which command comes next.

use super::{Mode, pattern::Pattern};

/// What one command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    #[default]
    Read,
    Write,
    Flush,
}

/// One command to send.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) lba: u64,
    /// Generation a write writes, or a read must find; 0 when unknown.
    pub(crate) generation: u32,
    /// Slot held while verifying.
    slot: usize,
}

/// Last acknowledged generation per slot; a slot is one transfer.
#[derive(Debug)]
struct Slots {
    generation: Vec<u32>,
    busy: Vec<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Write every slot once.
    Fill(usize),
    /// The mode asked for.
    Run,
    /// Read back every slot that was written.
    ReadBack(usize),
    /// Nothing more.
    Stopped,
}

/// Command source of one session.
#[derive(Debug)]
pub(crate) struct Workload {
    mode: Mode,
    rng: u64,
    /// First block and number of transfers of this session.
    first: u64,
    transfers: u64,
    blocks: u64,
    next: u64,
    phase: Phase,
    slots: Option<Slots>,
    pub(crate) pattern: Pattern,
}

impl Workload {
    /// A source over `transfers` transfers of `blocks` blocks from block `first` on.
    pub(crate) fn new(
        mode: Mode,
        seed: u64,
        (first, transfers, blocks): (u64, u64, u64),
        pattern: Pattern,
        verify: bool,
    ) -> Self {
        let len = usize::try_from(transfers).unwrap_or(0);
        let slots = verify.then(|| Slots {
            generation: vec![0; len],
            busy: vec![false; len],
        });
        let phase = Phase::Run;
        let rng = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self {
            mode,
            rng,
            first,
            transfers,
            blocks,
            next: 0,
            phase,
            slots,
            pattern,
        }
    }

    pub(crate) fn fill(&mut self) {
        self.phase = Phase::Fill(0);
    }
    pub(crate) fn run(&mut self) {
        self.phase = Phase::Run;
    }
    pub(crate) fn read_back(&mut self) {
        self.phase = Phase::ReadBack(0);
    }
    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Stopped;
    }
    pub(crate) fn verifies(&self) -> bool {
        self.slots.is_some()
    }

    #[inline]
    fn random(&mut self) -> u64 {
        let mut x = self.rng;
        x ^= x << 7;
        x ^= x >> 9;
        self.rng = x;
        x
    }

    /// The next command; `None` when the phase is over or every slot is taken.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Operation> {
        match self.phase {
            Phase::Run => self.next_run(),
            Phase::Stopped => None,
            Phase::Fill(at) => {
                let slots = self.slots.as_mut()?;
                *slots.busy.get_mut(at)? = true;
                self.phase = Phase::Fill(at + 1);
                Some(self.operation(Kind::Write, at, 1))
            }
            Phase::ReadBack(at) => {
                let slots = self.slots.as_mut()?;
                let rest = slots.generation.get(at..)?;
                let slot = at + rest.iter().position(|g| *g > 0)?;
                let generation = slots.generation.get(slot).copied()?;
                *slots.busy.get_mut(slot)? = true;
                self.phase = Phase::ReadBack(slot + 1);
                Some(self.operation(Kind::Read, slot, generation))
            }
        }
    }

    fn operation(&self, kind: Kind, slot: usize, generation: u32) -> Operation {
        Operation {
            kind,
            lba: self.first + slot as u64 * self.blocks,
            generation,
            slot,
        }
    }

    #[inline]
    fn next_run(&mut self) -> Option<Operation> {
        let dice = if self.mode.is_mixed() {
            self.random() >> 32
        } else {
            0
        };
        let kind = self.mode.kind((dice % 1000) as u32);
        if kind == Kind::Flush {
            return Some(Operation {
                kind,
                lba: 0,
                generation: 0,
                slot: usize::MAX,
            });
        }
        // A busy slot is skipped, so that no two commands of unknown order meet on it.
        for _ in 0..64 {
            let at = if self.mode.is_random() {
                self.random() % self.transfers
            } else {
                self.step()
            };
            let slot = usize::try_from(at).ok()?;
            let Some(slots) = &mut self.slots else {
                return Some(self.operation(kind, slot, 0));
            };
            let busy = slots.busy.get_mut(slot)?;
            if *busy {
                continue;
            }
            *busy = true;
            let last = slots.generation.get(slot).copied()?;
            let generation = if kind == Kind::Write {
                last.wrapping_add(1).max(1)
            } else {
                last
            };
            return Some(self.operation(kind, slot, generation));
        }
        None
    }

    fn step(&mut self) -> u64 {
        let at = self.next;
        self.next = if at + 1 >= self.transfers { 0 } else { at + 1 };
        at
    }

    /// A command ended; `good` when its effect is certain.
    #[inline]
    pub(crate) fn ended(&mut self, operation: &Operation, good: bool) {
        let Some(slots) = &mut self.slots else { return };
        if let Some(busy) = slots.busy.get_mut(operation.slot) {
            *busy = false;
        }
        if operation.kind == Kind::Write
            && let Some(generation) = slots.generation.get_mut(operation.slot)
        {
            *generation = if good { operation.generation } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(mode: Mode, transfers: u64) -> Workload {
        Workload::new(
            mode,
            5,
            (1000, transfers, 8),
            Pattern {
                seed: 1,
                block: 512,
            },
            true,
        )
    }

    #[test]
    fn no_two_commands_hold_one_slot_while_verifying() {
        let mut w = load(Mode::RandRw, 4);
        let held: Vec<_> = std::iter::from_fn(|| w.next()).take(10).collect();
        assert!(held.len() <= 4);
        let mut lbas: Vec<_> = held.iter().map(|o| o.lba).collect();
        lbas.sort_unstable();
        lbas.dedup();
        assert_eq!(lbas.len(), held.len());
    }

    #[test]
    fn read_back_expects_the_last_acknowledged_generation_and_skips_failed_writes() {
        let mut w = load(Mode::Write, 3);
        for good in [true, false, true, true] {
            let o = w.next().unwrap();
            w.ended(&o, good);
        }
        w.read_back();
        let got: Vec<_> = std::iter::from_fn(|| w.next())
            .map(|o| (o.lba, o.generation))
            .collect();
        assert_eq!(got, [(1000, 2), (1016, 1)]);
    }

    #[test]
    fn sequential_transfers_wrap_inside_the_span() {
        let mut w = Workload::new(
            Mode::Read,
            1,
            (0, 3, 8),
            Pattern {
                seed: 1,
                block: 512,
            },
            false,
        );
        let lbas: Vec<_> = std::iter::from_fn(|| w.next())
            .take(5)
            .map(|o| o.lba)
            .collect();
        assert_eq!(lbas, [0, 8, 16, 0, 8]);
    }
}
