//! Self-tests (SPC-4 5.14): parts of the medium, or all of it, are read through the store.
//!
//! The default and the short self-test read the beginning, the middle and the end; the extended one reads everything.
//! In the background they run on a thread of their own that gives way as long as it works, one at a time. A foreground
//! extended self-test is not offered: other initiators would wait for hours.
//!
//! An aborted self-test may leave a read in a store that does not answer. At most [`UNDER_WAY`] have a thread or a read;
//! beyond, BUSY.

use std::collections::VecDeque;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use lunforge_core::asc::Asc;
use lunforge_core::buffer::{BufferExhausted, IoBuf, SEGMENT_LEN};
use lunforge_core::handler::Outcome;
use lunforge_core::sense::{Sense, SenseKey, SenseSpecific};
use lunforge_core::status::Status;
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::drive::{Machine, Next};
use crate::outcome::{Doing, of_error};
use crate::store::{StoreError, StoreOp, StoreResult, submit_with};

/// Self-test results that log page 10h keeps.
pub(crate) const RESULTS: usize = 20;
/// Bytes read at a time.
const PIECE: u64 = SEGMENT_LEN as u64;
/// What an extended self-test reads in a second, at a guess.
const SPEED: u64 = 100 << 20;
/// How often a background self-test looks whether it was aborted while the store works.
const GLANCE: Duration = Duration::from_millis(100);
/// Background self-tests with a thread or a read in the store, of which all but one were aborted.
const UNDER_WAY: usize = 4;
/// Longest pause between two pieces.
const PAUSE: Duration = Duration::from_millis(50);

/// SELF-TEST CODE of SEND DIAGNOSTIC (SPC-4 table 235).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// 001b: background short.
    BackgroundShort,
    /// 010b: background extended.
    BackgroundExtended,
    /// 100b: abort the background self-test.
    Abort,
    /// 101b: foreground short.
    ForegroundShort,
}

impl Code {
    /// The field, or `None` for one that is reserved or not offered.
    pub(crate) const fn parse(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::BackgroundShort),
            2 => Some(Self::BackgroundExtended),
            4 => Some(Self::Abort),
            5 => Some(Self::ForegroundShort),
            _ => None,
        }
    }

    const fn field(self) -> u8 {
        match self {
            Self::BackgroundShort => 1,
            Self::BackgroundExtended => 2,
            Self::Abort => 4,
            Self::ForegroundShort => 5,
        }
    }
}

/// SELF-TEST RESULTS (SPC-4 7.3.19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// 0h.
    Passed,
    /// 1h: by a SEND DIAGNOSTIC with code 100b.
    AbortedByCommand,
    /// 2h: by a reset or another self-test.
    Aborted,
    /// 7h: a segment of the test failed.
    Failed,
    /// Fh.
    InProgress,
}

impl Verdict {
    const fn field(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::AbortedByCommand => 1,
            Self::Aborted => 2,
            Self::Failed => 7,
            Self::InProgress => 15,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Record {
    code: Code,
    verdict: Verdict,
    hours: u16,
    /// First block that failed, and why.
    failure: Option<(Option<u64>, SenseKey, Asc)>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest first.
    results: VecDeque<Record>,
    /// The background self-test that runs: its number and its progress in 65536ths.
    running: Option<(u64, u16)>,
    begun: u64,
}

/// Self-tests of a disk, that which runs and those that are over.
#[derive(Debug)]
pub(crate) struct SelfTests {
    state: Mutex<State>,
    since: Instant,
    /// One for each background self-test that is under way; a weak reference, since its thread and its read own it.
    under_way: Mutex<Vec<Weak<()>>>,
}

impl SelfTests {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            since: Instant::now(),
            under_way: Mutex::default(),
        }
    }

    /// A place among those under way, which ends when the last clone is dropped. `None`: there is none left.
    fn place(&self) -> Option<Arc<()>> {
        let mut places = self.under_way.lock();
        places.retain(|place| place.strong_count() > 0);
        if places.len() >= UNDER_WAY {
            return None;
        }
        let place = Arc::new(());
        places.push(Arc::downgrade(&place));
        Some(place)
    }

    /// Hours since the disk was opened.
    fn hours(&self) -> u16 {
        u16::try_from(self.since.elapsed().as_secs() / 3600).unwrap_or(u16::MAX)
    }

    fn record(&self, code: Code, verdict: Verdict) -> Record {
        Record {
            code,
            verdict,
            hours: self.hours(),
            failure: None,
        }
    }

    /// LOGICAL UNIT NOT READY, SELF-TEST IN PROGRESS with the progress, while one runs in the background.
    pub(crate) fn in_progress(&self) -> Option<Sense> {
        let (_, progress) = self.state.lock().running?;
        let sense = Sense::not_ready(Asc::LOGICAL_UNIT_NOT_READY_SELF_TEST_IN_PROGRESS);
        Some(sense.with_specific(SenseSpecific::Progress(progress)))
    }

    /// Begins a background self-test.
    ///
    /// # Errors
    /// NOT READY while one runs; BUSY while too many that were aborted are under way.
    pub(crate) fn begin(disk: &Arc<Disk>, code: Code) -> Result<(), Outcome> {
        let tests = &disk.self_tests;
        let (number, place) = {
            let mut state = tests.state.lock();
            if state.running.is_some() {
                drop(state);
                return tests
                    .in_progress()
                    .map_or(Ok(()), |sense| Err(sense.into()));
            }
            let place = tests.place().ok_or(Outcome::status(Status::Busy))?;
            state.begun += 1;
            state.running = Some((state.begun, 0));
            let record = tests.record(code, Verdict::InProgress);
            state.results.push_front(record);
            state.results.truncate(RESULTS);
            (state.begun, place)
        };
        let weak = Arc::downgrade(disk);
        let scan = Scan::new(disk, code == Code::BackgroundExtended);
        let spawned = std::thread::Builder::new()
            .name("vdisk-self-test".into())
            .spawn(move || run(&weak, number, scan, &place));
        if let Err(error) = spawned {
            tracing::warn!(%error, "a self-test was not begun");
            tests.end(number, Verdict::Aborted, None);
            return Err(Sense::hardware(Asc::INTERNAL_TARGET_FAILURE).into());
        }
        Ok(())
    }

    /// Ends the background self-test; false when there is none.
    pub(crate) fn abort(&self, by_command: bool) -> bool {
        let running = self.state.lock().running;
        let verdict = if by_command {
            Verdict::AbortedByCommand
        } else {
            Verdict::Aborted
        };
        running.is_some_and(|(number, _)| self.end(number, verdict, None))
    }

    fn end(&self, number: u64, verdict: Verdict, failure: Option<Failure>) -> bool {
        let mut state = self.state.lock();
        if state.running.is_none_or(|running| running.0 != number) {
            return false;
        }
        state.running = None;
        let hours = self.hours();
        let open = |record: &&mut Record| record.verdict == Verdict::InProgress;
        if let Some(record) = state.results.iter_mut().find(open) {
            *record = Record {
                verdict,
                hours,
                failure,
                ..*record
            };
        }
        true
    }

    /// Notes the progress; false when the self-test was aborted.
    fn goes_on(&self, number: u64, progress: u16) -> bool {
        match &mut self.state.lock().running {
            Some((running, shown)) if *running == number => {
                *shown = progress;
                true
            }
            _ => false,
        }
    }

    /// The end of a foreground self-test.
    fn finished(&self, failure: Option<Failure>) {
        let verdict = if failure.is_some() {
            Verdict::Failed
        } else {
            Verdict::Passed
        };
        let mut record = self.record(Code::ForegroundShort, verdict);
        record.failure = failure;
        let mut state = self.state.lock();
        state.results.push_front(record);
        state.results.truncate(RESULTS);
    }

    /// The values of the parameters of log page 10h (SPC-4 table 421), the newest result first, unused ones zero.
    pub(crate) fn results(&self) -> Vec<[u8; 16]> {
        let state = self.state.lock();
        let mut values: Vec<_> = state.results.iter().map(Record::emit).collect();
        values.resize(RESULTS, [0; 16]);
        values
    }
}

impl Record {
    fn emit(&self) -> [u8; 16] {
        let mut out = [0; 16];
        let (block, key, asc) = match self.failure {
            Some((block, key, asc)) => (block, key.code(), asc),
            None => (None, 0, Asc::NO_ADDITIONAL_SENSE_INFORMATION),
        };
        let fields: [&[u8]; 4] = [
            &[self.code.field() << 5 | self.verdict.field(), 0],
            &self.hours.to_be_bytes(),
            // All ones: no address.
            &block.unwrap_or(u64::MAX).to_be_bytes(),
            &[key, asc.asc, asc.ascq, 0],
        ];
        for (to, from) in out.iter_mut().zip(fields.iter().copied().flatten()) {
            *to = *from;
        }
        out
    }
}

/// Why a self-test failed: first bad block, sense key and code.
type Failure = (Option<u64>, SenseKey, Asc);

fn failure(disk: &Disk, error: StoreError) -> Failure {
    let sense = of_error(error, Doing::Read, disk.block()).sense;
    // A store that is busy gives no sense.
    let sense = sense.unwrap_or(Sense::hardware(Asc::INTERNAL_TARGET_FAILURE));
    (sense.information, sense.key, sense.asc)
}

/// EXTENDED SELF-TEST COMPLETION TIME for a medium of `size` bytes, in seconds.
pub(crate) fn extended_seconds(size: u64) -> u16 {
    u16::try_from(size / SPEED + 1).unwrap_or(u16::MAX)
}

/// The extents that a self-test reads.
#[derive(Debug)]
struct Scan {
    extents: VecDeque<(u64, u64)>,
    whole: u64,
}

impl Scan {
    fn new(disk: &Disk, extended: bool) -> Self {
        let size = disk.bytes(disk.blocks());
        let block = u64::from(disk.block().bytes());
        let extents = if extended || size <= 3 * PIECE {
            [(0, size)].into()
        } else {
            let middle = size / 2 / block * block;
            [(0, PIECE), (middle, PIECE), (size - PIECE, PIECE)].into()
        };
        let mut scan = Self { extents, whole: 1 };
        scan.whole = scan.left().max(1);
        scan
    }

    fn left(&self) -> u64 {
        self.extents.iter().map(|extent| extent.1).sum()
    }

    /// In 65536ths.
    fn progress(&self) -> u16 {
        let done = u128::from(self.whole - self.left()) * 65_536 / u128::from(self.whole);
        u16::try_from(done).unwrap_or(u16::MAX)
    }

    /// The next piece: a read, or `Err` when there is no memory for it.
    fn next(&mut self) -> Option<Result<StoreOp, BufferExhausted>> {
        let (offset, left) = self.extents.pop_front()?;
        let len = left.min(PIECE);
        if left > len {
            self.extents.push_front((offset + len, left - len));
        }
        let range = 0..usize::try_from(len).unwrap_or(SEGMENT_LEN);
        let buf = IoBuf::unpooled(range.len());
        Some(buf.map(|buf| StoreOp::Read { offset, buf, range }))
    }
}

/// A foreground self-test: the default one when `recorded` is false.
pub(crate) struct Foreground {
    scan: Scan,
    recorded: bool,
}

impl Foreground {
    pub(crate) fn new(disk: &Disk, recorded: bool) -> Self {
        Self {
            scan: Scan::new(disk, false),
            recorded,
        }
    }

    pub(crate) fn next(&mut self, disk: &Disk) -> Next {
        match self.scan.next() {
            Some(Ok(op)) => Next::Submit(op),
            Some(Err(_)) => Next::end(Outcome::status(Status::TaskSetFull)),
            None => {
                if self.recorded {
                    disk.self_tests.finished(None);
                }
                Next::end(Outcome::good())
            }
        }
    }
}

impl Machine for Foreground {
    fn advance(&mut self, disk: &Disk, result: StoreResult, _buf: Option<IoBuf>) -> Next {
        let Err(error) = result else {
            return self.next(disk);
        };
        if self.recorded {
            disk.self_tests.finished(Some(failure(disk, error)));
        }
        Next::end(Sense::hardware(Asc::LOGICAL_UNIT_FAILED_SELF_TEST))
    }
}

/// A background self-test, on its own thread. Ends when the disk does.
fn run(weak: &Weak<Disk>, number: u64, mut scan: Scan, place: &Arc<()>) {
    loop {
        let Some(disk) = weak.upgrade() else { return };
        let tests = &disk.self_tests;
        if !tests.goes_on(number, scan.progress()) {
            return;
        }
        let op = match scan.next() {
            Some(Ok(op)) => op,
            Some(Err(_)) => {
                tests.end(number, Verdict::Aborted, None);
                return;
            }
            None => {
                tests.end(number, Verdict::Passed, None);
                return;
            }
        };
        let begun = Instant::now();
        let Some(result) = read(weak, disk, number, op, scan.progress(), place) else {
            return;
        };
        if let Err(error) = result {
            if let Some(disk) = weak.upgrade() {
                let failure = failure(&disk, error);
                disk.self_tests.end(number, Verdict::Failed, Some(failure));
            }
            return;
        }
        // As long as it works it rests, for those that wait for the medium.
        std::thread::sleep(begun.elapsed().min(PAUSE));
    }
}

/// Reads one piece; `None` when the self-test was aborted or the disk is gone before the store answers.
fn read(
    weak: &Weak<Disk>,
    disk: Arc<Disk>,
    number: u64,
    op: StoreOp,
    progress: u16,
    place: &Arc<()>,
) -> Option<StoreResult> {
    let (tell, told) = sync_channel(1);
    let place = Arc::clone(place);
    submit_with(disk.store(), op, disk.stamp(), move |result, _| {
        drop(place);
        let _ = tell.send(result);
    });
    // Not held while the store works: its owner may want to drop it.
    drop(disk);
    loop {
        match told.recv_timeout(GLANCE) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Disconnected) => return Some(Err(StoreError::Dropped)),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let disk = weak.upgrade()?;
        if !disk.self_tests.goes_on(number, progress) {
            return None;
        }
    }
}
