use super::*;
use crate::proto::chap::tests::{Broken, Counting, SECRET, config, response};
use crate::proto::chap::{
    BinaryForm, ChapAlgorithm, ChapConfig, Random, decode_binary, encode_binary,
};
use crate::proto::keys::{Digest, DigestChoice};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

mod authentication;
mod initiators;
mod names;
mod negative;

const INITIATOR: &str = "iqn.1993-08.org.debian:01:abc";
const TARGET: &str = "iqn.2026-11.org.example:disk";

/// A site with one target and settable answers.
struct Site {
    admission: Admission,
    auth: AuthConfig,
    forbidden: bool,
    params: TargetParams,
    session: SessionLookup,
    tsih: Option<NonZeroU16>,
    failures: AtomicU32,
    last_failed: Mutex<String>,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            admission: Admission::Accept,
            auth: AuthConfig::None,
            forbidden: false,
            params: TargetParams::default(),
            session: SessionLookup::Unknown,
            tsih: NonZeroU16::new(7),
            failures: AtomicU32::new(0),
            last_failed: Mutex::default(),
        }
    }
}

impl LoginPolicy for Site {
    fn admission(&self) -> Admission {
        self.admission
    }

    fn target(&self, _: &str, target: &str) -> TargetLookup {
        match target {
            TARGET => TargetLookup::Found(Box::new(TargetLogin {
                params: self.params.clone(),
                auth: self.auth.clone(),
                refusal: self.forbidden.then_some(LoginFailure::Forbidden),
                portal_group_tag: 1,
                alias: Some("Disk".into()),
            })),
            "hidden" => TargetLookup::Found(Box::new(TargetLogin {
                auth: AuthConfig::Chap(Arc::new(ChapConfig::decoy())),
                portal_group_tag: 1,
                ..TargetLogin::default()
            })),
            "forbidden" => TargetLookup::Forbidden,
            "moved" => TargetLookup::Moved {
                address: "192.0.2.7:3260".into(),
                permanent: false,
            },
            "gone" => TargetLookup::Moved {
                address: "[2001:db8::7]:3260,2".into(),
                permanent: true,
            },
            "removed" => TargetLookup::Refused(LoginStatus::TargetRemoved),
            "offline" => TargetLookup::Refused(LoginStatus::ServiceUnavailable),
            _ => TargetLookup::NotFound,
        }
    }

    fn discovery_auth(&self, _: &str) -> AuthConfig {
        self.auth.clone()
    }

    fn session(&self, _: &SessionQuery<'_>) -> SessionLookup {
        self.session
    }

    fn new_tsih(&self) -> Option<NonZeroU16> {
        self.tsih
    }

    fn login_failed(&self, initiator: &str, failure: &LoginFailure) {
        if failure.is_authentication() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        initiator.clone_into(&mut self.last_failed.lock().unwrap());
    }
}

fn chap(mutual: bool) -> Site {
    Site {
        auth: AuthConfig::Chap(Arc::new(config(mutual))),
        ..Site::default()
    }
}

/// The initiator's end of one login.
struct Wire {
    machine: Option<Box<LoginMachine>>,
    template: LoginRequest<'static>,
    done: Option<LoggedIn>,
    failure: Option<LoginFailure>,
}

/// Flags of a request, as a person writes them: `0->1` asks for a transition, `0` stays.
fn stages(text: &str) -> (u8, u8, bool) {
    match text.split_once("->") {
        Some((csg, nsg)) => (csg.parse().unwrap(), nsg.parse().unwrap(), true),
        None => (text.parse().unwrap(), 0, false),
    }
}

fn segment(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .flat_map(|pair| [pair.as_bytes(), b"\0"].concat())
        .collect()
}

impl Wire {
    fn new(site: Site) -> Self {
        Self::with(Arc::new(site), Box::new(Counting(0)))
    }

    fn with(site: Arc<Site>, random: Box<dyn Random + Send>) -> Self {
        let template = LoginRequest {
            isid: [0x40, 0, 1, 0x37, 0, 0],
            cmd_sn: 1,
            itt: 5,
            ..LoginRequest::default()
        };
        Self {
            machine: Some(Box::new(LoginMachine::new(site, random))),
            template,
            done: None,
            failure: None,
        }
    }

    fn raw(&mut self, request: &LoginRequest<'_>) -> LoginReply {
        let step = self
            .machine
            .take()
            .expect("login has ended")
            .handle(request);
        match step.next {
            LoginNext::Continue(machine) => self.machine = Some(machine),
            LoginNext::Done(done) => self.done = Some(*done),
            LoginNext::Failed { failure, .. } => self.failure = Some(failure),
        }
        assert!(step.reply.data.len() <= 8192);
        step.reply
    }

    fn reply(&mut self, flags: &str, text: &str) -> LoginReply {
        let (csg, nsg, transit) = stages(flags);
        let data = segment(text);
        let reply = self.raw(&LoginRequest {
            csg,
            nsg,
            transit,
            data: &data,
            ..self.template
        });
        assert_eq!(reply.csg, csg);
        reply
    }

    /// Sends a request and gives `stages status text` of the reply.
    fn send(&mut self, flags: &str, text: &str) -> String {
        let reply = self.reply(flags, text);
        let stages = if reply.transit {
            format!("{}->{}", reply.csg, reply.nsg)
        } else {
            reply.csg.to_string()
        };
        let text = String::from_utf8(reply.data).unwrap().replace('\0', " ");
        format!("{stages} {:04x} {text}", reply.status.code())
            .trim_end()
            .to_owned()
    }
}

fn names() -> String {
    format!("InitiatorName={INITIATOR} SessionType=Normal TargetName={TARGET}")
}

/// The value of `key` in a reply as [`Wire::send`] gives it.
fn value<'a>(reply: &'a str, key: &str) -> &'a str {
    let prefix = format!("{key}=");
    reply
        .split(' ')
        .find_map(|pair| pair.strip_prefix(&prefix))
        .unwrap_or_else(|| panic!("no {key} in {reply}"))
}

/// CHAP_N and CHAP_R for the challenge in `reply`.
fn prove(
    reply: &str,
    algorithm: ChapAlgorithm,
    user: &str,
    secret: &str,
    form: BinaryForm,
) -> String {
    let challenge = decode_binary(value(reply, "CHAP_C"), 1024).unwrap().0;
    let identifier = value(reply, "CHAP_I").parse().unwrap();
    let digest = response(algorithm, identifier, secret, &challenge);
    format!("CHAP_N={user} CHAP_R={}", encode_binary(&digest, form))
}
