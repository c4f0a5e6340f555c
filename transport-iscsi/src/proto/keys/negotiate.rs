//! The table of keys applied to one login.

use std::borrow::Cow;
use std::time::Duration;

use super::{
    Digest, DigestChoice, KEYS, KeySpec, Kind, OperationalParams, Sender, Stage, TargetParams,
    lookup,
};
use crate::proto::text::{
    IRRELEVANT, NOT_UNDERSTOOD, Pair, REJECT, TextError, TextWriter, bool_text, parse_bool,
    parse_number,
};

/// Most unknown keys answered in one login: what a stranger may make us write is bounded.
const MAX_UNKNOWN_KEYS: usize = 64;
const MAX_RECV: &str = "MaxRecvDataSegmentLength";

/// A rule of the negotiation that the initiator broke; each ends the login with status 0200.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A key was sent twice in one login (RFC 7143 §6.3).
    #[error("{0} negotiated twice")]
    Repeated(&'static str),
    /// The key does not belong to this stage (RFC 7143 §12, §13).
    #[error("{0} sent in the wrong stage")]
    WrongStage(&'static str),
    /// Only a target sends this key.
    #[error("{0} is not for initiators to send")]
    WrongSender(&'static str),
    /// A declared value is malformed or out of range; a declaration cannot be answered.
    #[error("{0} declared with an illegal value")]
    BadDeclaration(&'static str),
    /// The initiator's answer to our offer is not a possible result.
    #[error("{0} answered with an illegal value")]
    BadAnswer(&'static str),
    /// FirstBurstLength would exceed MaxBurstLength (RFC 7143 §13.14).
    #[error("FirstBurstLength would exceed MaxBurstLength")]
    FirstBurstAboveMaxBurst,
    /// The target demands a digest to which the initiator did not agree.
    #[error("{0} is required by the target")]
    DigestRequired(&'static str),
    /// More than 64 unknown keys.
    #[error("too many unknown keys")]
    TooManyUnknown,
    /// The answer would not fit.
    #[error(transparent)]
    Text(#[from] TextError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Flag(bool),
    Number(u32),
    Digest(Digest),
}

/// What is known of one key in this login.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// The initiator has sent it.
    received: bool,
    /// We have sent it on our own account.
    offered: bool,
    /// The agreed value, if not the default.
    agreed: Option<Value>,
}

/// The negotiation of operational keys of one login.
#[derive(Debug, Clone)]
pub struct Negotiation {
    ours: TargetParams,
    discovery: bool,
    progress: [Progress; KEYS.len()],
    unknown: usize,
}

impl Negotiation {
    /// A negotiation in which nothing has been said; `ours` is our side.
    #[must_use]
    pub fn new(ours: TargetParams, discovery: bool) -> Self {
        Self {
            ours,
            discovery,
            progress: [Progress::default(); KEYS.len()],
            unknown: 0,
        }
    }

    /// Replaces our side: the target becomes known only after the first keys have come.
    pub fn set_target(&mut self, ours: TargetParams, discovery: bool) {
        self.ours = ours;
        self.discovery = discovery;
    }

    /// Checks stage, sender and repetition of a key. Gives its table entry, or `None` for an unknown key.
    ///
    /// # Errors
    /// The [`KeyError`] of the rule that is broken.
    pub fn admit(
        &mut self,
        stage: Stage,
        name: &str,
    ) -> Result<Option<&'static KeySpec>, KeyError> {
        let Some((index, spec)) = lookup(name) else {
            self.unknown += 1;
            return if self.unknown > MAX_UNKNOWN_KEYS {
                Err(KeyError::TooManyUnknown)
            } else {
                Ok(None)
            };
        };
        if spec.sender == Sender::Target {
            return Err(KeyError::WrongSender(spec.name));
        }
        if !spec.stages.contains(&stage) {
            return Err(KeyError::WrongStage(spec.name));
        }
        if let Some(progress) = self.progress.get_mut(index) {
            if progress.received && spec.kind != Kind::DeclaredText {
                return Err(KeyError::Repeated(spec.name));
            }
            progress.received = true;
        }
        Ok(Some(spec))
    }

    /// Answers admitted pairs in their order. Pairs of names and of authentication are the caller's, and skipped.
    ///
    /// # Errors
    /// The [`KeyError`] of the first rule that is broken.
    pub fn answer(&mut self, pairs: &[Pair<'_>], out: &mut TextWriter) -> Result<(), KeyError> {
        // FirstBurstLength depends on three other keys, wherever they stand in the PDU (RFC 7143 §13.14).
        let mut answers: Vec<Option<Cow<'static, str>>> = vec![None; pairs.len()];
        for last in [false, true] {
            for (pair, slot) in pairs.iter().zip(&mut answers) {
                if (pair.key == "FirstBurstLength") == last {
                    *slot = self.answer_one(pair)?;
                }
            }
        }
        for (pair, answer) in pairs.iter().zip(answers) {
            if let Some(answer) = answer {
                out.push(pair.key, &answer)?;
            }
        }
        Ok(())
    }

    fn answer_one(&mut self, pair: &Pair<'_>) -> Result<Option<Cow<'static, str>>, KeyError> {
        let Some((index, spec)) = lookup(pair.key) else {
            return Ok(Some(NOT_UNDERSTOOD.into()));
        };
        match spec.kind {
            Kind::DeclaredText | Kind::Security | Kind::Request => return Ok(None),
            Kind::Marker => return Ok(Some("No".into())),
            Kind::MarkerInterval => return Ok(Some(REJECT.into())),
            Kind::DeclaredNumber => {
                let number =
                    parse_in_range(spec, pair.value).ok_or(KeyError::BadDeclaration(spec.name))?;
                self.agree(index, Value::Number(number));
                return Ok(None);
            }
            _ => {}
        }
        if self
            .progress
            .get(index)
            .is_some_and(|progress| progress.offered)
        {
            return self.accept_reply(index, spec, pair.value).map(|()| None);
        }
        if self.is_irrelevant(spec) {
            return Ok(Some(IRRELEVANT.into()));
        }
        if spec.kind == Kind::FixedList {
            return Ok(Some(fixed_list(spec, pair.value).into()));
        }
        let Some(result) = self.combine(spec, pair.value) else {
            return Ok(Some(REJECT.into()));
        };
        self.check_bursts(spec, result)?;
        self.agree(index, result);
        Ok(Some(value_text(result)))
    }

    /// The initiator's reply to our own offer: it must be a value to which the result function leads.
    fn accept_reply(
        &mut self,
        index: usize,
        spec: &'static KeySpec,
        value: &str,
    ) -> Result<(), KeyError> {
        if reserved(value) {
            return Ok(());
        }
        let result = self
            .combine(spec, value)
            .ok_or(KeyError::BadAnswer(spec.name))?;
        let same_number = parse_number(value).map(|number| number.to_string());
        if value_text(result) != value
            && same_number.as_deref() != Some(value_text(result).as_ref())
        {
            return Err(KeyError::BadAnswer(spec.name));
        }
        self.agree(index, result);
        Ok(())
    }

    fn agree(&mut self, index: usize, value: Value) {
        if let Some(progress) = self.progress.get_mut(index) {
            progress.agreed = Some(value);
        }
    }

    fn is_irrelevant(&self, spec: &KeySpec) -> bool {
        // RFC 7143 §13.14: no unsolicited data at all, so no limit on it.
        let no_unsolicited = spec.name == "FirstBurstLength"
            && self.flag("InitialR2T")
            && !self.flag("ImmediateData");
        (spec.normal_only && self.discovery) || no_unsolicited
    }

    /// The result function of RFC 7143 §13; `None` if the offered value is not admissible.
    fn combine(&self, spec: &KeySpec, offered: &str) -> Option<Value> {
        let ours = self
            .ours
            .value(spec.name)
            .unwrap_or_else(|| spec.default.to_owned());
        match spec.kind {
            Kind::BoolOr => Some(Value::Flag(parse_bool(offered)? | parse_bool(&ours)?)),
            Kind::BoolAnd => Some(Value::Flag(parse_bool(offered)? & parse_bool(&ours)?)),
            Kind::AlwaysYes => parse_bool(offered).map(|_| Value::Flag(true)),
            Kind::Minimum | Kind::Maximum => {
                let (offered, ours) = (parse_in_range(spec, offered)?, ours.parse().ok()?);
                let number = if spec.kind == Kind::Minimum {
                    offered.min(ours)
                } else {
                    offered.max(ours)
                };
                let cap = if spec.name == "FirstBurstLength" {
                    self.number("MaxBurstLength")
                } else {
                    u32::MAX
                };
                Some(Value::Number(number.min(cap)))
            }
            Kind::DigestList => ours
                .parse::<DigestChoice>()
                .ok()?
                .select(offered)
                .map(Value::Digest),
            _ => None,
        }
    }

    /// A FirstBurstLength that is already agreed binds a later MaxBurstLength.
    fn check_bursts(&self, spec: &KeySpec, result: Value) -> Result<(), KeyError> {
        let first = self.agreed("FirstBurstLength");
        match (spec.name, result, first) {
            ("MaxBurstLength", Value::Number(max), Some(Value::Number(first))) if first > max => {
                Err(KeyError::FirstBurstAboveMaxBurst)
            }
            _ => Ok(()),
        }
    }

    /// Declares our receive limit once, in the operational stage.
    ///
    /// # Errors
    /// [`KeyError::Text`] if the answer is full.
    pub fn declare(&mut self, out: &mut TextWriter) -> Result<(), KeyError> {
        if self.mark_offered(MAX_RECV) {
            out.push(
                MAX_RECV,
                &self.ours.max_recv_data_segment_length.to_string(),
            )?;
        }
        Ok(())
    }

    /// Offers keys that the initiator left out although the default is not within our configuration.
    /// Gives whether anything was offered: the stage then cannot end in this exchange.
    ///
    /// # Errors
    /// [`KeyError::Text`] if the answer is full.
    pub fn offer_missing(&mut self, out: &mut TextWriter) -> Result<bool, KeyError> {
        let mut offered = false;
        for (index, spec) in KEYS.iter().enumerate() {
            let silent = self
                .progress
                .get(index)
                .is_some_and(|progress| !progress.received && !progress.offered);
            if !silent || !self.needs_offer(spec) {
                continue;
            }
            self.mark_offered(spec.name);
            out.push(spec.name, &self.offer_text(spec))?;
            offered = true;
        }
        Ok(offered)
    }

    fn needs_offer(&self, spec: &KeySpec) -> bool {
        // At error recovery level 0 nothing is retained, so DefaultTime2Retain never needs an exchange.
        if self.is_irrelevant(spec) || spec.name == "DefaultTime2Retain" {
            return false;
        }
        match spec.kind {
            Kind::BoolAnd | Kind::BoolOr | Kind::Minimum | Kind::Maximum | Kind::DigestList => {
                self.combine(spec, spec.default).map(value_text).as_deref() != Some(spec.default)
            }
            _ => false,
        }
    }

    /// A digest is offered as the whole list; anything else as the value that would result from the default.
    fn offer_text(&self, spec: &KeySpec) -> String {
        let result = self
            .combine(spec, spec.default)
            .filter(|_| spec.kind != Kind::DigestList);
        result.map_or_else(
            || self.ours.value(spec.name).unwrap_or_default(),
            |value| value_text(value).into_owned(),
        )
    }

    fn mark_offered(&mut self, name: &str) -> bool {
        let Some(progress) = lookup(name).and_then(|(index, _)| self.progress.get_mut(index))
        else {
            return false;
        };
        !std::mem::replace(&mut progress.offered, true)
    }

    /// The result, with defaults for what was not said.
    ///
    /// # Errors
    /// [`KeyError::DigestRequired`] if a digest that we demand was not agreed.
    pub fn finish(&self) -> Result<OperationalParams, KeyError> {
        let header_digest = self.required_digest("HeaderDigest", self.ours.header_digest)?;
        let data_digest = self.required_digest("DataDigest", self.ours.data_digest)?;
        let max_burst_length = self.number("MaxBurstLength");
        let declared = lookup(MAX_RECV)
            .and_then(|(index, _)| self.progress.get(index))
            .is_some_and(|p| p.offered);
        let defaults = OperationalParams::default();
        Ok(OperationalParams {
            header_digest,
            data_digest,
            initial_r2t: self.flag("InitialR2T"),
            immediate_data: self.flag("ImmediateData"),
            max_burst_length,
            first_burst_length: self.number("FirstBurstLength").min(max_burst_length),
            max_recv_data_segment_length: if declared {
                self.ours.max_recv_data_segment_length
            } else {
                defaults.max_recv_data_segment_length
            },
            max_xmit: self
                .number(MAX_RECV)
                .min(self.ours.max_xmit_data_segment_length),
            max_outstanding_r2t: self.number("MaxOutstandingR2T"),
            max_connections: self.number("MaxConnections"),
            default_time2wait: Duration::from_secs(self.number("DefaultTime2Wait").into()),
            default_time2retain: Duration::from_secs(self.number("DefaultTime2Retain").into()),
            error_recovery_level: self.number("ErrorRecoveryLevel"),
            data_pdu_in_order: self.flag("DataPDUInOrder"),
            data_sequence_in_order: self.flag("DataSequenceInOrder"),
        })
    }

    fn required_digest(
        &self,
        name: &'static str,
        accepted: DigestChoice,
    ) -> Result<Digest, KeyError> {
        let digest = match self.agreed(name) {
            Some(Value::Digest(digest)) => digest,
            _ => Digest::None,
        };
        if accepted.accepts(digest) {
            Ok(digest)
        } else {
            Err(KeyError::DigestRequired(name))
        }
    }

    fn agreed(&self, name: &str) -> Option<Value> {
        lookup(name)
            .and_then(|(index, _)| self.progress.get(index))
            .and_then(|progress| progress.agreed)
    }

    fn flag(&self, name: &str) -> bool {
        match self.agreed(name) {
            Some(Value::Flag(flag)) => flag,
            _ => lookup(name).is_some_and(|(_, spec)| spec.default == "Yes"),
        }
    }

    fn number(&self, name: &str) -> u32 {
        match self.agreed(name) {
            Some(Value::Number(number)) => number,
            _ => lookup(name)
                .and_then(|(_, spec)| spec.default.parse().ok())
                .unwrap_or_default(),
        }
    }
}

fn parse_in_range(spec: &KeySpec, value: &str) -> Option<u32> {
    u32::try_from(parse_number(value)?)
        .ok()
        .filter(|number| spec.range.contains(number))
}

fn fixed_list(spec: &KeySpec, offered: &str) -> &'static str {
    if offered.split(',').any(|item| item == spec.default) {
        spec.default
    } else {
        REJECT
    }
}

fn reserved(value: &str) -> bool {
    matches!(value, NOT_UNDERSTOOD | IRRELEVANT | REJECT)
}

fn value_text(value: Value) -> Cow<'static, str> {
    match value {
        Value::Flag(flag) => bool_text(flag).into(),
        Value::Number(number) => number.to_string().into(),
        Value::Digest(digest) => digest.text().into(),
    }
}
