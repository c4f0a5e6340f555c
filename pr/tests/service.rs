//! Reservations on a unit, over sessions of two shards.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::*;
use lunforge_core::Target;
use lunforge_core::handler::Outcome;
use lunforge_core::status::Status::{Busy, Good, ReservationConflict};
use lunforge_core::testing::{Bed, Send, doubles::Blank};
use lunforge_core::tmf::{Function, Response};
use lunforge_core::transport_id::{IscsiName, TransportId};
use lunforge_pr::{ReservationType, Volatile};

const WE: u8 = 1;
const EA: u8 = 3;
const WE_RO: u8 = 5;

#[test]
fn a_write_exclusive_reservation_lets_others_read_and_not_write() {
    let (unit, reservations) = unit(Blank::default(), Volatile);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    assert_eq!(
        out(&mut bed, a, &Out(RESERVE, WE, 1, 0, 0)).status,
        ReservationConflict
    );
    good(&mut bed, a, &Out(REGISTER, 0, 0, 1, 0));
    good(&mut bed, a, &Out(RESERVE, WE, 1, 0, 0));
    assert_eq!(status(&mut bed, a, &WRITE), Good);
    assert_eq!(status(&mut bed, b, &READ), Good);
    assert_eq!(status(&mut bed, b, &WRITE), ReservationConflict);
    // One that joins later has its rights from the start.
    let c = bed.session(1, "iqn.2026-11.org.example:c");
    assert_eq!(status(&mut bed, c, &WRITE), ReservationConflict);
    let state = reservations.snapshot();
    assert_eq!(state.generation(), 1);
    assert_eq!(
        state.reservation().unwrap().kind(),
        ReservationType::WriteExclusive
    );
    good(&mut bed, a, &Out(RELEASE, WE, 1, 0, 0));
    assert_eq!(status(&mut bed, b, &WRITE), Good);
}

#[test]
fn a_preempted_nexus_is_told_and_shut_out() {
    let (unit, _) = unit(Blank::default(), Volatile);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    let c = bed.session(1, "iqn.2026-11.org.example:c");
    for (session, key) in [(a, 1), (b, 2), (c, 3)] {
        good(&mut bed, session, &Out(REGISTER, 0, 0, key, 0));
    }
    good(&mut bed, a, &Out(RESERVE, WE_RO, 1, 0, 0));
    assert_eq!(status(&mut bed, b, &WRITE), Good);
    good(&mut bed, b, &Out(PREEMPT, EA, 2, 1, 0));
    assert_eq!(attention(&mut bed, a), Some((0x2A, 0x05)));
    assert_eq!(attention(&mut bed, b), None);
    assert_eq!(
        attention(&mut bed, c),
        Some((0x2A, 0x04)),
        "the type changed"
    );
    assert_eq!(status(&mut bed, a, &READ), ReservationConflict);
    assert_eq!(status(&mut bed, c, &READ), ReservationConflict);
    assert_eq!(status(&mut bed, b, &WRITE), Good);
    assert_eq!(
        out(&mut bed, a, &Out(RESERVE, EA, 1, 0, 0)).status,
        ReservationConflict
    );
}

#[test]
fn victims_are_told_of_their_lost_commands_when_preempt_and_abort_is_itself_aborted() {
    let blank = Blank::default();
    let controls = blank.0.clone();
    let (unit, reservations) = unit(blank, Volatile);
    let mut bed = Bed::new(2, unit);
    let [victim, bystander, preempter] =
        [(0, "v", 1), (0, "b", 3), (1, "p", 2)].map(|(n, s, k)| {
            let session = bed.session(n, &format!("iqn.2026-11.org.example:{s}"));
            good(&mut bed, session, &Out(REGISTER, 0, 0, k, 0));
            session
        });
    good(&mut bed, victim, &Out(RESERVE, WE_RO, 1, 0, 0));
    let before = reservations.snapshot();
    controls.hold.store(true, Ordering::Relaxed);
    let mut write = |session| {
        let cdb = WRITE.to_vec();
        let data_out = BLOCK.to_vec();
        let send = Send {
            cdb,
            data_out,
            ..Send::default()
        };
        bed.send(session, send)
    };
    let (lost, kept) = (write(victim), write(bystander));
    // Another type takes rights of bystanders, so it waits for what they have at the medium.
    let preempt = bed.send(preempter, Out(PREEMPT_AND_ABORT, EA, 2, 1, 0).command());
    bed.poll();
    controls.complete_first(Outcome::good());
    bed.poll();
    assert!(!bed.wait(victim, lost).responded);
    let abort = bed.begin_tmf(preempter, 0, Function::AbortTask(preempt));
    controls.hold.store(false, Ordering::Relaxed);
    controls.complete_all();
    assert_eq!(bed.wait(bystander, kept).status, Good);
    bed.poll();
    assert_eq!(bed.tmf_ended(preempter, abort), Some(Response::Complete));
    assert_eq!(*reservations.snapshot(), *before);
    assert_eq!(attention(&mut bed, victim), Some((0x2F, 0x00)));
    assert_eq!(attention(&mut bed, bystander), None);
}

#[test]
fn preempt_and_abort_is_not_held_up_by_a_backend_that_never_ends_a_victims_write() {
    let blank = Blank::default();
    let controls = blank.0.clone();
    let (unit, _) = unit(blank, Volatile);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    good(&mut bed, a, &Out(REGISTER, 0, 0, 1, 0));
    good(&mut bed, b, &Out(REGISTER, 0, 0, 2, 0));
    good(&mut bed, a, &Out(RESERVE, WE_RO, 1, 0, 0));
    controls.hold.store(true, Ordering::Relaxed);
    controls.can_fence.store(true, Ordering::Relaxed);
    let write = Send {
        cdb: WRITE.to_vec(),
        data_out: BLOCK.to_vec(),
        ..Send::default()
    };
    let stuck = bed.send(a, write);
    assert_eq!(controls.held(), 1);
    let preempt = bed.send(b, Out(PREEMPT_AND_ABORT, WE_RO, 2, 1, 0).command());
    assert!(
        bed.ended(b, preempt).is_none(),
        "the write may still take effect"
    );
    bed.advance(lunforge_core::tmf::BOUND);
    assert_eq!(bed.wait(b, preempt).status, Good);
    assert!(!bed.wait(a, stuck).responded);
    assert!(controls.fences.load(Ordering::Relaxed) > 0);
}

#[test]
fn preempt_waits_for_a_long_command_no_longer_than_its_bound_and_changes_nothing_then() {
    let blank = Blank::default();
    let controls = blank.0.clone();
    let (unit, reservations) = unit(blank, Volatile);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    good(&mut bed, a, &Out(REGISTER, 0, 0, 1, 0));
    good(&mut bed, b, &Out(REGISTER, 0, 0, 2, 0));
    good(&mut bed, a, &Out(RESERVE, WE_RO, 1, 0, 0));
    let before = reservations.snapshot();
    controls.hold.store(true, Ordering::Relaxed);
    // SYNCHRONIZE CACHE: its backend has longer than others wait.
    let flush = Send {
        cdb: vec![0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ..Send::default()
    };
    let stuck = bed.send(a, flush);
    controls.hold.store(false, Ordering::Relaxed);
    let preempt = bed.send(b, Out(PREEMPT, WE_RO, 2, 1, 0).command());
    assert!(bed.ended(b, preempt).is_none());
    bed.advance(lunforge_core::Ladder::default().hold);
    assert_eq!(bed.wait(b, preempt).status, Busy);
    assert_eq!(*reservations.snapshot(), *before);
    assert_eq!(status(&mut bed, b, &READ), Good, "the gate is open again");
    controls.complete_all();
    assert_eq!(bed.wait(a, stuck).status, Good);
    good(&mut bed, b, &Out(PREEMPT, WE_RO, 2, 1, 0));
    assert_eq!(attention(&mut bed, a), Some((0x2A, 0x05)));
    assert_eq!(status(&mut bed, a, &WRITE), ReservationConflict);
}

#[test]
fn an_aborted_command_that_waits_for_a_stuck_write_lets_others_go_at_once() {
    let blank = Blank::default();
    let controls = blank.0.clone();
    let (unit, reservations) = unit(blank, Volatile);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    good(&mut bed, b, &Out(REGISTER, 0, 0, 2, 0));
    controls.hold.store(true, Ordering::Relaxed);
    let write = Send {
        cdb: WRITE.to_vec(),
        data_out: BLOCK.to_vec(),
        ..Send::default()
    };
    let stuck = bed.send(a, write);
    controls.hold.store(false, Ordering::Relaxed);
    // One waits for the gate, one for its turn.
    let first = bed.send(b, Out(RESERVE, EA, 2, 0, 0).command());
    let second = bed.send(b, Out(RESERVE, EA, 2, 0, 0).command());
    for tag in [second, first] {
        assert!(bed.ended(b, tag).is_none());
        let abort = bed.begin_tmf(b, 0, Function::AbortTask(tag));
        bed.poll();
        assert_eq!(bed.tmf_ended(b, abort), Some(Response::Complete));
        assert!(!bed.wait(b, tag).responded);
    }
    assert_eq!(status(&mut bed, b, &READ), Good, "the gate is open again");
    assert!(reservations.snapshot().reservation().is_none());
    controls.complete_all();
    assert_eq!(bed.wait(a, stuck).status, Good);
}

#[test]
fn n49_spc2_reservation_shuts_others_out_until_release_nexus_loss_or_reset() {
    let (unit, _) = unit(Blank::default(), Volatile);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    let (reserve, release) = ([0x16, 0, 0, 0, 0, 0], [0x17, 0, 0, 0, 0, 0]);
    assert_eq!(status(&mut bed, a, &reserve), Good);
    assert_eq!(status(&mut bed, a, &reserve), Good, "again by the holder");
    for cdb in [&reserve[..], &READ, &WRITE, &TEST_UNIT_READY] {
        assert_eq!(status(&mut bed, b, cdb), ReservationConflict);
    }
    assert_eq!(
        out(&mut bed, b, &Out(REGISTER, 0, 0, 2, 0)).status,
        ReservationConflict
    );
    assert_eq!(
        out(&mut bed, a, &Out(REGISTER, 0, 0, 1, 0)).status,
        ReservationConflict
    );
    assert_eq!(reserve_in(&mut bed, a, 0, 8).status, ReservationConflict);
    assert_eq!(
        status(&mut bed, b, &release),
        Good,
        "by another it is nothing"
    );
    assert_eq!(status(&mut bed, b, &READ), ReservationConflict);
    assert_eq!(status(&mut bed, a, &release), Good);
    assert_eq!(status(&mut bed, b, &reserve), Good);
    assert_eq!(
        bed.tmf(a, 0, Function::LogicalUnitReset),
        Response::Complete
    );
    assert_eq!(attention(&mut bed, a).map(|ua| ua.0), Some(0x29));
    assert_eq!(attention(&mut bed, b).map(|ua| ua.0), Some(0x29));
    assert_eq!(status(&mut bed, a, &reserve), Good);
    bed.close(a);
    while !bed.closed(a) {}
    assert_eq!(status(&mut bed, b, &reserve), Good);
}

#[test]
fn a_session_that_still_closes_takes_no_reservation_from_its_successor() {
    let blank = Blank::default();
    let controls = blank.0.clone();
    let (unit, reservations) = unit(blank, Volatile);
    let mut bed = Bed::new(2, unit);
    let target = Arc::clone(bed.target());
    let id = TransportId::iscsi("iqn.2026-11.org.example:a", [7; 6]).unwrap();
    let reserve = [0x16, 0, 0, 0, 0, 0];
    for reserves_again in [true, false] {
        let old = bed.raw_session_as(&target, 0, id.clone());
        bed.command(old, 0, &TEST_UNIT_READY, &[], 0);
        assert_eq!(status(&mut bed, old, &reserve), Good);
        controls.hold.store(true, Ordering::Relaxed);
        let cdb = READ.to_vec();
        let expected_in = 512;
        let stuck = Send {
            cdb,
            expected_in,
            ..Send::default()
        };
        bed.send(old, stuck);
        bed.close(old);
        assert!(!bed.closed(old), "its read is with the backend");
        let new = bed.raw_session_as(&target, 1, id.clone());
        bed.command(new, 0, &TEST_UNIT_READY, &[], 0);
        if reserves_again {
            assert_eq!(status(&mut bed, new, &reserve), Good);
        }
        controls.hold.store(false, Ordering::Relaxed);
        controls.complete_all();
        while !bed.closed(old) {}
        assert_eq!(
            reservations.snapshot().reserved_by().is_some(),
            reserves_again
        );
        bed.close(new);
        while !bed.closed(new) {}
        assert!(reservations.snapshot().reserved_by().is_none());
    }
}

#[test]
fn a_registration_at_all_target_ports_gives_rights_at_each() {
    let (unit, _) = unit(Blank::default(), Volatile);
    let at = |port| {
        Target::builder(format!("iqn.2026-11.org.example:port-{port}"))
            .relative_port(port)
            .lun(0, Arc::clone(&unit))
            .build()
            .unwrap()
    };
    let (first, second) = (at(1), at(2));
    let mut bed = Bed::with_targets(2, first.clone(), std::slice::from_ref(&second));
    let [a, b] = ["a", "b"]
        .map(|n| TransportId::iscsi(&format!("iqn.2026-11.org.example:{n}"), [0; 6]).unwrap());
    let mut open = |target, shard, id: &TransportId| {
        let session = bed.raw_session_as(target, shard, id.clone());
        bed.command(session, 0, &TEST_UNIT_READY, &[], 0);
        session
    };
    let (a1, a2, b2) = (
        open(&first, 0, &a),
        open(&second, 1, &a),
        open(&second, 1, &b),
    );
    let all_target_ports = 4;
    good(&mut bed, a1, &Out(REGISTER, 0, 0, 1, all_target_ports));
    good(&mut bed, a1, &Out(RESERVE, WE_RO, 1, 0, 0));
    assert_eq!(status(&mut bed, a2, &WRITE), Good);
    assert_eq!(status(&mut bed, b2, &WRITE), ReservationConflict);
    // The other path may do all that a registrant may; it is another nexus than the holder.
    good(&mut bed, a2, &Out(RELEASE, WE_RO, 1, 0, 0));
    assert_eq!(status(&mut bed, b2, &WRITE), ReservationConflict);
    good(&mut bed, b2, &Out(REGISTER, 0, 0, 2, 0));
    good(&mut bed, b2, &Out(PREEMPT, EA, 2, 1, 0));
    for path in [a1, a2] {
        assert_eq!(attention(&mut bed, path), Some((0x2A, 0x05)));
        assert_eq!(status(&mut bed, path, &READ), ReservationConflict);
    }
}

#[test]
fn a_registration_stays_with_the_relative_port_under_which_it_was_made() {
    let (unit, reservations) = unit(Blank::default(), Volatile);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    good(&mut bed, a, &Out(REGISTER, 0, 0, 1, 0));
    good(&mut bed, a, &Out(RESERVE, EA, 1, 0, 0));
    let target = Arc::clone(bed.target());
    target.set_relative_port(9).unwrap();
    assert_eq!(attention(&mut bed, a), Some((0x3F, 0x03)));
    assert_eq!(status(&mut bed, a, &WRITE), ReservationConflict);
    assert_eq!(reservations.snapshot().registrants().len(), 1);
    target.set_relative_port(1).unwrap();
    assert_eq!(attention(&mut bed, a), Some((0x3F, 0x03)));
    assert_eq!(status(&mut bed, a, &WRITE), Good);
}

#[test]
fn a_registration_for_connected_ports_is_for_those_that_see_the_unit() {
    let (unit, reservations) = unit(Blank::default(), Volatile);
    let mut bed = Bed::new(2, unit);
    let names = ["a", "b", "c"].map(|n| format!("iqn.2026-11.org.example:{n}"));
    let [a, b, _c] = [0, 1, 2].map(|n| bed.session(0, &names[n]));
    let target = Arc::clone(bed.target());
    target.add_group("elsewhere").unwrap();
    target.add_initiator("elsewhere", &names[2]).unwrap();
    // A device of which no port is connected is refused.
    for (name, expected) in [(&names[1], 2), (&names[2], 0)] {
        let device = TransportId::IscsiDevice(IscsiName::new(name).unwrap());
        let mut list = Out(REGISTER, 0, 0, 1, 8).list();
        list.extend_from_slice(&(device.emitted_len() as u32).to_be_bytes());
        device.emit(&mut list);
        let cdb = Out(REGISTER, 0, 0, 1, 8).cdb(list.len());
        bed.command(a, 0, &cdb, &list, 0);
        let registrants = reservations.snapshot().registrants().len();
        assert_eq!(registrants, expected, "{name}");
        good(&mut bed, a, &Out(REGISTER_AND_IGNORE, 0, 0, 1, 0));
        good(&mut bed, a, &Out(CLEAR, 0, 1, 0, 0));
        attention(&mut bed, b);
    }
}
