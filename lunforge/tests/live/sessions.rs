//! Sessions as whoever looks after the transport sees and ends them.

use super::*;

#[test]
fn a_session_is_described() {
    let served = Served::new();
    let settings = TargetSettings {
        auth: chap("alice", "a-secret-of-alice"),
        ..TargetSettings::default()
    };
    let target = served.add(A, settings);
    let options = Options {
        chap: Some(lunforge_bench::initiator::Chap::new(
            "alice",
            "a-secret-of-alice",
        )),
        header_digest: true,
        max_burst_length: 65_536,
        ..host(7)
    };
    let mut session = Initiator::connect(served.address(), A, &options).unwrap();
    session.ready(0, 3).unwrap();
    let _discovery = Initiator::discover(served.address(), &host(8)).unwrap();
    let [info] = &served.iscsi.sessions_list()[..] else {
        panic!("one normal session");
    };
    assert_eq!((info.initiator.as_str(), info.target.as_str()), (HOST, A));
    assert_eq!((info.isid, info.cid), (options.isid, 0));
    assert_ne!(info.tsih, 0);
    assert_eq!(info.ends.local, served.address());
    assert!(info.ends.peer.ip().is_loopback());
    assert_eq!(info.params.max_burst_length, 65_536);
    assert_eq!(info.auth_user.as_deref(), Some("alice"));
    assert!(info.nexus.stats.none_commands.value() > 0);
    assert!(info.since.elapsed() < BOUND);
    assert!(Arc::ptr_eq(&info.nexus, &target.sessions()[0]));
    assert_eq!(
        served.iscsi.session(info.id).map(|s| s.tsih),
        Some(info.tsih)
    );
}

#[test]
fn one_session_is_closed_and_the_others_are_not() {
    let served = Served::new();
    served.add(A, TargetSettings::default());
    served.add(B, TargetSettings::default());
    let (mut a, mut b) = (served.login(A), served.login(B));
    let mut second = Initiator::connect(served.address(), A, &host(2)).unwrap();
    second.ready(0, 3).unwrap();
    let list = served.iscsi.sessions_list();
    let targets: Vec<_> = list.iter().map(|s| s.target.as_str()).collect();
    assert_eq!(targets, [A, B, A], "the oldest first");
    let closing = served.iscsi.close_session(list[0].id).unwrap();
    assert!(closing.wait(BOUND));
    assert!(a.ready(0, 1).is_err());
    works(&mut b);
    works(&mut second);
    assert_eq!(served.iscsi.sessions(), 2);
    let again = served.iscsi.close_session(list[0].id);
    assert!(matches!(again, Err(ChangeError::NoSuchSession(id)) if id == list[0].id));
    // It may come again, as another session.
    let mut anew = served.login(A);
    assert_ne!(served.iscsi.sessions_list()[2].id, list[0].id);
    let closing = served.iscsi.close_sessions(A).unwrap();
    assert_eq!(closing.sessions().len(), 2);
    assert!(closing.wait(BOUND));
    assert!(anew.ready(0, 1).is_err() && second.ready(0, 1).is_err());
    works(&mut b);
}

#[test]
fn a_session_that_goes_on_with_another_connection_is_the_same_with_other_ends() {
    let served = Served::new();
    served.add(A, TargetSettings::default());
    let session = served.login(A);
    let before = served.iscsi.sessions_list().remove(0);
    let options = Options {
        tsih: before.tsih,
        ..host(1)
    };
    let mut other = Initiator::connect(served.address(), A, &options).unwrap();
    other.ready(0, 1).unwrap();
    let after = served.iscsi.sessions_list().remove(0);
    assert_eq!(after.id, before.id);
    assert_ne!(after.ends.peer, before.ends.peer);
    assert!(Arc::ptr_eq(&after.nexus, &before.nexus));
    drop(session);
}
