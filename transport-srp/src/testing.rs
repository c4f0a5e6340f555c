//! An initiator over the fabric in memory, for tests: it keeps to the request limit, checks what a target may not do, and takes
//! its memory away as soon as a command is answered, as real ones do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lunforge_core::sense::Sense;

use crate::fabric::Request;
use crate::fabric::memory::{Answer, Initiator, request};
use crate::proto::data::{DESCRIPTOR_LEN, DataBuffer, Remote, Table};
use crate::proto::iu::login::{LoginForm, MultiChannelAction, buffer_format};
use crate::proto::iu::response::{Residual, ResponseCode};
use crate::proto::iu::{
    AsyncEventResponse, Command, CreditResponse, InitiatorLogout, LoginReject, LoginRequest,
    LoginResponse, Solicited, TargetLogout, TaskManagement, ToInitiator,
};
use crate::proto::port::PortId;

/// Where immediate data begins.
pub const IMMEDIATE_OFFSET: u16 = 68;

/// Asks until there is an answer, with shards that run by themselves. Blocks.
///
/// # Panics
/// After twenty seconds without one.
pub fn until<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// How a command describes a data buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// One descriptor.
    #[default]
    Direct,
    /// A table of so many parts, whole in the command.
    Indirect(usize),
    /// A table of so many parts in memory, of which the command has so many.
    Table(usize, usize),
    /// The data itself; only Data-Out.
    Immediate,
}

/// A command to send.
#[derive(Debug, Clone, Default)]
pub struct Send<'a> {
    /// LUN field.
    pub lun: [u8; 8],
    /// CDB.
    pub cdb: &'a [u8],
    /// TASK ATTRIBUTE.
    pub attribute: u8,
    /// Data-Out.
    pub data_out: &'a [u8],
    /// How it is described.
    pub out_form: Form,
    /// Room for Data-In, in bytes.
    pub expected_in: usize,
    /// How it is described.
    pub in_form: Form,
    /// Solicited notification that is asked for.
    pub solicited: Solicited,
}

/// The end of a command or of a task management function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// SCSI status.
    pub status: u8,
    /// Sense data.
    pub sense: Option<Sense>,
    /// What the room for Data-In holds.
    pub data: Vec<u8>,
    /// Residual of Data-In.
    pub residual_in: Residual,
    /// Residual of Data-Out.
    pub residual_out: Residual,
    /// Response code.
    pub code: Option<ResponseCode>,
    /// SOLNT.
    pub solicited: bool,
}

impl Reply {
    /// ASC and ASCQ of the sense data.
    #[must_use]
    pub fn asc(&self) -> Option<(u8, u8)> {
        self.sense
            .as_ref()
            .map(|sense| (sense.asc.asc, sense.asc.ascq))
    }
}

/// A login with default parameters, in which two ports are named.
#[must_use]
pub fn login(initiator: PortId, target: PortId) -> LoginRequest {
    LoginRequest {
        tag: 0x004c_4f47_494e,
        req_it_iu_len: 8276,
        buffer_formats: buffer_format::DIRECT | buffer_format::INDIRECT,
        action: MultiChannelAction::Single,
        logout_solicited: false,
        credit_solicited: false,
        event_solicited: false,
        immediate: true,
        immediate_offset: IMMEDIATE_OFFSET,
        initiator,
        target,
    }
}

/// Memory that a command may reach.
#[derive(Debug, Default)]
struct Mapped {
    data_in: Vec<u32>,
    other: Vec<u32>,
}

/// One channel of an initiator.
#[derive(Debug)]
pub struct Channel {
    /// The connection, for faults.
    pub wire: Initiator,
    /// The answer to its login.
    pub terms: Option<Result<LoginResponse, LoginReject>>,
    /// Requests that may be sent.
    pub limit: u32,
    /// The target's logout.
    pub logout: Option<TargetLogout>,
    /// Requests of the target that have no answer, because they are not to be answered.
    pub unanswered: Vec<u64>,
    /// Whether requests of the target are answered.
    pub answers: bool,
    /// Credit requests so far.
    pub credit_requests: usize,
    login_tag: u64,
    next_tag: u64,
    mapped: BTreeMap<u64, Mapped>,
    replies: BTreeMap<u64, Reply>,
}

/// An initiator that asks for a connection, and its request.
#[must_use]
pub fn connect(login: &LoginRequest, form: LoginForm, peer: &str) -> (Request, Channel) {
    let mut private_data = Vec::new();
    login.emit(form, &mut private_data);
    let (request, wire) = request(form, &private_data, peer);
    // One for a request of the target, one for its logout; later one for each request of ours.
    wire.post_receives(2);
    let channel = Channel {
        wire,
        terms: None,
        limit: 0,
        logout: None,
        unanswered: Vec::new(),
        answers: true,
        credit_requests: 0,
        login_tag: login.tag,
        next_tag: 1,
        mapped: BTreeMap::new(),
        replies: BTreeMap::new(),
    };
    (request, channel)
}

impl Channel {
    /// Tags from here on; they are to be unique in a session.
    #[must_use]
    pub fn tags_from(mut self, tag: u64) -> Self {
        self.next_tag = tag;
        self
    }

    /// Takes what has come.
    ///
    /// # Panics
    /// When the target does what it may not.
    pub fn pump(&mut self) {
        if self.terms.is_none() {
            self.log_in();
        }
        while let Some(iu) = self.wire.take() {
            self.receive(&iu);
            self.wire.post_receives(1);
        }
        assert_eq!(
            self.wire.overruns(),
            (0, 0),
            "an information unit found no room"
        );
    }

    fn log_in(&mut self) {
        self.terms = match self.wire.answer() {
            Answer::Waiting => None,
            Answer::Accepted(answer) => {
                let response = LoginResponse::parse(&answer).expect("a login response");
                assert_eq!((answer.len(), response.tag), (52, self.login_tag));
                self.limit = response.request_limit_delta;
                self.wire.post_receives(self.limit as usize);
                Some(Ok(response))
            }
            Answer::Rejected(answer) => {
                let reject = LoginReject::parse(&answer).expect("a login rejection");
                assert_eq!(answer.len(), 32);
                Some(Err(reject))
            }
        };
    }

    fn receive(&mut self, iu: &[u8]) {
        let most = self.terms.as_ref().and_then(|terms| terms.as_ref().ok());
        assert!(iu.len() <= most.map_or(0, |terms| terms.max_ti_iu_len as usize));
        match ToInitiator::parse(iu).expect("an information unit") {
            ToInitiator::Response(response) => {
                self.limit += response.request_limit_delta;
                let mapped = self.mapped.remove(&response.tag);
                let mapped = mapped.expect("an answer to a request that has none");
                let gone = |key| self.wire.unmap(key).unwrap_or_default();
                let data = mapped.data_in.into_iter().flat_map(gone).collect();
                mapped.other.into_iter().for_each(|key| drop(gone(key)));
                let reply = Reply {
                    status: response.status,
                    sense: Sense::parse(response.sense),
                    data,
                    residual_in: response.residual_in,
                    residual_out: response.residual_out,
                    code: response.code,
                    solicited: response.solicited,
                };
                self.replies.insert(response.tag, reply);
            }
            ToInitiator::Credit(request) => {
                assert!(request.request_limit_delta > 0);
                self.credit_requests += 1;
                self.limit += request.request_limit_delta;
                self.asked(request.tag, |tag, out| CreditResponse { tag }.emit(out));
            }
            ToInitiator::Event(request) => {
                self.limit += request.request_limit_delta;
                self.asked(request.tag, |tag, out| AsyncEventResponse { tag }.emit(out));
            }
            ToInitiator::Logout(logout) => {
                assert!(self.logout.is_none(), "a second logout");
                self.logout = Some(logout);
            }
            other => panic!("{other:?} on a channel that is open"),
        }
    }

    fn asked(&mut self, tag: u64, answer: impl Fn(u64, &mut Vec<u8>)) {
        assert!(
            self.unanswered.is_empty(),
            "two requests of the target at a time"
        );
        if self.answers {
            let mut out = Vec::new();
            answer(tag, &mut out);
            self.wire.send(&out);
        } else {
            self.unanswered.push(tag);
        }
    }

    fn tag(&mut self) -> u64 {
        assert!(self.limit > 0, "no request may be sent");
        self.limit -= 1;
        self.next_tag += 1;
        self.next_tag - 1
    }

    /// Sends a command; its tag.
    ///
    /// # Panics
    /// When the request limit does not allow it.
    pub fn send(&mut self, send: &Send<'_>) -> u64 {
        let tag = self.tag();
        let mut mapped = Mapped::default();
        let mut tables = (Vec::new(), Vec::new());
        let data_out = match send.out_form {
            Form::Immediate => DataBuffer::Immediate(send.data_out),
            form => self.map(send.data_out, form, &mut mapped.other, None, &mut tables.0),
        };
        let room = vec![0; send.expected_in];
        let (other, data_in) = (&mut mapped.other, &mut mapped.data_in);
        let data_in = self.map(&room, send.in_form, other, Some(data_in), &mut tables.1);
        let mut iu = Vec::new();
        Command {
            solicited: send.solicited,
            tag,
            lun: send.lun,
            attribute: send.attribute,
            cdb: send.cdb,
            data_out,
            data_in,
        }
        .emit(IMMEDIATE_OFFSET, &mut iu);
        self.mapped.insert(tag, mapped);
        self.wire.send(&iu);
        tag
    }

    /// Maps a buffer; its descriptor.
    fn map<'a>(
        &self,
        bytes: &[u8],
        form: Form,
        other: &mut Vec<u32>,
        data_in: Option<&mut Vec<u32>>,
        list: &'a mut Vec<u8>,
    ) -> DataBuffer<'a> {
        if bytes.is_empty() {
            return DataBuffer::None;
        }
        let (count, here) = match form {
            Form::Direct | Form::Immediate => (1, 0),
            Form::Indirect(parts) => (parts, parts),
            Form::Table(parts, here) => (parts, here),
        };
        let chunks = bytes.chunks(bytes.len().div_ceil(count.max(1)));
        let parts: Vec<Remote> = chunks.map(|part| self.wire.map(part.to_vec())).collect();
        let keys = parts.iter().map(|part| part.key);
        match data_in {
            Some(data_in) => data_in.extend(keys),
            None => other.extend(keys),
        }
        if form == Form::Direct {
            return parts
                .first()
                .map_or(DataBuffer::None, |part| DataBuffer::Direct(*part));
        }
        parts.iter().for_each(|part| part.emit(list));
        let table = self.wire.map(list.clone());
        other.push(table.key);
        list.truncate(here * DESCRIPTOR_LEN);
        let len = u32::try_from(bytes.len()).expect("a length");
        DataBuffer::Indirect(Table::new(table, len, list).expect("a table"))
    }

    /// Sends a task management function; its tag.
    pub fn manage(&mut self, function: u8, lun: [u8; 8], managed: u64) -> u64 {
        let tag = self.tag();
        let mut iu = Vec::new();
        TaskManagement {
            solicited: Solicited::default(),
            tag,
            lun,
            function,
            managed,
        }
        .emit(&mut iu);
        self.mapped.insert(tag, Mapped::default());
        self.wire.send(&iu);
        tag
    }

    /// Logs out.
    pub fn log_out(&mut self) {
        let mut iu = Vec::new();
        InitiatorLogout { tag: 0 }.emit(&mut iu);
        self.wire.send(&iu);
    }

    /// The end of a request, if it has come.
    pub fn reply(&mut self, tag: u64) -> Option<Reply> {
        self.pump();
        self.replies.remove(&tag)
    }

    /// A command that was aborted has no answer: its memory goes.
    pub fn forget(&mut self, tag: u64) {
        let mapped = self.mapped.remove(&tag).unwrap_or_default();
        for key in mapped.data_in.into_iter().chain(mapped.other) {
            self.wire.unmap(key);
        }
    }

    /// Requests that have no answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.mapped.len()
    }
}
