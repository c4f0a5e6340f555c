//! A copy can do what its session could do with READ and WRITE, and no more.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lunforge_core::asc::Asc;
use lunforge_core::cdb::{CommandClass, CommandId, ParsedCdb};
use lunforge_core::handler::{Execute, Execution, Outcome, Transfer};
use lunforge_core::nexus::{Itl, Policy};
use lunforge_core::sense::{Sense, SenseKey};
use lunforge_core::service::{Refusal, UnitService};
use lunforge_core::status::Status;

use super::*;

/// Explains every refusal by RESERVATION CONFLICT.
#[derive(Debug)]
pub(crate) struct Conflicts;

impl UnitService for Conflicts {
    fn claims(&self, _: CommandId) -> bool {
        false
    }

    fn prepare(&self, _: &ParsedCdb) -> Result<Transfer, Sense> {
        Ok(Transfer::None)
    }

    fn execute(&self, _: &mut Execution<'_>) -> Execute {
        Execute::Done(Outcome::good())
    }

    fn refusal(&self, itl: &Itl, cdb: &ParsedCdb) -> Option<Refusal> {
        let conflict = Outcome::status(Status::ReservationConflict);
        (!itl.access.allows(cdb.class)).then_some(Refusal::Answer(conflict))
    }
}

/// Takes a class of commands away from the one session that has used a unit.
fn forbid(s: &Setup, unit: usize, class: CommandClass) {
    for itl in s.units[unit].itls() {
        itl.access.publish(Policy::Reservation, !class.bits());
    }
}

#[test]
fn n45_a_reservation_on_either_side_ends_the_copy_before_any_data_moves() {
    for (unit, class, destination) in [
        (0, CommandClass::READ, false),
        (1, CommandClass::WRITE, true),
    ] {
        let mut s = setup(1);
        let before = s.snapshot();
        forbid(&s, unit, class);
        // The first segment alone could be done.
        let segments = [segment((2, 0), (2, 100), 8), segment((0, 0), (1, 0), 200)];
        let sense = s.copy(&list(1, &segments)).sense.unwrap();
        assert_eq!(sense.key, SenseKey::CopyAborted);
        assert_eq!(sense.asc, Asc::THIRD_PARTY_DEVICE_FAILURE);
        assert_eq!(sense.command_specific, Some(1));
        assert_eq!(sense.information, Some(200));
        let forwarded = sense.forwarded.unwrap();
        assert_eq!(forwarded.destination, destination);
        assert_eq!(forwarded.status, Status::ReservationConflict.code());
        assert!(s.snapshot() == before);
        assert_eq!(s.status(1), (0x82, 0, 0));
    }
}

#[test]
fn the_command_itself_obeys_the_reservation_of_its_unit() {
    let mut s = setup(1);
    forbid(&s, 0, CommandClass::COPY);
    let reply = s.copy(&list(1, &[segment((1, 0), (1, 100), 1)]));
    assert_eq!(reply.status, Status::ReservationConflict);
}

#[test]
fn a_right_that_goes_in_the_middle_ends_the_copy_there() {
    let mut s = setup(2);
    let before = s.snapshot();
    s.disks[1].hold.store(true, Relaxed);
    let tag = s.begin(&list(1, &[segment((0, 0), (1, 0), 500)]));
    s.bed.poll();
    assert_eq!(s.disks[1].held(), 2, "two chunks of 16 blocks");
    forbid(&s, 1, CommandClass::WRITE);
    s.disks[1].hold.store(false, Relaxed);
    s.disks[1].complete_all();
    let sense = s.bed.wait(s.session, tag).sense.unwrap();
    assert_eq!(sense.information, Some(500 - 32));
    assert!(s.bytes(1, 0, 32 * 512) == before[0][..32 * 512]);
    assert!(s.bytes(1, 32 * 512, 468 * 512) == before[1][32 * 512..500 * 512]);
}

#[test]
fn compare_and_write_stays_atomic_while_a_copy_writes() {
    let mut s = setup(2);
    let other = open(&mut s.bed, 1, B);
    s.disks[1].hold.store(true, Relaxed);
    let copy = s.begin(&list(1, &[segment((0, 0), (1, 0), 16)]));
    s.bed.poll();
    assert_eq!(s.disks[1].held(), 1);
    // It expects what the copy is writing: it must run after it.
    let mut cdb = vec![0x89; 1];
    cdb.resize(16, 0);
    (cdb[9], cdb[13]) = (3, 1);
    let mut data_out = s.bytes(0, 3 * 512, 512);
    data_out.extend_from_slice(&[0xEE; 512]);
    let send = Send {
        lun: 1,
        cdb,
        data_out,
        ..Send::default()
    };
    let caw = s.bed.send(other, send);
    assert!(
        s.bed.ended(other, caw).is_none(),
        "it waits for the copy's write"
    );
    s.disks[1].hold.store(false, Relaxed);
    s.disks[1].complete_all();
    assert_eq!(s.bed.wait(other, caw).status, Status::Good);
    assert_eq!(s.bed.wait(s.session, copy).status, Status::Good);
    assert!(s.bytes(1, 3 * 512, 512) == [0xEE; 512]);
}

#[test]
fn n45_a_unit_of_another_target_is_as_unknown_as_one_that_is_not_there() {
    let mut s = setup(1);
    let elsewhere = Ram::new(9, 512, BLOCKS);
    let before = elsewhere.0.bytes.lock().unwrap().clone();
    let unit = LogicalUnit::builder(Arc::new(elsewhere.clone()))
        .service(Arc::new(CopyManager::new(CopyLimits::default())))
        .build();
    let _other = Target::builder("iqn.2026-11.org.example:other")
        .lun(0, unit)
        .build()
        .unwrap();
    let answers = [9, 10].map(|number| {
        [(0, 1), (1, 0)].map(|(from, to)| {
            let mut list = list(1, &[segment((from, 0), (to, 0), 1)]);
            list.cscds[1] = cscd_of(ram::naa(number), 512);
            let reply = s.copy(&list);
            (reply.status, reply.sense)
        })
    });
    assert_eq!(answers[0], answers[1]);
    for (_, sense) in answers[0] {
        let sense = sense.unwrap();
        assert_eq!(sense.key, SenseKey::CopyAborted);
        assert_eq!(sense.asc, Asc::COPY_TARGET_DEVICE_NOT_REACHABLE);
    }
    assert!(*elsewhere.0.bytes.lock().unwrap() == before);
}

#[test]
fn inner_commands_leave_unit_attentions_to_the_initiator() {
    let mut s = setup(1);
    let fresh = s.bed.raw_session(0, B);
    s.bed.command(fresh, 0, &[0; 6], &[], 0);
    let tag = s.begin_by(fresh, 0, &list(1, &[segment((0, 0), (1, 0), 4)]));
    assert_eq!(s.bed.wait(fresh, tag).status, Status::Good);
    let first = s.bed.command(fresh, 1, &[0; 6], &[], 0);
    assert_eq!(
        first.asc(),
        Some((0x29, 0)),
        "power on is still to be reported"
    );
}
