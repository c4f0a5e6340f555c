//! The receive loop: headers, digests, data segments.

use std::time::Instant;

use super::{
    Close, Connection, Event, Logout, Payload, Rx, Segment, Sink, Step, cmd_sn_of, digest_len,
};
use crate::proto::digest::{Crc32c, crc32c};
use crate::proto::error::{Disposition, Violation};
use crate::proto::pdu::{
    self, BHS_LEN, Bhs, DIGEST_LEN, Request, data_segment_len, is_immediate, opcode, opcode_of,
    pad_len,
};
use crate::proto::session::{Admission, Session};
use crate::proto::task::DataOutState;
use crate::record::Incident;

/// What became of one part of the input.
pub(super) enum Progress {
    /// Look again, there may be more.
    Go,
    /// Tell the caller.
    Report(Event),
}

impl Connection {
    /// Goes on with the bytes at hand until something happens.
    ///
    /// `staged` has to start at the first byte not yet consumed, less any payload that the caller
    /// took itself. It has to be able to hold [`pdu::MAX_HEADER_LEN`] bytes.
    pub fn next(&mut self, session: &mut Session, staged: &[u8], now: Instant) -> Step {
        let mut consumed = 0;
        loop {
            let rest = staged.get(consumed..).unwrap_or_default();
            if let Some(close) = self.closed {
                return Step {
                    consumed: consumed + rest.len(),
                    event: Event::Closed(close),
                };
            }
            let (used, progress) = match &self.rx {
                Rx::Header if self.congested(session) => (0, Progress::Report(Event::Congested)),
                Rx::Header if self.statistics.pdus_received >= self.pause_at => {
                    (0, Progress::Report(Event::NeedBytes))
                }
                Rx::Header => self.header(session, rest, now),
                Rx::Segment(_) => self.segment(session, rest, now),
            };
            consumed += used;
            if let Progress::Report(event) = progress {
                return Step { consumed, event };
            }
        }
    }

    /// Where the next bytes of the stream belong, when they are payload of a task that still lives.
    #[must_use]
    pub fn payload(&self, session: &Session) -> Option<Payload> {
        let Rx::Segment(segment) = &self.rx else {
            return None;
        };
        let Sink::Task { task, offset, .. } = segment.sink else {
            return None;
        };
        let known = session.task(task)?;
        let room = known.wanted.saturating_sub(offset).min(segment.remaining);
        (known.out == DataOutState::Receiving && room > 0).then_some(Payload {
            task,
            offset,
            len: room,
        })
    }

    /// Takes note of payload bytes that the caller put into the task's buffer, in stream order,
    /// at most as many as [`Connection::payload`] says.
    pub fn payload_chunk(&mut self, bytes: &[u8]) {
        let Rx::Segment(segment) = &mut self.rx else {
            return;
        };
        if let Some(crc) = &mut segment.crc {
            crc.update(bytes);
        }
        if let Some(tap) = &mut self.tap {
            tap.received_data(bytes);
        }
        self.payload_taken(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }

    /// As [`Connection::payload_chunk`] where [`Connection::needs_payload_bytes`] says that the bytes need not be
    /// looked at.
    pub fn payload_taken(&mut self, len: u32) {
        let Rx::Segment(segment) = &mut self.rx else {
            return;
        };
        let len = len.min(segment.remaining);
        segment.remaining -= len;
        self.statistics.data_received += u64::from(len);
        if let Sink::Task { offset, .. } = &mut segment.sink {
            *offset = offset.saturating_add(len);
        }
    }

    /// Whether payload bytes have to be shown to [`Connection::payload_chunk`]: for their digest, or for the recorder.
    #[must_use]
    pub fn needs_payload_bytes(&self) -> bool {
        self.params.data_digest || self.tap.as_ref().is_some_and(|tap| tap.wants_data())
    }

    fn header(&mut self, session: &mut Session, rest: &[u8], now: Instant) -> (usize, Progress) {
        let need = (0, Progress::Report(Event::NeedBytes));
        let Some(bhs) = rest.first_chunk::<BHS_LEN>() else {
            return need;
        };
        let ahs_end = BHS_LEN + pdu::ahs_len(bhs);
        let end = ahs_end + digest_len(self.params.header_digest);
        let Some(whole) = rest.get(..end) else {
            return need;
        };
        let (covered, digest) = whole.split_at(ahs_end);
        self.statistics.pdus_received += 1;
        self.timers.received(now);
        self.record_header(bhs, whole, now);
        if !digest.is_empty() && crc32c(covered) != digest {
            self.statistics.digest_errors += 1;
            return (end, self.violation(session, bhs, Violation::HeaderDigest));
        }
        if data_segment_len(bhs) > self.params.max_recv_data_segment_length {
            return (end, self.violation(session, bhs, Violation::SegmentTooLong));
        }
        self.begin_segment(bhs, Sink::Discard);
        let ahs = covered.get(BHS_LEN..).unwrap_or_default();
        (end, self.dispatch(session, bhs, ahs, now))
    }

    /// Shows a header to the recorder, and how much data follows it; none does when the connection is to be dropped for
    /// what the header says.
    #[inline]
    fn record_header(&mut self, bhs: &Bhs, whole: &[u8], now: Instant) {
        let Some(tap) = &mut self.tap else { return };
        let len = data_segment_len(bhs);
        if len == 0 || len > self.params.max_recv_data_segment_length {
            return tap.received_header(now, whole, 0, whole.len());
        }
        let tail = usize::from(pad_len(len)) + digest_len(self.params.data_digest);
        let data = len as usize;
        tap.received_header(now, whole, data, whole.len() + data + tail);
    }

    /// Prepares for the data segment of a PDU; without one the next header follows.
    fn begin_segment(&mut self, bhs: &Bhs, sink: Sink) {
        let remaining = data_segment_len(bhs);
        self.rx = if remaining == 0 {
            Rx::Header
        } else {
            let crc = self.params.data_digest.then(Box::<Crc32c>::default);
            Rx::Segment(Segment {
                bhs: *bhs,
                sink,
                remaining,
                pad: pad_len(remaining),
                crc,
            })
        };
    }

    pub(super) fn set_sink(&mut self, new: Sink) {
        if let Rx::Segment(segment) = &mut self.rx {
            segment.sink = new;
        }
    }

    pub(super) fn has_segment(&self) -> bool {
        matches!(self.rx, Rx::Segment(_))
    }

    fn dispatch(&mut self, session: &mut Session, bhs: &Bhs, ahs: &[u8], now: Instant) -> Progress {
        if self.logout != Logout::No {
            return self.violation(session, bhs, Violation::AfterLogout);
        }
        if let Err(violation) = self.admit(session, bhs) {
            return self.violation(session, bhs, violation);
        }
        let request = match Request::parse(bhs) {
            Ok(request) => request,
            Err(error) => return self.violation(session, bhs, Violation::Format(error)),
        };
        let outcome = match request {
            Request::ScsiCommand(_) | Request::TaskManagement(_) | Request::DataOut(_)
                if session.params().discovery =>
            {
                Err(Violation::DiscoveryOnly)
            }
            Request::ScsiCommand(command) => self.scsi_command(session, command, ahs, now),
            Request::DataOut(data_out) => self.data_out(session, data_out, now),
            Request::NopOut(nop) => self.nop_out(session, nop),
            Request::TaskManagement(request) => self.task_management(session, request),
            Request::Text(text) => self.text_request(session, text, now),
            Request::Logout(logout) => self.logout_request(session, logout),
            Request::Snack(_) => Err(Violation::Snack),
            Request::Login(_) => Err(Violation::LoginAgain),
        };
        match outcome {
            Ok(progress) => progress,
            Err(violation) => self.violation(session, bhs, violation),
        }
    }

    /// Checks the CmdSN of requests that have one.
    fn admit(&mut self, session: &mut Session, bhs: &Bhs) -> Result<(), Violation> {
        let numbered = matches!(
            opcode_of(bhs),
            opcode::SCSI_COMMAND
                | opcode::TASK_MANAGEMENT_REQUEST
                | opcode::TEXT_REQUEST
                | opcode::LOGOUT_REQUEST
                | opcode::NOP_OUT
        );
        if !numbered {
            return Ok(());
        }
        match session.admit(cmd_sn_of(bhs), is_immediate(bhs)) {
            Admission::Accept => Ok(()),
            Admission::OutsideWindow => Err(Violation::OutsideWindow),
            Admission::Gap => Err(Violation::CommandGap),
            // Neither a ping answer nor a logout may be locked out by a flood.
            Admission::TooManyImmediate
                if matches!(opcode_of(bhs), opcode::LOGOUT_REQUEST | opcode::NOP_OUT) =>
            {
                Ok(())
            }
            Admission::TooManyImmediate => {
                session.statistics.immediate_rejected += 1;
                Err(Violation::TooManyImmediate)
            }
        }
    }

    fn segment(&mut self, session: &mut Session, rest: &[u8], now: Instant) -> (usize, Progress) {
        let payload = self.payload(session);
        let Rx::Segment(segment) = &mut self.rx else {
            return (0, Progress::Go);
        };
        if segment.remaining == 0 {
            return self.trailer(session, rest, now);
        }
        if let Some(payload) = payload {
            return (0, Progress::Report(Event::Payload(payload)));
        }
        if let Sink::Task { task, .. } = segment.sink
            && session
                .task(task)
                .is_some_and(|task| task.out == DataOutState::Undecided)
        {
            return (0, Progress::Report(Event::AwaitDecision(task)));
        }
        let take = rest.len().min(segment.remaining as usize);
        let Some(bytes) = rest.get(..take).filter(|bytes| !bytes.is_empty()) else {
            return (0, Progress::Report(Event::NeedBytes));
        };
        if let Some(crc) = &mut segment.crc {
            crc.update(bytes);
        }
        if let Some(tap) = &mut self.tap {
            tap.received_data(bytes);
        }
        if matches!(segment.sink, Sink::Gather) {
            self.gathered.extend_from_slice(bytes);
        }
        // `take` is at most `remaining`, a u32.
        segment.remaining -= take as u32;
        (take, Progress::Go)
    }

    /// Padding and data digest, then what the finished PDU means.
    fn trailer(&mut self, session: &mut Session, rest: &[u8], now: Instant) -> (usize, Progress) {
        let Rx::Segment(segment) = &mut self.rx else {
            return (0, Progress::Go);
        };
        let pad = usize::from(segment.pad);
        let end = pad + if segment.crc.is_some() { DIGEST_LEN } else { 0 };
        let Some(trailer) = rest.get(..end) else {
            return (0, Progress::Report(Event::NeedBytes));
        };
        if let Some(tap) = &mut self.tap {
            tap.received_end(trailer);
        }
        let (padding, digest) = trailer.split_at(pad);
        let good = match &mut segment.crc {
            Some(crc) => {
                crc.update(padding);
                crc.finish() == digest
            }
            None => true,
        };
        let Rx::Segment(segment) = std::mem::replace(&mut self.rx, Rx::Header) else {
            return (end, Progress::Go);
        };
        (end, self.segment_done(session, &segment, good, now))
    }

    fn segment_done(
        &mut self,
        session: &mut Session,
        segment: &Segment,
        good: bool,
        now: Instant,
    ) -> Progress {
        if !good {
            self.statistics.digest_errors += 1;
            self.gathered.clear();
            let _ = self.violation(session, &segment.bhs, Violation::DataDigest);
        }
        match segment.sink {
            Sink::Task {
                task,
                ttt,
                is_final,
                ..
            } => self.data_segment_done(session, task, (ttt, is_final), good, now),
            Sink::Gather if good => self.gathered_done(session, &segment.bhs),
            Sink::Gather | Sink::Discard => Progress::Go,
        }
    }

    /// Does what [`Violation::disposition`] says.
    pub(super) fn violation(
        &mut self,
        session: &mut Session,
        bhs: &Bhs,
        violation: Violation,
    ) -> Progress {
        match violation.disposition() {
            Disposition::Ignore => self.statistics.ignored += 1,
            Disposition::Reject(reason) => self.reject(session, bhs, reason),
            Disposition::RejectAndDrop(reason) => {
                self.note(Incident::Dropped(violation));
                self.reject(session, bhs, reason);
                self.closed = Some(Close::Violation(violation));
            }
            Disposition::Drop => {
                self.note(Incident::Dropped(violation));
                self.closed = Some(Close::Violation(violation));
            }
            // Whoever found it knows the task and has failed it.
            Disposition::FailCommand { .. } => {}
        }
        Progress::Go
    }

    /// Tells the recorder of an incident.
    pub(super) fn note(&mut self, incident: Incident) {
        if let Some(tap) = &mut self.tap {
            tap.note(incident);
        }
    }
}
