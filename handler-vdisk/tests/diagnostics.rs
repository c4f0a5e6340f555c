//! Self-tests, diagnostic pages, defect data, buffers.

mod common;

use std::time::{Duration, Instant};

use common::*;
use lunforge_core::sense::SenseSpecific;
use lunforge_core::status::Status;
use lunforge_core::tmf::Function;
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::*;
use lunforge_vdisk::testing::{Hold, SlowStore};

const INVALID: (u8, u8, u8) = (5, 0x24, 0);

fn send_diagnostic(code: u8) -> [u8; 6] {
    [0x1D, code << 5, 0, 0, 0, 0]
}

/// The newest self-test result of log page 10h.
fn newest(rig: &mut Rig) -> Vec<u8> {
    let log = rig.good(&[0x4D, 0, 0x50, 0, 0, 0, 0, 4, 0, 0], &[], 1024);
    assert_eq!(log.len(), 4 + 20 * 20);
    log[4..24].to_vec()
}

/// Waits for the end of the background self-test.
fn wait(rig: &mut Rig) {
    let end = Instant::now() + Duration::from_secs(20);
    while newest(rig)[4] & 15 == 15 {
        assert!(Instant::now() < end, "the self-test does not end");
        std::thread::yield_now();
    }
}

#[test]
fn self_tests_read_the_medium_and_their_results_are_logged() {
    let store = Recorder::new(thin_volatile());
    let mut rig = over(store.clone());
    rig.good(&[0x1D, 0x04, 0, 0, 0, 0], &[], 0);
    assert_eq!(
        store.take(),
        ["read", "read", "read"],
        "beginning, middle, end"
    );
    assert_eq!(
        newest(&mut rig)[4..],
        [0; 16],
        "the default self-test is not logged"
    );
    rig.good(&send_diagnostic(5), &[], 0);
    let mut passed = vec![0, 1, 3, 16, 5 << 5, 0, 0, 0];
    passed.extend([0xFF; 8]);
    passed.extend([0; 4]);
    assert_eq!(newest(&mut rig), passed);
    for code in [1, 2] {
        rig.good(&send_diagnostic(code), &[], 0);
        wait(&mut rig);
        assert_eq!(newest(&mut rig)[4], code << 5, "passed");
    }
    *store.fault.lock() = Some(StoreError::Medium { offset: 4096 });
    rig.fails(&[0x1D, 0x04, 0, 0, 0, 0], &[], 0, (4, 0x3E, 3));
    rig.fails(&send_diagnostic(5), &[], 0, (4, 0x3E, 3));
    assert_eq!(newest(&mut rig)[4], 5 << 5 | 7, "failed");
    rig.good(&send_diagnostic(2), &[], 0);
    wait(&mut rig);
    let failed = newest(&mut rig);
    assert_eq!(failed[4], 2 << 5 | 7);
    assert_eq!(failed[8..16], 8u64.to_be_bytes(), "the block that failed");
    assert_eq!(failed[16..19], [3, 0x11, 0]);
}

#[test]
fn a_background_self_test_is_told_of_and_can_be_aborted() {
    // So large that it does not end by itself during the test.
    let mut rig = Rig::new(Vdisk::null(1 << 50).open().unwrap());
    rig.fails(&send_diagnostic(4), &[], 0, INVALID);
    rig.good(&send_diagnostic(2), &[], 0);
    let busy = (2, 4, 9);
    rig.fails(&send_diagnostic(1), &[], 0, busy);
    rig.fails(&send_diagnostic(5), &[], 0, busy);
    rig.fails(&[0x1D, 0x04, 0, 0, 0, 0], &[], 0, busy);
    rig.good(&[0; 6], &[], 0);
    rig.good(&cdb10(0x28, 0, 0, 1), &[], 512);
    let sense = rig.good(&[0x03, 0, 0, 0, 18, 0], &[], 18);
    let sense = lunforge_core::sense::Sense::parse(&sense).unwrap();
    assert_eq!((sense.asc.asc, sense.asc.ascq), (4, 9));
    assert!(matches!(sense.specific, SenseSpecific::Progress(_)));
    rig.good(&send_diagnostic(4), &[], 0);
    assert_eq!(
        newest(&mut rig)[4],
        2 << 5 | 1,
        "aborted by SEND DIAGNOSTIC"
    );
    assert_eq!(rig.good(&[0x03, 0, 0, 0, 18, 0], &[], 18)[2], 0);
    rig.good(&send_diagnostic(2), &[], 0);
    rig.bed.tmf(rig.session, 0, Function::LogicalUnitReset);
    let _attention = rig.run(&[0; 6], &[], 0);
    assert_eq!(newest(&mut rig)[4], 2 << 5 | 2, "aborted by a reset");
}

#[test]
fn aborted_self_tests_leave_a_bounded_number_of_reads_in_a_store_that_does_not_answer() {
    let store = SlowStore::new(8 * MIB);
    let disk = Vdisk::store(store.clone()).serial("s").open().unwrap();
    let mut rig = Rig::new(disk);
    store.hold(Hold::Everything);
    for begun in 1..=4 {
        rig.good(&send_diagnostic(2), &[], 0);
        store.wait_held(begun, Duration::from_secs(20));
        rig.good(&send_diagnostic(4), &[], 0);
    }
    let refused = rig.run(&send_diagnostic(2), &[], 0);
    assert_eq!(refused.status, Status::Busy);
    assert_eq!(
        newest(&mut rig)[4],
        2 << 5 | 1,
        "a refused one has no result"
    );
    store.let_go();
    let end = Instant::now() + Duration::from_secs(20);
    while rig.run(&send_diagnostic(1), &[], 0).status != Status::Good {
        assert!(
            Instant::now() < end,
            "no self-test although all reads ended"
        );
        std::thread::yield_now();
    }
}

#[test]
fn twenty_results_are_kept_and_the_newest_is_the_first() {
    let mut rig = Rig::new(Vdisk::null(MIB).open().unwrap());
    for _ in 0..25 {
        rig.good(&send_diagnostic(5), &[], 0);
    }
    rig.good(&send_diagnostic(1), &[], 0);
    wait(&mut rig);
    let log = rig.good(&[0x4D, 0, 0x50, 0, 0, 0, 0, 4, 0, 0], &[], 1024);
    let codes: Vec<u8> = log[4..].chunks(20).map(|p| p[4] >> 5).collect();
    assert_eq!((codes[0], codes[1], codes[19], codes.len()), (1, 5, 5, 20));
    let numbers: Vec<u8> = log[4..].chunks(20).map(|p| p[1]).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

#[test]
fn reserved_self_test_codes_and_impossible_combinations_are_refused() {
    let mut rig = Rig::new(Vdisk::null(MIB).open().unwrap());
    rig.good(&send_diagnostic(0), &[], 0);
    // Reserved, and the foreground extended one.
    for code in [3, 6, 7] {
        rig.fails(&send_diagnostic(code), &[], 0, INVALID);
    }
    rig.fails(&[0x1D, 5 << 5 | 4, 0, 0, 0, 0], &[], 0, INVALID);
    rig.fails(&[0x1D, 0x14, 0, 0, 4, 0], &[0; 4], 0, INVALID);
    rig.fails(&[0x1D, 5 << 5 | 0x10, 0, 0, 4, 0], &[0; 4], 0, INVALID);
    rig.fails(&[0x1D, 0x00, 0, 0, 4, 0], &[0; 4], 0, INVALID);
}

#[test]
fn the_only_diagnostic_page_is_the_list_of_pages() {
    let mut rig = Rig::new(Vdisk::null(MIB).open().unwrap());
    let pages = [0, 0, 0, 1, 0];
    rig.good(&[0x1D, 0x10, 0, 0, 4, 0], &[0; 4], 0);
    assert_eq!(rig.good(&[0x1C, 0, 0, 0, 255, 0], &[], 255), pages);
    for alloc in 0..=6u8 {
        let cut = &pages[..usize::from(alloc).min(5)];
        assert_eq!(rig.good(&[0x1C, 1, 0, 0, alloc, 0], &[], 6), cut, "n31");
    }
    rig.fails(&[0x1C, 1, 1, 0, 255, 0], &[], 255, INVALID);
    rig.fails(&[0x1D, 0x10, 0, 0, 4, 0], &[0x40, 0, 0, 0], 0, (5, 0x26, 0));
    rig.fails(&[0x1D, 0x10, 0, 0, 4, 0], &[0, 0, 0, 1], 0, (5, 0x26, 0));
    rig.fails(&[0x1D, 0x10, 0, 0, 5, 0], &[0; 5], 0, (5, 0x1A, 0));
    rig.fails(&[0x1D, 0x10, 0, 0, 3, 0], &[0; 3], 0, (5, 0x1A, 0));
    rig.fails(&[0x1D, 0x10, 0, 0, 4, 0], &[0; 2], 0, (5, 0x1A, 0));
}

#[test]
fn a_virtual_disk_has_no_defects_in_any_format() {
    let mut rig = Rig::new(Vdisk::null(MIB).open().unwrap());
    for lists in [0x00, 0x08, 0x10, 0x18] {
        for format in 0..=5 {
            let flags = lists | format;
            let ten = rig.good(&[0x37, 0, flags, 0, 0, 0, 0, 0, 255, 0], &[], 255);
            assert_eq!(ten, [0, flags, 0, 0]);
            let mut cdb = cdb12(0xB7, flags, 0, 255);
            assert_eq!(rig.good(&cdb, &[], 255), [0, flags, 0, 0, 0, 0, 0, 0]);
            cdb[9] = 3;
            assert_eq!(rig.good(&cdb, &[], 255).len(), 3, "n31");
        }
    }
    for format in [6, 7] {
        let cdb = [0x37, 0, 0x18 | format, 0, 0, 0, 0, 0, 255, 0];
        let reply = rig.fails(&cdb, &[], 255, (1, 0x1C, 1));
        assert_eq!(
            reply.data,
            [0, 0x18, 0, 0],
            "the list comes in the default format"
        );
        let cdb = [0x37, 0, 0x08 | format, 0, 0, 0, 0, 0, 255, 0];
        rig.fails(&cdb, &[], 255, (1, 0x1C, 2));
    }
}

fn read_buffer(mode: u8, id: u8, offset: u32, len: u32) -> [u8; 10] {
    let ([_, a, b, c], [_, d, e, f]) = (offset.to_be_bytes(), len.to_be_bytes());
    [0x3C, mode, id, a, b, c, d, e, f, 0]
}

fn write_buffer(mode: u8, id: u8, offset: u32, len: u32) -> [u8; 10] {
    let mut cdb = read_buffer(mode, id, offset, len);
    cdb[0] = 0x3B;
    cdb
}

#[test]
fn n48_no_nexus_reads_what_another_wrote_nor_a_byte_that_nobody_wrote() {
    let mut rig = Rig::new(Vdisk::null(MIB).open().unwrap());
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    let sequence = (5, 0x2C, 0);
    rig.fails(&read_buffer(0x0A, 0, 0, 64), &[], 64, sequence);
    assert_eq!(
        rig.good(&read_buffer(2, 0, 0, 0x10000), &[], 0x10000),
        [0; 16 << 10]
    );
    rig.good(&write_buffer(0x0A, 0, 0, 16), &[0xEE; 16], 0);
    rig.good(&write_buffer(2, 0, 100, 16), &[0xDD; 16], 0);
    assert_eq!(
        rig.good(&read_buffer(0x0A, 0, 0, 4096), &[], 4096),
        [0xEE; 16]
    );
    assert_eq!(rig.good(&read_buffer(0x0A, 0, 0, 7), &[], 4096), [0xEE; 7]);
    let data = rig.good(&read_buffer(2, 0, 99, 18), &[], 18);
    assert_eq!((data[0], &data[1..17], data[17]), (0, &[0xDD; 16][..], 0));
    let mut of_other = |cdb: &[u8], out: &[u8]| rig.bed.command(other, 0, cdb, out, 4096);
    assert_eq!(
        of_other(&read_buffer(0x0A, 0, 0, 64), &[]).asc(),
        Some((0x2C, 0))
    );
    assert_eq!(of_other(&read_buffer(2, 0, 100, 16), &[]).data, [0; 16]);
    of_other(&write_buffer(0x0A, 0, 0, 4), &[1; 4]);
    assert_eq!(
        rig.good(&read_buffer(0x0A, 0, 0, 4096), &[], 4096),
        [0xEE; 16]
    );
    rig.bed.tmf(rig.session, 0, Function::LogicalUnitReset);
    let _attention = rig.run(&[0; 6], &[], 0);
    rig.fails(&read_buffer(0x0A, 0, 0, 64), &[], 64, sequence);
    assert_eq!(rig.good(&read_buffer(2, 0, 100, 16), &[], 16), [0; 16]);
}

#[test]
fn n48_every_mode_id_and_offset_is_answered_or_refused() {
    let mut rig = Rig::new(Vdisk::null(MIB).open().unwrap());
    rig.good(&write_buffer(0x0A, 0, 0, 8), &[7; 8], 0);
    for mode in 0..32 {
        let known = [2, 3, 0x0A, 0x0B].contains(&mode);
        let reply = rig.run(&read_buffer(mode, 0, 0, 8), &[], 8);
        assert_eq!(reply.status == Status::Good, known, "read mode {mode:02x}");
        let reply = rig.run(&write_buffer(mode, 0, 0, 8), &[7; 8], 0);
        let known = [2, 0x0A].contains(&mode);
        assert_eq!(reply.status == Status::Good, known, "write mode {mode:02x}");
        rig.fails(&read_buffer(mode | 0x20, 0, 0, 8), &[], 8, INVALID);
        rig.fails(&write_buffer(mode | 0x80, 0, 0, 8), &[0; 8], 0, INVALID);
    }
    assert_eq!(rig.good(&read_buffer(3, 0, 0, 4), &[], 4), [0, 0, 0x40, 0]);
    assert_eq!(rig.good(&read_buffer(3, 1, 0, 4), &[], 4), [0; 4]);
    assert_eq!(
        rig.good(&read_buffer(0x0B, 0, 0, 4), &[], 4),
        [1, 0, 0x10, 0],
        "EBOS"
    );
    let end = 16 << 10;
    rig.fails(&read_buffer(2, 1, 0, 4), &[], 4, INVALID);
    rig.fails(&read_buffer(2, 0, end + 1, 4), &[], 4, INVALID);
    rig.fails(&write_buffer(2, 1, 0, 4), &[0; 4], 0, INVALID);
    rig.fails(&write_buffer(2, 0, end - 3, 4), &[0; 4], 0, INVALID);
    rig.good(&write_buffer(2, 0, end - 4, 4), &[9; 4], 0);
    assert_eq!(
        rig.good(&read_buffer(2, 0, end - 2, 0xFF_FFFF), &[], 4096),
        [9; 2]
    );
    assert!(
        rig.good(&read_buffer(2, 0, end, 0xFF_FFFF), &[], 4096)
            .is_empty()
    );
    rig.fails(&write_buffer(0x0A, 0, 0, 4097), &[0; 4097], 0, INVALID);
    // Less than the CDB says: what did not come cannot be told from what was there.
    rig.fails(&write_buffer(0x0A, 0, 0, 8), &[0; 7], 0, INVALID);
    rig.good(&write_buffer(0x0A, 0, 0, 4096), &[3; 4096], 0);
    assert_eq!(
        rig.good(&read_buffer(0x0A, 9, 77, 5000), &[], 5000),
        [3; 4096]
    );
}

#[test]
fn n48_buffers_end_with_their_nexus_and_are_bounded() {
    use lunforge_core::handler::DeviceHandler;
    let disk = Vdisk::null(MIB).open().unwrap();
    let (seen, unit) = spy(disk.clone());
    let mut bed = lunforge_core::testing::Bed::new(1, unit);
    let first = bed.session(0, "iqn.2026-11.org.example:a");
    bed.command(first, 0, &write_buffer(0x0A, 0, 0, 4), &[1; 4], 0);
    disk.nexus_lost(seen.lock().unwrap());
    let lost = bed.command(first, 0, &read_buffer(0x0A, 0, 0, 4), &[], 4);
    assert_eq!(lost.asc(), Some((0x2C, 0)));
    bed.command(first, 0, &write_buffer(0x0A, 0, 0, 4), &[1; 4], 0);
    for _ in 0..256 {
        let next = bed.session(0, "iqn.2026-11.org.example:b");
        bed.command(next, 0, &write_buffer(0x0A, 0, 0, 4), &[2; 4], 0);
    }
    let evicted = bed.command(first, 0, &read_buffer(0x0A, 0, 0, 4), &[], 4);
    assert_eq!(evicted.asc(), Some((0x2C, 0)), "the oldest gave way");
}
