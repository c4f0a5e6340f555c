//! Connections that are lost: at every step, with every buffer coming back, and nothing left behind.

use std::time::Duration;

use lunforge_srp::proto::iu::task::function;
use lunforge_srp::testing::{Channel, Form, Send, login};

use crate::bed::{Bed, Recipe, TARGET, disk, initiator, pattern, rw};

/// Sends some of everything. Answers are not waited for.
fn burst(channel: &mut Channel) {
    let data = pattern(1, 4096);
    let (write, read) = (rw(0x2A, 0, 4096), rw(0x28, 0, 4096));
    let send = |out_form, in_form, out: bool| Send {
        cdb: if out { &write } else { &read },
        data_out: if out { &data } else { &[] },
        out_form,
        expected_in: if out { 0 } else { 4096 },
        in_form,
        ..Send::default()
    };
    let first = channel.send(&send(Form::Direct, Form::Direct, true));
    channel.send(&send(Form::Direct, Form::Indirect(3), false));
    channel.send(&send(Form::Table(5, 1), Form::Direct, true));
    channel.send(&send(Form::Direct, Form::Table(5, 0), false));
    if channel.terms.unwrap().unwrap().immediate {
        channel.send(&send(Form::Immediate, Form::Direct, true));
    }
    channel.manage(function::ABORT_TASK, [0; 8], first);
    channel.send(&Send {
        cdb: &[0; 6],
        ..Send::default()
    });
}

/// A bed whose channels have receive buffers of their own, or share so many.
fn bed(shared: usize) -> Bed {
    let mut recipe = Recipe::default();
    recipe.limits.shared_receives = shared;
    recipe.serve(disk())
}

fn steps(shared: usize) -> u64 {
    let mut bed = bed(shared);
    let mut channel = bed.login(1);
    let before = channel.wire.steps();
    burst(&mut channel);
    bed.poll();
    channel.wire.steps() - before
}

#[test]
fn n25_a_connection_that_ends_at_any_step_leaves_nothing() {
    for shared in [0, 12] {
        let steps = steps(shared);
        assert!(steps > 14, "{steps}");
        ends_at_each(shared, steps);
    }
}

fn ends_at_each(shared: usize, steps: u64) {
    for step in 1..=steps {
        for fails in [false, true] {
            for others in [false, true] {
                let mut bed = bed(shared);
                let mut channel = bed.login(1);
                let mut sibling = others.then(|| bed.join(1));
                match fails {
                    true => channel.wire.fail_at(step),
                    false => channel.wire.lose_at(step),
                }
                burst(&mut channel);
                bed.poll();
                // A step that receives cannot fail.
                if !channel.wire.is_disconnected() {
                    channel.wire.disconnect();
                }
                bed.advance(Duration::from_secs(1));
                assert!(channel.wire.is_forgotten(), "{step} {fails} {others}");
                assert_eq!(channel.wire.in_flight(), 0);
                if let Some(sibling) = &mut sibling {
                    assert_eq!(bed.command(sibling, &[0; 6]).status, 0, "{step} {fails}");
                }
                drop((channel, sibling));
                bed.assert_empty();
            }
        }
    }
}

#[test]
fn a_buffer_that_the_fabric_keeps_is_nobody_elses_and_the_initiator_may_come_back() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    channel.wire.hold_flush();
    let data = pattern(1, 512);
    let cdb = rw(0x2A, 0, 512);
    channel.send(&Send {
        cdb: &cdb,
        data_out: &data,
        ..Send::default()
    });
    channel.wire.hold();
    bed.poll();
    channel.wire.disconnect();
    bed.advance(Duration::from_secs(1));
    // The session is over; what the fabric has is not.
    assert_eq!(bed.srp.sessions(), 0);
    assert_eq!(channel.wire.in_flight(), 8 + 2 + 1);
    let kept = bed.census()[0].buffer_bytes;
    assert!(kept > 10 * 8276);
    let mut again = bed.login(1);
    assert!(bed.read(&mut again, 0, 512).data == vec![0; 512]);
    drop(again);
    bed.poll();
    assert_eq!(bed.census()[0].buffer_bytes, kept);
    channel.wire.release_flush();
    bed.assert_empty();
}

#[test]
fn an_endpoint_whose_buffers_never_come_back_is_dropped_with_them() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    channel.wire.hold_flush();
    channel.wire.disconnect();
    bed.advance(Duration::from_secs(79));
    assert!(!channel.wire.is_forgotten());
    bed.advance(Duration::from_secs(2));
    assert!(channel.wire.is_forgotten());
    channel.limit = 0;
    bed.assert_empty();
}

#[test]
fn a_stop_does_not_wait_for_buffers_that_do_not_come_back() {
    let mut bed = Bed::new();
    let channel = bed.login(1);
    channel.wire.hold_flush();
    channel.wire.hold();
    assert!(bed.stop());
    assert!(channel.wire.is_forgotten());
}

#[test]
fn an_initiator_that_comes_again_after_a_loss_has_a_new_nexus() {
    let mut bed = Bed::new();
    for _ in 0..5 {
        let mut channel = bed.connect(&login(initiator(1), TARGET));
        assert_eq!(bed.command(&mut channel, &[0; 6]).asc(), Some((0x29, 0)));
        burst(&mut channel);
        channel.wire.disconnect();
        bed.advance(Duration::from_millis(600));
    }
    bed.assert_empty();
    assert_eq!(bed.srp.counters().lost, 5);
}

#[test]
fn garbage_ends_its_channel_with_a_logout_and_no_other() {
    let mut bed = Bed::new();
    let mut good = bed.login(1);
    for iu in [
        vec![],
        vec![0x55; 64],
        vec![2; 20],
        vec![0x41; 16],
        vec![0; 8276],
    ] {
        let mut channel = bed.login(2);
        channel.wire.send(&iu);
        bed.poll();
        channel.pump();
        assert!(channel.logout.is_some(), "{iu:?}");
        assert_eq!(bed.command(&mut good, &[0; 6]).status, 0);
    }
    // Longer than the buffers: the fabric ends the connection.
    let channel = bed.login(2);
    channel.wire.send(&vec![2; 8277]);
    bed.poll();
    assert!(channel.wire.is_forgotten());
    assert_eq!(bed.srp.counters().violations, 5);
    drop(good);
    bed.assert_empty();
}

#[test]
fn an_initiator_that_does_not_answer_credit_requests_is_asked_once() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    channel.answers = false;
    let mut other = bed.login(2);
    let data = pattern(1, 512);
    for round in 0..3 {
        let cdb = rw(0x2A, 0, 512);
        let sent: Vec<u64> = (0..channel.limit)
            .map(|_| {
                channel.send(&Send {
                    cdb: &cdb,
                    data_out: &data,
                    ..Send::default()
                })
            })
            .collect();
        channel.wire.hold();
        bed.poll();
        bed.manage(&mut other, function::LOGICAL_UNIT_RESET, 0);
        channel.wire.release();
        bed.poll();
        channel.pump();
        sent.into_iter().for_each(|tag| channel.forget(tag));
        assert_eq!(channel.credit_requests, 1, "{round}");
    }
}
