//! Unit attention conditions as a whole unit reports them (N50; SAM-5 5.14, SPC-4 5.14).

use std::sync::Arc;

use lunforge::core::status::Status;
use lunforge::core::testing::{Bed, Session};
use lunforge::core::tmf::{Function, Response};
use lunforge::vdisk::Vdisk;
use lunforge::vdisk::store::RamStore;
use lunforge::{LogicalUnit, Target, Unit};

const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";
const TUR: [u8; 6] = [0; 6];
const INQUIRY: [u8; 6] = [0x12, 0, 0, 0, 36, 0];
const REPORT_LUNS: [u8; 12] = [0xA0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0];
const REQUEST_SENSE: [u8; 6] = [0x03, 0, 0, 0, 18, 0];

fn unit(serial: &str) -> Arc<LogicalUnit> {
    let disk = Vdisk::store(Arc::new(RamStore::new(1 << 20))).serial(serial);
    Unit::new(disk.open().unwrap()).build()
}

fn bed() -> Bed {
    let target = Target::builder("iqn.2026-11.org.example:t");
    Bed::with_target(1, target.lun(0, unit("zero")).build().unwrap())
}

#[test]
fn n50_three_commands_pass_a_pending_condition_and_all_others_report_it() {
    let others: [&[u8]; 8] = [
        &TUR,
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x1A, 0, 0x3F, 0, 64, 0],
        &[0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0],
        &[0x5E, 0, 0, 0, 0, 0, 0, 0, 64, 0],
        &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for cdb in others {
        let mut bed = bed();
        let s = bed.raw_session(0, A);
        for passes in [&INQUIRY[..], &REPORT_LUNS] {
            let reply = bed.command(s, 0, passes, &[], 64);
            assert_eq!(reply.status, Status::Good, "{passes:02x?}");
        }
        let reply = bed.command(s, 0, cdb, &[], 512);
        assert_eq!(reply.asc(), Some((0x29, 0)), "{cdb:02x?}");
        assert!(reply.data.is_empty());
        assert_eq!(
            bed.command(s, 0, &TUR, &[], 0).status,
            Status::Good,
            "told once"
        );
    }
    // REQUEST SENSE reports it as its data, and ends it.
    let mut bed = bed();
    let s = bed.raw_session(0, A);
    let reply = bed.command(s, 0, &REQUEST_SENSE, &[], 18);
    assert_eq!((reply.data[2] & 0x0F, reply.data[12]), (6, 0x29));
    let reply = bed.command(s, 0, &REQUEST_SENSE, &[], 18);
    assert_eq!(reply.data[2] & 0x0F, 0);
}

#[test]
fn n50_a_hundred_thousand_changes_are_told_in_a_few_words_the_reset_first() {
    let mut bed = bed();
    let (a, b) = (bed.session(0, A), bed.session(0, B));
    let one = unit("one");
    for _ in 0..50_000 {
        bed.target().add_lun(1, Arc::clone(&one)).unwrap();
        bed.target().remove_lun(1).unwrap();
    }
    assert_eq!(
        bed.tmf(b, 0, Function::LogicalUnitReset),
        Response::Complete
    );
    let mut told = Vec::new();
    while let Some(asc) = bed.command(a, 0, &TUR, &[], 0).asc() {
        told.push(asc);
        assert!(told.len() <= 16, "{told:02x?}");
    }
    assert_eq!(told, [(0x29, 0x03), (0x3F, 0x0E)]);
}

#[test]
fn n50_report_luns_ends_the_condition_that_it_answers_and_no_other() {
    let mut bed = bed();
    let (a, b) = (bed.session(0, A), bed.session(0, B));
    bed.target().add_lun(1, unit("one")).unwrap();
    bed.tmf(b, 0, Function::LogicalUnitReset);
    let luns = bed.command(a, 0, &REPORT_LUNS, &[], 64);
    assert_eq!(luns.data.len(), 8 + 2 * 8);
    assert_eq!(bed.command(a, 0, &TUR, &[], 0).asc(), Some((0x29, 0x03)));
    assert_eq!(bed.command(a, 0, &TUR, &[], 0).status, Status::Good);
}

/// The conditions of a LUN, to the last.
fn told(bed: &mut Bed, s: Session, lun: u16) -> Vec<(u8, u8)> {
    std::iter::from_fn(|| bed.command(s, lun, &TUR, &[], 0).asc()).collect()
}

fn bed_of_two() -> Bed {
    let target = Target::builder("iqn.2026-11.org.example:t");
    let target = target.lun(0, unit("zero")).lun(1, unit("one"));
    Bed::with_target(1, target.build().unwrap())
}

#[test]
fn a_change_of_the_map_is_told_by_a_lun_that_the_session_uses_later() {
    let mut bed = bed_of_two();
    let a = bed.session(0, A);
    bed.target().add_lun(2, unit("two")).unwrap();
    assert_eq!(told(&mut bed, a, 1), [(0x29, 0), (0x3F, 0x0E)]);
    assert_eq!(told(&mut bed, a, 0), [(0x3F, 0x0E)]);
    // It is the news itself.
    assert_eq!(told(&mut bed, a, 2), [(0x29, 0)]);
}

#[test]
fn a_lun_that_came_while_the_session_was_there_tells_that_another_one_left() {
    let mut bed = bed_of_two();
    let a = bed.session(0, A);
    bed.target().add_lun(2, unit("two")).unwrap();
    bed.target().remove_lun(1).unwrap();
    assert_eq!(told(&mut bed, a, 2), [(0x29, 0), (0x3F, 0x0E)]);
    assert_eq!(bed.command(a, 1, &TUR, &[], 0).asc(), Some((0x25, 0)));
    // One that comes again is new again.
    bed.target().add_lun(1, unit("one")).unwrap();
    assert_eq!(told(&mut bed, a, 1), [(0x29, 0)]);
}

#[test]
fn a_session_is_told_no_change_that_was_made_before_it_began() {
    let mut bed = bed_of_two();
    bed.target().add_lun(2, unit("two")).unwrap();
    bed.target().remove_lun(1).unwrap();
    let a = bed.raw_session(0, A);
    for lun in [0, 2] {
        assert_eq!(told(&mut bed, a, lun), [(0x29, 0)], "LUN {lun}");
    }
}

#[test]
fn report_luns_ends_its_condition_on_every_lun_of_its_session() {
    for without_lun_0 in [false, true] {
        let mut bed = bed_of_two();
        let (a, b) = (bed.session(0, A), bed.session(0, B));
        told(&mut bed, a, 1);
        bed.target().add_lun(2, unit("two")).unwrap();
        bed.target().add_lun(3, unit("three")).unwrap();
        // A list that is not given tells nothing.
        let wrong = [0xA0, 0, 0x55, 0, 0, 0, 0, 0, 64, 0, 0, 0];
        assert_eq!(bed.command(a, 0, &wrong, &[], 64).asc(), Some((0x24, 0)));
        if without_lun_0 {
            // LUN 0 answers without a unit, too.
            bed.target().remove_lun(0).unwrap();
        }
        let luns = bed.command(a, 0, &REPORT_LUNS, &[], 64);
        assert_eq!(luns.status, Status::Good);
        assert_eq!(told(&mut bed, a, 1), []);
        assert_eq!(told(&mut bed, a, 2), [(0x29, 0)]);
        assert_eq!(told(&mut bed, b, 1), [(0x29, 0), (0x3F, 0x0E)]);
    }
}

#[test]
fn a_change_of_the_map_is_told_by_no_other_target_of_a_unit() {
    let shared = unit("shared");
    let named = |name: &str| Target::builder(name).lun(0, Arc::clone(&shared));
    let one = named("iqn.2026-11.org.example:one").build().unwrap();
    let two = named("iqn.2026-11.org.example:two").relative_port(2);
    let two = two.build().unwrap();
    let mut bed = Bed::with_targets(1, Arc::clone(&one), &[Arc::clone(&two)]);
    let (a, b) = (bed.session_with(&one, 0, A), bed.session_with(&two, 0, B));
    one.add_lun(1, unit("more")).unwrap();
    assert_eq!(told(&mut bed, a, 0), [(0x3F, 0x0E)]);
    assert_eq!(told(&mut bed, b, 0), []);
}
