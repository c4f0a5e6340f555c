//! Targets of `ib_srpt`, over a fabric in memory.

use lunforge::srp::PortId;
use lunforge::srp::proto::iu::login::{LoginForm, RejectReason};
use lunforge_daemon::control::{Observe, report};
use lunforge_daemon::live::{Adapters, Settings, SrpSetup};
use lunforge_srp::fabric::memory::Network;
use lunforge_srp::testing::{self, Channel, Form, Reply, Send, until};

use super::bed::*;

const GID: &str = "fe80:0000:0000:0000:5054:00ff:fe77:0001";
const SRP: &str = "targets/ib_srpt/fe80:0000:0000:0000:5054:00ff:fe77:0001";
const GUID: u64 = 0x5054_00ff_fe77_0001;
const INQUIRY: [u8; 6] = [0x12, 0, 0, 0, 36, 0];
const RESERVE: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
const CONFLICT: u8 = 0x18;
const LUN_0: [u8; 8] = [0; 8];
const LUN_3: [u8; 8] = [0, 3, 0, 0, 0, 0, 0, 0];

fn port(text: &str) -> PortId {
    text.parse().unwrap()
}

/// What the kernel tells of one port of RoCE.
fn adapters() -> Adapters {
    let dir = tempfile::tempdir().unwrap();
    let gids = dir.path().join("rxe0/ports/1/gids");
    std::fs::create_dir_all(&gids).unwrap();
    let mapped = "0000:0000:0000:0000:0000:ffff:0a4d:0001";
    for (name, text) in [
        ("rxe0/node_guid", "5054:00ff:fe77:0001"),
        ("rxe0/ports/1/link_layer", "Ethernet"),
        ("rxe0/ports/1/gids/0", GID),
        ("rxe0/ports/1/gids/1", mapped),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    Adapters::below(dir.path())
}

fn served() -> (Bed, Network) {
    let (network, listener) = Network::new();
    let adapters = adapters();
    let srp = SrpSetup {
        listeners: vec![Box::new(listener)],
        port: Some(5555),
        guid: adapters.guid(),
        adapters,
        machine: "machine".to_owned(),
        ..SrpSetup::default()
    };
    (Bed::with_srp(Settings::default(), srp), network)
}

/// A disk as LUN 0 of a target of each driver.
fn both() -> (Bed, Network) {
    let (mut bed, network) = served();
    bed.run(&[
        null("d"),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "d")]),
        set(TARGET, "enabled", &["1"]),
        create(SRP, &[]),
        create(&format!("{SRP}/luns/0"), &[("device", "d")]),
        set(SRP, "enabled", &["1"]),
    ]);
    (bed, network)
}

/// Logs in from an address to a target, at a port of the fabric.
fn try_from(
    network: &Network,
    peer: &str,
    initiator: PortId,
    target: PortId,
) -> (Channel, Option<RejectReason>) {
    let login = testing::login(initiator, target);
    let (mut request, mut channel) = testing::connect(&login, LoginForm::Rdma, peer);
    request.local = "10.77.0.1".to_owned();
    request.port = Some(port("0000:0000:0000:0000:0000:ffff:0a4d:0001"));
    assert!(network.connect(request));
    let answer = until(|| {
        channel.pump();
        channel.terms
    });
    (channel, answer.err().map(|reject| reject.reason))
}

fn login_from(network: &Network, peer: &str) -> Channel {
    let initiator = PortId::new(0, 0x0002_c903_00cd_3401);
    let (channel, rejected) = try_from(network, peer, initiator, port(GID));
    assert_eq!(rejected, None);
    channel
}

fn run(channel: &mut Channel, lun: [u8; 8], cdb: &[u8], expected_in: usize) -> Reply {
    let tag = channel.send(&Send {
        lun,
        cdb,
        expected_in,
        in_form: Form::Direct,
        ..Send::default()
    });
    until(|| channel.reply(tag))
}

/// As [`told`], by SRP: until nothing is told any more.
fn quiet(channel: &mut Channel, lun: [u8; 8]) -> Reply {
    loop {
        let reply = run(channel, lun, &TEST_UNIT_READY, 0);
        if reply.status != 2 || reply.asc().is_some_and(|(asc, _)| asc == 0x25) {
            return reply;
        }
    }
}

fn sessions(bed: &Bed) -> Vec<report::Session> {
    let registry = bed.manager.machine().registry();
    registry.sessions(bed.manager.model())
}

fn logged_out(channel: &mut Channel) {
    until(|| {
        channel.pump();
        channel.logout
    });
}

#[test]
fn a_disk_is_had_by_both_transports_and_a_reservation_holds_over_both() {
    let (bed, network) = both();
    let mut iscsi = bed.login("host");
    let mut srp = login_from(&network, "10.77.0.2");
    assert_eq!(quiet(&mut srp, LUN_0).status, 0);
    assert_eq!(run(&mut srp, LUN_0, &RESERVE, 0).status, 0);
    let refused = iscsi.command(0, &TEST_UNIT_READY, &[], 0).unwrap();
    assert_eq!(refused.status, CONFLICT);
    let kept = bed.read(SRP, "rel_tgt_id");
    assert_eq!(kept.as_deref(), Some("2"), "each port has its own");
}

#[test]
fn groups_give_luns_by_address_and_by_port_and_move_sessions() {
    let (mut bed, network) = both();
    bed.run(&[
        null("special"),
        create(&format!("{SRP}/ini_groups/some"), &[]),
        create(
            &format!("{SRP}/ini_groups/some/luns/3"),
            &[("device", "special")],
        ),
        create(&format!("{SRP}/ini_groups/some/initiators/10.77.0.2"), &[]),
    ]);
    let mut some = login_from(&network, "10.77.0.2");
    assert_eq!(quiet(&mut some, LUN_3).status, 0);
    assert_eq!(quiet(&mut some, LUN_0).asc(), Some((0x25, 0)));
    assert_eq!(sessions(&bed)[0].group.as_deref(), Some("some"));
    let (mut other, rejected) = try_from(&network, "10.77.0.3", PortId::new(0, 0xab), port(GID));
    assert_eq!(rejected, None);
    assert_eq!(quiet(&mut other, LUN_0).status, 0);
    bed.run(&[create(
        &format!("{SRP}/ini_groups/some/initiators/0x000000000000000000000000000000ab"),
        &[],
    )]);
    assert_eq!(quiet(&mut other, LUN_3).status, 0);
    assert_eq!(quiet(&mut other, LUN_0).asc(), Some((0x25, 0)));
}

#[test]
fn without_a_group_and_without_luns_a_session_sees_none() {
    let (mut bed, network) = both();
    bed.run(&[remove(&format!("{SRP}/luns/0"))]);
    let mut srp = login_from(&network, "10.77.0.2");
    assert_eq!(quiet(&mut srp, LUN_0).asc(), Some((0x25, 0)));
    assert_eq!(run(&mut srp, LUN_0, &INQUIRY, 36).data[0], 0x7F);
}

#[test]
fn a_target_is_disabled_enabled_and_removed_while_it_is_used() {
    let (mut bed, network) = both();
    let mut first = login_from(&network, "10.77.0.2");
    bed.run(&[set(SRP, "enabled", &["0"])]);
    logged_out(&mut first);
    let again = |network: &Network| {
        let initiator = PortId::new(0, 1);
        try_from(network, "10.77.0.2", initiator, port(GID)).1
    };
    assert_eq!(again(&network), Some(RejectReason::InsufficientResources));
    bed.run(&[set(SRP, "enabled", &["1"])]);
    let mut second = login_from(&network, "10.77.0.2");
    assert_eq!(quiet(&mut second, LUN_0).status, 0);
    bed.run(&[remove(&format!("{SRP}/luns/0")), remove(SRP)]);
    logged_out(&mut second);
    assert_eq!(sessions(&bed), []);
    assert_eq!(again(&network), Some(RejectReason::Association));
    // The device has no other user.
    bed.run(&[remove(&lun(0)), remove("devices/d")]);
}

#[test]
fn a_session_is_told_and_closed_like_one_of_iscsi() {
    let (bed, network) = both();
    let _iscsi = bed.login("host");
    let mut srp = login_from(&network, "10.77.0.2");
    quiet(&mut srp, LUN_0);
    let (_other, rejected) = try_from(&network, "10.77.0.2", PortId::new(0, 9), port(GID));
    assert_eq!(rejected, None);
    let told = sessions(&bed);
    let names: Vec<_> = told.iter().map(|s| (&*s.driver, &*s.name)).collect();
    let host = "iqn.2026-11.org.example:host";
    let expected = [
        ("iscsi", host),
        ("ib_srpt", "10.77.0.2"),
        ("ib_srpt", "10.77.0.2_1"),
    ];
    assert_eq!(names, expected);
    let session = &told[1];
    assert_eq!((&*session.target, &*session.initiator), (GID, "10.77.0.2"));
    assert_eq!(
        (&*session.peer, &*session.portal),
        ("10.77.0.2", "10.77.0.1")
    );
    assert!(session.commands > 0);
    let parameter = |name: &str| {
        let mut all = session.parameters.iter();
        all.find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(parameter("ch_state"), Some("live"));
    assert_eq!(parameter("channels"), Some("1"));
    assert_eq!(parameter("req_lim"), Some("128"));
    assert_eq!(parameter("req_lim_delta"), Some("0"));
    let named = "0000:0000:0000:0000:0002:c903:00cd:3401";
    assert_eq!(parameter("initiator_port_id"), Some(named));
    let registry = bed.manager.machine().registry();
    let model = bed.manager.model();
    let targets = registry.targets(model);
    let counts: Vec<_> = targets.iter().map(|t| (&*t.driver, t.sessions)).collect();
    assert_eq!(counts, [("ib_srpt", 2), ("iscsi", 1)]);
    assert_eq!(targets[0].portals, ["10.77.0.1:5555"]);
    let status = registry.status(model);
    assert_eq!(
        (status.sessions, status.srp_portals),
        (3, targets[0].portals.clone())
    );
    let metrics = registry.metrics(model).srp.unwrap();
    assert_eq!(
        (metrics.sessions, metrics.channels, metrics.counters.logins),
        (2, 2, 2)
    );
    let missing = registry.close_sessions(&path(SRP), Some(99)).unwrap_err();
    assert!(missing.to_string().contains("session 99"), "{missing}");
    registry
        .close_sessions(&path(SRP), Some(session.id))
        .unwrap();
    logged_out(&mut srp);
    registry.close_sessions(&path(SRP), None).unwrap();
    assert_eq!(sessions(&bed).len(), 1);
}

#[test]
fn a_target_tells_its_port_its_device_and_how_to_log_in() {
    let (mut bed, network) = both();
    for (attribute, value) in [
        ("port_id", GID),
        ("device", "rxe0"),
        ("link_layer", "Ethernet"),
        (
            "login_info",
            "id_ext=fe80000000000000,ioc_guid=505400fffe770001,dest=10.77.0.1:5555",
        ),
    ] {
        assert_eq!(bed.read(SRP, attribute).as_deref(), Some(value));
    }
    let guid = bed.read("targets/ib_srpt", "srpt_service_guid");
    assert_eq!(guid.as_deref(), Some("0x505400fffe770001"));
    // Who names the service, as SCST wants it, gets the target of the port where he comes in.
    let service = PortId::new(GUID, GUID);
    let (_channel, rejected) = try_from(&network, "10.77.0.2", PortId::new(0, 1), service);
    assert_eq!(rejected, None);
    // A name that is no port has one of its own, and any may be given another.
    let plain = "targets/ib_srpt/ib_srpt_target_0";
    bed.run(&[create(plain, &[]), set(plain, "enabled", &["1"])]);
    let own = port(&bed.read(plain, "port_id").unwrap());
    let (_own, rejected) = try_from(&network, "10.77.0.2", PortId::new(0, 1), own);
    assert_eq!(rejected, None);
}

#[test]
fn on_infiniband_a_target_tells_its_service() {
    let gid = "fe80:0000:0000:0000:0002:c903:00ab:1202";
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("mlx4_0/ports/2/gids")).unwrap();
    for (name, text) in [
        ("mlx4_0/node_guid", "0002:c903:00ab:1200"),
        ("mlx4_0/ports/2/link_layer", "InfiniBand"),
        ("mlx4_0/ports/2/gids/0", gid),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let (_network, listener) = Network::new();
    let srp = SrpSetup {
        listeners: vec![Box::new(listener)],
        port: Some(5555),
        adapters: Adapters::below(dir.path()),
        ..SrpSetup::default()
    };
    let mut bed = Bed::with_srp(Settings::default(), srp);
    let target = format!("targets/ib_srpt/{gid}");
    bed.run(&[create(&target, &[])]);
    let told = bed.read(&target, "login_info").unwrap();
    let named = "id_ext=fe80000000000000,ioc_guid=0002c90300ab1202";
    let service = "pkey=ffff,dgid=fe800000000000000002c90300ab1202,service_id=00000000013f15b3";
    assert_eq!(told, format!("{named},{service}"));
    let registry = bed.manager.machine().registry();
    let targets = registry.targets(bed.manager.model());
    assert_eq!(targets[0].portals, ["[::]:5555"]);
}

#[test]
fn a_port_that_changes_ends_the_sessions_and_is_nobody_else_s() {
    let (mut bed, network) = both();
    let mut srp = login_from(&network, "10.77.0.2");
    let other = "targets/ib_srpt/ib_srpt_target_0";
    bed.run(&[create(other, &[])]);
    let said = bed.fails(&[set(other, "port_id", &[GID])], 0);
    assert!(said.contains(GID), "{said}");
    let moved = "00000000000000010000000000000002";
    bed.run(&[set(SRP, "port_id", &[moved])]);
    logged_out(&mut srp);
    let to = |target: PortId| try_from(&network, "10.77.0.2", PortId::new(0, 1), target);
    assert_eq!(to(port(GID)).1, Some(RejectReason::Association));
    let (mut channel, rejected) = to(PortId::new(1, 2));
    assert_eq!(rejected, None);
    assert_eq!(quiet(&mut channel, LUN_0).status, 0);
    assert!(
        bed.configuration()
            .contains("port_id 0000:0000:0000:0001:0000:0000:0000:0002")
    );
    bed.run(&[set(SRP, "port_id", &[])]);
    assert_eq!(bed.read(SRP, "port_id").as_deref(), Some(GID));
}

#[test]
fn a_target_without_a_listener_is_kept_and_cannot_be_enabled() {
    let mut bed = Bed::new();
    bed.run(&[create(SRP, &[])]);
    let said = bed.fails(&[set(SRP, "enabled", &["1"])], 0);
    assert!(said.contains("rdma_cm_port"), "{said}");
    let registry = bed.manager.machine().registry();
    assert!(registry.metrics(bed.manager.model()).srp.is_none());
}

#[test]
fn a_configuration_with_both_drivers_comes_back_as_it_was_saved() {
    let (mut bed, network) = both();
    bed.run(&[
        set("targets/ib_srpt", "rdma_cm_port", &["5555"]),
        set("targets/ib_srpt", "srp_max_req_size", &["4200"]),
        set(
            "targets/ib_srpt",
            "srpt_service_guid",
            &["5054:00ff:fe77:0009"],
        ),
        create(&format!("{SRP}/ini_groups/some"), &[]),
        create(&format!("{SRP}/ini_groups/some/luns/3"), &[("device", "d")]),
        create(&format!("{SRP}/ini_groups/some/initiators/0x*cd3401"), &[]),
    ]);
    let saved = bed.configuration();
    assert!(
        saved.contains("srpt_service_guid 0x505400fffe770009"),
        "{saved}"
    );
    let (mut again, other_network) = served();
    again.apply_text(&saved);
    assert_eq!(again.configuration(), saved);
    assert_eq!(again.apply_text(&saved), [""; 0]);
    let mut srp = login_from(&other_network, "10.77.0.2");
    assert_eq!(quiet(&mut srp, LUN_3).status, 0);
    // And away again, under a session.
    again.apply_text("");
    logged_out(&mut srp);
    drop(network);
}

#[test]
fn a_target_gets_the_port_of_one_that_goes_with_the_same_configuration() {
    let (mut bed, network) = served();
    let conf = |name: &str| {
        format!(
            "HANDLER vdisk_nullio {{\nDEVICE d {{\n}}\n}}\nTARGET_DRIVER ib_srpt {{\n\
             TARGET {name} {{\nport_id {GID}\nenabled 1\nLUN 0 d\n}}\n}}\n"
        )
    };
    bed.apply_text(&conf("a"));
    let mut old = login_from(&network, "10.77.0.2");
    bed.apply_text(&conf("b"));
    logged_out(&mut old);
    let mut new = login_from(&network, "10.77.0.2");
    assert_eq!(quiet(&mut new, LUN_0).status, 0);
    assert_eq!(sessions(&bed)[0].target, "b");
}
