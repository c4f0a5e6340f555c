//! One conversation, once more.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::ToSocketAddrs;
use std::time::Duration;

use super::answer::Answer;
use super::live::{Got, Live};
use super::{Conversation, RecordedPdu};
use crate::initiator::pdu::{Header, Pdu, RESERVED_TAG, opcode};
use crate::initiator::session::after;
use crate::initiator::text::{parse_text, value};
use crate::initiator::{Error, Initiator, Lun, Options};

/// Differences told; more are counted.
const MAX_TOLD: usize = 100;

/// How a conversation is replayed.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// How to log in. What the recorded login offered takes the place of what is here, for the recorded PDUs fit only to
    /// that; not so digests, CHAP and time.
    pub login: Options,
    /// InitiatorName instead of the recorded one.
    pub initiator_name: Option<String>,
    /// Longest wait for one answer.
    pub patience: Duration,
}

/// What came of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// PDUs sent.
    pub sent: usize,
    /// Answers that were recorded and came again.
    pub answered: usize,
    /// PDUs of the initiator left out: they belong to commands from before the recording, or answer pings.
    pub left_out: usize,
    /// PDUs whose data was not recorded whole; zeros went in its place.
    pub filled: usize,
    /// Where the answers were others than recorded.
    pub differences: Vec<String>,
    /// Differences in all.
    pub different: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        write!(
            f,
            "{} PDUs sent, {} answers, {} left out, {} filled with zeros, {} differences",
            self.sent, self.answered, self.left_out, self.filled, self.different
        )
    }
}

/// Logs in to the target `iqn` and sends what the recorded initiator sent, each PDU after the answers that it had by then.
///
/// Initiator task tags stay; CmdSN, ExpStatSN, RefCmdSN and target transfer tags become those of the live session. LUNs
/// are the recorded ones. Writes are written.
///
/// # Errors
/// No connection or login, or bytes that are no PDU. Other answers than recorded are no error but a difference.
pub fn run(
    address: impl ToSocketAddrs,
    iqn: &str,
    recorded: &Conversation,
    options: &ReplayOptions,
) -> Result<Outcome, Error> {
    let login = login_options(recorded, options);
    let mut initiator = if is_discovery(recorded) {
        Initiator::discover(address, &login)?
    } else {
        Initiator::connect(address, iqn, &login)?
    };
    if !recorded.has_login() {
        take_unit_attentions(&mut initiator, recorded);
    }
    let (connection, _, sequence) = initiator.into_connection();
    let mut replay = Replay {
        live: Live::new(connection, sequence, options.patience),
        whole: recorded.has_login(),
        cmd_sn_ahead: None,
        max_cmd_sn: None,
        transfer_tags: HashMap::new(),
        known: HashSet::new(),
        outcome: Outcome::default(),
    };
    for (number, pdu) in recorded.pdus.iter().enumerate() {
        let login = [opcode::LOGIN_REQUEST, opcode::LOGIN_RESPONSE];
        if !login.contains(&pdu.header.opcode()) && !replay.step(number, pdu)? {
            break;
        }
    }
    Ok(replay.outcome)
}

/// Keys of the recorded login requests.
fn recorded_keys(recorded: &Conversation) -> Vec<(String, String)> {
    let requests = recorded.pdus.iter().filter(|pdu| pdu.from_initiator);
    let text: Vec<u8> = requests
        .take_while(|pdu| pdu.header.opcode() == opcode::LOGIN_REQUEST)
        .flat_map(|pdu| pdu.data.iter().copied())
        .collect();
    parse_text(&text).unwrap_or_default()
}

fn is_discovery(recorded: &Conversation) -> bool {
    value(&recorded_keys(recorded), "SessionType") == Some("Discovery")
}

fn login_options(recorded: &Conversation, options: &ReplayOptions) -> Options {
    let keys = recorded_keys(recorded);
    let mut login = options.login.clone();
    let yes = |key: &str, default: bool| value(&keys, key).map_or(default, |text| text == "Yes");
    let number = |key: &str, default: u32| {
        value(&keys, key)
            .and_then(crate::initiator::text::number)
            .unwrap_or(default)
    };
    login.immediate_data = yes("ImmediateData", login.immediate_data);
    login.initial_r2t = yes("InitialR2T", login.initial_r2t);
    login.max_burst_length = number("MaxBurstLength", login.max_burst_length);
    login.first_burst_length = number("FirstBurstLength", login.first_burst_length);
    login.max_outstanding_r2t = number("MaxOutstandingR2T", login.max_outstanding_r2t);
    login.max_recv_data_segment_length = number(
        "MaxRecvDataSegmentLength",
        login.max_recv_data_segment_length,
    );
    if let Some(name) = options
        .initiator_name
        .as_deref()
        .or(value(&keys, "InitiatorName"))
    {
        name.clone_into(&mut login.initiator_name);
    }
    let first = recorded.pdus.iter().find(|pdu| pdu.from_initiator);
    if let (true, Some(first)) = (recorded.has_login(), first) {
        login.isid.copy_from_slice(&first.header.lun()[..6]);
    }
    login
}

/// A recording from the middle of a session does not begin with the unit attention that a new session has.
fn take_unit_attentions(initiator: &mut Initiator, recorded: &Conversation) {
    let commands = recorded
        .pdus
        .iter()
        .filter(|pdu| pdu.from_initiator && pdu.header.opcode() == opcode::SCSI_COMMAND);
    let luns: HashSet<_> = commands.map(|pdu| pdu.header.lun()).take(10_000).collect();
    for lun in luns {
        // A unit that is not ready says so again when the recorded commands come.
        let _ = initiator.ready(Lun(lun), 4);
    }
}

struct Replay {
    live: Live,
    /// The recording has all of the connection.
    whole: bool,
    /// What is added to a recorded CmdSN.
    cmd_sn_ahead: Option<u32>,
    /// The recorded MaxCmdSN.
    max_cmd_sn: Option<u32>,
    /// Recorded target transfer tags, and the live ones in their place.
    transfer_tags: HashMap<u32, u32>,
    /// Initiator task tags that are in use.
    known: HashSet<u32>,
    outcome: Outcome,
}

impl Replay {
    /// One recorded PDU; false when it makes no sense to go on.
    fn step(&mut self, number: usize, pdu: &RecordedPdu) -> Result<bool, Error> {
        if pdu.from_initiator {
            return self.send(number, pdu);
        }
        let header = &pdu.header;
        self.max_cmd_sn = Some(header.max_cmd_sn());
        if header.opcode() == opcode::R2T {
            return self.r2t(number, header);
        }
        match Answer::of(header, &pdu.data) {
            Some(reject @ Answer::Reject { .. }) => {
                let got = self.live.reject()?;
                self.compare(number, reject, got)
            }
            Some(answer) if self.known.contains(&header.itt()) => {
                let got = match self.live.answer(header.itt())? {
                    Got::Came((came, live)) => {
                        self.answered(header, &live);
                        Got::Came(came)
                    }
                    Got::Nothing => Got::Nothing,
                    Got::Closed => Got::Closed,
                };
                self.compare(number, answer, got)
            }
            // Data, an answer to what came before the recording, what the target says unasked.
            _ => Ok(true),
        }
    }

    /// An answer came: its tag is free, unless a text exchange goes on.
    fn answered(&mut self, recorded: &Header, live: &Header) {
        if recorded.opcode() == opcode::TEXT_RESPONSE && recorded.ttt() != RESERVED_TAG {
            self.transfer_tags.insert(recorded.ttt(), live.ttt());
        } else {
            self.known.remove(&recorded.itt());
        }
    }

    fn compare(&mut self, number: usize, wanted: Answer, got: Got<Answer>) -> Result<bool, Error> {
        match got {
            Got::Came(came) => {
                self.live.used();
                self.outcome.answered += 1;
                if came != wanted {
                    self.differs(number, format!("recorded {wanted}, now {came}"));
                }
                Ok(true)
            }
            Got::Nothing => {
                self.differs(number, format!("recorded {wanted}, now no answer"));
                Ok(true)
            }
            Got::Closed => {
                self.differs(
                    number,
                    format!("recorded {wanted}, now the connection is closed"),
                );
                Ok(false)
            }
        }
    }

    fn differs(&mut self, number: usize, what: String) {
        self.outcome.different += 1;
        if self.outcome.differences.len() < MAX_TOLD {
            self.outcome
                .differences
                .push(format!("PDU {number}: {what}"));
        }
    }

    fn r2t(&mut self, number: usize, recorded: &Header) -> Result<bool, Error> {
        if !self.known.contains(&recorded.itt()) {
            return Ok(true);
        }
        let part = |header: &Header| (header.word(40), header.word(44));
        match self.live.r2t(recorded.itt())? {
            Got::Came(live) => {
                self.live.used();
                self.transfer_tags.insert(recorded.ttt(), live.ttt());
                if part(&live) != part(recorded) {
                    let (wanted, came) = (part(recorded), part(&live));
                    let text = format!("recorded R2T for {wanted:?} (offset, bytes), now {came:?}");
                    self.differs(number, text);
                    // The recorded Data-Out would not be what is asked for.
                    return Ok(false);
                }
                Ok(true)
            }
            Got::Nothing => {
                self.differs(number, "recorded R2T, now none".to_owned());
                Ok(true)
            }
            Got::Closed => {
                self.differs(
                    number,
                    "recorded R2T, now the connection is closed".to_owned(),
                );
                Ok(false)
            }
        }
    }

    fn send(&mut self, number: usize, recorded: &RecordedPdu) -> Result<bool, Error> {
        let itt = recorded.header.itt();
        let code = recorded.header.opcode();
        let pong = code == opcode::NOP_OUT && itt == RESERVED_TAG;
        let orphan = code == opcode::DATA_OUT && !self.whole && !self.known.contains(&itt);
        if pong || orphan {
            self.outcome.left_out += 1;
            return Ok(true);
        }
        if is_numbered(code) && !recorded.header.immediate() && !self.window(number, recorded)? {
            return Ok(false);
        }
        let pdu = self.mapped(recorded);
        if code != opcode::DATA_OUT && itt != RESERVED_TAG {
            self.known.insert(itt);
        }
        if !self.live.send(&pdu)? {
            self.differs(
                number,
                "the connection is closed before this is sent".to_owned(),
            );
            return Ok(false);
        }
        self.outcome.sent += 1;
        Ok(true)
    }

    /// Waits for room in the window, if the recorded initiator had some.
    fn window(&mut self, number: usize, recorded: &RecordedPdu) -> Result<bool, Error> {
        let cmd_sn = recorded.header.word(24);
        let inside = self.max_cmd_sn.is_none_or(|max| !after(cmd_sn, max));
        self.live.sequence.cmd_sn = self.map_cmd_sn(cmd_sn);
        if inside && !self.live.wait_for_window()? {
            self.differs(
                number,
                "recorded inside the window, which is closed now".to_owned(),
            );
            return Ok(false);
        }
        Ok(true)
    }

    fn map_cmd_sn(&mut self, recorded: u32) -> u32 {
        let live = self.live.sequence.cmd_sn;
        let ahead = *self.cmd_sn_ahead.get_or_insert(live.wrapping_sub(recorded));
        recorded.wrapping_add(ahead)
    }

    /// The PDU as it fits to the live session.
    fn mapped(&mut self, recorded: &RecordedPdu) -> Pdu {
        const ABORT_TASK: u8 = 1;
        let mut header = recorded.header;
        let code = header.opcode();
        if is_numbered(code) {
            let cmd_sn = self.map_cmd_sn(header.word(24));
            header.put_word(24, cmd_sn);
            let next = cmd_sn.wrapping_add(u32::from(!header.immediate()));
            if after(next, self.live.sequence.cmd_sn) {
                self.live.sequence.cmd_sn = next;
            }
        }
        header.put_word(28, self.live.sequence.exp_stat_sn);
        if code == opcode::TASK_MANAGEMENT && header.flags() & 0x7f == ABORT_TASK {
            let ref_cmd_sn = self.map_cmd_sn(header.word(32));
            header.put_word(32, ref_cmd_sn);
        }
        let has_ttt = matches!(code, opcode::DATA_OUT | opcode::TEXT_REQUEST);
        if let Some(live) = self.transfer_tags.get(&header.ttt()).filter(|_| has_ttt) {
            header.put_word(20, *live);
        }
        let mut pdu = Pdu::new(header, recorded.data.clone());
        pdu.ahs.clone_from(&recorded.ahs);
        if recorded.missing() > 0 {
            self.outcome.filled += 1;
            pdu.data.resize(header.data_len(), 0);
        }
        pdu
    }
}

/// Whether a request has a CmdSN.
fn is_numbered(code: u8) -> bool {
    matches!(
        code,
        opcode::NOP_OUT
            | opcode::SCSI_COMMAND
            | opcode::TASK_MANAGEMENT
            | opcode::TEXT_REQUEST
            | opcode::LOGOUT_REQUEST
    )
}
