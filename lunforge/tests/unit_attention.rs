//! Unit attention conditions as a whole unit reports them (N50; SAM-5 5.14, SPC-4 5.14).

use std::sync::Arc;

use lunforge::core::status::Status;
use lunforge::core::testing::Bed;
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
