//! UA_INTLCK_CTRL (SPC-4 7.5.8).

use super::*;

#[test]
fn an_interlocked_unit_attention_is_cleared_by_request_sense_only() {
    for interlock in [
        UnitAttentionInterlock::Keep,
        UnitAttentionInterlock::KeepAndEstablish,
    ] {
        let mut t = two(ControlMode {
            interlock,
            ..ControlMode::default()
        });
        let s = t.bed.raw_session(0, "iqn.2026-11.org.example:c");
        for _ in 0..3 {
            assert_eq!(t.asc(s), Some((0x29, 0)));
        }
        let sense = t.bed.command(s, 0, &[3, 0, 0, 0, 18, 0], &[], 18).data;
        assert_eq!((sense[2] & 0xF, sense[12]), (6, 0x29));
        assert_eq!(t.asc(s), None);
    }
}

#[test]
fn with_interlock_11b_task_set_full_establishes_a_unit_attention_once() {
    for (interlock, told) in [
        (UnitAttentionInterlock::Clear, None),
        (UnitAttentionInterlock::Keep, None),
        (UnitAttentionInterlock::KeepAndEstablish, Some((0x2C, 8))),
    ] {
        let mut t = two(ControlMode::default());
        t.unit.control.lock().interlock = interlock;
        t.hold(true);
        let tags: Vec<_> = (0..65).map(|_| t.bed.send(t.a, read(Simple))).collect();
        assert_eq!(t.bed.wait(t.a, tags[64]).status, Status::TaskSetFull);
        t.hold(false);
        t.unit.complete_all();
        t.settle();
        assert_eq!(t.asc(t.a), told);
        assert_eq!(t.asc(t.a), told, "kept");
        t.status(t.a, &[3, 0, 0, 0, 18, 0]);
        assert_eq!(t.asc(t.a), None);
    }
}

#[test]
fn with_interlock_11b_busy_and_reservation_conflict_establish_theirs() {
    let mut t = two(shared());
    t.unit.control.lock().interlock = UnitAttentionInterlock::KeepAndEstablish;
    t.fault(t.a);
    assert_eq!(t.status(t.b, &TUR), Status::Busy);
    assert_eq!(t.clear_aca(t.a), Response::Complete);
    assert_eq!(t.asc(t.b), Some((0x2C, 7)));
    t.status(t.b, &[3, 0, 0, 0, 18, 0]);
    t.hold(true);
    let tag = t.bed.send(t.b, read(Simple));
    t.unit
        .complete_first(Outcome::status(Status::ReservationConflict));
    assert_eq!(t.bed.wait(t.b, tag).status, Status::ReservationConflict);
    t.hold(false);
    assert_eq!(t.asc(t.b), Some((0x2C, 9)));
}
