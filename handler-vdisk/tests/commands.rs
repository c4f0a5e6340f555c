//! The rules of the SBC commands, through the pipeline and every kind of store.

mod common;

use common::*;
use lunforge_core::status::Status;
use lunforge_vdisk::store::*;
use lunforge_vdisk::{Vdisk, VdiskError};

/// The same disk over every store and engine.
fn rigs() -> Vec<(String, Rig, Option<tempfile::TempDir>)> {
    let mut rigs = vec![
        (
            "ram".to_owned(),
            over(std::sync::Arc::new(RamStore::new(8 * MIB))),
            None,
        ),
        (
            "ram volatile".to_owned(),
            over(std::sync::Arc::new(
                RamStore::new(8 * MIB).volatile_cache(true),
            )),
            None,
        ),
    ];
    for base in [std::path::PathBuf::from("/dev/shm"), std::env::temp_dir()] {
        for engine in [Engine::Auto, Engine::Inline, Engine::Uring, Engine::Threads] {
            let Ok(dir) = tempfile::tempdir_in(&base) else {
                continue;
            };
            let disk = Vdisk::file(dir.path().join("d"))
                .size(8 * MIB)
                .block_size(512)
                .thin(true)
                .engine(engine);
            let Ok(disk) = disk.open() else { continue };
            rigs.push((
                format!("{} {engine:?}", base.display()),
                Rig::new(disk),
                Some(dir),
            ));
        }
    }
    rigs
}

#[test]
fn what_is_written_by_each_form_is_read_by_each_form() {
    for (name, mut rig, _dir) in rigs() {
        let data = pattern(8, 1);
        let writes: [Vec<u8>; 4] = [
            vec![0x0A, 0, 0, 64, 8, 0],
            cdb10(0x2A, 0, 64, 8).into(),
            cdb12(0xAA, 0x08, 64, 8).into(),
            cdb16(0x8A, 0x10, 64, 8).into(),
        ];
        let reads: [Vec<u8>; 4] = [
            vec![0x08, 0, 0, 64, 8, 0],
            cdb10(0x28, 0x10, 64, 8).into(),
            cdb12(0xA8, 0x08, 64, 8).into(),
            cdb16(0x88, 0, 64, 8).into(),
        ];
        for write in &writes {
            rig.good(&cdb16(0x93, 0, 0, 1024), &[0xFF; 512], 0);
            rig.good(write, &data, 0);
            for read in &reads {
                assert_eq!(
                    rig.good(read, &[], 4096),
                    data,
                    "{name} {write:02x?} {read:02x?}"
                );
            }
            assert_eq!(
                rig.good(&cdb10(0x28, 0, 63, 1), &[], 512),
                [0xFF; 512],
                "{name}"
            );
            assert_eq!(
                rig.good(&cdb10(0x28, 0, 72, 1), &[], 512),
                [0xFF; 512],
                "{name}"
            );
        }
        let large = pattern(8192, 7);
        rig.good(&cdb16(0x8A, 0, 0, 8192), &large, 0);
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 0, 8192), &[], 4 << 20),
            large,
            "{name}"
        );
    }
}

#[test]
fn n41_extents_past_the_end_are_out_of_range_in_every_form() {
    let mut rig = over(std::sync::Arc::new(RamStore::new(8 * MIB)));
    let out_of_range = (5, 0x21, 0);
    let end = BLOCKS as u32;
    for op in [0x28, 0x2A, 0x2E, 0x2F, 0x35] {
        rig.fails(&cdb10(op, 0, end - 1, 2), &[0; 1024], 1024, out_of_range);
        rig.fails(&cdb10(op, 0, u32::MAX, 1), &[0; 512], 512, out_of_range);
        rig.fails(
            &cdb10(op, 0, u32::MAX, 0xFFFF),
            &[0; 512],
            512,
            out_of_range,
        );
    }
    for op in [0xA8, 0xAA, 0xAE, 0xAF] {
        rig.fails(&cdb12(op, 0, end, 1), &[0; 512], 512, out_of_range);
        rig.fails(
            &cdb12(op, 0, u32::MAX, u32::MAX),
            &[0; 512],
            512,
            out_of_range,
        );
    }
    for op in [0x88, 0x8A, 0x8E, 0x8F, 0x91] {
        rig.fails(&cdb16(op, 0, u64::MAX, 1), &[0; 512], 512, out_of_range);
        rig.fails(
            &cdb16(op, 0, u64::MAX - 5, u32::MAX),
            &[0; 512],
            512,
            out_of_range,
        );
        rig.fails(&cdb16(op, 0, 1 << 55, 1), &[0; 512], 512, out_of_range);
    }
    rig.fails(&cdb16(0x93, 0, u64::MAX, 1), &[0; 512], 0, out_of_range);
    let reply = rig.fails(&cdb10(0x28, 0, end - 1, 2), &[], 1024, out_of_range);
    assert_eq!(
        reply.sense.unwrap().information,
        Some(BLOCKS),
        "the first block out of range"
    );
    for op in [0x34, 0x41] {
        rig.fails(&cdb10(op, 0, end - 1, 2), &[0; 512], 0, out_of_range);
        rig.fails(&cdb10(op, 0, u32::MAX, 0x7000), &[0; 512], 0, out_of_range);
    }
    for op in [0x8B, 0x90, 0x9C] {
        rig.fails(&cdb16(op, 0, u64::MAX, 1), &[0; 512], 0, out_of_range);
        rig.fails(&cdb16(op, 0, BLOCKS, 1), &[0; 512], 0, out_of_range);
    }
    // WRITE (6) as READ (6).
    rig.fails(&[0x0A, 0x1F, 0xFF, 0xFF, 0, 0], &[0; 512], 0, out_of_range);
    rig.fails(&[0x0A, 0, 0x3F, 0xFF, 2, 0], &[0; 1024], 0, out_of_range);
    rig.fails(&[0x08, 0, 0x3F, 0xFF, 0, 0], &[], 512, out_of_range);
    // READ (6) reaches block 2^21 - 1 at most; this disk ends before it.
    rig.fails(&[0x08, 0x1F, 0xFF, 0xFF, 1, 0], &[], 512, out_of_range);
}

#[test]
fn n41_length_zero_is_256_in_the_short_form_and_nothing_elsewhere() {
    let mut rig = over(std::sync::Arc::new(RamStore::new(8 * MIB)));
    let data = pattern(256, 3);
    rig.good(&[0x0A, 0, 0, 0, 0, 0], &data, 0);
    assert_eq!(rig.good(&[0x08, 0, 0, 0, 0, 0], &[], 256 * 512), data);
    for op in [0x28, 0x2A, 0x2E, 0x2F] {
        assert!(rig.good(&cdb10(op, 0, 0, 0), &[], 0).is_empty());
    }
    for op in [0x88, 0x8A, 0x8E, 0x8F, 0x91] {
        assert!(rig.good(&cdb16(op, 0, 5, 0), &[], 0).is_empty());
        rig.fails(&cdb16(op, 0, BLOCKS + 1, 0), &[], 0, (5, 0x21, 0));
    }
    assert_eq!(rig.good(&[0x08, 0, 0, 0, 0, 0], &[], 256 * 512), data);
}

#[test]
fn a_transfer_over_the_limit_of_vpd_b0_is_refused_with_a_field_pointer() {
    let disk = Vdisk::null(1 << 40).block_size(512).open().unwrap();
    let mut rig = Rig::new(disk);
    let page = rig.good(&[0x12, 1, 0xB0, 0, 64, 0], &[], 64);
    let max = u32::from_be_bytes(page[8..12].try_into().unwrap());
    assert_eq!(u64::from(max) * 512, 8 << 20);
    rig.good(&cdb16(0x88, 0, 0, max), &[], 8 << 20);
    rig.fails(&cdb16(0x88, 0, 0, max + 1), &[], 512, (5, 0x24, 0));
    rig.fails(&cdb12(0xAA, 0, 0, max + 1), &[0; 512], 0, (5, 0x24, 0));
}

#[test]
fn protection_fields_must_be_zero() {
    let mut rig = over(std::sync::Arc::new(RamStore::new(8 * MIB)));
    for op in [0x28, 0x2A, 0x2E, 0x2F] {
        let reply = rig.fails(&cdb10(op, 0x20, 0, 1), &[0; 512], 512, (5, 0x24, 0));
        let specific = reply.sense.unwrap().specific;
        let want = lunforge_core::sense::SenseSpecific::FieldPointer {
            in_cdb: true,
            byte: 1,
            bit: Some(7),
        };
        assert_eq!(specific, want);
    }
}

#[test]
fn verify_compares_as_bytchk_says() {
    for (name, mut rig, _dir) in rigs() {
        let data = pattern(1200, 9);
        rig.good(&cdb10(0x2A, 0, 10, 1200), &data, 0);
        rig.good(&cdb10(0x2F, 0x00, 10, 1200), &[], 0);
        rig.good(&cdb10(0x2F, 0x02, 10, 1200), &data, 0);
        let mut wrong = data.clone();
        wrong[600_001] ^= 1;
        let reply = rig.fails(&cdb10(0x2F, 0x02, 10, 1200), &wrong, 0, (0xE, 0x1D, 0));
        assert_eq!(reply.sense.unwrap().information, Some(600_001), "{name}");
        rig.good(&cdb16(0x93, 0, 4000, 1100), &data[..512], 0);
        rig.good(&cdb16(0x8F, 0x06, 4000, 1100), &data[..512], 0);
        rig.fails(
            &cdb16(0x8F, 0x06, 3999, 1100),
            &data[..512],
            0,
            (0xE, 0x1D, 0),
        );
        rig.fails(&cdb10(0x2F, 0x04, 10, 1), &[], 0, (5, 0x24, 0));
        rig.fails(&cdb10(0x2F, 0x02, 10, 2), &data[..512], 0, (5, 0x24, 0));
    }
}

#[test]
fn write_and_verify_writes_stably_and_reads_back() {
    for (name, mut rig, _dir) in rigs() {
        let data = pattern(1000, 5);
        for flags in [0x00, 0x02] {
            rig.good(&cdb16(0x8E, flags, 100, 1000), &data, 0);
            assert_eq!(
                rig.good(&cdb16(0x88, 0, 100, 1000), &[], 512_000),
                data,
                "{name}"
            );
        }
        rig.fails(&cdb10(0x2E, 0x06, 0, 1), &data[..512], 0, (5, 0x24, 0));
    }
}

#[test]
fn n54_wce_and_fua_decide_what_reaches_the_medium_before_good() {
    let store = Recorder::new(thin_volatile());
    let mut rig = over(store.clone());
    rig.good(&cdb10(0x2A, 0, 0, 1), &[1; 512], 0);
    assert_eq!(store.take(), ["write"]);
    rig.good(&cdb10(0x2A, 8, 0, 1), &[1; 512], 0);
    assert_eq!(store.take(), ["write fua"]);
    rig.good(&cdb10(0x28, 8, 0, 1), &[], 512);
    assert_eq!(store.take(), ["flush", "read"]);
    rig.good(&cdb10(0x35, 0, 0, 0), &[], 0);
    assert_eq!(store.take(), ["flush"]);
    rig.good(&cdb10(0x35, 2, 0, 0), &[], 0);
    assert_eq!(store.take(), ["flush"]);
    rig.good(&[0x1B, 0, 0, 0, 0, 0], &[], 0);
    assert_eq!(store.take(), ["flush"], "STOP flushes");
    // WCE off: the cache is emptied, and from now on each write is stable.
    rig.good(&[0x15, 0x10, 0, 0, 24, 0], &caching(false), 0);
    assert_eq!(store.take(), ["flush"]);
    rig.good(&cdb10(0x2A, 0, 0, 1), &[1; 512], 0);
    rig.good(&cdb10(0x41, 0, 0, 1), &[1; 512], 0);
    rig.good(&cdb10(0x41, 0, 0, 1), &[0; 512], 0);
    rig.good(&unmap_cdb(24), &unmap_list(&[(0, 8)]), 0);
    assert_eq!(
        store.take(),
        [
            "write fua",
            "write",
            "flush",
            "zero",
            "flush",
            "discard",
            "flush"
        ]
    );
}

#[test]
fn n54_a_store_without_fua_is_flushed_after_each_stable_write() {
    let store = Recorder::new(thin_volatile() - Capabilities::FUA);
    let mut rig = over(store.clone());
    rig.good(&cdb10(0x2A, 0, 0, 1), &[1; 512], 0);
    rig.good(&cdb10(0x2A, 8, 0, 1), &[1; 512], 0);
    rig.good(&cdb10(0x2E, 2, 0, 1), &[1; 512], 0);
    assert_eq!(
        store.take(),
        ["write", "write", "flush", "write", "flush", "read"]
    );
}

#[test]
fn n54_write_through_stays_whatever_reset_or_mode_select_says() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Vdisk::file(dir.path().join("d"))
        .size(MIB)
        .write_through(true)
        .open()
        .unwrap();
    let mut rig = Rig::new(disk);
    let caching_page = |rig: &mut Rig| rig.good(&[0x1A, 8, 8, 0, 64, 0], &[], 64)[6] & 4;
    assert_eq!(caching_page(&mut rig), 0, "WCE");
    rig.fails(&[0x15, 0x10, 0, 0, 24, 0], &caching(true), 0, (5, 0x26, 0));
    rig.bed.tmf(
        rig.session,
        0,
        lunforge_core::tmf::Function::LogicalUnitReset,
    );
    let _reset_attention = rig.run(&[0, 0, 0, 0, 0, 0], &[], 0);
    assert_eq!(caching_page(&mut rig), 0);
    assert_eq!(
        rig.good(&[0x1A, 8, 0x48, 0, 64, 0], &[], 64)[6] & 4,
        0,
        "WCE is not changeable"
    );
}

#[test]
fn write_same_repeats_its_block_or_zeroes() {
    for (name, mut rig, _dir) in rigs() {
        rig.good(&cdb16(0x93, 0, 0, 8192), &[0xAA; 512], 0);
        let block = pattern(1, 77);
        rig.good(&cdb16(0x93, 0, 3, 5000), &block, 0);
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 3, 5000), &[], 5000 * 512),
            block.repeat(5000),
            "{name}"
        );
        rig.good(&cdb10(0x41, 0x08, 8, 100), &[0; 512], 0);
        rig.good(&cdb16(0x93, 0x01, 200, 4000), &[], 0);
        rig.good(&cdb16(0x93, 0x09, 4200, 100), &[], 0);
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 8, 100), &[], 51200),
            vec![0; 51200],
            "{name}"
        );
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 200, 4100), &[], 4100 * 512),
            vec![0; 4100 * 512],
            "{name}"
        );
        assert_eq!(rig.good(&cdb16(0x88, 0, 108, 1), &[], 512), block, "{name}");
        // UNMAP with a block that is not zero writes the block.
        rig.good(&cdb16(0x93, 0x08, 0, 10), &block, 0);
        assert_eq!(rig.good(&cdb16(0x88, 0, 9, 1), &[], 512), block, "{name}");
    }
}

#[test]
fn n42_write_same_refuses_what_b0_and_b2_do_not_offer() {
    let bad = (5, 0x24, 0);
    let mut rig = over(std::sync::Arc::new(RamStore::new(512 * MIB)));
    let limits = rig.good(&[0x12, 1, 0xB0, 0, 64, 0], &[], 64);
    assert_eq!(limits[4] & 1, 1, "WSNZ");
    let max = u64::from_be_bytes(limits[36..44].try_into().unwrap()) as u32;
    assert_eq!(u64::from(max) * 512, 16 * MIB);
    rig.fails(&cdb16(0x93, 0, 0, 0), &[0; 512], 0, bad);
    rig.fails(&cdb10(0x41, 0, 0, 0), &[0; 512], 0, bad);
    rig.fails(
        &cdb16(0x93, 0, 0, (16 * MIB / 512) as u32 + 1),
        &[0; 512],
        0,
        bad,
    );
    rig.good(&cdb16(0x93, 0, 0, (16 * MIB / 512) as u32), &[0; 512], 0);
    rig.fails(&cdb16(0x93, 0x18, 0, 1), &[0; 512], 0, bad);
    // NDOB takes no data, however much comes; without it one block must come.
    rig.good(&cdb16(0x93, 0x01, 0, 8), &[], 0);
    rig.good(&cdb16(0x93, 0x01, 0, 8), &[1; 512], 0);
    rig.fails(&cdb16(0x93, 0x00, 0, 8), &[], 0, bad);
    rig.fails(&cdb16(0x93, 0x00, 0, 8), &[1; 100], 0, bad);
    rig.fails(&cdb16(0x93, 0x00, 0, 8), &[1; 4096], 0, bad);
    let mut thick = Rig::new(Vdisk::null(MIB).open().unwrap());
    thick.fails(&cdb16(0x93, 0x08, 0, 1), &[0; 512], 0, bad);
}

#[test]
fn n41_the_32_byte_forms_are_not_there_without_protection() {
    let mut rig = over(std::sync::Arc::new(RamStore::new(8 * MIB)));
    for action in [0x09, 0x0A, 0x0B, 0x0C, 0x0D] {
        let mut cdb = [0; 32];
        (cdb[0], cdb[7], cdb[9]) = (0x7F, 0x18, action);
        cdb[12..20].fill(0xFF);
        cdb[28..32].fill(0xFF);
        rig.fails(&cdb, &[0; 512], 512, (5, 0x20, 0));
    }
}

#[test]
fn n42_unmap_of_write_same_gives_zeroes_up_and_keeps_other_patterns() {
    let mut rig = over(std::sync::Arc::new(RamStore::new(8 * MIB)));
    rig.good(&cdb16(0x93, 0, 0, BLOCKS as u32), &[0x55; 512], 0);
    rig.good(&cdb16(0x93, 0x08, 0, 4096), &[0x66; 512], 0);
    rig.good(&cdb16(0x93, 0x09, 4096, 4096), &[], 0);
    assert_eq!(rig.good(&cdb10(0x28, 0, 4095, 1), &[], 512), [0x66; 512]);
    assert_eq!(rig.good(&cdb10(0x28, 0, 4096, 1), &[], 512), [0; 512]);
    let status = rig.good(&cdb16(0x9E, 0x12, 4096, 24), &[], 24);
    assert_eq!(
        (status[20], &status[16..20]),
        (1, &4096u32.to_be_bytes()[..])
    );
    rig.fails(
        &cdb16(0x93, 0x08, BLOCKS - 1, 2),
        &[0; 512],
        0,
        (5, 0x21, 0),
    );
    rig.fails(&cdb16(0x93, 0x20, 0, 1), &[0; 512], 0, (5, 0x24, 0));
    rig.fails(&cdb10(0x41, 0x10, 0, 1), &[0; 512], 0, (5, 0x24, 0));
}

#[test]
fn n43_extents_that_overlap_are_unmapped_once_and_a_list_ends_at_its_limit() {
    let mut rig = over(std::sync::Arc::new(RamStore::new(512 * MIB)));
    rig.good(&cdb10(0x2A, 0, 0, 256), &vec![9; 131_072], 0);
    let list = unmap_list(&[(0, 100), (50, 100), (0, 150), (149, 1)]);
    rig.good(&unmap_cdb(list.len() as u16), &list, 0);
    let data = rig.good(&cdb10(0x28, 0, 0, 256), &[], 131_072);
    let (gone, kept) = data.split_at(150 * 512);
    assert!(gone.iter().all(|&b| b == 0) && kept.iter().all(|&b| b == 9));
    let limit = (256 * MIB / 512) as u32;
    let at = unmap_list(&[(0, limit)]);
    rig.good(&unmap_cdb(24), &at, 0);
    let over = unmap_list(&[(0, limit), (0, 1)]);
    rig.fails(&unmap_cdb(40), &over, 0, (5, 0x26, 0));
    let most = unmap_list(&vec![(7, 1); 64]);
    rig.good(&unmap_cdb(most.len() as u16), &most, 0);
}

fn unmap_cdb(len: u16) -> [u8; 10] {
    cdb10(0x42, 0, 0, len)
}

fn unmap_list(extents: &[(u64, u32)]) -> Vec<u8> {
    let len = extents.len() as u16 * 16;
    let mut list = Vec::from((len + 6).to_be_bytes());
    list.extend(len.to_be_bytes());
    list.extend([0; 4]);
    for (lba, blocks) in extents {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

#[test]
fn unmapped_blocks_read_zero_and_lba_status_tells() {
    for (name, mut rig, _dir) in rigs() {
        rig.good(&cdb16(0x93, 0, 0, BLOCKS as u32), &[0x55; 512], 0);
        let list = unmap_list(&[(1024, 1024), (4096, 2048), (1500, 10), (7, 0)]);
        rig.good(&unmap_cdb(list.len() as u16), &list, 0);
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 1024, 1024), &[], 1024 * 512),
            vec![0; 1024 * 512],
            "{name}"
        );
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 4096, 2048), &[], 2048 * 512),
            vec![0; 2048 * 512],
            "{name}"
        );
        assert_eq!(
            rig.good(&cdb16(0x88, 0, 1023, 1), &[], 512),
            [0x55; 512],
            "{name}"
        );
        let mut ask = cdb16(0x9E, 0x12, 0, 4096);
        let data = rig.good(&ask, &[], 4096);
        let runs: Vec<(u64, u32, u8)> = data[8..]
            .chunks(16)
            .map(|d| {
                (
                    u64::from_be_bytes(d[..8].try_into().unwrap()),
                    u32::from_be_bytes(d[8..12].try_into().unwrap()),
                    d[12],
                )
            })
            .collect();
        let want = [
            (0, 1024, 0),
            (1024, 1024, 1),
            (2048, 2048, 0),
            (4096, 2048, 1),
            (6144, BLOCKS as u32 - 6144, 0),
        ];
        assert_eq!(runs, want, "{name}");
        assert_eq!(
            u32::from_be_bytes(data[..4].try_into().unwrap()) as usize,
            data.len() - 4
        );
        ask[10..14].copy_from_slice(&24u32.to_be_bytes());
        assert_eq!(rig.good(&ask, &[], 24).len(), 24, "{name}");
        rig.fails(&cdb16(0x9E, 0x12, BLOCKS, 24), &[], 24, (5, 0x21, 0));
    }
}

#[test]
fn n43_an_unmap_list_is_checked_whole_before_its_first_effect() {
    let mut rig = over(std::sync::Arc::new(RamStore::new(512 * MIB)));
    let end = 512 * MIB / 512;
    rig.good(&cdb10(0x2A, 0, 0, 128), &[9; 65536], 0);
    let bad_list = (5, 0x26, 0);
    let bad_len = (5, 0x1A, 0);
    let list = unmap_list(&[(0, 128), (end - 1, 2)]);
    rig.fails(&unmap_cdb(40), &list, 0, (5, 0x21, 0));
    let list = unmap_list(&[(0, 128), (u64::MAX, u32::MAX)]);
    rig.fails(&unmap_cdb(40), &list, 0, (5, 0x21, 0));
    let list = unmap_list(&[(0, 128), (0, 300_000), (0, 300_000)]);
    rig.fails(&unmap_cdb(56), &list, 0, bad_list);
    let many = unmap_list(&vec![(0, 1); 65]);
    rig.fails(&unmap_cdb(many.len() as u16), &many, 0, bad_list);
    let one = unmap_list(&[(0, 128)]);
    for len in 1..8u16 {
        rig.fails(&unmap_cdb(len), &one[..len as usize], 0, bad_len);
    }
    rig.fails(&unmap_cdb(20), &one[..20], 0, bad_len);
    rig.fails(&unmap_cdb(24), &one[..20], 0, bad_len);
    let mut lies = one.clone();
    lies[..2].copy_from_slice(&10u16.to_be_bytes());
    rig.fails(&unmap_cdb(24), &lies, 0, bad_list);
    rig.fails(&cdb10(0x42, 1, 0, 24), &one, 0, (5, 0x24, 0));
    assert_eq!(
        rig.good(&cdb10(0x28, 0, 0, 128), &[], 65536),
        [9; 65536],
        "nothing was unmapped"
    );
    // Nothing to do is GOOD, and an incomplete last descriptor is ignored.
    rig.good(&unmap_cdb(0), &[], 0);
    rig.good(&unmap_cdb(8), &unmap_list(&[]), 0);
    let mut odd = unmap_list(&[(0, 64), (64, 64)]);
    odd[2..4].copy_from_slice(&31u16.to_be_bytes());
    rig.good(&unmap_cdb(40), &odd, 0);
    let data = rig.good(&cdb10(0x28, 0, 0, 128), &[], 65536);
    assert_eq!(data[..32768], [0; 32768]);
    assert_eq!(data[32768..], [9; 32768]);
}

#[test]
fn unmap_and_lba_status_exist_on_thin_disks_only() {
    let mut rig = Rig::new(Vdisk::null(MIB).open().unwrap());
    rig.fails(&unmap_cdb(24), &unmap_list(&[(0, 1)]), 0, (5, 0x20, 0));
    let pages = rig.good(&[0x12, 1, 0, 0, 64, 0], &[], 64);
    assert!(!pages[4..].contains(&0xB2));
    assert_eq!(rig.good(&cdb16(0x9E, 0x10, 0, 32), &[], 32)[14], 0, "LBPME");
    let mut rig = Rig::new(Vdisk::null(MIB).thin(true).open().unwrap());
    let page = rig.good(&[0x12, 1, 0xB2, 0, 64, 0], &[], 64);
    assert_eq!(page, [0, 0xB2, 0, 4, 11, 0xE4, 2, 0]);
    assert_eq!(
        rig.good(&cdb16(0x9E, 0x10, 0, 32), &[], 32)[14],
        0xC0,
        "LBPME and LBPRZ"
    );
}

#[test]
fn read_capacity_tells_size_and_physical_blocks() {
    let disk = Vdisk::null(3 << 40)
        .block_size(512)
        .physical_block_size(4096)
        .open()
        .unwrap();
    let mut rig = Rig::new(disk);
    let ten = rig.good(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 8);
    assert_eq!(ten, [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 2, 0]);
    let sixteen = rig.good(&cdb16(0x9E, 0x10, 0, 32), &[], 32);
    assert_eq!(sixteen[..8], ((3u64 << 40) / 512 - 1).to_be_bytes());
    assert_eq!(sixteen[8..12], 512u32.to_be_bytes());
    assert_eq!(sixteen[13], 3, "4096 = 512 << 3");
    for alloc in 0..32u32 {
        assert_eq!(
            rig.good(&cdb16(0x9E, 0x10, 0, alloc), &[], 64),
            sixteen[..alloc as usize],
            "n31"
        );
    }
    let small = Rig::new(Vdisk::null(4096 * 10).block_size(4096).open().unwrap()).good(
        &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[],
        8,
    );
    assert_eq!(small, [0, 0, 0, 9, 0, 0, 16, 0]);
}

#[test]
fn a_read_only_disk_refuses_every_write_with_write_protected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    std::fs::write(&path, pattern(64, 1)).unwrap();
    let mut rig = Rig::new(Vdisk::file(&path).read_only(true).open().unwrap());
    assert_eq!(rig.good(&cdb10(0x28, 0, 0, 64), &[], 32768), pattern(64, 1));
    rig.good(&cdb10(0x2F, 0, 0, 64), &[], 0);
    rig.good(&cdb10(0x35, 0, 0, 0), &[], 0);
    for cdb in [
        &cdb10(0x2A, 0, 0, 1)[..],
        &cdb10(0x2E, 0, 0, 1),
        &cdb10(0x41, 0, 0, 1),
        &[0x0A, 0, 0, 0, 1, 0],
    ] {
        rig.fails(cdb, &[0; 512], 0, (7, 0x27, 0));
    }
    assert_eq!(
        rig.good(&[0x1A, 0, 0x3F, 0, 192, 0], &[], 192)[2] & 0x80,
        0x80,
        "WP"
    );
    // A thin one keeps its map, and any store is protected by asking for it.
    let list = [&[0, 22, 0, 16, 0, 0, 0, 0][..], &[0; 11], &[1], &[0; 4]].concat();
    for disk in [Vdisk::file(&path), Vdisk::null(MIB)] {
        let mut rig = Rig::new(disk.thin(true).read_only(true).open().unwrap());
        rig.good(&cdb16(0x9E, 0x12, 0, 24), &[], 24);
        let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
        rig.fails(&unmap, &list, 0, (7, 0x27, 0));
        rig.fails(&cdb10(0x2A, 0, 0, 1), &[0; 512], 0, (7, 0x27, 0));
    }
    let refused = Vdisk::file(&path)
        .read_only(true)
        .write_through(true)
        .open()
        .unwrap_err();
    assert!(
        refused.to_string().contains("exclude each other"),
        "{refused}"
    );
}

#[test]
fn store_errors_become_the_sense_of_the_rules() {
    let store = Recorder::new(thin_volatile());
    let mut rig = over(store.clone());
    let mut with = |error: StoreError, want: (u8, u8, u8)| {
        *store.fault.lock() = Some(error);
        rig.fails(&cdb10(0x2A, 0, 3, 1), &[0; 512], 0, want);
    };
    with(StoreError::NoSpace, (7, 0x27, 7));
    with(StoreError::Medium { offset: 1536 }, (3, 0x0C, 0));
    with(StoreError::ReadOnly, (7, 0x27, 0));
    with(StoreError::Fenced, (0xB, 0x2F, 2));
    with(StoreError::Dropped, (4, 0x44, 0));
    with(StoreError::Inactive, (2, 4, 0));
    *store.fault.lock() = Some(StoreError::Transient);
    assert_eq!(
        rig.run(&cdb10(0x28, 0, 0, 1), &[], 512).status,
        Status::Busy
    );
    *store.fault.lock() = Some(StoreError::Medium { offset: 1536 });
    let reply = rig.fails(&cdb10(0x28, 0, 2, 4), &[], 2048, (3, 0x11, 0));
    assert_eq!(reply.sense.unwrap().information, Some(3));
    *store.fault.lock() = Some(StoreError::NoSpace);
    rig.fails(&cdb10(0x41, 0, 0, 4), &[1; 512], 0, (7, 0x27, 7));
    rig.fails(&cdb10(0x2E, 0, 0, 1), &[1; 512], 0, (7, 0x27, 7));
}

#[test]
fn n61_a_resize_raises_capacity_data_has_changed_on_every_nexus() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    let mut rig = Rig::new(Vdisk::file(&path).size(MIB).block_size(512).open().unwrap());
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    rig.fails(&cdb10(0x28, 0, 2048, 1), &[], 512, (5, 0x21, 0));
    rig.disk.resize(2 * MIB).unwrap();
    for session in [rig.session, other] {
        assert_eq!(
            rig.bed
                .command(session, 0, &[0, 0, 0, 0, 0, 0], &[], 0)
                .asc(),
            Some((0x2A, 0x09))
        );
        assert_eq!(
            rig.bed
                .command(session, 0, &[0, 0, 0, 0, 0, 0], &[], 0)
                .status,
            Status::Good
        );
    }
    rig.good(&cdb10(0x28, 0, 2048, 1), &[], 512);
    assert!(
        rig.disk
            .resize(2 * MIB + 1)
            .unwrap_err()
            .to_string()
            .contains("multiple")
    );
    assert!(!rig.disk.resync().unwrap());
    rig.good(&[0, 0, 0, 0, 0, 0], &[], 0);
    // It vanishes under I/O: an error that names the block, and the unit stays.
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(4096)
        .unwrap();
    let reply = rig.fails(&cdb10(0x28, 0, 6, 4), &[], 2048, (3, 0x11, 0));
    assert_eq!(reply.sense.unwrap().information, Some(8));
    assert!(rig.disk.resync().unwrap());
    assert_eq!(
        rig.run(&[0, 0, 0, 0, 0, 0], &[], 0).asc(),
        Some((0x2A, 0x09))
    );
    rig.fails(&cdb10(0x28, 0, 8, 1), &[], 512, (5, 0x21, 0));
}

#[test]
fn n33_no_byte_of_an_older_buffer_leaves_with_data_in() {
    let mut rig = Rig::new(Vdisk::null(MIB).thin(true).open().unwrap());
    for _ in 0..4 {
        rig.good(&cdb10(0x2A, 0, 0, 8), &[0xEE; 4096], 0);
    }
    assert_eq!(rig.good(&cdb10(0x28, 0, 0, 8), &[], 4096), [0; 4096]);
    for cdb in [
        &[0x4D, 0, 0x50, 0, 0, 0, 0, 0x10, 0, 0][..],
        &[0x4D, 0, 0x59, 0, 0, 0, 0, 0x10, 0, 0],
        &[0x4D, 0, 0x4C, 0, 0, 0, 0, 0x10, 0, 0],
        &[0x3C, 2, 0, 0, 0, 0, 0, 0x10, 0, 0],
        &[0x3C, 3, 0, 0, 0, 0, 0, 0x10, 0, 0],
        &[0x1C, 0, 0, 0x10, 0, 0],
        &cdb12(0xB7, 0x18, 0, 4096),
        &cdb16(0x9E, 0x10, 0, 4096),
        &cdb16(0x9E, 0x12, 0, 4096),
        &cdb10(0x5A, 0, 0x3F00_0000, 4096),
    ] {
        assert!(!rig.good(cdb, &[], 4096).contains(&0xEE), "{cdb:02x?}");
    }
}

#[test]
fn less_data_than_the_cdb_asks_for_writes_the_whole_blocks_that_came() {
    let mut rig = over(std::sync::Arc::new(RamStore::new(MIB)));
    rig.good(&cdb10(0x2A, 0, 0, 4), &[1; 1300], 0);
    let data = rig.good(&cdb10(0x28, 0, 0, 4), &[], 2048);
    assert_eq!(data[..1024], [1; 1024]);
    assert_eq!(data[1024..], [0; 1024]);
}

#[test]
fn identity_is_stable_over_restart_and_distinct_by_path() {
    let dir = tempfile::tempdir().unwrap();
    let serial = |name: &str| {
        let disk = Vdisk::file(dir.path().join(name)).size(MIB).open().unwrap();
        let mut rig = Rig::new(disk);
        (
            rig.good(&[0x12, 1, 0x80, 0, 255, 0], &[], 255),
            rig.good(&[0x12, 1, 0x83, 0, 255, 0], &[], 255),
        )
    };
    let first = serial("a");
    assert_eq!(first, serial("a"));
    assert_ne!(first.0, serial("b").0);
    assert_ne!(first.1, serial("b").1);
    let given = Vdisk::file(dir.path().join("a"))
        .serial("SN-1")
        .vendor("ACME")
        .product("disk")
        .open()
        .unwrap();
    let mut rig = Rig::new(given);
    assert_eq!(
        rig.good(&[0x12, 1, 0x80, 0, 255, 0], &[], 255)[4..],
        *b"SN-1"
    );
    assert_eq!(
        &rig.good(&[0x12, 0, 0, 0, 96, 0], &[], 96)[8..32],
        b"ACME    disk            "
    );
}

#[test]
fn a_disk_that_cannot_be_is_refused_in_one_sentence_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    let error = Vdisk::file(&path).open().unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    assert!(matches!(
        Vdisk::file(&path).size(1000).open(),
        Err(VdiskError::Size { size: 1000, .. })
    ));
    assert!(matches!(
        Vdisk::file(&path).size(MIB).block_size(513).open(),
        Err(VdiskError::BlockSize { .. })
    ));
    assert!(matches!(
        Vdisk::file(&path).size(MIB).block_size(256).open(),
        Err(VdiskError::BlockSize { .. })
    ));
    let physical = Vdisk::file(&path)
        .size(MIB)
        .block_size(4096)
        .physical_block_size(512)
        .open();
    assert!(matches!(
        physical,
        Err(VdiskError::PhysicalBlockSize { .. })
    ));
    assert!(matches!(
        Vdisk::file(dir.path()).open(),
        Err(VdiskError::Open(OpenError::Kind { .. }))
    ));
    assert!(matches!(
        Vdisk::block(&path).open(),
        Err(VdiskError::Open(OpenError::Kind { .. }))
    ));
    assert!(matches!(
        Vdisk::null(MIB).serial("x\n").open(),
        Err(VdiskError::Identity { .. })
    ));
    let store = std::sync::Arc::new(RamStore::new(MIB));
    assert!(
        matches!(Vdisk::store(store).open(), Err(VdiskError::Identity { .. })),
        "identity is an input"
    );
    let disk = Vdisk::file(&path).size(MIB).open().unwrap();
    assert!(
        Vdisk::file(&path)
            .open()
            .unwrap_err()
            .to_string()
            .contains("already exported")
    );
    drop(disk);
}
