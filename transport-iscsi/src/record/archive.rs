//! Where recordings go: a folder with bounds, a thread that writes, a limit on how often.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lunforge_core::offload::Offload;
use lunforge_core::quiet::Quiet;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::file::{self, About, Moment};
use super::incident::Incident;
use super::snapshot::Snapshot;
use super::{RecorderStatistics, Recording};

/// What a recording's name begins and ends with: nothing else in the folder is ever removed.
const PREFIX: &str = "lunforge-";
const SUFFIX: &str = ".pcapng";
/// A file that is being written; one that a crash left behind is removed like an old recording.
const UNFINISHED: &str = ".pcapng.part";
/// Recordings that may wait to be written.
const MAX_WAITING: usize = 256;
/// Their bytes.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// Log lines a minute of each kind.
const LOG_LINES: u32 = 20;
/// How often [`Archive::settle`] looks for a place.
const RETRY: Duration = Duration::from_millis(1);
/// Incidents in a row that are all recorded; after that one each [`REFILL`].
const BURST: u32 = 16;
/// Time after which one more incident is recorded.
const REFILL: Duration = Duration::from_secs(1);

/// A folder for recordings, and the one thread that writes there.
#[derive(Debug)]
pub(crate) struct Archive {
    folder: OwnedFd,
    path: PathBuf,
    max_files: usize,
    max_bytes: u64,
    writer: Offload,
    pace: Mutex<Pace>,
    waiting: AtomicUsize,
    serial: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
    left_out: AtomicU64,
    told: Quiet,
    complained: Quiet,
}

/// A token bucket.
#[derive(Debug)]
struct Pace {
    tokens: u32,
    since: Instant,
}

impl Archive {
    /// Opens the folder, and creates it for its owner alone if it is missing.
    pub(crate) fn open(recording: &Recording, now: Instant) -> io::Result<Self> {
        let path = recording.folder();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            // Tried second: a confined process may not make folders.
            Err(rustix::io::Errno::NOENT) => {
                rustix::fs::mkdir(path, Mode::RWXU)?;
                rustix::fs::openat(CWD, path, flags, Mode::empty())?
            }
            other => other?,
        };
        Ok(Self {
            folder,
            path: path.to_owned(),
            max_files: recording.max_files(),
            max_bytes: recording.max_file_bytes(),
            writer: Offload::new(1, MAX_WAITING),
            pace: Mutex::new(Pace {
                tokens: BURST,
                since: now,
            }),
            waiting: AtomicUsize::new(0),
            serial: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            told: Quiet::new(LOG_LINES),
            complained: Quiet::new(LOG_LINES),
        })
    }

    pub(crate) fn statistics(&self) -> RecorderStatistics {
        RecorderStatistics {
            written: self.written.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            left_out: self.left_out.load(Ordering::Relaxed),
            ..RecorderStatistics::default()
        }
    }

    /// Whether an incident may be recorded now. One that may not is counted.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let admitted = self.pace.lock().take(now);
        if !admitted {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Has a recording written, soon. Does not block; what is too much is counted and left out.
    pub(crate) fn submit(
        self: &Arc<Self>,
        snapshot: Snapshot,
        about: About,
        why: Incident,
        moment: Moment,
        tell: Option<Sender<PathBuf>>,
    ) {
        let size = snapshot.size();
        let claimed = self.waiting.fetch_add(size, Ordering::Relaxed) + size <= MAX_WAITING_BYTES;
        let queued = claimed && {
            let archive = Arc::clone(self);
            let job = move || {
                let bytes = file::pcapng(&snapshot, &about, why, moment);
                archive.waiting.fetch_sub(size, Ordering::Relaxed);
                archive.keep(&bytes, why, moment.wall, tell);
            };
            self.writer.submit(Box::new(job)).is_ok()
        };
        if !queued {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything that was submitted before is written, or `bound` has passed; says which.
    pub(crate) fn settle(&self, bound: Duration) -> bool {
        let end = Instant::now() + bound;
        let (tell, told) = mpsc::channel();
        let job = || {
            let tell = tell.clone();
            Box::new(move || {
                // Whoever waited may have gone.
                let _ = tell.send(());
            })
        };
        // With all places taken there is most to wait for.
        while self.writer.submit(job()).is_err() {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(RETRY);
        }
        let left = end.saturating_duration_since(Instant::now());
        told.recv_timeout(left).is_ok()
    }

    fn keep(&self, bytes: &[u8], why: Incident, wall: SystemTime, tell: Option<Sender<PathBuf>>) {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{serial:06}-{}{SUFFIX}", stamp(wall), why.word());
        match self.store(&name, bytes.len() as u64, |file| file.write_all(bytes)) {
            Ok(()) => {
                self.written.fetch_add(1, Ordering::Relaxed);
                if let Some(left_out) = self.told.say(Instant::now()) {
                    tracing::info!(file = %name, %why, left_out, "a recording was written");
                }
                if let Some(tell) = tell {
                    // Nobody has to wait for it.
                    let _ = tell.send(self.path.join(name));
                }
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                // Sessions that end are recorded as often as peers like.
                if let Some(left_out) = self.complained.say(Instant::now()) {
                    tracing::warn!(%error, folder = %self.path.display(), %why, left_out, "a recording cannot be written");
                }
            }
        }
    }

    /// Makes room, writes a file and gives it its name when it is whole; what fails leaves nothing behind.
    fn store(
        &self,
        name: &str,
        size: u64,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        if size > self.max_bytes {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.make_room(size)?;
        let unfinished = name.replace(SUFFIX, UNFINISHED);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(fd);
        let done = fill(&mut file).and_then(|()| {
            Ok(rustix::fs::renameat(
                &self.folder,
                &unfinished,
                &self.folder,
                name,
            )?)
        });
        if done.is_err() {
            // The error that brought us here is the one to report.
            let _ = rustix::fs::unlinkat(&self.folder, &unfinished, AtFlags::empty());
        }
        done
    }

    /// Removes the oldest recordings until one more of `size` bytes is within the bounds.
    fn make_room(&self, size: u64) -> io::Result<()> {
        let present = self.present()?;
        let (mut files, mut bytes) = (present.len(), present.iter().map(|p| p.1).sum::<u64>());
        for (name, len) in present {
            if files < self.max_files && bytes.saturating_add(size) <= self.max_bytes {
                break;
            }
            rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty())?;
            files -= 1;
            bytes -= len;
        }
        Ok(())
    }

    /// Recordings in the folder with their sizes. Their names begin with the time: the oldest is the first.
    fn present(&self) -> io::Result<BTreeSet<(String, u64)>> {
        let mut found = BTreeSet::new();
        for entry in rustix::fs::Dir::read_from(self.folder.as_fd())? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            let ours =
                name.starts_with(PREFIX) && (name.ends_with(SUFFIX) || name.ends_with(UNFINISHED));
            if !ours {
                continue;
            }
            match rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    found.insert((name.to_owned(), u64::try_from(stat.st_size).unwrap_or(0)));
                }
                // Somebody else has removed it.
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.writer.close();
    }
}

impl Pace {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs() / REFILL.as_secs().max(1);
        if passed > 0 {
            self.since = now;
            let more = u32::try_from(passed).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(more).min(BURST);
        }
        let admitted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        admitted
    }
}

/// Time of day in UTC, in digits that sort: `20261121T102233.123456Z`.
fn stamp(wall: SystemTime) -> String {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{micros:06}Z")
}

/// Year, month and day of a day counted from 1 January 1970 in the Gregorian calendar. Years are counted from March, so
/// that the day that leap years add is the last of a year.
fn civil(days: u64) -> (u64, u64, u64) {
    let since_year_0 = days + 719_468;
    let (era, day_of_era) = (since_year_0 / 146_097, since_year_0 % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
