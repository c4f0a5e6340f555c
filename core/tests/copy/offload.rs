//! Copies that the handlers make by themselves.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lunforge_core::asc::Asc;
use lunforge_core::status::Status;
use lunforge_core::tmf::{BOUND, Function, Response};

use super::*;

fn offloading(shards: usize) -> Setup {
    let s = setup(shards);
    s.disks
        .iter()
        .for_each(|disk| disk.copies.store(true, Relaxed));
    s
}

#[test]
fn handlers_that_can_copy_by_themselves_do_and_it_is_counted() {
    let mut s = offloading(2);
    let before = s.snapshot();
    let segments = [
        segment((0, 100), (1, 7), 1000),
        segment((1, 7), (1, 2000), 100),
    ];
    assert_eq!(s.copy(&list(1, &segments)).status, Status::Good);
    assert!(s.bytes(1, 7 * 512, 512_000) == before[0][100 * 512..1100 * 512]);
    assert!(s.bytes(1, 2000 * 512, 51_200) == before[0][100 * 512..200 * 512]);
    let stats = s.managers[0].stats();
    assert_eq!(
        (stats.bytes.value(), stats.offloaded_bytes.value()),
        (563_200, 563_200)
    );
    for disk in &s.disks {
        assert_eq!(
            (disk.reads.load(Relaxed), disk.writes.load(Relaxed)),
            (0, 0)
        );
    }
    let read = s.units[0]
        .stats()
        .iter()
        .map(|st| st.read_bytes.value())
        .sum::<u64>();
    assert!(read >= 512_000);
}

#[test]
fn units_of_different_block_length_are_read_and_written() {
    let mut s = offloading(1);
    let before = s.snapshot();
    assert_eq!(
        s.copy(&list(1, &[segment((0, 0), (2, 0), 80)])).status,
        Status::Good
    );
    assert!(s.bytes(2, 0, 80 * 512) == before[0][..80 * 512]);
    assert_eq!(s.managers[0].stats().offloaded_bytes.value(), 0);
}

#[test]
fn a_handler_that_cannot_after_all_is_not_asked_again() {
    // It says so in the middle; then by an error, of which a read and a write find nothing.
    for error in [false, true] {
        let mut s = offloading(1);
        let before = s.snapshot();
        s.disks[1].hold.store(true, Relaxed);
        let tag = s.begin(&list(1, &[segment((0, 0), (1, 0), 200)]));
        s.bed.poll();
        assert_eq!(s.disks[1].held(), 2);
        s.disks[1].hold.store(false, Relaxed);
        if error {
            s.disks[1].fail_after.store(0, Relaxed);
        } else {
            s.disks[1].copies.store(false, Relaxed);
        }
        s.disks[1].complete_all();
        s.disks[1].fail_after.store(u32::MAX, Relaxed);
        assert_eq!(s.bed.wait(s.session, tag).status, Status::Good);
        assert!(s.bytes(1, 0, 200 * 512) == before[0][..200 * 512]);
        assert!(s.disks[1].copied.load(Relaxed) <= 4, "of 13 chunks");
    }
}

#[test]
fn compare_and_write_on_the_source_waits_for_a_copy_that_reads_there() {
    let mut s = offloading(2);
    let other = open(&mut s.bed, 1, B);
    s.disks[1].hold.store(true, Relaxed);
    let before = s.snapshot();
    let copy = s.begin(&list(1, &[segment((0, 0), (1, 0), 16)]));
    s.bed.poll();
    assert_eq!(s.disks[1].held(), 1);
    let mut cdb = vec![0x89; 1];
    cdb.resize(16, 0);
    (cdb[9], cdb[13]) = (3, 1);
    let mut data_out = s.bytes(0, 3 * 512, 512);
    data_out.extend_from_slice(&[0xEE; 512]);
    let send = Send {
        cdb,
        data_out,
        ..Send::default()
    };
    let caw = s.bed.send(other, send);
    assert!(s.bed.ended(other, caw).is_none());
    s.disks[1].complete_all();
    assert_eq!(s.bed.wait(other, caw).status, Status::Good);
    assert_eq!(s.bed.wait(s.session, copy).status, Status::Good);
    assert!(
        s.bytes(1, 0, 16 * 512) == before[0][..16 * 512],
        "the copy came first"
    );
    assert!(s.bytes(0, 3 * 512, 512) == [0xEE; 512]);
}

#[test]
fn n46_a_reset_of_the_source_waits_for_a_copy_that_reads_there_or_fences_the_destination() {
    for answers in [true, false] {
        let mut s = offloading(2);
        let other = open(&mut s.bed, 1, B);
        s.disks[1].hold.store(true, Relaxed);
        let tag = s.begin_by(s.session, 2, &list(5, &[segment((0, 0), (1, 0), 200)]));
        s.bed.poll();
        assert_eq!(s.disks[1].held(), 2);
        let reset = s.bed.begin_tmf(other, 0, Function::LogicalUnitReset);
        assert_eq!(s.bed.tmf_ended(other, reset), None);
        if answers {
            s.disks[1].complete_all();
        } else {
            s.bed.advance(BOUND + Duration::from_millis(1));
        }
        s.bed.poll();
        s.bed.poll();
        assert_eq!(s.bed.tmf_ended(other, reset), Some(Response::Complete));
        assert_eq!(s.disks[1].fences.load(Relaxed) > 0, !answers);
        let sense = s.bed.wait(s.session, tag).sense.unwrap();
        assert_eq!(sense.asc, Asc::COPY_TARGET_DEVICE_NOT_REACHABLE);
        s.disks[1].hold.store(false, Relaxed);
        s.disks[1].complete_all();
        // Both gates are open again.
        s.bed.command(other, 0, &[0; 6], &[], 0);
        let again = s.begin_by(other, 2, &list(6, &[segment((0, 0), (1, 0), 200)]));
        assert_eq!(s.bed.wait(other, again).status, Status::Good);
    }
}

#[test]
fn a_source_whose_gate_is_closed_is_read_when_it_opens() {
    let mut s = offloading(1);
    let before = s.snapshot();
    s.disks[1].hold.store(true, Relaxed);
    let tag = s.begin(&list(1, &[segment((0, 0), (1, 0), 200)]));
    s.bed.poll();
    assert_eq!(s.disks[1].held(), 2);
    let (closed, got) = std::sync::mpsc::channel();
    s.units[0].close_gate(move |gate| closed.send(gate).unwrap());
    assert!(got.try_recv().is_err(), "two copies read there");
    s.disks[1].hold.store(false, Relaxed);
    s.disks[1].complete_all();
    s.bed.poll();
    let gate = got.try_recv().expect("the gate is empty");
    for _ in 0..5 {
        s.bed.poll();
    }
    assert!(s.bed.ended(s.session, tag).is_none(), "it waits");
    drop(gate);
    assert_eq!(s.bed.wait(s.session, tag).status, Status::Good);
    assert!(s.bytes(1, 0, 200 * 512) == before[0][..200 * 512]);
    assert!(s.managers[0].stats().offloaded_bytes.value() < 200 * 512);
}

#[test]
fn two_offloaded_copies_that_cross_do_not_deadlock_while_both_gates_are_wanted() {
    for shards in [1, 2] {
        let mut s = offloading(shards);
        let other = open(&mut s.bed, shards - 1, B);
        for disk in &s.disks {
            disk.hold.store(true, Relaxed);
        }
        let forth = s.begin(&list(1, &[segment((0, 0), (1, 2000), 1000)]));
        let back = s.begin_by(other, 1, &list(1, &[segment((1, 0), (0, 2000), 1000)]));
        s.bed.poll();
        for unit in &s.units {
            unit.exclusively(|| {});
        }
        for disk in &s.disks {
            disk.hold.store(false, Relaxed);
            disk.complete_all();
        }
        assert_eq!(s.bed.wait(s.session, forth).status, Status::Good);
        assert_eq!(s.bed.wait(other, back).status, Status::Good);
        assert!(s.bytes(1, 2000 * 512, 512_000) == s.bytes(0, 0, 512_000));
        assert!(s.bytes(0, 2000 * 512, 512_000) == s.bytes(1, 0, 512_000));
    }
}
