//! The pipeline through its public interface: sessions without a wire over handlers that can misbehave.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lunforge_core::Target;
use lunforge_core::asc::Asc;
use lunforge_core::status::Status;
use lunforge_core::task_set::TaskAttribute::{HeadOfQueue, Ordered, Simple};
use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::testing::{Bed, Send, Session};
use lunforge_core::tmf::{BOUND, Function, Response};

const READ_1: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const WRITE_1: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const TUR: [u8; 6] = [0; 6];
const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";

fn bed(shards: usize) -> (Bed, Arc<Controls>) {
    let blank = Blank::default();
    let controls = Arc::clone(&blank.0);
    (Bed::new(shards, blank), controls)
}

fn read(attribute: lunforge_core::task_set::TaskAttribute) -> Send {
    Send {
        cdb: READ_1.to_vec(),
        expected_in: 512,
        attribute,
        ..Send::default()
    }
}

fn write() -> Send {
    Send {
        cdb: WRITE_1.to_vec(),
        data_out: vec![7; 512],
        ..Send::default()
    }
}

#[test]
fn a_read_returns_the_handlers_data() {
    let (mut bed, _) = bed(1);
    let s = bed.session(0, A);
    let reply = bed.command(s, 0, &READ_1, &[], 512);
    assert_eq!((reply.status, reply.data), (Status::Good, vec![0xA5; 512]));
}

#[test]
fn the_first_command_of_a_nexus_reports_power_on_once() {
    let (mut bed, _) = bed(1);
    let s = bed.raw_session(0, A);
    assert_eq!(
        bed.command(s, 0, &[0x12, 0, 0, 0, 36, 0], &[], 36).status,
        Status::Good,
        "INQUIRY passes"
    );
    assert_eq!(bed.command(s, 0, &TUR, &[], 0).asc(), Some((0x29, 0)));
    assert_eq!(bed.command(s, 0, &TUR, &[], 0).status, Status::Good);
}

#[test]
fn request_sense_reports_and_clears_a_unit_attention() {
    let (mut bed, _) = bed(1);
    let s = bed.raw_session(0, A);
    let sense = bed.command(s, 0, &[0x03, 0, 0, 0, 18, 0], &[], 18);
    assert_eq!(
        (sense.status, sense.data[2] & 0xF, sense.data[12]),
        (Status::Good, 6, 0x29)
    );
    assert_eq!(bed.command(s, 0, &TUR, &[], 0).status, Status::Good);
}

#[test]
fn n31_a_lun_without_unit_answers_inquiry_and_request_sense_at_every_length() {
    let (mut bed, _) = bed(1);
    let s = bed.session(0, A);
    for len in 0..40u8 {
        let inquiry = bed.command(s, 9, &[0x12, 0, 0, 0, len, 0], &[], len.into());
        assert_eq!(
            (inquiry.status, inquiry.data.len()),
            (Status::Good, usize::from(len.min(36)))
        );
        assert!(len == 0 || inquiry.data[0] == 0x7F);
        let sense = bed.command(s, 9, &[0x03, 0, 0, 0, len, 0], &[], len.into());
        assert_eq!(
            (sense.status, sense.data.len()),
            (Status::Good, usize::from(len.min(18)))
        );
    }
    assert_eq!(bed.command(s, 9, &READ_1, &[], 512).asc(), Some((0x25, 0)));
}

#[test]
fn n32_report_luns_by_select_code() {
    let (mut bed, _) = bed(1);
    let s = bed.session(0, A);
    let with_select = |select| [0xA0, 0, select, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    for (select, luns) in [(0, 1), (1, 0), (2, 1)] {
        let reply = bed.command(s, 0, &with_select(select), &[], 256);
        assert_eq!(
            (reply.status, reply.data.len()),
            (Status::Good, 8 + 8 * luns),
            "{select:#x}"
        );
    }
    for select in [0x10, 0x11, 0x12, 0xFF] {
        assert_eq!(
            bed.command(s, 0, &with_select(select), &[], 256).asc(),
            Some((0x24, 0)),
            "{select:#x}"
        );
    }
}

#[test]
fn n32_a_target_without_lun_0_still_reports_its_luns_there() {
    let target = Target::builder("iqn.2026-11.org.example:t")
        .lun(300, Blank::default())
        .build()
        .unwrap();
    let mut bed = Bed::with_target(1, target);
    let s = bed.raw_session(0, A);
    let reply = bed.command(s, 0, &[0xA0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0], &[], 64);
    assert_eq!(
        reply.data[8..10],
        [0x41, 0x2C],
        "LUN 300 by flat addressing"
    );
}

#[test]
fn an_unsupported_opcode_is_told_from_a_bad_field() {
    let (mut bed, _) = bed(1);
    let s = bed.session(0, A);
    assert_eq!(bed.command(s, 0, &[0xC0; 6], &[], 0).asc(), Some((0x20, 0)));
    assert_eq!(
        bed.command(s, 0, &[0x2E, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[], 0)
            .asc(),
        Some((0x20, 0)),
        "WRITE AND VERIFY"
    );
    let mut control = READ_1;
    control[9] = 0x01;
    assert_eq!(bed.command(s, 0, &control, &[], 512).asc(), Some((0x24, 0)));
}

#[test]
fn ordered_waits_for_older_commands_and_holds_younger_ones() {
    let (mut bed, unit) = bed(1);
    let s = bed.session(0, A);
    unit.hold.store(true, Relaxed);
    let first = bed.send(s, read(Simple));
    let ordered = bed.send(s, read(Ordered));
    let last = bed.send(s, read(Simple));
    let head = bed.send(s, read(HeadOfQueue));
    assert_eq!(unit.held(), 2, "the first and the head of queue run");
    unit.complete_all();
    assert!(bed.wait(s, first).responded && bed.wait(s, head).responded);
    assert_eq!(unit.held(), 1, "now the ordered one alone");
    unit.complete_all();
    assert!(bed.wait(s, ordered).responded);
    assert_eq!(unit.held(), 1);
    unit.complete_all();
    assert!(bed.wait(s, last).responded);
}

#[test]
fn too_many_commands_get_task_set_full() {
    let (mut bed, unit) = bed(1);
    let s = bed.session(0, A);
    unit.hold.store(true, Relaxed);
    let tags: Vec<_> = (0..65).map(|_| bed.send(s, read(Simple))).collect();
    assert_eq!(bed.wait(s, tags[64]).status, Status::TaskSetFull);
    unit.complete_all();
    assert!(
        tags[..64]
            .iter()
            .all(|t| bed.wait(s, *t).status == Status::Good)
    );
}

#[test]
fn a_dropped_token_answers_hardware_error_and_is_counted() {
    let (mut bed, unit) = bed(1);
    let s = bed.session(0, A);
    unit.hold.store(true, Relaxed);
    let tag = bed.send(s, read(Simple));
    unit.drop_all();
    assert_eq!(bed.wait(s, tag).asc(), Some((0x44, 0)));
}

#[test]
fn abort_task_ends_a_command_that_waits_for_its_data() {
    let (mut bed, unit) = bed(1);
    let s = bed.session(0, A);
    let before = unit.executed.load(Relaxed);
    let tag = bed.send(
        s,
        Send {
            hold_data: true,
            ..write()
        },
    );
    assert_eq!(bed.tmf(s, 0, Function::AbortTask(tag)), Response::Complete);
    assert!(!bed.wait(s, tag).responded);
    bed.release_data(s, tag);
    assert_eq!(
        unit.executed.load(Relaxed),
        before,
        "data that comes late writes nothing"
    );
}

#[test]
fn n26_abort_of_an_unknown_tag_answers_at_once_and_a_reset_still_works() {
    let (mut bed, unit) = bed(1);
    let s = bed.session(0, A);
    assert_eq!(
        bed.tmf(s, 0, Function::AbortTask(4711)),
        Response::NoSuchTask
    );
    assert_eq!(
        bed.tmf(s, 0, Function::LogicalUnitReset),
        Response::Complete
    );
    assert_eq!(unit.resets.load(Relaxed), 1);
    assert_eq!(
        bed.tmf(s, 9, Function::LogicalUnitReset),
        Response::IncorrectLun
    );
}

#[test]
fn an_abort_is_answered_only_when_the_backend_is_done() {
    let (mut bed, unit) = bed(1);
    let s = bed.session(0, A);
    unit.hold.store(true, Relaxed);
    let tag = bed.send(s, write());
    let abort = bed.begin_tmf(s, 0, Function::AbortTask(tag));
    assert_eq!(bed.tmf_ended(s, abort), None);
    unit.complete_all();
    assert_eq!(bed.tmf_ended(s, abort), Some(Response::Complete));
    assert!(!bed.wait(s, tag).responded);
}

#[test]
fn an_abort_is_bounded_and_fences_when_the_backend_never_answers() {
    for can_fence in [true, false] {
        let (mut bed, unit) = bed(1);
        let s = bed.session(0, A);
        unit.hold.store(true, Relaxed);
        unit.can_fence.store(can_fence, Relaxed);
        let tag = bed.send(s, write());
        let abort = bed.begin_tmf(s, 0, Function::AbortTask(tag));
        bed.advance(BOUND + Duration::from_millis(1));
        assert_eq!(bed.tmf_ended(s, abort), Some(Response::Complete));
        assert_eq!(unit.fences.load(Relaxed), 1);
        assert!(!bed.wait(s, tag).responded);
        unit.hold.store(false, Relaxed);
        let next = bed.command(s, 0, &WRITE_1, &[0; 512], 0);
        if can_fence {
            assert_eq!(next.status, Status::Good);
        } else {
            assert_eq!(
                next.asc(),
                Some((0x04, 0x01)),
                "the stale write may still land: the medium stays closed"
            );
            unit.complete_all();
            bed.poll();
            assert_eq!(
                bed.command(s, 0, &WRITE_1, &[0; 512], 0).status,
                Status::Good
            );
        }
    }
}

#[test]
fn n27_two_resets_at_once_from_two_initiators_both_wait_for_the_running_command() {
    let (mut bed, unit) = bed(2);
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    unit.hold.store(true, Relaxed);
    let (wa, wb) = (bed.send(a, write()), bed.send(b, write()));
    let ra = bed.begin_tmf(a, 0, Function::LogicalUnitReset);
    let rb = bed.begin_tmf(b, 0, Function::LogicalUnitReset);
    assert_eq!((bed.tmf_ended(a, ra), bed.tmf_ended(b, rb)), (None, None));
    // A command that comes meanwhile waits at the gate.
    unit.hold.store(false, Relaxed);
    let late = bed.send(a, read(Simple));
    assert!(bed.ended(a, late).is_none());
    unit.complete_all();
    for _ in 0..4 {
        bed.poll();
    }
    assert_eq!(bed.tmf_ended(a, ra), Some(Response::Complete));
    assert_eq!(bed.tmf_ended(b, rb), Some(Response::Complete));
    assert!(!bed.wait(a, wa).responded && !bed.wait(b, wb).responded);
    assert_eq!(unit.resets.load(Relaxed), 2);
    assert_eq!(bed.command(b, 0, &TUR, &[], 0).asc(), Some((0x29, 3)));
    assert_eq!(
        bed.wait(a, late).status,
        Status::Good,
        "it came after the resets began and runs after them"
    );
}

#[test]
fn a_reset_is_bounded_when_the_backend_never_answers() {
    let (mut bed, unit) = bed(2);
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    unit.hold.store(true, Relaxed);
    unit.can_fence.store(true, Relaxed);
    let stuck = bed.send(b, write());
    let reset = bed.begin_tmf(a, 0, Function::TargetReset);
    bed.poll();
    bed.advance(BOUND + Duration::from_millis(1));
    bed.poll();
    assert_eq!(bed.tmf_ended(a, reset), Some(Response::Complete));
    assert!(!bed.wait(b, stuck).responded);
    unit.hold.store(false, Relaxed);
    assert_eq!(bed.command(a, 0, &TUR, &[], 0).asc(), Some((0x29, 3)));
    assert_eq!(bed.command(a, 0, &READ_1, &[], 512).status, Status::Good);
    // The backend answers at last: nobody minds.
    unit.complete_all();
    bed.poll();
}

#[test]
fn n25_a_session_closes_in_bounded_time_and_a_late_completion_is_harmless() {
    let (mut bed, unit) = bed(1);
    let s = bed.session(0, A);
    unit.hold.store(true, Relaxed);
    unit.can_fence.store(true, Relaxed);
    for _ in 0..10 {
        bed.send(s, write());
    }
    bed.send(
        s,
        Send {
            hold_data: true,
            ..write()
        },
    );
    bed.close(s);
    assert!(!bed.closed(s));
    bed.advance(BOUND + Duration::from_millis(1));
    assert!(bed.closed(s));
    assert!(bed.target().sessions().is_empty());
    unit.complete_all();
    unit.hold.store(false, Relaxed);
    let again = bed.session(0, A);
    assert_eq!(
        bed.command(again, 0, &READ_1, &[], 512).status,
        Status::Good
    );
}

#[test]
fn a_gate_closed_for_a_change_lets_no_command_in_and_loses_none() {
    let (mut bed, unit) = bed(2);
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    let lu = Arc::clone(&bed.target().luns()[&0]);
    unit.hold.store(true, Relaxed);
    let running = bed.send(a, write());
    let (tell, told) = std::sync::mpsc::channel();
    let counted = Arc::clone(&unit);
    lu.exclusively(move || tell.send(counted.executed.load(Relaxed)).unwrap());
    unit.hold.store(false, Relaxed);
    let waiting: Vec<(Session, u64)> = [a, b].map(|s| (s, bed.send(s, read(Simple)))).to_vec();
    assert!(told.try_recv().is_err());
    unit.complete_all();
    assert!(bed.wait(a, running).responded);
    assert_eq!(told.try_recv(), Ok(1));
    for (session, tag) in waiting {
        assert_eq!(bed.wait(session, tag).status, Status::Good);
    }
}

#[test]
fn a_change_is_told_to_the_other_nexuses_only_once_each() {
    let (mut bed, _) = bed(2);
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    bed.target().luns()[&0].unit_attention(Asc::CAPACITY_DATA_HAS_CHANGED, None);
    for s in [a, b] {
        assert_eq!(bed.command(s, 0, &TUR, &[], 0).asc(), Some((0x2A, 9)));
        assert_eq!(bed.command(s, 0, &TUR, &[], 0).status, Status::Good);
    }
}

#[test]
fn n61_a_removed_lun_aborts_its_commands_and_answers_not_supported() {
    let (mut bed, unit) = bed(1);
    let s = bed.session(0, A);
    unit.hold.store(true, Relaxed);
    let tag = bed.send(s, write());
    bed.target().remove_lun(0).unwrap();
    bed.poll();
    assert!(bed.ended(s, tag).is_none(), "its backend has it");
    unit.complete_all();
    let reply = bed.wait(s, tag);
    assert_eq!((reply.responded, reply.asc()), (true, Some((0x25, 0))));
    assert_eq!(bed.command(s, 0, &TUR, &[], 0).asc(), Some((0x25, 0)));
    bed.target().add_lun(0, Blank::default()).unwrap();
    assert_eq!(
        bed.command(s, 0, &TUR, &[], 0).asc(),
        Some((0x29, 0)),
        "a new unit, a new I_T_L nexus"
    );
}

#[test]
fn two_units_of_one_serial_number_are_refused() {
    let built = Target::builder("iqn.2026-11.org.example:t")
        .lun(0, Blank::default())
        .lun(1, Blank::default())
        .build();
    assert!(built.unwrap_err().to_string().contains("serial"));
}
