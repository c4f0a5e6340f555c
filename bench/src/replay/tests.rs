use super::pdus::RecordedPdu;
use super::*;
use crate::initiator::pdu::{Header, Pdu, opcode};
use crate::initiator::{Digests, Lun};

/// A pcap file of raw IPv4 packets, as tcpdump would write it.
struct File(Vec<u8>);

impl File {
    fn new() -> Self {
        let mut file = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
        file.extend([
            2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0,
        ]);
        Self(file)
    }

    /// A segment with `payload`, of which `captured` bytes were captured.
    fn packet(&mut self, to_target: bool, sequence: u32, payload: &[u8], captured: usize) {
        let total = (40 + payload.len()) as u16;
        let (from, to) = if to_target { (2, 1) } else { (1, 2) };
        let (source, destination) = if to_target {
            (50_000u16, 3260u16)
        } else {
            (3260, 50_000)
        };
        let mut packet = vec![0x45, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
        packet.extend(source.to_be_bytes());
        packet.extend(destination.to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(&payload[..captured]);
        self.0.extend([0; 8]);
        self.0.extend((packet.len() as u32).to_le_bytes());
        self.0.extend(u32::from(total).to_le_bytes());
        self.0.extend(packet);
    }
}

fn pdu(code: u8, data: usize, digests: Digests) -> Vec<u8> {
    let mut header = Header::new(code);
    header
        .put_flags(0x80)
        .put_lun(Lun::from(0).0)
        .put_word(16, 7);
    let mut wire = Vec::new();
    Pdu::new(header, vec![0x5a; data]).emit(digests, &mut wire);
    wire
}

fn opcodes(pdus: &[RecordedPdu]) -> Vec<(bool, u8, usize, usize)> {
    let one = |p: &RecordedPdu| {
        (
            p.from_initiator,
            p.header.opcode(),
            p.data.len(),
            p.missing(),
        )
    };
    pdus.iter().map(one).collect()
}

#[test]
fn a_session_is_read_whatever_its_digests_are_and_however_it_is_cut_into_packets() {
    for (header, data) in [(false, false), (true, false), (false, true), (true, true)] {
        let digests = Digests { header, data };
        let none = Digests::default();
        let ours = [
            pdu(opcode::LOGIN_REQUEST, 5, none),
            pdu(opcode::SCSI_COMMAND, 513, digests),
            pdu(opcode::NOP_OUT, 0, digests),
        ]
        .concat();
        let theirs = [
            pdu(opcode::LOGIN_RESPONSE, 9, none),
            pdu(opcode::SCSI_RESPONSE, 0, digests),
        ]
        .concat();
        for size in [1, 7, 48, 1000] {
            let mut file = File::new();
            let base = u32::MAX - 30;
            for (i, part) in ours.chunks(size).enumerate() {
                let sequence = base.wrapping_add((i * size) as u32);
                file.packet(true, sequence, part, part.len());
                // Once more, as after a lost acknowledgement.
                file.packet(true, sequence, part, part.len());
            }
            for (i, part) in theirs.chunks(size).enumerate() {
                file.packet(false, (i * size) as u32, part, part.len());
            }
            let found = read(&file.0).unwrap();
            assert_eq!(found.len(), 1);
            let wanted = [
                (true, opcode::LOGIN_REQUEST, 5, 0),
                (true, opcode::SCSI_COMMAND, 513, 0),
                (true, opcode::NOP_OUT, 0, 0),
                (false, opcode::LOGIN_RESPONSE, 9, 0),
                (false, opcode::SCSI_RESPONSE, 0, 0),
            ];
            assert_eq!(opcodes(&found[0].pdus), wanted, "{digests:?} {size}");
            assert!(found[0].has_login() && !found[0].lost);
        }
    }
}

#[test]
fn what_was_cut_is_missing_and_what_follows_is_in_its_place() {
    let mut file = File::new();
    let wire = pdu(opcode::DATA_OUT, 1000, Digests::default());
    file.packet(true, 100, &wire, 48 + 16);
    let next = pdu(opcode::NOP_OUT, 0, Digests::default());
    file.packet(true, 100 + wire.len() as u32, &next, 48);
    file.packet(false, 1, &pdu(opcode::NOP_IN, 0, Digests::default()), 48);
    let found = read(&file.0).unwrap();
    let wanted = [
        (true, opcode::DATA_OUT, 16, 984),
        (true, opcode::NOP_OUT, 0, 0),
        (false, opcode::NOP_IN, 0, 0),
    ];
    assert_eq!(opcodes(&found[0].pdus), wanted);
    assert!(!found[0].has_login());
}

#[test]
fn a_gap_ends_the_conversation_and_is_told() {
    let mut file = File::new();
    let wire = pdu(opcode::NOP_OUT, 0, Digests::default());
    file.packet(true, 0, &wire, 48);
    file.packet(true, 96, &wire, 48);
    let found = read(&file.0).unwrap();
    assert_eq!((found[0].pdus.len(), found[0].lost), (1, true));
}

#[test]
fn what_is_no_recording_is_refused_with_a_reason() {
    assert_eq!(read(b"").unwrap_err(), ReadError::Format);
    assert_eq!(
        read(b"GET / HTTP/1.1\r\n\r\n").unwrap_err(),
        ReadError::Format
    );
    let mut file = File::new();
    assert_eq!(
        read(&file.0).unwrap_err(),
        ReadError::NoSession { packets: 0 }
    );
    file.packet(
        true,
        0,
        b"GET / HTTP/1.1\r\n\r\n                              ",
        48,
    );
    assert!(matches!(read(&file.0), Err(ReadError::NoSession { .. })));
}

#[test]
fn no_file_makes_the_reader_panic() {
    let mut file = File::new();
    let wire = pdu(opcode::SCSI_COMMAND, 100, Digests::default());
    file.packet(true, 0, &wire, wire.len());
    file.packet(
        false,
        0,
        &pdu(opcode::SCSI_RESPONSE, 20, Digests::default()),
        68,
    );
    let whole = file.0;
    for cut in 0..whole.len() {
        let _ = read(&whole[..cut]);
    }
    let mut x = 0x1234_5678_9abc_def1u64;
    for _ in 0..20_000 {
        let mut bad = whole.clone();
        for _ in 0..4 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let at = x as usize % bad.len();
            bad[at] = (x >> 32) as u8;
        }
        let _ = read(&bad);
    }
}
