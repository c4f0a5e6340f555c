//! Does one copy: a source of the asking session's shard, which begins inner commands and is told their ends.
//!
//! ```text
//!  units found ─▶ READ CAPACITY of each ─▶ every segment checked, rights too ─▶ segment by segment: chunks ─▶ end
//! ```
//!
//! Nothing is written before all segments were checked. Segments are done in their order, one after the other, since
//! one may read what another wrote; within a segment a few chunks are in flight. A copy that is to stop begins nothing
//! more and ends when what is in flight has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::operation::{End, Operation, StopNow};
use super::parameter_list::ParameterList;
use super::parties::{Parties, Step};
use super::plan::{self, Chunk, Geometry, Transfer};
use super::{CopyLimits, CopyStats, failure};
use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::cdb::ParsedCdb;
use crate::command::Finished;
use crate::handler::{Execution, Outcome};
use crate::lu::LogicalUnit;
use crate::nexus::Nexus;
use crate::pipeline::InnerRequest;
use crate::sense::{Sense, SenseKey};
use crate::shard::completion::{CommandKey, CompletionToken};
use crate::shard::mailbox::Message;
use crate::shard::{Event, NexusKey, Readiness, ShardCx, Source};
use crate::status::Status;

/// How soon a command that was answered BUSY or TASK SET FULL is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// How long nothing but such answers may come.
const PATIENCE: Duration = Duration::from_secs(10);
/// A copy whose backend never makes it wait lets others have their turn.
const BREATH: Duration = Duration::from_micros(1);

/// A command of the copy on its way.
#[derive(Debug)]
struct Flight {
    tag: u64,
    kind: Kind,
    /// It was answered BUSY and waits to be sent again.
    waits: bool,
    /// Data to write, while it waits.
    buf: IoBuf,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Capacity {
        party: usize,
    },
    Verify {
        party: usize,
    },
    Read(Chunk),
    Write(Chunk),
    /// Both, by the handlers themselves.
    Copy(Chunk),
}

impl Kind {
    fn chunk(self) -> Option<Chunk> {
        match self {
            Self::Read(chunk) | Self::Write(chunk) | Self::Copy(chunk) => Some(chunk),
            Self::Capacity { .. } | Self::Verify { .. } => None,
        }
    }
}

/// See the module's head.
pub(super) struct Copier {
    list: ParameterList,
    operation: Arc<Operation>,
    limits: CopyLimits,
    stats: Arc<CopyStats>,
    nexus: Arc<Nexus>,
    /// The unit that got the command.
    manager: Arc<LogicalUnit>,
    key: Option<NexusKey>,
    outer: Option<CommandKey>,
    token: Option<CompletionToken>,
    parties: Parties,
    /// One for each segment, once all were checked.
    steps: Option<Vec<Step>>,
    /// Place of the segment that is being done.
    at: usize,
    /// Bytes of it that were begun; for a verification, 1.
    begun: u64,
    flights: Vec<Flight>,
    next_tag: u64,
    /// The turn of the shard in which a chunk was begun last.
    turn: Option<Instant>,
    busy_since: Option<Instant>,
    /// The handlers turned out not to copy by themselves.
    by_hand: bool,
    /// Why it ends.
    ending: Option<End>,
    /// The first byte of the segment that was not moved.
    failed_at: u64,
    over: bool,
}

impl Copier {
    pub(super) fn new(
        command: &Execution<'_>,
        list: ParameterList,
        operation: Arc<Operation>,
        limits: CopyLimits,
        stats: &Arc<CopyStats>,
    ) -> Box<Self> {
        Box::new(Self {
            list,
            operation,
            limits,
            stats: Arc::clone(stats),
            nexus: Arc::clone(&command.itl().nexus),
            manager: Arc::clone(command.unit()),
            key: None,
            outer: None,
            token: None,
            parties: Parties::default(),
            steps: None,
            at: 0,
            begun: 0,
            flights: Vec::new(),
            next_tag: 0,
            turn: None,
            busy_since: None,
            by_hand: false,
            ending: None,
            failed_at: u64::MAX,
            over: false,
        })
    }

    /// Has the copy begin on the command's shard; `token` ends the command when the copy ends.
    pub(super) fn begin_on_shard(
        mut self: Box<Self>,
        command: &Execution<'_>,
        token: Option<CompletionToken>,
    ) {
        self.outer = token.as_ref().map(|_| command.key);
        self.token = token;
        let begin = Box::new(move |cx: &mut ShardCx<'_>| self.start(cx));
        command.mailbox.post(Message::Run(begin));
    }

    fn start(mut self: Box<Self>, cx: &mut ShardCx<'_>) {
        self.key = cx.core.nexus_key(self.nexus.id);
        if cx.core.copies >= self.limits.copies_per_shard.into() {
            self.operation.end(End::Aborted);
            return self.answer(Outcome::status(Status::Busy));
        }
        cx.core.copies += 1;
        cx.add_source_with(move |cx| {
            self.operation.started(cx.handle(), cx.this());
            match Parties::find(&self.list, &self.nexus, &self.manager) {
                Ok(parties) => {
                    self.parties = parties;
                    self.probe(cx);
                }
                Err(sense) => self.ending = Some(End::Failed(sense)),
            }
            self.go_on(cx);
            (!self.over).then_some(self as Box<dyn Source>)
        });
    }

    fn answer(&mut self, outcome: Outcome) {
        if let Some(token) = self.token.take() {
            token.complete(outcome, IoBuf::empty());
        }
    }

    /// Asks every unit how large it is.
    fn probe(&mut self, cx: &mut ShardCx<'_>) {
        for party in 0..self.parties.all.len() {
            if self.parties.all.get(party).is_some_and(|p| p.medium) {
                self.launch(cx, Kind::Capacity { party }, IoBuf::empty());
            }
        }
    }

    /// Begins what may be begun, or ends the copy.
    fn go_on(&mut self, cx: &mut ShardCx<'_>) {
        while !self.over {
            if self.ending.is_none() {
                self.ending = self.must_end();
            }
            if let Some(end) = self.ending {
                self.give_up_waiting(cx);
                if self.flights.is_empty() {
                    self.finish(cx, end);
                }
                return;
            }
            if self.steps.is_none() {
                if !self.flights.is_empty() {
                    return;
                }
                match self.plan(cx) {
                    Ok(steps) => self.steps = Some(steps),
                    Err(sense) => self.ending = Some(End::Failed(sense)),
                }
                continue;
            }
            let Some(step) = self.step() else {
                self.ending = Some(End::Good);
                continue;
            };
            if !self.advance(cx, step) {
                return;
            }
        }
    }

    /// Forgets the commands that were to be sent again.
    fn give_up_waiting(&mut self, cx: &mut ShardCx<'_>) {
        for flight in self.flights.extract_if(.., |flight| flight.waits) {
            if let Some(chunk) = flight.kind.chunk() {
                self.failed_at = self.failed_at.min(chunk.offset);
            }
            cx.pool().recycle(flight.buf);
        }
    }

    fn step(&self) -> Option<Step> {
        self.steps.as_ref()?.get(self.at).copied()
    }

    /// Whether somebody wants the copy to end.
    fn must_end(&self) -> Option<End> {
        let aborted = self.token.as_ref().is_some_and(CompletionToken::cancelled);
        if self.operation.stopped() || aborted {
            return Some(End::Aborted);
        }
        let reset = self.parties.all.iter().any(|party| party.was_reset());
        reset.then(|| End::Failed(failure::not_reachable(self.segment())))
    }

    fn segment(&self) -> u16 {
        self.at as u16
    }

    /// Checks every segment before the first effect, and whether the session may read and write where it says.
    fn plan(&self, cx: &mut ShardCx<'_>) -> Result<Vec<Step>, Sense> {
        let steps = self.parties.plan(&self.list, &self.limits)?;
        for (number, step) in steps.iter().enumerate() {
            if let Step::Transfer(transfer) = step {
                for chunk in [transfer.chunk(0), transfer.last_chunk()] {
                    for kind in chunk
                        .into_iter()
                        .flat_map(|c| [Kind::Read(c), Kind::Write(c)])
                    {
                        self.vet(cx, number as u16, transfer, kind)?;
                    }
                }
            }
        }
        Ok(steps)
    }

    fn vet(
        &self,
        cx: &mut ShardCx<'_>,
        segment: u16,
        transfer: &Transfer,
        kind: Kind,
    ) -> Result<(), Sense> {
        let destination = matches!(kind, Kind::Write(_));
        let party = if destination {
            transfer.destination
        } else {
            transfer.source
        };
        let cdb = cdb(kind)?;
        let data_out = match kind {
            Kind::Write(chunk) => chunk.bytes as usize,
            _ => 0,
        };
        let Some(request) = self.request(party, cdb, 0, IoBuf::empty(), data_out) else {
            return Err(failure::not_reachable(segment));
        };
        cx.core.vet_inner(&request).map_err(|outcome| {
            let (status, sense) = (outcome.status, outcome.sense);
            let sense = failure::third_party(destination, segment, status, sense);
            sense.with_information(transfer.residue(0))
        })
    }

    /// Goes on with a segment. True when it is over and the next one may begin.
    fn advance(&mut self, cx: &mut ShardCx<'_>, step: Step) -> bool {
        if self.begun == 0 && self.flights.is_empty() {
            self.operation.advance(self.segment().saturating_add(1), 0);
        }
        match step {
            Step::Verify { party, ready: true } if self.begun == 0 => {
                self.begun = 1;
                self.launch(cx, Kind::Verify { party }, IoBuf::empty());
            }
            Step::Verify { .. } => {}
            Step::Transfer(transfer) => {
                while self.flights.len() < usize::from(self.limits.chunks.max(1)) {
                    let Some(chunk) = transfer.chunk(self.begun) else {
                        break;
                    };
                    if !self.may_begin_chunk(cx) {
                        return false;
                    }
                    self.begun += chunk.bytes;
                    let kind = match transfer.by_handlers && !self.by_hand {
                        true => Kind::Copy(chunk),
                        false => Kind::Read(chunk),
                    };
                    self.launch(cx, kind, IoBuf::empty());
                }
            }
        }
        let over = self.flights.is_empty();
        if over {
            self.at += 1;
            self.begun = 0;
        }
        over
    }

    /// One chunk in one turn of the shard: where the backend answers at once, others have their turn in between.
    fn may_begin_chunk(&mut self, cx: &mut ShardCx<'_>) -> bool {
        if self.turn == Some(cx.now()) {
            cx.set_timer(Some(cx.now() + BREATH));
            return false;
        }
        self.turn = Some(cx.now());
        true
    }

    fn launch(&mut self, cx: &mut ShardCx<'_>, kind: Kind, buf: IoBuf) {
        self.next_tag += 1;
        let tag = self.next_tag;
        self.flights.push(Flight {
            tag,
            kind,
            waits: false,
            buf: IoBuf::empty(),
        });
        self.send(cx, tag, kind, buf);
    }

    fn send(&mut self, cx: &mut ShardCx<'_>, tag: u64, kind: Kind, buf: IoBuf) {
        let party = match (kind, self.step()) {
            (Kind::Capacity { party } | Kind::Verify { party }, _) => Some(party),
            (Kind::Read(_), Some(Step::Transfer(transfer))) => Some(transfer.source),
            (Kind::Write(_) | Kind::Copy(_), Some(Step::Transfer(transfer))) => {
                Some(transfer.destination)
            }
            _ => None,
        };
        let data_out = match kind {
            Kind::Copy(chunk) => chunk.bytes as usize,
            _ => buf.len(),
        };
        let request = match (party, cdb(kind)) {
            (Some(party), Ok(cdb)) => self.request(party, cdb, tag, buf, data_out),
            _ => None,
        };
        match (request, self.read_of(kind)) {
            (Some(write), Some(read)) => cx.core.begin_copy(cx.this(), &read, write),
            (Some(request), None) => cx.core.begin_inner(cx.this(), request),
            (None, _) => {
                self.flights.retain(|f| f.tag != tag);
                self.ending = Some(End::Failed(failure::not_reachable(self.segment())));
            }
        }
    }

    /// The read that a copy by the handlers stands for.
    fn read_of(&self, kind: Kind) -> Option<InnerRequest<'_>> {
        let (Kind::Copy(chunk), Some(Step::Transfer(transfer))) = (kind, self.step()) else {
            return None;
        };
        let cdb = cdb(Kind::Read(chunk)).ok()?;
        self.request(transfer.source, cdb, 0, IoBuf::empty(), 0)
    }

    fn request(
        &self,
        party: usize,
        cdb: ParsedCdb,
        tag: u64,
        buf: IoBuf,
        data_out: usize,
    ) -> Option<InnerRequest<'_>> {
        let found = &self.parties.all.get(party)?.found;
        Some(InnerRequest {
            nexus: self.key?,
            lun: found.lun,
            unit: &found.unit,
            cdb,
            buf,
            data_out,
            tag,
            manager: self.manager.id(),
            outer: self.outer,
        })
    }

    /// An inner command ended.
    fn finished(&mut self, cx: &mut ShardCx<'_>, mut finished: Finished) {
        let Some(place) = self.flights.iter().position(|f| f.tag == finished.tag) else {
            return cx.pool().recycle(finished.buf);
        };
        if let Some(Kind::Copy(chunk)) = self.flights.get(place).map(|f| f.kind)
            && finished.respond
            && finished.status != Status::Good
            && self.ending.is_none()
        {
            // Reading and writing tells which side is at fault, if one is.
            self.by_hand |= finished.status != Status::Busy;
            self.flights.swap_remove(place);
            return self.launch(cx, Kind::Read(chunk), finished.buf);
        }
        if self.ending.is_none() && finished.respond && self.sends_again(cx, place, &mut finished) {
            return cx.pool().recycle(finished.buf);
        }
        let flight = self.flights.swap_remove(place);
        let good = finished.respond && finished.status == Status::Good;
        if good {
            self.busy_since = None;
            return self.went_well(cx, flight.kind, finished);
        }
        if let Some(chunk) = flight.kind.chunk() {
            self.failed_at = self.failed_at.min(chunk.offset);
        }
        if self.ending.is_none() {
            self.ending = self.must_end().or_else(|| {
                let (segment, destination) = match flight.kind {
                    Kind::Capacity { party } => self.first_use(party),
                    kind => (self.segment(), matches!(kind, Kind::Write(_))),
                };
                let sense = failure::of_finished(destination, segment, &finished);
                Some(End::Failed(sense))
            });
        }
        cx.pool().recycle(finished.buf);
    }

    fn first_use(&self, party: usize) -> (u16, bool) {
        let party = self.parties.all.get(party);
        party.map_or((0, false), |party| party.first_use)
    }

    /// Keeps a command that was answered BUSY or TASK SET FULL, to send it again.
    fn sends_again(&mut self, cx: &mut ShardCx<'_>, place: usize, finished: &mut Finished) -> bool {
        let busy = matches!(finished.status, Status::Busy | Status::TaskSetFull);
        let since = *self.busy_since.get_or_insert(cx.now());
        if !busy || since + PATIENCE <= cx.now() {
            return false;
        }
        if let Some(flight) = self.flights.get_mut(place) {
            flight.waits = true;
            flight.kind = match flight.kind {
                // A handler need not give data back that it did not write.
                Kind::Write(chunk) if finished.buf.len() as u64 != chunk.bytes => Kind::Read(chunk),
                kind => kind,
            };
            if matches!(flight.kind, Kind::Write(_)) {
                flight.buf = std::mem::take(&mut finished.buf);
            }
        }
        cx.set_timer(Some(cx.now() + RETRY_AFTER));
        true
    }

    fn send_again(&mut self, cx: &mut ShardCx<'_>) {
        let waiting: Vec<_> = self
            .flights
            .iter_mut()
            .filter(|flight| flight.waits)
            .map(|flight| {
                flight.waits = false;
                (flight.tag, flight.kind, std::mem::take(&mut flight.buf))
            })
            .collect();
        for (tag, kind, buf) in waiting {
            self.send(cx, tag, kind, buf);
        }
    }

    fn went_well(&mut self, cx: &mut ShardCx<'_>, kind: Kind, finished: Finished) {
        let Finished {
            mut buf, data_in, ..
        } = finished;
        match kind {
            Kind::Capacity { party } => self.measured(party, &buf.to_vec(0..data_in)),
            Kind::Verify { .. } => {}
            Kind::Read(chunk) => {
                let Some(Step::Transfer(transfer)) = self.step() else {
                    return cx.pool().recycle(buf);
                };
                if (data_in as u64) < transfer.read_bytes(&chunk) {
                    self.failed_at = self.failed_at.min(chunk.offset);
                    let asc = Asc::COPY_TARGET_DEVICE_DATA_UNDERRUN;
                    let sense = failure::aborted(asc, self.segment());
                    self.ending.get_or_insert(End::Failed(sense));
                    return cx.pool().recycle(buf);
                }
                if self.ending.is_none() {
                    self.ending = self.must_end();
                }
                if self.ending.is_some() {
                    self.failed_at = self.failed_at.min(chunk.offset);
                    return cx.pool().recycle(buf);
                }
                move_down(&mut buf, chunk.skip, chunk.bytes as usize);
                return self.launch(cx, Kind::Write(chunk), buf);
            }
            Kind::Write(chunk) => self.moved(chunk),
            Kind::Copy(chunk) => {
                self.moved(chunk);
                self.stats.offloaded_bytes.add(chunk.bytes);
                self.count_read(cx, chunk);
            }
        }
        cx.pool().recycle(buf);
    }

    fn moved(&mut self, chunk: Chunk) {
        self.operation
            .advance(self.segment().saturating_add(1), chunk.bytes);
        self.stats.bytes.add(chunk.bytes);
    }

    /// Nobody read from the source, but data of it was moved.
    fn count_read(&self, cx: &mut ShardCx<'_>, chunk: Chunk) {
        if let Some(Step::Transfer(transfer)) = self.step()
            && let Some(party) = self.parties.all.get(transfer.source)
        {
            let stats = party.found.unit.stats_of(cx.core.lane);
            stats.count(chunk.bytes as usize, 0, false);
        }
    }

    /// A unit told its size.
    fn measured(&mut self, place: usize, capacity: &[u8]) {
        let segment = self.first_use(place).0;
        let Some(party) = self.parties.all.get_mut(place) else {
            return;
        };
        let limits = party.found.unit.handler().vpd(0xB0);
        party.geometry = Geometry::new(capacity, limits.as_deref());
        if party.geometry.is_none() {
            let asc = Asc::INVALID_OPERATION_FOR_COPY_SOURCE_OR_DESTINATION;
            let sense = failure::aborted(asc, segment);
            self.ending.get_or_insert(End::Failed(sense));
        }
    }

    /// Says how the copy ended. Nothing of it is under way.
    fn finish(&mut self, cx: &mut ShardCx<'_>, end: End) {
        let end = match (end, self.step()) {
            (End::Failed(sense), Some(Step::Transfer(transfer)))
                if sense.key == SenseKey::CopyAborted && sense.information.is_none() =>
            {
                let done = self.failed_at.min(self.begun);
                End::Failed(sense.with_information(transfer.residue(done)))
            }
            (end, _) => end,
        };
        self.operation.end(end);
        let outcome = match end {
            End::Good => Outcome::good(),
            End::Failed(sense) => sense.into(),
            End::Aborted => {
                let asc = Asc::NO_ADDITIONAL_SENSE_INFORMATION;
                failure::aborted(asc, self.segment()).into()
            }
        };
        match end {
            End::Good => self.stats.done.add(1),
            End::Failed(_) | End::Aborted => self.stats.failed.add(1),
        }
        self.answer(outcome);
        cx.core.copies = cx.core.copies.saturating_sub(1);
        self.over = true;
    }

    fn stop(&mut self, cx: &mut ShardCx<'_>) {
        self.operation.stop();
        cx.core.abort_inner(cx.this(), self.nexus.id);
    }
}

/// The CDB of an inner command.
fn cdb(kind: Kind) -> Result<ParsedCdb, Sense> {
    match kind {
        Kind::Capacity { .. } => plan::read_capacity(),
        Kind::Verify { .. } => plan::test_unit_ready(),
        Kind::Read(chunk) => plan::medium_access(false, chunk.read),
        Kind::Write(chunk) | Kind::Copy(chunk) => plan::medium_access(true, chunk.write),
    }
}

/// Moves `len` bytes from `skip` on to the buffer's start, and cuts the rest off.
fn move_down(buf: &mut IoBuf, skip: usize, len: usize) {
    let mut piece = [0; 4096];
    let mut done = 0;
    while skip > 0 && done < len {
        let want = piece.len().min(len - done);
        let (piece, _) = piece.split_at_mut(want);
        let got = buf.read_at(skip + done, piece);
        done += buf.write_at(done, piece.get(..got).unwrap_or(&[])).max(1);
    }
    buf.truncate(len);
}

impl Source for Copier {
    fn ready(&mut self, _: &mut ShardCx<'_>, _: Readiness) {}

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        match event {
            Event::Finished(finished) => self.finished(cx, finished),
            Event::Message(body) if body.is::<StopNow>() => self.stop(cx),
            Event::Stop => self.stop(cx),
            _ => {}
        }
        self.go_on(cx);
        if self.over {
            cx.remove_source();
        }
    }

    fn timeout(&mut self, cx: &mut ShardCx<'_>) {
        if self.ending.is_none() {
            self.ending = self.must_end();
        }
        if self.ending.is_none() {
            self.send_again(cx);
        }
        self.go_on(cx);
        if self.over {
            cx.remove_source();
        }
    }

    fn flush(&mut self, _: &mut ShardCx<'_>) {}
}
