//! Entry functions for fuzzers and property tests.
//!
//! Each takes arbitrary bytes, must return, and asserts what has to hold for any input.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::chap::{
    ChapAccount, ChapAlgorithm, ChapConfig, MAX_DIGEST_LEN, Random, RandomError, decode_binary,
    encode_binary,
};
use super::discovery::{DiscoveredTarget, DiscoveryOptions, DiscoveryScope, send_targets};
use super::keys::{DigestChoice, Negotiation, Stage, TargetParams, full_feature};
use super::login::{
    AuthConfig, LoggedIn, LoginMachine, LoginNext, LoginPolicy, LoginRequest, LoginStatus,
    LoginStep, SessionLookup, SessionQuery, TargetLogin, TargetLookup,
};
use super::text::{
    MAX_BINARY_VALUE_LEN, MAX_KEY_LEN, MAX_LOGIN_TEXT, MAX_PAIRS, MAX_TEXT, Pair, TextWriter, parse,
};

/// Parses the bytes as a text segment, decodes each value, negotiates with it and answers it as a full-feature text
/// request.
///
/// # Panics
/// If a bound of the text layer does not hold.
pub fn fuzz_text_keys(bytes: &[u8]) {
    let Ok(pairs) = parse(bytes) else { return };
    assert!(pairs.len() <= MAX_PAIRS);
    for pair in &pairs {
        assert!(pair.key.len() <= MAX_KEY_LEN && pair.value.len() <= MAX_BINARY_VALUE_LEN);
        if let Some((decoded, _)) = decode_binary(pair.value, 64) {
            assert!(decoded.len() <= 64);
        }
    }
    negotiate(&pairs, TargetParams::default());
    let mut ours = TargetParams::default();
    for pair in &pairs {
        if ours.set(pair.key, pair.value).is_ok() {
            assert!(ours.value(pair.key).is_some());
        }
    }
    if ours.validate().is_ok() {
        negotiate(&pairs, ours);
    }
    let Ok(mut text) = full_feature(&pairs, MAX_TEXT) else {
        return;
    };
    if let Some(request) = text.send_targets {
        let visible = [DiscoveredTarget {
            name: "iqn.x:t".to_owned(),
            portals: vec![(([192, 0, 2, 1], 3260).into(), 1)],
        }];
        let scope = DiscoveryScope::Discovery;
        let _ = send_targets(
            request,
            scope,
            &visible,
            DiscoveryOptions::default(),
            &mut text.out,
        );
    }
    assert!(text.out.finish().len() <= MAX_TEXT);
}

/// An operational negotiation of two requests, the keys halved between them.
fn negotiate(pairs: &[Pair<'_>], ours: TargetParams) {
    for discovery in [false, true] {
        let mut negotiation = Negotiation::new(ours.clone(), discovery);
        let (first, second) = pairs.split_at(pairs.len() / 2);
        let mut replies = [0; 2].map(|_| TextWriter::new(MAX_LOGIN_TEXT));
        let mut answer = || {
            for (pairs, reply) in [first, second].into_iter().zip(&mut replies) {
                for pair in pairs {
                    negotiation.admit(Stage::Operational, pair.key)?;
                }
                negotiation.answer(pairs, reply)?;
                negotiation.declare(reply)?;
            }
            let [_, last] = &mut replies;
            negotiation.offer_missing(last)
        };
        if answer().is_err() {
            continue;
        }
        for reply in replies {
            let bytes = reply.finish();
            assert!(bytes.len() <= MAX_LOGIN_TEXT && parse(&bytes).is_ok());
        }
        let Ok(agreed) = negotiation.finish() else {
            continue;
        };
        assert!(agreed.first_burst_length <= agreed.max_burst_length);
        assert!((512..1 << 24).contains(&agreed.max_burst_length));
        assert!((512..1 << 24).contains(&agreed.max_xmit) && agreed.max_outstanding_r2t >= 1);
    }
}

/// Reads the bytes as a sequence of login requests and runs them through one login.
///
/// Byte 0 chooses the target's configuration. Each request is a byte of flags and stages, a byte for the less
/// usual header fields, two bytes of text length (little-endian) and the text. A request that asks for it gets
/// the right CHAP response to the last challenge put before its text, so that the stages after it are reached.
///
/// # Panics
/// If a login without proof succeeds under CHAP, or a reply breaks a rule of RFC 7143 §11.13.
pub fn fuzz_login(bytes: &[u8]) {
    run_login(bytes);
}

/// Runs the login, and gives its result if it reaches the full feature phase.
pub(crate) fn run_login(bytes: &[u8]) -> Option<LoggedIn> {
    let (&choice, mut rest) = bytes.split_first()?;
    let policy = Arc::new(FuzzPolicy {
        chap: choice & 1 != 0,
        strict: choice & 2 != 0,
        mutual: choice & 4 != 0,
    });
    let random = Box::new(FuzzRandom(u64::from(choice)));
    let mut machine = Box::new(LoginMachine::new(policy.clone(), random));
    let (mut last_reply, mut proved) = (Vec::new(), false);
    while let Some((mut request, prove, left)) = next_request(rest) {
        rest = left;
        let mut text = proof(&last_reply).filter(|_| prove).unwrap_or_default();
        proved |= !text.is_empty();
        text.extend_from_slice(request.data);
        request.data = &text;
        let LoginStep { reply, next } = machine.handle(&request);
        assert!(reply.data.len() <= MAX_LOGIN_TEXT && !reply.cont);
        assert!(!reply.transit || (request.transit && reply.nsg == request.nsg));
        match next {
            LoginNext::Continue(again) => {
                assert_eq!(reply.status, LoginStatus::Success);
                machine = again;
                last_reply = reply.data;
            }
            LoginNext::Failed { failure, .. } => {
                assert_ne!(reply.status, LoginStatus::Success);
                assert_eq!(reply.status, failure.status());
                return None;
            }
            LoginNext::Done(done) => {
                assert!(
                    reply.transit && reply.nsg == 3 && reply.tsih == done.tsih && done.tsih != 0
                );
                assert!(!policy.chap || (proved && done.auth_user.as_deref() == Some("fuzz")));
                assert!(done.params.first_burst_length <= done.params.max_burst_length);
                assert!((512..=1_048_576).contains(&done.params.max_xmit));
                assert!(
                    done.params.max_burst_length >= 512 && done.params.max_outstanding_r2t >= 1
                );
                return Some(*done);
            }
        }
    }
    None
}

fn next_request(bytes: &[u8]) -> Option<(LoginRequest<'_>, bool, &[u8])> {
    let (&[flags, rare, low, high], rest) = bytes.split_first_chunk()?;
    let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
    let (data, rest) = rest.split_at_checked(len)?;
    let request = LoginRequest {
        transit: flags & 0x80 != 0,
        cont: flags & 0x40 != 0,
        csg: (flags >> 2) & 3,
        nsg: flags & 3,
        version_min: u8::from(rare == 0xff),
        tsih: u16::from(rare == 0xfe),
        cid: u16::from(rare == 0xfd),
        data,
        ..LoginRequest::default()
    };
    Some((request, rare == 0xfc, rest))
}

/// CHAP_N and CHAP_R for the challenge in a reply.
fn proof(reply: &[u8]) -> Option<Vec<u8>> {
    let pairs = parse(reply).ok()?;
    let value = |key: &str| {
        pairs
            .iter()
            .find(|pair| pair.key == key)
            .map(|pair| pair.value)
    };
    let algorithm = ChapAlgorithm::from_text(value("CHAP_A")?)?;
    let identifier = value("CHAP_I")?.parse().ok()?;
    let (challenge, form) = decode_binary(value("CHAP_C")?, MAX_DIGEST_LEN)?;
    let mut out = [0; MAX_DIGEST_LEN];
    let digest = algorithm.response(identifier, FUZZ_SECRET.as_bytes(), &challenge, &mut out);
    Some(format!("CHAP_N=fuzz\0CHAP_R={}\0", encode_binary(digest, form)).into_bytes())
}

/// The secret of the fuzzed target's only account, `fuzz`.
const FUZZ_SECRET: &str = "fuzz secret of 24 bytes.";

struct FuzzPolicy {
    chap: bool,
    strict: bool,
    mutual: bool,
}

impl FuzzPolicy {
    fn auth(&self) -> AuthConfig {
        let account = ChapAccount::new("fuzz", FUZZ_SECRET)
            .ok()
            .filter(|_| self.chap);
        let outgoing = ChapAccount::new("target", "another secret, 24 bytes").ok();
        let outgoing = outgoing.filter(|_| self.mutual);
        let config = account.and_then(|account| ChapConfig::new(vec![account], outgoing).ok());
        match config {
            Some(config) => AuthConfig::Chap(Arc::new(config)),
            None if self.chap => AuthConfig::Chap(Arc::new(ChapConfig::decoy())),
            None => AuthConfig::None,
        }
    }
}

impl LoginPolicy for FuzzPolicy {
    fn target(&self, _: &str, target: &str) -> TargetLookup {
        match target {
            "forbidden" => TargetLookup::Forbidden,
            "moved" => TargetLookup::Moved {
                address: "192.0.2.1:3260".to_owned(),
                permanent: self.strict,
            },
            "t" => {
                let mut params = TargetParams::default();
                if self.strict {
                    params.immediate_data = false;
                    params.max_burst_length = 65_536;
                    params.header_digest = DigestChoice::CRC32C;
                }
                TargetLookup::Found(Box::new(TargetLogin {
                    params,
                    auth: self.auth(),
                    ..TargetLogin::default()
                }))
            }
            _ => TargetLookup::NotFound,
        }
    }

    fn discovery_auth(&self, _: &str) -> AuthConfig {
        self.auth()
    }

    fn session(&self, _: &SessionQuery<'_>) -> SessionLookup {
        SessionLookup::Unknown
    }

    fn new_tsih(&self) -> Option<NonZeroU16> {
        NonZeroU16::new(1)
    }
}

/// Distinct bytes that a fuzzer can reproduce.
struct FuzzRandom(u64);

impl Random for FuzzRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        for byte in bytes {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let [.., high] = self.0.to_le_bytes();
            *byte = high;
        }
        Ok(())
    }
}
