//! START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, removable media.

mod common;

use common::*;
use lunforge_core::status::Status;
use lunforge_core::tmf::Function;
use lunforge_vdisk::Vdisk;

#[test]
fn a_removable_medium_can_be_ejected_and_loaded() {
    let disk = Vdisk::null(MIB).removable(true).open().unwrap();
    let mut rig = Rig::new(disk);
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    rig.good(&[0x1B, 0, 0, 0, 2, 0], &[], 0);
    let absent = (2, 0x3A, 0);
    rig.fails(&[0, 0, 0, 0, 0, 0], &[], 0, absent);
    rig.fails(&cdb10(0x28, 0, 0, 1), &[], 512, absent);
    rig.fails(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 8, absent);
    rig.good(&[0x1B, 0, 0, 0, 3, 0], &[], 0);
    rig.good(&cdb10(0x28, 0, 0, 1), &[], 512);
    assert_eq!(
        rig.bed.command(other, 0, &[0, 0, 0, 0, 0, 0], &[], 0).asc(),
        Some((0x28, 0))
    );
    let mut fixed = Rig::new(Vdisk::null(MIB).open().unwrap());
    fixed.fails(&[0x1B, 0, 0, 0, 2, 0], &[], 0, (5, 0x24, 0));
    // With a power condition LOEJ and START mean nothing, and no power condition changes anything here.
    fixed.good(&[0x1B, 0, 0, 0, 0x12, 0], &[], 0);
    fixed.good(&cdb10(0x28, 0, 0, 1), &[], 512);
}

#[test]
fn stop_flushes_and_leaves_the_unit_ready() {
    let mut rig = over(Recorder::new(thin_volatile()));
    rig.good(&[0x1B, 0, 0, 0, 0, 0], &[], 0);
    rig.good(&[0, 0, 0, 0, 0, 0], &[], 0);
    rig.good(&cdb10(0x28, 0, 0, 1), &[], 512);
    rig.good(&[0x1B, 0, 0, 0, 1, 0], &[], 0);
}

const PREVENTED: (u8, u8, u8) = (5, 0x53, 2);
const EJECT: [u8; 6] = [0x1B, 0, 0, 0, 2, 0];
const LOAD: [u8; 6] = [0x1B, 0, 0, 0, 3, 0];

fn prevent(prevent: u8) -> [u8; 6] {
    [0x1E, 0, 0, 0, prevent, 0]
}

#[test]
fn the_medium_stays_while_any_nexus_prevents_its_removal() {
    let mut rig = Rig::new(Vdisk::null(MIB).removable(true).open().unwrap());
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    rig.good(&prevent(1), &[], 0);
    rig.good(&prevent(1), &[], 0);
    let reply = rig.bed.command(other, 0, &prevent(1), &[], 0);
    assert_eq!(reply.status, Status::Good);
    rig.fails(&EJECT, &[], 0, PREVENTED);
    rig.good(&prevent(0), &[], 0);
    rig.fails(&EJECT, &[], 0, PREVENTED);
    rig.good(&[0; 6], &[], 0);
    // STOP without LOEJ is no removal.
    rig.good(&[0x1B, 0, 0, 0, 0, 0], &[], 0);
    rig.good(&[0x1B, 0, 0, 0, 1, 0], &[], 0);
    rig.bed.command(other, 0, &prevent(0), &[], 0);
    rig.good(&EJECT, &[], 0);
    rig.fails(&[0; 6], &[], 0, (2, 0x3A, 0));
    rig.good(&prevent(1), &[], 0);
    rig.fails(&LOAD, &[], 0, PREVENTED);
    rig.good(&prevent(0), &[], 0);
    rig.good(&LOAD, &[], 0);
    rig.good(&[0; 6], &[], 0);
}

#[test]
fn prevention_ends_with_a_reset_and_with_its_nexus() {
    let mut rig = Rig::new(Vdisk::null(MIB).removable(true).open().unwrap());
    rig.good(&prevent(1), &[], 0);
    rig.bed.tmf(rig.session, 0, Function::LogicalUnitReset);
    let _attention = rig.run(&[0; 6], &[], 0);
    rig.good(&EJECT, &[], 0);
    rig.good(&LOAD, &[], 0);
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    rig.bed.command(other, 0, &prevent(1), &[], 0);
    rig.fails(&EJECT, &[], 0, PREVENTED);
    rig.bed.close(other);
    while !rig.bed.closed(other) {}
    rig.good(&EJECT, &[], 0);
}

#[test]
fn prevent_values_of_media_changers_and_fixed_disks_are_refused() {
    let mut rig = Rig::new(Vdisk::null(MIB).removable(true).open().unwrap());
    rig.fails(&prevent(2), &[], 0, (5, 0x24, 0));
    rig.fails(&prevent(3), &[], 0, (5, 0x24, 0));
    rig.good(&EJECT, &[], 0);
    let mut fixed = Rig::new(Vdisk::null(MIB).open().unwrap());
    fixed.fails(&prevent(1), &[], 0, (5, 0x20, 0));
}
