//! Sessions of several channels.

use std::sync::atomic::Ordering::Relaxed;

use lunforge_srp::proto::iu::LoginRequest;
use lunforge_srp::proto::iu::login::{MultiChannelAction, MultiChannelResult};
use lunforge_srp::proto::iu::logout::LogoutReason;
use lunforge_srp::proto::iu::response::ResponseCode;
use lunforge_srp::proto::iu::task::function;
use lunforge_srp::testing::{Send, login};

use crate::bed::{Bed, Recipe, TARGET, disk, initiator, pattern, rw};

#[test]
fn channels_of_one_initiator_port_are_one_nexus_on_one_shard() {
    let recipe = Recipe {
        shards: 3,
        ..Recipe::default()
    };
    let mut bed = recipe.serve(disk());
    let mut one = bed.login(1);
    let mut two = bed.join(1);
    let mut other = bed.join(2);
    assert_eq!(
        two.terms.unwrap().unwrap().result,
        MultiChannelResult::Maintained
    );
    assert_eq!(
        other.terms.unwrap().unwrap().result,
        MultiChannelResult::NoChannel
    );
    let sessions = bed.srp.sessions_list();
    let channels: Vec<_> = sessions
        .iter()
        .map(|session| session.channels.len())
        .collect();
    assert_eq!(channels, [2, 1]);
    let nexuses: Vec<_> = bed.census().iter().map(|census| census.nexuses).collect();
    assert_eq!(
        (nexuses.iter().sum::<usize>(), nexuses.iter().max()),
        (2, Some(&1))
    );
    // The unit attention of the nexus was told on the first channel, once.
    assert_eq!(bed.command(&mut two, &[0; 6]).status, 0);
    assert_eq!(bed.command(&mut other, &[0; 6]).status, 2);
    let data = pattern(4, 4096);
    assert_eq!(bed.write(&mut one, 2, &data).status, 0);
    assert!(bed.read(&mut two, 2, 4096).data == data);
    drop((one, two, other));
    bed.assert_empty();
}

#[test]
fn a_single_channel_login_terminates_the_others_and_says_so() {
    let (mut bed, controls) = Bed::blank();
    let mut one = bed.login(1);
    let mut two = bed.join(1);
    controls.can_fence.store(true, Relaxed);
    controls.hold.store(true, Relaxed);
    let cdb = rw(0x28, 0, 512);
    two.send(&Send {
        cdb: &cdb,
        expected_in: 512,
        ..Send::default()
    });
    bed.poll();
    let mut new = bed.connect(&login(initiator(1), TARGET));
    assert!(new.terms.is_none(), "let in before the old nexus has ended");
    bed.advance(lunforge_core::tmf::BOUND * 2);
    new.pump();
    let terms = new.terms.unwrap().unwrap();
    assert_eq!(terms.result, MultiChannelResult::Terminated);
    for old in [&mut one, &mut two] {
        old.pump();
        let reason = old.logout.map(|logout| logout.reason);
        assert_eq!(reason, Some(LogoutReason::MultiChannelAction));
        assert!(old.wire.is_forgotten());
    }
    assert_eq!((bed.srp.counters().replaced, bed.srp.sessions()), (1, 1));
    controls.hold.store(false, Relaxed);
    controls.complete_all();
    // It is a new I_T nexus.
    assert_eq!(bed.command(&mut new, &[0; 6]).asc(), Some((0x29, 0)));
    drop(new);
    bed.assert_empty();
}

#[test]
fn a_login_for_several_channels_waits_for_a_session_that_ends_and_begins_a_new_one() {
    let (mut bed, controls) = Bed::blank();
    let mut old = bed.login(1);
    controls.can_fence.store(true, Relaxed);
    controls.hold.store(true, Relaxed);
    let cdb = rw(0x28, 0, 512);
    old.send(&Send {
        cdb: &cdb,
        expected_in: 512,
        ..Send::default()
    });
    bed.poll();
    drop(old);
    bed.poll();
    let multi = LoginRequest {
        action: MultiChannelAction::Multi,
        ..login(initiator(1), TARGET)
    };
    let mut new = [bed.connect(&multi), bed.connect(&multi)];
    assert!(new.iter().all(|new| new.terms.is_none()));
    bed.advance(lunforge_core::tmf::BOUND);
    new.iter_mut().for_each(|new| new.pump());
    let mut results = new.iter().map(|new| new.terms.unwrap().unwrap().result);
    assert_eq!(results.next(), Some(MultiChannelResult::NoChannel));
    assert_eq!(results.next(), Some(MultiChannelResult::Maintained));
    controls.complete_all();
}

#[test]
fn the_end_of_one_channel_ends_its_commands_and_no_others() {
    let (mut bed, controls) = Bed::blank();
    let mut one = bed.login(1);
    let mut two = bed.join(1);
    controls.can_fence.store(true, Relaxed);
    controls.hold.store(true, Relaxed);
    let cdb = rw(0x28, 0, 512);
    let read = Send {
        cdb: &cdb,
        expected_in: 512,
        ..Send::default()
    };
    one.send(&read);
    one.send(&read);
    let kept = two.send(&read);
    bed.poll();
    one.log_out();
    bed.poll();
    bed.advance(lunforge_core::tmf::BOUND);
    assert!(one.wire.is_forgotten() && !two.wire.is_disconnected());
    assert_eq!(bed.srp.sessions_list()[0].channels.len(), 1);
    assert_eq!(bed.srp.counters().logouts, 1);
    controls.hold.store(false, Relaxed);
    controls.complete_all();
    assert_eq!(bed.wait(&mut two, kept).status, 0);
    // The nexus is the same: no unit attention.
    assert_eq!(bed.command(&mut two, &[0; 6]).status, 0);
    let mut three = bed.join(1);
    assert_eq!(bed.command(&mut three, &[0; 6]).status, 0);
    drop((two, three));
    bed.assert_empty();
}

#[test]
fn an_abort_may_come_by_another_channel() {
    let (mut bed, controls) = Bed::blank();
    let mut one = bed.login(1);
    let mut two = bed.join(1);
    controls.hold.store(true, Relaxed);
    let cdb = rw(0x28, 0, 512);
    let tag = one.send(&Send {
        cdb: &cdb,
        expected_in: 512,
        ..Send::default()
    });
    bed.poll();
    let abort = two.manage(function::ABORT_TASK, [0; 8], tag);
    bed.poll();
    assert!(two.reply(abort).is_none());
    controls.complete_all();
    let reply = bed.wait(&mut two, abort);
    assert_eq!(reply.code, Some(ResponseCode::Complete));
    bed.poll();
    assert_eq!(one.reply(tag), None);
    one.forget(tag);
    controls.hold.store(false, Relaxed);
    assert_eq!(bed.command(&mut one, &[0; 6]).status, 0);
    assert_eq!(one.limit, 8);
}

#[test]
fn a_function_by_one_channel_waits_for_data_that_another_one_writes() {
    let mut bed = Bed::new();
    let mut one = bed.login(1);
    let mut two = bed.join(1);
    let cdb = rw(0x28, 0, 512);
    let tag = one.send(&Send {
        cdb: &cdb,
        expected_in: 512,
        ..Send::default()
    });
    // The command has ended in the core, but its data has not arrived.
    one.wire.hold();
    bed.poll();
    let abort = two.manage(function::ABORT_TASK_SET, [0; 8], 0);
    bed.poll();
    assert!(two.reply(abort).is_none());
    one.wire.release();
    assert_eq!(bed.wait(&mut two, abort).code, Some(ResponseCode::Complete));
    assert_eq!(one.reply(tag).unwrap().status, 0);
}

#[test]
fn a_function_does_not_wait_for_a_channel_that_is_lost() {
    let mut bed = Bed::new();
    let mut one = bed.login(1);
    let mut two = bed.join(1);
    let cdb = rw(0x28, 0, 512);
    one.send(&Send {
        cdb: &cdb,
        expected_in: 512,
        ..Send::default()
    });
    one.wire.hold();
    bed.poll();
    let abort = two.manage(function::ABORT_TASK_SET, [0; 8], 0);
    bed.poll();
    assert!(two.reply(abort).is_none());
    one.wire.disconnect();
    assert_eq!(bed.wait(&mut two, abort).code, Some(ResponseCode::Complete));
    drop((one, two));
    bed.assert_empty();
}
