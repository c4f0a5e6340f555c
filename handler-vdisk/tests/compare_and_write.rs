//! COMPARE AND WRITE, ORWRITE, WRITE ATOMIC, PRE-FETCH.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use lunforge_core::sense::SenseSpecific;
use lunforge_core::status::Status;
use lunforge_core::testing::{Bed, Send, Session};
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::*;
use lunforge_vdisk::testing::{Hold, OpKind, SlowStore};

fn caw(flags: u8, lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = cdb16(0x89, flags, lba, 0);
    cdb[13] = blocks;
    cdb
}

/// Over memory, and over a file by each engine.
fn rigs() -> Vec<(String, Rig, Option<tempfile::TempDir>)> {
    let ram = over(Arc::new(RamStore::new(8 * MIB)));
    let mut rigs = vec![("ram".to_owned(), ram, None)];
    for engine in [Engine::Auto, Engine::Inline, Engine::Uring, Engine::Threads] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Vdisk::file(dir.path().join("d"))
            .size(8 * MIB)
            .block_size(512)
            .engine(engine)
            .open()
            .unwrap();
        rigs.push((format!("{engine:?}"), Rig::new(disk), Some(dir)));
    }
    rigs
}

#[test]
fn n44_what_compares_equal_is_replaced_whole() {
    for (name, mut rig, _dir) in rigs() {
        let (old, new) = (pattern(255, 1), pattern(255, 99));
        rig.good(&cdb16(0x8A, 0, 7, 255), &old, 0);
        let both = [&old[..], &new].concat();
        for flags in [0, 0x08, 0x10] {
            rig.good(&caw(flags, 7, 255), &both, 0);
            assert_eq!(
                rig.good(&cdb16(0x88, 0, 7, 255), &[], 255 * 512),
                new,
                "{name}"
            );
            rig.good(&cdb16(0x8A, 0, 7, 255), &old, 0);
        }
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 6, 1), &[], 512),
            [0; 512],
            "{name}"
        );
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 262, 1), &[], 512),
            [0; 512],
            "{name}"
        );
    }
}

#[test]
fn n44_a_miscompare_at_any_offset_writes_nothing_and_tells_the_offset() {
    let mut rig = over(Arc::new(RamStore::new(8 * MIB)));
    let old = pattern(2, 1);
    rig.good(&cdb16(0x8A, 0, 5, 2), &old, 0);
    let mut both = [&old[..], &[0xEE; 1024]].concat();
    for at in 0..1024 {
        both[at] ^= 0x10;
        let reply = rig.fails(&caw(0, 5, 2), &both, 0, (0xE, 0x1D, 0));
        assert_eq!(reply.sense.unwrap().information, Some(at as u64));
        both[at] ^= 0x10;
    }
    assert_eq!(rig.good(&cdb16(0x88, 0, 5, 2), &[], 1024), old);
    rig.good(&caw(0, 5, 2), &both, 0);
    assert_eq!(rig.good(&cdb16(0x88, 0, 5, 2), &[], 1024), [0xEE; 1024]);
}

#[test]
fn n44_all_is_compared_before_anything_is_written() {
    for (name, mut rig, _dir) in rigs() {
        let old = pattern(255, 3);
        rig.good(&cdb16(0x8A, 0, 0, 255), &old, 0);
        let mut both = [&old[..], &vec![0xEE; old.len()]].concat();
        let last = old.len() - 1;
        both[last] ^= 1;
        let reply = rig.fails(&caw(0x08, 0, 255), &both, 0, (0xE, 0x1D, 0));
        assert_eq!(
            reply.sense.unwrap().information,
            Some(last as u64),
            "{name}"
        );
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 0, 255), &[], 255 * 512),
            old,
            "{name}"
        );
    }
}

#[test]
fn n44_length_zero_does_nothing_and_wrong_data_sizes_are_refused() {
    let mut rig = over(Arc::new(RamStore::new(8 * MIB)));
    rig.good(&caw(0, 0, 0), &[], 0);
    rig.fails(&caw(0, 0, 0), &[0; 1024], 0, (5, 0x24, 0));
    for len in [0, 1, 512, 1023, 1025, 1536, 2048] {
        rig.fails(&caw(0, 0, 1), &vec![0; len], 0, (5, 0x24, 0));
    }
    rig.good(&caw(0, 0, 1), &[0; 1024], 0);
    rig.fails(&caw(0, BLOCKS, 0), &[], 0, (5, 0x21, 0));
    rig.fails(&caw(0, BLOCKS - 1, 2), &[0; 2048], 0, (5, 0x21, 0));
    rig.fails(&caw(0, u64::MAX, 1), &[0; 1024], 0, (5, 0x21, 0));
    rig.fails(&caw(0x20, 0, 1), &[0; 1024], 0, (5, 0x24, 0));
}

#[test]
fn n44_the_limit_is_that_of_vpd_b0() {
    let mut rig = Rig::new(Vdisk::null(64 * MIB).block_size(512).open().unwrap());
    assert_eq!(rig.good(&[0x12, 1, 0xB0, 0, 64, 0], &[], 64)[5], 255);
    rig.good(&caw(0, 0, 255), &vec![0; 255 * 1024], 0);
    let mut rig = Rig::new(Vdisk::null(64 * MIB).block_size(65536).open().unwrap());
    let limit = rig.good(&[0x12, 1, 0xB0, 0, 64, 0], &[], 64)[5];
    assert_eq!(limit, 128, "8 MiB");
    let reply = rig.fails(&caw(0, 0, 129), &[], 0, (5, 0x24, 0));
    let pointer = SenseSpecific::FieldPointer {
        in_cdb: true,
        byte: 13,
        bit: Some(7),
    };
    assert_eq!(reply.sense.unwrap().specific, pointer);
}

#[test]
fn n44_fua_and_wce_reach_the_write() {
    let store = Recorder::new(thin_volatile());
    let mut rig = over(store.clone());
    rig.good(&caw(0x00, 0, 1), &[0; 1024], 0);
    rig.good(&caw(0x08, 0, 1), &[0; 1024], 0);
    rig.good(&cdb16(0x8B, 0x08, 0, 1), &[0; 512], 0);
    assert_eq!(
        store.take(),
        ["read", "write", "read", "write fua", "read", "write fua"]
    );
    rig.fails(&caw(0x08, 0, 1), &[1; 1024], 0, (0xE, 0x1D, 0));
    assert_eq!(store.take(), ["read"], "a miscompare writes nothing");
    let store = Recorder::new(thin_volatile() - Capabilities::FUA);
    let mut rig = over(store.clone());
    rig.good(&caw(0x08, 0, 1), &[0; 1024], 0);
    assert_eq!(store.take(), ["read", "write", "flush"]);
}

#[test]
fn a_read_only_disk_refuses_what_compares_and_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    std::fs::write(&path, vec![0; MIB as usize]).unwrap();
    let disk = Vdisk::file(&path).read_only(true).open().unwrap();
    let mut rig = Rig::new(disk);
    rig.fails(&caw(0, 0, 1), &[0; 1024], 0, (7, 0x27, 0));
    rig.fails(&cdb16(0x8B, 0, 0, 1), &[0; 512], 0, (7, 0x27, 0));
}

#[test]
fn orwrite_sets_bits_and_clears_none() {
    for (name, mut rig, _dir) in rigs() {
        let (old, data) = (pattern(3000, 1), pattern(3000, 200));
        rig.good(&cdb16(0x8A, 0, 11, 3000), &old, 0);
        rig.good(&cdb16(0x8B, 0, 11, 3000), &data, 0);
        let want: Vec<u8> = old.iter().zip(&data).map(|(a, b)| a | b).collect();
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 11, 3000), &[], 3000 * 512),
            want,
            "{name}"
        );
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 10, 1), &[], 512),
            [0; 512],
            "{name}"
        );
        rig.good(&cdb16(0x8B, 0, 11, 0), &[], 0);
        rig.fails(&cdb16(0x8B, 0x20, 0, 1), &[0; 512], 0, (5, 0x24, 0));
    }
}

#[test]
fn write_atomic_is_offered_where_the_store_promises_it() {
    let mut rig = over(Arc::new(RamStore::new(64 * MIB)));
    let page = rig.good(&[0x12, 1, 0xB0, 0, 64, 0], &[], 64);
    let field = |at: usize| u32::from_be_bytes(page[at..at + 4].try_into().unwrap());
    assert_eq!(
        field(44),
        8 * MIB as u32 / 512,
        "MAXIMUM ATOMIC TRANSFER LENGTH"
    );
    assert_eq!([48, 52, 56, 60].map(field), [0; 4]);
    let data = pattern(100, 5);
    let mut cdb = cdb16(0x9C, 0x08, 9, 100);
    rig.good(&cdb, &data, 0);
    assert_eq!(rig.good(&cdb16(0x88, 0, 9, 100), &[], 51200), data);
    rig.good(&cdb16(0x9C, 0, 0, 0), &[], 0);
    rig.fails(&cdb, &data[512..], 0, (5, 0x24, 0));
    rig.fails(&cdb16(0x9C, 0, 0, 16385), &[], 0, (5, 0x24, 0));
    rig.fails(&cdb16(0x9C, 0x20, 0, 1), &[0; 512], 0, (5, 0x24, 0));
    rig.fails(
        &cdb16(0x9C, 0, 64 * MIB / 512, 1),
        &[0; 512],
        0,
        (5, 0x21, 0),
    );
    cdb[11] = 1;
    rig.fails(&cdb, &data, 0, (5, 0x24, 0));
    for (name, mut rig, dir) in rigs() {
        if dir.is_some() {
            rig.fails(&cdb16(0x9C, 0, 0, 1), &[0; 512], 0, (5, 0x20, 0));
            let page = rig.good(&[0x12, 1, 0xB0, 0, 64, 0], &[], 64);
            assert_eq!(page[44..64], [0; 20], "{name}");
        }
    }
}

#[test]
fn pre_fetch_meets_its_condition_when_the_extent_fits() {
    for (name, mut rig, _dir) in rigs() {
        rig.good(&cdb10(0x2A, 0, 0, 64), &pattern(64, 4), 0);
        for immed in [0, 2] {
            for cdb in [&cdb10(0x34, immed, 0, 64)[..], &cdb16(0x90, immed, 3, 0)] {
                let reply = rig.run(cdb, &[], 0);
                assert_eq!(reply.status, Status::ConditionMet, "{name}");
                assert!(reply.sense.is_none());
            }
        }
        rig.fails(&cdb10(0x34, 0, BLOCKS as u32 - 1, 2), &[], 0, (5, 0x21, 0));
        rig.fails(&cdb16(0x90, 0, u64::MAX, 1), &[], 0, (5, 0x21, 0));
    }
    let mut big = Rig::new(Vdisk::null(1 << 40).block_size(512).open().unwrap());
    let reply = big.run(&cdb16(0x90, 0, 0, 0), &[], 0);
    assert_eq!(reply.status, Status::Good, "more than is fetched at a time");
    let dir = tempfile::tempdir().unwrap();
    let disk = Vdisk::file(dir.path().join("d")).size(MIB).direct(true);
    if let Ok(disk) = disk.open() {
        let reply = Rig::new(disk).run(&cdb10(0x34, 0, 0, 8), &[], 0);
        assert_eq!(reply.status, Status::Good, "no cache");
    }
}

/// Two initiators on two shards, over a store whose operations end when the test says.
fn racing() -> (Arc<SlowStore>, Bed, [Session; 2]) {
    let store = SlowStore::new(MIB);
    let disk = Vdisk::store(store.clone()).serial("race").block_size(512);
    let mut bed = Bed::new(2, disk.open().unwrap());
    let sessions = [
        bed.session(0, "iqn.2026-11.org.example:a"),
        bed.session(1, "iqn.2026-11.org.example:b"),
    ];
    (store, bed, sessions)
}

/// Turns both shards and completes what waits in the store, chosen by `pick`, until every command has ended.
fn settle(
    store: &SlowStore,
    bed: &mut Bed,
    commands: &[(Session, u64)],
    mut pick: impl FnMut(usize) -> usize,
) -> Vec<Status> {
    let mut ended: Vec<Option<Status>> = vec![None; commands.len()];
    let deadline = Instant::now() + Duration::from_secs(20);
    while ended.iter().any(Option::is_none) {
        assert!(Instant::now() < deadline, "{ended:?}");
        for (slot, &(session, tag)) in ended.iter_mut().zip(commands) {
            *slot = slot.or_else(|| bed.ended(session, tag).map(|reply| reply.status));
        }
        let held = store.held();
        if !held.is_empty() {
            store.complete(held[pick(held.len()) % held.len()].id);
        }
    }
    ended.into_iter().flatten().collect()
}

fn sent(bed: &mut Bed, session: Session, cdb: &[u8], data: &[u8]) -> (Session, u64) {
    let send = Send {
        cdb: cdb.to_vec(),
        data_out: data.to_vec(),
        ..Send::default()
    };
    (session, bed.send(session, send))
}

#[test]
fn n44_of_two_racing_compare_and_writes_one_wins() {
    for order in 0..16usize {
        let (store, mut bed, [a, b]) = racing();
        store.hold(Hold::Everything);
        let both = |byte| [[0; 512], [byte; 512]].concat();
        let first = sent(&mut bed, a, &caw(0, 9, 1), &both(1));
        let second = sent(&mut bed, b, &caw(0, 9, 1), &both(2));
        let mut turn = 0;
        let ends = settle(&store, &mut bed, &[first, second], |_| {
            turn += 1;
            order >> (turn % 4)
        });
        let winners = ends.iter().filter(|end| **end == Status::Good).count();
        assert_eq!(winners, 1, "{ends:?}");
        let winner = if ends[0] == Status::Good { 1 } else { 2 };
        assert_eq!(store.read(9 * 512, 512), [winner; 512]);
        assert_eq!(store.record().len(), 1, "the other one wrote nothing");
        // The end of the engine flushes.
        store.let_go();
    }
}

#[test]
fn n44_no_overlapping_write_lands_between_compare_and_write() {
    let (store, mut bed, [a, b]) = racing();
    store.hold(Hold::Everything);
    let atomic = sent(&mut bed, a, &caw(0, 4, 2), &[[0; 1024], [1; 1024]].concat());
    while store.held().is_empty() {
        bed.poll();
    }
    let write = sent(&mut bed, b, &cdb10(0x2A, 0, 5, 1), &[2; 512]);
    let beside = sent(&mut bed, b, &cdb10(0x2A, 0, 6, 1), &[3; 512]);
    for _ in 0..20 {
        bed.poll();
    }
    let kinds: Vec<_> = store
        .held()
        .iter()
        .map(|held| (held.kind, held.offset))
        .collect();
    let want = [
        (OpKind::Read, 4 * 512),
        (OpKind::Write { fua: false }, 6 * 512),
    ];
    assert_eq!(kinds, want, "only the write beside the range has come");
    let ends = settle(&store, &mut bed, &[atomic, write, beside], |_| 0);
    assert_eq!(ends, [Status::Good; 3]);
    let landed: Vec<_> = store
        .record()
        .iter()
        .map(|l| (l.offset / 512, l.first))
        .collect();
    let at = |lba| landed.iter().position(|l| l.0 == lba).unwrap();
    assert!(at(4) < at(5), "{landed:?}");
    assert_eq!(
        store.read(4 * 512, 1536),
        [[1; 512], [2; 512], [3; 512]].concat()
    );
    store.let_go();
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// Increments by COMPARE AND WRITE from two initiators in any order of completion: none is lost.
    #[test]
    fn n44_racing_compare_and_writes_are_linearisable(picks in proptest::collection::vec(0usize..4, 64)) {
        let (store, mut bed, sessions) = racing();
        store.hold(Hold::Everything);
        let mut picks = picks.into_iter().cycle();
        let mut good = 0u8;
        for _ in 0..4 {
            let now = store.read(0, 1)[0];
            let both = [[now; 512], [now.wrapping_add(1); 512]].concat();
            let race: Vec<_> = (0..4)
                .map(|n| sent(&mut bed, sessions[n % 2], &caw(0, 0, 1), &both))
                .collect();
            let ends = settle(&store, &mut bed, &race, |_| picks.next().unwrap_or(0));
            let winners = ends.iter().filter(|end| **end == Status::Good).count();
            proptest::prop_assert_eq!(winners, 1);
            good += 1;
            proptest::prop_assert_eq!(store.read(0, 512), vec![good; 512]);
        }
        store.let_go();
    }
}
