//! Initiators that take nothing any more.

use std::time::Duration;

use lunforge_srp::testing::{Channel, Send, login};

use crate::bed::{Bed, Recipe, TARGET, disk, initiator, pattern, rw};

const FULL: u8 = 0x28;
const DATA: usize = 128 << 10;

/// Sends a write whose data cannot be read.
fn stuck_write(bed: &mut Bed, channel: &mut Channel) {
    channel.wire.hold_reads();
    channel.send(&Send {
        cdb: &rw(0x2A, 0, DATA),
        data_out: &pattern(3, DATA),
        ..Send::default()
    });
    bed.poll();
}

#[test]
fn n30_a_channel_that_does_not_move_is_closed_for_others_also_when_the_first_of_its_session_is_gone()
 {
    let mut bed = Recipe::with_memory(4 << 20).serve(disk());
    let mut good = bed.login(100);
    let mut stalled = Vec::new();
    for n in 1..=8 {
        let first = bed.login(n);
        let mut second = bed.join(n);
        first.wire.disconnect();
        bed.poll();
        (0..7).for_each(|_| stuck_write(&mut bed, &mut second));
        stalled.push((first, second));
    }
    assert_eq!(bed.read(&mut good, 0, DATA).status, FULL);
    bed.advance(Duration::from_secs(4));
    assert_eq!(bed.srp.counters().shed, 0);
    bed.advance(Duration::from_secs(2));
    let served = (0..20).any(|_| {
        let reply = bed.read(&mut good, 0, DATA);
        bed.advance(Duration::from_millis(200));
        reply.status == 0
    });
    assert!(served);
    let shed = bed.srp.counters().shed;
    assert!((1..=8).contains(&shed), "{shed}");
    assert!(!good.wire.is_disconnected());
}

#[test]
fn a_channel_whose_initiator_takes_nothing_is_closed_after_its_time_and_no_other() {
    let mut bed = Bed::new();
    let (mut stuck, mut good) = (bed.login(1), bed.login(2));
    let idle = bed.login(3);
    stuck_write(&mut bed, &mut stuck);
    bed.advance(Duration::from_secs(59));
    assert_eq!(bed.read(&mut good, 0, 4096).status, 0);
    assert!(!stuck.wire.is_disconnected());
    bed.advance(Duration::from_secs(2));
    assert!(stuck.wire.is_disconnected() && !idle.wire.is_disconnected());
    assert_eq!(bed.srp.counters().stalled, 1);
    assert_eq!(bed.read(&mut good, 0, 4096).status, 0);
    bed.advance(Duration::from_secs(90));
    assert!(!good.wire.is_disconnected());
    drop((stuck, good, idle));
}

#[test]
fn a_channel_that_moves_slowly_is_left_alone() {
    let mut bed = Bed::new();
    let mut slow = bed.login(1);
    for _ in 0..5 {
        stuck_write(&mut bed, &mut slow);
        bed.advance(Duration::from_secs(40));
        slow.wire.release_reads();
        bed.poll();
    }
    assert!(!slow.wire.is_disconnected());
    assert_eq!(bed.srp.counters().stalled, 0);
    assert_eq!(bed.read(&mut slow, 0, DATA).status, 0);
}

#[test]
fn whoever_comes_is_let_in_while_data_has_more_than_half_of_the_buffers() {
    let mut bed = Recipe::with_memory(4 << 20).serve(disk());
    let mut held: Vec<_> = (1..=8).map(|n| bed.login(n)).collect();
    for channel in &mut held {
        (0..7).for_each(|_| stuck_write(&mut bed, channel));
    }
    let in_use: usize = bed.census().iter().map(|census| census.buffer_bytes).sum();
    assert!(in_use > (2 << 20) + (200 << 10), "{in_use}");
    let newcomer = login(initiator(9), TARGET);
    assert!(bed.try_login(&newcomer).is_ok());
}
