//! What each block of a unit must hold, from its record, and the judgement over what it does hold.

use std::path::Path;

use super::record::{self, Ack, Line, RecordError, Unit};
use crate::load::pattern::{Identity, Pattern};

/// What a block holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The write that was last acknowledged as durable; or nothing, and nothing was.
    Kept,
    /// A write issued later than that: it need not be there and may.
    Later,
    /// An older write, or nothing: the number of the write that is there (0: nothing), and of the one that was promised.
    Lost {
        /// There.
        found: u32,
        /// Promised.
        promised: u32,
    },
    /// Nothing that was ever written to this block.
    Torn(String),
}

/// What a unit owes.
#[derive(Debug)]
pub struct Ledger {
    /// The unit.
    pub unit: Unit,
    /// Number of the last durable write for each block; 0: none.
    promised: Vec<u32>,
    /// No higher number was issued.
    issued: u32,
    /// Writes acknowledged as durable.
    acked: u64,
}

impl Ledger {
    /// A unit that owes nothing yet.
    pub fn new(unit: Unit) -> Self {
        let blocks = usize::try_from(unit.blocks).unwrap_or(0);
        Self {
            unit,
            promised: vec![0; blocks],
            issued: 0,
            acked: 0,
        }
    }

    /// Reads a record to its end.
    ///
    /// # Errors
    /// [`RecordError`]; a record that does not begin with its unit.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let (mut ledger, lines) = Self::of(path)?;
        lines.into_iter().for_each(|line| ledger.apply(line));
        Ok(ledger)
    }

    /// What a record says of issued writes, and its acks in order, not yet taken into account.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub fn begin(path: &Path) -> Result<(Self, Vec<Ack>), RecordError> {
        let (mut ledger, lines) = Self::of(path)?;
        let mut acks = Vec::new();
        for line in lines {
            match line {
                Line::Ack(ack) => acks.push(ack),
                other => ledger.apply(other),
            }
        }
        Ok((ledger, acks))
    }

    fn of(path: &Path) -> Result<(Self, Vec<Line>), RecordError> {
        let lines = record::read(path)?;
        match lines.first() {
            Some(Line::Unit(unit)) => Ok((Self::new(*unit), lines)),
            _ => Err(RecordError::Line {
                path: path.to_owned(),
                line: 1,
                what: "a record begins with its unit",
            }),
        }
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Unit(_) => {}
            Line::Issued(number) => self.issued = self.issued.max(number),
            Line::Ack(ack) => self.acknowledge(ack),
            Line::Lowered { lba, number } => {
                if let Some(promised) = self.slot(lba) {
                    *promised = number;
                }
            }
        }
    }

    fn slot(&mut self, lba: u64) -> Option<&mut u32> {
        self.promised.get_mut(usize::try_from(lba).ok()?)
    }

    /// From now on this write or a later one has to be there.
    pub fn acknowledge(&mut self, ack: Ack) {
        self.acked += 1;
        for lba in (ack.lba..).take(ack.blocks as usize) {
            if let Some(promised) = self.slot(lba) {
                // Writes that overlap are never in flight together, but their acks may come in any order.
                *promised = (*promised).max(ack.number);
            }
        }
    }

    /// No write with a higher number was issued.
    pub fn issued(&self) -> u32 {
        self.issued
    }

    /// Writes acknowledged as durable.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Blocks of which something is promised.
    pub fn owed(&self) -> u64 {
        self.promised.iter().filter(|number| **number > 0).count() as u64
    }

    /// Judges one block.
    pub fn judge(&self, lba: u64, block: &[u8]) -> Finding {
        let pattern = Pattern {
            seed: self.unit.seed,
            block: self.unit.block_len,
        };
        let found = match pattern.identify(lba, block) {
            Identity::Never => 0,
            Identity::Generation(number) if number <= self.issued => number,
            Identity::Generation(number) => {
                return Finding::Torn(format!("write {number}, which was never issued"));
            }
            Identity::Foreign(what) => return Finding::Torn(what),
        };
        let promised = usize::try_from(lba)
            .ok()
            .and_then(|at| self.promised.get(at).copied())
            .unwrap_or(0);
        match found.cmp(&promised) {
            std::cmp::Ordering::Equal => Finding::Kept,
            std::cmp::Ordering::Greater => Finding::Later,
            std::cmp::Ordering::Less => Finding::Lost { found, promised },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Unit = Unit {
        blocks: 64,
        block_len: 512,
        seed: 9,
    };

    fn block(lba: u64, number: u32) -> Vec<u8> {
        let mut data = Vec::new();
        let pattern = Pattern {
            seed: UNIT.seed,
            block: UNIT.block_len,
        };
        pattern.emit(lba, number, 0, 512, &mut data);
        data
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(UNIT);
        ledger.apply(Line::Issued(100));
        for (lba, number) in [(3, 5), (4, 7)] {
            ledger.acknowledge(Ack {
                lba,
                blocks: 2,
                number,
            });
        }
        ledger
    }

    #[test]
    fn n54_the_last_durable_write_or_a_later_one_is_kept_and_an_older_one_is_lost() {
        let ledger = ledger();
        assert_eq!(ledger.judge(3, &block(3, 5)), Finding::Kept);
        assert_eq!(ledger.judge(4, &block(4, 7)), Finding::Kept);
        assert_eq!(ledger.judge(4, &block(4, 8)), Finding::Later);
        let lost = |found| Finding::Lost { found, promised: 7 };
        assert_eq!(ledger.judge(4, &block(4, 5)), lost(5));
        assert_eq!(ledger.judge(4, &[0; 512]), lost(0));
        assert_eq!(ledger.judge(9, &[0; 512]), Finding::Kept);
        assert_eq!((ledger.owed(), ledger.acked()), (3, 2));
    }

    #[test]
    fn n54_acks_that_come_out_of_order_leave_the_newest_promised() {
        let mut ledger = Ledger::new(UNIT);
        ledger.apply(Line::Issued(100));
        for number in [9, 4] {
            ledger.acknowledge(Ack {
                lba: 1,
                blocks: 1,
                number,
            });
        }
        assert_eq!(
            ledger.judge(1, &block(1, 4)),
            Finding::Lost {
                found: 4,
                promised: 9
            }
        );
    }

    #[test]
    fn n54_torn_misplaced_and_never_issued_blocks_are_found() {
        let ledger = ledger();
        let mut torn = block(3, 5);
        torn[256..].copy_from_slice(&block(3, 6)[256..]);
        for bad in [torn, block(4, 5), block(3, 101), vec![1; 512], vec![]] {
            assert!(matches!(ledger.judge(3, &bad), Finding::Torn(_)), "{bad:?}");
        }
    }

    #[test]
    fn a_loss_is_reported_once() {
        let mut ledger = ledger();
        ledger.apply(Line::Lowered { lba: 4, number: 5 });
        assert_eq!(ledger.judge(4, &block(4, 5)), Finding::Kept);
    }
}
