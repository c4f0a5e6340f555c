//! A unit that takes the place of another one.

use lunforge_core::target::TargetError;
use lunforge_core::testing::Reply;
use lunforge_core::tmf::{BOUND, Function, Response};

use super::*;

fn bed() -> (Bed, Arc<Target>, Arc<Controls>) {
    let (old, controls) = unit("old");
    let target = target(&[&old, &plain("one")]);
    (Bed::with_target(2, Arc::clone(&target)), target, controls)
}

fn is_task_aborted(reply: &Reply) {
    assert_eq!((reply.responded, reply.status), (true, Status::TaskAborted));
}

/// A write whose Data-Out has not come.
fn without_data(bed: &mut Bed, session: Session) -> u64 {
    let write = Send {
        cdb: [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0].to_vec(),
        data_out: vec![0; 512],
        hold_data: true,
        ..Send::default()
    };
    bed.send(session, write)
}

#[test]
fn commands_of_the_old_unit_are_aborted_and_the_next_goes_to_the_new_one() {
    for tell in [false, true] {
        let (mut bed, target, old) = bed();
        let (a, b) = (bed.session(0, A), bed.session(1, B));
        for session in [a, b] {
            told(&mut bed, session, 1);
        }
        let aborted = held(&mut bed, a, 0, &old);
        target.replace_lun(0, plain("new"), tell).unwrap();
        // At once, while the old unit's backend still has its command.
        assert_eq!(serial(&mut bed, a, 0), "new");
        assert!(bed.ended(a, aborted).is_none());
        old.complete_all();
        is_task_aborted(&bed.wait(a, aborted));
        for session in [a, b] {
            let expected: &[_] = if tell { &[INQUIRY_CHANGED] } else { &[] };
            assert_eq!(told(&mut bed, session, 0), expected);
            assert_eq!(told(&mut bed, session, 1), []);
        }
        assert_eq!(old.executed.load(Relaxed), 1);
        good(&mut bed, a, 0);
        assert_eq!(old.executed.load(Relaxed), 1);
    }
}

#[test]
fn commands_that_have_not_begun_are_answered_busy() {
    let (unit, controls) = unit("old");
    let target = target(&[&unit, &plain("one")]);
    let mut bed = Bed::with_target(2, Arc::clone(&target));
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    let data = without_data(&mut bed, a);
    let (tell, told) = std::sync::mpsc::channel();
    unit.close_gate(move |closed| tell.send(closed).unwrap());
    let waiting = [(a, bed.send(a, read(0))), (b, bed.send(b, read(0)))];
    bed.poll();
    let executed = controls.executed.load(Relaxed);
    target.replace_lun(0, plain("new"), false).unwrap();
    for (session, tag) in waiting.into_iter().chain([(a, data)]) {
        let reply = bed.wait(session, tag);
        assert_eq!((reply.responded, reply.status), (true, Status::Busy));
    }
    // Those that come meanwhile are the new unit's.
    good(&mut bed, a, 0);
    drop(told.try_recv());
    bed.poll();
    assert_eq!(controls.executed.load(Relaxed), executed);
}

#[test]
fn a_backend_that_never_answers_does_not_keep_the_new_unit_waiting() {
    let (mut bed, target, old) = bed();
    let a = bed.session(0, A);
    let stuck = held(&mut bed, a, 0, &old);
    target.replace_lun(0, plain("new"), false).unwrap();
    good(&mut bed, a, 0);
    bed.advance(BOUND + BOUND);
    is_task_aborted(&bed.wait(a, stuck));
    good(&mut bed, a, 0);
    old.complete_all();
    good(&mut bed, a, 0);
}

#[test]
fn a_session_that_has_not_used_the_lun_is_told_power_on_first() {
    for tell in [false, true] {
        let (mut bed, target, _) = bed();
        let a = bed.raw_session(0, A);
        target.replace_lun(0, plain("new"), tell).unwrap();
        let expected: &[_] = if tell {
            &[POWER_ON, INQUIRY_CHANGED]
        } else {
            &[POWER_ON]
        };
        assert_eq!(told(&mut bed, a, 0), expected);
    }
}

#[test]
fn what_the_old_unit_had_to_tell_is_told_by_the_new_one() {
    let (mut bed, target, _) = bed();
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    assert_eq!(
        bed.tmf(b, 0, Function::LogicalUnitReset),
        Response::Complete
    );
    target.replace_lun(0, plain("new"), true).unwrap();
    target.replace_lun(0, plain("newer"), true).unwrap();
    assert_eq!(told(&mut bed, a, 0), [(0x29, 3), INQUIRY_CHANGED]);
}

#[test]
fn the_new_unit_may_be_the_same_device_by_another_way_and_no_other_one() {
    let (_bed, target, _) = bed();
    target.replace_lun(0, plain("old"), false).unwrap();
    let twin = Err(TargetError::DuplicateSerial("one".into()));
    assert_eq!(target.replace_lun(0, plain("one"), false), twin);
    let serial = |lun: u16| target.luns()[&lun].handler().identity().serial;
    assert_eq!(serial(0), "old");
    let absent = Err(TargetError::NoSuchLun(7));
    assert_eq!(target.replace_lun(7, plain("x"), false), absent);
    let again = Err(TargetError::DuplicateSerial("old".into()));
    assert_eq!(target.add_lun(2, plain("old")), again);
}

#[test]
fn the_old_unit_is_let_go() {
    let (mut bed, target, _) = bed();
    let old = Arc::clone(&target.luns()[&0]);
    let a = bed.session(0, A);
    target.replace_lun(0, plain("new"), false).unwrap();
    good(&mut bed, a, 0);
    assert_eq!(old.targets().len(), 0);
    assert_eq!(old.itls().len(), 0);
    assert_eq!(Arc::strong_count(&old), 1);
}

#[test]
fn a_unit_that_comes_back_while_its_commands_end_is_there_anew() {
    let (mut bed, target, old) = bed();
    let unit = Arc::clone(&target.luns()[&0]);
    let a = bed.session(0, A);
    told(&mut bed, a, 1);
    let aborted = held(&mut bed, a, 0, &old);
    target.remove_lun(0).unwrap();
    target.add_lun(0, Arc::clone(&unit)).unwrap();
    // The shard found another one in its place, and has seen no time without one.
    assert_eq!(told(&mut bed, a, 0), [POWER_ON]);
    old.complete_all();
    is_task_aborted(&bed.wait(a, aborted));
    good(&mut bed, a, 0);
    assert_eq!(unit.itls().len(), 1);
    target.remove_lun(1).unwrap();
    assert_eq!(told(&mut bed, a, 0), [LUNS_CHANGED]);
}

#[test]
fn a_function_for_a_replaced_lun_is_for_the_new_unit() {
    let (mut bed, target, old) = bed();
    let a = bed.session(0, A);
    let (new, controls) = unit("new");
    target.replace_lun(0, new, false).unwrap();
    assert_eq!(
        bed.tmf(a, 0, Function::LogicalUnitReset),
        Response::Complete
    );
    let resets = |c: &Controls| c.resets.load(Relaxed);
    assert_eq!((resets(&old), resets(&controls)), (0, 1));
}

#[test]
fn a_write_that_awaits_its_data_is_answered_and_the_data_that_comes_is_thrown_away() {
    for removed in [false, true] {
        let (mut bed, target, old) = bed();
        let a = bed.session(0, A);
        told(&mut bed, a, 1);
        let tag = without_data(&mut bed, a);
        let executed = old.executed.load(Relaxed);
        if removed {
            target.remove_lun(0).unwrap();
        } else {
            target.replace_lun(0, plain("new"), false).unwrap();
        }
        bed.poll();
        let reply = bed.ended(a, tag).expect("at once");
        if removed {
            assert_eq!((reply.responded, reply.asc()), (true, Some(NO_UNIT)));
        } else {
            assert_eq!((reply.responded, reply.status), (true, Status::Busy));
        }
        bed.release_data(a, tag);
        bed.poll();
        assert_eq!(old.executed.load(Relaxed), executed);
    }
}

#[test]
fn a_removed_unit_whose_backend_keeps_a_command_answers_it_at_the_bound() {
    for can_fence in [false, true] {
        let (mut bed, target, old) = bed();
        old.can_fence.store(can_fence, Relaxed);
        let a = bed.session(0, A);
        let stuck = held(&mut bed, a, 0, &old);
        target.remove_lun(0).unwrap();
        bed.advance(BOUND / 2);
        assert!(bed.ended(a, stuck).is_none());
        bed.advance(BOUND);
        let reply = bed.wait(a, stuck);
        assert_eq!((reply.responded, reply.asc()), (true, Some(NO_UNIT)));
        old.complete_all();
        bed.poll();
    }
}

#[test]
fn the_map_of_another_group_answers_as_a_changed_one() {
    let ((zero, old), (other, one)) = (unit("old"), unit("one"));
    let target = target(&[&zero, &other]);
    let mut bed = Bed::with_target(1, Arc::clone(&target));
    let a = bed.session(0, A);
    told(&mut bed, a, 1);
    let replaced = held(&mut bed, a, 0, &old);
    one.hold.store(true, Relaxed);
    let removed = bed.send(a, read(1));
    target.add_group("own").unwrap();
    target.add_lun_in(Some("own"), 0, plain("new")).unwrap();
    target.add_initiator("own", "*:a").unwrap();
    bed.poll();
    for controls in [&old, &one] {
        controls.complete_all();
    }
    is_task_aborted(&bed.wait(a, replaced));
    assert_eq!(bed.wait(a, removed).asc(), Some(NO_UNIT));
}

#[test]
fn a_command_that_its_initiator_aborts_before_has_no_answer() {
    let (mut bed, target, old) = bed();
    let a = bed.session(0, A);
    let tag = held(&mut bed, a, 0, &old);
    let abort = bed.begin_tmf(a, 0, Function::AbortTask(tag));
    bed.poll();
    target.replace_lun(0, plain("new"), false).unwrap();
    bed.poll();
    old.complete_all();
    assert!(!bed.wait(a, tag).responded);
    assert_eq!(bed.tmf_ended(a, abort), Some(Response::Complete));
}

#[test]
fn a_function_for_the_lun_is_answered_after_the_commands_of_the_unit_before() {
    let functions = [
        None,
        Some(Function::AbortTaskSet),
        Some(Function::ClearTaskSet),
        Some(Function::LogicalUnitReset),
        Some(Function::TargetReset),
    ];
    let of_one = functions.map(|function| (function, false));
    let of_all = functions.map(|function| (function, true));
    for (function, shared) in of_one.into_iter().chain(of_all) {
        let (mut bed, target, old) = bed();
        let a = bed.session(0, A);
        let tag = held(&mut bed, a, 0, &old);
        let new = Blank::default();
        new.0.serial.set("new".to_owned()).unwrap();
        new.0.control.lock().shared_task_set = shared;
        target.replace_lun(0, new, false).unwrap();
        let function = function.unwrap_or(Function::AbortTask(tag));
        let asked = bed.begin_tmf(a, 0, function);
        (0..4).for_each(|_| bed.poll());
        assert_eq!(bed.tmf_ended(a, asked), None, "{function:?}");
        old.complete_all();
        (0..4).for_each(|_| bed.poll());
        is_task_aborted(&bed.ended(a, tag).expect("an answer"));
        assert_eq!(bed.tmf_ended(a, asked), Some(Response::Complete));
    }
}

#[test]
fn an_abort_of_a_command_of_a_removed_lun_is_answered_when_that_has_ended() {
    let (mut bed, target, old) = bed();
    let a = bed.session(0, A);
    let tag = held(&mut bed, a, 0, &old);
    target.remove_lun(0).unwrap();
    let abort = bed.begin_tmf(a, 0, Function::AbortTask(tag));
    bed.advance(BOUND / 2);
    assert_eq!(bed.tmf_ended(a, abort), None);
    bed.advance(BOUND);
    assert_eq!(bed.tmf_ended(a, abort), Some(Response::Complete));
    assert_eq!(bed.wait(a, tag).asc(), Some(NO_UNIT));
    assert_eq!(
        bed.tmf(a, 0, Function::AbortTask(tag)),
        Response::IncorrectLun
    );
    old.complete_all();
    bed.poll();
}
