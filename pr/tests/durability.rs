//! Reservations that are stored: when a command is answered, and what is there after a failure.

mod common;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use lunforge_core::LogicalUnit;
use lunforge_core::status::Status::{CheckCondition, Good, ReservationConflict};
use lunforge_core::testing::{Bed, Send, doubles::Blank};
use lunforge_core::tmf::{BOUND, Function, Response};
use lunforge_pr::{FileStore, OnDamage, Persistence, PersistenceError, Reservations, State};

const APTPL: u8 = 1;
const WE_RO: u8 = 5;
const EA: u8 = 3;

/// A store that the test holds: each call waits until it is told how to end.
struct Slow {
    asked: mpsc::Sender<State>,
    told: Mutex<Receiver<bool>>,
}

/// The test's end of it.
struct Hand {
    asked: Receiver<State>,
    tell: mpsc::Sender<bool>,
}

impl Hand {
    /// What the store was asked to keep next.
    fn asked(&self) -> State {
        self.asked
            .recv_timeout(Duration::from_secs(20))
            .expect("nothing is stored")
    }
}

fn slow() -> (Slow, Hand) {
    let (asked, hears) = channel();
    let (tell, told) = channel();
    let told = Mutex::new(told);
    (Slow { asked, told }, Hand { asked: hears, tell })
}

impl Persistence for Slow {
    fn capable(&self) -> bool {
        true
    }

    fn store(&self, state: &State) -> Result<(), PersistenceError> {
        self.asked.send(state.clone()).unwrap();
        if self.told.lock().unwrap().recv().unwrap_or(true) {
            return Ok(());
        }
        Err(PersistenceError::Io {
            path: "slow".into(),
            source: std::io::ErrorKind::StorageFull.into(),
        })
    }

    fn load(&self) -> Result<Option<State>, PersistenceError> {
        Ok(None)
    }

    fn set_aside(&self) -> Result<(), PersistenceError> {
        Ok(())
    }
}

#[test]
fn n39_good_comes_after_the_store_and_io_goes_on_meanwhile() {
    let (store, hand) = slow();
    let (unit, reservations) = unit(Blank::default(), store);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    let register = bed.send(a, Out(REGISTER, 0, 0, 1, APTPL).command());
    let stored = hand.asked();
    assert_eq!((stored.registrants().len(), stored.aptpl()), (1, true));
    assert!(bed.ended(a, register).is_none());
    assert!(reservations.snapshot().registrants().is_empty());
    assert_eq!(status(&mut bed, b, &WRITE), Good);
    // The next change waits for its turn; it is not stored before the first is done.
    let second = bed.send(b, Out(REGISTER, 0, 0, 2, APTPL).command());
    assert!(hand.asked.try_recv().is_err());
    hand.tell.send(true).unwrap();
    assert_eq!(bed.wait(a, register).status, Good);
    assert_eq!(hand.asked().registrants().len(), 2);
    hand.tell.send(true).unwrap();
    assert_eq!(bed.wait(b, second).status, Good);
    assert_eq!(reservations.snapshot().registrants().len(), 2);
}

#[test]
fn n39_a_failed_store_is_an_error_and_changes_nothing() {
    let (store, hand) = slow();
    let (unit, reservations) = unit(Blank::default(), store);
    let mut bed = Bed::new(1, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let register = bed.send(a, Out(REGISTER, 0, 0, 1, APTPL).command());
    hand.asked();
    hand.tell.send(false).unwrap();
    // It may have been stored half way: what was before is stored back.
    assert_eq!(hand.asked(), State::default());
    hand.tell.send(true).unwrap();
    let reply = bed.wait(a, register);
    assert_eq!(
        (reply.status, reply.asc()),
        (CheckCondition, Some((0x44, 0)))
    );
    assert_eq!(*reservations.snapshot(), State::default());
    good(&mut bed, a, &Out(REGISTER, 0, 0, 1, 0));
}

#[test]
fn a_command_aborted_while_it_is_stored_has_no_effect() {
    let (store, hand) = slow();
    let (unit, reservations) = unit(Blank::default(), store);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    good(&mut bed, b, &Out(REGISTER, 0, 0, 2, 0));
    let before = reservations.snapshot();
    let register = bed.send(a, Out(REGISTER, 0, 0, 1, APTPL).command());
    hand.asked();
    let abort = bed.begin_tmf(a, 0, Function::AbortTask(register));
    bed.advance(lunforge_core::tmf::BOUND);
    assert_eq!(bed.tmf_ended(a, abort), Some(Response::Complete));
    assert!(!bed.wait(a, register).responded);
    hand.tell.send(true).unwrap();
    assert_eq!(hand.asked(), *before);
    hand.tell.send(true).unwrap();
    assert_eq!(out(&mut bed, b, &Out(RESERVE, 1, 2, 0, 0)).status, Good);
    assert_eq!(reservations.snapshot().registrants(), before.registrants());
}

#[test]
fn preempt_and_abort_that_was_aborted_while_it_is_stored_takes_no_commands() {
    let (store, hand) = slow();
    let blank = Blank::default();
    let controls = blank.0.clone();
    let (unit, reservations) = unit(blank, store);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    let registered = [
        (a, Out(REGISTER, 0, 0, 1, APTPL)),
        (b, Out(REGISTER, 0, 0, 2, APTPL)),
        (a, Out(RESERVE, WE_RO, 1, 0, 0)),
    ];
    for (session, command) in registered {
        let tag = bed.send(session, command.command());
        hand.asked();
        hand.tell.send(true).unwrap();
        assert_eq!(bed.wait(session, tag).status, Good);
    }
    let before = reservations.snapshot();
    controls.hold.store(true, Relaxed);
    let write = Send {
        cdb: WRITE.to_vec(),
        data_out: BLOCK.to_vec(),
        ..Send::default()
    };
    let write = bed.send(a, write);
    // The type takes rights of those, too, that are no victims: the gate has to be closed.
    let preempt = bed.send(b, Out(PREEMPT_AND_ABORT, EA, 2, 1, 0).command());
    hand.asked();
    let abort = bed.begin_tmf(b, 0, Function::AbortTask(preempt));
    bed.advance(BOUND);
    assert_eq!(bed.tmf_ended(b, abort), Some(Response::Complete));
    hand.tell.send(true).unwrap();
    assert_eq!(hand.asked(), *before, "what was is stored back");
    hand.tell.send(true).unwrap();
    bed.poll();
    controls.complete_all();
    assert_eq!(bed.wait(a, write).status, Good, "it was taken after all");
    let told = status(&mut bed, a, &TEST_UNIT_READY);
    assert_eq!(told, Good, "there is nothing to tell");
}

#[test]
fn a_waiting_command_can_be_aborted() {
    let (store, hand) = slow();
    let (unit, reservations) = unit(Blank::default(), store);
    let mut bed = Bed::new(1, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(0, "iqn.2026-11.org.example:b");
    let first = bed.send(a, Out(REGISTER, 0, 0, 1, APTPL).command());
    hand.asked();
    let second = bed.send(b, Out(REGISTER, 0, 0, 2, APTPL).command());
    let abort = bed.begin_tmf(b, 0, Function::AbortTask(second));
    hand.tell.send(true).unwrap();
    assert_eq!(bed.wait(a, first).status, Good);
    assert!(!bed.wait(b, second).responded);
    assert_eq!(bed.tmf_ended(b, abort), Some(Response::Complete));
    assert_eq!(reservations.snapshot().registrants().len(), 1);
    assert!(hand.asked.try_recv().is_err(), "it was not stored");
}

fn bed_with(path: &std::path::Path, on_damage: OnDamage) -> (Bed, Reservations) {
    let store = FileStore::new(path).unwrap();
    let reservations = Reservations::open(store, on_damage);
    let unit = LogicalUnit::builder(Arc::new(Blank::default()))
        .service(Arc::new(reservations.clone()))
        .build();
    (Bed::new(2, unit), reservations)
}

#[test]
fn registrations_and_reservation_survive_a_restart_while_aptpl_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unit");
    {
        let (mut bed, _) = bed_with(&path, OnDamage::default());
        let a = bed.session(0, "iqn.2026-11.org.example:a");
        good(&mut bed, a, &Out(REGISTER, 0, 0, 1, APTPL));
        good(&mut bed, a, &Out(RESERVE, 1, 1, 0, 0));
    }
    let (mut bed, reservations) = bed_with(&path, OnDamage::default());
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    assert_eq!(status(&mut bed, a, &WRITE), Good);
    assert_eq!(status(&mut bed, b, &WRITE), ReservationConflict);
    assert_eq!(
        reservations.snapshot().generation(),
        0,
        "a loss of power sets it to zero"
    );
    // APTPL of zero: the file goes, the state stays until the next restart.
    good(&mut bed, a, &Out(REGISTER, 0, 1, 2, 0));
    assert!(!path.exists());
    assert_eq!(status(&mut bed, b, &WRITE), ReservationConflict);
    drop(bed);
    let (mut bed, _) = bed_with(&path, OnDamage::default());
    let b = bed.session(0, "iqn.2026-11.org.example:b");
    assert_eq!(status(&mut bed, b, &WRITE), Good);
}

#[test]
fn n39_a_damaged_file_refuses_medium_access_until_the_owner_says_who_may() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unit");
    std::fs::write(&path, b"LUNFAPTL").unwrap();
    let (mut bed, reservations) = bed_with(&path, OnDamage::RefuseMediumAccess);
    assert!(!reservations.is_known());
    let a = bed.raw_session(0, "iqn.2026-11.org.example:a");
    bed.command(a, 0, &TEST_UNIT_READY, &[], 0);
    let reserve = [0x16, 0, 0, 0, 0, 0];
    for cdb in [&READ[..], &WRITE, &TEST_UNIT_READY, &reserve] {
        let data: &[u8] = if cdb[0] == 0x2A { &BLOCK } else { &[] };
        let reply = bed.command(a, 0, cdb, data, 512);
        assert_eq!(
            (reply.status, reply.asc()),
            (CheckCondition, Some((0x04, 0x03))),
            "{cdb:x?}"
        );
    }
    assert_eq!(
        out(&mut bed, a, &Out(REGISTER, 0, 0, 1, 0)).asc(),
        Some((0x04, 0x03))
    );
    assert_eq!(reserve_in(&mut bed, a, 0, 8).asc(), Some((0x04, 0x03)));
    let inquiry = bed.command(a, 0, &[0x12, 0, 0, 0, 36, 0], &[], 36);
    assert_eq!(inquiry.status, Good);
    let (done, is_done) = channel();
    reservations.restore(State::default(), move |result| {
        done.send(result.is_ok()).unwrap()
    });
    assert!(is_done.recv().unwrap());
    assert!(reservations.is_known() && !path.exists());
    assert_eq!(status(&mut bed, a, &WRITE), Good);
    good(&mut bed, a, &Out(REGISTER, 0, 0, 1, APTPL));
}

#[test]
fn n39_a_damaged_file_is_put_aside_where_the_owner_wants_a_clean_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unit");
    std::fs::write(&path, b"LUNFAPTL").unwrap();
    let (mut bed, reservations) = bed_with(&path, OnDamage::StartClean);
    assert!(reservations.is_known());
    assert!(directory.path().join("unit.damaged").exists());
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    assert_eq!(status(&mut bed, a, &WRITE), Good);
}

#[test]
fn an_owner_imports_a_state_and_is_told_of_changes() {
    let (unit, reservations) = unit(Blank::default(), lunforge_pr::Volatile);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let (told, hears) = channel();
    reservations.on_change(move |state| told.send(state.generation()).unwrap());
    good(&mut bed, a, &Out(REGISTER, 0, 0, 1, 0));
    good(&mut bed, a, &Out(RESERVE, 3, 1, 0, 0));
    assert!(hears.try_iter().eq([1, 1]));
    let exported = State::clone(&reservations.snapshot());
    good(&mut bed, a, &Out(CLEAR, 0, 1, 0, 0));
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    assert_eq!(status(&mut bed, b, &WRITE), Good);
    reservations.restore(exported.clone(), |result| assert!(result.is_ok()));
    assert_eq!(status(&mut bed, b, &WRITE), ReservationConflict);
    assert_eq!(*reservations.snapshot(), exported);
    assert!(
        hears.try_iter().eq([2, 1]),
        "an import keeps its generation"
    );
}

#[test]
fn frozen_reservations_change_when_they_are_let_go_and_not_by_commands_that_were_aborted() {
    let (unit, reservations) = unit(Blank::default(), lunforge_pr::Volatile);
    let mut bed = Bed::new(2, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(1, "iqn.2026-11.org.example:b");
    good(&mut bed, a, &Out(REGISTER, 0, 0, 1, 0));
    let (done, frozen) = channel();
    reservations.freeze(move |frozen| done.send(frozen).unwrap());
    let frozen = frozen.try_recv().unwrap();
    let waits = bed.send(a, Out(REGISTER, 0, 1, 2, 0).command());
    let aborted = bed.send(b, Out(REGISTER, 0, 0, 3, 0).command());
    let abort = Function::AbortTask(aborted);
    assert_eq!(bed.tmf(b, 0, abort), Response::Complete);
    assert_eq!(reservations.snapshot().generation(), 1);
    drop(frozen);
    assert_eq!(bed.wait(a, waits).status, Good);
    assert!(!bed.wait(b, aborted).responded);
    let state = reservations.snapshot();
    let keys: Vec<_> = state.registrants().values().map(|key| key.0).collect();
    assert_eq!((state.generation(), keys), (2, vec![2]));
}

#[test]
fn a_successor_keeps_a_reservation_of_spc2_as_long_as_its_session_is_there() {
    let reserve = [0x16, 0, 0, 0, 0, 0];
    for ends in [false, true] {
        let (unit_before, before) = unit(Blank::default(), lunforge_pr::Volatile);
        let (unit_after, after) = unit(Blank::default(), lunforge_pr::Volatile);
        let mut bed = Bed::new(2, unit_before);
        let a = bed.session(0, "iqn.2026-11.org.example:a");
        let b = bed.session(1, "iqn.2026-11.org.example:b");
        assert_eq!(status(&mut bed, a, &reserve), Good);
        let (done, frozen) = channel();
        before.freeze(move |frozen| done.send(frozen).unwrap());
        let frozen = frozen.try_recv().unwrap();
        after.restore(State::clone(&before.snapshot()), |result| result.unwrap());
        if ends {
            bed.close(a);
            while !bed.closed(a) {}
        }
        let target = Arc::clone(bed.target());
        target.replace_lun(0, unit_after, true).unwrap();
        bed.poll();
        drop(frozen);
        after.end_without_session();
        assert_eq!(attention(&mut bed, b), Some((0x3F, 0x03)));
        let expected = if ends { Good } else { ReservationConflict };
        assert_eq!(status(&mut bed, b, &READ), expected);
        if !ends {
            assert_eq!(attention(&mut bed, a), Some((0x3F, 0x03)));
            assert_eq!(status(&mut bed, a, &READ), Good);
            bed.close(a);
            while !bed.closed(a) {}
            assert_eq!(status(&mut bed, b, &READ), Good);
        }
    }
}

#[test]
fn an_import_does_not_wait_for_ever_for_a_command_that_its_backend_does_not_end() {
    let blank = Blank::default();
    let controls = Arc::clone(&blank.0);
    controls.can_fence.store(true, Relaxed);
    let (unit, reservations) = unit(blank, lunforge_pr::Volatile);
    let hold = unit.ladder().hold;
    let mut bed = Bed::new(2, unit);
    let a = bed.session(1, "iqn.2026-11.org.example:a");
    controls.hold.store(true, Relaxed);
    // SYNCHRONIZE CACHE: its backend has longer than others wait.
    let stuck = bed.send(
        a,
        Send {
            cdb: vec![0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ..Send::default()
        },
    );
    let (done, is_done) = channel();
    reservations.restore(State::default(), move |result| {
        done.send(result.is_ok()).unwrap()
    });
    bed.poll();
    bed.advance(hold);
    bed.poll();
    bed.advance(lunforge_core::tmf::BOUND);
    bed.poll();
    assert_eq!(is_done.try_recv(), Ok(true));
    assert!(!bed.wait(a, stuck).responded);
    assert_eq!(attention(&mut bed, a), Some((0x2F, 0x02)));
    controls.hold.store(false, Relaxed);
    assert_eq!(status(&mut bed, a, &WRITE), Good);
}

#[test]
fn a_change_that_waits_for_what_runs_has_the_time_of_who_waits_not_that_of_a_backend() {
    let blank = Blank::default();
    let controls = Arc::clone(&blank.0);
    let (unit, _reservations) = unit(blank, lunforge_pr::Volatile);
    let ladder = *unit.ladder();
    let mut bed = Bed::new(1, Arc::clone(&unit));
    let [a, b] = ["a", "b"].map(|name| bed.session(0, &format!("iqn.2026-11.org.example:{name}")));
    for (session, key) in [(a, 1), (b, 2)] {
        good(&mut bed, session, &Out(REGISTER, 0, 0, key, 0));
    }
    // SYNCHRONIZE CACHE: its backend has longer than others wait.
    controls.hold.store(true, Relaxed);
    let flush = Send {
        cdb: vec![0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ..Send::default()
    };
    bed.send(a, flush);
    controls.hold.store(false, Relaxed);
    let reserve = bed.send(b, Out(RESERVE, 1, 2, 0, 0).command());
    bed.advance(ladder.hold - std::time::Duration::from_secs(1));
    assert!(bed.ended(b, reserve).is_none());
    assert!(!unit.backend().is_dead());
    controls.complete_all();
    assert_eq!(bed.wait(b, reserve).status, Good);
}
