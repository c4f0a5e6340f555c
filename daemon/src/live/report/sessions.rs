//! Sessions of both transports.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lunforge::core::nexus::{Nexus, NexusId};
use lunforge::iscsi::io::SessionInfo;
use lunforge::srp::io as srp;

use super::super::failure::{failure, missing};
use super::super::registry::Registry;
use super::super::srp::SRP;
use super::super::target::{ISCSI, Target};
use crate::control::report;
use crate::manage::Failure;
use crate::metrics;

/// How long sessions that are closed are waited for: two seconds at most, by themselves.
const CLOSED: Duration = Duration::from_secs(5);

/// How many sessions targets have.
pub(super) struct Counts(HashMap<(&'static str, String), u64>);

impl Counts {
    pub(super) fn of(&self, target: &Target) -> u64 {
        let driver = if target.driver == SRP { SRP } else { ISCSI };
        let key = (driver, target.name.to_ascii_lowercase());
        self.0.get(&key).copied().unwrap_or(0)
    }
}

impl Registry {
    pub(super) fn session_counts(&self) -> Counts {
        let iscsi = self.iscsi.sessions_list().into_iter();
        let iscsi = iscsi.map(|session| (ISCSI, session.target));
        let srp = self.srp.attached.sessions_list().into_iter();
        let srp = srp.map(|session| (SRP, session.target));
        let mut counts = HashMap::new();
        for (driver, target) in iscsi.chain(srp) {
            let key = (driver, target.to_ascii_lowercase());
            *counts.entry(key).or_insert(0) += 1;
        }
        Counts(counts)
    }

    /// Those of iSCSI, then those of SRP; the oldest first.
    pub(super) fn all_sessions(&self) -> Vec<report::Session> {
        let active = self.active_commands();
        let iscsi = self.iscsi.sessions_list();
        let iscsi = iscsi.iter().map(|session| by_iscsi(session, &active));
        let srp = self.srp.attached.sessions_list();
        let srp = srp.iter().map(|session| by_srp(session, &active));
        let mut sessions: Vec<_> = iscsi.chain(srp).collect();
        number(&mut sessions);
        sessions
    }

    /// Commands that sessions have under way; one whose shard does not answer seems to have none.
    fn active_commands(&self) -> BTreeMap<NexusId, u64> {
        let answers = metrics::ask_all(&self.shards, |cx| cx.commands_of_sessions());
        answers.into_iter().flatten().flatten().collect()
    }

    /// Addresses at which targets of a driver are found.
    pub(super) fn portals(&self, driver: &str) -> Vec<String> {
        match driver {
            ISCSI => self
                .iscsi
                .portals()
                .iter()
                .map(ToString::to_string)
                .collect(),
            SRP => self.srp.addresses(),
            _ => Vec::new(),
        }
    }

    /// Ends a session of a target, or all of them.
    pub(super) fn close(&self, target: &Target, id: Option<u64>) -> Result<(), Failure> {
        let closed = match target.srp_port() {
            Some(port) => {
                let srp = &self.srp.attached;
                let closing = match id {
                    None => srp.close_sessions(port),
                    Some(id) => {
                        let sessions = srp.sessions_list();
                        let mut of_it = sessions.iter().filter(|session| session.port == port);
                        let found = of_it.find(|session| session.id.0 == id);
                        let found = found.ok_or_else(|| no_session(target, id))?;
                        srp.close_session(found.id).map_err(failure)?
                    }
                };
                closing.wait(CLOSED)
            }
            None => self.close_by_iscsi(target, id)?,
        };
        let stuck = || failure("the sessions do not end yet");
        closed.then_some(()).ok_or_else(stuck)
    }

    fn close_by_iscsi(&self, target: &Target, id: Option<u64>) -> Result<bool, Failure> {
        let closing = match id {
            None => self.iscsi.close_sessions(&target.name),
            Some(id) => {
                let session = lunforge::iscsi::io::SessionId(id);
                let of_it = self.iscsi.session(session);
                let of_it = of_it.filter(|s| s.target.eq_ignore_ascii_case(&target.name));
                of_it.ok_or_else(|| no_session(target, id))?;
                self.iscsi.close_session(session)
            }
        };
        Ok(closing.map_err(failure)?.wait(CLOSED))
    }
}

fn no_session(target: &Target, id: u64) -> Failure {
    missing(format_args!("session {id} of {}", target.name))
}

/// SCST tells further sessions of an initiator apart by a number.
fn number(sessions: &mut [report::Session]) {
    let mut names: HashMap<_, u32> = HashMap::new();
    for session in sessions {
        let target = session.target.to_ascii_lowercase();
        let key = (session.driver.clone(), target, session.initiator.clone());
        let count = names.entry(key).or_insert(0);
        session.name = match *count {
            0 => session.initiator.clone(),
            n => format!("{}_{n}", session.initiator),
        };
        *count += 1;
    }
}

/// What is told of a session whatever its transport.
fn of_nexus(nexus: &Nexus, active: &BTreeMap<NexusId, u64>) -> report::Session {
    let stats = &nexus.stats;
    let commands = [
        &stats.none_commands,
        &stats.read_commands,
        &stats.write_commands,
    ];
    report::Session {
        target: nexus.target.name().to_owned(),
        group: nexus.group(),
        active_commands: active.get(&nexus.id).copied().unwrap_or(0),
        commands: commands.iter().map(|counter| counter.value()).sum(),
        read_bytes: stats.read_bytes.value(),
        write_bytes: stats.write_bytes.value(),
        ..report::Session::default()
    }
}

fn by_iscsi(session: &SessionInfo, active: &BTreeMap<NexusId, u64>) -> report::Session {
    report::Session {
        id: session.id.0,
        driver: ISCSI.to_owned(),
        initiator: session.initiator.clone(),
        peer: session.ends.peer.to_string(),
        portal: session.ends.local.to_string(),
        age: session.since.elapsed().as_secs(),
        parameters: parameters(session),
        ..of_nexus(&session.nexus, active)
    }
}

fn by_srp(session: &srp::SessionInfo, active: &BTreeMap<NexusId, u64>) -> report::Session {
    report::Session {
        id: session.id.0,
        driver: SRP.to_owned(),
        initiator: session.nexus.name().to_owned(),
        peer: session.peer.clone(),
        portal: session.local.clone(),
        age: session.since.elapsed().as_secs(),
        parameters: srp_parameters(session),
        ..of_nexus(&session.nexus, active)
    }
}

/// What SCST tells of a session, which there is one channel, and what it does not.
fn srp_parameters(session: &srp::SessionInfo) -> Vec<(String, String)> {
    let sum: u32 = session
        .channels
        .iter()
        .map(|channel| channel.request_limit)
        .sum();
    let free: u32 = session
        .channels
        .iter()
        .map(|channel| channel.request_limit_owed)
        .sum();
    let live = session.channels.iter().any(|channel| !channel.ending);
    let pairs = [
        (
            "ch_state",
            if live { "live" } else { "disconnecting" }.to_owned(),
        ),
        ("channels", session.channels.len().to_string()),
        ("comp_vector", "0".to_owned()),
        ("initiator_port_id", session.initiator.to_string()),
        ("req_lim", sum.to_string()),
        ("req_lim_delta", free.to_string()),
        ("target_port_id", session.port.to_string()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

fn parameters(session: &SessionInfo) -> Vec<(String, String)> {
    let params = &session.params;
    let yes = |on: bool| if on { "Yes" } else { "No" }.to_owned();
    let pairs = [
        ("HeaderDigest", params.header_digest.text().to_owned()),
        ("DataDigest", params.data_digest.text().to_owned()),
        ("InitialR2T", yes(params.initial_r2t)),
        ("ImmediateData", yes(params.immediate_data)),
        ("MaxBurstLength", params.max_burst_length.to_string()),
        ("FirstBurstLength", params.first_burst_length.to_string()),
        (
            "MaxRecvDataSegmentLength",
            params.max_recv_data_segment_length.to_string(),
        ),
        ("MaxXmitDataSegmentLength", params.max_xmit.to_string()),
        ("MaxOutstandingR2T", params.max_outstanding_r2t.to_string()),
    ];
    let pairs = pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    pairs.collect()
}
