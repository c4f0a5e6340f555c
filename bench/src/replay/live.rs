//! The live side of a replay: a connection whose answers are kept until they are asked for.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::answer::Answer;
use crate::initiator::pdu::{Header, Pdu, RESERVED_TAG, opcode};
use crate::initiator::session::after;
use crate::initiator::{Connection, Error, Sequence};

/// Answers kept that nobody asked for.
const MAX_KEPT: usize = 65_536;

/// What was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Got<T> {
    /// It came.
    Came(T),
    /// It did not come in time.
    Nothing,
    /// The target has closed the connection.
    Closed,
}

pub(super) struct Live {
    connection: Connection,
    pub(super) sequence: Sequence,
    patience: Duration,
    answers: HashMap<u32, VecDeque<(Answer, Header)>>,
    rejects: VecDeque<Answer>,
    r2ts: HashMap<u32, VecDeque<Header>>,
    kept: usize,
    closed: bool,
}

impl Live {
    pub(super) fn new(connection: Connection, sequence: Sequence, patience: Duration) -> Self {
        Self {
            connection,
            sequence,
            patience,
            answers: HashMap::new(),
            rejects: VecDeque::new(),
            r2ts: HashMap::new(),
            kept: 0,
            closed: false,
        }
    }

    /// Sends a PDU; false when the connection is closed.
    pub(super) fn send(&mut self, pdu: &Pdu) -> Result<bool, Error> {
        match self.connection.send(pdu) {
            Ok(()) => Ok(true),
            Err(Error::Closed) => {
                self.closed = true;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until a command may be sent; false when the window stays closed.
    pub(super) fn wait_for_window(&mut self) -> Result<bool, Error> {
        let got = self.wait(|live| live.sequence.window_open().then_some(()))?;
        Ok(got == Got::Came(()))
    }

    /// Waits for the answer to this tag.
    pub(super) fn answer(&mut self, itt: u32) -> Result<Got<(Answer, Header)>, Error> {
        self.wait(|live| live.answers.get_mut(&itt)?.pop_front())
    }

    /// Waits for a Reject.
    pub(super) fn reject(&mut self) -> Result<Got<Answer>, Error> {
        self.wait(|live| live.rejects.pop_front())
    }

    /// Waits for an R2T for this tag.
    pub(super) fn r2t(&mut self, itt: u32) -> Result<Got<Header>, Error> {
        self.wait(|live| live.r2ts.get_mut(&itt)?.pop_front())
    }

    fn wait<T>(&mut self, mut find: impl FnMut(&mut Self) -> Option<T>) -> Result<Got<T>, Error> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(found) = find(self) {
                return Ok(Got::Came(found));
            }
            if self.closed {
                return Ok(Got::Closed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.connection.poll(left) {
                Ok(Some(pdu)) => self.take(&pdu)?,
                Ok(None) => return Ok(Got::Nothing),
                Err(Error::Closed) => self.closed = true,
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, pdu: &Pdu) -> Result<(), Error> {
        let header = pdu.header;
        if after(header.max_cmd_sn(), self.sequence.max_cmd_sn) {
            self.sequence.max_cmd_sn = header.max_cmd_sn();
        }
        self.kept += 1;
        if self.kept > MAX_KEPT {
            return Err(Error::Argument("the target answers without end".into()));
        }
        let answer = Answer::of(&header, &pdu.data);
        if answer.is_some() || header.opcode() == opcode::ASYNC_MESSAGE {
            self.sequence.exp_stat_sn = header.stat_sn().wrapping_add(1);
        }
        match (header.opcode(), answer) {
            (opcode::R2T, _) => self.r2ts.entry(header.itt()).or_default().push_back(header),
            (opcode::NOP_IN, None) if header.ttt() != RESERVED_TAG => return self.pong(&header),
            (opcode::REJECT, Some(answer)) => self.rejects.push_back(answer),
            (_, Some(answer)) => {
                let kept = self.answers.entry(header.itt()).or_default();
                kept.push_back((answer, header));
            }
            // Data, and what the target says unasked.
            _ => self.kept -= 1,
        }
        Ok(())
    }

    /// Answers a ping of the target: a recorded answer belongs to a recorded ping.
    fn pong(&mut self, ping: &Header) -> Result<(), Error> {
        self.kept -= 1;
        let mut header = Header::new(opcode::NOP_OUT | 0x40);
        header
            .put_flags(0x80)
            .put_lun(ping.lun())
            .put_word(16, RESERVED_TAG)
            .put_word(20, ping.ttt())
            .put_word(24, self.sequence.cmd_sn)
            .put_word(28, self.sequence.exp_stat_sn);
        self.send(&Pdu::new(header, [])).map(drop)
    }

    /// Takes note that something that was kept has been used.
    pub(super) fn used(&mut self) {
        self.kept = self.kept.saturating_sub(1);
    }
}
