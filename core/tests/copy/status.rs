//! What RECEIVE COPY RESULTS, INQUIRY and REPORT SUPPORTED OPERATION CODES tell.

use std::sync::atomic::Ordering::Relaxed;

use lunforge_core::sense::Sense;
use lunforge_core::status::Status;
use lunforge_core::tmf::Function;

use super::*;

const WHOLE: [Segment; 1] = [Segment::BlockToBlock {
    destination_count: false,
    cat: false,
    source: CscdId(0),
    destination: CscdId(1),
    blocks: 64,
    source_lba: 0,
    destination_lba: 0,
}];

#[test]
fn status_tells_how_far_a_copy_is_and_that_it_has_ended() {
    let mut s = setup(2);
    assert_eq!(s.receive(0, 5).asc(), Some((0x24, 0)), "no such copy yet");
    s.disks[1].hold.store(true, Relaxed);
    let tag = s.begin(&list(5, &WHOLE));
    s.bed.poll();
    assert_eq!(s.status(5), (0, 1, 0));
    assert_eq!(
        s.receive(1, 5).asc(),
        Some((0x24, 0)),
        "no data before the end"
    );
    assert_eq!(s.receive(4, 5).asc(), Some((0x24, 0)));
    s.disks[1].complete_all();
    s.bed.poll();
    assert_eq!(s.status(5), (0, 1, 32 * 512));
    s.disks[1].hold.store(false, Relaxed);
    s.disks[1].complete_all();
    assert_eq!(s.bed.wait(s.session, tag).status, Status::Good);
    assert_eq!(s.status(5), (0x81, 1, 64 * 512));
    assert_eq!(s.receive(1, 5).data, [0; 4], "nothing is held");
    assert_eq!(s.receive(4, 5).data, [0; 4], "nothing failed");
    assert_eq!(
        s.receive(5, 5).asc(),
        Some((0x24, 0)),
        "it was no LID4 copy"
    );
}

#[test]
fn failure_details_hold_the_sense_data_of_the_command() {
    let mut s = setup(1);
    s.disks[0].fail_after.store(0, Relaxed);
    let reply = s.copy(&list(5, &WHOLE));
    let data = s.receive(4, 5).data;
    let (len, sense) = (usize::from(data[59]), &data[60..]);
    assert_eq!(
        (data[3] as usize, data[56], sense.len()),
        (56 + len, 0x02, len)
    );
    assert_eq!(Sense::parse(sense), reply.sense);
}

#[test]
fn an_identifier_is_used_once_at_a_time_and_by_each_session_for_itself() {
    let mut s = setup(1);
    let other = open(&mut s.bed, 0, B);
    s.disks[0].hold.store(true, Relaxed);
    let tag = s.begin(&list(5, &WHOLE));
    assert_eq!(
        s.copy(&list(5, &WHOLE)).asc(),
        Some((0, 0x16)),
        "OPERATION IN PROGRESS"
    );
    let theirs = s.begin_by(other, 0, &list(5, &WHOLE));
    s.disks[0].hold.store(false, Relaxed);
    s.disks[0].complete_all();
    assert_eq!(s.bed.wait(s.session, tag).status, Status::Good);
    assert_eq!(s.bed.wait(other, theirs).status, Status::Good);
    assert_eq!(s.copy(&list(5, &[])).status, Status::Good);
    assert_eq!(s.status(5), (0x81, 0, 0), "the later copy of that name");
    let theirs = s.bed.command(other, 0, &cdb(0x84, 0, 5, 12), &[], 12);
    assert_eq!(theirs.data[4..7], [0x81, 0, 1]);
}

#[test]
fn results_are_kept_for_the_last_copies_until_a_reset_or_the_session_ends() {
    let mut s = setup(1);
    for list_id in 0..20 {
        assert_eq!(s.copy(&list(list_id, &[])).status, Status::Good);
    }
    assert_eq!(s.receive(0, 3).asc(), Some((0x24, 0)));
    for list_id in 4..20 {
        assert_eq!(s.status(list_id).0, 0x81);
    }
    s.bed.tmf(s.session, 0, Function::LogicalUnitReset);
    s.bed.command(s.session, 0, &[0; 6], &[], 0);
    assert_eq!(s.receive(0, 19).asc(), Some((0x24, 0)));
}

/// LID4 status: COPY OPERATION STATUS with HDD, bytes, sense data.
fn status4(s: &mut Setup, session: Session, list_id: u32) -> (u8, u64, Option<Sense>) {
    let reply = s
        .bed
        .command(session, 0, &cdb(0x84, 5, list_id, 512), &[], 512);
    let data = reply.data;
    assert_eq!(data[4], 0x01, "EXTENDED COPY(LID4)");
    assert_eq!(usize::from(data[3]), data.len() - 4);
    let bytes = u64::from_be_bytes(data[16..24].try_into().unwrap());
    (data[5], bytes, Sense::parse(&data[32..]))
}

fn background(list_id: u32) -> ParameterList {
    let mut list = list(list_id, &WHOLE);
    (list.format, list.immediate) = (ListFormat::Lid4, true);
    list
}

#[test]
fn an_immediate_copy_goes_on_after_its_command() {
    let mut s = setup(2);
    let before = s.snapshot();
    s.disks[1].hold.store(true, Relaxed);
    assert_eq!(s.copy(&background(0x1_0000)).status, Status::Good);
    let session = s.session;
    assert_eq!(status4(&mut s, session, 0x1_0000), (0x12, 0, None));
    s.disks[1].hold.store(false, Relaxed);
    s.disks[1].complete_all();
    for _ in 0..10 {
        s.bed.poll();
    }
    assert_eq!(status4(&mut s, session, 0x1_0000), (0x81, 64 * 512, None));
    assert!(s.bytes(1, 0, 64 * 512) == before[0][..64 * 512]);
    let data = s
        .bed
        .command(session, 0, &cdb(0x84, 6, 0x1_0000, 512), &[], 512)
        .data;
    assert_eq!(data.len(), 36, "no held data");
}

#[test]
fn a_background_copy_that_fails_leaves_its_sense_data() {
    let mut s = setup(1);
    s.disks[0].fail_after.store(1, Relaxed);
    assert_eq!(s.copy(&background(7)).status, Status::Good);
    for _ in 0..10 {
        s.bed.poll();
    }
    let session = s.session;
    let (status, bytes, sense) = status4(&mut s, session, 7);
    assert_eq!((status, bytes), (0x82, 16 * 512));
    assert_eq!(sense.unwrap().information, Some(48));
}

#[test]
fn operating_parameters_and_page_8f_agree_with_the_limits() {
    let mut s = setup(1);
    let data = s.receive(3, 0).data;
    assert_eq!(data.len(), 48);
    assert_eq!(data[..4], [0, 0, 0, 44]);
    assert_eq!(data[4], 1, "SNLID");
    assert_eq!(data[8..12], [0, 64, 1, 0]);
    let list_bytes = CopyLimits::default().descriptor_list_bytes() as u32;
    assert_eq!(data[12..16], list_bytes.to_be_bytes());
    assert_eq!(data[16..20], (256u32 << 20).to_be_bytes());
    assert_eq!(data[20..32], [0; 12], "no inline data, nothing held");
    assert_eq!(data[34..38], [0, 64, 16, 9]);
    assert_eq!(data[43..], [4, 0x02, 0x07, 0x0A, 0xE4]);
    let page = s
        .bed
        .command(s.session, 0, &[0x12, 1, 0x8F, 1, 0, 0], &[], 256);
    let page = page.data;
    assert_eq!(usize::from(page[3]), page.len() - 4);
    assert_eq!(
        page[4..24],
        [
            0, 1, 0, 16, 13, 0x83, 3, 0, 1, 0x1C, 0x84, 6, 0, 1, 3, 4, 5, 6, 0, 0
        ]
    );
    assert_eq!(page[24..36], [0, 4, 0, 28, 0, 0, 0, 0, 0, 64, 1, 0]);
    assert_eq!(page[36..40], list_bytes.to_be_bytes());
    let pages = s
        .bed
        .command(s.session, 0, &[0x12, 1, 0, 0, 64, 0], &[], 64);
    assert!(pages.data[4..].contains(&0x8F));
    let standard = s
        .bed
        .command(s.session, 0, &[0x12, 0, 0, 0, 64, 0], &[], 64);
    assert_eq!(standard.data[5] & 0x08, 0x08, "3PC");
}

#[test]
fn tokens_are_not_supported_and_not_reported() {
    let mut s = setup(1);
    for action in [0x10, 0x11] {
        let reply = s
            .bed
            .command(s.session, 0, &cdb(0x83, action, 0, 0), &[], 0);
        assert_eq!(reply.asc(), Some((0x24, 0)));
    }
    let report = s.bed.command(
        s.session,
        0,
        &[0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0],
        &[],
        2048,
    );
    let row = |opcode: u8, action: u8| {
        let rows = report.data[4..].chunks_exact(8);
        rows.into_iter()
            .any(|row| row[0] == opcode && row[3] == action)
    };
    for action in [0x00, 0x01, 0x1C] {
        assert!(row(0x83, action), "{action:#x}");
    }
    for action in [0, 1, 3, 4, 5, 6] {
        assert!(row(0x84, action), "{action:#x}");
    }
    assert!(!row(0x83, 0x10) && !row(0x83, 0x11) && !row(0x84, 7) && !row(0x84, 8));
}
