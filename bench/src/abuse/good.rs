//! The good session: one command at a time at a modest rate, every read compared, beside all attacks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::AbuseError;
use super::findings::Findings;
use super::rng::Rng;
use super::site::{GOOD_BYTES, Site};
use crate::ceiling;
use crate::histogram::Histogram;
use crate::initiator::{Error, Initiator, Options, Reply, Url, rw_cdb};
use crate::load::pattern::Pattern;

/// One command in so much time.
const PACE: Duration = Duration::from_millis(2);
/// Commands that are due at a time at the most: a stall counts for those, not for all that would have been sent in it.
const BEHIND: u32 = 10;
/// Bytes of one command.
const LEN: u32 = 4096;
/// Its number among the initiator ports.
const NUMBER: u32 = 0x7f00_0000;

/// What the good session saw in a stretch of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    /// From when a command was due to be sent to its status, ns.
    pub(crate) times: Histogram,
    pub(crate) ended: u64,
    /// Commands with another status than GOOD, and lost sessions.
    pub(crate) errors: u64,
    pub(crate) mismatches: u64,
    pub(crate) messages: Vec<String>,
}

impl Window {
    /// Errors and mismatches as faults.
    pub(crate) fn findings(&self) -> Findings {
        let mut findings = Findings::default();
        if self.errors + self.mismatches > 0 {
            let first = self.messages.first().cloned().unwrap_or_default();
            findings.fault(format!(
                "good session: {} errors, {} mismatches in {} commands: {first}",
                self.errors, self.mismatches, self.ended
            ));
        }
        findings
    }

    fn failed(&mut self, text: String) {
        self.errors += 1;
        if self.messages.len() < 3 {
            self.messages.push(text);
        }
    }
}

/// The running good session.
pub(crate) struct Good {
    window: Arc<Mutex<Window>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Good {
    /// The good session of a target.
    pub(crate) fn start(site: &Site) -> Result<Self, AbuseError> {
        let pattern = Some(site.pattern());
        Self::at(&site.url, site.login(NUMBER), site.block_len, pattern, site)
    }

    /// The same with a peer in this process that answers at once and keeps nothing: what it sees beside the good session
    /// is what the machine does to both.
    pub(crate) fn control(site: &Site) -> Result<Self, AbuseError> {
        let url = ceiling::start().map_err(|e| AbuseError::Argument(e.to_string()))?;
        Self::at(&url, Options::default(), 512, None, site)
    }

    fn at(
        url: &Url,
        login: Options,
        block_len: u32,
        pattern: Option<Pattern>,
        site: &Site,
    ) -> Result<Self, AbuseError> {
        let window = Arc::new(Mutex::new(Window::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let blocks = LEN / block_len;
        if blocks == 0 {
            let text = format!("blocks of {block_len} bytes are too long");
            return Err(AbuseError::Argument(text));
        }
        let slots = usize::try_from(GOOD_BYTES / u64::from(LEN)).unwrap_or(1);
        let mut worker = Worker {
            session: log_in(url, &login)?,
            url: url.clone(),
            login,
            pattern,
            blocks,
            generations: vec![0; slots],
            rng: site.rng(1),
            scratch: Vec::new(),
        };
        let (to, until) = (Arc::clone(&window), Arc::clone(&stop));
        let thread = std::thread::spawn(move || worker.go_on(&to, &until));
        Ok(Self {
            window,
            stop,
            thread,
        })
    }

    /// What was seen since the last call.
    pub(crate) fn take(&self) -> Window {
        match self.window.lock() {
            Ok(mut window) => std::mem::take(&mut window),
            Err(_) => Window::default(),
        }
    }

    pub(crate) fn stop(self) {
        // Relaxed: nothing is published through it.
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

fn log_in(url: &Url, login: &Options) -> Result<Initiator, Error> {
    let mut session = Initiator::connect(url.address(), &url.iqn, login)?;
    session.ready(url.lun, 8).map(|()| session)
}

struct Worker {
    session: Initiator,
    url: Url,
    login: Options,
    /// What is written and compared; without it nothing is.
    pattern: Option<Pattern>,
    blocks: u32,
    /// What each slot was last written with; 0: not yet, or not known.
    generations: Vec<u32>,
    rng: Rng,
    scratch: Vec<u8>,
}

impl Worker {
    fn go_on(&mut self, window: &Mutex<Window>, stop: &AtomicBool) {
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if let Some(early) = due.checked_duration_since(now) {
                std::thread::sleep(early);
                // Overslept: this side's fault, not the target's.
                due = Instant::now();
            }
            let outcome = self.one();
            let time = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let late = Instant::now().checked_sub(PACE * BEHIND).unwrap_or(due);
            due = (due + PACE).max(late);
            let Ok(mut window) = window.lock() else {
                return;
            };
            window.ended += 1;
            window.times.record(time);
            match outcome {
                Ok(()) => {}
                Err(AbuseError::Mismatch(found)) => {
                    window.mismatches += 1;
                    window.messages.push(found.to_string());
                }
                Err(AbuseError::Initiator(error @ Error::Status { .. })) => {
                    window.failed(error.to_string());
                }
                Err(error) => {
                    window.failed(error.to_string());
                    drop(window);
                    std::thread::sleep(Duration::from_millis(100));
                    if let Ok(session) = log_in(&self.url, &self.login) {
                        self.session = session;
                    }
                }
            }
        }
    }

    /// A write of a slot, or a read of one that was written.
    fn one(&mut self) -> Result<(), AbuseError> {
        let slot = self.rng.index(self.generations.len());
        let generation = self.generations.get(slot).copied().unwrap_or(0);
        let lba = slot as u64 * u64::from(self.blocks);
        if generation > 0 && self.rng.below(2) == 0 {
            let data = self.command(false, lba, &[])?.data;
            if let Some(pattern) = &self.pattern {
                pattern.check(lba, generation, 0, &data, &mut self.scratch)?;
            }
            return Ok(());
        }
        let mut data = Vec::with_capacity(LEN as usize);
        let next = generation.wrapping_add(1).max(1);
        match &self.pattern {
            Some(pattern) => pattern.emit(lba, next, 0, LEN as usize, &mut data),
            None => data.resize(LEN as usize, 0),
        }
        let outcome = self.command(true, lba, &data);
        if let Some(known) = self.generations.get_mut(slot) {
            // A write that failed may have been done or not.
            *known = if outcome.is_ok() { next } else { 0 };
        }
        outcome.map(drop)
    }

    fn command(&mut self, write: bool, lba: u64, data: &[u8]) -> Result<Reply, AbuseError> {
        let (cdb, len) = rw_cdb(write, lba, self.blocks);
        let cdb = cdb.get(..len).unwrap_or(&cdb);
        let wanted = if write { 0 } else { LEN };
        let reply = self.session.command(self.url.lun, cdb, data, wanted)?;
        Ok(reply.require_good("the good session's command")?)
    }
}
