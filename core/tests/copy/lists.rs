//! Parameter lists: what is wrong with one is said before it has any effect.

use lunforge_core::sense::{SenseKey, SenseSpecific};
use lunforge_core::status::Status;

use super::*;

const GOOD: [Segment; 1] = [Segment::BlockToBlock {
    destination_count: false,
    cat: false,
    source: CscdId(0),
    destination: CscdId(1),
    blocks: 1,
    source_lba: 0,
    destination_lba: 0,
}];

/// The list that would be done, with `change` applied to its bytes, is refused as said and changes nothing.
fn refused(change: impl FnOnce(&mut Vec<u8>)) -> (SenseKey, (u8, u8), Option<u16>) {
    refused_by(&mut setup(1), change)
}

fn refused_by(
    s: &mut Setup,
    change: impl FnOnce(&mut Vec<u8>),
) -> (SenseKey, (u8, u8), Option<u16>) {
    let before = s.snapshot();
    let mut bytes = list(1, &GOOD).emit();
    change(&mut bytes);
    let reply = s.raw(&bytes);
    assert_eq!(reply.status, Status::CheckCondition);
    assert!(s.snapshot() == before);
    let sense = reply.sense.unwrap();
    let byte = match sense.specific {
        SenseSpecific::FieldPointer { byte, .. } => Some(byte),
        _ => None,
    };
    (sense.key, (sense.asc.asc, sense.asc.ascq), byte)
}

fn illegal(asc: (u8, u8), byte: Option<u16>) -> (SenseKey, (u8, u8), Option<u16>) {
    (SenseKey::IllegalRequest, asc, byte)
}

#[test]
fn an_empty_list_and_a_list_without_segments_do_nothing_and_are_good() {
    let mut s = setup(1);
    let before = s.snapshot();
    assert_eq!(s.raw(&[]).status, Status::Good);
    assert_eq!(s.copy(&list(1, &[])).status, Status::Good);
    assert_eq!(
        s.copy(&list(1, &[segment((0, 0), (1, 0), 0)])).status,
        Status::Good
    );
    assert!(s.snapshot() == before);
}

#[test]
fn reserved_bits_and_codes_are_pointed_at() {
    for (byte, value) in [(1, 0x40), (1, 0x80), (4, 1), (7, 1)] {
        assert_eq!(
            refused(|b| b[byte] |= value),
            illegal((0x26, 0), Some(byte as u16))
        );
    }
    assert_eq!(
        refused(|b| b[1] = 0x08),
        illegal((0x26, 0), Some(1)),
        "LIST ID USAGE 01b"
    );
    assert_eq!(
        refused(|b| b[1] = 0x18),
        illegal((0x26, 0), Some(0)),
        "an identifier without use"
    );
    // The first CSCD descriptor begins at 16, the segment descriptor behind three of them.
    for byte in [16 + 4, 16 + 6, 16 + 28, 112 + 1, 112 + 8, 112 + 9] {
        assert_eq!(
            refused(|b| b[byte] |= 0x80),
            illegal((0x26, 0), Some(byte as u16))
        );
    }
    assert_eq!(
        refused(|b| b[16 + 7] = 21),
        illegal((0x26, 0), Some(23)),
        "DESIGNATOR LENGTH"
    );
    assert_eq!(
        refused(|b| b[115] = 23),
        illegal((0x26, 0), Some(114)),
        "DESCRIPTOR LENGTH"
    );
    assert_eq!(
        refused(|b| b[46] = 0x10),
        illegal((0x26, 0), Some(45)),
        "DISK BLOCK LENGTH"
    );
}

#[test]
fn obsolete_bits_and_ports_do_not_matter() {
    let mut s = setup(1);
    let mut bytes = list(1, &GOOD).emit();
    bytes[17] |= 0xE0;
    bytes[18..20].copy_from_slice(&[0xFF; 2]);
    assert_eq!(s.raw(&bytes).status, Status::Good);
}

#[test]
fn lengths_that_cut_a_descriptor_off_are_parameter_list_length_errors() {
    let whole = list(1, &GOOD).emit().len();
    let mut s = setup(1);
    for len in 1..whole {
        assert_eq!(
            refused_by(&mut s, |b| b.truncate(len)),
            illegal((0x1A, 0), None),
            "{len}"
        );
    }
    assert_eq!(refused(|b| b[3] = 31), illegal((0x1A, 0), None));
    assert_eq!(refused(|b| b[11] = 27), illegal((0x1A, 0), None));
    assert_eq!(refused(|b| b[8] = 0xFF), illegal((0x1A, 0), None));
}

#[test]
fn n45_too_many_descriptors_are_refused_by_kind() {
    let mut s = setup(1);
    let mut many = list(1, &GOOD);
    many.cscds = vec![cscd(0); 65];
    assert_eq!(s.copy(&many).asc(), Some((0x26, 0x06)));
    let many = list(1, &vec![GOOD[0]; 257]);
    assert_eq!(s.copy(&many).asc(), Some((0x26, 0x08)));
    let most = list(1, &vec![GOOD[0]; 256]);
    assert_eq!(s.copy(&most).status, Status::Good);
    let far_too_many = list(1, &vec![GOOD[0]; 65_535]).emit();
    assert_eq!(s.raw(&far_too_many).asc(), Some((0x1A, 0)));
}

#[test]
fn descriptors_of_other_kinds_are_refused() {
    for kind in [0xE0, 0xE3, 0xE5, 0xEB, 0xFE, 0xFF, 0x00] {
        assert_eq!(refused(|b| b[16] = kind), illegal((0x26, 0x07), None));
    }
    for kind in [
        0x00, 0x01, 0x03, 0x04, 0x05, 0x06, 0x08, 0x0D, 0x14, 0x15, 0xBE, 0xBF,
    ] {
        assert_eq!(refused(|b| b[112] = kind), illegal((0x26, 0x09), None));
    }
}

#[test]
fn n45_inline_data_is_more_than_the_limit_of_none() {
    assert_eq!(refused(|b| b[15] = 1), illegal((0x26, 0x0B), None));
}

#[test]
fn a_segment_that_names_no_descriptor_aborts_the_copy() {
    let wrong = refused(|b| b[112 + 5] = 3);
    assert_eq!(wrong, (SenseKey::CopyAborted, (0x08, 0x04), None));
    let wrong = refused(|b| b[112 + 6..112 + 8].fill(0xF8));
    assert_eq!(wrong, (SenseKey::CopyAborted, (0x08, 0x04), None));
}

#[test]
fn n45_another_device_type_association_or_designator_is_not_the_unit() {
    let other_type = refused(|b| b[17] = 0x05);
    assert_eq!(other_type, (SenseKey::CopyAborted, (0x0D, 0x03), None));
    for (byte, value) in [(16 + 5, 0x13), (16 + 4, 0x02), (16 + 10, 0xFF)] {
        let unknown = refused(|b| b[byte] = value);
        assert_eq!(unknown, (SenseKey::CopyAborted, (0x0D, 0x02), None));
    }
}

#[test]
fn n45_blocks_beyond_the_end_of_a_later_segment_spoil_the_first_one_too() {
    let mut s = setup(1);
    let before = s.snapshot();
    let end = BLOCKS as u64;
    for beyond in [
        segment((0, end), (1, 0), 1),
        segment((0, 0), (1, end - 9), 10),
        segment((0, u64::MAX), (1, 0), 1),
        segment((0, 0), (1, u64::MAX), u16::MAX),
        segment((0, 0), (0, 5), 10),
    ] {
        let reply = s.copy(&list(1, &[GOOD[0], beyond]));
        assert_eq!(reply.status, Status::CheckCondition);
        assert!(s.snapshot() == before);
    }
}

#[test]
fn lid4_lists_have_their_own_header() {
    let mut s = setup(1);
    let mut four = list(0xCAFE_0001, &GOOD);
    four.format = ListFormat::Lid4;
    let before = s.snapshot();
    let bytes = four.emit();
    let mut send = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let cdb = cdb(0x83, 1, 0, bytes.len() as u32);
        let reply = s.bed.command(s.session, 0, &cdb, &bytes, 0);
        (reply.asc(), reply.sense.map(|sense| sense.specific))
    };
    for (byte, value) in [
        (0, 2),
        (3, 0x40),
        (4, 1),
        (14, 1),
        (15, 4),
        (15, 2),
        (16, 0),
        (17, 1),
        (24, 1),
        (41, 1),
    ] {
        let (asc, specific) = send(&|b: &mut Vec<u8>| b[byte] = value);
        assert_eq!(asc, Some((0x26, 0)), "byte {byte}");
        let Some(SenseSpecific::FieldPointer { byte: at, .. }) = specific else {
            panic!("byte {byte}");
        };
        assert_eq!(usize::from(at), if byte == 3 { 2 } else { byte });
    }
    // An identifier that nobody could ask for, of a copy that would outlive its command.
    let nameless = |b: &mut Vec<u8>| {
        (b[1], b[15]) = (0x18, 0x01);
        b[20..24].fill(0);
    };
    assert_eq!(send(&nameless).0, Some((0x26, 0)));
    assert_eq!(send(&|b: &mut Vec<u8>| b.truncate(47)).0, Some((0x1A, 0)));
    assert_eq!(send(&|b: &mut Vec<u8>| b[47] = 1).0, Some((0x26, 0x0B)));
    assert!(s.snapshot() == before);
    assert_eq!(s.copy(&four).status, Status::Good);
}
