//! The metrics of the transport and its recorder.

use lunforge::iscsi::proto::login::LoginStatus;
use lunforge::iscsi::record::RecorderStatistics;

use super::exposition::{Text, Type};
use super::snapshot::Transport;

use Type::{Counter, Gauge};

/// Counters that are metrics of their own, by the transport's name for them.
const OWN: [(&str, &str, &str); 5] = [
    (
        "connections",
        "lunforge_iscsi_connections_total",
        "Connections that were taken.",
    ),
    (
        "logins",
        "lunforge_iscsi_logins_total",
        "Logins that succeeded.",
    ),
    (
        "reinstatements",
        "lunforge_iscsi_session_reinstatements_total",
        "Sessions that a login of the same port put an end to.",
    ),
    (
        "continuations",
        "lunforge_iscsi_session_continuations_total",
        "Sessions that went on with another connection.",
    ),
    (
        "rejects",
        "lunforge_iscsi_rejects_total",
        "Reject PDUs that were sent.",
    ),
];

pub(super) fn transport(text: &mut Text, transport: &Transport) {
    text.metric("lunforge_iscsi_open_connections", Gauge, "Connections.")
        .add(&[], transport.connections);
    text.metric("lunforge_iscsi_open_sessions", Gauge, "Normal sessions.")
        .add(&[], transport.sessions);
    let counters = transport.counters.each();
    for (of, name, help) in OWN {
        let count = counters.iter().find(|(counter, _)| *counter == of);
        let count = count.map_or(0, |(_, count)| *count);
        text.metric(name, Counter, help).add(&[], count);
    }
    let mut refused = text.metric(
        "lunforge_iscsi_logins_refused_total",
        Counter,
        "Logins that were refused, by the status that told so.",
    );
    for &(status, count) in &transport.refusals {
        let code = format!("{:04x}", status.code());
        refused.add(&[("status", &code), ("reason", reason(status))], count);
    }
    let mut events = text.metric(
        "lunforge_iscsi_events_total",
        Counter,
        "What else happened at the portals and what the limits of the transport did.",
    );
    let own = |name: &str| OWN.iter().any(|(of, ..)| *of == name);
    for (event, count) in counters.iter().filter(|(name, _)| !own(name)) {
        events.add(&[("event", event)], count);
    }
    if let Some(recorder) = &transport.recorder {
        self::recorder(text, recorder);
    }
}

fn recorder(text: &mut Text, recorder: &RecorderStatistics) {
    text.metric(
        "lunforge_recorder_recordings_total",
        Counter,
        "Recordings: written, failed, or left out because there were too many.",
    )
    .add(&[("result", "written")], recorder.written)
    .add(&[("result", "failed")], recorder.failed)
    .add(&[("result", "left_out")], recorder.left_out);
    text.metric(
        "lunforge_recorder_cut_total",
        Counter,
        "Connections of which less is kept than was asked for (shortened), or nothing (unrecorded).",
    )
    .add(&[("kept", "shortened")], recorder.shortened)
    .add(&[("kept", "unrecorded")], recorder.unrecorded);
}

/// RFC 7143 11.13.5 in short.
fn reason(status: LoginStatus) -> &'static str {
    match status {
        LoginStatus::Success => "success",
        LoginStatus::TargetMovedTemporarily => "target moved temporarily",
        LoginStatus::TargetMovedPermanently => "target moved permanently",
        LoginStatus::InitiatorError => "initiator error",
        LoginStatus::AuthenticationFailure => "authentication failure",
        LoginStatus::AuthorizationFailure => "authorization failure",
        LoginStatus::NotFound => "not found",
        LoginStatus::TargetRemoved => "target removed",
        LoginStatus::UnsupportedVersion => "unsupported version",
        LoginStatus::TooManyConnections => "too many connections",
        LoginStatus::MissingParameter => "missing parameter",
        LoginStatus::CannotIncludeInSession => "can't include in session",
        LoginStatus::SessionTypeNotSupported => "session type not supported",
        LoginStatus::SessionDoesNotExist => "session does not exist",
        LoginStatus::InvalidDuringLogin => "invalid during login",
        LoginStatus::TargetError => "target error",
        LoginStatus::ServiceUnavailable => "service unavailable",
        LoginStatus::OutOfResources => "out of resources",
    }
}
