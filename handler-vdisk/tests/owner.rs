//! What the owner of a disk changes while initiators use it, and disks whose file is not there yet.

mod common;

use std::fs::File;
use std::sync::Arc;

use common::{MIB, Rig, cdb10};
use lunforge_core::designator::Designator;
use lunforge_core::status::Status;
use lunforge_core::testing::Bed;
use lunforge_core::{DeviceHandler, LogicalUnit, Target};
use lunforge_vdisk::{Vdisk, VdiskError};

const TEST_UNIT_READY: [u8; 6] = [0; 6];
const NOT_READY: (u8, u8, u8) = (0x2, 0x04, 0x00);
const INQUIRY_DATA_HAS_CHANGED: (u8, u8, u8) = (0x6, 0x3F, 0x03);
const CAPACITY_DATA_HAS_CHANGED: (u8, u8, u8) = (0x6, 0x2A, 0x09);

fn inquiry(rig: &mut Rig, page: Option<u8>, room: u16) -> Vec<u8> {
    let [high, low] = room.to_be_bytes();
    let evpd = u8::from(page.is_some());
    let cdb = [0x12, evpd, page.unwrap_or(0), high, low, 0];
    rig.good(&cdb, &[], usize::from(room))
}

fn capacity(rig: &mut Rig) -> Vec<u8> {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[13]) = (0x9E, 0x10, 32);
    rig.good(&cdb, &[], 32)
}

/// A session that has been told of its power on.
fn settled(disk: Vdisk) -> Rig {
    let mut rig = Rig::new(disk);
    rig.run(&TEST_UNIT_READY, &[], 0);
    rig
}

#[test]
fn another_identity_is_told_and_the_same_one_is_not() {
    let mut rig = settled(Vdisk::null(MIB).serial("before").open().unwrap());
    let mut identity = rig.disk.identity();
    rig.disk.set_identity(identity.clone()).unwrap();
    rig.good(&TEST_UNIT_READY, &[], 0);
    identity.serial = "after".into();
    identity.designators = vec![Designator::t10_vendor_id("LUN", "after")];
    rig.disk.set_identity(identity.clone()).unwrap();
    rig.fails(&TEST_UNIT_READY, &[], 0, INQUIRY_DATA_HAS_CHANGED);
    rig.good(&TEST_UNIT_READY, &[], 0);
    assert_eq!(inquiry(&mut rig, Some(0x80), 64)[4..], *b"after");
    identity.vendor = "NINE CHAR".into();
    let refused = rig.disk.set_identity(identity);
    assert!(matches!(refused, Err(VdiskError::Identity { max: 8, .. })));
    assert_eq!(rig.disk.identity().serial, "after");
}

#[test]
fn vendor_specific_inquiry_data_has_its_two_places() {
    let disk = Vdisk::null(MIB).vendor_specific(*b"shelf 3").open();
    let mut rig = settled(disk.unwrap());
    let short = inquiry(&mut rig, None, 255);
    assert_eq!(
        (short.len(), &short[36..56]),
        (74, &b"shelf 3\0\0\0\0\0\0\0\0\0\0\0\0\0"[..])
    );
    rig.disk.set_vendor_specific([b'x'; 24]);
    rig.fails(&TEST_UNIT_READY, &[], 0, INQUIRY_DATA_HAS_CHANGED);
    let long = inquiry(&mut rig, None, 255);
    assert_eq!((long.len(), usize::from(long[4])), (100, 95));
    assert_eq!(
        (&long[36..56], &long[96..]),
        (&[b'x'; 20][..], &[b'x'; 4][..])
    );
    rig.disk.set_vendor_specific(vec![b'y'; 4096]);
    rig.run(&TEST_UNIT_READY, &[], 0);
    assert_eq!(inquiry(&mut rig, None, 512).len(), 260);
}

#[test]
fn advice_of_the_owner_is_told_where_it_is_reported() {
    let disk = Vdisk::null(MIB).block_size(512).rotational(true).open();
    let mut rig = settled(disk.unwrap());
    assert_ne!(inquiry(&mut rig, Some(0xB1), 64)[4..6], [0, 1]);
    rig.disk.set_optimal_transfer(64 << 10);
    rig.fails(&TEST_UNIT_READY, &[], 0, INQUIRY_DATA_HAS_CHANGED);
    assert_eq!(inquiry(&mut rig, Some(0xB0), 64)[12..16], [0, 0, 0, 128]);
    assert_eq!(capacity(&mut rig)[13], 3);
    rig.disk.set_physical_block_size(Some(512)).unwrap();
    rig.fails(&TEST_UNIT_READY, &[], 0, CAPACITY_DATA_HAS_CHANGED);
    assert_eq!(capacity(&mut rig)[13], 0);
    assert!(matches!(
        rig.disk.set_physical_block_size(Some(256)),
        Err(VdiskError::PhysicalBlockSize { .. })
    ));
    assert_eq!(capacity(&mut rig)[13], 0);
}

#[test]
fn a_null_disk_takes_another_size() {
    let mut rig = settled(Vdisk::null(MIB).block_size(512).open().unwrap());
    rig.disk.resize(2 * MIB).unwrap();
    rig.fails(&TEST_UNIT_READY, &[], 0, CAPACITY_DATA_HAS_CHANGED);
    assert_eq!(capacity(&mut rig)[..8], 4095_u64.to_be_bytes());
    rig.good(&cdb10(0x28, 0, 4095, 1), &[], 512);
}

#[test]
fn a_place_for_a_device_is_no_device() {
    let disk = Vdisk::null(MIB).connected(false).open().unwrap();
    assert_eq!(inquiry(&mut settled(disk), None, 36)[0], 0x3F);
}

#[test]
fn a_closed_disk_is_not_ready_and_tells_the_size_that_it_knows() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Vdisk::file(dir.path().join("d")).size(MIB).block_size(512);
    let mut rig = settled(disk.open().unwrap());
    rig.disk
        .deactivate(std::time::Duration::from_secs(5))
        .unwrap();
    rig.fails(&TEST_UNIT_READY, &[], 0, NOT_READY);
    rig.fails(&cdb10(0x28, 0, 0, 1), &[], 512, NOT_READY);
    assert_eq!(capacity(&mut rig)[..8], 2047_u64.to_be_bytes());
    rig.disk.reactivate().unwrap();
    rig.good(&TEST_UNIT_READY, &[], 0);
}

#[test]
fn a_disk_whose_file_is_missing_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    let missing = || Vdisk::file(&path).serial("m").active(false);
    assert!(matches!(missing().open(), Err(VdiskError::Open(_))));
    let mut rig = settled(missing().may_be_elsewhere(true).open().unwrap());
    rig.fails(&TEST_UNIT_READY, &[], 0, NOT_READY);
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[13]) = (0x9E, 0x10, 32);
    rig.fails(&cdb, &[], 32, NOT_READY);
    assert!(rig.disk.reactivate().is_err());
    File::create(&path).unwrap().set_len(MIB + 1).unwrap();
    // No whole number of blocks: it stays closed, and can be taken by whoever makes it right.
    assert!(matches!(
        rig.disk.reactivate(),
        Err(VdiskError::Size { .. })
    ));
    assert!(!rig.disk.is_active());
    File::create(&path).unwrap().set_len(MIB).unwrap();
    rig.disk.reactivate().unwrap();
    rig.fails(&TEST_UNIT_READY, &[], 0, CAPACITY_DATA_HAS_CHANGED);
    assert_eq!(capacity(&mut rig)[..8], 2047_u64.to_be_bytes());
    let data = [7; 512];
    rig.good(&cdb10(0x2A, 0, 1, 1), &data, 0);
    assert_eq!(rig.good(&cdb10(0x28, 0, 1, 1), &[], 512), data);
}

#[test]
fn a_parameters_file_follows_the_name_that_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let open = |serial: &str, of: &str| {
        let disk = Vdisk::null(MIB).serial(serial).parameters_of(of);
        disk.parameters_file(dir.path().join("p")).open()
    };
    let mut rig = settled(open("one", "disk1").unwrap());
    // MODE SELECT (6) with SP: DExcpt of the informational exceptions page.
    let list = [0, 0, 0, 0, 0x1C, 0x0A, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let reply = rig.run(&[0x15, 0x11, 0, 0, 16, 0], &list, 0);
    assert_eq!(reply.status, Status::Good, "{:?}", reply.sense);
    drop(rig);
    let mut rig = settled(open("two", "disk1").unwrap());
    let sense = rig.good(&[0x1A, 8, 0x1C, 0, 255, 0], &[], 255);
    assert_eq!(sense[6], 0x08);
    assert!(matches!(
        open("two", "disk2"),
        Err(VdiskError::Parameters { .. })
    ));
}

#[test]
fn by_a_read_only_lun_nothing_is_written_and_by_others_it_is() {
    let unit = LogicalUnit::new(Vdisk::null(MIB).block_size(512).open().unwrap());
    let target = Target::builder("t").lun(0, Arc::clone(&unit)).build();
    let mut bed = Bed::with_target(1, target.unwrap());
    let target = Arc::clone(bed.target());
    target.add_read_only_lun_in(None, 7, unit).unwrap();
    let session = bed.session(0, "iqn.2026-11.org.example:a");
    bed.command(session, 7, &TEST_UNIT_READY, &[], 0);
    let write = cdb10(0x2A, 0, 0, 1);
    let mode_sense = [0x1A, 8, 0x3F, 0, 255, 0];
    for (lun, status, asc, wp) in [
        (0, Status::Good, None, 0),
        (7, Status::CheckCondition, Some((0x27, 0)), 0x80),
    ] {
        let reply = bed.command(session, lun, &write, &[7; 512], 0);
        assert_eq!((reply.status, reply.asc()), (status, asc), "LUN {lun}");
        let read = bed.command(session, lun, &cdb10(0x28, 0, 0, 1), &[], 512);
        assert_eq!(read.status, Status::Good, "LUN {lun}");
        let modes = bed.command(session, lun, &mode_sense, &[], 255);
        assert_eq!(modes.data[2] & 0x80, wp, "LUN {lun}");
    }
    assert!(target.luns().is_read_only(7) && !target.luns().is_read_only(0));
    target.remove_lun(7).unwrap();
    assert!(!target.luns().is_read_only(7));
}
