//! What is copied, and in which order.

use std::sync::atomic::Ordering::Relaxed;

use lunforge_core::asc::Asc;
use lunforge_core::copy::{CopyLimits, CscdId, ListIdUsage, Segment};
use lunforge_core::designator::DesignatorKind;
use lunforge_core::sense::SenseKey;
use lunforge_core::status::Status;

use super::*;

#[test]
fn blocks_arrive_where_the_segment_says_and_nowhere_else() {
    let mut s = setup(1);
    let before = s.snapshot();
    let reply = s.copy(&list(1, &[segment((0, 100), (1, 7), 1000)]));
    assert_eq!(reply.status, Status::Good, "{:?}", reply.sense);
    let after = s.snapshot();
    assert!(after[1][7 * 512..1007 * 512] == before[0][100 * 512..1100 * 512]);
    assert!(after[1][..7 * 512] == before[1][..7 * 512]);
    assert!(after[1][1007 * 512..] == before[1][1007 * 512..]);
    assert!((&after[0], &after[2]) == (&before[0], &before[2]));
    assert_eq!(s.managers[0].stats().bytes.value(), 512_000);
    assert_eq!(s.managers[0].stats().done.value(), 1);
    assert_eq!(s.managers[1].stats().done.value(), 0);
}

#[test]
fn a_unit_can_be_copied_to_itself_also_by_the_number_of_this_unit() {
    let mut s = setup(1);
    let before = s.snapshot();
    let segments = [
        segment((0, 0), (0, 3000), 200),
        segment((CscdId::THIS_UNIT.0, 0), (CscdId::THIS_UNIT.0, 3500), 200),
    ];
    assert_eq!(s.copy(&list(1, &segments)).status, Status::Good);
    assert!(s.bytes(0, 3000 * 512, 200 * 512) == before[0][..200 * 512]);
    assert!(s.bytes(0, 3500 * 512, 200 * 512) == before[0][..200 * 512]);
}

#[test]
fn segments_are_done_in_order_so_that_one_reads_what_another_wrote() {
    let mut s = setup(2);
    let before = s.snapshot();
    let segments = [
        segment((0, 0), (1, 1000), 500),
        segment((1, 1000), (0, 2000), 500),
        segment((0, 2000), (1, 3000), 500),
    ];
    assert_eq!(s.copy(&list(1, &segments)).status, Status::Good);
    assert!(s.bytes(1, 3000 * 512, 500 * 512) == before[0][..500 * 512]);
}

#[test]
fn units_of_different_block_length_are_copied_when_the_bytes_come_out_even() {
    let mut s = setup(1);
    let before = s.snapshot();
    let count = |dc, from, to, blocks| Segment::BlockToBlock {
        destination_count: dc,
        cat: true,
        source: CscdId(from),
        destination: CscdId(to),
        blocks,
        source_lba: 8,
        destination_lba: 16,
    };
    assert_eq!(
        s.copy(&list(1, &[count(false, 0, 2, 80)])).status,
        Status::Good
    );
    assert!(s.bytes(2, 16 * 4096, 80 * 512) == before[0][8 * 512..88 * 512]);
    assert_eq!(
        s.copy(&list(1, &[count(true, 2, 1, 80)])).status,
        Status::Good
    );
    assert!(s.bytes(1, 16 * 512, 80 * 512) == s.bytes(2, 8 * 4096, 80 * 512));
    let inexact = s.copy(&list(1, &[count(false, 0, 2, 81)]));
    assert_eq!(inexact.asc(), Some((0x26, 0x0A)));
    assert_eq!(inexact.sense.unwrap().key, SenseKey::CopyAborted);
}

#[test]
fn data_may_begin_within_a_block_of_the_source() {
    let mut s = setup(1);
    let before = s.snapshot();
    let at = |source_offset, destination_offset| Segment::BlockOffset {
        cat: false,
        source: CscdId(0),
        destination: CscdId(1),
        bytes: 100 * 512,
        source_lba: 10,
        destination_lba: 20,
        source_offset,
        destination_offset,
    };
    assert_eq!(s.copy(&list(1, &[at(300, 0)])).status, Status::Good);
    assert!(s.bytes(1, 20 * 512, 100 * 512) == before[0][5420..5420 + 51_200]);
    assert_eq!(s.copy(&list(1, &[at(0, 300)])).asc(), Some((0x26, 0x0A)));
}

#[test]
fn a_unit_is_found_by_each_of_its_designators() {
    let mut s = setup(1);
    let t10 = DesignatorKind::T10VendorId {
        vendor: *b"LUNFORGE",
        id: b"ram1".to_vec(),
    };
    let mut by_name = list(1, &[segment((0, 0), (1, 0), 1)]);
    by_name.cscds[1] = cscd_of(t10, 0);
    assert_eq!(s.copy(&by_name).status, Status::Good);
    assert!(s.bytes(1, 0, 512) == s.bytes(0, 0, 512));
}

#[test]
fn verify_cscd_tells_whether_a_unit_is_there_and_ready() {
    let mut s = setup(1);
    let verify = |source, test_unit_ready| Segment::VerifyCscd {
        source: CscdId(source),
        test_unit_ready,
    };
    let both = [verify(1, false), verify(1, true)];
    assert_eq!(s.copy(&list(1, &both)).status, Status::Good);
    s.disks[1].ready.store(false, Relaxed);
    let reply = s.copy(&list(1, &both));
    let sense = reply.sense.unwrap();
    assert_eq!(sense.asc, Asc::THIRD_PARTY_DEVICE_FAILURE);
    assert_eq!(sense.command_specific, Some(1), "the second segment");
    assert_eq!(s.copy(&list(1, &[verify(1, false)])).status, Status::Good);
}

#[test]
fn no_command_is_longer_than_a_unit_takes() {
    let mut s = setup_with(1, CopyLimits::default());
    s.disks[1].most.store(10, Relaxed);
    let before = s.snapshot();
    assert_eq!(
        s.copy(&list(1, &[segment((0, 0), (1, 0), 95)])).status,
        Status::Good
    );
    assert_eq!(s.disks[1].writes.load(Relaxed), 10);
    assert!(s.bytes(1, 0, 95 * 512) == before[0][..95 * 512]);
}

#[test]
fn a_busy_unit_is_asked_again() {
    let mut s = setup(1);
    s.disks[0].busy.store(3, Relaxed);
    s.disks[1].busy.store(3, Relaxed);
    let before = s.snapshot();
    let tag = s.begin(&list(1, &[segment((0, 0), (1, 0), 500)]));
    for _ in 0..8 {
        s.bed.advance(std::time::Duration::from_millis(20));
    }
    assert_eq!(s.bed.wait(s.session, tag).status, Status::Good);
    assert!(s.bytes(1, 0, 500 * 512) == before[0][..500 * 512]);
}

#[test]
fn a_unit_that_stays_busy_ends_the_copy_in_bounded_time() {
    let mut s = setup(1);
    s.disks[1].busy.store(usize::MAX, Relaxed);
    let tag = s.begin(&list(1, &[segment((0, 0), (1, 0), 500)]));
    for _ in 0..12 {
        s.bed.advance(std::time::Duration::from_secs(1));
    }
    let sense = s.bed.wait(s.session, tag).sense.unwrap();
    let forwarded = sense.forwarded.unwrap();
    assert_eq!((forwarded.destination, forwarded.status), (true, 0x08));
    assert_eq!(sense.information, Some(500));
}

#[test]
fn a_third_partys_failure_comes_with_its_sense_segment_and_residue() {
    let mut s = setup(1);
    let segments = [segment((0, 0), (1, 0), 16), segment((0, 0), (1, 100), 64)];
    // The first segment is one chunk; of the second two are read.
    s.disks[0].fail_after.store(3, Relaxed);
    let sense = s.copy(&list(4, &segments)).sense.unwrap();
    assert_eq!(sense.key, SenseKey::CopyAborted);
    assert_eq!(sense.asc, Asc::THIRD_PARTY_DEVICE_FAILURE);
    assert_eq!(sense.command_specific, Some(1), "segment");
    assert_eq!(sense.information, Some(32), "blocks not copied");
    let forwarded = sense.forwarded.unwrap();
    assert!(!forwarded.destination);
    assert_eq!(
        forwarded.sense,
        Some((SenseKey::MediumError, Asc::UNRECOVERED_READ_ERROR, Some(5)))
    );
    assert_eq!(s.status(4), (0x82, 2, 48 * 512));
    assert_eq!(s.managers[0].stats().failed.value(), 1);
}

#[test]
fn a_copy_keeps_no_more_than_its_chunks_in_flight() {
    let mut s = setup(1);
    s.disks[0].hold.store(true, Relaxed);
    let tag = s.begin(&list(1, &[segment((0, 0), (1, 0), 2000)]));
    for _ in 0..4 {
        s.bed.poll();
        assert_eq!(s.disks[0].held(), 2);
    }
    s.disks[0].hold.store(false, Relaxed);
    s.disks[0].complete_all();
    assert_eq!(s.bed.wait(s.session, tag).status, Status::Good);
}

#[test]
fn more_copies_than_the_limit_are_answered_busy() {
    let limits = CopyLimits {
        copies_per_session: 2,
        copies: 3,
        ..CopyLimits::default()
    };
    let mut s = setup_with(1, limits);
    s.disks[0].hold.store(true, Relaxed);
    let one = [segment((0, 0), (1, 0), 1)];
    let mut without = list(0, &one);
    without.usage = ListIdUsage::None;
    let running = [s.begin(&list(1, &one)), s.begin(&without)];
    assert_eq!(s.copy(&list(3, &one)).status, Status::Busy);
    let other = open(&mut s.bed, 0, B);
    let third = s.begin_by(other, 0, &list(1, &one));
    let fourth = s.begin_by(other, 0, &list(2, &one));
    assert_eq!(s.bed.wait(other, fourth).status, Status::Busy);
    s.disks[0].hold.store(false, Relaxed);
    s.disks[0].complete_all();
    assert_eq!(s.bed.wait(other, third).status, Status::Good);
    for tag in running {
        assert_eq!(s.bed.wait(s.session, tag).status, Status::Good);
    }
}

#[test]
fn two_copies_that_cross_each_other_both_end() {
    for shards in [1, 2] {
        let mut s = setup(shards);
        let other = open(&mut s.bed, shards - 1, B);
        let forth = s.begin(&list(1, &[segment((0, 0), (1, 2000), 1000)]));
        let back = s.begin_by(other, 1, &list(1, &[segment((1, 0), (0, 2000), 1000)]));
        assert_eq!(s.bed.wait(s.session, forth).status, Status::Good);
        assert_eq!(s.bed.wait(other, back).status, Status::Good);
        assert!(s.bytes(1, 2000 * 512, 512_000) == s.bytes(0, 0, 512_000));
        assert!(s.bytes(0, 2000 * 512, 512_000) == s.bytes(1, 0, 512_000));
    }
}

#[test]
fn what_a_copy_moves_counts_for_the_units_not_for_the_session() {
    let mut s = setup(1);
    let written = |s: &Setup, n: usize| -> u64 {
        s.units[n]
            .stats()
            .iter()
            .map(|st| st.write_bytes.value())
            .sum()
    };
    assert_eq!(
        s.copy(&list(1, &[segment((0, 0), (1, 0), 100)])).status,
        Status::Good
    );
    assert_eq!(written(&s, 1), 51_200);
    let session = s.bed.target().sessions()[0].stats.write_bytes.value();
    assert!(session < 1000, "the parameter list only, but {session}");
}
