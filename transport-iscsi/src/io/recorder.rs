//! A connection's recorder: from an incident to the archive.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};

use super::connection::Ends;
use super::login::Finish;
use super::service::Service;
use crate::record::{
    About, Archive, Direction, Incident, Memory, Moment, RecorderStatistics, Recording, Tap,
};

/// After a recording of a connection its incidents are left out for so long: what led to them has just been written, and
/// one peer does not use up what all may have written.
const QUIET: Duration = Duration::from_secs(1);
/// What is kept of bytes that are no login PDU.
const MAX_GARBAGE: usize = 512;

/// Recordings of a whole transport.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) settings: Recording,
    pub(super) archive: Arc<Archive>,
    pub(super) memory: Arc<Memory>,
}

impl Records {
    pub(super) fn statistics(&self) -> RecorderStatistics {
        RecorderStatistics {
            shortened: self.memory.shortened.value(),
            unrecorded: self.memory.unrecorded.value(),
            ..self.archive.statistics()
        }
    }
}

/// A request to a session: write your recording.
#[derive(Debug)]
pub(super) struct Ask(pub(super) Sender<PathBuf>);

/// Recordings that were asked for, and are written now.
#[derive(Debug)]
pub struct Dump(pub(super) Receiver<PathBuf>);

impl Dump {
    /// Waits until all are written, at most for `bound`; returns the files. Blocks: not for a shard's thread.
    pub fn wait(self, bound: Duration) -> Vec<PathBuf> {
        let end = Instant::now() + bound;
        let next = || {
            let left = end.saturating_duration_since(Instant::now());
            self.0.recv_timeout(left).ok()
        };
        std::iter::from_fn(next).collect()
    }
}

pub(super) struct Recorder {
    records: Arc<Records>,
    about: About,
    /// Until the login is done; then the session has it.
    tap: Option<Box<Tap>>,
    quiet_until: Option<Instant>,
}

impl Recorder {
    /// `None` when nothing is recorded, or when there is no memory left for it.
    pub(super) fn new(service: &Service, ends: Ends, now: Instant) -> Option<Box<Self>> {
        let records = Arc::clone(service.records()?);
        let Ends { peer, local } = ends;
        let tap = Tap::within(records.settings.tap_limits(), &records.memory, now)?;
        Some(Box::new(Self {
            tap: Some(Box::new(tap)),
            about: about(peer, local),
            records,
            quiet_until: None,
        }))
    }

    pub(super) fn settings(&self) -> &Recording {
        &self.records.settings
    }

    /// The tap of a login that is under way.
    pub(super) fn login_tap(&mut self) -> Option<&mut Tap> {
        self.tap.as_deref_mut()
    }

    /// The login is done: the session takes the tap.
    pub(super) fn logged_in(&mut self, finish: &Finish) -> Option<Box<Tap>> {
        let login = &finish.login;
        self.about.initiator.clone_from(&login.initiator_name);
        self.about.target = login.target_name.clone().unwrap_or_default();
        (self.about.isid, self.about.tsih) = (login.isid, login.tsih);
        self.about.cid = login.cid;
        self.tap.take()
    }

    /// A step of the login used these bytes, and answered with those.
    pub(super) fn login_step(&mut self, now: Instant, request: &[u8], reply: &[u8], good: bool) {
        let Some(tap) = &mut self.tap else { return };
        let kept = if good { request.len() } else { MAX_GARBAGE };
        let request = request.get(..kept).unwrap_or(request);
        for (direction, wire) in [(Direction::Received, request), (Direction::Sent, reply)] {
            if !wire.is_empty() {
                tap.login(now, direction, wire);
            }
        }
    }

    /// Writes the recording if there was an incident and it may be written now; says whether it was.
    pub(super) fn incident(&mut self, tap: Option<&mut Tap>, now: Instant) -> bool {
        let Some(tap) = tap.or(self.tap.as_deref_mut()) else {
            return false;
        };
        let Some(why) = tap.take_incident() else {
            return false;
        };
        if self.quiet_until.is_some_and(|until| now < until) || !self.records.archive.admits(now) {
            return false;
        }
        self.quiet_until = Some(now + QUIET);
        write(&self.records.archive, &self.about, tap, why, now, None);
        true
    }

    /// Writes the recording of a session that ends, if that is wanted.
    pub(super) fn ended(&mut self, tap: Option<&mut Tap>, now: Instant) {
        if let (true, Some(tap)) = (self.records.settings.writes_ended_sessions(), tap) {
            let (archive, about) = (&self.records.archive, &self.about);
            write(archive, about, tap, Incident::Ended, now, None);
        }
    }

    /// Writes the recording because somebody asked.
    pub(super) fn asked(&mut self, tap: Option<&mut Tap>, now: Instant, ask: Ask) {
        if let Some(tap) = tap {
            let (archive, about) = (&self.records.archive, &self.about);
            write(archive, about, tap, Incident::Asked, now, Some(ask.0));
        }
    }
}

fn about(peer: SocketAddr, local: SocketAddr) -> About {
    About {
        peer,
        local,
        initiator: String::new(),
        target: String::new(),
        isid: [0; 6],
        tsih: 0,
        cid: 0,
    }
}

fn write(
    archive: &Arc<Archive>,
    about: &About,
    tap: &mut Tap,
    why: Incident,
    now: Instant,
    tell: Option<Sender<PathBuf>>,
) {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let moment = Moment {
        monotonic: now,
        since_boot: Duration::try_from(clock).unwrap_or_default(),
        wall: SystemTime::now(),
    };
    archive.submit(tap.snapshot(), about.clone(), why, moment, tell);
}
