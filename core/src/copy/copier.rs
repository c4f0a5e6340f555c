//! Does one copy: a source of the asking session's shard, which begins inner commands and is told their ends.
//!
//! ```text
//!  units found ─▶ READ CAPACITY of each ─▶ every segment checked, rights too ─▶ segment by segment: chunks ─▶ end
//! ```
//!
//! Nothing is written before all segments were checked. Segments are done in their order, one after the other, since
//! one may read what another wrote; within a segment a few chunks are in flight. A copy that is to stop begins nothing
//! more and ends when what is in flight has.

mod flight;

use std::sync::Arc;
use std::time::{Duration, Instant};

use flight::{Flight, Kind, cdb};

use super::operation::{End, Operation, StopNow};
use super::parameter_list::ParameterList;
use super::parties::{Parties, Step};
use super::plan::Transfer;
use super::{CopyLimits, CopyStats, Running, failure};
use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::handler::{Execution, Outcome};
use crate::lu::LogicalUnit;
use crate::nexus::Nexus;
use crate::sense::{Sense, SenseKey};
use crate::shard::completion::{CommandKey, CompletionToken};
use crate::shard::mailbox::Message;
use crate::shard::{Event, NexusKey, Readiness, ShardCx, Source};
use crate::status::Status;

/// A copy whose backend never makes it wait lets others have their turn.
const BREATH: Duration = Duration::from_micros(1);

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
        if cx.core.copies.len() >= self.limits.copies_per_shard.into() {
            self.operation.end(End::Aborted);
            return self.answer(Outcome::status(Status::Busy));
        }
        cx.add_source_with(move |cx| {
            self.operation.started(cx.handle(), cx.this());
            match Parties::find(&self.list, &self.nexus, &self.manager) {
                Ok(parties) => self.parties = parties,
                Err(sense) => self.ending = Some(End::Failed(sense)),
            }
            let running = Running::new(&self.operation, self.manager.id(), &self.parties);
            cx.core.copies.push(running);
            self.probe(cx);
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
        let lost =
            self.operation.lost_unit() || self.parties.all.iter().any(|party| party.was_reset());
        lost.then(|| End::Failed(failure::not_reachable(self.segment())))
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
        cx.core.copy_ended(&self.operation);
        self.over = true;
    }

    fn stop(&mut self, cx: &mut ShardCx<'_>) {
        self.operation.stop();
        cx.core.abort_inner(cx.this(), self.nexus.id);
    }
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
