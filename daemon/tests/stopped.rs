//! The program after a time in which it had no turn.

mod common;

use std::time::Duration;

use common::{Place, Who};
use lunforge_bench::initiator::{Initiator, Request};

#[test]
fn n62_a_program_that_was_stopped_for_ten_seconds_keeps_its_sessions_and_gives_nothing_up() {
    let place = Place::new(Who::Ordinary);
    let disk = place.path("disk.img");
    // A backend has a second, and a write is with it when the program stops.
    let times = ["--timeouts", "1,2,20,60"];
    let target = place.start(&[&[&disk, "--size", "1M", "--write-through"][..], &times].concat());
    let mut session = target.login("a");
    session.ready(0, 3).unwrap();
    session.set_timeout(Duration::from_secs(60));
    let write = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let submit = |session: &mut Initiator| {
        let request = Request::new(0, &write).data_out(&[7; 512]);
        session.submit(&request).unwrap()
    };
    let mut tags: Vec<_> = (0..8).map(|_| submit(&mut session)).collect();
    target.signal("-STOP");
    tags.extend((0..8).map(|_| submit(&mut session)));
    std::thread::sleep(Duration::from_secs(10));
    target.signal("-CONT");
    for tag in tags {
        let reply = session.wait(tag).unwrap();
        assert!(reply.is_good(), "{reply:?}");
    }
    assert_eq!(session.read(0, 0, 1, 512).unwrap(), [7; 512]);
    drop(session);
    target.stop();
}
