//! One session over one connection, blocking.

mod receive;

use std::collections::{HashMap, VecDeque};
use std::net::ToSocketAddrs;
use std::time::Duration;

use super::connection::Connection;
use super::login::{Login, Step};
use super::options::Options;
use super::pdu::{Digests, Header, Pdu, RESERVED_TAG, opcode};
use super::request::{Lun, Request, Tmf, rw_cdb};
use super::session::{Negotiated, Sequence, Violation};
use super::text::text;
use super::transfer::{Solicited, Transfer};
use super::{Error, Reply};

/// Events kept when nobody asks for them; older ones are dropped.
const MAX_EVENTS: usize = 1024;
/// Text taken in one text exchange, bytes.
const MAX_TEXT: usize = 4 << 20;

/// What a target sends unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Asynchronous Message (RFC 7143 11.9): AsyncEvent code and the whole PDU.
    Async(u8, Pdu),
    /// Reject (RFC 7143 11.17): reason and the whole PDU.
    Reject(u8, Pdu),
    /// NOP-In that asks for an answer.
    Ping(Pdu),
}

#[derive(Debug)]
struct Outstanding {
    transfer: Transfer,
    data_out: Vec<u8>,
    data: Vec<u8>,
    lun: Lun,
    cmd_sn: u32,
}

/// A logged-in session with one connection.
#[derive(Debug)]
pub struct Initiator {
    connection: Connection,
    params: Negotiated,
    sequence: Sequence,
    next_tag: u32,
    tasks: HashMap<u32, Outstanding>,
    done: HashMap<u32, Reply>,
    answers: HashMap<u32, Pdu>,
    events: VecDeque<Event>,
    rejects: u64,
    auto_nop: bool,
}

impl Initiator {
    /// Connects and logs in to the target named `iqn`.
    pub fn connect(
        address: impl ToSocketAddrs,
        iqn: &str,
        options: &Options,
    ) -> Result<Self, Error> {
        Self::open(
            Connection::open(address, options.timeout)?,
            Some(iqn),
            options,
        )
    }

    /// Connects and opens a discovery session.
    pub fn discover(address: impl ToSocketAddrs, options: &Options) -> Result<Self, Error> {
        Self::open(Connection::open(address, options.timeout)?, None, options)
    }

    /// Logs in over an open connection; without a target name it is a discovery session.
    pub fn open(
        mut connection: Connection,
        iqn: Option<&str>,
        options: &Options,
    ) -> Result<Self, Error> {
        let mut login = Login::new(options, iqn);
        let mut request = login.start();
        let (params, sequence) = loop {
            connection.send(&request)?;
            match login.reply(&connection.recv()?)? {
                Step::Send(next) => request = next,
                Step::Done(params, sequence) => break (*params, sequence),
            }
        };
        let mut session = Self::resume(connection, params, sequence);
        session.auto_nop = options.auto_nop;
        session.set_timeout(options.timeout);
        Ok(session)
    }

    /// A session in full feature phase over a connection, as [`Self::into_connection`] left it.
    pub fn resume(mut connection: Connection, params: Negotiated, sequence: Sequence) -> Self {
        let digests = Digests {
            header: params.header_digest,
            data: params.data_digest,
        };
        let max = usize::try_from(params.max_recv_data_segment_length).unwrap_or(usize::MAX);
        connection.set_params(digests, max);
        Self {
            connection,
            params,
            sequence,
            next_tag: 1,
            tasks: HashMap::new(),
            done: HashMap::new(),
            answers: HashMap::new(),
            events: VecDeque::new(),
            rejects: 0,
            auto_nop: true,
        }
    }

    /// What login agreed.
    pub fn params(&self) -> &Negotiated {
        &self.params
    }

    /// Sequence numbers as they stand.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Sequence numbers to tamper with: the next PDU uses what is set here.
    pub fn sequence_mut(&mut self) -> &mut Sequence {
        &mut self.sequence
    }

    /// The connection below, for raw traffic and timeouts.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Gives up the session state and keeps the connection.
    pub fn into_connection(self) -> (Connection, Negotiated, Sequence) {
        (self.connection, self.params, self.sequence)
    }

    /// Longest wait for one answer.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.connection.set_timeout(timeout);
    }

    fn tag(&mut self) -> u32 {
        let tag = self.next_tag;
        self.next_tag = if tag >= RESERVED_TAG - 1 { 1 } else { tag + 1 };
        tag
    }

    /// Sends a command and waits for its end. The data direction follows from `data_out` and `in_len`.
    pub fn command(
        &mut self,
        lun: impl Into<Lun>,
        cdb: &[u8],
        data_out: &[u8],
        in_len: u32,
    ) -> Result<Reply, Error> {
        self.execute(&Request::new(lun, cdb).data_out(data_out).data_in(in_len))
    }

    /// Sends a command with every field open and waits for its end.
    pub fn execute(&mut self, request: &Request<'_>) -> Result<Reply, Error> {
        let tag = self.submit(request)?;
        self.wait(tag)
    }

    /// Sends a command (and its unsolicited data) and returns its Initiator Task Tag.
    ///
    /// Waits while the command window is closed, unless the command is immediate.
    pub fn submit(&mut self, request: &Request<'_>) -> Result<u32, Error> {
        while !request.immediate && !self.sequence.window_open() {
            self.pump()?;
        }
        let tag = self.tag();
        let pdu = self.command_pdu(request, tag)?;
        let own = u32::try_from(request.data_out.len()).unwrap_or(u32::MAX);
        let plan = self.params.write_plan(own);
        let sent = plan.immediate + plan.unsolicited;
        let transfer = Transfer {
            read: request.in_len > 0,
            write: own > 0,
            expected: pdu.header.ttt(),
            received: 0,
            requested: if own > 0 { sent } else { 0 },
            sn: 0,
        };
        let cmd_sn = self.sequence.cmd_sn;
        self.connection.send(&pdu)?;
        if !request.immediate {
            self.sequence.cmd_sn = cmd_sn.wrapping_add(1);
        }
        let data_out = request.data_out.to_vec();
        let task = Outstanding {
            transfer,
            data_out,
            data: Vec::new(),
            lun: request.lun,
            cmd_sn,
        };
        self.tasks.insert(tag, task);
        if plan.unsolicited > 0 {
            let part = Solicited {
                ttt: RESERVED_TAG,
                offset: plan.immediate,
                len: plan.unsolicited,
            };
            self.data_out(tag, part)?;
        }
        Ok(tag)
    }

    /// The SCSI Command PDU that [`Self::submit`] would send, to be changed and sent raw.
    pub fn command_pdu(&self, request: &Request<'_>, tag: u32) -> Result<Pdu, Error> {
        let own = u32::try_from(request.data_out.len())
            .map_err(|_| Error::Argument("more than 4 GiB of data".into()))?;
        let plan = self.params.write_plan(own);
        let expected = request.expected.unwrap_or(own.max(request.in_len));
        let (w, r) = (own > 0, request.in_len > 0);
        let mut h = Header::new(opcode::SCSI_COMMAND | if request.immediate { 0x40 } else { 0 });
        h.put_flags(
            if plan.unsolicited == 0 { 0x80 } else { 0 }
                | if r { 0x40 } else { 0 }
                | if w { 0x20 } else { 0 }
                | request.attribute as u8,
        );
        h.put_lun(request.lun.0)
            .put_word(16, tag)
            .put_word(20, expected);
        h.put_word(24, self.sequence.cmd_sn)
            .put_word(28, self.sequence.exp_stat_sn);
        let (first, more) = request.cdb.split_at(request.cdb.len().min(16));
        for (to, from) in h.0.iter_mut().skip(32).zip(first) {
            *to = *from;
        }
        let immediate = usize::try_from(plan.immediate).unwrap_or(usize::MAX);
        let data = request
            .data_out
            .get(..immediate)
            .unwrap_or(request.data_out);
        let mut pdu = Pdu::new(h, data);
        if !more.is_empty() {
            let len = u16::try_from(more.len() + 1)
                .map_err(|_| Error::Argument("a CDB longer than 260 bytes".into()))?;
            pdu.ahs.extend_from_slice(&len.to_be_bytes());
            pdu.ahs.extend_from_slice(&[1, 0]);
            pdu.ahs.extend_from_slice(more);
        }
        Ok(pdu)
    }

    /// Waits for the end of a submitted command.
    pub fn wait(&mut self, tag: u32) -> Result<Reply, Error> {
        loop {
            if let Some(reply) = self.done.remove(&tag) {
                return Ok(reply);
            }
            self.pump_or_reject()?;
        }
    }

    /// Waits at most `wait` for the end of a submitted command; `None` when it is still outstanding.
    pub fn wait_for(&mut self, tag: u32, wait: Duration) -> Result<Option<Reply>, Error> {
        let deadline = std::time::Instant::now() + wait;
        loop {
            if let Some(reply) = self.done.remove(&tag) {
                return Ok(Some(reply));
            }
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            match self.connection.poll(left)? {
                Some(pdu) => self.take(pdu)?,
                None => return Ok(None),
            }
        }
    }

    /// Serves one PDU if one comes within `wait`; says whether one came.
    pub fn serve(&mut self, wait: Duration) -> Result<bool, Error> {
        match self.connection.poll(wait)? {
            Some(pdu) => self.take(pdu).map(|()| true),
            None => Ok(false),
        }
    }

    /// A command that has ended and was not waited for: its tag and how it ended. Takes nothing from the connection.
    pub fn take_ended(&mut self) -> Option<(u32, Reply)> {
        let tag = *self.done.keys().next()?;
        self.done.remove_entry(&tag)
    }

    /// Tags of commands sent and not ended.
    pub fn outstanding(&self) -> Vec<u32> {
        self.tasks.keys().copied().collect()
    }

    /// Drops the record of a command that will get no answer (aborted, RFC 7143 11.5).
    pub fn forget(&mut self, tag: u32) {
        self.tasks.remove(&tag);
    }

    /// What the target sent unasked since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// READ of `blocks` blocks of `block_len` bytes; must end GOOD.
    pub fn read(
        &mut self,
        lun: impl Into<Lun>,
        lba: u64,
        blocks: u32,
        block_len: u32,
    ) -> Result<Vec<u8>, Error> {
        let (cdb, len) = rw_cdb(false, lba, blocks);
        let bytes = blocks.saturating_mul(block_len);
        let reply = self.command(lun, cdb.get(..len).unwrap_or(&cdb), &[], bytes)?;
        Ok(reply.require_good("READ")?.data)
    }

    /// WRITE of whole blocks of `block_len` bytes; must end GOOD.
    pub fn write(
        &mut self,
        lun: impl Into<Lun>,
        lba: u64,
        data: &[u8],
        block_len: u32,
    ) -> Result<(), Error> {
        let block = usize::try_from(block_len).unwrap_or(0);
        if block == 0 || !data.len().is_multiple_of(block) {
            return Err(Error::Argument(
                "data is not a whole number of blocks".into(),
            ));
        }
        let blocks = u32::try_from(data.len() / block)
            .map_err(|_| Error::Argument("too many blocks".into()))?;
        let (cdb, len) = rw_cdb(true, lba, blocks);
        self.command(lun, cdb.get(..len).unwrap_or(&cdb), data, 0)?
            .require_good("WRITE")?;
        Ok(())
    }

    /// READ CAPACITY(16): number of blocks and bytes per block.
    pub fn capacity(&mut self, lun: impl Into<Lun>) -> Result<(u64, u32), Error> {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
        let data = self
            .command(lun, &cdb, &[], 32)?
            .require_good("READ CAPACITY(16)")?
            .data;
        let (last, rest) = data
            .split_first_chunk::<8>()
            .ok_or_else(|| Error::Argument("READ CAPACITY(16) data is too short".into()))?;
        let block = rest
            .first_chunk::<4>()
            .map_or(0, |b| u32::from_be_bytes(*b));
        Ok((u64::from_be_bytes(*last).saturating_add(1), block))
    }

    /// TEST UNIT READY until it is GOOD, at most `tries` times: clears unit attentions.
    pub fn ready(&mut self, lun: impl Into<Lun>, tries: u32) -> Result<(), Error> {
        let lun = lun.into();
        for _ in 1..tries {
            if self.command(lun, &[0; 6], &[], 0)?.is_good() {
                return Ok(());
            }
        }
        self.command(lun, &[0; 6], &[], 0)?
            .require_good("TEST UNIT READY")
            .map(drop)
    }

    /// Task management, immediate; returns the response code (RFC 7143 11.6.1).
    ///
    /// `referenced` is the tag of the task for ABORT TASK, else anything.
    pub fn tmf(
        &mut self,
        function: Tmf,
        lun: impl Into<Lun>,
        referenced: u32,
    ) -> Result<u8, Error> {
        let tag = self.submit_tmf(function, lun, referenced)?;
        Ok(self
            .wait_pdu(tag, opcode::TASK_MANAGEMENT_RESPONSE)?
            .header
            .response())
    }

    /// Sends a task management request without waiting; its answer is had by [`Self::wait_pdu`].
    pub fn submit_tmf(
        &mut self,
        function: Tmf,
        lun: impl Into<Lun>,
        referenced: u32,
    ) -> Result<u32, Error> {
        let tag = self.tag();
        let abort = function == Tmf::AbortTask;
        let reference = if abort { referenced } else { RESERVED_TAG };
        let ref_cmd_sn = self
            .tasks
            .get(&referenced)
            .map_or(self.sequence.cmd_sn, |t| t.cmd_sn);
        let mut h = Header::new(opcode::TASK_MANAGEMENT | 0x40);
        h.put_flags(0x80 | function as u8)
            .put_lun(lun.into().0)
            .put_word(16, tag);
        h.put_word(20, reference)
            .put_word(32, if abort { ref_cmd_sn } else { 0 });
        h.put_word(24, self.sequence.cmd_sn)
            .put_word(28, self.sequence.exp_stat_sn);
        self.connection.send(&Pdu::new(h, []))?;
        Ok(tag)
    }

    /// NOP-Out ping with this data; returns the data that came back.
    pub fn nop(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        let tag = self.tag();
        let mut h = Header::new(opcode::NOP_OUT | 0x40);
        h.put_flags(0x80)
            .put_word(16, tag)
            .put_word(20, RESERVED_TAG);
        h.put_word(24, self.sequence.cmd_sn)
            .put_word(28, self.sequence.exp_stat_sn);
        self.connection.send(&Pdu::new(h, data))?;
        Ok(self.wait_pdu(tag, opcode::NOP_IN)?.data)
    }

    /// A text exchange; answers in several PDUs are joined (RFC 7143 11.10, 11.11).
    pub fn text(&mut self, keys: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        let keys: Vec<_> = keys
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let (mut data, mut ttt, mut out) = (text(&keys), RESERVED_TAG, Vec::new());
        let tag = self.tag();
        loop {
            let mut h = Header::new(opcode::TEXT_REQUEST | 0x40);
            h.put_flags(0x80).put_word(16, tag).put_word(20, ttt);
            h.put_word(24, self.sequence.cmd_sn)
                .put_word(28, self.sequence.exp_stat_sn);
            self.connection
                .send(&Pdu::new(h, std::mem::take(&mut data)))?;
            let answer = self.wait_pdu(tag, opcode::TEXT_RESPONSE)?;
            out.extend_from_slice(&answer.data);
            if out.len() > MAX_TEXT {
                return Err(Error::Argument("the text answer does not end".into()));
            }
            ttt = answer.header.ttt();
            if ttt == RESERVED_TAG {
                return Ok(out);
            }
        }
    }

    /// Closes the session (RFC 7143 11.14 reason 0) and returns the response code.
    pub fn logout(mut self) -> Result<u8, Error> {
        let tag = self.tag();
        let mut h = Header::new(opcode::LOGOUT_REQUEST | 0x40);
        h.put_flags(0x80).put_word(16, tag);
        h.put_word(24, self.sequence.cmd_sn)
            .put_word(28, self.sequence.exp_stat_sn);
        self.connection.send(&Pdu::new(h, []))?;
        Ok(self
            .wait_pdu(tag, opcode::LOGOUT_RESPONSE)?
            .header
            .response())
    }

    /// Sends these bytes as they are; sequence numbers are the caller's affair.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.connection.send_raw(bytes)
    }

    /// Sends one PDU with the agreed digests; sequence numbers are the caller's affair.
    pub fn send_pdu(&mut self, pdu: &Pdu) -> Result<(), Error> {
        self.connection.send(pdu)
    }

    /// The next PDU as it comes, past all bookkeeping.
    pub fn recv_pdu(&mut self) -> Result<Pdu, Error> {
        self.connection.recv()
    }

    /// Waits for the PDU of this kind that answers `tag`, serving everything else meanwhile.
    pub fn wait_pdu(&mut self, tag: u32, opcode: u8) -> Result<Pdu, Error> {
        loop {
            if let Some(pdu) = self.answers.remove(&tag) {
                if pdu.header.opcode() == opcode {
                    return Ok(pdu);
                }
                let detail = format!(" as the answer to task {tag:#x}");
                return Err(Violation::Unexpected {
                    opcode: pdu.header.opcode(),
                    detail,
                }
                .into());
            }
            self.pump_or_reject()?;
        }
    }

    /// Takes one PDU from the connection and serves it.
    pub fn pump(&mut self) -> Result<(), Error> {
        let pdu = self.connection.recv()?;
        self.take(pdu)
    }

    fn pump_or_reject(&mut self) -> Result<(), Error> {
        let before = self.rejects;
        self.pump()?;
        match self.events.back() {
            Some(Event::Reject(reason, pdu)) if self.rejects != before => {
                let error = Error::Rejected {
                    reason: *reason,
                    header: pdu.data.clone(),
                };
                self.events.pop_back();
                Err(error)
            }
            _ => Ok(()),
        }
    }
}
