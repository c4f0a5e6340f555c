//! The login: CHAP where the target wants it, then the keys, in one exchange.

use lunforge::iscsi::proto::chap::{
    BinaryForm, ChapAlgorithm, MAX_DIGEST_LEN, decode_binary, encode_binary,
};
use lunforge::iscsi::proto::pdu::{Bhs, LoginRequest, LoginResponse};

use super::{Agreed, Initiator, Phase};
use crate::chronicle::Seq;

/// The secret that all initiators share.
pub(crate) const SECRET: &str = "sixteen bytes or more";
/// The target.
pub(crate) const TARGET: &str = "iqn.2026-11.org.example:target";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// AuthMethod is proposed.
    Method,
    /// CHAP_A is proposed.
    Algorithm,
    /// The answer to the challenge is sent.
    Proof,
    /// The keys are proposed.
    Keys,
}

/// What the last request of a login waits for.
#[derive(Debug, Default)]
pub(super) struct State {
    /// When it was sent.
    sent: Seq,
    /// Where it ends in the stream.
    pub(super) end: u64,
    /// When the target had read it.
    pub(super) seen: Option<u64>,
    pub(super) late: u32,
    /// It proves itself wrongly, on purpose.
    pub(super) wrong: bool,
}

impl Initiator {
    /// The next login proves itself wrongly.
    pub(crate) fn err_at_login(&mut self) {
        self.login.wrong = self.shared.config.chap;
    }

    pub(super) fn begin_login(&mut self) {
        let wrong = std::mem::take(&mut self.login.wrong);
        self.login = State {
            wrong,
            ..State::default()
        };
        self.logins += 1;
        self.stat_sn = 0;
        self.agreed = Agreed::default();
        self.note(30, 0, || "begins a login".into());
        if self.shared.config.chap {
            let text = format!("{}AuthMethod=CHAP\0", self.names());
            self.request(Stage::Method, (0, 1, false), &text);
        } else {
            self.propose();
        }
    }

    fn names(&self) -> String {
        let iqn = &self.iqn;
        format!("InitiatorName={iqn}\0TargetName={TARGET}\0SessionType=Normal\0")
    }

    fn propose(&mut self) {
        let config = &self.config;
        let digest = |on: bool| if on { "CRC32C" } else { "None" };
        let yes = |on: bool| if on { "Yes" } else { "No" };
        let text = format!(
            "{}HeaderDigest={}\0DataDigest={}\0InitialR2T={}\0ImmediateData={}\0MaxRecvDataSegmentLength={}\0\
             MaxBurstLength={}\0FirstBurstLength={}\0MaxOutstandingR2T={}\0ErrorRecoveryLevel=0\0",
            if self.shared.config.chap {
                String::new()
            } else {
                self.names()
            },
            digest(config.header_digest),
            digest(config.data_digest),
            yes(config.initial_r2t),
            yes(config.immediate_data),
            config.max_recv,
            config.max_burst,
            config.first_burst,
            config.max_outstanding_r2t,
        );
        self.request(Stage::Keys, (1, 3, true), &text);
    }

    fn request(&mut self, stage: Stage, (current, next, transit): (u8, u8, bool), text: &str) {
        self.phase = Phase::Login(stage);
        let pdu = LoginRequest {
            immediate: true,
            transit,
            is_continue: false,
            current_stage: current,
            next_stage: if transit { next } else { 0 },
            version_max: 0,
            version_min: 0,
            data_segment_length: text.len() as u32,
            isid: self.isid,
            tsih: 0,
            itt: 0,
            cid: 0,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.stat_sn,
        };
        self.send(&pdu.emit(), text.as_bytes(), false);
        (self.login.end, self.login.seen, self.login.late) = (self.queued(), None, 0);
        self.login.sent = self.shared.chronicle.seq();
    }

    /// A Login Response.
    pub(super) fn login_response(&mut self, stage: Stage, bhs: &Bhs, data: &[u8], seq: Seq) {
        let Ok(pdu) = LoginResponse::parse(bhs) else {
            return self.fail("login", "a response that does not parse".into());
        };
        if pdu.stat_sn != self.stat_sn && self.stat_sn != 0 {
            self.fail(
                "stat-sn",
                format!("login: {} after {}", pdu.stat_sn, self.stat_sn),
            );
        }
        self.stat_sn = pdu.stat_sn.wrapping_add(1);
        let status = (pdu.status_class, pdu.status_detail);
        if status != (0, 0) {
            self.note(31, u64::from(pdu.status_detail), || {
                format!("is refused: {status:?}")
            });
            if status.0 == 2 && !self.login.wrong {
                self.fail("login", format!("refused as its own error: {status:?}"));
            }
            return self.forget(Some(crate::wire::Life::Finished));
        }
        let keys = Keys(data);
        match stage {
            Stage::Method => self.request(Stage::Algorithm, (0, 1, false), "CHAP_A=7,5\0"),
            Stage::Algorithm => self.prove(&keys),
            Stage::Proof if self.login.wrong => {
                self.fail("login", "a wrong proof was accepted".into())
            }
            Stage::Proof => self.propose(),
            Stage::Keys => self.enter(&pdu, &keys, seq),
        }
    }

    fn prove(&mut self, keys: &Keys<'_>) {
        let algorithm = keys.get("CHAP_A").and_then(ChapAlgorithm::from_text);
        let identifier = keys.get("CHAP_I").and_then(|i| i.parse().ok());
        let challenge = keys.get("CHAP_C").and_then(|c| decode_binary(c, 1024));
        let (Some(algorithm), Some(identifier), Some((challenge, _))) =
            (algorithm, identifier, challenge)
        else {
            return self.fail("login", "no challenge".into());
        };
        let secret = if self.login.wrong {
            "another secret of some bytes"
        } else {
            SECRET
        };
        let mut room = [0; MAX_DIGEST_LEN];
        let proof = algorithm.response(identifier, secret.as_bytes(), &challenge, &mut room);
        let proof = encode_binary(proof, BinaryForm::Hex);
        let text = format!("CHAP_N=host\0CHAP_R={proof}\0");
        self.request(Stage::Proof, (0, 1, true), &text);
    }

    /// The login succeeded: a session of this port that was there before is over.
    fn enter(&mut self, pdu: &LoginResponse, keys: &Keys<'_>, seq: Seq) {
        let number = |key: &str, default: usize| {
            keys.get(key)
                .and_then(|v| v.parse().ok())
                .unwrap_or(default)
        };
        let config = &self.config;
        self.agreed = Agreed {
            header_digest: keys.get("HeaderDigest") == Some("CRC32C"),
            data_digest: keys.get("DataDigest") == Some("CRC32C"),
            initial_r2t: keys.get("InitialR2T") != Some("No"),
            immediate_data: keys.get("ImmediateData") != Some("No"),
            max_burst: number("MaxBurstLength", config.max_burst as usize),
            first_burst: number("FirstBurstLength", config.first_burst as usize),
            target_recv: number("MaxRecvDataSegmentLength", 8192),
        };
        let (exp, max) = (pdu.exp_cmd_sn, pdu.max_cmd_sn);
        if exp != self.cmd_sn {
            self.fail(
                "cmd-sn",
                format!("ExpCmdSN {exp} after a login with {}", self.cmd_sn),
            );
        }
        (self.exp_cmd_sn, self.max_cmd_sn) = (exp, max);
        self.window = max.wrapping_sub(exp).wrapping_add(1);
        if self.window < self.shared.config.queued_commands {
            self.fail(
                "cmd-sn",
                format!("a window of {} to begin with", self.window),
            );
        }
        self.note(32, 0, || "is in".into());
        self.phase = Phase::Full;
        let mut model = self.shared.model.lock();
        if let Some(old) = self.session.take() {
            model.close_session(old, seq);
        }
        self.session = Some(model.open_session(self.index, self.login.sent));
    }
}

/// Text of `key=value` pairs.
struct Keys<'a>(&'a [u8]);

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        let text = std::str::from_utf8(self.0).ok()?;
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(k, _)| *k == key).map(|(_, v)| v).next()
    }
}
