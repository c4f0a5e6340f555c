//! Floods of requests inside a session.

use std::sync::atomic::Ordering;

use lunforge_iscsi::io::Limits;
use lunforge_iscsi::proto::pdu::opcode;

use super::bed::{Recipe, patient, transfer};

#[test]
fn n17_immediate_commands_beyond_the_limit_are_rejected_and_the_window_stays() {
    let mut bed = Recipe::with(Limits {
        immediate_commands: 8,
        ..Limits::default()
    })
    .serve();
    let mut peer = bed.session(1);
    bed.controls.hold.store(true, Ordering::Relaxed);
    for _ in 0..5000 {
        peer.immediate(&transfer(0x28, 1), 512);
    }
    bed.settle();
    let pdus = peer.pdus();
    assert_eq!(pdus.len(), 4992);
    assert!(
        pdus.iter()
            .all(|(bhs, _)| bhs[0] & 0x3f == opcode::REJECT && bhs[2] == 0x06)
    );
    assert_eq!(
        (bed.controls.held(), bed.counters().immediate_rejects),
        (8, 4992)
    );
    // Numbered commands are not concerned, nor is a ping.
    bed.controls.hold.store(false, Ordering::Relaxed);
    peer.read(1);
    peer.ping(b"alive");
    bed.settle();
    let mut answers = peer.opcodes();
    answers.sort_unstable();
    assert_eq!(answers, [opcode::NOP_IN, opcode::DATA_IN]);
    bed.controls.complete_all();
    bed.settle();
    assert_eq!(peer.statuses().len(), 8);
}

#[test]
fn n17_numbers_outside_of_the_window_are_ignored_and_cost_nothing() {
    let mut bed = Recipe::default().serve();
    let mut peer = bed.session(1);
    let right = peer.cmd_sn;
    for wrong in [
        right.wrapping_sub(1),
        right + 32,
        right.wrapping_add(1 << 31),
        0,
    ] {
        for _ in 0..1000 {
            peer.cmd_sn = wrong;
            peer.read(8);
        }
    }
    bed.settle();
    assert!(peer.pdus().is_empty() && !peer.is_closed());
    peer.cmd_sn = right;
    peer.read(8);
    bed.settle();
    assert_eq!(peer.statuses(), [0]);
}

#[test]
fn n30_pings_that_are_not_read_stop_the_input_and_are_all_answered_in_the_end() {
    let mut bed = Recipe {
        params: patient(),
        limits: Limits {
            pings: 16,
            ..Limits::default()
        },
        ..Recipe::default()
    }
    .serve();
    let mut peer = bed.session(1);
    peer.stop_reading(true);
    for _ in 0..20_000 {
        peer.ping(&[0; 100]);
    }
    bed.settle();
    // No more is taken than the stage and the pings.
    assert!(peer.not_taken() > 20_000 * 148 - (256 << 10));
    peer.stop_reading(false);
    bed.settle();
    assert_eq!(peer.opcodes().len(), 20_000);
}

#[test]
fn n30_one_turn_takes_a_share_of_a_flood_and_others_are_served_in_between() {
    let mut bed = Recipe::with(Limits {
        pdus_per_turn: 10,
        ..Limits::default()
    })
    .serve();
    let (mut flood, mut other) = (bed.session(1), bed.session(2));
    for _ in 0..1000 {
        flood.ping(&[]);
    }
    other.read(1);
    // The first turn is that of the wakers' calls; a few more serve the other session.
    let now = bed.now;
    for _ in 0..3 {
        let _ = bed.shards[0].poll(now);
    }
    assert_eq!(other.statuses(), [0]);
    let answered = flood.opcodes().len();
    assert!((1..=30).contains(&answered), "{answered}");
    bed.settle();
    assert_eq!(flood.opcodes().len(), 1000 - answered);
    assert!(bed.counters().turns_cut >= 97);
}
