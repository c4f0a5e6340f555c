//! A target that changes while sessions use it: groups of initiators, units that take another's place, the port.
#![cfg(not(loom))]

mod groups;
mod port;
mod replacement;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lunforge_core::status::Status;
use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::testing::{Bed, Send, Session};
use lunforge_core::{LogicalUnit, Target};

const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";
const C: &str = "iqn.2026-11.org.example:c";
const TUR: [u8; 6] = [0; 6];
const READ_1: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const POWER_ON: (u8, u8) = (0x29, 0);
const LUNS_CHANGED: (u8, u8) = (0x3F, 0x0E);
const INQUIRY_CHANGED: (u8, u8) = (0x3F, 0x03);
const NO_UNIT: (u8, u8) = (0x25, 0);

fn unit(serial: &str) -> (Arc<LogicalUnit>, Arc<Controls>) {
    let blank = Blank::default();
    blank.0.serial.set(serial.to_owned()).unwrap();
    let controls = Arc::clone(&blank.0);
    (LogicalUnit::new(blank), controls)
}

fn plain(serial: &str) -> Arc<LogicalUnit> {
    unit(serial).0
}

fn target(units: &[&Arc<LogicalUnit>]) -> Arc<Target> {
    let mut target = Target::builder("iqn.2026-11.org.example:t");
    for (lun, unit) in (0..).zip(units) {
        target = target.lun(lun, Arc::clone(unit));
    }
    target.build().unwrap()
}

fn read(lun: u16) -> Send {
    Send {
        lun,
        cdb: READ_1.to_vec(),
        expected_in: 512,
        ..Send::default()
    }
}

/// The conditions of a LUN, to the last; or why there is none.
fn told(bed: &mut Bed, session: Session, lun: u16) -> Vec<(u8, u8)> {
    let mut told = Vec::new();
    while let Some(asc) = bed.command(session, lun, &TUR, &[], 0).asc() {
        told.push(asc);
        if asc == NO_UNIT {
            break;
        }
    }
    told
}

fn luns(bed: &mut Bed, session: Session) -> Vec<u8> {
    let cdb = [0xA0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0];
    let data = bed.command(session, 0, &cdb, &[], 255).data;
    data[8..].chunks(8).map(|lun| lun[1]).collect()
}

fn serial(bed: &mut Bed, session: Session, lun: u16) -> String {
    let cdb = [0x12, 1, 0x80, 0, 255, 0];
    let data = bed.command(session, lun, &cdb, &[], 255).data;
    String::from_utf8(data[4..].to_vec()).unwrap()
}

/// A command that its backend holds.
fn held(bed: &mut Bed, session: Session, lun: u16, controls: &Controls) -> u64 {
    controls.hold.store(true, Relaxed);
    let tag = bed.send(session, read(lun));
    controls.hold.store(false, Relaxed);
    assert_eq!(bed.ended(session, tag).map(|r| r.status), None);
    tag
}

fn good(bed: &mut Bed, session: Session, lun: u16) {
    let reply = bed.command(session, lun, &READ_1, &[], 512);
    assert_eq!(reply.status, Status::Good, "{:?}", reply.asc());
}
