//! Writes to all units at once until the time is over or the power is cut.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::record::{Ack, Appender, Line, Unit};
use super::{DurableError, Ledger, Mode, UnderTest, ask, mark, record_of};
use crate::initiator::{Error, Initiator, Options, Reply, Request, rw_cdb};
use crate::load::pattern::Pattern;
use crate::random::Random;

/// Blocks of a write are 1 to so many.
const MAX_BLOCKS: u64 = 16;
/// Numbers set aside in the record at a time.
const RESERVED: u32 = 1024;
/// Completed writes that one SYNCHRONIZE CACHE makes durable are 1 to so many, and those that wait meanwhile.
const MAX_BATCH: u64 = 16;
/// How long a look for answers lasts.
const LOOK: Duration = Duration::from_millis(20);

/// When writing ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// With the power cut, which every session has to notice.
    Cut,
    /// After this time.
    Time(Duration),
    /// After so many writes to each unit.
    Writes(u64),
}

/// What to write, and for how long.
#[derive(Debug)]
pub struct WriteOptions {
    /// The units.
    pub units: Vec<UnderTest>,
    /// Where their records are, or will be.
    pub records: PathBuf,
    /// Commands in flight per unit.
    pub depth: usize,
    /// Blocks used of each unit; all of them when `None`. A record that exists has its own.
    pub span: Option<u64>,
    /// The end.
    pub until: Until,
    /// Of what is random.
    pub seed: u64,
    /// Device-mapper devices whose log takes marks, by name of the unit.
    pub marks: Vec<(String, String)>,
    /// How sessions are asked for.
    pub login: Options,
}

/// What became of a unit's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Writes sent.
    pub issued: u64,
    /// Writes that the target said were durable.
    pub acked: u64,
    /// The session was lost.
    pub cut: bool,
}

/// Writes; one thread and one session per unit. Returns what each did, in the order of the units.
///
/// # Errors
/// [`DurableError`]: a unit that is not as its mode says, a command that ended otherwise than GOOD, a session lost although
/// there is no cut to come.
pub fn run(options: &WriteOptions) -> Result<Vec<Written>, DurableError> {
    let mut writers = Vec::new();
    for (number, unit) in (1_u32..).zip(&options.units) {
        writers.push(Writer::open(options, unit, number)?);
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        let running: Vec<_> = writers
            .into_iter()
            .map(|writer| scope.spawn(move || writer.run(options.until, start)))
            .collect();
        running
            .into_iter()
            .map(|writer| match writer.join() {
                Ok(written) => written,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

struct Writer<'a> {
    unit: &'a UnderTest,
    session: Initiator,
    shape: Unit,
    record: Appender,
    /// Lines of acks in the record.
    recorded: u64,
    log: Option<mark::Log>,
    random: Random,
    depth: usize,
    next: u32,
    reserved: u32,
    issued: u64,
    acked: u64,
    in_flight: VecDeque<(u32, Ack)>,
    /// Completed, not yet promised: waits for a SYNCHRONIZE CACHE that is sent later.
    completed: Vec<Ack>,
    /// A SYNCHRONIZE CACHE, and what had completed when it was sent.
    syncing: Option<(u32, Vec<Ack>)>,
}

impl<'a> Writer<'a> {
    fn open(
        options: &'a WriteOptions,
        unit: &'a UnderTest,
        number: u32,
    ) -> Result<Self, DurableError> {
        let mut session = ask::open(unit, &options.login, number)?;
        ask::caching(&mut session, unit)?;
        let capacity = session
            .capacity(unit.url.lun)
            .map_err(|e| ask::failed(unit, e))?;
        let path = record_of(&options.records, &unit.name);
        let mut random = Random::new(options.seed ^ u64::from(number) << 32);
        let known = path.exists().then(|| Ledger::read(&path)).transpose()?;
        let mut record = Appender::open(path)?;
        let shape = match &known {
            Some(ledger) => ledger.unit,
            None => {
                let shape = Unit {
                    blocks: options.span.unwrap_or(capacity.0).min(capacity.0),
                    block_len: capacity.1,
                    seed: random.next() as u32,
                };
                record.line(Line::Unit(shape))?;
                shape
            }
        };
        if shape.blocks > capacity.0 || shape.block_len != capacity.1 || shape.blocks < MAX_BLOCKS {
            let what = "its capacity is not that of its record, or too small";
            return Err(ask::unfit(unit, what));
        }
        let issued = known.as_ref().map_or(0, Ledger::issued);
        let recorded = known.as_ref().map_or(0, Ledger::acked);
        let mark = options.marks.iter().find(|(name, _)| *name == unit.name);
        Ok(Self {
            unit,
            session,
            shape,
            record,
            recorded,
            log: mark
                .map(|(_, device)| mark::Log::open(device))
                .transpose()?,
            random,
            depth: options.depth.max(1),
            next: issued + 1,
            reserved: issued,
            issued: 0,
            acked: 0,
            in_flight: VecDeque::new(),
            completed: Vec::new(),
            syncing: None,
        })
    }

    fn run(mut self, until: Until, start: Instant) -> Result<Written, DurableError> {
        let cut = match self.write(until, start) {
            Ok(()) => false,
            Err(DurableError::Unit { source, .. }) if until == Until::Cut && is_cut(&source) => {
                true
            }
            Err(error) => return Err(error),
        };
        Ok(Written {
            issued: self.issued,
            acked: self.acked,
            cut,
        })
    }

    fn write(&mut self, until: Until, start: Instant) -> Result<(), DurableError> {
        let goes_on = |issued| match until {
            Until::Cut => true,
            Until::Time(time) => start.elapsed() < time,
            Until::Writes(count) => issued < count,
        };
        while goes_on(self.issued) {
            while self.in_flight.len() < self.depth && goes_on(self.issued) && self.issue()? {}
            self.synchronize()?;
            self.collect()?;
        }
        while !self.in_flight.is_empty() || self.syncing.is_some() || !self.completed.is_empty() {
            self.synchronize()?;
            self.collect()?;
        }
        Ok(())
    }

    /// Sends one write; false when the blocks that were drawn are being written.
    fn issue(&mut self) -> Result<bool, DurableError> {
        let blocks = self.random.below(MAX_BLOCKS) + 1;
        let write = Ack {
            lba: self.random.below(self.shape.blocks - blocks + 1),
            blocks: u32::try_from(blocks).unwrap_or(1),
            number: self.next,
        };
        if self
            .in_flight
            .iter()
            .any(|(_, other)| other.overlaps(&write))
        {
            return Ok(false);
        }
        if self.next > self.reserved {
            self.reserved = self.reserved.saturating_add(RESERVED);
            self.record.line(Line::Issued(self.reserved))?;
        }
        self.next += 1;
        let mut data = Vec::new();
        let pattern = Pattern {
            seed: self.shape.seed,
            block: self.shape.block_len,
        };
        let len = blocks as usize * self.shape.block_len as usize;
        pattern.emit(write.lba, write.number, 0, len, &mut data);
        let (mut cdb, len) = rw_cdb(true, write.lba, write.blocks);
        if self.unit.mode == Mode::Fua {
            cdb[1] |= 0x08;
        }
        let request =
            Request::new(self.unit.url.lun, cdb.get(..len).unwrap_or(&cdb)).data_out(&data);
        let tag = self
            .session
            .submit(&request)
            .map_err(|e| ask::failed(self.unit, e))?;
        self.in_flight.push_back((tag, write));
        self.issued += 1;
        Ok(true)
    }

    /// Sends a SYNCHRONIZE CACHE of everything when it is time for one: it covers what had completed before (SBC-3 5.32).
    fn synchronize(&mut self) -> Result<(), DurableError> {
        let enough = self.completed.len() as u64 > self.random.below(MAX_BATCH);
        let last = self.in_flight.is_empty() && !self.completed.is_empty();
        if self.syncing.is_some() || !(enough || last) {
            return Ok(());
        }
        let long = self.random.below(2) == 1;
        let cdb: &[u8] = if long {
            &[0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        } else {
            &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        };
        let request = Request::new(self.unit.url.lun, cdb);
        let tag = self
            .session
            .submit(&request)
            .map_err(|e| ask::failed(self.unit, e))?;
        self.syncing = Some((tag, std::mem::take(&mut self.completed)));
        Ok(())
    }

    /// Takes the answers that are there, or come soon.
    fn collect(&mut self) -> Result<(), DurableError> {
        let failed = |source| ask::failed(self.unit, source);
        self.session.serve(LOOK).map_err(failed)?;
        while let Some((tag, reply)) = self.session.take_ended() {
            self.ended(tag, reply)?;
        }
        Ok(())
    }

    fn ended(&mut self, tag: u32, reply: Reply) -> Result<(), DurableError> {
        let sync = self.syncing.take_if(|(sync, _)| *sync == tag);
        let what = if sync.is_some() {
            "SYNCHRONIZE CACHE"
        } else {
            "WRITE"
        };
        reply
            .require_good(what)
            .map_err(|e| ask::failed(self.unit, e))?;
        if let Some((_, covered)) = sync {
            return covered
                .into_iter()
                .try_for_each(|write| self.promise(write));
        }
        let Some(at) = self.in_flight.iter().position(|(own, _)| *own == tag) else {
            return Err(ask::unfit(self.unit, "an answer to nothing that was asked"));
        };
        let Some((_, write)) = self.in_flight.remove(at) else {
            return Ok(());
        };
        match self.unit.mode {
            Mode::Volatile => Ok(()),
            Mode::Sync => {
                self.completed.push(write);
                Ok(())
            }
            Mode::WriteThrough | Mode::CacheOff | Mode::Fua | Mode::NvCache => self.promise(write),
        }
    }

    /// The target says that this write is durable.
    fn promise(&mut self, write: Ack) -> Result<(), DurableError> {
        self.record.line(Line::Ack(write))?;
        self.acked += 1;
        self.recorded += 1;
        match &self.log {
            Some(log) => log.mark(self.recorded),
            None => Ok(()),
        }
    }
}

/// What a machine that lost power looks like from outside.
fn is_cut(error: &Error) -> bool {
    matches!(
        error,
        Error::Closed | Error::Io { .. } | Error::Timeout(_) | Error::Connect { .. }
    )
}
