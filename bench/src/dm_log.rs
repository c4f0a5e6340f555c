//! The log of Linux's device-mapper target log-writes (Documentation/admin-guide/device-mapper/log-writes.rst): every
//! write, flush, FUA and discard of a device in the order in which it became durable.
//!
//! A plain write enters the log when the next flush that was sent after it has completed; a FUA write when it has
//! completed itself. So what the log holds up to any entry is what the device had on stable storage at that time.
//!
//! ```text
//!  sector 0     super block: magic, version, number of entries, sector size; little endian
//!  then         entry: sector, sectors, flags, length of its data; padded to a sector
//!               its data: the sectors written, unless it is a discard; the text of a mark lies in the entry's sector
//! ```

use std::io::{self, BufReader, Read, Seek, SeekFrom};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;

/// Bytes of an entry before its padding or its mark.
const ENTRY: usize = 32;
/// Largest sector, and largest write, bytes: more means a damaged log.
const MAX_SECTOR: u32 = 65_536;
const MAX_DATA: u64 = 1 << 30;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// What was logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Bytes written at this offset in bytes; none with a flush of its own.
    Write {
        /// First byte.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// A range given up.
    Discard {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// A mark of `dmsetup message DEVICE 0 mark TEXT`.
    Mark(Vec<u8>),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What.
    pub what: What,
    /// A flush came before it.
    pub flush: bool,
    /// It was durable when it completed.
    pub fua: bool,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file.
    #[error("log, entry {entry}: {source}")]
    Io {
        /// Counted from 0.
        entry: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// It begins with something else.
    #[error("no log of dm-log-writes, version 1")]
    Foreign,
    /// A number that cannot be.
    #[error("log, entry {entry}: {what}")]
    Damaged {
        /// Counted from 0.
        entry: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// A log that is read from its start; an iterator of its entries, which ends after the first error.
#[derive(Debug)]
pub struct LogReader<R> {
    from: BufReader<R>,
    sector: u32,
    entries: u64,
    next: u64,
}

impl<R: Read + Seek> LogReader<R> {
    /// Reads the super block.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(from: R) -> Result<Self, LogError> {
        let mut from = BufReader::new(from);
        let failed = |source| LogError::Io { entry: 0, source };
        let mut head = [0; 28];
        from.read_exact(&mut head).map_err(failed)?;
        let word = |at| word(&head, at).unwrap_or(0);
        let sector = head.last_chunk::<4>().map_or(0, |s| u32::from_le_bytes(*s));
        if word(0) != MAGIC || word(1) != VERSION {
            return Err(LogError::Foreign);
        }
        if !sector.is_power_of_two() || !(512..=MAX_SECTOR).contains(&sector) {
            return Err(LogError::Damaged {
                entry: 0,
                what: "an impossible sector size",
            });
        }
        from.seek(SeekFrom::Start(sector.into())).map_err(failed)?;
        Ok(Self {
            from,
            sector,
            entries: word(2),
            next: 0,
        })
    }

    /// Entries that the log says it has.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    fn read(&mut self) -> Result<Entry, LogError> {
        let sector = self.bytes(self.sector.into())?;
        let field = |at| word(&sector, at).ok_or_else(|| self.damaged("a short entry"));
        let (at, count, flags, len) = (field(0)?, field(1)?, field(2)?, field(3)?);
        let to_bytes = |sectors: u64| sectors.checked_mul(self.sector.into());
        let (Some(offset), Some(size)) = (to_bytes(at), to_bytes(count)) else {
            return Err(self.damaged("an impossible range"));
        };
        let what = if flags & MARK != 0 {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let text = sector.get(ENTRY..).and_then(|rest| rest.get(..len));
            What::Mark(
                text.ok_or_else(|| self.damaged("a mark that is too long"))?
                    .to_vec(),
            )
        } else if flags & DISCARD != 0 {
            What::Discard { offset, len: size }
        } else {
            let data = self.bytes(size)?;
            What::Write { offset, data }
        };
        Ok(Entry {
            what,
            flush: flags & FLUSH != 0,
            fua: flags & FUA != 0,
        })
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, LogError> {
        if len > MAX_DATA {
            return Err(self.damaged("an impossible length"));
        }
        // As long as the log has it: no memory is taken for a length alone.
        let mut data = Vec::new();
        let read = (&mut self.from).take(len).read_to_end(&mut data);
        match read {
            Ok(got) if got as u64 == len => Ok(data),
            Ok(_) => Err(self.damaged("the log ends in it")),
            Err(source) => Err(LogError::Io {
                entry: self.next,
                source,
            }),
        }
    }

    fn damaged(&self, what: &'static str) -> LogError {
        LogError::Damaged {
            entry: self.next,
            what,
        }
    }
}

impl<R: Read + Seek> Iterator for LogReader<R> {
    type Item = Result<Entry, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.entries {
            return None;
        }
        let entry = self.read();
        self.next = if entry.is_ok() {
            self.next + 1
        } else {
            u64::MAX
        };
        Some(entry)
    }
}

/// The word at place `at`.
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.get(at).map(|word| u64::from_le_bytes(*word))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Cursor;

    /// A log as the kernel writes it, built by hand.
    #[derive(Default)]
    pub(crate) struct Builder {
        body: Vec<u8>,
        entries: u64,
    }

    impl Builder {
        pub(crate) fn entry(mut self, sector: u64, sectors: u64, flags: u64, data: &[u8]) -> Self {
            let mark = flags & MARK != 0;
            let len = if mark { data.len() as u64 } else { 0 };
            let mut head: Vec<u8> = [sector, sectors, flags, len]
                .iter()
                .flat_map(|w| w.to_le_bytes())
                .collect();
            if mark {
                head.extend(data);
            }
            head.resize(512, 0);
            self.body.extend(head);
            if !mark {
                self.body.extend(data);
            }
            self.entries += 1;
            self
        }

        pub(crate) fn log(self) -> Cursor<Vec<u8>> {
            let mut log: Vec<u8> = [MAGIC, VERSION, self.entries]
                .iter()
                .flat_map(|w| w.to_le_bytes())
                .collect();
            log.extend(512_u32.to_le_bytes());
            log.resize(512, 0);
            log.extend(self.body);
            Cursor::new(log)
        }
    }

    #[test]
    fn entries_are_read_as_the_kernel_lays_them_out() {
        let log = Builder::default()
            .entry(8, 2, 0, &[7; 1024])
            .entry(0, 0, FLUSH, &[])
            .entry(4, 1, FUA, &[9; 512])
            .entry(0, 0, MARK, b"acks:3")
            .entry(16, 100, DISCARD, &[])
            .log();
        let entries: Vec<_> = LogReader::open(log).unwrap().map(Result::unwrap).collect();
        let plain = |what| Entry {
            what,
            flush: false,
            fua: false,
        };
        let write = |offset, data: Vec<u8>| What::Write { offset, data };
        let wanted = [
            plain(write(4096, vec![7; 1024])),
            Entry {
                flush: true,
                ..plain(write(0, vec![]))
            },
            Entry {
                fua: true,
                ..plain(write(2048, vec![9; 512]))
            },
            plain(What::Mark(b"acks:3".to_vec())),
            plain(What::Discard {
                offset: 8192,
                len: 51_200,
            }),
        ];
        assert_eq!(entries, wanted);
    }

    #[test]
    fn a_log_that_is_none_or_damaged_is_refused_and_ends() {
        assert!(matches!(
            LogReader::open(Cursor::new(vec![0; 4096])),
            Err(LogError::Foreign)
        ));
        let short = Builder::default().entry(0, 9, 0, &[1; 512]).log();
        let read: Vec<_> = LogReader::open(short).unwrap().collect();
        assert!(matches!(
            read.as_slice(),
            [Err(LogError::Damaged { entry: 0, .. })]
        ));
        let huge = Builder::default().entry(0, u64::MAX, 0, &[]).log();
        assert!(LogReader::open(huge).unwrap().next().unwrap().is_err());
    }
}
