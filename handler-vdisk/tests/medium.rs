//! START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, removable media.

mod common;

use common::*;
use lunforge_core::status::Status;
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::*;

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
