//! Copies that are ended from outside: bounded, without later effects, and with a status that says so.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lunforge_core::asc::Asc;
use lunforge_core::sense::SenseKey;
use lunforge_core::status::Status;
use lunforge_core::tmf::{BOUND, Function, Response};

use super::*;

/// A copy of 200 blocks from disk 0 to disk 1 whose first two chunks wait in the backend of `disk`.
fn held(shards: usize, disk: usize) -> (Setup, u64) {
    let mut s = setup(shards);
    s.disks[disk].hold.store(true, Relaxed);
    let tag = s.begin(&list(5, &[segment((0, 0), (1, 0), 200)]));
    s.bed.poll();
    assert_eq!(s.disks[disk].held(), 2);
    (s, tag)
}

/// Lets the backend go on; the copy writes no more.
fn no_more_is_written(s: &mut Setup) {
    for disk in &s.disks {
        disk.hold.store(false, Relaxed);
        disk.complete_all();
    }
    let before = s.disks[1].writes.load(Relaxed);
    for _ in 0..10 {
        s.bed.advance(Duration::from_millis(50));
    }
    assert_eq!(s.disks[1].writes.load(Relaxed), before);
}

#[test]
fn n46_abort_task_is_answered_when_the_chunks_in_flight_have_ended() {
    let (mut s, tag) = held(2, 1);
    let abort = s.bed.begin_tmf(s.session, 0, Function::AbortTask(tag));
    assert_eq!(
        s.bed.tmf_ended(s.session, abort),
        None,
        "two writes may still land"
    );
    s.disks[1].complete_all();
    s.bed.poll();
    assert_eq!(s.bed.tmf_ended(s.session, abort), Some(Response::Complete));
    assert!(!s.bed.wait(s.session, tag).responded);
    assert_eq!(s.status(5).0, 0x82, "right afterwards");
    no_more_is_written(&mut s);
    assert_eq!(s.managers[0].stats().failed.value(), 1);
}

#[test]
fn n46_an_abort_is_bounded_and_fences_the_unit_that_does_not_answer() {
    for disk in [0, 1] {
        let (mut s, tag) = held(1, disk);
        let abort = s.bed.begin_tmf(s.session, 0, Function::AbortTask(tag));
        s.bed.advance(BOUND + Duration::from_millis(1));
        s.bed.poll();
        assert_eq!(s.bed.tmf_ended(s.session, abort), Some(Response::Complete));
        // A read that is given up changes nothing whenever it ends.
        assert_eq!(s.disks[disk].fences.load(Relaxed) > 0, disk == 1);
        assert!(!s.bed.wait(s.session, tag).responded);
        assert_eq!(s.status(5).0, 0x82);
        no_more_is_written(&mut s);
    }
}

#[test]
fn a_copy_whose_time_is_over_is_answered_when_the_chunks_in_flight_have_ended() {
    // RECOMMENDED COMMAND TIMEOUT is 900 s, less the time to wait: 20 s.
    let ladder = Ladder {
        hold: Duration::from_secs(880),
        abort: Duration::from_secs(900),
        replacement: Duration::from_secs(900),
        ..Ladder::linux()
    };
    let limits = CopyLimits {
        chunk_bytes: 16 * 512,
        ..CopyLimits::default()
    };
    let mut s = setup_of(1, limits, ladder);
    s.disks[0].hold.store(true, Relaxed);
    s.disks[1].hold.store(true, Relaxed);
    let tag = s.begin(&list(5, &[segment((0, 0), (1, 0), 200)]));
    s.bed.poll();
    for disk in [0, 1] {
        assert_eq!(s.disks[disk].held(), 2);
        s.bed.advance(Duration::from_secs(8));
        s.disks[disk].complete_all();
        s.bed.advance(Duration::from_millis(50));
    }
    s.bed.advance(Duration::from_secs(5));
    assert!(s.bed.ended(s.session, tag).is_none(), "parts are under way");
    s.disks.iter().for_each(|disk| disk.complete_all());
    let reply = s.bed.wait(s.session, tag);
    assert_eq!(reply.sense.unwrap().key, SenseKey::CopyAborted);
    assert_eq!(s.units[0].backend().timed_out(), 0);
    no_more_is_written(&mut s);
}

#[test]
fn abort_task_finds_no_inner_command_by_its_tag() {
    let (mut s, tag) = held(1, 1);
    for inner in (1..8).filter(|t| *t != tag) {
        let response = s.bed.tmf(s.session, 1, Function::AbortTask(inner));
        assert_eq!(response, Response::NoSuchTask);
        assert_eq!(
            s.bed.tmf(s.session, 1, Function::QueryTask(inner)),
            Response::NoSuchTask
        );
    }
    for function in [Function::AbortTask(tag), Function::QueryTask(tag)] {
        let response = s.bed.tmf(s.session, 1, function);
        assert_eq!(response, Response::NoSuchTask, "it is a command of LUN 0");
    }
    assert_eq!(
        s.bed.tmf(s.session, 1, Function::QueryTaskSet),
        Response::Complete
    );
    assert_eq!(
        s.bed.tmf(s.session, 0, Function::QueryTaskSet),
        Response::Succeeded
    );
    s.disks[1].hold.store(false, Relaxed);
    s.disks[1].complete_all();
    assert_eq!(s.bed.wait(s.session, tag).status, Status::Good);
}

#[test]
fn n46_abort_task_set_of_a_unit_ends_the_copies_that_are_at_work_on_it() {
    // Of the unit that got the command: the command goes without a response.
    let (mut s, tag) = held(1, 1);
    let abort = s.bed.begin_tmf(s.session, 0, Function::AbortTaskSet);
    s.disks[1].complete_all();
    s.bed.poll();
    assert_eq!(s.bed.tmf_ended(s.session, abort), Some(Response::Complete));
    assert!(!s.bed.wait(s.session, tag).responded);
    no_more_is_written(&mut s);
    // Of the destination: the copy has lost it.
    let (mut s, tag) = held(1, 1);
    let abort = s.bed.begin_tmf(s.session, 1, Function::AbortTaskSet);
    s.disks[1].complete_all();
    let reply = s.bed.wait(s.session, tag);
    assert_eq!(
        reply.sense.unwrap().asc,
        Asc::COPY_TARGET_DEVICE_NOT_REACHABLE
    );
    assert_eq!(s.bed.tmf_ended(s.session, abort), Some(Response::Complete));
    no_more_is_written(&mut s);
}

#[test]
fn n46_a_reset_of_source_or_destination_ends_the_copy() {
    for (lun, disk) in [(0, 1), (1, 0), (1, 1)] {
        let mut s = setup(2);
        let other = open(&mut s.bed, 1, B);
        s.disks[disk].hold.store(true, Relaxed);
        // Through the third unit, which is not reset.
        let tag = s.begin_by(s.session, 2, &list(5, &[segment((0, 0), (1, 0), 200)]));
        s.bed.poll();
        assert_eq!(s.disks[disk].held(), 2);
        let reset = s.bed.begin_tmf(other, lun, Function::LogicalUnitReset);
        s.disks[disk].hold.store(false, Relaxed);
        for _ in 0..3 {
            s.disks[disk].complete_all();
            s.bed.poll();
        }
        assert_eq!(s.bed.tmf_ended(other, reset), Some(Response::Complete));
        let sense = s.bed.wait(s.session, tag).sense.unwrap();
        assert_eq!(sense.key, SenseKey::CopyAborted);
        assert_eq!(sense.asc, Asc::COPY_TARGET_DEVICE_NOT_REACHABLE);
        let left = sense.information.unwrap();
        assert!((168..=200).contains(&left), "{left}");
        let status = s.bed.command(s.session, 2, &cdb(0x84, 0, 5, 12), &[], 12);
        assert_eq!(status.data[4], 0x82);
        no_more_is_written(&mut s);
    }
}

#[test]
fn n46_a_reset_of_the_managers_unit_ends_its_copies_in_the_background_too() {
    let mut s = setup(2);
    let other = open(&mut s.bed, 1, B);
    s.disks[1].hold.store(true, Relaxed);
    let mut background = list(6, &[segment((0, 0), (1, 0), 200)]);
    (background.format, background.immediate) = (ListFormat::Lid4, true);
    let session = s.session;
    let tag = s.begin_by(session, 2, &background);
    assert_eq!(s.bed.wait(session, tag).status, Status::Good);
    s.bed.poll();
    assert_eq!(s.disks[1].held(), 2);
    let reset = s.bed.begin_tmf(other, 2, Function::LogicalUnitReset);
    s.bed.poll();
    assert_eq!(
        s.bed.tmf_ended(other, reset),
        None,
        "two writes may still land"
    );
    s.disks[1].complete_all();
    s.bed.poll();
    s.bed.poll();
    assert_eq!(s.bed.tmf_ended(other, reset), Some(Response::Complete));
    no_more_is_written(&mut s);
}

#[test]
fn n46_a_unit_that_is_removed_ends_the_copy() {
    for (lun, disk) in [(0, 1), (0, 0), (1, 0), (1, 1)] {
        let mut s = setup(1);
        s.disks[disk].hold.store(true, Relaxed);
        let tag = s.begin_by(s.session, 2, &list(5, &[segment((0, 0), (1, 0), 200)]));
        s.bed.poll();
        s.bed.target().remove_lun(lun).unwrap();
        s.bed.poll();
        s.disks[disk].complete_all();
        let sense = s.bed.wait(s.session, tag).sense.unwrap();
        assert_eq!(sense.asc, Asc::COPY_TARGET_DEVICE_NOT_REACHABLE);
        no_more_is_written(&mut s);
    }
}

#[test]
fn n46_another_unit_under_the_same_lun_is_not_written() {
    let (mut s, tag) = held(1, 0);
    s.bed.target().remove_lun(1).unwrap();
    let stranger = Ram::new(7, 512, BLOCKS);
    s.bed.target().add_lun(1, stranger.clone()).unwrap();
    s.disks[0].hold.store(false, Relaxed);
    s.disks[0].complete_all();
    let sense = s.bed.wait(s.session, tag).sense.unwrap();
    assert_eq!(sense.asc, Asc::COPY_TARGET_DEVICE_NOT_REACHABLE);
    assert_eq!(stranger.0.writes.load(Relaxed), 0);
}

#[test]
fn the_end_of_the_session_ends_its_copies_in_the_background_too() {
    for immediate in [false, true] {
        let mut s = setup(2);
        s.disks[1].hold.store(true, Relaxed);
        let mut copy = list(6, &[segment((0, 0), (1, 0), 200)]);
        (copy.format, copy.immediate) = (ListFormat::Lid4, immediate);
        s.begin(&copy);
        s.bed.poll();
        assert_eq!(s.disks[1].held(), 2);
        s.bed.close(s.session);
        assert!(!s.bed.closed(s.session), "two writes may still land");
        s.disks[1].complete_all();
        s.bed.poll();
        assert!(s.bed.closed(s.session));
        no_more_is_written(&mut s);
    }
}

#[test]
fn copy_operation_abort_ends_a_copy_and_waits_for_it() {
    for immediate in [false, true] {
        let mut s = setup(1);
        s.disks[1].hold.store(true, Relaxed);
        let mut copy = list(0xABCD, &[segment((0, 0), (1, 0), 200)]);
        (copy.format, copy.immediate) = (ListFormat::Lid4, immediate);
        let tag = s.begin(&copy);
        s.bed.poll();
        let send = |list_id| Send {
            cdb: cdb(0x83, 0x1C, list_id, 0).to_vec(),
            ..Send::default()
        };
        let wrong = s.bed.send(s.session, send(0xABCE));
        assert_eq!(s.bed.wait(s.session, wrong).asc(), Some((0x24, 0)));
        let abort = s.bed.send(s.session, send(0xABCD));
        assert!(s.bed.ended(s.session, abort).is_none());
        s.disks[1].complete_all();
        assert_eq!(s.bed.wait(s.session, abort).status, Status::Good);
        let copy = s.bed.wait(s.session, tag);
        let aborted = copy.sense.map(|sense| sense.key);
        assert_eq!(aborted, (!immediate).then_some(SenseKey::CopyAborted));
        let status = s
            .bed
            .command(s.session, 0, &cdb(0x84, 5, 0xABCD, 64), &[], 64);
        assert_eq!(status.data[5], 0x80 | 0x60, "terminated");
        no_more_is_written(&mut s);
    }
}

#[test]
fn copy_operation_abort_is_bounded_when_the_backend_never_answers() {
    let (mut s, tag) = held(1, 1);
    let send = Send {
        cdb: cdb(0x83, 0x1C, 5, 0).to_vec(),
        ..Send::default()
    };
    let abort = s.bed.send(s.session, send);
    s.bed.poll();
    s.bed.advance(BOUND + Duration::from_millis(1));
    assert_eq!(s.bed.wait(s.session, abort).status, Status::Good);
    assert_eq!(s.bed.wait(s.session, tag).status, Status::CheckCondition);
    assert!(s.disks[1].fences.load(Relaxed) > 0);
    no_more_is_written(&mut s);
}

#[test]
fn after_an_aborted_copy_the_next_one_has_all_the_room() {
    let limits = CopyLimits {
        copies_per_shard: 1,
        chunk_bytes: 8192,
        ..CopyLimits::default()
    };
    let mut s = setup_with(1, limits);
    for _ in 0..3 {
        s.disks[1].hold.store(true, Relaxed);
        let tag = s.begin(&list(5, &[segment((0, 0), (1, 0), 200)]));
        s.bed.poll();
        assert_eq!(
            s.copy(&list(6, &[segment((0, 0), (1, 0), 1)])).status,
            Status::Busy
        );
        let abort = s.bed.begin_tmf(s.session, 0, Function::AbortTask(tag));
        s.disks[1].hold.store(false, Relaxed);
        s.disks[1].complete_all();
        s.bed.poll();
        assert_eq!(s.bed.tmf_ended(s.session, abort), Some(Response::Complete));
    }
    assert_eq!(
        s.copy(&list(5, &[segment((0, 0), (1, 0), 200)])).status,
        Status::Good
    );
}

/// A background copy of which a part was written and nothing is in flight.
fn between_chunks() -> Setup {
    let mut s = setup(1);
    let session = s.session;
    let mut background = list(6, &[segment((0, 0), (1, 0), 200)]);
    (background.format, background.immediate) = (ListFormat::Lid4, true);
    let tag = s.begin_by(session, 2, &background);
    assert_eq!(s.bed.wait(session, tag).status, Status::Good);
    s.bed.advance(Duration::from_millis(1));
    assert!(s.disks[1].writes.load(Relaxed) > 0);
    s
}

#[test]
fn n46_preempt_and_abort_ends_copies_in_the_background_between_two_chunks_too() {
    for manager_or_destination in [2, 1] {
        let mut s = between_chunks();
        let nexus = s.bed.target().sessions()[0].id;
        s.units[manager_or_destination].abort_nexuses(vec![nexus], None, || ());
        s.bed.poll();
        no_more_is_written(&mut s);
        assert_eq!(s.managers[2].stats().failed.value(), 1);
    }
}

#[test]
fn n46_abort_task_set_ends_copies_in_the_background_between_two_chunks_too() {
    let mut s = between_chunks();
    let response = s.bed.tmf(s.session, 2, Function::AbortTaskSet);
    assert_eq!(response, Response::Complete);
    no_more_is_written(&mut s);
    assert_eq!(s.managers[2].stats().failed.value(), 1);
}
