//! Auto contingent allegiance (SAM-5 5.9).

use super::*;

#[test]
fn inquiry_and_opcode_report_say_that_naca_is_honoured() {
    let mut t = two(ControlMode::default());
    let inquiry = t.bed.command(t.a, 0, &[0x12, 0, 0, 0, 36, 0], &[], 36).data;
    assert_eq!(inquiry[3] & 0x20, 0x20, "NORMACA");
    let rsoc = [0xA3, 0x0C, 1, 0x28, 0, 0, 0, 0, 0, 64, 0, 0];
    let usage = t.bed.command(t.a, 0, &rsoc, &[], 64).data;
    assert_eq!(usage[4 + 9], 0x04, "NACA is evaluated");
    let rstmf = [0xA3, 0x0D, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0];
    let functions = t.bed.command(t.a, 0, &rstmf, &[], 4).data;
    assert_eq!(functions, [0xF8, 0, 0, 0], "CLEAR ACA among them");
}

#[test]
fn without_naca_a_check_condition_establishes_no_aca() {
    let mut t = two(ControlMode::default());
    assert_eq!(t.status(t.a, &BAD), Status::CheckCondition);
    assert_eq!(t.status(t.a, &TUR), GOOD);
}

#[test]
fn while_an_aca_lasts_its_nexus_gets_aca_active_and_in_a_set_of_its_own_nobody_else() {
    let mut t = two(ControlMode::default());
    t.fault(t.a);
    for cdb in [
        &TUR[..],
        &with_naca(&TUR),
        &[0x12, 0, 0, 0, 36, 0],
        &[0xC0; 6],
    ] {
        assert_eq!(t.status(t.a, cdb), Status::AcaActive, "{cdb:02x?}");
    }
    assert_eq!(t.status(t.b, &TUR), GOOD);
    assert_eq!(t.clear_aca(t.b), Response::Complete, "it has none");
    assert_eq!(t.status(t.a, &TUR), Status::AcaActive);
    assert_eq!(t.clear_aca(t.a), Response::Complete);
    assert_eq!(t.status(t.a, &TUR), GOOD);
}

#[test]
fn in_a_shared_set_other_nexuses_get_busy_or_aca_active_by_their_naca() {
    let mut t = two(shared());
    t.fault(t.a);
    assert_eq!(t.status(t.b, &TUR), Status::Busy);
    assert_eq!(t.status(t.b, &with_naca(&TUR)), Status::AcaActive);
    let aca = t.aca_command(t.b, &TUR);
    assert_eq!(t.bed.wait(t.b, aca).status, Status::Busy);
    assert_eq!(t.clear_aca(t.b), Response::Rejected, "it is not theirs");
    assert_eq!(t.status(t.b, &TUR), Status::Busy);
    assert_eq!(t.clear_aca(t.a), Response::Complete);
    assert_eq!(t.status(t.b, &TUR), GOOD);
}

#[test]
fn an_aca_command_without_an_aca_gets_invalid_message_error() {
    for control in [ControlMode::default(), shared()] {
        let mut t = two(control);
        let aca = t.aca_command(t.a, &TUR);
        assert_eq!(t.bed.wait(t.a, aca).asc(), Some((0x49, 0)));
    }
}

#[test]
fn one_aca_command_at_a_time_runs_during_an_aca() {
    for control in [ControlMode::default(), shared()] {
        let mut t = two(control);
        t.fault(t.a);
        t.hold(true);
        let first = t.aca_command(t.a, &READ_1);
        let second = t.aca_command(t.a, &READ_1);
        assert_eq!(t.bed.wait(t.a, second).status, Status::AcaActive);
        t.unit.complete_all();
        assert_eq!(t.bed.wait(t.a, first).status, GOOD);
        t.hold(false);
        let third = t.aca_command(t.a, &READ_1);
        assert_eq!(t.bed.wait(t.a, third).status, GOOD);
        assert_eq!(t.status(t.a, &TUR), Status::AcaActive, "the ACA stays");
    }
}

#[test]
fn an_aca_command_that_fails_ends_the_aca_unless_it_has_naca() {
    for control in [ControlMode::default(), shared()] {
        let mut t = two(control);
        t.fault(t.a);
        let again = t.aca_command(t.a, &with_naca(&BAD));
        assert_eq!(t.bed.wait(t.a, again).status, Status::CheckCondition);
        assert_eq!(t.status(t.a, &TUR), Status::AcaActive, "a new ACA");
        let last = t.aca_command(t.a, &BAD);
        assert_eq!(t.bed.wait(t.a, last).status, Status::CheckCondition);
        assert_eq!(t.status(t.a, &TUR), GOOD);
        assert_eq!(t.status(t.b, &TUR), GOOD);
    }
}

#[test]
fn with_tmf_only_aca_commands_are_refused_and_clear_aca_is_not() {
    let mut t = two(ControlMode {
        tmf_only: true,
        ..ControlMode::default()
    });
    t.fault(t.a);
    let aca = t.aca_command(t.a, &TUR);
    assert_eq!(t.bed.wait(t.a, aca).status, Status::AcaActive);
    assert_eq!(t.clear_aca(t.a), Response::Complete);
    assert_eq!(t.status(t.a, &TUR), GOOD);
}

#[test]
fn an_aca_holds_dormant_commands_and_the_ends_of_running_ones() {
    for control in [ControlMode::default(), shared()] {
        let mut t = two(control);
        t.hold(true);
        let running = t.bed.send(t.a, read(Simple));
        let failing = t.bed.send(
            t.a,
            Send {
                cdb: with_naca(&READ_1),
                ..read(Simple)
            },
        );
        let dormant = t.bed.send(t.a, read(Ordered));
        let head = t.bed.send(t.a, read(HeadOfQueue));
        assert_eq!(t.unit.held(), 3);
        // The held ones are in order of arrival: the second one fails.
        t.hold(false);
        t.fault(t.a);
        t.unit.complete_all();
        for tag in [running, failing, dormant, head] {
            assert!(t.bed.ended(t.a, tag).is_none(), "blocked");
        }
        assert_eq!(t.clear_aca(t.a), Response::Complete);
        for tag in [running, failing, head, dormant] {
            assert_eq!(t.bed.wait(t.a, tag).status, GOOD);
        }
    }
}

#[test]
fn a_blocked_command_that_failed_with_naca_establishes_the_next_aca() {
    let mut t = two(ControlMode::default());
    t.hold(true);
    let naca = || Send {
        cdb: with_naca(&READ_1),
        ..read(Simple)
    };
    let tags = [0; 3].map(|_| t.bed.send(t.a, naca()));
    for _ in 0..3 {
        t.unit.complete_first(failure());
    }
    for tag in tags {
        assert_eq!(t.bed.wait(t.a, tag).status, Status::CheckCondition);
        assert_eq!(
            t.status(t.a, &TUR),
            Status::AcaActive,
            "one after the other"
        );
        assert_eq!(t.clear_aca(t.a), Response::Complete);
    }
    assert_eq!(t.status(t.a, &TUR), GOOD);
}

#[test]
fn a_write_whose_data_comes_during_an_aca_begins_after_it() {
    let mut t = two(ControlMode::default());
    let write = t.bed.send(
        t.a,
        Send {
            cdb: vec![0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            data_out: vec![7; 512],
            hold_data: true,
            ..Send::default()
        },
    );
    t.fault(t.a);
    t.bed.release_data(t.a, write);
    assert_eq!(t.unit.executed.load(Relaxed), 0);
    assert_eq!(t.clear_aca(t.a), Response::Complete);
    assert_eq!(t.bed.wait(t.a, write).status, GOOD);
}

#[test]
fn clear_aca_aborts_the_aca_command_and_waits_for_it() {
    let mut t = two(ControlMode::default());
    t.fault(t.a);
    t.hold(true);
    let aca = t.aca_command(t.a, &READ_1);
    let clear = t.bed.begin_tmf(t.a, 0, Function::ClearAca);
    assert_eq!(t.bed.tmf_ended(t.a, clear), None);
    t.unit.complete_all();
    assert_eq!(t.bed.tmf_ended(t.a, clear), Some(Response::Complete));
    assert!(!t.bed.wait(t.a, aca).responded);
    t.hold(false);
    assert_eq!(t.status(t.a, &TUR), GOOD);
}

#[test]
fn a_reset_ends_an_aca_and_its_blocked_commands() {
    for control in [ControlMode::default(), shared()] {
        let mut t = two(control);
        t.hold(true);
        let blocked = t.bed.send(t.a, read(Simple));
        t.fault(t.a);
        t.unit.complete_all();
        t.hold(false);
        t.settle();
        assert_eq!(
            t.bed.tmf(t.b, 0, Function::LogicalUnitReset),
            Response::Complete
        );
        assert!(!t.bed.wait(t.a, blocked).responded);
        assert_eq!(t.asc(t.a), Some((0x29, 3)));
        assert_eq!(t.status(t.a, &TUR), GOOD);
    }
}

#[test]
fn the_loss_of_the_faulted_nexus_ends_its_aca() {
    let mut t = two(shared());
    t.hold(true);
    let blocked = t.bed.send(t.b, read(Simple));
    t.fault(t.a);
    t.unit.complete_all();
    t.settle();
    assert!(t.bed.ended(t.b, blocked).is_none());
    t.bed.close(t.a);
    t.settle();
    assert!(t.bed.closed(t.a));
    assert_eq!(t.bed.wait(t.b, blocked).status, GOOD);
    t.hold(false);
    assert_eq!(t.status(t.b, &TUR), GOOD);
}

#[test]
fn an_abort_of_the_faulted_nexus_for_another_ends_its_aca() {
    for control in [ControlMode::default(), shared()] {
        let mut t = two(control);
        t.fault(t.a);
        let sessions = t.bed.target().sessions();
        let unit = Arc::clone(&t.bed.target().luns()[&0]);
        let of_a = sessions
            .iter()
            .find(|s| s.initiator.to_string().contains(A))
            .unwrap();
        unit.abort_nexuses(vec![of_a.id], None, || {});
        t.settle();
        assert_eq!(t.status(t.a, &TUR), GOOD);
        assert_eq!(t.status(t.b, &TUR), GOOD);
    }
}

#[test]
fn an_atomic_command_that_an_aca_blocks_keeps_nobody_out_of_its_range() {
    let mut t = two(ControlMode::default());
    t.hold(true);
    let mut cdb = vec![0; 16];
    (cdb[0], cdb[13]) = (0x89, 1);
    let data_out = vec![0; 1024];
    let atomic = Send {
        cdb,
        data_out,
        ..Send::default()
    };
    let atomic = t.bed.send(t.a, atomic);
    t.settle();
    assert_eq!(t.unit.held(), 1);
    t.fault(t.a);
    t.hold(false);
    t.unit.complete_all();
    t.settle();
    assert!(t.bed.ended(t.a, atomic).is_none(), "blocked");
    assert_eq!(t.status(t.b, &READ_1), GOOD);
    assert_eq!(t.clear_aca(t.a), Response::Complete);
    assert_eq!(t.bed.wait(t.a, atomic).status, GOOD);
}
