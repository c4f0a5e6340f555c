//! What a session knows of its blocks.

use super::operation::{Kind, Operation};
use crate::load::Mismatch;
use crate::load::pattern::Pattern;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// Not written yet, or by a command of unknown outcome.
    Unknown,
    /// Zeroes: unmapped.
    Zero,
    /// The pattern of block `source` in `generation`; WRITE SAME puts one block's pattern everywhere.
    Written { source: u32, generation: u32 },
}

/// A session's part of the unit. No two outstanding commands touch the same blocks, unless both only look.
#[derive(Debug)]
pub(super) struct Area {
    pub(super) first: u64,
    pattern: Pattern,
    cells: Vec<Cell>,
    busy: Vec<bool>,
    generation: u32,
    scratch: Vec<u8>,
}

impl Area {
    pub(super) fn new(first: u64, blocks: u32, pattern: Pattern) -> Self {
        Self {
            first,
            pattern,
            cells: vec![Cell::Unknown; blocks as usize],
            busy: vec![false; blocks as usize],
            generation: 0,
            scratch: Vec::new(),
        }
    }

    pub(super) fn blocks(&self) -> u32 {
        self.cells.len() as u32
    }

    pub(super) fn block_len(&self) -> u32 {
        self.pattern.block
    }

    fn range(operation: &Operation) -> std::ops::Range<usize> {
        let start = operation.start as usize;
        start..start + operation.blocks as usize
    }

    /// Takes the blocks of an operation; false when some are taken.
    pub(super) fn claim(&mut self, operation: &Operation) -> bool {
        match self.busy.get_mut(Self::range(operation)) {
            Some(busy) if busy.iter().all(|taken| !taken) => {
                busy.fill(true);
                true
            }
            _ => false,
        }
    }

    pub(super) fn cell(&self, block: u32) -> Cell {
        let cell = self.cells.get(block as usize);
        cell.copied().unwrap_or(Cell::Unknown)
    }

    pub(super) fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1).max(1);
        self.generation
    }

    /// The operation ended: `certain` says that its effect is there as a whole.
    pub(super) fn ended(&mut self, operation: &Operation, certain: bool, unmapped_is_zero: bool) {
        let range = Self::range(operation);
        if let Some(busy) = self.busy.get_mut(range.clone()) {
            busy.fill(false);
        }
        if !operation.kind.changes() {
            return;
        }
        let generation = operation.generation;
        let start = operation.start;
        for (cell, block) in self
            .cells
            .iter_mut()
            .zip(0u32..)
            .skip(range.start)
            .take(range.len())
        {
            *cell = match operation.kind {
                _ if !certain => Cell::Unknown,
                Kind::Unmap if unmapped_is_zero => Cell::Zero,
                Kind::Unmap => Cell::Unknown,
                Kind::WriteSame => Cell::Written {
                    source: start,
                    generation,
                },
                _ => Cell::Written {
                    source: block,
                    generation,
                },
            };
        }
    }

    /// Appends the data that an operation sends.
    pub(super) fn data_out(&self, operation: &Operation, out: &mut Vec<u8>) {
        let len = self.block_len() as usize;
        let lba = self.first + u64::from(operation.start);
        let new =
            |len, out: &mut Vec<u8>| self.pattern.emit(lba, operation.generation, 0, len, out);
        match operation.kind {
            Kind::Write => new(operation.blocks as usize * len, out),
            Kind::WriteSame => new(len, out),
            Kind::CompareAndWrite | Kind::Miscompare => {
                let at = out.len();
                self.content(self.cell(operation.start), out);
                if operation.kind == Kind::Miscompare
                    && let Some(last) = out.get_mut(at..).and_then(|block| block.last_mut())
                {
                    *last ^= 0xff;
                }
                new(len, out);
            }
            Kind::Unmap => out.extend_from_slice(&operation.unmap_list(self.first)),
            _ => {}
        }
    }

    fn content(&self, cell: Cell, out: &mut Vec<u8>) {
        let len = self.block_len() as usize;
        match cell {
            Cell::Written { source, generation } => {
                let lba = self.first + u64::from(source);
                self.pattern.emit(lba, generation, 0, len, out);
            }
            Cell::Zero | Cell::Unknown => out.resize(out.len() + len, 0),
        }
    }

    /// Compares what a READ brought, from byte `offset` of it. Returns how many bytes could be compared.
    pub(super) fn check(
        &mut self,
        operation: &Operation,
        offset: usize,
        data: &[u8],
    ) -> Result<u64, Mismatch> {
        let len = self.block_len() as usize;
        let mut scratch = std::mem::take(&mut self.scratch);
        let (mut at, mut compared) = (0, 0);
        while at < data.len() {
            let (block, inside) = ((offset + at) / len, (offset + at) % len);
            let take = (len - inside).min(data.len() - at);
            let number = operation.start + block as u32;
            let cell = self.cell(number);
            if cell != Cell::Unknown {
                scratch.clear();
                self.content(cell, &mut scratch);
                let got = data.get(at..at + take).unwrap_or(&[]);
                if scratch.get(inside..inside + take) != Some(got) {
                    return Err(self.mismatch(number, cell, got, inside));
                }
                compared += take as u64;
            }
            at += take;
        }
        self.scratch = scratch;
        Ok(compared)
    }

    fn mismatch(&self, block: u32, cell: Cell, got: &[u8], inside: usize) -> Mismatch {
        let lba = self.first + u64::from(block);
        let mut scratch = Vec::new();
        if let Cell::Written { source, generation } = cell
            && source == block
            && let Err(found) = self
                .pattern
                .check(lba, generation, inside, got, &mut scratch)
        {
            return found;
        }
        Mismatch {
            lba,
            byte: inside,
            expected: 0,
            found: format!("something else than {cell:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area() -> Area {
        let pattern = Pattern {
            seed: 9,
            block: 512,
        };
        Area::new(1000, 64, pattern)
    }

    fn operation(kind: Kind, start: u32, blocks: u32, generation: u32) -> Operation {
        Operation {
            kind,
            start,
            blocks,
            generation,
        }
    }

    /// What the medium would hold after a write.
    fn written(area: &mut Area, op: &Operation) -> Vec<u8> {
        let mut data = Vec::new();
        area.data_out(op, &mut data);
        assert!(area.claim(op));
        area.ended(op, true, true);
        data
    }

    #[test]
    fn no_two_commands_have_a_block_at_once() {
        let mut area = area();
        assert!(area.claim(&operation(Kind::Read, 0, 8, 0)));
        assert!(!area.claim(&operation(Kind::Write, 7, 2, 1)));
        area.ended(&operation(Kind::Read, 0, 8, 0), true, true);
        assert!(area.claim(&operation(Kind::Write, 7, 2, 1)));
        assert!(!area.claim(&operation(Kind::Read, 63, 2, 0)));
    }

    #[test]
    fn a_read_has_to_bring_what_was_written_in_any_cut() {
        let mut area = area();
        let data = written(&mut area, &operation(Kind::Write, 4, 4, 1));
        let read = operation(Kind::Read, 4, 4, 0);
        assert_eq!(area.check(&read, 0, &data).unwrap(), 2048);
        assert_eq!(area.check(&read, 700, &data[700..1500]).unwrap(), 800);
        let mut bad = data.clone();
        bad[1030] ^= 1;
        assert_eq!(area.check(&read, 0, &bad).unwrap_err().lba, 1006);
    }

    #[test]
    fn write_same_unmap_and_failed_writes_are_known_for_what_they_are() {
        let mut area = area();
        let block = written(&mut area, &operation(Kind::WriteSame, 8, 3, 2));
        let read = operation(Kind::Read, 8, 3, 0);
        assert_eq!(area.check(&read, 0, &block.repeat(3)).unwrap(), 1536);
        written(&mut area, &operation(Kind::Unmap, 8, 1, 0));
        assert!(area.check(&read, 0, &block).is_err());
        assert!(area.check(&read, 0, &[0; 512]).is_ok());
        area.ended(&operation(Kind::Write, 8, 3, 4), false, true);
        assert_eq!(area.check(&read, 0, &[7; 1536]).unwrap(), 0);
    }

    #[test]
    fn compare_and_write_compares_with_the_content_and_a_miscompare_does_not() {
        let mut area = area();
        let old = written(&mut area, &operation(Kind::Write, 3, 1, 1));
        let mut data = Vec::new();
        area.data_out(&operation(Kind::CompareAndWrite, 3, 1, 2), &mut data);
        assert_eq!((&data[..512], data.len()), (&old[..], 1024));
        data.clear();
        area.data_out(&operation(Kind::Miscompare, 3, 1, 2), &mut data);
        assert_ne!(&data[..512], &old[..]);
    }
}
