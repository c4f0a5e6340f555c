//! The metrics of SRP.

use super::exposition::{Text, Type};
use super::snapshot::Srp;

use Type::{Counter, Gauge};

pub(super) fn transport(text: &mut Text, srp: &Srp) {
    text.metric("lunforge_srp_open_channels", Gauge, "Channels of SRP.")
        .add(&[], srp.channels);
    text.metric("lunforge_srp_open_sessions", Gauge, "Sessions of SRP.")
        .add(&[], srp.sessions);
    let counters = &srp.counters;
    for (name, help, count) in [
        (
            "lunforge_srp_logins_total",
            "Logins that were accepted: channels.",
            counters.logins,
        ),
        (
            "lunforge_srp_logins_rejected_total",
            "Logins that were rejected.",
            counters.rejects,
        ),
        (
            "lunforge_srp_sessions_replaced_total",
            "Sessions that a login of the same initiator port put an end to.",
            counters.replaced,
        ),
        (
            "lunforge_srp_credit_requests_total",
            "Credit requests that were sent.",
            counters.credit_requests,
        ),
    ] {
        text.metric(name, Counter, help).add(&[], count);
    }
    text.metric(
        "lunforge_srp_channels_ended_total",
        Counter,
        "Channels that ended, by why they did.",
    )
    .add(&[("reason", "logout")], counters.logouts)
    .add(&[("reason", "lost")], counters.lost)
    .add(&[("reason", "shed")], counters.shed)
    .add(&[("reason", "stalled")], counters.stalled)
    .add(&[("reason", "violation")], counters.violations);
    text.metric(
        "lunforge_srp_logins_given_up_total",
        Counter,
        "Logins that nobody could answer any more.",
    )
    .add(&[], counters.given_up);
}
