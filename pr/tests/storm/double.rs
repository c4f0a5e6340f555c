//! A device whose commands end late and in disorder, on a thread of its own, and that sees who runs beside whom.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use lunforge_core::buffer::IoBuf;
use lunforge_core::cdb::{Cdb, CommandId, ParsedCdb};
use lunforge_core::handler::{
    DeviceHandler, DeviceProfile, Execute, Execution, Identity, Outcome, Transfer,
};
use lunforge_core::sense::Sense;
use lunforge_core::shard::completion::CompletionToken;
use lunforge_core::testing::doubles::Blank;
use parking_lot::Mutex;

/// What runs now, and which rules were broken.
#[derive(Default)]
pub(crate) struct Busy(Mutex<Now>);

#[derive(Default)]
struct Now {
    running: Vec<Kind>,
    broken: Vec<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Runs alone.
    Alone,
    /// Excludes others from its block.
    Excludes(u64),
    Touches(u64),
}

impl Kind {
    fn of(cdb: &Cdb) -> Self {
        match cdb {
            Cdb::CompareAndWrite { lba, .. } => Self::Excludes(lba.0),
            Cdb::Read { lba, .. } | Cdb::Write { lba, .. } => Self::Touches(lba.0),
            _ => Self::Alone,
        }
    }

    /// Whether two may not run at once.
    fn conflicts(self, other: Self) -> bool {
        match (self, other) {
            (Self::Alone, _) | (_, Self::Alone) => true,
            (Self::Excludes(a), Self::Excludes(b) | Self::Touches(b))
            | (Self::Touches(a), Self::Excludes(b)) => a == b,
            (Self::Touches(_), Self::Touches(_)) => false,
        }
    }
}

impl Busy {
    /// The rules that were broken.
    pub(crate) fn broken(&self) -> Vec<&'static str> {
        self.0.lock().broken.clone()
    }

    fn begins(&self, kind: Kind) {
        let mut now = self.0.lock();
        if now.running.iter().any(|other| other.conflicts(kind)) {
            now.broken.push("commands ran at once that may not");
        }
        now.running.push(kind);
    }

    fn ends(&self, kind: Kind) {
        let mut now = self.0.lock();
        if let Some(at) = now.running.iter().position(|other| *other == kind) {
            now.running.swap_remove(at);
        }
    }
}

struct Job {
    kind: Kind,
    token: CompletionToken,
    buf: IoBuf,
    len: usize,
}

/// The device.
pub(crate) struct Late {
    busy: Arc<Busy>,
    jobs: Mutex<Sender<Job>>,
}

impl Late {
    /// A device that tells `busy` what runs.
    pub(crate) fn new(busy: &Arc<Busy>) -> Self {
        let (jobs, taken) = channel();
        let by = Arc::clone(busy);
        std::thread::spawn(move || complete(&by, &taken));
        Self {
            busy: Arc::clone(busy),
            jobs: Mutex::new(jobs),
        }
    }
}

/// Ends commands, of those that have come together the last first, until the device is gone.
fn complete(busy: &Busy, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        // The shards shall have brought more.
        std::thread::yield_now();
        let mut all = vec![first];
        all.extend(jobs.try_iter());
        for job in all.into_iter().rev() {
            busy.ends(job.kind);
            job.token.complete(Outcome::data(job.len), job.buf);
        }
    }
}

impl DeviceHandler for Late {
    fn identity(&self) -> Identity {
        Blank::default().identity()
    }

    fn profile(&self) -> DeviceProfile {
        Blank::default().profile()
    }

    fn supports(&self, command: CommandId) -> bool {
        Blank::default().supports(command)
    }

    fn vpd_pages(&self) -> Vec<u8> {
        Vec::new()
    }

    fn vpd(&self, _: u8) -> Option<Vec<u8>> {
        None
    }

    fn ready(&self) -> Result<(), Sense> {
        Ok(())
    }

    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        Blank::default().prepare(cdb)
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        let kind = Kind::of(command.cdb());
        self.busy.begins(kind);
        let reads = matches!(command.cdb(), Cdb::Read { .. });
        let buf = command.take_buf();
        let len = if reads { buf.len() } else { 0 };
        let token = command.defer();
        let job = Job {
            kind,
            token,
            buf,
            len,
        };
        // Without the thread the token answers by itself.
        let _ = self.jobs.lock().send(job);
        Execute::Pending
    }
}
