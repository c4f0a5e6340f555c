//! Which target a login is for, whether it is let in, and which LUNs its session sees.

use std::sync::Arc;
use std::time::Duration;

use lunforge_core::Target;
use lunforge_srp::PortId;
use lunforge_srp::io::Arrival;
use lunforge_srp::proto::iu::LoginRequest;
use lunforge_srp::proto::iu::login::{LoginForm, MultiChannelAction, RejectReason};
use lunforge_srp::testing::{Channel, connect, login};

use crate::bed::{Bed, Recipe, TARGET, disk, initiator};

#[test]
fn a_target_that_is_not_enabled_has_no_resources_for_anybody_and_loses_its_sessions() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    let closing = bed.srp.set_enabled(TARGET, false).unwrap();
    bed.poll();
    assert!(closing.is_done());
    channel.pump();
    assert!(channel.logout.is_some());
    let reject = bed.try_login(&login(initiator(1), TARGET)).unwrap_err();
    assert_eq!(reject.reason, RejectReason::InsufficientResources);
    assert!(bed.srp.set_enabled(TARGET, true).unwrap().is_done());
    bed.login(1);
    assert!(bed.srp.set_enabled(PortId([8; 16]), true).is_err());
}

#[test]
fn a_target_that_was_added_disabled_lets_nobody_in_before_it_is_enabled() {
    let mut bed = Bed::new();
    let other = PortId([8; 16]);
    let target = Target::builder("other").lun(0, disk()).build().unwrap();
    bed.srp.add_disabled_target(other, target).unwrap();
    let reject = bed.try_login(&login(initiator(1), other)).unwrap_err();
    assert_eq!(reject.reason, RejectReason::InsufficientResources);
    bed.srp.set_enabled(other, true).unwrap();
    bed.try_login(&login(initiator(1), other)).unwrap();
}

#[test]
fn the_sessions_of_one_target_are_closed_on_demand() {
    let mut bed = Bed::new();
    let other = PortId([8; 16]);
    let target = Target::builder("other").lun(0, disk()).build().unwrap();
    bed.srp.add_target(other, target).unwrap();
    let mut closed = bed.login(1);
    let mut stays = bed.connect(&login(initiator(1), other));
    let closing = bed.srp.close_sessions(TARGET);
    bed.poll();
    assert!(closing.is_done());
    closed.pump();
    stays.pump();
    assert!(closed.logout.is_some() && stays.logout.is_none());
    bed.login(1);
}

#[test]
fn nobody_gets_into_the_session_of_another_address_by_its_port() {
    let mut bed = Bed::new();
    bed.target.add_group("some").unwrap();
    bed.target.add_lun_in(Some("some"), 3, disk()).unwrap();
    bed.target.add_initiator("some", "192.0.2.1").unwrap();
    let mut victim = bed.login(1);
    let join = LoginRequest {
        action: MultiChannelAction::Multi,
        ..login(initiator(1), TARGET)
    };
    let (request, mut other) = connect(&join, LoginForm::Rdma, "192.0.2.66");
    bed.network.connect(request);
    bed.poll();
    other.pump();
    let refused = other.terms.unwrap().unwrap_err();
    assert_eq!(refused.reason, RejectReason::Association);
    assert_eq!(bed.srp.sessions_list()[0].channels.len(), 1);
    victim.pump();
    assert!(victim.logout.is_none());
    // From its own address it is let in, and who ends a session has one of his own.
    bed.join(1);
    let (request, mut other) = connect(&login(initiator(1), TARGET), LoginForm::Rdma, "192.0.2.66");
    bed.network.connect(request);
    bed.advance(Duration::from_secs(1));
    other.pump();
    other.terms.unwrap().unwrap();
    let sessions = bed.srp.sessions_list();
    assert_eq!((sessions.len(), &*sessions[0].peer), (1, "192.0.2.66"));
    assert!(!sessions[0].nexus.luns().contains_key(&3));
}

#[test]
fn a_flood_of_logins_from_one_address_keeps_no_other_address_out() {
    let mut bed = Recipe::with_memory(4 << 20).serve(disk());
    let mut from = |n: u8, peer: &str| {
        let (request, mut channel) = connect(&login(initiator(n), TARGET), LoginForm::Rdma, peer);
        bed.network.connect(request);
        bed.poll();
        channel.pump();
        channel
    };
    let flood: Vec<_> = (0..64).map(|n| from(n, "192.0.2.66")).collect();
    let refused = flood.iter().filter_map(|one| one.terms.unwrap().err());
    assert!(refused.count() > 32);
    let other = from(100, "192.0.2.1");
    other.terms.unwrap().unwrap();
    drop((flood, other));
    bed.assert_empty();
    // Whoever has gone is as one who never came.
    bed.login(1);
}

/// A login to `target` that comes in at a port with this GID.
fn arrives(bed: &mut Bed, target: PortId, at: Option<PortId>) -> Channel {
    let login = login(initiator(1), target);
    let (mut request, mut channel) = connect(&login, LoginForm::Ib, "fe80::1");
    request.port = at;
    request.local = "192.0.2.99".to_owned();
    bed.network.connect(request);
    bed.poll();
    channel.pump();
    channel
}

#[test]
fn who_names_the_service_gets_the_target_of_the_port_at_which_it_comes_in() {
    let guid = 0x0002_c903_00ab_1200;
    let service = PortId::new(guid, guid);
    let alias: PortId = "0000:0000:0000:0000:0000:ffff:c000:0263".parse().unwrap();
    let mut bed = Recipe {
        arrival: Arrival::new(guid).gid(alias, TARGET),
        ..Recipe::default()
    }
    .serve(disk());
    for at in [TARGET, alias] {
        let channel = arrives(&mut bed, service, Some(at));
        channel.terms.unwrap().unwrap();
        let session = &bed.srp.sessions_list()[0];
        assert_eq!((session.port, &*session.target), (TARGET, "disk"));
        assert_eq!(session.local, "192.0.2.99");
    }
    let half = PortId::new(guid, guid + 1);
    for (named, at) in [
        (service, Some(PortId([9; 16]))),
        (service, None),
        (half, Some(TARGET)),
    ] {
        let refused = arrives(&mut bed, named, at).terms.unwrap().unwrap_err();
        assert_eq!(refused.reason, RejectReason::Association);
    }
    // A target that is named is had at every port.
    let named = arrives(&mut bed, TARGET, Some(PortId([9; 16])));
    named.terms.unwrap().unwrap();
}

#[test]
fn a_session_is_of_the_group_that_names_its_address_or_the_digits_of_its_port() {
    let port = PortId::new(0x00ab, 0x0002_c903_00cd_3401);
    for (pattern, matches) in [
        ("192.0.2.1", true),
        ("192.0.2.2", false),
        ("192.0.2.*", true),
        ("0x00000000000000AB0002C90300CD3401", true),
        ("00000000000000ab0002c90300cd3401", true),
        // So are addresses and GIDs written: nobody gets one by his port.
        ("0000:0000:0000:00ab:0002:c903:00cd:3401", false),
        ("0000:0000:*", false),
        ("0x*3401", true),
        ("0x*3402", false),
        // Whoever is kept out by his address has no other name to get in by.
        ("!192.0.2.1", false),
        ("!192.0.2.2", true),
        ("!0x*", true),
    ] {
        let mut bed = Bed::new();
        bed.target.add_group("some").unwrap();
        bed.target.add_lun_in(Some("some"), 3, disk()).unwrap();
        bed.target.add_initiator("some", pattern).unwrap();
        let channel = bed.connect(&login(port, TARGET));
        channel.terms.unwrap().unwrap();
        let nexus = Arc::clone(&bed.srp.sessions_list()[0].nexus);
        assert_eq!(nexus.group().is_some(), matches, "{pattern}");
        let expected = if matches { 3 } else { 0 };
        assert!(nexus.luns().contains_key(&expected), "{pattern}");
        // It is the same for a session that is there.
        bed.target.clear_initiators("some").unwrap();
        assert!(nexus.luns().contains_key(&0));
        bed.target.add_initiator("some", pattern).unwrap();
        assert!(nexus.luns().contains_key(&expected), "{pattern}");
        bed.target.remove_initiator("some", pattern).unwrap();
        assert_eq!(nexus.group(), None);
        assert!(nexus.luns().contains_key(&0));
    }
}
