//! Reservations on a unit, over sessions of two shards.

mod common;

use common::*;
use lunforge_core::status::Status::{Good, ReservationConflict};
use lunforge_core::testing::{Bed, Send, doubles::Blank};
use lunforge_core::tmf::{Function, Response};
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
    controls
        .hold
        .store(true, std::sync::atomic::Ordering::Relaxed);
    controls
        .can_fence
        .store(true, std::sync::atomic::Ordering::Relaxed);
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
    assert!(controls.fences.load(std::sync::atomic::Ordering::Relaxed) > 0);
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
