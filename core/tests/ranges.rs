//! Exclusion over a range of blocks, over several sessions and shards.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lunforge_core::handler::{ControlMode, Outcome};
use lunforge_core::status::Status;
use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::testing::{Bed, Send, Session};
use lunforge_core::tmf::{Function, Response};

struct Scene {
    bed: Bed,
    disk: Arc<Controls>,
    /// A session on each of two shards.
    near: Session,
    far: Session,
}

fn scene() -> Scene {
    scene_with(ControlMode::default())
}

fn scene_with(control: ControlMode) -> Scene {
    let blank = Blank::default();
    *blank.0.control.lock() = control;
    let disk = Arc::clone(&blank.0);
    let mut bed = Bed::new(2, blank);
    let near = bed.session(0, "iqn.2026-11.org.example:near");
    let far = bed.session(1, "iqn.2026-11.org.example:far");
    Scene {
        bed,
        disk,
        near,
        far,
    }
}

impl Scene {
    /// Sends a command; with `hold` the disk does not end it.
    fn send(&mut self, session: Session, hold: bool, cdb: Vec<u8>, data: usize) -> u64 {
        self.disk.hold.store(hold, Relaxed);
        let data_out = vec![0; data];
        self.bed.send(
            session,
            Send {
                cdb,
                data_out,
                ..Send::default()
            },
        )
    }

    fn write(&mut self, session: Session, hold: bool, lba: u8, blocks: u8) -> u64 {
        let cdb = vec![0x2A, 0, 0, 0, 0, lba, 0, 0, blocks, 0];
        self.send(session, hold, cdb, usize::from(blocks) * 512)
    }

    fn compare_and_write(&mut self, session: Session, hold: bool, lba: u8, blocks: u8) -> u64 {
        let mut cdb = vec![0; 16];
        (cdb[0], cdb[9], cdb[13]) = (0x89, lba, blocks);
        self.send(session, hold, cdb, usize::from(blocks) * 1024)
    }

    fn executed(&mut self) -> usize {
        self.bed.poll();
        self.disk.executed.load(Relaxed)
    }

    fn good(&mut self, session: Session, tag: u64) {
        assert_eq!(self.bed.wait(session, tag).status, Status::Good);
    }
}

#[test]
fn n44_compare_and_write_waits_for_an_overlapping_write_of_another_session() {
    let mut s = scene();
    let (near, far) = (s.near, s.far);
    let write = s.write(far, true, 4, 4);
    let atomic = s.compare_and_write(near, false, 7, 1);
    assert_eq!(s.executed(), 1, "the write still executes");
    let beside = s.write(far, false, 8, 1);
    s.good(far, beside);
    assert_eq!(s.executed(), 2);
    s.disk.complete_all();
    s.good(far, write);
    s.good(near, atomic);
    assert_eq!(s.executed(), 3);
}

#[test]
fn n44_what_overlaps_a_compare_and_write_waits_and_what_does_not_passes() {
    let mut s = scene();
    let (near, far) = (s.near, s.far);
    let atomic = s.compare_and_write(near, true, 10, 2);
    assert_eq!(s.executed(), 1);
    let inside = s.write(far, false, 11, 4);
    let own = s.write(near, false, 10, 1);
    let beside = s.write(far, false, 12, 1);
    s.good(far, beside);
    assert_eq!(s.executed(), 2, "only the one beside it");
    s.disk.complete_all();
    s.good(near, atomic);
    s.good(far, inside);
    s.good(near, own);
}

#[test]
fn n44_overlapping_compare_and_writes_take_turns_and_disjoint_ones_do_not_wait() {
    let mut s = scene();
    let (near, far) = (s.near, s.far);
    let first = s.compare_and_write(near, true, 0, 4);
    let second = s.compare_and_write(far, true, 3, 1);
    let disjoint = s.compare_and_write(far, true, 4, 1);
    assert_eq!(s.executed(), 2);
    s.disk.complete_all();
    s.good(near, first);
    s.good(far, disjoint);
    assert_eq!(s.executed(), 3);
    s.disk.complete_all();
    s.good(far, second);
}

#[test]
fn an_aborted_compare_and_write_gives_its_range_free_whether_it_waited_or_ran() {
    let mut s = scene();
    let (near, far) = (s.near, s.far);
    let write = s.write(far, true, 0, 8);
    let waiting = s.compare_and_write(near, false, 1, 1);
    assert_eq!(
        s.bed.tmf(near, 0, Function::AbortTask(waiting)),
        Response::Complete
    );
    let inside = s.write(near, false, 1, 1);
    s.good(near, inside);
    s.disk.complete_all();
    s.good(far, write);

    let running = s.compare_and_write(near, true, 1, 1);
    let behind = s.write(far, false, 1, 1);
    let abort = s.bed.begin_tmf(near, 0, Function::AbortTask(running));
    assert_eq!(s.bed.tmf_ended(near, abort), None, "the disk still has it");
    s.disk.complete_all();
    s.good(far, behind);
    assert_eq!(s.bed.tmf_ended(near, abort), Some(Response::Complete));
}

#[test]
fn a_disk_that_never_answers_holds_a_range_no_longer_than_an_abort_takes() {
    let mut s = scene();
    let (near, far) = (s.near, s.far);
    s.disk.can_fence.store(true, Relaxed);
    s.write(far, true, 0, 8);
    let atomic = s.compare_and_write(near, false, 1, 1);
    let reset = s.bed.begin_tmf(far, 0, Function::AbortTaskSet);
    assert_eq!(s.executed(), 1);
    s.bed.advance(Duration::from_secs(1));
    assert_eq!(s.bed.tmf_ended(far, reset), Some(Response::Complete));
    s.good(near, atomic);
}

#[test]
fn a_reset_ends_what_holds_and_what_waits_for_a_range() {
    let mut s = scene();
    let (near, far) = (s.near, s.far);
    let holds = s.compare_and_write(near, true, 0, 8);
    let waits = s.compare_and_write(far, false, 0, 8);
    let reset = s.bed.begin_tmf(far, 0, Function::LogicalUnitReset);
    s.disk.complete_all();
    s.bed.poll();
    assert_eq!(s.bed.tmf_ended(far, reset), Some(Response::Complete));
    assert!(!s.bed.wait(near, holds).responded);
    assert!(!s.bed.wait(far, waits).responded);
    // The power on condition is reported once, then the range is free.
    s.bed.command(near, 0, &[0; 6], &[], 0);
    let after = s.write(near, false, 0, 8);
    s.good(near, after);
}

#[test]
fn n44_the_end_of_an_earlier_claim_does_not_let_a_compare_and_write_run_beside_a_write() {
    let mut s = scene_with(ControlMode {
        shared_task_set: true,
        ..ControlMode::default()
    });
    let (near, far) = (s.near, s.far);
    let older = s.write(far, true, 0, 8);
    let atomic = s.compare_and_write(near, true, 7, 1);
    let younger = s.write(far, true, 7, 1);
    assert_eq!(s.executed(), 1);
    // An ACA blocks both that wait: the claim on the range is given up.
    let fault = s.bed.command(near, 0, &[0, 1, 0, 0, 0, 0x04], &[], 0);
    assert_eq!(fault.status, Status::CheckCondition);
    let unit = Arc::clone(&s.bed.target().luns()[&0]);
    unit.access_changed();
    assert_eq!(s.executed(), 1);
    assert_eq!(s.bed.tmf(near, 0, Function::ClearAca), Response::Complete);
    assert_eq!(s.executed(), 2, "the younger write, as the range was free");
    s.disk.complete_first(Outcome::good());
    s.good(far, older);
    assert_eq!(s.executed(), 2, "the younger write is in the range");
    s.disk.complete_all();
    s.good(far, younger);
    assert_eq!(s.executed(), 3);
    s.disk.complete_all();
    s.good(near, atomic);
}
