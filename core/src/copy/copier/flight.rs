//! The commands of a copy on their way: begun, sent again when they were answered BUSY, ended.

use std::time::Duration;

use super::Copier;
use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::cdb::ParsedCdb;
use crate::command::Finished;
use crate::copy::failure;
use crate::copy::operation::End;
use crate::copy::parties::Step;
use crate::copy::plan::{self, Chunk, Geometry};
use crate::pipeline::InnerRequest;
use crate::sense::Sense;
use crate::shard::ShardCx;
use crate::status::Status;

/// How soon a command that was answered BUSY or TASK SET FULL is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// How long nothing but such answers may come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A command of the copy on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) tag: u64,
    pub(super) kind: Kind,
    /// It was answered BUSY and waits to be sent again.
    pub(super) waits: bool,
    /// Data to write, while it waits.
    pub(super) buf: IoBuf,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
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
    pub(super) fn chunk(self) -> Option<Chunk> {
        match self {
            Self::Read(chunk) | Self::Write(chunk) | Self::Copy(chunk) => Some(chunk),
            Self::Capacity { .. } | Self::Verify { .. } => None,
        }
    }
}

impl Copier {
    pub(super) fn launch(&mut self, cx: &mut ShardCx<'_>, kind: Kind, buf: IoBuf) {
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

    pub(super) fn request(
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
    pub(super) fn finished(&mut self, cx: &mut ShardCx<'_>, mut finished: Finished) {
        let Some(place) = self.flights.iter().position(|f| f.tag == finished.tag) else {
            return cx.pool().recycle(finished.buf);
        };
        if let Some(chunk) = self.not_copied(place, &finished) {
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

    /// The chunk that the handlers did not copy after all. Reading and writing tells which side is at fault, if one is.
    fn not_copied(&mut self, place: usize, finished: &Finished) -> Option<Chunk> {
        let failed = finished.respond && finished.status != Status::Good;
        match self.flights.get(place)?.kind {
            Kind::Copy(chunk) if failed && self.ending.is_none() => {
                self.by_hand |= finished.status != Status::Busy;
                Some(chunk)
            }
            _ => None,
        }
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

    pub(super) fn send_again(&mut self, cx: &mut ShardCx<'_>) {
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
            Kind::Read(chunk) if self.may_write(chunk, data_in as u64) => {
                move_down(&mut buf, chunk.skip, chunk.bytes as usize);
                return self.launch(cx, Kind::Write(chunk), buf);
            }
            Kind::Read(chunk) => self.failed_at = self.failed_at.min(chunk.offset),
            Kind::Write(chunk) => self.moved(chunk),
            Kind::Copy(chunk) => {
                self.moved(chunk);
                self.stats.offloaded_bytes.add(chunk.bytes);
                self.count_read(cx, chunk);
            }
        }
        cx.pool().recycle(buf);
    }

    /// Whether a chunk that was read is to be written.
    fn may_write(&mut self, chunk: Chunk, data_in: u64) -> bool {
        if self.ending.is_none() {
            self.ending = self.must_end();
        }
        let whole = match self.step() {
            Some(Step::Transfer(transfer)) => data_in >= transfer.read_bytes(&chunk),
            _ => false,
        };
        if !whole {
            let asc = Asc::COPY_TARGET_DEVICE_DATA_UNDERRUN;
            let sense = failure::aborted(asc, self.segment());
            self.ending.get_or_insert(End::Failed(sense));
        }
        self.ending.is_none()
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
}

/// The CDB of an inner command.
pub(super) fn cdb(kind: Kind) -> Result<ParsedCdb, Sense> {
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
