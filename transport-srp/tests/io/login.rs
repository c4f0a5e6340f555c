//! Logins: what is agreed on, and what is rejected for which reason.

use std::time::Duration;

use lunforge_srp::PortId;
use lunforge_srp::fabric::memory::{Answer, request};
use lunforge_srp::io::{ChannelInfo, Limits};
use lunforge_srp::proto::iu::LoginRequest;
use lunforge_srp::proto::iu::login::{
    LoginForm, LoginReject, LoginResponse, MultiChannelAction, MultiChannelResult, RejectReason,
};
use lunforge_srp::testing::{connect, login};

use crate::bed::{Bed, Recipe, TARGET, disk, initiator};

fn multi(n: u8) -> LoginRequest {
    LoginRequest {
        action: MultiChannelAction::Multi,
        ..login(initiator(n), TARGET)
    }
}

#[test]
fn both_forms_of_a_login_open_a_session_under_the_name_of_the_initiator_port() {
    for form in [LoginForm::Ib, LoginForm::Rdma] {
        let mut bed = Bed::new();
        let (request, mut channel) = connect(&login(initiator(1), TARGET), form, "192.0.2.7");
        bed.network.connect(request);
        bed.poll();
        channel.pump();
        let terms = channel.terms.unwrap().unwrap();
        assert_eq!((terms.request_limit_delta, terms.max_it_iu_len), (8, 8276));
        assert_eq!(terms.result, MultiChannelResult::NoChannel);
        assert!(terms.immediate && terms.solicited);
        let sessions = bed.srp.sessions_list();
        let [session] = &sessions[..] else {
            panic!("{sessions:?}")
        };
        assert_eq!((session.initiator, session.port), (initiator(1), TARGET));
        let told = ChannelInfo {
            request_limit: 8,
            request_limit_owed: 0,
            ending: false,
        };
        assert_eq!(session.peer, "192.0.2.7");
        assert_eq!(session.channels, [told]);
        assert_eq!(session.nexus.initiator, initiator(1).transport_id());
        assert_eq!(session.nexus.name(), "192.0.2.7");
        drop(channel);
        bed.assert_empty();
    }
}

#[test]
fn each_login_that_cannot_be_is_rejected_with_its_reason() {
    let mut bed = Bed::new();
    let good = login(initiator(1), TARGET);
    let with = |change: fn(&mut LoginRequest)| {
        let mut login = good;
        change(&mut login);
        login
    };
    let cases = [
        (with(|l| l.req_it_iu_len = 8277), RejectReason::IuLength),
        (with(|l| l.req_it_iu_len = 63), RejectReason::IuLength),
        (
            with(|l| l.buffer_formats = 1),
            RejectReason::DescriptorFormat,
        ),
        (
            with(|l| l.target = PortId([8; 16])),
            RejectReason::Association,
        ),
        (
            with(|l| l.action = MultiChannelAction::Reserved(3)),
            RejectReason::Association,
        ),
    ];
    for (login, reason) in cases {
        let reject = bed.try_login(&login).unwrap_err();
        assert_eq!((reject.tag, reject.reason), (login.tag, reason));
    }
    assert_eq!(bed.srp.counters().rejects, 5);
    bed.assert_empty();
}

/// A connection manager's event with nothing in it.
#[test]
fn n58_a_request_without_private_data_or_with_too_little_is_rejected() {
    let mut bed = Bed::new();
    for len in [0, 1, 55, 63] {
        for form in [LoginForm::Ib, LoginForm::Rdma] {
            let (request, initiator) = request(form, &vec![0; len], "");
            bed.network.connect(request);
            bed.poll();
            let Answer::Rejected(answer) = initiator.answer() else {
                panic!("{:?}", initiator.answer())
            };
            let reason = LoginReject::parse(&answer).unwrap().reason;
            // 63 bytes are a login of RDMA/CM for a target port of zeros.
            let expected = match (form, len) {
                (LoginForm::Rdma, 63) => RejectReason::IuLength,
                _ => RejectReason::Unspecified,
            };
            assert_eq!(reason, expected);
        }
    }
    bed.assert_empty();
}

#[test]
fn there_is_a_bound_for_channels_and_one_for_sessions() {
    let recipe = Recipe {
        limits: Limits {
            requests: 2,
            channels_per_session: 2,
            sessions_per_target: 2,
            ..Limits::default()
        },
        ..Recipe::default()
    };
    let mut bed = recipe.serve(disk());
    let _kept = [bed.join(1), bed.join(1), bed.join(2)];
    let reject = bed.try_login(&multi(1)).unwrap_err();
    assert_eq!(reject.reason, RejectReason::ChannelLimit);
    let reject = bed.try_login(&multi(3)).unwrap_err();
    assert_eq!(reject.reason, RejectReason::InsufficientResources);
}

#[test]
fn logins_take_half_of_the_buffers_at_most_and_the_rest_is_for_data() {
    let recipe = Recipe::with_memory(400 << 10);
    let mut bed = recipe.serve(disk());
    let mut first = bed.login(1);
    let reject = bed.try_login(&multi(2)).unwrap_err();
    assert_eq!(reject.reason, RejectReason::InsufficientResources);
    assert_eq!(bed.srp.sessions(), 1);
    assert_eq!(bed.read(&mut first, 0, 65_536).status, 0);
    drop(first);
    bed.poll();
    assert!(bed.try_login(&multi(2)).is_ok());
    bed.assert_empty();
}

#[test]
fn an_initiator_that_has_gone_away_before_it_is_accepted_leaves_nothing() {
    let mut bed = Bed::new();
    let (request, channel) = connect(&multi(1), LoginForm::Rdma, "192.0.2.1");
    channel.wire.withdraw();
    bed.network.connect(request);
    bed.poll();
    assert_eq!(bed.srp.counters().given_up, 1);
    bed.assert_empty();
}

/// The first information unit may come before the event that says that the connection is there, and that event late.
#[test]
fn n58_what_comes_before_the_connection_is_established_is_served() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    channel.wire.establish();
    channel.wire.establish();
    assert_eq!(bed.command(&mut channel, &[0; 6]).status, 0);
    channel.wire.disconnect();
    channel.wire.establish();
    bed.assert_empty();
}

/// After the stop nothing listens any more, and what had come before is answered.
#[test]
fn n58_requests_that_come_when_the_engine_stops_are_not_served() {
    let mut bed = Bed::new();
    let (before, initiator_before) = connect(&multi(1), LoginForm::Rdma, "192.0.2.1");
    let network = bed.network.clone();
    assert!(bed.stop());
    assert!(!network.connect(before));
    let (late, initiator_late) = connect(&multi(2), LoginForm::Rdma, "192.0.2.1");
    bed.srp.serve(late);
    drop(bed);
    assert_eq!(initiator_before.wire.answer(), Answer::Waiting);
    assert!(!matches!(initiator_late.wire.answer(), Answer::Accepted(_)));
}

#[test]
fn a_stop_logs_initiators_out_and_takes_what_waits_with_it() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    assert!(bed.stop());
    channel.pump();
    assert!(channel.logout.is_some() && channel.wire.is_forgotten());
}

#[test]
fn a_target_is_removed_with_its_sessions_and_may_come_back() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    let closing = bed.srp.remove_target(TARGET).unwrap();
    assert!(!closing.is_done());
    bed.poll();
    assert!(closing.wait(Duration::ZERO));
    channel.pump();
    assert!(channel.logout.is_some());
    bed.assert_empty();
    let reject = bed.try_login(&multi(1)).unwrap_err();
    assert_eq!(reject.reason, RejectReason::Association);
    assert!(bed.srp.remove_target(TARGET).is_err());
    let target = std::sync::Arc::clone(&bed.target);
    bed.srp.add_target(TARGET, target).unwrap();
    bed.login(1);
}

#[test]
fn a_session_is_closed_on_demand_and_a_port_is_given_once() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    let id = bed.srp.sessions_list()[0].id;
    let closing = bed.srp.close_session(id).unwrap();
    bed.poll();
    assert!(closing.is_done());
    channel.pump();
    assert!(channel.logout.is_some());
    assert!(bed.srp.close_session(id).is_err());
    let target = std::sync::Arc::clone(&bed.target);
    assert!(bed.srp.add_target(TARGET, target).is_err());
}

#[test]
fn an_initiator_with_many_processors_leaves_room_for_another_one() {
    let recipe = Recipe {
        shard: lunforge_core::shard::Limits {
            buffer_bytes: 64 << 20,
            ..Default::default()
        },
        limits: Limits::default(),
        ..Recipe::default()
    };
    let mut bed = recipe.serve(disk());
    let depth = |answer: Result<LoginResponse, LoginReject>| answer.unwrap().request_limit_delta;
    let mut many: Vec<_> = (0..24).map(|_| bed.connect(&multi(1))).collect();
    let depths: Vec<u32> = many
        .iter()
        .map(|channel| depth(channel.terms.unwrap()))
        .collect();
    assert!(
        depths.is_sorted_by(|a, b| a >= b) && depths.iter().all(|depth| *depth >= 16),
        "{depths:?}"
    );
    assert!(depths[0] > 50, "{depths:?}");
    // A few of another one.
    let others: Vec<_> = (0..8).map(|_| bed.connect(&multi(2))).collect();
    assert!(
        others
            .iter()
            .all(|channel| depth(channel.terms.unwrap()) >= 16)
    );
    // What the answer says is what may be sent.
    assert_eq!(bed.command(&mut many[23], &[0; 6]).asc(), Some((0x29, 0)));
    assert_eq!(bed.command(&mut many[23], &[0; 6]).status, 0);
}
