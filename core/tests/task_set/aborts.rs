//! Who loses commands, and how: CLEAR TASK SET, TAS, QERR (SAM-5 5.6, SPC-4 7.5.8).

use super::*;

#[test]
fn clear_task_set_ends_the_commands_of_all_nexuses_of_a_shared_set_only() {
    for (control, others) in [(ControlMode::default(), false), (shared(), true)] {
        let mut t = two(control);
        t.hold(true);
        let (of_a, of_b) = (t.bed.send(t.a, read(Simple)), t.bed.send(t.b, read(Simple)));
        let clear = t.bed.begin_tmf(t.a, 0, Function::ClearTaskSet);
        t.settle();
        assert_eq!(t.bed.tmf_ended(t.a, clear), None, "both still execute");
        t.hold(false);
        t.unit.complete_all();
        t.settle();
        assert_eq!(t.bed.tmf_ended(t.a, clear), Some(Response::Complete));
        assert!(!t.bed.wait(t.a, of_a).responded);
        assert_eq!(t.bed.wait(t.b, of_b).responded, !others);
        assert_eq!(t.asc(t.b), if others { CLEARED } else { None });
        assert_eq!(t.asc(t.a), None, "its own doing");
    }
}

#[test]
fn abort_task_set_leaves_other_nexuses_of_a_shared_set_alone() {
    let mut t = two(shared());
    t.hold(true);
    let (of_a, of_b) = (t.bed.send(t.a, read(Simple)), t.bed.send(t.b, read(Simple)));
    let abort = t.bed.begin_tmf(t.a, 0, Function::AbortTaskSet);
    t.unit.complete_all();
    t.settle();
    assert_eq!(t.bed.tmf_ended(t.a, abort), Some(Response::Complete));
    assert!(!t.bed.wait(t.a, of_a).responded);
    assert_eq!(t.bed.wait(t.b, of_b).status, GOOD);
}

#[test]
fn with_tas_a_command_that_another_nexus_aborts_ends_with_task_aborted() {
    let tas = ControlMode {
        task_aborted_status: true,
        ..shared()
    };
    for function in [
        Function::ClearTaskSet,
        Function::LogicalUnitReset,
        Function::TargetReset,
    ] {
        let mut t = two(tas);
        t.hold(true);
        let (of_a, of_b) = (t.bed.send(t.a, read(Simple)), t.bed.send(t.b, read(Simple)));
        let dormant = t.bed.send(t.b, read(Ordered));
        let tag = t.bed.begin_tmf(t.a, 0, function);
        t.settle();
        t.unit.complete_all();
        t.settle();
        assert_eq!(t.bed.tmf_ended(t.a, tag), Some(Response::Complete));
        assert!(!t.bed.wait(t.a, of_a).responded, "its own end silently");
        for tag in [of_b, dormant] {
            let reply = t.bed.wait(t.b, tag);
            assert_eq!((reply.responded, reply.status), (true, Status::TaskAborted));
        }
        t.hold(false);
        let reset = (function != Function::ClearTaskSet).then_some((0x29, 3));
        assert_eq!(t.asc(t.b), reset, "TASK ABORTED says it, or the reset does");
    }
}

#[test]
fn with_tas_a_command_that_its_backend_keeps_ends_with_task_aborted_at_the_bound() {
    let mut t = two(ControlMode {
        task_aborted_status: true,
        ..ControlMode::default()
    });
    t.unit.can_fence.store(true, Relaxed);
    t.hold(true);
    let stuck = t.bed.send(t.b, read(Simple));
    let reset = t.bed.begin_tmf(t.a, 0, Function::LogicalUnitReset);
    t.settle();
    t.bed.advance(BOUND + Duration::from_millis(1));
    t.settle();
    assert_eq!(t.bed.wait(t.b, stuck).status, Status::TaskAborted);
    assert_eq!(t.bed.tmf_ended(t.a, reset), Some(Response::Complete));
}

#[test]
fn an_abort_of_its_own_nexus_never_gives_task_aborted() {
    let mut t = two(ControlMode {
        task_aborted_status: true,
        ..shared()
    });
    for function in [Function::AbortTaskSet, Function::ClearTaskSet] {
        t.hold(true);
        let tag = t.bed.send(t.a, read(Simple));
        let abort = t.bed.begin_tmf(t.a, 0, function);
        t.unit.complete_all();
        t.settle();
        assert_eq!(t.bed.tmf_ended(t.a, abort), Some(Response::Complete));
        assert!(!t.bed.wait(t.a, tag).responded);
    }
}

#[test]
fn abort_nexuses_ends_by_tas_and_leaves_the_unit_attention_to_its_caller() {
    for tas in [false, true] {
        let mut t = two(ControlMode {
            task_aborted_status: tas,
            ..ControlMode::default()
        });
        t.hold(true);
        let (of_a, of_b) = (t.bed.send(t.a, read(Simple)), t.bed.send(t.b, read(Simple)));
        let unit = Arc::clone(&t.bed.target().luns()[&0]);
        let sessions = t.bed.target().sessions();
        let b = sessions
            .iter()
            .find(|s| s.initiator.to_string().contains(B))
            .unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        unit.abort_nexuses(vec![b.id], None, move || tell.send(()).unwrap());
        t.settle();
        assert!(told.try_recv().is_err(), "it still executes");
        t.unit.complete_all();
        t.settle();
        assert_eq!(told.try_recv(), Ok(()));
        assert_eq!(
            t.bed.wait(t.a, of_a).status,
            GOOD,
            "other nexuses are left alone"
        );
        assert_eq!(t.bed.wait(t.b, of_b).responded, tas);
        t.hold(false);
        assert_eq!(t.asc(t.b), None);
    }
}

#[test]
fn qerr_decides_what_becomes_of_the_others_when_a_command_fails() {
    use QueueError::{AbortAll, AbortNexus, Continue};
    for shared_task_set in [false, true] {
        for (queue_error, own, others) in [
            (Continue, true, true),
            (AbortNexus, false, true),
            (AbortAll, false, !shared_task_set),
        ] {
            let mut t = two(ControlMode {
                shared_task_set,
                queue_error,
                ..ControlMode::default()
            });
            t.hold(true);
            let failing = t.bed.send(t.a, read(Simple));
            let (of_a, of_b) = (t.bed.send(t.a, read(Simple)), t.bed.send(t.b, read(Simple)));
            let dormant = t.bed.send(t.a, read(Ordered));
            t.unit.complete_first(failure());
            assert_eq!(t.bed.wait(t.a, failing).status, Status::CheckCondition);
            t.hold(false);
            t.settle();
            t.unit.complete_all();
            for tag in [of_a, dormant] {
                assert_eq!(t.bed.wait(t.a, tag).responded, own, "{queue_error:?}");
            }
            assert_eq!(t.bed.wait(t.b, of_b).responded, others, "{queue_error:?}");
            assert_eq!(t.asc(t.b), if others { None } else { CLEARED });
            assert_eq!(t.status(t.a, &TUR), GOOD);
        }
    }
}

#[test]
fn qerr_with_an_aca_aborts_first_and_blocks_the_rest() {
    use QueueError::{AbortAll, AbortNexus};
    for (queue_error, others) in [(AbortNexus, true), (AbortAll, false)] {
        let mut t = two(ControlMode {
            queue_error,
            ..shared()
        });
        t.hold(true);
        let (of_a, of_b) = (t.bed.send(t.a, read(Simple)), t.bed.send(t.b, read(Simple)));
        t.hold(false);
        t.fault(t.a);
        t.settle();
        t.unit.complete_all();
        assert!(!t.bed.wait(t.a, of_a).responded);
        t.settle();
        assert_eq!(
            t.bed.ended(t.b, of_b).is_none(),
            others,
            "blocked or aborted"
        );
        assert_eq!(t.clear_aca(t.a), Response::Complete);
        t.settle();
        assert_eq!(t.bed.ended(t.b, of_b).is_some_and(|r| r.responded), others);
    }
}

#[test]
fn qerr_with_tas_gives_the_other_nexus_task_aborted() {
    let mut t = two(ControlMode {
        queue_error: QueueError::AbortAll,
        task_aborted_status: true,
        ..shared()
    });
    t.hold(true);
    let of_b = t.bed.send(t.b, read(Simple));
    assert_eq!(t.status(t.a, &BAD), Status::CheckCondition);
    t.settle();
    t.hold(false);
    t.unit.complete_all();
    assert_eq!(t.bed.wait(t.b, of_b).status, Status::TaskAborted);
    assert_eq!(t.asc(t.b), None);
}
