//! RFC 7143 6.3.4: a login with the TSIH and the CID of a session takes the place of its connection.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lunforge_iscsi::proto::pdu::async_message::event;
use lunforge_iscsi::proto::pdu::task_management_request::function;
use lunforge_iscsi::proto::pdu::{RESERVED_TAG, TaskManagementRequest, opcode};

use super::bed::{Bed, Login, Peer, Recipe};

/// A session with the TSIH that it was given.
fn session(bed: &mut Bed) -> (Peer, u16) {
    let mut peer = bed.connect(1);
    let answer = bed.log_in(&mut peer, &Login::of(1));
    assert_eq!(answer.status_class, 0);
    peer.command(&[0], 0);
    bed.settle();
    assert_eq!(peer.statuses(), [2]);
    (peer, answer.tsih)
}

fn again(tsih: u16, cid: u16, cmd_sn: u32) -> Login {
    Login {
        tsih,
        cid,
        cmd_sn,
        ..Login::of(1)
    }
}

#[test]
fn a_login_with_tsih_and_cid_goes_on_with_the_session_and_its_nexus() {
    for shards in [1, 2] {
        let mut bed = Recipe {
            shards,
            ..Recipe::default()
        }
        .serve();
        bed.controls.can_fence.store(true, Ordering::Relaxed);
        let (mut old, tsih) = session(&mut bed);
        bed.controls.hold.store(true, Ordering::Relaxed);
        old.read(8);
        old.write(64);
        bed.settle();
        old.pdus();
        bed.controls.hold.store(false, Ordering::Relaxed);
        let mut new = bed.connect(1);
        new.cmd_sn = old.cmd_sn;
        // With the first command in the same segment.
        new.send(&again(tsih, 0, old.cmd_sn).emit());
        new.read(8);
        bed.settle();
        // The old connection's commands end first, which a backend may take half a second for.
        assert!(old.is_closed());
        bed.pass(Duration::from_millis(600));
        let pdus = new.pdus();
        assert_eq!(pdus[0].0[0] & 0x3f, opcode::LOGIN_RESPONSE);
        assert_eq!(
            (
                pdus[0].0[36],
                u16::from_be_bytes([pdus[0].0[14], pdus[0].0[15]])
            ),
            (0, tsih)
        );
        // No unit attention: the I_T nexus was not lost.
        assert_eq!((pdus[1].0[0] & 0x3f, pdus[1].0[3]), (opcode::DATA_IN, 0));
        assert!(old.pdus().is_empty(), "nothing is said of the old tasks");
        assert_eq!((bed.iscsi.sessions(), bed.iscsi.connections()), (1, 1));
        assert_eq!(bed.counters().continuations, 1);
        // A late end in the backend meets nobody.
        bed.controls.complete_all();
        new.read(8);
        bed.settle();
        assert_eq!(new.statuses(), [0]);
    }
}

#[test]
fn another_cid_is_one_connection_too_many_and_another_tsih_no_session() {
    let mut bed = Recipe::default().serve();
    let (mut old, tsih) = session(&mut bed);
    for (tsih, cid, status) in [(tsih, 1, (2, 6)), (tsih.wrapping_add(1), 0, (2, 10))] {
        let mut new = bed.connect(1);
        let answer = bed.log_in(&mut new, &again(tsih, cid, 2));
        assert_eq!((answer.status_class, answer.status_detail), status);
        assert!(new.is_closed());
    }
    old.read(8);
    bed.settle();
    assert_eq!(old.statuses(), [0]);
}

#[test]
fn n29_reinstatements_of_a_connection_in_a_row_leave_the_newest() {
    let mut bed = Recipe::default().serve();
    bed.controls.can_fence.store(true, Ordering::Relaxed);
    let (mut old, tsih) = session(&mut bed);
    bed.controls.hold.store(true, Ordering::Relaxed);
    old.read(8);
    bed.settle();
    bed.controls.hold.store(false, Ordering::Relaxed);
    let mut peers: Vec<_> = (0..20)
        .map(|_| {
            let mut peer = bed.connect(1);
            peer.send(&again(tsih, 0, old.cmd_sn).emit());
            bed.settle();
            peer
        })
        .collect();
    bed.pass(Duration::from_secs(1));
    let mut newest = peers.pop().unwrap();
    assert!(peers.iter().all(|peer| peer.is_closed()));
    newest.cmd_sn = old.cmd_sn;
    newest.pdus();
    newest.read(8);
    bed.settle();
    assert_eq!(newest.statuses(), [0]);
    assert_eq!((bed.iscsi.sessions(), bed.iscsi.connections()), (1, 1));
    bed.controls.complete_all();
}

#[test]
fn a_session_that_another_ones_reset_ends_is_told_so() {
    let mut bed = Recipe::default().serve();
    let (mut one, mut two) = (bed.session(1), bed.session(2));
    let reset = TaskManagementRequest {
        immediate: true,
        function: function::TARGET_COLD_RESET,
        lun: [0; 8],
        itt: 77,
        referenced_task_tag: RESERVED_TAG,
        cmd_sn: one.cmd_sn,
        exp_stat_sn: 0,
        ref_cmd_sn: 0,
        exp_data_sn: 0,
    };
    one.send(&reset.emit());
    bed.settle();
    let (bhs, _) = two.pdus().pop().expect("an asynchronous message");
    assert_eq!(
        (bhs[0] & 0x3f, bhs[36]),
        (opcode::ASYNC_MESSAGE, event::DROP_SESSION)
    );
    assert!(one.is_closed() && two.is_closed());
    assert_eq!(bed.iscsi.sessions(), 0);
}

#[test]
fn a_discovery_login_goes_on_with_no_session() {
    let mut bed = Recipe::default().serve();
    let (_old, tsih) = session(&mut bed);
    let mut peer = bed.connect(1);
    let mut login = again(tsih, 0, 1);
    login.keys = "SessionType=Discovery\0".to_owned();
    let answer = bed.log_in(&mut peer, &login);
    // RFC 7143 11.13.5: session does not exist.
    assert_eq!((answer.status_class, answer.status_detail), (2, 0x0a));
}
