//! Text requests in full feature phase: collected over C bits, answered in parts (RFC 7143 §11.10, §11.11).

use std::time::Instant;

use super::receive::Progress;
use super::{Connection, Event};
use crate::proto::error::Violation;
use crate::proto::pdu::{Bhs, NopOut, RESERVED_TAG, TextRequest, TextResponse, opcode, opcode_of};
use crate::proto::session::Session;

/// At most one exchange at a time (RFC 7143 §11.10).
#[derive(Debug, Default)]
pub(super) struct TextExchange {
    request: Option<TextRequest>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    ttt: Option<u32>,
    parts: u32,
    begun: Option<Instant>,
}

impl TextExchange {
    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.incoming.len() + self.outgoing.len()
    }
}

impl Connection {
    pub(super) fn text_request(
        &mut self,
        session: &mut Session,
        text: TextRequest,
        now: Instant,
    ) -> Result<Progress, Violation> {
        if text.itt == RESERVED_TAG {
            return Err(Violation::ReservedTag);
        }
        if text.ttt == RESERVED_TAG {
            // A new exchange ends the one before (§11.10.4).
            self.text = TextExchange::default();
        } else if self.text.ttt != Some(text.ttt) {
            return Err(Violation::Text);
        }
        let limits = self.params.limits;
        let exchange = &mut self.text;
        // Who only fetches an answer's next part takes from what is bounded already.
        let fetches = !exchange.outgoing.is_empty() && text.data_segment_length == 0;
        exchange.parts += u32::from(!fetches);
        let begun = *exchange.begun.get_or_insert(now);
        let room = limits.text_bytes.saturating_sub(exchange.incoming.len());
        let cut = text.data_segment_length as usize > room
            || exchange.parts > limits.text_parts
            || now.saturating_duration_since(begun) > limits.text_time;
        if cut {
            self.text = TextExchange::default();
            self.statistics.text_cut += 1;
            return Err(Violation::Text);
        }
        self.gathered.clear();
        if self.has_segment() {
            self.set_sink(super::Sink::Gather);
            return Ok(Progress::Go);
        }
        Ok(self.text_arrived(session, text))
    }

    /// A ping's or a text request's data has arrived.
    pub(super) fn gathered_done(&mut self, session: &mut Session, bhs: &Bhs) -> Progress {
        match opcode_of(bhs) {
            opcode::NOP_OUT => {
                let data = std::mem::take(&mut self.gathered);
                if let Ok(nop) = NopOut::parse(bhs) {
                    self.nop_in_answer(session, &nop, data);
                }
                Progress::Go
            }
            _ => match TextRequest::parse(bhs) {
                Ok(text) => self.text_arrived(session, text),
                Err(_) => Progress::Go,
            },
        }
    }

    fn text_arrived(&mut self, session: &mut Session, text: TextRequest) -> Progress {
        let exchange = &mut self.text;
        exchange.incoming.append(&mut self.gathered);
        exchange.request = Some(text);
        if text.is_continue {
            let ttt = *exchange.ttt.get_or_insert_with(|| session.allocate_ttt());
            // An empty answer asks for the next part (§6.2).
            self.text_response(session, &text, Some(ttt), false, Vec::new());
            return Progress::Go;
        }
        if !self.text.outgoing.is_empty() && self.text.incoming.is_empty() {
            self.text_part(session);
            return Progress::Go;
        }
        Progress::Report(Event::Text(std::mem::take(&mut self.text.incoming)))
    }

    /// Answers [`Event::Text`]; an answer longer than the initiator takes at once goes out in parts.
    pub fn answer_text(&mut self, session: &mut Session, keys: Vec<u8>) {
        if self.text.request.is_some() {
            self.text.outgoing = keys;
            self.text_part(session);
        }
    }

    /// Refuses [`Event::Text`] with a Reject PDU.
    pub fn reject_text(&mut self, session: &mut Session) {
        if let Some(request) = self.text.request {
            self.violation(session, &request.emit(), Violation::Text);
            self.text = TextExchange::default();
        }
    }

    fn text_part(&mut self, session: &mut Session) {
        let Some(request) = self.text.request.take() else {
            return;
        };
        let max = self.params.max_xmit_data_segment_length.max(512) as usize;
        let rest = self
            .text
            .outgoing
            .split_off(max.min(self.text.outgoing.len()));
        let part = std::mem::replace(&mut self.text.outgoing, rest);
        if self.text.outgoing.is_empty() {
            // The answer is final only if the initiator is done too (§11.11.1).
            let ttt = (!request.is_final)
                .then(|| *self.text.ttt.get_or_insert_with(|| session.allocate_ttt()));
            self.text_response(session, &request, ttt, false, part);
            if request.is_final {
                self.text = TextExchange::default();
            }
        } else {
            let ttt = *self.text.ttt.get_or_insert_with(|| session.allocate_ttt());
            self.text_response(session, &request, Some(ttt), true, part);
        }
    }

    fn text_response(
        &mut self,
        session: &mut Session,
        request: &TextRequest,
        ttt: Option<u32>,
        is_continue: bool,
        keys: Vec<u8>,
    ) {
        let pdu = TextResponse {
            is_final: ttt.is_none(),
            is_continue,
            // At most the initiator's MaxRecvDataSegmentLength, below 2^24.
            data_segment_length: keys.len() as u32,
            lun: request.lun,
            itt: request.itt,
            ttt: ttt.unwrap_or(RESERVED_TAG),
            stat_sn: self.stat_sn(),
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
        };
        self.send(session, pdu.emit(), keys, None);
    }
}
