//! Resets, aborts and waits when shards, backends and rights fail them.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use lunforge_core::cdb::{CommandId, ParsedCdb};
use lunforge_core::deadline::Ladder;
use lunforge_core::handler::{Execute, Execution, Outcome, Transfer};
use lunforge_core::nexus::{Itl, Policy};
use lunforge_core::sense::Sense;
use lunforge_core::service::{Refusal, UnitService};
use lunforge_core::status::Status;
use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::testing::{Bed, Send, Session};
use lunforge_core::tmf::{BOUND, Function, Response};
use lunforge_core::{LogicalUnit, Target};

const READ_1: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const TUR: [u8; 6] = [0; 6];
const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";
/// A command that runs alone waits for so long until no other executes.
const HOLD: Duration = Ladder::linux().hold;
const PAST_BOUND: Duration = BOUND.saturating_add(Duration::from_millis(1));

fn bed(shards: usize) -> (Bed, Arc<Controls>) {
    let blank = Blank::default();
    let controls = Arc::clone(&blank.0);
    (Bed::new(shards, blank), controls)
}

fn read() -> Send {
    Send {
        cdb: READ_1.to_vec(),
        expected_in: 512,
        ..Send::default()
    }
}

fn write() -> Send {
    Send {
        cdb: [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0].to_vec(),
        data_out: vec![0; 512],
        ..Send::default()
    }
}

/// SYNCHRONIZE CACHE: a backend may take longer for it than another command waits.
fn flush() -> Send {
    Send {
        cdb: [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec(),
        ..Send::default()
    }
}

fn settle(bed: &mut Bed) {
    (0..4).for_each(|_| bed.poll());
}

fn good(bed: &mut Bed, session: Session) {
    assert_eq!(bed.command(session, 0, &TUR, &[], 0).status, Status::Good);
}

#[test]
fn a_reset_does_not_wait_for_a_shard_that_has_ended() {
    for executing in [false, true] {
        let (mut bed, unit) = bed(2);
        let (a, b) = (bed.session(0, A), bed.session(1, B));
        unit.can_fence.store(true, Relaxed);
        unit.hold.store(executing, Relaxed);
        bed.send(b, read());
        bed.end_shard(1);
        assert_eq!(
            bed.tmf(a, 0, Function::LogicalUnitReset),
            Response::Complete
        );
        assert_eq!(unit.resets.load(Relaxed), 1);
        assert_eq!(bed.command(a, 0, &TUR, &[], 0).asc(), Some((0x29, 3)));
        unit.complete_all();
        good(&mut bed, a);
    }
}

#[test]
fn a_reset_goes_on_when_a_shard_ends_during_it() {
    let (mut bed, unit) = bed(2);
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    unit.can_fence.store(true, Relaxed);
    unit.hold.store(true, Relaxed);
    bed.send(b, read());
    let reset = bed.begin_tmf(a, 0, Function::LogicalUnitReset);
    settle(&mut bed);
    assert_eq!(
        bed.tmf_ended(a, reset),
        None,
        "the command of the other shard executes"
    );
    bed.end_shard(1);
    settle(&mut bed);
    assert_eq!(bed.tmf_ended(a, reset), Some(Response::Complete));
}

#[test]
fn the_gate_opens_again_when_the_shard_of_a_reset_ends_before_it_is_through() {
    let (mut bed, unit) = bed(2);
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    unit.hold.store(true, Relaxed);
    let running = bed.send(a, read());
    bed.begin_tmf(b, 0, Function::LogicalUnitReset);
    settle(&mut bed);
    bed.end_shard(1);
    unit.hold.store(false, Relaxed);
    unit.complete_all();
    settle(&mut bed);
    assert!(!bed.wait(a, running).responded, "the sweep was on its way");
    assert_eq!(bed.command(a, 0, &READ_1, &[], 512).status, Status::Good);
}

#[test]
fn n27_two_resets_of_one_nexus_at_once_are_both_answered_after_the_commands_are_gone() {
    let (mut bed, unit) = bed(2);
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    unit.hold.store(true, Relaxed);
    let victims = [a, b].map(|s| (s, bed.send(s, read())));
    let resets = [0; 2].map(|_| bed.begin_tmf(a, 0, Function::LogicalUnitReset));
    settle(&mut bed);
    for tag in resets {
        assert_eq!(bed.tmf_ended(a, tag), None);
    }
    unit.complete_all();
    settle(&mut bed);
    for tag in resets {
        assert_eq!(bed.tmf_ended(a, tag), Some(Response::Complete));
    }
    for (session, tag) in victims {
        assert!(!bed.wait(session, tag).responded);
    }
    assert_eq!(unit.resets.load(Relaxed), 2);
}

#[test]
fn n27_a_reset_is_bounded_when_the_backend_keeps_commands_of_two_shards() {
    for can_fence in [true, false] {
        let (mut bed, unit) = bed(2);
        let (a, b) = (bed.session(0, A), bed.session(1, B));
        unit.can_fence.store(can_fence, Relaxed);
        unit.hold.store(true, Relaxed);
        let stuck = [a, b].map(|s| (s, bed.send(s, write())));
        let reset = bed.begin_tmf(a, 0, Function::LogicalUnitReset);
        settle(&mut bed);
        assert_eq!(bed.tmf_ended(a, reset), None);
        bed.advance(PAST_BOUND);
        settle(&mut bed);
        assert_eq!(bed.tmf_ended(a, reset), Some(Response::Complete));
        for (session, tag) in stuck {
            assert!(!bed.wait(session, tag).responded);
        }
        unit.hold.store(false, Relaxed);
        bed.command(a, 0, &TUR, &[], 0);
        let closed = bed.command(a, 0, &READ_1, &[], 512).asc();
        assert_eq!(closed, if can_fence { None } else { Some((4, 1)) });
        unit.complete_all();
        settle(&mut bed);
        good(&mut bed, a);
    }
}

/// A service whose PERSISTENT RESERVE IN is nothing, and that can say "wait" to everything else.
#[derive(Default)]
struct Rights {
    wait: AtomicBool,
    asked: AtomicUsize,
}

const WAITS: Duration = Duration::from_secs(3);

impl UnitService for Rights {
    fn claims(&self, command: CommandId) -> bool {
        command == CommandId::PrInReadKeys
    }

    fn prepare(&self, _: &ParsedCdb) -> Result<Transfer, Sense> {
        Ok(Transfer::None)
    }

    fn execute(&self, _: &mut Execution<'_>) -> Execute {
        Execute::Done(Outcome::good())
    }

    fn refusal(&self, _: &Itl, _: &ParsedCdb) -> Option<Refusal> {
        self.asked.fetch_add(1, Relaxed);
        let wait = self.wait.load(Relaxed);
        wait.then(|| Refusal::Wait(WAITS, Outcome::status(Status::ReservationConflict)))
    }
}

/// A bed whose unit has the service, with two sessions whose rights are being settled.
struct Unsettled {
    bed: Bed,
    unit: Arc<Controls>,
    lu: Arc<LogicalUnit>,
    rights: Arc<Rights>,
    a: Session,
    b: Session,
}

fn unsettled() -> Unsettled {
    let blank = Blank::default();
    let unit = Arc::clone(&blank.0);
    let rights = Arc::new(Rights::default());
    let service: Arc<dyn UnitService> = Arc::<Rights>::clone(&rights);
    let lu = LogicalUnit::builder(Arc::new(blank))
        .service(service)
        .build();
    let target = Target::builder("iqn.2026-11.org.example:t").lun(0, Arc::clone(&lu));
    let mut bed = Bed::with_target(2, target.build().unwrap());
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    let mut unsettled = Unsettled {
        bed,
        unit,
        lu,
        rights,
        a,
        b,
    };
    unsettled.settled(false);
    unsettled
}

impl Unsettled {
    fn settled(&mut self, settled: bool) {
        self.rights.wait.store(!settled, Relaxed);
        for itl in self.lu.itls() {
            let allowed = if settled { u32::MAX } else { 0 };
            itl.access.publish(Policy::Reservation, allowed);
        }
        if settled {
            self.lu.access_changed();
        }
    }

    /// MODE SELECT runs alone.
    fn alone(&mut self) -> Send {
        Send {
            cdb: vec![0x15, 0x10, 0, 0, 0, 0],
            ..Send::default()
        }
    }
}

#[test]
fn commands_whose_rights_are_being_settled_run_when_they_are() {
    let mut u = unsettled();
    let held = [u.a, u.b].map(|s| (s, u.bed.send(s, read())));
    settle(&mut u.bed);
    assert_eq!(u.unit.executed.load(Relaxed), 0);
    u.settled(true);
    for (session, tag) in held {
        assert_eq!(u.bed.wait(session, tag).status, Status::Good);
    }
}

#[test]
fn a_command_whose_rights_are_not_settled_in_time_is_answered() {
    let mut u = unsettled();
    let held = u.bed.send(u.a, read());
    u.bed.advance(WAITS - Duration::from_millis(500));
    assert!(u.bed.ended(u.a, held).is_none());
    // To be asked again does not give it more time.
    u.lu.access_changed();
    u.bed.advance(Duration::from_secs(1));
    assert_eq!(u.bed.wait(u.a, held).status, Status::ReservationConflict);
    assert_eq!(u.unit.executed.load(Relaxed), 0);
}

#[test]
fn a_held_command_can_be_aborted_and_a_reset_does_not_wait_for_it() {
    let mut u = unsettled();
    let (first, second) = (u.bed.send(u.a, read()), u.bed.send(u.a, read()));
    assert_eq!(
        u.bed.tmf(u.a, 0, Function::AbortTask(first)),
        Response::Complete
    );
    assert!(!u.bed.wait(u.a, first).responded);
    assert_eq!(
        u.bed.tmf(u.b, 0, Function::LogicalUnitReset),
        Response::Complete
    );
    assert!(!u.bed.wait(u.a, second).responded);
    u.settled(true);
    u.bed.advance(WAITS + WAITS);
    assert_eq!(
        u.unit.executed.load(Relaxed),
        0,
        "its time means nothing any more"
    );
}

#[test]
fn a_held_command_that_runs_alone_is_asked_once_for_each_change() {
    let mut u = unsettled();
    let alone = u.alone();
    let held = u.bed.send(u.a, alone);
    let before = u.rights.asked.load(Relaxed);
    for _ in 0..100 {
        u.bed.poll();
    }
    let asked = u.rights.asked.load(Relaxed) - before;
    assert!(asked <= 2, "it opened and closed the gate {asked} times");
    u.settled(true);
    assert_eq!(u.bed.wait(u.a, held).status, Status::Good);
}

#[test]
fn a_command_that_runs_alone_and_is_aborted_at_the_gate_opens_it_again() {
    let mut u = unsettled();
    u.settled(true);
    u.unit.hold.store(true, Relaxed);
    let running = u.bed.send(u.b, read());
    let alone = u.alone();
    let waiting = u.bed.send(u.a, alone);
    let behind = u.bed.send(u.b, read());
    settle(&mut u.bed);
    assert_eq!(u.unit.held(), 1, "the gate is closed");
    assert_eq!(
        u.bed.tmf(u.a, 0, Function::AbortTask(waiting)),
        Response::Complete
    );
    assert!(!u.bed.wait(u.a, waiting).responded);
    settle(&mut u.bed);
    assert_eq!(u.unit.held(), 2, "whoever waited behind it goes on at once");
    u.unit.hold.store(false, Relaxed);
    u.unit.complete_all();
    for tag in [running, behind] {
        assert_eq!(u.bed.wait(u.b, tag).status, Status::Good);
    }
}

#[test]
fn others_have_their_turn_between_commands_that_run_alone() {
    let mut u = unsettled();
    u.settled(true);
    u.unit.hold.store(true, Relaxed);
    let running = u.bed.send(u.b, read());
    let first = u.alone();
    let first = u.bed.send(u.a, first);
    let second = u.alone();
    let second = u.bed.send(u.a, second);
    let behind = u.bed.send(u.b, read());
    settle(&mut u.bed);
    for (session, tag) in [(u.b, running), (u.a, first), (u.b, behind), (u.a, second)] {
        assert_eq!(u.unit.held(), 1, "one at a time");
        u.unit.complete_all();
        assert_eq!(u.bed.wait(session, tag).status, Status::Good);
        settle(&mut u.bed);
    }
}

#[test]
fn a_command_that_runs_alone_does_not_wait_for_a_stuck_backend_for_ever() {
    let mut u = unsettled();
    u.settled(true);
    u.unit.hold.store(true, Relaxed);
    let stuck = u.bed.send(u.b, flush());
    let alone = u.alone();
    let waiting = u.bed.send(u.a, alone);
    u.unit.hold.store(false, Relaxed);
    let behind = u.bed.send(u.b, read());
    settle(&mut u.bed);
    assert!(u.bed.ended(u.b, behind).is_none(), "the gate is closed");
    u.bed.advance(HOLD);
    assert_eq!(u.bed.wait(u.a, waiting).status, Status::Busy);
    assert_eq!(u.bed.wait(u.b, behind).status, Status::Good);
    u.unit.complete_all();
    assert_eq!(u.bed.wait(u.b, stuck).status, Status::Good);
    let alone = u.alone();
    let after = u.bed.send(u.a, alone);
    assert_eq!(u.bed.wait(u.a, after).status, Status::Good);
}

#[test]
fn others_wait_for_one_command_that_runs_alone_and_not_for_those_after_it() {
    let mut u = unsettled();
    u.settled(true);
    u.unit.hold.store(true, Relaxed);
    u.bed.send(u.b, flush());
    let first = u.alone();
    let first = u.bed.send(u.a, first);
    u.unit.hold.store(false, Relaxed);
    let behind = u.bed.send(u.b, read());
    u.bed.advance(HOLD / 2);
    let second = u.alone();
    let second = u.bed.send(u.a, second);
    u.bed.advance(HOLD / 2);
    assert_eq!(u.bed.wait(u.a, first).status, Status::Busy);
    settle(&mut u.bed);
    let behind = u.bed.ended(u.b, behind).map(|reply| reply.status);
    assert_eq!(behind, Some(Status::Good), "it waited for the first");
    assert!(u.bed.ended(u.a, second).is_none(), "its bound is its own");
    u.unit.complete_all();
    assert_eq!(u.bed.wait(u.a, second).status, Status::Good);
}

#[test]
fn a_command_whose_rights_were_settled_waits_at_the_gate_once() {
    let mut u = unsettled();
    u.settled(true);
    u.unit.hold.store(true, Relaxed);
    u.bed.send(u.b, read());
    u.settled(false);
    let alone = u.alone();
    let alone = u.bed.send(u.a, alone);
    settle(&mut u.bed);
    u.settled(true);
    u.bed.advance(WAITS);
    u.unit.hold.store(false, Relaxed);
    let behind = u.bed.send(u.b, read());
    let response = u.bed.tmf(u.a, 0, Function::AbortTask(alone));
    assert_eq!(response, Response::Complete);
    settle(&mut u.bed);
    let behind = u.bed.ended(u.b, behind).map(|reply| reply.status);
    assert_eq!(behind, Some(Status::Good), "nobody waits any more");
}

#[test]
fn a_unit_that_leaves_the_lun_map_is_forgotten_by_its_sessions() {
    let mut u = unsettled();
    u.settled(true);
    assert_eq!(u.lu.itls().len(), 2);
    u.bed.target().remove_lun(0).unwrap();
    settle(&mut u.bed);
    assert!(u.lu.itls().is_empty());
    u.bed.target().add_lun(0, Arc::clone(&u.lu)).unwrap();
    settle(&mut u.bed);
    let again = u.bed.command(u.a, 0, &TUR, &[], 0).asc();
    assert_eq!(again, Some((0x29, 0)), "a new I_T_L nexus");
    assert_eq!(u.lu.itls().len(), 1);
}

#[test]
fn a_unit_that_leaves_the_lun_map_twice_takes_its_commands_of_both_times_along() {
    let (mut bed, unit) = bed(1);
    let a = bed.session(0, A);
    let target = Arc::clone(bed.target());
    let lu = Arc::clone(&target.luns()[&0]);
    unit.hold.store(true, Relaxed);
    let first = bed.send(a, read());
    target.remove_lun(0).unwrap();
    bed.poll();
    target.add_lun(0, Arc::clone(&lu)).unwrap();
    bed.command(a, 0, &TUR, &[], 0);
    let second = bed.send(a, read());
    assert_eq!(unit.held(), 2);
    target.remove_lun(0).unwrap();
    bed.poll();
    unit.complete_first(Outcome::good());
    bed.poll();
    assert!(bed.ended(a, first).is_some());
    unit.complete_all();
    bed.poll();
    assert!(bed.ended(a, second).is_some());
    // No command of them is left in the gate.
    let opened = Arc::new(AtomicBool::new(false));
    let action = Arc::clone(&opened);
    lu.exclusively(move || action.store(true, Relaxed));
    assert!(opened.load(Relaxed));
}
