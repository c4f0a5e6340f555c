//! Portals that are opened and closed.

use std::net::TcpStream;

use super::*;

#[test]
fn a_portal_is_added_and_removed_and_its_sessions_go_on() {
    let served = Served::new();
    served.add(A, TargetSettings::default());
    let first = served.address();
    let second = served.iscsi.add_portal(LOCAL.parse().unwrap()).unwrap();
    assert_eq!(served.iscsi.portals(), [first, second]);
    let mut session = Initiator::connect(second, A, &host(1)).unwrap();
    session.ready(0, 3).unwrap();
    let shown = |at| send_targets(at, &host(2)).unwrap()[0].addresses.clone();
    assert_eq!(shown(first), [format!("{first},1"), format!("{second},1")]);
    served.iscsi.remove_portal(second).unwrap();
    assert!(TcpStream::connect(second).is_err(), "nobody listens");
    assert_eq!(shown(first), [format!("{first},1")]);
    works(&mut session);
    // The address is free.
    assert_eq!(served.iscsi.add_portal(second).unwrap(), second);
    Initiator::connect(second, A, &host(3)).unwrap();
    works(&mut session);
}

#[test]
fn a_portal_that_cannot_be_opened_or_is_not_there_changes_nothing() {
    let served = Served::new();
    let first = served.address();
    let taken = served.iscsi.add_portal(first);
    assert!(matches!(taken, Err(ChangeError::Bind(_))));
    let absent = "127.0.0.1:1".parse().unwrap();
    let refused = served.iscsi.remove_portal(absent);
    assert!(matches!(refused, Err(ChangeError::NoSuchPortal(at)) if at == absent));
    assert_eq!(served.iscsi.portals(), [first]);
}

#[test]
fn the_last_portal_may_go_and_another_one_come() {
    let served = Served::new();
    served.add(A, TargetSettings::default());
    let mut session = served.login(A);
    served.iscsi.remove_portal(served.address()).unwrap();
    assert!(served.iscsi.portals().is_empty());
    works(&mut session);
    served.iscsi.add_portal(LOCAL.parse().unwrap()).unwrap();
    assert_eq!(served.refused(A, &host(2)), "0000");
}

#[test]
fn a_wildcard_is_listed_by_the_addresses_of_the_interfaces() {
    let served = Served::new();
    served.add(A, TargetSettings::default());
    let any = served
        .iscsi
        .add_portal("0.0.0.0:0".parse().unwrap())
        .unwrap();
    let port = any.port();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let found = send_targets(at, &host(1)).unwrap();
    let expected = [
        format!("{},1", served.address()),
        format!("127.0.0.1:{port},1"),
        format!("192.0.2.1:{port},1"),
        format!("198.51.100.1:{port},1"),
    ];
    assert_eq!(found[0].addresses, expected);
}
