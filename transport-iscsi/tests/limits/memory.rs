//! What sessions hold of a shard's memory, and peers that do not move.

use std::time::Duration;

use lunforge_core::shard::Limits as ShardLimits;
use lunforge_iscsi::io::Limits;
use lunforge_iscsi::proto::pdu::async_message::event;
use lunforge_iscsi::proto::pdu::opcode;

use super::bed::{Recipe, patient};

const FULL: u8 = 0x28;

fn small(shard: usize, session: usize) -> Recipe {
    Recipe {
        shard: ShardLimits {
            buffer_bytes: shard,
            session_bytes: session,
            ..ShardLimits::default()
        },
        params: patient(),
        limits: Limits {
            progress_time: Duration::ZERO,
            ..Limits::default()
        },
        ..Recipe::default()
    }
}

#[test]
fn n30_a_session_that_does_not_read_holds_its_budget_and_no_more() {
    let mut bed = small(64 << 20, 1 << 20).serve();
    let mut deaf = bed.session(1);
    deaf.stop_reading(true);
    // 256 KiB each: the fourth fits, the fifth does not.
    for _ in 0..4 {
        deaf.read(512);
    }
    bed.settle();
    // The budget is used up and nothing is read: even that is not taken.
    let before = bed
        .controls
        .executed
        .load(std::sync::atomic::Ordering::Relaxed);
    deaf.read(512);
    bed.settle();
    assert_eq!(
        bed.controls
            .executed
            .load(std::sync::atomic::Ordering::Relaxed),
        before
    );
    assert!(bed.counters().held_for_memory > 0);
    let mut other = bed.session(2);
    other.read(2048);
    bed.settle();
    assert_eq!(other.statuses(), [0]);
    deaf.stop_reading(false);
    bed.settle();
    assert_eq!(deaf.statuses(), [0; 5]);
    assert_eq!(deaf.not_taken(), 0);
}

#[test]
fn n30_writes_beyond_the_budget_are_answered_task_set_full_and_the_window_closes() {
    let mut bed = small(64 << 20, 1 << 20).serve();
    let mut peer = bed.session(1);
    for _ in 0..6 {
        peer.write(512);
    }
    bed.settle();
    let pdus = peer.pdus();
    let count = |code: u8| pdus.iter().filter(|(bhs, _)| bhs[0] & 0x3f == code).count();
    assert_eq!((count(opcode::R2T), count(opcode::SCSI_RESPONSE)), (4, 2));
    let (last, _) = pdus.last().unwrap();
    assert_eq!(last[3], FULL);
    assert_eq!(bed.engine.shards()[0].counters().full_session.value(), 2);
    // MaxCmdSN has stopped: four in flight and none to come.
    let number =
        |at: usize| u32::from_be_bytes([last[at], last[at + 1], last[at + 2], last[at + 3]]);
    let open = number(32).wrapping_sub(number(28)).wrapping_add(1);
    assert_eq!(open, 32 - 6);
    // A session with one large command is served all the same.
    let mut other = bed.session(2);
    other.read(8192);
    bed.settle();
    assert_eq!(other.statuses(), [0]);
}

#[test]
fn n30_when_the_shard_is_nearly_full_the_stalled_are_closed_and_the_others_live() {
    let mut bed = small(8 << 20, 2 << 20).serve();
    let mut good = bed.session(200);
    let mut stalled: Vec<_> = (1..=40).map(|from| bed.session(from)).collect();
    for (i, peer) in stalled.iter_mut().enumerate() {
        peer.stop_reading(i % 2 == 0);
    }
    for _ in 0..4 {
        for (i, peer) in stalled.iter_mut().enumerate() {
            if i % 2 == 0 {
                peer.read(512);
            } else {
                peer.write(512);
            }
        }
        bed.settle();
    }
    good.read(2048);
    bed.settle();
    assert_eq!(good.statuses(), [FULL]);
    // Not moved for four seconds: that may happen.
    bed.pass(Duration::from_secs(4));
    assert_eq!((bed.counters().shed, bed.iscsi.sessions()), (0, 41));
    bed.pass(Duration::from_secs(2));
    // As an initiator does it: again after a while.
    let served = (0..40).any(|_| {
        good.read(2048);
        bed.settle();
        bed.pass(Duration::from_millis(200));
        good.statuses() == [0]
    });
    assert!(served && !good.is_closed());
    let shed = bed.counters().shed;
    assert!((1..=40).contains(&shed), "{shed}");
    assert_eq!(bed.engine.shards()[0].counters().shed.value(), shed);
    // One that does not send could still be told.
    if let Some(mute) = stalled
        .iter_mut()
        .skip(1)
        .step_by(2)
        .find(|peer| peer.is_closed())
    {
        let told = mute.pdus();
        let (bhs, _) = told.last().expect("an asynchronous message");
        let (code, event_code) = (bhs[0] & 0x3f, bhs[36]);
        assert_eq!(
            (code, event_code),
            (opcode::ASYNC_MESSAGE, event::DROP_SESSION)
        );
    }
}

#[test]
fn n30_who_reads_the_beginning_of_an_answer_and_then_nothing_is_stalled_too() {
    let mut bed = small(8 << 20, 2 << 20).serve();
    let mut good = bed.session(200);
    let mut stalled: Vec<_> = (1..=40).map(|from| bed.session(from)).collect();
    for peer in &mut stalled {
        // Answers that leave in one go, of which a socket would have taken a part.
        peer.stop_reading_after(100_000);
        bed.settle();
        peer.reads(4, 512);
        bed.settle();
    }
    good.read(2048);
    bed.settle();
    assert_eq!(good.statuses(), [FULL]);
    bed.pass(Duration::from_secs(6));
    let served = (0..40).any(|_| {
        good.read(2048);
        bed.settle();
        bed.pass(Duration::from_millis(200));
        good.statuses() == [0]
    });
    assert!(served && bed.counters().shed > 0);
}

#[test]
fn n30_a_crowded_shard_closes_nobody_who_moves() {
    let mut bed = small(4 << 20, 4 << 20).serve();
    let mut peer = bed.session(1);
    for _ in 0..10 {
        peer.stop_reading(true);
        for _ in 0..7 {
            peer.read(1024);
        }
        bed.settle();
        bed.pass(Duration::from_secs(3));
        peer.stop_reading(false);
        bed.settle();
        assert_eq!(peer.statuses().len(), 7);
    }
    assert_eq!((bed.counters().shed, bed.iscsi.sessions()), (0, 1));
}

#[test]
fn n30_a_peer_that_reads_nothing_is_closed_after_its_time_without_pings_too() {
    let mut bed = Recipe {
        params: patient(),
        ..Recipe::default()
    }
    .serve();
    let mut deaf = bed.session(1);
    let idle = bed.session(2);
    deaf.stop_reading(true);
    deaf.read(8);
    bed.settle();
    bed.pass(Duration::from_secs(29));
    assert!(!deaf.is_closed());
    bed.pass(Duration::from_secs(2));
    assert!(deaf.is_closed() && !idle.is_closed());
    assert_eq!((bed.counters().stalled, bed.iscsi.sessions()), (1, 1));
}
