//! FORMAT UNIT and SANITIZE: what they write, what they refuse, what others are told meanwhile.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use lunforge_core::handler::DeviceHandler;
use lunforge_core::sense::{Sense, SenseSpecific};
use lunforge_core::status::Status;
use lunforge_core::testing::{Reply, Send};
use lunforge_core::tmf::{Function, Response};
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::*;
use lunforge_vdisk::testing::{Hold, SlowStore};

const PATIENCE: Duration = Duration::from_secs(10);
const FORMAT_RUNS: (u8, u8, u8) = (2, 4, 4);
const SANITIZE_RUNS: (u8, u8, u8) = (2, 4, 0x1B);
const FORMAT_CORRUPTED: (u8, u8, u8) = (3, 0x31, 0);
const FORMAT_FAILED: (u8, u8, u8) = (3, 0x31, 1);
const SANITIZE_FAILED: (u8, u8, u8) = (3, 0x31, 3);
const TUR: [u8; 6] = [0; 6];

fn format(flags: u8) -> [u8; 6] {
    [4, flags, 0, 0, 0, 0]
}

/// A short header with an initialization pattern.
fn with_pattern(immed: bool, pattern: &[u8]) -> Vec<u8> {
    let len = (pattern.len() as u16).to_be_bytes();
    let flags = 0x88 | if immed { 2 } else { 0 };
    [&[0, flags, 0, 0, 0, 1][..], &len, pattern].concat()
}

fn sanitize(action: u8, len: u16) -> [u8; 10] {
    cdb10(0x48, action, 0, len)
}

fn overwrite(flags: u8, pattern: &[u8]) -> Vec<u8> {
    let len = (pattern.len() as u16).to_be_bytes();
    [&[flags, 0][..], &len, pattern].concat()
}

fn command(cdb: &[u8], data_out: &[u8]) -> Send {
    Send {
        cdb: cdb.to_vec(),
        data_out: data_out.to_vec(),
        ..Send::default()
    }
}

fn triple(reply: &Reply) -> Option<(u8, u8, u8)> {
    let sense = reply.sense.as_ref()?;
    Some((sense.key.code(), sense.asc.asc, sense.asc.ascq))
}

/// Every store and engine, thick and thin.
fn rigs() -> Vec<(String, Rig, Option<tempfile::TempDir>)> {
    let ram = |volatile| Arc::new(RamStore::new(8 * MIB).volatile_cache(volatile));
    let mut rigs = vec![
        ("ram".to_owned(), over(ram(false)), None),
        ("ram volatile".to_owned(), over(ram(true)), None),
    ];
    for engine in [Engine::Auto, Engine::Inline, Engine::Uring, Engine::Threads] {
        for thin in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let disk = Vdisk::file(dir.path().join("d"))
                .size(8 * MIB)
                .block_size(512)
                .thin(thin)
                .engine(engine);
            // A file system that cannot punch holes has no thin disks.
            let Ok(disk) = disk.open() else { continue };
            rigs.push((format!("{engine:?} thin {thin}"), Rig::new(disk), Some(dir)));
        }
    }
    rigs
}

fn whole(rig: &mut Rig) -> Vec<u8> {
    rig.good(&cdb16(0x88, 0, 0, BLOCKS as u32), &[], 8 << 20)
}

fn fill(rig: &mut Rig) {
    rig.good(&cdb16(0x93, 0, 0, BLOCKS as u32), &[0x5A; 512], 0);
}

/// Runs TEST UNIT READY until it ends with GOOD.
fn until_ready(rig: &mut Rig) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while rig.run(&TUR, &[], 0).status != Status::Good {
        assert!(std::time::Instant::now() < deadline, "never ready");
        std::thread::yield_now();
    }
}

#[test]
fn a_formatted_medium_reads_zeroes_or_the_pattern_from_the_start_of_each_block() {
    for (name, mut rig, _dir) in rigs() {
        fill(&mut rig);
        rig.good(&format(0), &[], 0);
        assert!(whole(&mut rig).iter().all(|&b| b == 0), "{name}");
        fill(&mut rig);
        rig.good(&format(0x10), &with_pattern(false, b"abc"), 0);
        let block: Vec<u8> = b"abc".iter().copied().cycle().take(512).collect();
        assert_eq!(whole(&mut rig), block.repeat(BLOCKS as usize), "{name}");
        rig.good(&format(0x10), &with_pattern(true, &[7; 512]), 0);
        until_ready(&mut rig);
        assert!(whole(&mut rig).iter().all(|&b| b == 7), "{name}");
        // The default pattern, and a long header.
        rig.good(&format(0x30), &[0, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0);
        assert!(whole(&mut rig).iter().all(|&b| b == 0), "{name}");
    }
}

#[test]
fn a_format_gives_up_the_storage_of_a_thin_disk() {
    let mut rig = over(Arc::new(RamStore::new(8 * MIB)));
    fill(&mut rig);
    rig.good(&format(0), &[], 0);
    let status = rig.good(&cdb16(0x9E, 0x12, 0, 4096), &[], 4096);
    assert_eq!((status.len(), status[20]), (24, 1), "one run, deallocated");
}

#[test]
fn format_unit_refuses_what_it_does_not_do() {
    let (cdb, list, short) = ((5, 0x24, 0), (5, 0x26, 0), (5, 0x1A, 0));
    let mut rig = over(Arc::new(RamStore::new(8 * MIB)));
    fill(&mut rig);
    for flags in [0x40, 0x80, 0xC0, 0x06, 0x01, 0x16, 0x17] {
        rig.fails(&format(flags), &[0; 4], 0, cdb);
    }
    rig.fails(&[4, 0x10, 0, 0, 1, 0], &[0; 4], 0, cdb);
    for len in 0..4 {
        rig.fails(&format(0x10), &[0; 4][..len], 0, short);
    }
    for len in 4..8 {
        rig.fails(&format(0x30), &[0; 8][..len], 0, short);
    }
    let mut refuse = |flags: u8, data: &[u8], byte: u16| {
        let reply = rig.fails(&format(flags), data, 0, list);
        match reply.sense.unwrap().specific {
            SenseSpecific::FieldPointer {
                byte: at,
                in_cdb: false,
                ..
            } => assert_eq!(at, byte, "{data:02x?}"),
            other => panic!("{other:?}"),
        }
    };
    refuse(0x10, &[1, 0, 0, 0], 0);
    for options in [0x40, 0x20, 0x10, 0x08, 0x04, 0x84] {
        refuse(0x10, &[0, options, 0, 0], 1);
    }
    refuse(0x10, &[0, 0, 0, 4, 0, 0, 0, 0], 2);
    refuse(0x30, &[0, 0, 0, 0x10, 0, 0, 0, 0], 3);
    refuse(0x30, &[0, 0, 0, 0, 0, 0, 0, 4], 4);
    refuse(0x10, &[0, 0x88, 0, 0, 0x20, 0, 0, 0], 4);
    refuse(0x10, &[0, 0x88, 0, 0, 0, 2, 0, 0], 5);
    refuse(0x10, &[0, 0x88, 0, 0, 0, 0, 0, 1, 9], 6);
    refuse(0x10, &[0, 0x88, 0, 0, 0, 1, 0, 0], 6);
    refuse(0x10, &[0, 0x88, 0, 0, 0, 1, 2, 1], 6);
    rig.fails(&format(0x10), &[0, 0x88, 0, 0], 0, short);
    rig.fails(
        &format(0x10),
        &[0, 0x88, 0, 0, 0, 1, 0, 4, 1, 2, 3],
        0,
        short,
    );
    assert!(
        whole(&mut rig).iter().all(|&b| b == 0x5A),
        "nothing was formatted"
    );
    // Options that ask for nothing, and every way to say "no defects".
    for flags in [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x18] {
        rig.good(&format(flags), &[0, 0xF0, 0, 0], 0);
    }
    rig.good(&format(0x28), &[], 0);
}

#[test]
fn a_read_only_disk_is_neither_formatted_nor_sanitized() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    std::fs::write(&path, vec![1; MIB as usize]).unwrap();
    let mut rig = Rig::new(Vdisk::file(&path).read_only(true).open().unwrap());
    rig.fails(&format(0), &[], 0, (7, 0x27, 0));
    let list = overwrite(1, &[0; 4]);
    rig.fails(&sanitize(1, 8), &list, 0, (7, 0x27, 0));
    assert!(std::fs::read(&path).unwrap().iter().all(|&b| b == 1));
}

#[test]
fn an_overwrite_leaves_its_pattern_on_every_block() {
    for (name, mut rig, _dir) in rigs() {
        fill(&mut rig);
        rig.good(&sanitize(1, 516), &overwrite(1, &[0xAA; 512]), 0);
        assert!(whole(&mut rig).iter().all(|&b| b == 0xAA), "{name}");
        rig.good(&sanitize(1, 7), &overwrite(3, &[1, 2, 3]), 0);
        let block: Vec<u8> = [1, 2, 3].into_iter().cycle().take(512).collect();
        assert_eq!(whole(&mut rig), block.repeat(BLOCKS as usize), "{name}");
        // Two passes, the second one inverted.
        rig.good(&sanitize(1, 5), &overwrite(0x82, &[0x0F]), 0);
        assert!(whole(&mut rig).iter().all(|&b| b == 0xF0), "{name}");
        rig.good(&sanitize(0x81, 5), &overwrite(1, &[9]), 0);
        until_ready(&mut rig);
        assert!(whole(&mut rig).iter().all(|&b| b == 9), "{name}");
    }
}

#[test]
fn an_overwrite_writes_zeroes_too_and_each_pass_reaches_the_medium() {
    let store = Recorder::new(thin_volatile());
    let mut rig = over(store.clone());
    rig.good(&sanitize(1, 5), &overwrite(2, &[0]), 0);
    let pass = [vec!["write"; 8], vec!["flush"]].concat();
    assert_eq!(store.take(), [&pass[..], &pass].concat());
}

#[test]
fn a_block_erase_gives_up_all_storage_and_exists_on_thin_disks_only() {
    let mut rig = over(Arc::new(RamStore::new(8 * MIB)));
    fill(&mut rig);
    rig.good(&sanitize(2, 0), &[], 0);
    assert!(whole(&mut rig).iter().all(|&b| b == 0));
    let status = rig.good(&cdb16(0x9E, 0x12, 0, 4096), &[], 4096);
    assert_eq!((status.len(), status[20]), (24, 1), "one run, deallocated");
    assert_eq!(
        rig.good(&[0x12, 1, 0xB1, 0, 64, 0], &[], 64)[7],
        0x40,
        "WABEREQ 01b"
    );
    rig.fails(&sanitize(2, 8), &[0; 8], 0, (5, 0x24, 0));
    let mut thick = Rig::new(Vdisk::null(MIB).open().unwrap());
    thick.fails(&sanitize(2, 0), &[], 0, (5, 0x24, 0));
    assert_eq!(thick.good(&[0x12, 1, 0xB1, 0, 64, 0], &[], 64)[7], 0);
    thick.fails(&sanitize(3, 0), &[], 0, (5, 0x24, 0));
}

#[test]
fn sanitize_refuses_lists_that_are_not_one_pattern_of_at_most_a_block() {
    let (cdb, list) = ((5, 0x24, 0), (5, 0x26, 0));
    let mut rig = over(Arc::new(RamStore::new(8 * MIB)));
    fill(&mut rig);
    for len in 0..5 {
        rig.fails(&sanitize(1, len), &vec![1; len.into()], 0, cdb);
    }
    rig.fails(&sanitize(1, 517), &[1; 517], 0, cdb);
    rig.fails(
        &sanitize(1, 8),
        &overwrite(1, &[1; 4])[..6],
        0,
        (5, 0x1A, 0),
    );
    for wrong in [
        overwrite(0, &[1; 4]),
        overwrite(0x21, &[1; 4]),
        vec![1, 0, 0, 0, 1, 1, 1, 1],
        vec![1, 0, 0, 5, 1, 1, 1, 1],
        vec![1, 0, 2, 1, 1, 1, 1, 1],
    ] {
        rig.fails(&sanitize(1, 8), &wrong, 0, list);
    }
    rig.fails(&sanitize(0x41, 8), &overwrite(1, &[1; 4]), 0, cdb);
    rig.fails(&sanitize(5, 0), &[], 0, cdb);
    rig.good(&sanitize(0x1F, 0), &[], 0);
    assert!(whole(&mut rig).iter().all(|&b| b == 0x5A));
}

/// A slow thin disk with two sessions; the second one is free.
fn slow() -> (Arc<SlowStore>, Rig, lunforge_core::testing::Session) {
    let store = SlowStore::new(8 * MIB);
    let mut rig = over(store.clone());
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    (store, rig, other)
}

#[test]
fn while_a_medium_is_formatted_others_are_told_so_with_the_progress() {
    for (cdb, list, runs) in [
        (
            format(0x10).to_vec(),
            with_pattern(false, &[3; 512]),
            FORMAT_RUNS,
        ),
        (
            sanitize(1, 516).to_vec(),
            overwrite(1, &[3; 512]),
            SANITIZE_RUNS,
        ),
    ] {
        let (store, mut rig, other) = slow();
        store.hold(Hold::Writes);
        let tag = rig.bed.send(rig.session, command(&cdb, &list));
        let mut last = None;
        for piece in 0..8u16 {
            let held = store.wait_held(1, PATIENCE);
            assert_eq!(held[0].offset, u64::from(piece) * MIB);
            assert!(rig.bed.ended(rig.session, tag).is_none());
            let progress = SenseSpecific::Progress(piece * 8192);
            for refused in [
                &TUR[..],
                &cdb10(0x28, 0, 0, 1),
                &cdb10(0x2A, 0, 0, 1),
                &cdb10(0x25, 0, 0, 0),
                &[0x1A, 0, 8, 0, 64, 0],
                &[0x1B, 0, 0, 0, 1, 0],
                &format(0),
                &sanitize(2, 0),
                &sanitize(0x1F, 0),
            ] {
                let reply = rig.bed.command(other, 0, refused, &[], 512);
                assert_eq!(triple(&reply), Some(runs), "{refused:02x?}");
                assert_eq!(reply.sense.unwrap().specific, progress);
            }
            let reply = rig.bed.command(other, 0, &[3, 0, 0, 0, 252, 0], &[], 252);
            let sense = Sense::parse(&reply.data).unwrap();
            assert_eq!((sense.asc.asc, sense.asc.ascq), (runs.1, runs.2));
            assert_eq!(sense.specific, progress);
            for passes in [&[0x12, 0, 0, 0, 36, 0][..], &cdb12(0xA0, 0, 0, 64)] {
                let reply = rig.bed.command(other, 0, passes, &[], 252);
                assert_eq!(reply.status, Status::Good, "{passes:02x?}");
            }
            last = held.last().map(|h| h.id);
            assert!(store.complete(held[0].id));
        }
        assert!(last.is_some());
        assert_eq!(rig.bed.wait(rig.session, tag).status, Status::Good);
        store.let_go();
        assert!(whole(&mut rig).iter().all(|&b| b == 3));
    }
}

#[test]
fn immed_ends_at_once_and_commands_under_way_are_refused_before_they_execute() {
    let (store, mut rig, other) = slow();
    store.hold(Hold::Writes);
    // Its data comes after the format has begun: checked again when it executes.
    let mut late = command(&cdb10(0x2A, 0, 0, 1), &[1; 512]);
    late.hold_data = true;
    let write = rig.bed.send(other, late);
    rig.good(&format(0x10), &with_pattern(true, &[3; 512]), 0);
    store.wait_held(1, PATIENCE);
    rig.bed.release_data(other, write);
    let reply = rig.bed.wait(other, write);
    assert_eq!(triple(&reply), Some(FORMAT_RUNS));
    store.let_go();
    until_ready(&mut rig);
    assert!(whole(&mut rig).iter().all(|&b| b == 3));
}

#[test]
fn a_format_waits_for_commands_that_execute() {
    let (store, mut rig, other) = slow();
    store.hold(Hold::Writes);
    let write = rig
        .bed
        .send(other, command(&cdb10(0x2A, 0, 0, 1), &[1; 512]));
    let held = store.wait_held(1, PATIENCE);
    let format = rig.bed.send(rig.session, command(&format(0), &[]));
    rig.bed.poll();
    assert_eq!(store.held().len(), 1, "the write is alone in the store");
    store.complete(held[0].id);
    assert_eq!(rig.bed.wait(other, write).status, Status::Good);
    store.let_go();
    store.hold(Hold::Nothing);
    let reply = rig.bed.wait(rig.session, format);
    assert_eq!(reply.status, Status::Good);
    assert!(whole(&mut rig).iter().all(|&b| b == 0));
}

#[test]
fn a_format_that_fails_leaves_the_medium_refused_until_one_succeeds() {
    let (store, mut rig, other) = slow();
    store.hold(Hold::Writes);
    let tag = rig.bed.send(rig.session, command(&format(0), &[]));
    let held = store.wait_held(1, PATIENCE);
    store.fail(held[0].id, StoreError::Medium { offset: 0 });
    assert_eq!(triple(&rig.bed.wait(rig.session, tag)), Some(FORMAT_FAILED));
    for refused in [&TUR[..], &cdb10(0x28, 0, 0, 1), &cdb10(0x2A, 0, 0, 1)] {
        let reply = rig.bed.command(other, 0, refused, &[0; 512], 512);
        assert_eq!(triple(&reply), Some(FORMAT_FAILED), "{refused:02x?}");
    }
    rig.good(&cdb10(0x25, 0, 0, 0), &[], 8);
    rig.good(&[0x1A, 0, 8, 0, 64, 0], &[], 64);
    store.hold(Hold::Nothing);
    rig.good(&format(0), &[], 0);
    rig.good(&cdb10(0x28, 0, 0, 1), &[], 512);
}

#[test]
fn a_reset_ends_a_format_and_the_medium_is_corrupt() {
    for immed in [false, true] {
        let (store, mut rig, other) = slow();
        store.hold(Hold::Writes);
        let list = with_pattern(immed, &[3; 512]);
        let tag = rig.bed.send(rig.session, command(&format(0x10), &list));
        let held = store.wait_held(1, PATIENCE);
        let reset = rig.bed.begin_tmf(other, 0, Function::LogicalUnitReset);
        rig.bed.poll();
        assert!(store.complete(held[0].id));
        let mut answer = None;
        let deadline = std::time::Instant::now() + PATIENCE;
        while answer.is_none() {
            assert!(std::time::Instant::now() < deadline);
            answer = rig.bed.tmf_ended(other, reset);
        }
        assert_eq!(answer, Some(Response::Complete));
        // With IMMED the piece after the reset may be under way already.
        store.let_go();
        let reply = rig.bed.ended(rig.session, tag);
        assert_eq!(reply.is_some_and(|reply| reply.responded), immed);
        rig.run(&TUR, &[], 0);
        rig.bed.command(other, 0, &TUR, &[], 0);
        let deadline = std::time::Instant::now() + PATIENCE;
        while triple(&rig.run(&TUR, &[], 0)) == Some(FORMAT_RUNS) {
            assert!(std::time::Instant::now() < deadline);
        }
        rig.fails(&cdb10(0x28, 0, 0, 1), &[], 512, FORMAT_CORRUPTED);
        assert!(store.record().len() < 8, "it did not go on");
        rig.good(&format(0), &[], 0);
        rig.good(&TUR, &[], 0);
    }
}

#[test]
fn n52_a_format_whose_store_hangs_lets_a_reset_end_in_time() {
    let (store, mut rig, other) = slow();
    store.hold(Hold::Writes);
    let list = with_pattern(false, &[3]);
    let tag = rig.bed.send(rig.session, command(&format(0x10), &list));
    let held = store.wait_held(1, PATIENCE);
    let reset = rig.bed.begin_tmf(other, 0, Function::LogicalUnitReset);
    rig.bed.poll();
    rig.bed.advance(lunforge_core::tmf::BOUND * 2);
    let mut answer = None;
    for _ in 0..100 {
        answer = answer.or(rig.bed.tmf_ended(other, reset));
    }
    assert_eq!(answer, Some(Response::Complete));
    rig.run(&TUR, &[], 0);
    // The stale piece may still land: nothing that it could overtake is let in.
    rig.fails(&cdb10(0x2A, 0, 0, 1), &[1; 512], 0, FORMAT_RUNS);
    store.complete(held[0].id);
    let deadline = std::time::Instant::now() + PATIENCE;
    while triple(&rig.run(&TUR, &[], 0)) == Some(FORMAT_RUNS) {
        assert!(std::time::Instant::now() < deadline);
    }
    rig.fails(&TUR, &[], 0, FORMAT_CORRUPTED);
    assert!(
        rig.bed
            .ended(rig.session, tag)
            .is_none_or(|reply| !reply.responded)
    );
}

#[test]
fn a_sanitize_goes_on_after_aborts_resets_fences_and_the_loss_of_its_session() {
    let (store, mut rig, other) = slow();
    store.hold(Hold::Writes);
    let list = overwrite(1, &[3; 512]);
    let tag = rig.bed.send(rig.session, command(&sanitize(1, 516), &list));
    let held = store.wait_held(1, PATIENCE);
    let abort = rig.bed.begin_tmf(rig.session, 0, Function::AbortTask(tag));
    rig.bed.poll();
    store.complete(held[0].id);
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut answer = None;
    while answer.is_none() {
        assert!(std::time::Instant::now() < deadline);
        answer = rig.bed.tmf_ended(rig.session, abort);
    }
    store.wait_held(1, PATIENCE);
    rig.bed.close(rig.session);
    assert_eq!(
        rig.bed.tmf(other, 0, Function::LogicalUnitReset),
        Response::Complete
    );
    let reply = rig.bed.command(other, 0, &TUR, &[], 0);
    assert_eq!(triple(&reply).map(|t| t.0), Some(6), "the reset");
    let reply = rig.bed.command(other, 0, &TUR, &[], 0);
    assert_eq!(triple(&reply), Some(SANITIZE_RUNS));
    // A fence refuses the piece that waits; it is done again.
    rig.disk.fence();
    let before = store.held();
    store.complete(before[0].id);
    let after = store.wait_held(1, PATIENCE);
    assert_eq!((after[0].offset, before[0].offset), (MIB, MIB));
    store.let_go();
    rig.session = other;
    until_ready(&mut rig);
    assert!(whole(&mut rig).iter().all(|&b| b == 3));
    assert_eq!(store.record().len(), 8);
}

#[test]
fn a_sanitize_that_failed_is_left_as_ause_allows() {
    let bad_cdb = (5, 0x24, 0);
    for ause in [false, true] {
        let (store, mut rig, other) = slow();
        store.hold(Hold::Writes);
        let action = if ause { 0x21 } else { 0x01 };
        let list = overwrite(1, &[3]);
        let tag = rig
            .bed
            .send(rig.session, command(&sanitize(action, 5), &list));
        let held = store.wait_held(1, PATIENCE);
        store.fail(held[0].id, StoreError::Medium { offset: 0 });
        assert_eq!(
            triple(&rig.bed.wait(rig.session, tag)),
            Some(SANITIZE_FAILED)
        );
        store.hold(Hold::Nothing);
        for refused in [
            &TUR[..],
            &cdb10(0x28, 0, 0, 1),
            &cdb10(0x25, 0, 0, 0),
            &[0x1A, 0, 8, 0, 64, 0],
            &format(0),
        ] {
            let reply = rig.bed.command(other, 0, refused, &[], 512);
            assert_eq!(triple(&reply), Some(SANITIZE_FAILED), "{refused:02x?}");
        }
        if ause {
            rig.good(&sanitize(0x1F, 0), &[], 0);
        } else {
            rig.fails(&sanitize(0x1F, 0), &[], 0, bad_cdb);
            rig.fails(&sanitize(0x21, 5), &list, 0, bad_cdb);
            rig.good(&sanitize(0x01, 5), &list, 0);
        }
        rig.good(&TUR, &[], 0);
        rig.good(&cdb10(0x28, 0, 0, 1), &[], 512);
    }
}

#[test]
fn the_end_of_the_engine_ends_an_operation_and_waits_for_its_last_piece() {
    let (store, mut rig, _other) = slow();
    store.hold(Hold::Writes);
    rig.good(&format(0x10), &with_pattern(true, &[3; 512]), 0);
    let held = store.wait_held(1, PATIENCE);
    let disk = rig.disk.clone();
    let stopping = std::thread::spawn(move || disk.shutdown());
    store.complete(held[0].id);
    // A piece that began before the wish to stop was seen.
    let mut more = 0;
    while !stopping.is_finished() {
        more += store.complete_all();
        std::thread::yield_now();
    }
    stopping.join().unwrap().unwrap();
    assert!(more <= 7);
    let landed = store.record().len();
    assert_eq!(store.complete_all(), 0);
    assert_eq!(store.record().len(), landed);
}

#[test]
fn an_operation_never_writes_for_another_owner() {
    let (store, mut rig, _other) = slow();
    store.hold(Hold::Writes);
    rig.good(&sanitize(0x81, 5), &overwrite(1, &[3]), 0);
    let held = store.wait_held(1, PATIENCE);
    rig.disk.deactivate(Duration::from_secs(1)).unwrap();
    rig.disk.activate(2).unwrap();
    store.complete(held[0].id);
    let deadline = std::time::Instant::now() + PATIENCE;
    while triple(&rig.run(&TUR, &[], 0)) == Some(SANITIZE_RUNS) {
        assert!(std::time::Instant::now() < deadline);
    }
    rig.fails(&TUR, &[], 0, SANITIZE_FAILED);
    assert!(store.record().is_empty());
}
