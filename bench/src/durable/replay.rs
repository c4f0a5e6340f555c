//! A log of dm-log-writes against a record: at every flush, every FUA and every mark, what the device had on stable storage
//! by then must hold the writes that were acknowledged by then.

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::verify::Tally;
use super::{Ack, DurableError, Ledger, mark, record_of};
use crate::dm_log::{Entry, LogError, LogReader, What};

/// Where the unit's blocks are on the logged device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The unit is the device (blockio).
    Device,
    /// A file of this path in an ext4 file system on the device (fileio): its journal is replayed by `e2fsck`, and the
    /// file read by `debugfs`.
    Ext4 {
        /// From the root of the file system.
        path: String,
        /// An existing folder for images.
        scratch: PathBuf,
        /// Points that are looked at, evenly spread; each costs a check of the file system.
        points: u64,
    },
}

/// What a replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Entries of the log.
    pub entries: u64,
    /// Flushes and FUA writes in it.
    pub stable: u64,
    /// Points that were judged: after these, and at marks.
    pub points: u64,
    /// Acks that the last mark stands for.
    pub acks: u64,
    /// Points at which something was lost or torn.
    pub bad: u64,
    /// Of all points together.
    pub tally: Tally,
}

/// Replays `log` of a device of `size` bytes, zero at first, against the record `name` in `records`.
///
/// # Errors
/// [`DurableError`]: the record, the log, the programs for ext4.
pub fn run<R: Read + Seek>(
    log: R,
    size: u64,
    records: &Path,
    name: &str,
    place: &Place,
) -> Result<Replayed, DurableError> {
    let (ledger, acks) = Ledger::begin(&record_of(records, name))?;
    let unreadable = |e: LogError| DurableError::Unfit {
        name: name.to_owned(),
        what: e.to_string(),
    };
    let log = LogReader::open(log).map_err(unreadable)?;
    let entries = log.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let judged = entries.iter().filter(|entry| is_point(entry)).count() as u64;
    let len = usize::try_from(size).map_err(|_| unreadable(LogError::Foreign))?;
    let every = match place {
        Place::Device => 1,
        Place::Ext4 { points, .. } => judged.div_ceil((*points).max(1)).max(1),
    };
    let mut replay = Replay {
        image: vec![0; len],
        dirty: Vec::new(),
        ledger,
        acks: acks.into_iter(),
        place,
        every,
        seen: 0,
        result: Replayed::default(),
    };
    replay.result.entries = entries.len() as u64;
    entries.iter().try_for_each(|entry| replay.entry(entry))?;
    Ok(replay.result)
}

/// Our own marks, flushes, and FUA writes.
fn is_point(entry: &Entry) -> bool {
    match &entry.what {
        What::Mark(text) => mark::parse(text).is_some(),
        _ => entry.flush || entry.fua,
    }
}

struct Replay<'a> {
    image: Vec<u8>,
    /// Blocks whose content or promise changed since they were judged.
    dirty: Vec<u64>,
    ledger: Ledger,
    acks: std::vec::IntoIter<Ack>,
    place: &'a Place,
    every: u64,
    seen: u64,
    result: Replayed,
}

impl Replay<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<(), DurableError> {
        match &entry.what {
            What::Write { offset, data } => {
                self.write(*offset, data.len() as u64, |at| data.get(at).copied())
            }
            What::Discard { offset, len } => self.write(*offset, *len, |_| Some(0)),
            What::Mark(text) => {
                if let Some(acks) = mark::parse(text) {
                    self.acknowledge(acks);
                }
            }
        }
        if !is_point(entry) {
            return Ok(());
        }
        self.result.stable += u64::from(!matches!(entry.what, What::Mark(_)));
        self.seen += 1;
        if !self.seen.is_multiple_of(self.every) {
            return Ok(());
        }
        self.result.points += 1;
        let before = self.result.tally.lost + self.result.tally.torn;
        match self.place {
            Place::Device => self.judge_device(),
            Place::Ext4 { path, scratch, .. } => self.judge_file(path, scratch)?,
        }
        let tally = &self.result.tally;
        self.result.bad += u64::from(tally.lost + tally.torn > before);
        Ok(())
    }

    fn write(&mut self, offset: u64, len: u64, byte: impl Fn(usize) -> Option<u8>) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let target = self.image.get_mut(start..).unwrap_or_default();
        let len_here = usize::try_from(len).unwrap_or(usize::MAX);
        for (at, to) in target.iter_mut().take(len_here).enumerate() {
            *to = byte(at).unwrap_or(0);
        }
        let block = u64::from(self.ledger.unit.block_len).max(1);
        let end = offset.saturating_add(len).min(self.image.len() as u64);
        self.dirty.extend(offset / block..end.div_ceil(block));
    }

    /// From here on, so many acks count.
    fn acknowledge(&mut self, acks: u64) {
        let new = acks.saturating_sub(self.result.acks);
        for ack in self
            .acks
            .by_ref()
            .take(usize::try_from(new).unwrap_or(usize::MAX))
        {
            self.ledger.acknowledge(ack);
            self.dirty.extend((ack.lba..).take(ack.blocks as usize));
        }
        self.result.acks = self.result.acks.max(acks);
    }

    /// What did not change since the last point is as it was found then.
    fn judge_device(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        let len = self.ledger.unit.block_len as usize;
        for lba in dirty
            .into_iter()
            .filter(|lba| *lba < self.ledger.unit.blocks)
        {
            let start = usize::try_from(lba)
                .unwrap_or(usize::MAX)
                .saturating_mul(len);
            let block = self
                .image
                .get(start..start.saturating_add(len))
                .unwrap_or_default();
            let finding = self.ledger.judge(lba, block);
            self.result.tally.count(lba, &finding);
        }
    }

    fn judge_file(&mut self, path: &str, scratch: &Path) -> Result<(), DurableError> {
        self.dirty.clear();
        let image = scratch.join("image");
        let write = |source| DurableError::host(format!("writing {}", image.display()), source);
        std::fs::write(&image, &self.image).map_err(write)?;
        let Some(file) = read_file(&image, path, &scratch.join("file"))? else {
            // Before the file system, or the file, was made durable for the first time nothing can be promised of it.
            if self.ledger.owed() > 0 {
                self.result.tally.lost += self.ledger.owed();
                self.result
                    .tally
                    .examples
                    .push(format!("no file {path} in the file system"));
            }
            return Ok(());
        };
        let len = self.ledger.unit.block_len as usize;
        for lba in 0..self.ledger.unit.blocks {
            let start = usize::try_from(lba)
                .unwrap_or(usize::MAX)
                .saturating_mul(len);
            let block = file
                .get(start..start.saturating_add(len))
                .unwrap_or_default();
            let finding = self.ledger.judge(lba, block);
            self.result.tally.count(lba, &finding);
        }
        Ok(())
    }
}

/// The content of a file in an ext4 image as a mount would find it; `None` when there is no such file.
fn read_file(image: &Path, path: &str, to: &Path) -> Result<Option<Vec<u8>>, DurableError> {
    // Status 1: errors were corrected, as the replay of a journal is; 4 and more: no file system.
    let checked = quiet(Command::new("e2fsck").arg("-fy").arg(image))?;
    if checked.is_none_or(|status| status & !3 != 0) {
        return Ok(None);
    }
    let _ = std::fs::remove_file(to);
    let dump = format!("dump {path} {}", to.display());
    quiet(Command::new("debugfs").arg("-R").arg(dump).arg(image))?;
    match std::fs::read(to) {
        Ok(file) if !file.is_empty() => Ok(Some(file)),
        _ => Ok(None),
    }
}

fn quiet(command: &mut Command) -> Result<Option<i32>, DurableError> {
    let silent = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match silent.status() {
        Ok(status) => Ok(status.code()),
        Err(e) => Err(DurableError::host(
            format!("{:?}", command.get_program()),
            e,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm_log::tests::Builder;
    use crate::load::pattern::Pattern;

    const FLUSH: u64 = 1;
    const FUA: u64 = 2;
    const MARK: u64 = 8;
    const SIZE: u64 = 64 * 512;

    fn block(lba: u64, number: u32) -> Vec<u8> {
        let mut data = Vec::new();
        Pattern {
            seed: 3,
            block: 512,
        }
        .emit(lba, number, 0, 512, &mut data);
        data
    }

    /// Replays against a record in which write 1 goes to LBA 5 and write 2 to LBA 6, both acknowledged.
    fn replayed(test: &str, log: Builder) -> Replayed {
        let folder =
            std::env::temp_dir().join(format!("lunforge-replay-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let record = "unit 64 512 3\nissued 1024\nack 5 1 1\nack 6 1 2\n";
        std::fs::write(folder.join("u.acks"), record).unwrap();
        let found = run(log.log(), SIZE, &folder, "u", &Place::Device).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        found
    }

    #[test]
    fn n54_an_ack_behind_its_flush_or_fua_is_kept() {
        let log = Builder::default()
            .entry(5, 1, 0, &block(5, 1))
            .entry(0, 0, FLUSH, &[])
            .entry(0, 0, MARK, b"acks:1")
            .entry(6, 1, FUA, &block(6, 2))
            .entry(0, 0, MARK, b"acks:2");
        let found = replayed("kept", log);
        assert_eq!((found.points, found.stable, found.acks), (4, 2, 2));
        assert_eq!((found.bad, found.tally.later), (0, 2), "{found:?}");
    }

    #[test]
    fn n54_an_ack_before_its_flush_is_a_loss() {
        let log = Builder::default()
            .entry(0, 0, MARK, b"acks:1")
            .entry(5, 1, 0, &block(5, 1))
            .entry(0, 0, FLUSH, &[]);
        let found = replayed("early", log);
        assert_eq!((found.bad, found.tally.lost), (1, 1));
        assert_eq!(found.tally.examples, ["LBA 5 holds write 0 instead of 1"]);
    }

    #[test]
    fn n54_a_block_that_goes_back_in_time_is_a_loss_at_the_flush_that_says_so() {
        let log = Builder::default()
            .entry(5, 1, FUA, &block(5, 1))
            .entry(0, 0, MARK, b"acks:1")
            .entry(5, 1, 0, &[0; 512])
            .entry(0, 0, FLUSH, &[]);
        assert_eq!(replayed("back", log).tally.lost, 1);
    }

    #[test]
    fn marks_of_others_are_no_points() {
        let log = Builder::default().entry(0, 0, MARK, b"dm-log-writes-end");
        assert_eq!(replayed("others", log).points, 0);
    }
}
