//! What is counted of a unit's commands.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lunforge_core::LogicalUnit;
use lunforge_core::measure::{End, FunctionCount, SenseCount, Times};
use lunforge_core::status::Status;
use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::testing::{Bed, Send, Session};
use lunforge_core::tmf::{Function, Response};

const A: &str = "iqn.2026-11.org.example:a";
const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    bed: Bed,
    lu: Arc<LogicalUnit>,
    unit: Arc<Controls>,
    a: Session,
}

fn rig() -> Rig {
    let blank = Blank::default();
    let unit = Arc::clone(&blank.0);
    let lu = LogicalUnit::new(blank);
    let mut bed = Bed::new(1, Arc::clone(&lu));
    let a = bed.session(0, A);
    Rig { bed, lu, unit, a }
}

fn read() -> Send {
    Send {
        cdb: vec![0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        expected_in: 512,
        ..Send::default()
    }
}

fn write() -> Send {
    Send {
        cdb: vec![0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        data_out: vec![0; 512],
        hold_data: true,
        ..Send::default()
    }
}

impl Rig {
    fn count(&self, command: &str, end: End) -> u64 {
        let counts = self.lu.measures().commands();
        let mut of = counts
            .iter()
            .filter(|c| c.command == command && c.end == end);
        of.next().map_or(0, |count| count.count)
    }

    fn good(&self, command: &str) -> u64 {
        self.count(command, End::Status(Status::Good))
    }
}

/// How many times were longer than `low` and not longer than `high`.
fn between(times: &Times, low: Duration, high: Duration) -> u64 {
    let up_to = |bound| {
        times
            .up_to()
            .find(|(b, _)| *b >= bound)
            .map_or(0, |(_, n)| n)
    };
    up_to(high) - up_to(low)
}

#[test]
fn a_command_that_ends_in_the_turn_in_which_it_came_took_no_time() {
    let mut rig = rig();
    let before = rig.lu.measures().latency();
    let tag = rig.bed.send(rig.a, read());
    rig.bed.wait(rig.a, tag);
    let after = rig.lu.measures().latency();
    for (before, after) in [
        (before.wait, after.wait),
        (before.backend, after.backend),
        (before.total, after.total),
    ] {
        assert_eq!(after.count(), before.count() + 1);
        assert_eq!(after.sum(), before.sum());
    }
    assert_eq!(rig.good("READ(10)"), 1);
}

#[test]
fn data_out_is_waited_for_before_the_backend_has_the_command() {
    let mut rig = rig();
    let tag = rig.bed.send(rig.a, write());
    rig.bed.advance(3 * SECOND);
    rig.unit.hold.store(true, Relaxed);
    rig.bed.release_data(rig.a, tag);
    rig.bed.advance(SECOND + SECOND / 2);
    rig.unit.complete_all();
    rig.bed.wait(rig.a, tag);
    let latency = rig.lu.measures().latency();
    assert_eq!(between(&latency.wait, 2 * SECOND, 4 * SECOND), 1);
    assert_eq!(between(&latency.backend, SECOND, 2 * SECOND), 1);
    assert_eq!(between(&latency.total, 4 * SECOND, 8 * SECOND), 1);
    assert_eq!(rig.good("WRITE(10)"), 1);
}

#[test]
fn commands_are_counted_by_how_they_end_with_what_they_were_told() {
    let mut rig = rig();
    // The power on condition, which the bed took.
    let power_on = SenseCount {
        key: 6,
        asc: 0x29,
        ascq: 0,
        count: 1,
    };
    assert_eq!(rig.lu.measures().sense(), (vec![power_on], 0));
    let check = End::Status(Status::CheckCondition);
    assert_eq!(rig.count("TEST UNIT READY", check), 1);
    rig.bed.command(rig.a, 0, &[0xFF, 0, 0, 0, 0, 0], &[], 0);
    assert_eq!(rig.count("UNKNOWN", check), 1);
    // One that is let in and fails has times, too.
    let before = rig.lu.measures().latency().total.count();
    rig.unit.hold.store(true, Relaxed);
    let tag = rig.bed.send(rig.a, read());
    rig.unit.drop_all();
    rig.bed.wait(rig.a, tag);
    assert_eq!(rig.count("READ(10)", check), 1);
    assert_eq!(rig.lu.measures().latency().total.count(), before + 1);
    let (codes, other) = rig.lu.measures().sense();
    assert_eq!((codes.len(), other), (3, 0), "{codes:?}");
}

#[test]
fn task_management_is_counted_and_what_it_ends() {
    let mut rig = rig();
    rig.unit.hold.store(true, Relaxed);
    let tag = rig.bed.send(rig.a, read());
    rig.bed.begin_tmf(rig.a, 0, Function::AbortTask(tag));
    rig.unit.complete_all();
    rig.bed.wait(rig.a, tag);
    assert_eq!(rig.count("READ(10)", End::Aborted), 1);
    assert_eq!(rig.good("READ(10)"), 0);
    rig.bed.tmf(rig.a, 0, Function::QueryTask(tag));
    rig.bed.tmf(rig.a, 0, Function::TargetReset);
    rig.bed.tmf(rig.a, 0, Function::LogicalUnitReset);
    // There is no such unit to count at.
    rig.bed.tmf(rig.a, 7, Function::LogicalUnitReset);
    let count = |function, response| FunctionCount {
        function,
        response,
        count: 1,
    };
    let expected = [
        count("ABORT TASK", Response::Complete),
        count("LOGICAL UNIT RESET", Response::Complete),
        count("QUERY TASK", Response::NoSuchTask),
        count("TARGET RESET", Response::Complete),
    ];
    assert_eq!(rig.lu.measures().task_management(), expected);
}

#[test]
fn with_latency_measured_a_command_that_ends_at_once_took_time() {
    let mut rig = rig();
    rig.bed.measure_latency(true);
    let before = rig.lu.measures().latency();
    let tag = rig.bed.send(rig.a, read());
    rig.bed.wait(rig.a, tag);
    let after = rig.lu.measures().latency();
    assert!(after.total.sum() > before.total.sum());
    assert!(after.total.sum() >= after.backend.sum());
    rig.bed.measure_latency(false);
    let tag = rig.bed.send(rig.a, read());
    rig.bed.wait(rig.a, tag);
    assert_eq!(rig.lu.measures().latency().total.sum(), after.total.sum());
}
