//! CD and DVD drives: the commands of MMC, and what the owner does with the medium.

mod common;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use common::{Rig, cdb10, cdb12, cdb16};
use lunforge_core::LogicalUnit;
use lunforge_core::status::Status;
use lunforge_core::testing::{Bed, Send, Session};
use lunforge_vdisk::{Vdisk, VdiskError};
use parking_lot::Mutex;
use tempfile::TempDir;

const TEST_UNIT_READY: [u8; 6] = [0; 6];
const NO_MEDIUM: (u8, u8, u8) = (2, 0x3A, 0);
const MAY_HAVE_CHANGED: (u8, u8, u8) = (6, 0x28, 0);
const INVALID_FIELD: (u8, u8, u8) = (5, 0x24, 0);
const EJECT: [u8; 6] = [0x1B, 0, 0, 0, 2, 0];
const LOAD: [u8; 6] = [0x1B, 0, 0, 0, 3, 0];
const BLOCK: usize = 2048;
/// Blocks of the image that most tests use.
const BLOCKS: u32 = 300;

struct Images(TempDir);

impl Images {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// An image of so many blocks: each byte is the seed and the number of its block.
    fn make(&self, name: &str, seed: u8, blocks: u32) -> PathBuf {
        let path = self.0.path().join(name);
        let data: Vec<u8> = (0..blocks).flat_map(|n| block(seed, n)).collect();
        std::fs::write(&path, data).unwrap();
        path
    }

    /// One with no data.
    fn sparse(&self, name: &str, len: u64) -> PathBuf {
        let path = self.0.path().join(name);
        File::create(&path).unwrap().set_len(len).unwrap();
        path
    }
}

fn block(seed: u8, n: u32) -> [u8; BLOCK] {
    [seed.wrapping_add(n as u8); BLOCK]
}

/// A session with an empty drive that has been told of its power on.
fn empty() -> Rig {
    let mut rig = Rig::new(Vdisk::cdrom(None).serial("cd").open().unwrap());
    rig.run(&TEST_UNIT_READY, &[], 0);
    rig
}

fn loaded(images: &Images) -> Rig {
    let image = images.make("a.iso", 1, BLOCKS);
    let mut rig = Rig::new(Vdisk::cdrom(Some(&image)).open().unwrap());
    rig.run(&TEST_UNIT_READY, &[], 0);
    rig
}

/// A medium of another size.
fn of_size(blocks: u64) -> Rig {
    let images = Images::new();
    let image = images.sparse("sparse.iso", blocks * BLOCK as u64);
    let mut rig = Rig::new(Vdisk::cdrom(Some(&image)).open().unwrap());
    rig.run(&TEST_UNIT_READY, &[], 0);
    rig
}

fn toc(rig: &mut Rig, msf: bool, format: u8, track: u8) -> Vec<u8> {
    let cdb = [0x43, u8::from(msf) << 1, format, 0, 0, 0, track, 0x10, 0, 0];
    rig.good(&cdb, &[], 4096)
}

fn configuration(rig: &mut Rig, rt: u8, feature: u8) -> Vec<u8> {
    rig.good(&[0x46, rt, 0, feature, 0, 0, 0, 0x10, 0, 0], &[], 4096)
}

/// Event and media status as a session is told them.
fn media_event(rig: &mut Rig, session: Session) -> [u8; 2] {
    let cdb = [0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0];
    let data = rig.bed.command(session, 0, &cdb, &[], 8).data;
    assert_eq!(data[..4], [0, 6, 4, 0x50]);
    [data[4], data[5]]
}

#[test]
fn it_is_a_removable_multimedia_device_of_blocks_of_2048_bytes() {
    let mut rig = loaded(&Images::new());
    let inquiry = rig.good(&[0x12, 0, 0, 0, 255, 0], &[], 255);
    assert_eq!(inquiry[..2], [0x05, 0x80]);
    assert_eq!(inquiry[16..32], *b"CDROM           ");
    let descriptors: Vec<_> = inquiry[58..74].chunks(2).collect();
    assert!(descriptors.contains(&&[0x04, 0xE0][..]), "MMC-6");
    let pages = rig.good(&[0x12, 1, 0, 0, 255, 0], &[], 255);
    assert_eq!(pages[4..], [0x00, 0x80, 0x83, 0x86]);
    rig.fails(&[0x12, 1, 0xB0, 0, 255, 0], &[], 255, INVALID_FIELD);
    let capacity = rig.good(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 8);
    assert_eq!(capacity[..4], (BLOCKS - 1).to_be_bytes());
    assert_eq!(capacity[4..], 2048_u32.to_be_bytes());
    let sixteen = cdb16(0x9E, 0x10, 0, 32);
    rig.fails(&sixteen, &[], 32, (5, 0x20, 0));
}

#[test]
fn every_read_gives_the_blocks_of_the_image() {
    let mut rig = loaded(&Images::new());
    let two = [block(1, 7), block(1, 8)].concat();
    let mut read_cd = cdb12(0xBE, 0, 7, 0);
    (read_cd[8], read_cd[9]) = (2, 0x10);
    for cdb in [
        &[0x08, 0, 0, 7, 2, 0][..],
        &cdb10(0x28, 0, 7, 2),
        &cdb12(0xA8, 0, 7, 2),
        &cdb16(0x88, 0, 7, 2),
        &cdb10(0x28, 0x18, 7, 2),
        &read_cd,
    ] {
        assert_eq!(rig.good(cdb, &[], 2 * BLOCK), two, "{cdb:02x?}");
    }
    let end = cdb10(0x28, 0, BLOCKS - 1, 2);
    rig.fails(&end, &[], 2 * BLOCK, (5, 0x21, 0));
    rig.good(&cdb10(0x2F, 0, 7, 2), &[], 0);
    rig.good(&cdb10(0x2F, 0x02, 7, 2), &two, 0);
    rig.fails(&cdb10(0x2F, 0x02, 8, 2), &two, 0, (0xE, 0x1D, 0));
    rig.good(&cdb10(0x35, 0, 0, 0), &[], 0);
}

#[test]
fn of_a_sector_only_the_user_data_can_be_read() {
    let mut rig = loaded(&Images::new());
    let mut cdb = cdb12(0xBE, 0, 7, 0);
    cdb[8] = 1;
    assert_eq!(rig.good(&cdb, &[], BLOCK), [], "nothing is asked for");
    cdb[9] = 0xF8;
    rig.fails(&cdb, &[], 2352, (5, 0x64, 0));
    cdb[9] = 0x10;
    cdb[1] = 1 << 2; // CD-DA
    rig.fails(&cdb, &[], BLOCK, (5, 0x64, 0));
    cdb[1] = 2 << 2;
    rig.good(&cdb, &[], BLOCK);
    cdb[10] = 1;
    rig.fails(&cdb, &[], BLOCK, INVALID_FIELD);
}

#[test]
fn writes_are_refused_as_by_a_protected_medium() {
    let mut rig = loaded(&Images::new());
    let data = block(9, 0);
    for cdb in [
        &[0x0A, 0, 0, 0, 1, 0][..],
        &cdb10(0x2A, 0, 0, 1),
        &cdb10(0x2E, 0, 0, 1),
        &cdb12(0xAA, 0, 0, 1),
        &cdb16(0x8A, 0, 0, 1),
    ] {
        rig.fails(cdb, &data, 0, (7, 0x27, 0));
    }
    // What no drive has: WRITE SAME, UNMAP (READ SUB-CHANNEL here), FORMAT UNIT, COMPARE AND WRITE, READ LONG.
    for opcode in [0x41, 0x42, 0x04, 0x89, 0x3E] {
        let mut cdb = [0; 16];
        cdb[0] = opcode;
        rig.fails(&cdb, &[], 0, (5, 0x20, 0));
    }
    assert_eq!(rig.good(&cdb10(0x28, 0, 0, 1), &[], BLOCK), block(1, 0));
}

#[test]
fn without_a_medium_it_is_not_ready_and_tells_of_itself() {
    let mut rig = empty();
    for cdb in [
        &TEST_UNIT_READY[..],
        &cdb10(0x25, 0, 0, 0),
        &cdb10(0x28, 0, 0, 1),
        &cdb10(0x2A, 0, 0, 1),
        &cdb10(0x43, 0, 0, 12),
        &cdb10(0x51, 0, 0, 34),
    ] {
        rig.fails(cdb, &[], BLOCK, NO_MEDIUM);
    }
    let sense = rig.good(&[0x03, 0, 0, 0, 18, 0], &[], 18);
    assert_eq!((sense[2], sense[12], sense[13]), NO_MEDIUM);
    assert_eq!(configuration(&mut rig, 0, 0)[6..8], [0, 0]);
    let status = rig.good(&cdb12(0xBD, 0, 0, 8), &[], 8);
    assert_eq!(status, [0; 8]);
    let session = rig.session;
    assert_eq!(media_event(&mut rig, session), [0, 0]);
    rig.good(&[0x1A, 0, 0x2A, 0, 255, 0], &[], 255);
    // A tray with nothing in it goes out and in, and that is no change of medium.
    rig.good(&EJECT, &[], 0);
    assert_eq!(media_event(&mut rig, session), [0, 1]);
    rig.good(&LOAD, &[], 0);
    assert_eq!(media_event(&mut rig, session), [0, 0]);
    rig.fails(&TEST_UNIT_READY, &[], 0, NO_MEDIUM);
}

#[test]
fn the_table_of_contents_has_one_data_track_and_the_lead_out() {
    let mut rig = loaded(&Images::new());
    let lead_out = BLOCKS.to_be_bytes();
    let blocks = [
        &[0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0][..],
        &lead_out,
    ];
    assert_eq!(toc(&mut rig, false, 0, 0), blocks.concat());
    assert_eq!(toc(&mut rig, false, 0, 1), blocks.concat());
    let last = [&[0, 10, 1, 1, 0, 0x14, 0xAA, 0][..], &lead_out];
    assert_eq!(toc(&mut rig, false, 0, 0xAA), last.concat());
    // 300 blocks are 4 seconds, after the 2 that come before the first.
    let minutes = [
        0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x14, 0xAA, 0, 0, 0, 6, 0,
    ];
    assert_eq!(toc(&mut rig, true, 0, 1), minutes);
    let sessions = [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0];
    assert_eq!(toc(&mut rig, false, 1, 0), sessions);
    // The same where drivers of ATAPI's day ask for it.
    let old = [0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40];
    assert_eq!(rig.good(&old, &[], 12), sessions);
    let raw = toc(&mut rig, true, 2, 0);
    assert_eq!((raw.len(), raw[1]), (48, 46));
    assert_eq!(raw[26..37], [1, 0x14, 0, 0xA2, 0, 0, 0, 0, 0, 6, 0]);
    rig.fails(&[0x43, 0, 0, 0, 0, 0, 2, 0, 12, 0], &[], 12, INVALID_FIELD);
    rig.fails(&[0x43, 0, 5, 0, 0, 0, 0, 0, 12, 0], &[], 12, INVALID_FIELD);
    let cut = rig.good(&[0x43, 0, 0, 0, 0, 0, 0, 0, 4, 0], &[], 4);
    assert_eq!(cut, [0, 18, 1, 1]);
}

#[test]
fn the_profile_is_that_of_the_mediums_size() {
    for (blocks, profile, feature) in [
        (1, 0x08, 0x1E),
        (80 * 60 * 75, 0x08, 0x1E),
        (80 * 60 * 75 + 1, 0x10, 0x1F),
        (4_000_000, 0x10, 0x1F),
    ] {
        let mut rig = of_size(blocks);
        let all = configuration(&mut rig, 0, 0);
        assert_eq!(all[..4], (all.len() as u32 - 4).to_be_bytes());
        assert_eq!(all[6..8], [0, profile], "{blocks} blocks");
        // The profile list: both, with the current one told.
        let dvd = u8::from(profile == 0x10);
        let list = [0, 0, 3, 8, 0, 0x10, dvd, 0, 0, 0x08, 1 - dvd, 0];
        assert_eq!(all[8..20], list);
        let one = configuration(&mut rig, 2, feature);
        assert_eq!((one.len(), one[9], one[10] & 1), (16, feature, 1));
        let current = configuration(&mut rig, 1, 0x10);
        assert_eq!(current[8..10], [0, 0x10]);
        assert_eq!(current[20..22], [0, feature], "the other one is left out");
        assert_eq!(configuration(&mut rig, 2, 0x21).len(), 8, "no writing");
        let none = [0x46, 3, 0, 0, 0, 0, 0, 0, 8, 0];
        rig.fails(&none, &[], 8, INVALID_FIELD);
    }
}

#[test]
fn only_a_dvd_has_a_disc_structure() {
    let structure = |format| [0xAD, 0, 0, 0, 0, 0, 0, format, 0x10, 0, 0, 0];
    let mut dvd = of_size(1_000_000);
    let physical = dvd.good(&structure(0), &[], 4096);
    assert_eq!((physical.len(), physical[0], physical[1]), (2052, 8, 2));
    assert_eq!(physical[8..12], [0, 3, 0, 0]);
    let end: u32 = 0x3_0000 + 999_999;
    assert_eq!(physical[12..16], end.to_be_bytes());
    assert_eq!(dvd.good(&structure(1), &[], 4096), [0, 6, 0, 0, 0, 0, 0, 0]);
    assert_eq!(dvd.good(&structure(0xFF), &[], 4096)[..2], [0, 14]);
    dvd.fails(&structure(4), &[], 4096, INVALID_FIELD);
    let mut cd = loaded(&Images::new());
    cd.fails(&structure(0), &[], 4096, (5, 0x30, 0));
    let information = cd.good(&cdb10(0x51, 0, 0, 255), &[], 255);
    assert_eq!(information.len(), 34);
    assert_eq!(information[..8], [0, 32, 0x0E, 1, 1, 1, 1, 0x20]);
    cd.fails(&cdb10(0x51, 1, 0, 255), &[], 255, INVALID_FIELD);
}

#[test]
fn mode_pages_are_those_of_a_drive_and_tell_of_the_lock() {
    let mut rig = loaded(&Images::new());
    let all = rig.good(&[0x5A, 0, 0x3F, 0, 0, 0, 0, 1, 0, 0], &[], 256);
    // Neither a block descriptor nor device specific parameters.
    assert_eq!(all[2..8], [0, 0, 0, 0, 0, 0]);
    let mut codes = Vec::new();
    let mut at = 8;
    while at < all.len() {
        codes.push(all[at]);
        at += 2 + usize::from(all[at + 1]);
    }
    assert_eq!(codes, [0x01, 0x0A, 0x1A, 0x1C, 0x1D, 0x2A]);
    rig.fails(&[0x1A, 0, 0x08, 0, 255, 0], &[], 255, INVALID_FIELD);
    let page = |rig: &mut Rig| rig.good(&[0x1A, 0, 0x2A, 0, 255, 0], &[], 255)[4..].to_vec();
    let free = page(&mut rig);
    assert_eq!(free[..4], [0x2A, 0x14, 0x1F, 0]);
    assert_eq!(free[6], 0x29, "tray, EJECT, LOCK");
    rig.good(&[0x1E, 0, 0, 0, 1, 0], &[], 0);
    assert_eq!(page(&mut rig)[6], 0x2B, "LOCK STATE");
    // D_SENSE can be set as on a disk.
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    rig.bed.command(other, 0, &TEST_UNIT_READY, &[], 0);
    let control = common::control(0x26, 0x10, 0, 0);
    let now = rig.good(&[0x1A, 8, 0x0A, 0, 255, 0], &[], 255);
    let mut list = now.clone();
    (list[0], list[2]) = (0, 0);
    list[6] |= control[6] & 0x04;
    rig.good(&[0x15, 0x10, 0, 0, list.len() as u8, 0], &list, 0);
    let told = rig.bed.command(other, 0, &TEST_UNIT_READY, &[], 0);
    assert_eq!(told.asc(), Some((0x2A, 0x01)));
}

#[test]
fn log_pages_and_operation_codes_are_told() {
    let mut rig = loaded(&Images::new());
    let pages = rig.good(&[0x4D, 0, 0x40, 0, 0, 0, 0, 0, 255, 0], &[], 255);
    assert_eq!(pages[4..], [0x00, 0x10, 0x19, 0x2F]);
    let all = rig.good(&cdb12(0xA3, 0x0C, 0, 4096), &[], 4096);
    let codes: Vec<u8> = all[4..].chunks(8).map(|row| row[0]).collect();
    for wanted in [0x1E, 0x28, 0x43, 0x46, 0x4A, 0x51, 0xAD, 0xBD, 0xBE] {
        assert!(codes.contains(&wanted), "{wanted:02x}");
    }
    for other in [0x04, 0x41, 0x42, 0x89, 0x9E] {
        assert!(!codes.contains(&other), "{other:02x}");
    }
}

#[test]
fn an_ejected_medium_comes_back_and_each_nexus_is_told_once() {
    let mut rig = loaded(&Images::new());
    let (mine, other) = (rig.session, rig.bed.session(0, "iqn.2026-11.org.example:b"));
    rig.bed.command(other, 0, &TEST_UNIT_READY, &[], 0);
    assert_eq!(media_event(&mut rig, mine), [0, 2]);
    assert_eq!(media_event(&mut rig, other), [0, 2]);
    rig.good(&[0x1E, 0, 0, 0, 1, 0], &[], 0);
    rig.fails(&EJECT, &[], 0, (5, 0x53, 2));
    rig.good(&[0x1E, 0, 0, 0, 0, 0], &[], 0);
    rig.good(&EJECT, &[], 0);
    rig.fails(&cdb10(0x28, 0, 0, 1), &[], BLOCK, NO_MEDIUM);
    assert_eq!(rig.good(&cdb12(0xBD, 0, 0, 8), &[], 8)[1], 0x10);
    assert_eq!(media_event(&mut rig, mine), [3, 1]);
    assert_eq!(media_event(&mut rig, mine), [0, 1]);
    rig.good(&LOAD, &[], 0);
    assert_eq!(media_event(&mut rig, mine), [2, 2]);
    assert_eq!(media_event(&mut rig, mine), [0, 2]);
    // One that slept through both is told what is true now.
    assert_eq!(media_event(&mut rig, other), [2, 2]);
    let told = rig.bed.command(other, 0, &TEST_UNIT_READY, &[], 0);
    assert_eq!(told.asc(), Some((0x28, 0)));
    rig.good(&cdb10(0x28, 0, 0, 1), &[], BLOCK);
}

#[test]
fn events_are_polled_for_and_by_class() {
    let mut rig = empty();
    let asynchronous = [0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8, 0];
    rig.fails(&asynchronous, &[], 8, INVALID_FIELD);
    let operational = [0x4A, 1, 0, 0, 0x02, 0, 0, 0, 8, 0];
    assert_eq!(rig.good(&operational, &[], 8), [0, 2, 0x80, 0x50]);
    let busy = [0x4A, 1, 0, 0, 0x40, 0, 0, 0, 8, 0];
    assert_eq!(rig.good(&busy, &[], 8), [0, 6, 6, 0x50, 0, 0, 0, 0]);
}

#[test]
fn the_owner_changes_the_medium_and_every_nexus_is_told() {
    let images = Images::new();
    let mut rig = empty();
    let session = rig.session;
    assert_eq!(media_event(&mut rig, session), [0, 0]);
    let (a, b) = (images.make("a", 1, 10), images.make("b", 101, 20));
    rig.disk.change_medium(Some(&a)).unwrap();
    // What does not report a unit attention tells of the medium first.
    assert_eq!(media_event(&mut rig, session), [2, 2]);
    rig.fails(&cdb10(0x28, 0, 9, 1), &[], BLOCK, MAY_HAVE_CHANGED);
    assert_eq!(rig.good(&cdb10(0x28, 0, 9, 1), &[], BLOCK), block(1, 9));
    // Whoever prevents removal prevents initiators, not the owner.
    rig.good(&[0x1E, 0, 0, 0, 1, 0], &[], 0);
    rig.disk.change_medium(Some(&b)).unwrap();
    rig.fails(&TEST_UNIT_READY, &[], 0, MAY_HAVE_CHANGED);
    assert_eq!(rig.good(&cdb10(0x28, 0, 19, 1), &[], BLOCK), block(101, 19));
    assert_eq!(rig.disk.size(), 20 * BLOCK as u64);
    rig.disk.change_medium(None).unwrap();
    rig.fails(&TEST_UNIT_READY, &[], 0, NO_MEDIUM);
    assert_eq!(media_event(&mut rig, session), [3, 0]);
    assert_eq!(rig.disk.size(), 0);
    // The image is free again.
    let disk = Vdisk::file(&b).open().unwrap();
    let taken = rig.disk.change_medium(Some(&b)).unwrap_err();
    assert!(matches!(taken, VdiskError::Open(_)), "{taken}");
    drop(disk);
}

#[test]
fn an_image_that_cannot_be_opened_leaves_the_medium_where_it_is() {
    let images = Images::new();
    let mut rig = loaded(&images);
    let missing = images.0.path().join("missing");
    let error = rig.disk.change_medium(Some(&missing)).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert!(!missing.exists());
    let short = images.sparse("short", 2047);
    let error = rig.disk.change_medium(Some(&short)).unwrap_err();
    assert!(matches!(error, VdiskError::Size { size: 2047, .. }));
    assert_eq!(rig.good(&cdb10(0x28, 0, 0, 1), &[], BLOCK), block(1, 0));
    assert!(Vdisk::cdrom(Some(&missing)).open().is_err());
    let fixed = Vdisk::null(1 << 20).serial("d").open().unwrap();
    let error = fixed.change_medium(None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "d is no CD drive: its medium cannot be changed"
    );
}

#[test]
fn a_drive_can_be_closed_and_opened_and_keeps_its_place_over_a_fence() {
    let images = Images::new();
    let mut rig = loaded(&images);
    let patience = std::time::Duration::from_secs(5);
    rig.disk.deactivate(patience).unwrap();
    rig.fails(&TEST_UNIT_READY, &[], 0, (2, 4, 0));
    // A medium that is put in meanwhile is opened with the drive.
    let b = images.make("b", 101, 20);
    rig.disk.change_medium(Some(&b)).unwrap();
    rig.disk.reactivate().unwrap();
    rig.fails(&TEST_UNIT_READY, &[], 0, MAY_HAVE_CHANGED);
    assert_eq!(rig.good(&cdb10(0x28, 0, 1, 1), &[], BLOCK), block(101, 1));
    // An empty one, too, and a medium that comes in after a fence is of the present epoch.
    rig.disk.change_medium(None).unwrap();
    rig.disk.deactivate(patience).unwrap();
    rig.disk.reactivate().unwrap();
    assert_eq!(
        lunforge_core::DeviceHandler::fence(&rig.disk),
        lunforge_core::handler::Fence::Fenced
    );
    rig.disk.change_medium(Some(&b)).unwrap();
    rig.run(&TEST_UNIT_READY, &[], 0);
    assert_eq!(rig.good(&cdb10(0x28, 0, 1, 1), &[], BLOCK), block(101, 1));
}

#[test]
fn what_is_behind_the_last_whole_block_is_not_seen() {
    let images = Images::new();
    let image = images.sparse("odd", 5 * BLOCK as u64 + 100);
    let before = std::fs::metadata(&image).unwrap().len();
    let mut rig = Rig::new(Vdisk::cdrom(Some(&image)).size(1 << 30).open().unwrap());
    rig.run(&TEST_UNIT_READY, &[], 0);
    let capacity = rig.good(&cdb10(0x25, 0, 0, 0), &[], 8);
    assert_eq!(capacity[..4], [0, 0, 0, 4]);
    assert_eq!(std::fs::metadata(&image).unwrap().len(), before);
}

#[test]
fn a_command_that_was_let_in_before_the_medium_changed_does_not_read_the_new_one() {
    let images = Images::new();
    let (a, b) = (images.make("a", 1, 20), images.make("b", 101, 20));
    let disk = Vdisk::cdrom(Some(&a)).open().unwrap();
    let unit = LogicalUnit::new(disk.clone());
    let mut bed = Bed::new(1, Arc::clone(&unit));
    let session = bed.session(0, "iqn.2026-11.org.example:a");
    bed.command(session, 0, &TEST_UNIT_READY, &[], 0);
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    unit.close_gate(move |closed| *keep.lock() = Some(closed));
    let read = Send {
        cdb: cdb10(0x28, 0, 0, 1).to_vec(),
        expected_in: BLOCK,
        ..Send::default()
    };
    let tag = bed.send(session, read);
    bed.poll();
    disk.change_medium(Some(&b)).unwrap();
    drop(kept.lock().take());
    let reply = bed.wait(session, tag);
    assert_eq!(reply.asc(), Some((0x2F, 0x02)), "{reply:?}");
    let told = bed.command(session, 0, &cdb10(0x28, 0, 0, 1), &[], BLOCK);
    assert_eq!(told.asc(), Some((0x28, 0)));
    let new = bed.command(session, 0, &cdb10(0x28, 0, 0, 1), &[], BLOCK);
    assert_eq!(
        (new.status, &new.data[..]),
        (Status::Good, &block(101, 0)[..])
    );
}
