//! The record of a unit: lines of text, one per event, appended as they happen. It is kept on a machine that survives.
//!
//! ```text
//!  unit 4096 512 1234567890     blocks, bytes per block, seed; the first line
//!  issued 2048                  no write with a higher number is issued before the next such line
//!  ack 17 3 42                  write number 42, of 3 blocks from LBA 17, is durable, says the target
//!  lowered 18 40                LBA 18 was found holding write 40: lost, and reported once
//! ```

use std::fs::{File, OpenOptions};
use std::io::{LineWriter, Write};
use std::path::{Path, PathBuf};

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused.
    #[error("record {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line that is none.
    #[error("record {path}, line {line}: {what}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Logical blocks that are used, from LBA 0.
    pub blocks: u64,
    /// Bytes per logical block.
    pub block_len: u32,
    /// Of the pattern in the blocks.
    pub seed: u32,
}

/// An acknowledged write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// First block.
    pub lba: u64,
    /// Blocks.
    pub blocks: u32,
    /// Number of the write; numbers of one unit ascend in the order of issue, from 1.
    pub number: u32,
}

impl Ack {
    /// Whether two writes have a block in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        let end = |ack: &Self| ack.lba.saturating_add(ack.blocks.into());
        self.lba < end(other) && other.lba < end(self)
    }
}

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Unit(Unit),
    Issued(u32),
    Ack(Ack),
    Lowered { lba: u64, number: u32 },
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unit(u) => write!(f, "unit {} {} {}", u.blocks, u.block_len, u.seed),
            Self::Issued(number) => write!(f, "issued {number}"),
            Self::Ack(a) => write!(f, "ack {} {} {}", a.lba, a.blocks, a.number),
            Self::Lowered { lba, number } => write!(f, "lowered {lba} {number}"),
        }
    }
}

impl std::str::FromStr for Line {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(' ');
        let kind = words.next().unwrap_or_default();
        let mut number = || -> Result<u64, &'static str> {
            let word = words.next().ok_or("a number is missing")?;
            word.parse().map_err(|_| "no number")
        };
        let small = |n: u64| u32::try_from(n).map_err(|_| "a number is too large");
        let line = match kind {
            "unit" => Self::Unit(Unit {
                blocks: number()?,
                block_len: small(number()?)?,
                seed: small(number()?)?,
            }),
            "issued" => Self::Issued(small(number()?)?),
            "ack" => Self::Ack(Ack {
                lba: number()?,
                blocks: small(number()?)?,
                number: small(number()?)?,
            }),
            "lowered" => Self::Lowered {
                lba: number()?,
                number: small(number()?)?,
            },
            _ => return Err("an unknown kind of line"),
        };
        match words.next() {
            None => Ok(line),
            Some(_) => Err("more than the line should have"),
        }
    }
}

/// The lines of a record, in order.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>, RecordError> {
    let text = std::fs::read_to_string(path).map_err(|source| RecordError::Io {
        path: path.to_owned(),
        source,
    })?;
    text.lines()
        .enumerate()
        .map(|(at, line)| {
            line.parse().map_err(|what| RecordError::Line {
                path: path.to_owned(),
                line: at + 1,
                what,
            })
        })
        .collect()
}

/// A record that is being continued: each line is with the system when [`Appender::line`] returns.
#[derive(Debug)]
pub(crate) struct Appender {
    path: PathBuf,
    file: LineWriter<File>,
}

impl Appender {
    pub(crate) fn open(path: PathBuf) -> Result<Self, RecordError> {
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        match opened {
            Ok(file) => Ok(Self {
                file: LineWriter::new(file),
                path,
            }),
            Err(source) => Err(RecordError::Io { path, source }),
        }
    }

    pub(crate) fn line(&mut self, line: Line) -> Result<(), RecordError> {
        writeln!(self.file, "{line}").map_err(|source| RecordError::Io {
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let ack = Ack {
            lba: 17,
            blocks: 3,
            number: 42,
        };
        let unit = Unit {
            blocks: 4096,
            block_len: 512,
            seed: u32::MAX,
        };
        for line in [
            Line::Unit(unit),
            Line::Issued(2048),
            Line::Ack(ack),
            Line::Lowered { lba: 18, number: 0 },
        ] {
            assert_eq!(line.to_string().parse(), Ok(line));
        }
    }

    #[test]
    fn damaged_lines_are_refused() {
        for bad in [
            "",
            "ack 1 2",
            "ack 1 2 3 4",
            "ack 1 2 x",
            "issued 4294967296",
            "what 1",
        ] {
            assert!(bad.parse::<Line>().is_err(), "{bad}");
        }
    }

    #[test]
    fn writes_overlap_only_with_a_block_in_common() {
        let at = |lba, blocks| Ack {
            lba,
            blocks,
            number: 1,
        };
        assert!(at(5, 3).overlaps(&at(7, 1)));
        assert!(!at(5, 3).overlaps(&at(8, 1)));
        assert!(!at(8, 1).overlaps(&at(5, 3)));
    }
}
