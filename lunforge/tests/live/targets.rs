//! Targets that come, change and go.

use std::time::Instant;

use lunforge::core::target::Pattern;
use lunforge::iscsi::{Access, Redirect};

use super::*;

#[test]
fn a_target_is_added_and_removed_and_the_sessions_of_another_see_nothing_of_it() {
    let served = Served::new();
    served.add(A, TargetSettings::default());
    let mut stays = served.login(A);
    let b = served.add(B, TargetSettings::default());
    assert_eq!(served.listed(&host(2)), [A, B]);
    let mut goes = served.login(B);
    let closing = served.iscsi.remove_target(&B.to_uppercase()).unwrap();
    assert_eq!(closing.sessions().len(), 1);
    assert!(closing.wait(BOUND));
    assert!(goes.ready(0, 1).is_err());
    assert_eq!(served.refused(B, &host(1)), NOT_FOUND);
    assert_eq!(served.listed(&host(2)), [A]);
    assert!(b.sessions().is_empty());
    works(&mut stays);
    // The name is free, and so is the target.
    served
        .iscsi
        .add_target(b, TargetSettings::default())
        .unwrap();
    works(&mut served.login(B));
    works(&mut stays);
}

#[test]
fn what_cannot_be_done_is_said() {
    let served = Served::new();
    served.add(A, TargetSettings::default());
    let twice = served
        .iscsi
        .add_target(target(&A.to_uppercase()), TargetSettings::default());
    assert!(matches!(twice, Err(ChangeError::DuplicateTarget(_))));
    let iscsi = &served.iscsi;
    let refusals = [
        iscsi.remove_target(B).map(drop),
        iscsi.set_enabled(B, false),
        iscsi.set_target(B, TargetSettings::default()),
        iscsi.close_sessions(B).map(drop),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(ChangeError::NoSuchTarget(name)) if name == B));
    }
    assert!(iscsi.target(B).is_none());
    assert!(iscsi.target(A).is_some());
}

#[test]
fn a_disabled_target_takes_no_logins_is_not_listed_and_keeps_its_sessions() {
    let served = Served::new();
    served.add(A, TargetSettings::default());
    served.add(B, TargetSettings::default());
    let mut session = served.login(A);
    served.iscsi.set_enabled(A, false).unwrap();
    assert_eq!(served.refused(A, &host(2)), NOT_FOUND);
    assert_eq!(served.listed(&host(2)), [B]);
    works(&mut session);
    served.iscsi.set_enabled(A, true).unwrap();
    assert_eq!(served.refused(A, &host(2)), "0000");
    assert_eq!(served.listed(&host(2)), [A, B]);
}

#[test]
fn settings_are_those_of_sessions_from_now_on() {
    let served = Served::new();
    let settings = |max_sessions| {
        let mut settings = TargetSettings::default();
        settings.params.max_sessions = max_sessions;
        settings
    };
    served.add(A, settings(0));
    let mut session = served.login(A);
    served.iscsi.set_target(A, settings(1)).unwrap();
    assert_eq!(served.refused(A, &host(2)), "0302");
    let others = Access::only(["iqn.2026-11.org.example:other"]).unwrap();
    let only = TargetSettings {
        access: others,
        ..settings(0)
    };
    served.iscsi.set_target(A, only).unwrap();
    assert_eq!(served.refused(A, &host(2)), "0202");
    assert_eq!(served.listed(&host(2)), [""; 0]);
    works(&mut session);
    served.iscsi.set_target(A, settings(2)).unwrap();
    assert_eq!(served.refused(A, &host(2)), "0000");
}

#[test]
fn a_redirected_target_sends_normal_sessions_elsewhere_and_is_listed() {
    let served = Served::new();
    let to = |address: &str, permanent| TargetSettings {
        redirect: Some(Redirect::new(address, permanent).unwrap()),
        ..TargetSettings::default()
    };
    served.add(A, TargetSettings::default());
    let mut session = served.login(A);
    for permanent in [false, true] {
        served
            .iscsi
            .set_target(A, to("192.0.2.1", permanent))
            .unwrap();
        assert_eq!(served.refused(A, &host(2)), "192.0.2.1:3260");
    }
    assert_eq!(served.listed(&host(2)), [A]);
    works(&mut session);
    let here = served.address().to_string();
    served.iscsi.set_target(A, to(&here, false)).unwrap();
    assert_eq!(
        served.refused(A, &host(2)),
        "0000",
        "who is there is not sent"
    );
}

#[test]
fn who_sees_no_lun_sees_no_target_where_that_is_asked_for() {
    let served = Served::new();
    let a = served.add(A, TargetSettings::default());
    a.add_group("nothing").unwrap();
    a.add_initiator("nothing", "*:host").unwrap();
    assert_eq!(served.refused(A, &host(1)), "0000");
    assert_eq!(served.listed(&host(1)), [A]);
    let hidden = TargetSettings {
        hide_without_luns: true,
        ..TargetSettings::default()
    };
    served.iscsi.set_target(A, hidden).unwrap();
    assert_eq!(served.refused(A, &host(1)), NOT_FOUND);
    assert_eq!(served.listed(&host(1)), [""; 0]);
    a.add_lun_in(Some("nothing"), 0, unit("own")).unwrap();
    assert_eq!(served.refused(A, &host(1)), "0000");
    assert_eq!(served.listed(&host(1)), [A]);
}

#[test]
fn a_target_may_be_there_at_some_portals_only_and_have_a_map_for_each() {
    let served = Served::new();
    let at = |patterns: &[&str]| TargetSettings {
        allowed_portals: patterns.iter().filter_map(|p| Pattern::new(p)).collect(),
        per_portal_acl: true,
        ..TargetSettings::default()
    };
    let a = served.add(A, at(&["127.0.0.*", "!*.2"]));
    a.add_group("here").unwrap();
    a.add_lun_in(Some("here"), 7, unit("seven")).unwrap();
    a.add_initiator("here", &format!("{HOST}#127.0.0.1"))
        .unwrap();
    let mut session = Initiator::connect(served.address(), A, &host(1)).unwrap();
    session.ready(7, 3).unwrap();
    assert_eq!(a.sessions()[0].name(), format!("{HOST}#127.0.0.1"));
    let two = served
        .iscsi
        .add_portal("127.0.0.2:0".parse().unwrap())
        .unwrap();
    assert!(Initiator::connect(two, A, &host(2)).is_err());
    assert!(send_targets(two, &host(2)).unwrap().is_empty());
    let found = send_targets(served.address(), &host(2)).unwrap();
    assert_eq!(found[0].addresses, [format!("{},1", served.address())]);
    served.iscsi.set_target(A, at(&[])).unwrap();
    let mut other = Initiator::connect(two, A, &host(2)).unwrap();
    assert!(other.ready(7, 3).is_err(), "another map");
    session.ready(7, 1).unwrap();
}

#[test]
fn a_group_is_made_and_changed_under_io_and_others_are_not_disturbed() {
    let served = Served::new();
    let a = served.add(A, TargetSettings::default());
    a.add_lun(1, unit("one")).unwrap();
    let other = Options {
        initiator_name: "iqn.2026-11.org.example:other".into(),
        ..Options::default()
    };
    let address = served.address();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let worker = std::thread::spawn(move || {
        let mut session = Initiator::connect(address, A, &other).unwrap();
        session.ready(1, 3).unwrap();
        let mut commands = 0u32;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            session.ready(1, 1).expect("undisturbed");
            commands += 1;
        }
        commands
    });
    let mut session = served.login(A);
    for round in 0..50 {
        let group = format!("group-{round}");
        a.add_group(&group).unwrap();
        a.add_lun_in(Some(&group), 0, unit("own")).unwrap();
        a.add_initiator(&group, HOST).unwrap();
        session.ready(0, 4).unwrap();
        assert!(session.ready(1, 4).is_err());
        a.replace_lun_in(Some(&group), 0, unit("newer"), true)
            .unwrap();
        session.ready(0, 4).unwrap();
        a.remove_group(&group).unwrap();
        session.ready(1, 4).unwrap();
        session.ready(0, 4).unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(worker.join().unwrap() > 0);
}

#[test]
fn a_thousand_targets_are_added_and_found_in_little_time() {
    let served = Served::new();
    let name = |n: u32| format!("iqn.2026-11.org.example:t{n}");
    let targets: Vec<_> = (0..1000).map(|n| target(&name(n))).collect();
    let begun = Instant::now();
    for target in targets {
        served
            .iscsi
            .add_target(target, TargetSettings::default())
            .unwrap();
    }
    let mut session = served.login(&name(999));
    assert_eq!(served.listed(&host(2)).len(), 1000);
    for n in 0..999 {
        served.iscsi.remove_target(&name(n)).unwrap();
    }
    let took = begun.elapsed();
    assert!(took < BOUND, "{took:?}");
    works(&mut session);
    assert_eq!(served.listed(&host(2)), [name(999)]);
}
