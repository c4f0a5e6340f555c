//! Task management, and the end of commands that it ends.

use std::sync::atomic::Ordering::Relaxed;

use lunforge_srp::proto::iu::response::ResponseCode;
use lunforge_srp::proto::iu::task::function;
use lunforge_srp::testing::{Channel, Form, Send};

use crate::bed::{Bed, NO_LUN, pattern, rw};

fn read(channel: &mut Channel) -> u64 {
    let cdb = rw(0x28, 0, 512);
    channel.send(&Send {
        cdb: &cdb,
        expected_in: 512,
        ..Send::default()
    })
}

#[test]
fn an_aborted_command_has_no_answer_and_its_credit_comes_back() {
    let (mut bed, controls) = Bed::blank();
    let mut channel = bed.login(1);
    controls.can_fence.store(true, Relaxed);
    controls.hold.store(true, Relaxed);
    let tag = read(&mut channel);
    bed.poll();
    let abort = channel.manage(function::ABORT_TASK, [0; 8], tag);
    bed.poll();
    assert!(
        channel.reply(abort).is_none(),
        "answered while the backend has the command"
    );
    bed.advance(lunforge_core::tmf::BOUND);
    let reply = bed.wait(&mut channel, abort);
    assert_eq!(reply.code, Some(ResponseCode::Complete));
    channel.forget(tag);
    assert_eq!((channel.reply(tag), channel.limit), (None, 8));
    controls.complete_all();
    bed.poll();
    assert_eq!(channel.reply(tag), None);
    drop(channel);
    bed.assert_empty();
}

#[test]
fn every_function_is_answered_with_its_code() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    for function in [
        function::ABORT_TASK,
        function::ABORT_TASK_SET,
        function::CLEAR_TASK_SET,
        function::LOGICAL_UNIT_RESET,
    ] {
        let reply = bed.manage(&mut channel, function, 77);
        assert_eq!(reply.code, Some(ResponseCode::Complete), "{function}");
    }
    for function in [0, 3, 0x10, 0x20, 0x80, 0xFF] {
        let reply = bed.manage(&mut channel, function, 77);
        assert_eq!(reply.code, Some(ResponseCode::NotSupported), "{function}");
    }
    let tag = channel.manage(function::LOGICAL_UNIT_RESET, NO_LUN, 0);
    let reply = bed.wait(&mut channel, tag);
    assert_eq!(reply.code, Some(ResponseCode::InvalidFields));
    assert_eq!(channel.limit, 8);
    // The reset is told by a unit attention.
    assert_eq!(bed.command(&mut channel, &[0; 6]).asc(), Some((0x29, 3)));
}

/// An initiator takes its memory away as soon as it has the answer to an abort: nothing may reach into it any more.
#[test]
fn an_abort_is_answered_when_nothing_is_read_or_written_any_more() {
    for (out, form) in [
        (true, Form::Direct),
        (true, Form::Table(4, 0)),
        (false, Form::Table(4, 0)),
    ] {
        let mut bed = Bed::new();
        let mut channel = bed.login(1);
        let data = pattern(1, 2048);
        let cdb = rw(if out { 0x2A } else { 0x28 }, 0, 2048);
        channel.wire.hold();
        let send = Send {
            cdb: &cdb,
            data_out: if out { &data } else { &[] },
            out_form: form,
            expected_in: if out { 0 } else { 2048 },
            in_form: form,
            ..Send::default()
        };
        // The command comes, and its data or its table is on its way; then the abort comes by another channel.
        let mut other = bed.join(1);
        channel.wire.release();
        let tag = channel.send(&send);
        channel.wire.hold();
        bed.poll();
        let abort = other.manage(function::ABORT_TASK, [0; 8], tag);
        bed.poll();
        assert!(other.reply(abort).is_none(), "{out} {form:?}");
        channel.wire.release();
        let reply = bed.wait(&mut other, abort);
        assert_eq!(reply.code, Some(ResponseCode::Complete));
        channel.pump();
        // A read had ended before the abort came; a write had not, and has no answer.
        assert_eq!(channel.reply(tag).is_some(), !out);
        channel.forget(tag);
        assert_eq!(bed.command(&mut channel, &[0; 6]).status, 0);
        assert!(!channel.wire.is_disconnected());
        drop((channel, other));
        bed.assert_empty();
    }
}

#[test]
fn a_command_that_another_session_ends_is_not_answered_while_its_data_is_read() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    let mut other = bed.login(2);
    let data = pattern(1, 512);
    let cdb = rw(0x2A, 0, 512);
    let tag = channel.send(&Send {
        cdb: &cdb,
        data_out: &data,
        ..Send::default()
    });
    channel.wire.hold();
    bed.poll();
    let reply = bed.manage(&mut other, function::LOGICAL_UNIT_RESET, 0);
    assert_eq!(reply.code, Some(ResponseCode::Complete));
    bed.poll();
    assert!(channel.reply(tag).is_none());
    channel.wire.release();
    bed.poll();
    channel.pump();
    channel.forget(tag);
    assert!(!channel.wire.is_disconnected());
    assert_eq!(bed.command(&mut channel, &[0; 6]).asc(), Some((0x29, 3)));
    // The reset came before the data: nothing was written.
    assert_eq!(bed.read(&mut other, 0, 512).status, 2);
    assert!(bed.read(&mut other, 0, 512).data == vec![0; 512]);
}

#[test]
fn a_command_that_has_ended_keeps_its_place_while_its_data_is_read() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    let mut other = bed.login(2);
    let write = |channel: &mut Channel, seed: u8| {
        let cdb = rw(0x2A, seed, 512);
        channel.send(&Send {
            cdb: &cdb,
            data_out: &pattern(seed, 512),
            ..Send::default()
        })
    };
    channel.wire.hold_reads();
    let first = write(&mut channel, 1);
    bed.poll();
    bed.manage(&mut other, function::LOGICAL_UNIT_RESET, 0);
    assert_eq!(bed.command(&mut channel, &[0; 6]).asc(), Some((0x29, 3)));
    // Neither its tag nor its place may be used again yet; the credit is not given back, either.
    let second = write(&mut channel, 2);
    bed.poll();
    assert_eq!(channel.limit, 6);
    channel.wire.release_reads();
    assert_eq!(bed.wait(&mut channel, second).status, 0);
    channel.forget(first);
    assert!(bed.read(&mut channel, 2, 512).data == pattern(2, 512));
    assert!(bed.read(&mut channel, 1, 512).data == vec![0; 512]);
    assert_eq!(channel.limit, 8);
}

#[test]
fn the_place_of_a_command_is_used_again_and_late_data_goes_nowhere() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    for round in 0..50 {
        let data = pattern(round, 512);
        let cdb = rw(0x2A, round, 512);
        let tag = channel.send(&Send {
            cdb: &cdb,
            data_out: &data,
            out_form: if round % 2 == 0 {
                Form::Direct
            } else {
                Form::Table(3, 1)
            },
            ..Send::default()
        });
        if round % 3 == 0 {
            let abort = channel.manage(function::ABORT_TASK, [0; 8], tag);
            bed.wait(&mut channel, abort);
            channel.forget(tag);
        } else {
            assert_eq!(bed.wait(&mut channel, tag).status, 0);
            assert!(bed.read(&mut channel, round, 512).data == data);
        }
        assert_eq!(channel.limit, 8, "{round}");
    }
    drop(channel);
    bed.assert_empty();
}

#[test]
fn a_credit_request_comes_when_all_commands_are_ended_by_another_session() {
    let (mut bed, controls) = Bed::blank();
    let mut channel = bed.login(1);
    let mut other = bed.login(2);
    controls.can_fence.store(true, Relaxed);
    controls.hold.store(true, Relaxed);
    let tags: Vec<u64> = (0..8).map(|_| read(&mut channel)).collect();
    bed.poll();
    assert_eq!((channel.limit, controls.held()), (0, 8));
    let reset = other.manage(function::LOGICAL_UNIT_RESET, [0; 8], 0);
    bed.advance(lunforge_core::tmf::BOUND);
    bed.wait(&mut other, reset);
    bed.poll();
    channel.pump();
    tags.into_iter().for_each(|tag| channel.forget(tag));
    assert_eq!((channel.limit, channel.credit_requests), (8, 1));
    controls.complete_all();
    controls.hold.store(false, Relaxed);
    bed.command(&mut channel, &[0; 6]);
    assert_eq!(bed.command(&mut channel, &[0; 6]).status, 0);
}
