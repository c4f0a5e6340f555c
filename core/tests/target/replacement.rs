//! A unit that takes the place of another one.

use lunforge_core::target::TargetError;
use lunforge_core::tmf::{BOUND, Function, Response};

use super::*;

fn bed() -> (Bed, Arc<Target>, Arc<Controls>) {
    let (old, controls) = unit("old");
    let target = target(&[&old, &plain("one")]);
    (Bed::with_target(2, Arc::clone(&target)), target, controls)
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
        old.complete_all();
        assert_eq!(bed.wait(a, aborted).status, Status::TaskAborted);
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
fn a_backend_that_never_answers_does_not_keep_the_new_unit_waiting() {
    let (mut bed, target, old) = bed();
    let a = bed.session(0, A);
    let stuck = held(&mut bed, a, 0, &old);
    target.replace_lun(0, plain("new"), false).unwrap();
    good(&mut bed, a, 0);
    bed.advance(BOUND + BOUND);
    assert_eq!(bed.wait(a, stuck).status, Status::TaskAborted);
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
    assert_eq!(told(&mut bed, a, 0), [POWER_ON]);
    old.complete_all();
    assert_eq!(bed.wait(a, aborted).status, Status::TaskAborted);
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
