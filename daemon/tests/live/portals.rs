//! Portals of the driver.

use super::bed::*;

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
