//! The login phase as a state machine without a socket (RFC 7143 clause 6, 11.12, 11.13).

use super::chap::{self, Chap};
use super::options::Options;
use super::pdu::{Header, Pdu, opcode};
use super::session::{Negotiated, Sequence};
use super::text::{number, parse_text, text, value};

/// Most login rounds this side takes part in.
const MAX_ROUNDS: u32 = 32;
/// Most text bytes taken from one target, all PDUs of a login together.
const MAX_TEXT: usize = 65_536;

const T: u8 = 0x80;
const C: u8 = 0x40;
const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const FULL_FEATURE: u8 = 3;

/// Why a login did not end in the full feature phase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The target refused (RFC 7143 11.13.5).
    #[error("login refused: status class {class}, detail {detail}")]
    Refused {
        /// Status-Class.
        class: u8,
        /// Status-Detail.
        detail: u8,
    },
    /// Redirection to another address (class 1).
    #[error("login redirected to {0}")]
    Redirect(String),
    /// Not a Login Response.
    #[error("opcode {0:#04x} instead of a Login Response")]
    Opcode(u8),
    /// The target broke a rule of the login phase.
    #[error("login answer breaks a rule: {0}")]
    Rule(String),
    /// A key has an impossible value.
    #[error("target answered {key}={value}: {reason}")]
    Key {
        /// Key name.
        key: String,
        /// Value received.
        value: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// CHAP failed on this side.
    #[error("CHAP: {0}")]
    Chap(&'static str),
}

/// What to do after a Login Response.
#[derive(Debug)]
pub enum Step {
    /// Send this request.
    Send(Pdu),
    /// Full feature phase reached.
    Done(Box<Negotiated>, Sequence),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    Names,
    Algorithm,
    Response,
    Finished,
}

/// A login in progress.
#[derive(Debug)]
pub struct Login {
    options: Options,
    target: Option<String>,
    stage: u8,
    security: Security,
    offered: Vec<(String, String)>,
    exp_stat_sn: u32,
    tsih: u16,
    rounds: u32,
    text: Vec<u8>,
    taken: usize,
    keys: Vec<(String, String)>,
    mutual_challenge: Option<(u32, u8, Vec<u8>)>,
    mutual_done: bool,
}

impl Login {
    /// A login to `target`, or a discovery session when there is none.
    pub fn new(options: &Options, target: Option<&str>) -> Self {
        let stage = if options.skip_security {
            OPERATIONAL
        } else {
            SECURITY
        };
        Self {
            tsih: options.tsih,
            options: options.clone(),
            target: target.map(str::to_owned),
            stage,
            security: Security::Names,
            offered: Vec::new(),
            exp_stat_sn: 0,
            rounds: 0,
            text: Vec::new(),
            taken: 0,
            keys: Vec::new(),
            mutual_challenge: None,
            mutual_done: false,
        }
    }

    /// The first request.
    pub fn start(&mut self) -> Pdu {
        let mut keys = vec![(
            "InitiatorName".to_owned(),
            self.options.initiator_name.clone(),
        )];
        match &self.target {
            Some(name) => {
                keys.push(("TargetName".into(), name.clone()));
                keys.push(("SessionType".into(), "Normal".into()));
            }
            None => keys.push(("SessionType".into(), "Discovery".into())),
        }
        if self.stage == OPERATIONAL {
            keys.extend(self.operational_keys());
            return self.request(keys, Some(FULL_FEATURE));
        }
        if self.options.chap.is_some() {
            keys.push(("AuthMethod".into(), "CHAP".into()));
            return self.request(keys, None);
        }
        keys.push(("AuthMethod".into(), "None".into()));
        self.security = Security::Finished;
        self.request(keys, Some(OPERATIONAL))
    }

    fn operational_keys(&self) -> Vec<(String, String)> {
        let o = &self.options;
        let digest = |on: bool| if on { "CRC32C,None" } else { "None" }.to_owned();
        let yes = |on: bool| if on { "Yes" } else { "No" }.to_owned();
        let mut keys = vec![
            ("HeaderDigest".to_owned(), digest(o.header_digest)),
            ("DataDigest".into(), digest(o.data_digest)),
            (
                "MaxRecvDataSegmentLength".into(),
                o.max_recv_data_segment_length.to_string(),
            ),
            ("DefaultTime2Wait".into(), "2".into()),
            ("DefaultTime2Retain".into(), "0".into()),
            (
                "ErrorRecoveryLevel".into(),
                o.error_recovery_level.to_string(),
            ),
        ];
        if self.target.is_some() {
            keys.extend([
                ("InitialR2T".to_owned(), yes(o.initial_r2t)),
                ("ImmediateData".into(), yes(o.immediate_data)),
                ("MaxBurstLength".into(), o.max_burst_length.to_string()),
                ("FirstBurstLength".into(), o.first_burst_length.to_string()),
                (
                    "MaxOutstandingR2T".into(),
                    o.max_outstanding_r2t.to_string(),
                ),
                ("MaxConnections".into(), o.max_connections.to_string()),
                ("DataPDUInOrder".into(), "Yes".into()),
                ("DataSequenceInOrder".into(), "Yes".into()),
            ]);
        }
        keys.extend(o.extra_keys.iter().cloned());
        keys
    }

    fn request(&mut self, keys: Vec<(String, String)>, next: Option<u8>) -> Pdu {
        let mut header = Header::new(opcode::LOGIN_REQUEST | 0x40);
        header.put_flags(self.stage << 2 | next.map_or(0, |n| T | n));
        header.0[8..14].copy_from_slice(&self.options.isid);
        header.0[14..16].copy_from_slice(&self.tsih.to_be_bytes());
        header.put_word(16, 1);
        header.0[20..22].copy_from_slice(&self.options.cid.to_be_bytes());
        header
            .put_word(24, self.options.cmd_sn)
            .put_word(28, self.exp_stat_sn);
        let data = text(&keys);
        self.offered.extend(keys);
        Pdu::new(header, data)
    }

    /// Takes a Login Response; says what to do next.
    pub fn reply(&mut self, pdu: &Pdu) -> Result<Step, LoginError> {
        let h = &pdu.header;
        if h.opcode() != opcode::LOGIN_RESPONSE {
            return Err(LoginError::Opcode(h.opcode()));
        }
        self.rounds += 1;
        self.taken += pdu.data.len();
        if self.rounds > MAX_ROUNDS || self.taken > MAX_TEXT {
            return Err(LoginError::Rule("login does not come to an end".into()));
        }
        self.status(pdu)?;
        self.exp_stat_sn = h.stat_sn().wrapping_add(1);
        self.text.extend_from_slice(&pdu.data);
        let transit = h.flags() & T != 0;
        if h.flags() & C != 0 {
            if transit {
                return Err(LoginError::Rule("T and C both set".into()));
            }
            return Ok(Step::Send(self.request(Vec::new(), None)));
        }
        let (csg, nsg) = (h.flags() >> 2 & 3, h.flags() & 3);
        if csg != self.stage || (transit && nsg <= csg) {
            return Err(LoginError::Rule(format!(
                "stage {csg} to {nsg} while in {}",
                self.stage
            )));
        }
        let new = parse_text(&std::mem::take(&mut self.text))?;
        self.keys.extend(new.iter().cloned());
        if h.half(14) != 0 {
            self.tsih = h.half(14);
        }
        match self.stage {
            SECURITY => self.after_security(&new, transit.then_some(nsg), h),
            _ => self.after_operational(&new, transit, h),
        }
    }

    fn status(&self, pdu: &Pdu) -> Result<(), LoginError> {
        let (class, detail) = (pdu.header.0[36], pdu.header.0[37]);
        match class {
            0 => Ok(()),
            1 => {
                let address = parse_text(&pdu.data)?
                    .into_iter()
                    .find(|(k, _)| k == "TargetAddress")
                    .map_or_else(|| "nowhere".into(), |(_, v)| v);
                Err(LoginError::Redirect(address))
            }
            _ => Err(LoginError::Refused { class, detail }),
        }
    }

    fn after_security(
        &mut self,
        new: &[(String, String)],
        next: Option<u8>,
        h: &Header,
    ) -> Result<Step, LoginError> {
        if let Some(mutual) = self.options.chap.clone().and_then(|c| c.mutual) {
            self.check_mutual(&mutual, new)?;
        }
        match next {
            Some(_) if self.security != Security::Finished => Err(LoginError::Rule(
                "target left the security stage before CHAP ended".into(),
            )),
            Some(_) if self.mutual_challenge.is_some() && !self.mutual_done => {
                Err(LoginError::Chap("the target did not prove itself"))
            }
            Some(OPERATIONAL) => {
                self.stage = OPERATIONAL;
                let keys = self.operational_keys();
                Ok(Step::Send(self.request(keys, Some(FULL_FEATURE))))
            }
            Some(_) => self.done(h),
            None => self.continue_chap(new),
        }
    }

    fn continue_chap(&mut self, new: &[(String, String)]) -> Result<Step, LoginError> {
        let Some(chap) = self.options.chap.clone() else {
            return Ok(Step::Send(self.request(Vec::new(), Some(OPERATIONAL))));
        };
        match self.security {
            Security::Names => {
                if value(new, "AuthMethod") != Some("CHAP") {
                    return Err(LoginError::Chap("the target does not take AuthMethod=CHAP"));
                }
                self.security = Security::Algorithm;
                let keys = vec![("CHAP_A".to_owned(), chap.algorithms)];
                Ok(Step::Send(self.request(keys, None)))
            }
            Security::Algorithm => {
                let keys = self.chap_answer(&chap, new)?;
                self.security = Security::Response;
                let request = self.request(keys, Some(OPERATIONAL));
                self.security = Security::Finished;
                Ok(Step::Send(request))
            }
            Security::Response | Security::Finished => {
                Ok(Step::Send(self.request(Vec::new(), Some(OPERATIONAL))))
            }
        }
    }

    fn chap_answer(
        &mut self,
        chap: &Chap,
        new: &[(String, String)],
    ) -> Result<Vec<(String, String)>, LoginError> {
        let algorithm = value(new, "CHAP_A").and_then(|v| v.parse().ok());
        let algorithm: u32 = algorithm.ok_or(LoginError::Chap("no usable CHAP_A"))?;
        if !chap
            .algorithms
            .split(',')
            .any(|a| a.trim().parse() == Ok(algorithm))
        {
            return Err(LoginError::Chap(
                "the target chose an algorithm that was not offered",
            ));
        }
        let id = value(new, "CHAP_I")
            .and_then(number)
            .and_then(|n| u8::try_from(n).ok());
        let id = id.ok_or(LoginError::Chap("no usable CHAP_I"))?;
        let challenge = value(new, "CHAP_C").and_then(chap::from_text);
        let challenge = challenge.ok_or(LoginError::Chap("no usable CHAP_C"))?;
        let digest = chap::response(algorithm, id, &chap.own.secret, &challenge)
            .ok_or(LoginError::Chap("algorithm not known here"))?;
        let mut keys = vec![
            ("CHAP_N".to_owned(), chap.own.user.clone()),
            ("CHAP_R".into(), chap::to_hex(&digest)),
        ];
        if chap.mutual.is_some() {
            let own = fresh_challenge();
            if own == challenge {
                return Err(LoginError::Chap("the target reflected a challenge"));
            }
            let own_id = id.wrapping_add(1);
            keys.push(("CHAP_I".into(), own_id.to_string()));
            keys.push(("CHAP_C".into(), chap::to_hex(&own)));
            self.mutual_challenge = Some((algorithm, own_id, own));
        }
        Ok(keys)
    }

    fn check_mutual(
        &mut self,
        mutual: &chap::Credentials,
        new: &[(String, String)],
    ) -> Result<(), LoginError> {
        let Some((algorithm, id, challenge)) = &self.mutual_challenge else {
            return Ok(());
        };
        let Some(given) = value(new, "CHAP_R") else {
            return Ok(());
        };
        let given = chap::from_text(given).ok_or(LoginError::Chap("malformed CHAP_R"))?;
        let wanted = chap::response(*algorithm, *id, &mutual.secret, challenge);
        if value(new, "CHAP_N") != Some(&mutual.user) || wanted != Some(given) {
            return Err(LoginError::Chap("the target's proof is wrong"));
        }
        self.mutual_done = true;
        Ok(())
    }

    fn after_operational(
        &mut self,
        new: &[(String, String)],
        transit: bool,
        h: &Header,
    ) -> Result<Step, LoginError> {
        if transit {
            return self.done(h);
        }
        let answers: Vec<_> = new.iter().filter_map(|(k, v)| self.answer(k, v)).collect();
        Ok(Step::Send(self.request(answers, Some(FULL_FEATURE))))
    }

    /// The answer to a key the target brought up, or none when ours was answered or it only declares.
    fn answer(&self, key: &str, offer: &str) -> Option<(String, String)> {
        const DECLARED: [&str; 4] = [
            "MaxRecvDataSegmentLength",
            "TargetPortalGroupTag",
            "TargetAlias",
            "TargetAddress",
        ];
        if DECLARED.contains(&key) || self.offered.iter().any(|(k, _)| k == key) {
            return None;
        }
        let answer = match key {
            "InitialR2T" | "DataPDUInOrder" | "DataSequenceInOrder" => "Yes".into(),
            "ImmediateData" | "IFMarker" | "OFMarker" | "RDMAExtensions" => "No".into(),
            "HeaderDigest" | "DataDigest" => "None".into(),
            "MaxBurstLength" | "FirstBurstLength" | "DefaultTime2Wait" | "DefaultTime2Retain"
            | "MaxOutstandingR2T" | "MaxConnections" | "ErrorRecoveryLevel" => offer.to_owned(),
            _ => "NotUnderstood".into(),
        };
        Some((key.to_owned(), answer))
    }

    fn done(&mut self, h: &Header) -> Result<Step, LoginError> {
        if self.tsih == 0 {
            return Err(LoginError::Rule("TSIH 0 in the final response".into()));
        }
        let negotiated = self.outcome()?;
        let sequence = Sequence {
            cmd_sn: self.options.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            exp_cmd_sn: h.exp_cmd_sn(),
            max_cmd_sn: h.max_cmd_sn(),
        };
        Ok(Step::Done(Box::new(negotiated), sequence))
    }

    fn outcome(&self) -> Result<Negotiated, LoginError> {
        let o = &self.options;
        let length = |key, default, least, most| self.length(key, default, least, most);
        let digest = |key: &str, offered: bool| match value(&self.keys, key) {
            None | Some("None") => Ok(false),
            Some("CRC32C") if offered => Ok(true),
            Some(v) => Err(bad_key(key, v, "not one of the values offered")),
        };
        let max_burst = length("MaxBurstLength", 262_144, 512, o.max_burst_length.max(512))?;
        let first_burst = length(
            "FirstBurstLength",
            65_536,
            512,
            o.first_burst_length.max(512),
        )?;
        Ok(Negotiated {
            target_max_recv_data_segment_length: length(
                "MaxRecvDataSegmentLength",
                8192,
                512,
                0xff_ffff,
            )?,
            max_recv_data_segment_length: o.max_recv_data_segment_length,
            max_burst_length: max_burst.min(o.max_burst_length),
            first_burst_length: first_burst.min(o.first_burst_length).min(max_burst),
            immediate_data: self.boolean("ImmediateData", true)? && o.immediate_data,
            initial_r2t: self.boolean("InitialR2T", true)? || o.initial_r2t,
            header_digest: digest("HeaderDigest", o.header_digest)?,
            data_digest: digest("DataDigest", o.data_digest)?,
            max_outstanding_r2t: length("MaxOutstandingR2T", 1, 1, 65_535)?,
            max_connections: length("MaxConnections", 1, 1, 65_535)?,
            error_recovery_level: length("ErrorRecoveryLevel", 0, 0, 2)?,
            tsih: self.tsih,
            keys: self.keys.clone(),
        })
    }

    fn length(&self, key: &str, default: u32, least: u32, most: u32) -> Result<u32, LoginError> {
        let Some(v) = value(&self.keys, key) else {
            return Ok(default);
        };
        if v == "Irrelevant" {
            return Ok(default);
        }
        let n = number(v).ok_or_else(|| bad_key(key, v, "not a number"))?;
        if n < least || n > most {
            return Err(bad_key(key, v, "out of range, or more than was offered"));
        }
        Ok(n)
    }

    fn boolean(&self, key: &str, default: bool) -> Result<bool, LoginError> {
        match value(&self.keys, key) {
            None | Some("Irrelevant") => Ok(default),
            Some("Yes") => Ok(true),
            Some("No") => Ok(false),
            Some(v) => Err(bad_key(key, v, "neither Yes nor No")),
        }
    }
}

fn bad_key(key: &str, value: &str, reason: &'static str) -> LoginError {
    let value = value
        .chars()
        .take(64)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    LoginError::Key {
        key: key.to_owned(),
        value,
        reason,
    }
}

fn fresh_challenge() -> Vec<u8> {
    use std::hash::{BuildHasher, RandomState};
    // RandomState is keyed from the system's random source.
    (0u8..4)
        .flat_map(|i| RandomState::new().hash_one(i).to_be_bytes())
        .collect()
}

#[cfg(test)]
mod tests;
