//! Targets, LUNs and groups of initiators that change while sessions use them.

use lunforge_bench::initiator::{Chap, Error, Initiator, LoginError};
use lunforge_daemon::control::Observe;
use lunforge_daemon::manage::Change;

use super::bed::*;

const GROUP: &str = "targets/iscsi/iqn.2026-11.org.example:t/ini_groups/hosts";

#[test]
fn a_lun_that_comes_or_goes_is_told_to_those_who_see_it_and_to_nobody_else() {
    let mut bed = Bed::serving();
    let other = "targets/iscsi/iqn.2026-11.org.example:other";
    bed.run(&[
        null("e"),
        null("f"),
        create(other, &[]),
        create(&format!("{other}/luns/0"), &[("device", "e")]),
        set(other, "enabled", &["1"]),
    ]);
    let mut initiator = bed.login("host");
    let mut bystander = bed
        .connect("iqn.2026-11.org.example:other", &host("bystander"))
        .unwrap();
    bystander.ready(0, 3).unwrap();
    bed.run(&[create(&lun(5), &[("device", "f")])]);
    assert_eq!(told(&mut initiator, 0), [LUNS_CHANGED]);
    assert_eq!(told(&mut initiator, 5), [(0x29, 0)]);
    bed.run(&[remove(&lun(5)), remove("devices/f")]);
    assert_eq!(told(&mut initiator, 0), [LUNS_CHANGED]);
    let gone = initiator.command(5, &TEST_UNIT_READY, &[], 0).unwrap();
    assert_eq!(asc(&gone), Some((0x25, 0)));
    assert_eq!(told(&mut bystander, 0), []);
}

#[test]
fn by_a_read_only_lun_nothing_is_written() {
    let mut bed = Bed::serving();
    bed.run(&[create(&lun(1), &[("device", "d"), ("read_only", "1")])]);
    let mut initiator = bed.login("host");
    told(&mut initiator, 1);
    initiator.write(0, 0, &[1; 512], 512).unwrap();
    initiator.read(1, 0, 1, 512).unwrap();
    let (cdb, len) = lunforge_bench::initiator::rw_cdb(true, 0, 1);
    let refused = initiator.command(1, &cdb[..len], &[1; 512], 0).unwrap();
    assert_eq!(
        (refused.sense_key(), asc(&refused)),
        (Some(7), Some((0x27, 0)))
    );
}

#[test]
fn initiators_see_the_luns_of_their_group_and_move_with_their_names() {
    let mut bed = Bed::serving();
    bed.run(&[
        null("e"),
        set("devices/e", "size", &["2M"]),
        create(GROUP, &[]),
        create(&format!("{GROUP}/luns/0"), &[("device", "e")]),
        create(&format!("{GROUP}/initiators/*:member"), &[]),
        create(&format!("{TARGET}/ini_groups/none"), &[]),
    ]);
    let mut member = bed.login("member");
    let mut guest = bed.login("guest");
    assert_eq!(member.capacity(0).unwrap().0, 4096);
    assert_eq!(guest.capacity(0).unwrap().0, 2048);
    let sessions = bed
        .manager
        .machine()
        .registry()
        .sessions(bed.manager.model());
    let groups: Vec<_> = sessions.iter().map(|s| s.group.as_deref()).collect();
    assert_eq!(groups, [Some("hosts"), None]);
    bed.run(&[Change::Move {
        path: path(&format!("{GROUP}/initiators/*:member")),
        group: "none".to_owned(),
    }]);
    let nothing = member.command(0, &TEST_UNIT_READY, &[], 0).unwrap();
    assert_eq!(asc(&nothing), Some((0x25, 0)));
    assert_eq!(told(&mut guest, 0), []);
    // Who has no LUN finds no target.
    assert_eq!(
        refusal(bed.connect(IQN, &host("member").isid_number(9))),
        (2, 3)
    );
}

#[test]
fn a_target_that_is_not_enabled_takes_no_login_and_keeps_its_sessions() {
    let mut bed = Bed::serving();
    let mut initiator = bed.login("host");
    bed.run(&[set(TARGET, "enabled", &["0"])]);
    assert_eq!(refusal(bed.connect(IQN, &host("other"))), (2, 3));
    assert_eq!(told(&mut initiator, 0), []);
    bed.run(&[set(TARGET, "enabled", &["1"])]);
    bed.login("other");
    let registry = bed.manager.machine().registry();
    registry.close_sessions(&path(TARGET), None).unwrap();
    assert!(registry.sessions(bed.manager.model()).is_empty());
    assert!(initiator.command(0, &TEST_UNIT_READY, &[], 0).is_err());
}

#[test]
fn users_of_a_target_and_of_discovery_are_those_of_the_last_change() {
    let mut bed = Bed::serving();
    let secret = "0123456789abcdef";
    let chap = |name: &str, user: &str, secret: &str| {
        let mut options = host(name);
        options.chap = Some(Chap::new(user, secret));
        options
    };
    let mut before = bed.login("before");
    bed.run(&[set(TARGET, "IncomingUser", &["joe 0123456789abcdef"])]);
    assert_eq!(refusal(bed.connect(IQN, &host("none"))).0, 2);
    bed.connect(IQN, &chap("joe", "joe", secret)).unwrap();
    let two = ["joe 0123456789abcdef", "ann fedcba9876543210"];
    bed.run(&[set(TARGET, "IncomingUser", &two)]);
    bed.connect(IQN, &chap("ann", "ann", "fedcba9876543210"))
        .unwrap();
    bed.run(&[set(TARGET, "IncomingUser", &[])]);
    bed.connect(IQN, &host("none")).unwrap();
    assert_eq!(told(&mut before, 0), []);
    let user = ["disco 0123456789abcdef"];
    bed.run(&[set("targets/iscsi", "IncomingUser", &user)]);
    assert_eq!(
        refusal(Initiator::discover(bed.address, &host("none"))).0,
        2
    );
    Initiator::discover(bed.address, &chap("d", "disco", secret)).unwrap();
    bed.connect(IQN, &host("none")).unwrap();
}

#[test]
fn keys_of_the_negotiation_hold_for_logins_from_now_on() {
    let mut bed = Bed::serving();
    bed.run(&[
        set(TARGET, "MaxBurstLength", &["65536"]),
        set(TARGET, "InitialR2T", &["Yes"]),
    ]);
    let initiator = bed.login("host");
    assert_eq!(initiator.params().max_burst_length, 65_536);
    assert!(initiator.params().initial_r2t);
}

#[test]
fn a_target_that_sends_elsewhere_sends_elsewhere() {
    let mut bed = Bed::serving();
    bed.run(&[set(TARGET, "redirect", &["192.0.2.1 temp"])]);
    let sent = bed.connect(IQN, &host("host")).unwrap_err();
    let to = |to: &String| to == "192.0.2.1:3260";
    assert!(
        matches!(&sent, Error::Login(LoginError::Redirect(address)) if to(address)),
        "{sent}"
    );
    bed.run(&[set(TARGET, "redirect", &[""])]);
    bed.login("host");
}

#[test]
fn identifiers_of_ports_are_found_and_give_way_to_those_that_are_given() {
    let mut bed = Bed::new();
    let at = |name: &str| format!("targets/iscsi/iqn.2026-11.org.example:{name}");
    let port = |bed: &Bed, name: &str| bed.read(&at(name), "rel_tgt_id").unwrap();
    bed.run(&[
        create(&at("a"), &[]),
        create(&at("b"), &[("rel_tgt_id", "1")]),
    ]);
    assert_eq!(port(&bed, "a"), "0", "not enabled yet");
    bed.run(&[
        set(&at("a"), "enabled", &["1"]),
        set(&at("b"), "enabled", &["1"]),
    ]);
    assert_eq!((port(&bed, "a"), port(&bed, "b")), ("2".into(), "1".into()));
    let taken = bed.manager.run(&[create(&at("c"), &[("rel_tgt_id", "2")])]);
    let said = taken.unwrap_err().to_string();
    assert!(said.contains(&at("a")), "{said}");
    bed.run(&[set(&at("b"), "rel_tgt_id", &["7"])]);
    assert_eq!(port(&bed, "b"), "7");
    bed.run(&[create(&at("c"), &[]), set(&at("c"), "enabled", &["1"])]);
    assert_eq!(port(&bed, "c"), "1");
}

/// The identifier of a port as an initiator sees it (SPC-4 7.8.6.6).
fn port_told(bed: &Bed, name: &str) -> u8 {
    let iqn = format!("iqn.2026-11.org.example:{name}");
    let mut initiator = bed.connect(&iqn, &host("host")).unwrap();
    initiator.ready(0, 3).unwrap();
    let page = inquiry(&mut initiator, 0, Some(0x83));
    let head = [0x51, 0x94, 0, 4, 0, 0, 0];
    let at = page.windows(7).position(|bytes| bytes == head).unwrap();
    page[at + 7]
}

#[test]
fn an_identifier_that_was_found_is_the_targets_after_a_save_and_a_restart_whatever_else_comes() {
    let (a, b) = (
        "targets/iscsi/iqn.2026-11.org.example:a",
        "targets/iscsi/iqn.2026-11.org.example:b",
    );
    let with_lun = |at: &str| {
        [
            create(at, &[]),
            create(&format!("{at}/luns/0"), &[("device", "d")]),
            set(at, "enabled", &["1"]),
        ]
    };
    let mut bed = Bed::new();
    bed.run(&[null("d")]);
    bed.run(&with_lun(b));
    bed.run(&with_lun(a));
    let saved = bed.configuration();
    let port = |bed: &Bed, at: &str| bed.manager.model().value(&path(at), "rel_tgt_id").unwrap();
    assert_eq!((port(&bed, a), port(&bed, b)), ("2".into(), "1".into()));
    assert_eq!((port_told(&bed, "a"), port_told(&bed, "b")), (2, 1));

    let without: String = saved
        .lines()
        .filter(|line| !line.contains("rel_tgt_id"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_ne!(without, saved);
    assert_eq!(bed.apply_text(&without), Vec::<String>::new());
    let mut bed = Bed::new();
    assert!(!bed.apply_text(&saved).is_empty());
    assert_eq!((port_told(&bed, "a"), port_told(&bed, "b")), (2, 1));
    // Disabled or given none, it keeps the one that it has; without one and enabled again, it takes the lowest.
    bed.run(&[set(a, "rel_tgt_id", &["0"])]);
    assert_eq!((port(&bed, a), port_told(&bed, "a")), ("2".into(), 2));
    bed.run(&[set(b, "rel_tgt_id", &["9"]), set(a, "enabled", &["0"])]);
    assert_eq!(port(&bed, a), "2");
    bed.run(&[set(a, "rel_tgt_id", &["0"]), set(a, "enabled", &["1"])]);
    assert_eq!((port(&bed, a), port_told(&bed, "a")), ("1".into(), 1));
}

#[test]
fn a_target_goes_with_its_sessions_and_another_one_may_have_its_name() {
    let mut bed = Bed::serving();
    let mut initiator = bed.login("host");
    bed.run(&[remove(&lun(0)), remove(TARGET)]);
    assert!(initiator.command(0, &TEST_UNIT_READY, &[], 0).is_err());
    assert_eq!(refusal(bed.connect(IQN, &host("host"))), (2, 3));
    bed.run(&[
        create(TARGET, &[("enabled", "1")]),
        create(&lun(0), &[("device", "d")]),
    ]);
    bed.login("host");
}
