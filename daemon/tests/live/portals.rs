//! Portals of the driver.

use std::net::{SocketAddr, TcpListener, TcpStream};

use lunforge_daemon::control::Observe;

use super::bed::*;

const DRIVER: &str = "targets/iscsi";

fn listens(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

fn portals(bed: &Bed) -> Vec<String> {
    let registry = bed.manager.machine().registry();
    registry.status(bed.manager.model()).portals
}

/// A bed whose one portal is at this address, at a port that is free in both families.
fn at(ip: &str) -> (Bed, u16) {
    loop {
        let mut bed = Bed::serving();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let set = set(DRIVER, "portal", &[&format!("{ip}:{port}")]);
        if bed.manager.run(&[set]).is_ok() {
            bed.address = SocketAddr::from(([127, 0, 0, 1], port));
            return (bed, port);
        }
    }
}

#[test]
fn a_driver_that_is_not_enabled_listens_nowhere() {
    let mut bed = Bed::serving();
    let mut initiator = bed.login("host");
    bed.run(&[set("targets/iscsi", "enabled", &["0"])]);
    assert!(bed.connect(IQN, &host("other")).is_err());
    assert_eq!(bed.read("targets/iscsi", "open_state").unwrap(), "closed");
    assert_eq!(told(&mut initiator, 0), []);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let said = bed.fails(
        &[
            set("targets/iscsi", "portal", &["127.0.0.1:0", &taken]),
            set("targets/iscsi", "enabled", &["1"]),
        ],
        1,
    );
    assert!(said.contains(&taken), "{said}");
    bed.run(&[set("targets/iscsi", "enabled", &["1"])]);
    assert_eq!(bed.read("targets/iscsi", "open_state").unwrap(), "open");
}

#[test]
fn a_portal_may_take_the_place_of_one_that_it_overlaps() {
    for (from, to) in [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")] {
        let (mut bed, port) = at(from);
        let mut initiator = bed.login("host");
        bed.run(&[set(DRIVER, "portal", &[&format!("{to}:{port}")])]);
        assert_eq!(portals(&bed), [format!("{to}:{port}")]);
        // Who was there stays, and others come.
        assert_eq!(told(&mut initiator, 0), []);
        bed.login("other");
    }
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    for (from, to) in [
        ("[::1]", "[::]"),
        ("[::]", "[::1]"),
        ("127.0.0.1", "[::]"),
        ("[::]", "127.0.0.1"),
    ] {
        let (mut bed, port) = at(from);
        bed.run(&[set(DRIVER, "portal", &[&format!("{to}:{port}")])]);
        assert_eq!(portals(&bed), [format!("{to}:{port}")]);
        let ip = to.replace("[::]", "[::1]");
        assert!(listens(&format!("{ip}:{port}")));
    }
}

#[test]
fn a_portal_that_makes_way_for_nothing_is_open_again() {
    let (mut bed, port) = at("127.0.0.1");
    let mut initiator = bed.login("host");
    // Somebody else has a part of what is wanted.
    let taken = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let wide = format!("0.0.0.0:{port}");
    let said = bed.fails(&[set(DRIVER, "portal", &[&wide])], 0);
    assert!(
        said.contains(&wide) && !said.contains("closed now"),
        "{said}"
    );
    assert_eq!(portals(&bed), [format!("127.0.0.1:{port}")]);
    assert_eq!(told(&mut initiator, 0), []);
    bed.login("other");
    // A run that fails later goes all the way back.
    drop(taken);
    let missing = bed.file("missing");
    let given = [("handler", "vdisk_fileio"), ("filename", &*missing)];
    bed.fails(
        &[set(DRIVER, "portal", &[&wide]), create("devices/f", &given)],
        1,
    );
    assert_eq!(portals(&bed), [format!("127.0.0.1:{port}")]);
    bed.login("third");
}
