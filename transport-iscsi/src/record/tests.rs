use std::time::{Duration, Instant, UNIX_EPOCH};

use super::*;
use crate::proto::pdu::{BHS_LEN, opcode};

const LIMITS: TapLimits = TapLimits {
    pdus: 8,
    bytes: 1000,
    data: 16,
};

fn header(opcode: u8, data: usize) -> [u8; BHS_LEN] {
    let mut bhs = [opcode; BHS_LEN];
    bhs[4..8].copy_from_slice(&(data as u32).to_be_bytes());
    bhs
}

/// Direction, bytes on the wire and bytes kept of each PDU.
fn seen(tap: &mut Tap) -> Vec<(Direction, usize, usize)> {
    let snapshot = tap.snapshot();
    let pdus = snapshot.pdus();
    pdus.map(|pdu| (pdu.direction, pdu.wire_len, pdu.bytes.len()))
        .collect()
}

#[test]
fn a_pdu_stands_where_its_header_came_however_slow_its_data_is() {
    let (mut tap, now) = (Tap::new(LIMITS), Instant::now());
    tap.received_header(now, &header(opcode::SCSI_COMMAND, 12), 12, 60);
    tap.received_data(&[1; 5]);
    assert_eq!(tap.sending(now, &header(opcode::R2T, 0), 0, 48), 0);
    let unfinished = [(Direction::Received, 60, 53), (Direction::Sent, 48, 48)];
    assert_eq!(seen(&mut tap), unfinished);
    tap.received_data(&[2; 7]);
    tap.received_end(&[]);
    let finished = [(Direction::Received, 60, 60), (Direction::Sent, 48, 48)];
    assert_eq!(seen(&mut tap), finished);
}

#[test]
fn data_is_cut_and_headers_are_not() {
    let (mut tap, now) = (Tap::new(LIMITS), Instant::now());
    let head = [header(opcode::DATA_OUT, 17).as_slice(), &[0; 100]].concat();
    tap.received_header(now, &head, 17, 148 + 20);
    assert!(tap.wants_data());
    tap.received_data(&[7; 17]);
    assert!(!tap.wants_data());
    tap.received_end(&[0; 3]);
    assert_eq!(
        tap.sending(now, &header(opcode::DATA_IN, 400), 400, 448),
        16
    );
    tap.sent_part(&[9; 16]);
    let wanted = [
        (Direction::Received, 168, 148 + 16),
        (Direction::Sent, 448, 48 + 16),
    ];
    assert_eq!(seen(&mut tap), wanted);
    let bytes: Vec<_> = tap
        .snapshot()
        .pdus()
        .flat_map(|p| p.bytes.to_vec())
        .collect();
    assert_eq!(
        (&bytes[148..164], &bytes[212..]),
        (&[7; 16][..], &[9; 16][..])
    );
}

#[test]
fn a_pdu_that_is_larger_than_the_ring_is_cut_to_it() {
    let limits = TapLimits {
        data: usize::MAX,
        ..LIMITS
    };
    let (mut tap, now) = (Tap::new(limits), Instant::now());
    tap.received_header(now, &header(opcode::DATA_OUT, 5000), 5000, 5048);
    tap.received_data(&[7; 5000]);
    tap.received_end(&[]);
    assert_eq!(seen(&mut tap), [(Direction::Received, 5048, 1000)]);
}

#[test]
fn bytes_that_were_forgotten_still_count_in_their_stream() {
    let (mut tap, now) = (Tap::new(LIMITS), Instant::now());
    for _ in 0..100 {
        tap.received_header(now, &header(opcode::NOP_OUT, 0), 0, 48);
        tap.sending(now, &header(opcode::NOP_IN, 4), 4, 52);
        tap.sent_part(&[0; 4]);
    }
    let snapshot = tap.snapshot();
    assert_eq!(snapshot.pdus().count(), 8);
    assert_eq!(
        (snapshot.received_before, snapshot.sent_before),
        (96 * 48, 96 * 52)
    );
}

#[test]
fn a_recording_of_a_login_holds_no_proof_of_identity() {
    let (mut tap, now) = (
        Tap::new(TapLimits {
            bytes: 4096,
            ..LIMITS
        }),
        Instant::now(),
    );
    let text = b"CHAP_N=alice\0CHAP_R=0xdeadbeef\0";
    for (direction, opcode) in [
        (Direction::Received, opcode::LOGIN_REQUEST | 0x40),
        (Direction::Sent, opcode::LOGIN_RESPONSE),
        // The same bytes where they do not belong.
        (Direction::Received, opcode::TEXT_REQUEST),
    ] {
        let mut bhs = header(opcode, text.len());
        bhs[1] = 0;
        let wire = [&bhs[..], text, &[0; 1]].concat();
        tap.login(now, direction, &wire);
    }
    let kept: Vec<u8> = tap
        .snapshot()
        .pdus()
        .flat_map(|p| p.bytes.to_vec())
        .collect();
    assert_eq!(kept.len(), 3 * (48 + 32));
    assert!(!kept.windows(4).any(|bytes| bytes == b"dead"));
    assert!(
        kept.windows(19)
            .any(|bytes| bytes == b"CHAP_R=**********\0\0")
    );
    assert!(kept.windows(6).any(|bytes| bytes == b"alice\0"));
}

#[test]
fn the_first_incident_stands_until_it_is_taken() {
    let mut tap = Tap::new(LIMITS);
    tap.note(Incident::Rejected(4));
    tap.note(Incident::Ended);
    assert_eq!(tap.take_incident(), Some(Incident::Rejected(4)));
    assert_eq!(tap.take_incident(), None);
}

fn about() -> About {
    About {
        peer: "10.0.0.2:50000".parse().unwrap(),
        local: "10.0.0.1:3260".parse().unwrap(),
        initiator: "iqn.x:\u{1b}[2Jbell\u{7}".into(),
        target: "iqn.2026-11.org.example:disk".into(),
        isid: [0x80, 0, 0, 0, 0, 1],
        tsih: 7,
        cid: 0,
    }
}

/// The captured bytes and the length on the wire of each packet of a file of ours.
fn packets(file: &[u8]) -> Vec<(Vec<u8>, usize)> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut found) = (0, Vec::new());
    while at < file.len() {
        if word(at) == 6 {
            found.push((
                file[at + 28..at + 28 + word(at + 20)].to_vec(),
                word(at + 24),
            ));
        }
        at += word(at + 4);
    }
    found
}

#[test]
fn sequence_numbers_go_on_over_cut_and_split_pdus() {
    let (mut tap, now) = (Tap::new(LIMITS), Instant::now());
    tap.received_header(now, &header(opcode::DATA_OUT, 200_000), 200_000, 200_048);
    tap.received_data(&[7; 200]);
    tap.received_end(&[]);
    tap.sending(now, &header(opcode::SCSI_RESPONSE, 0), 0, 48);
    tap.received_header(now, &header(opcode::NOP_OUT, 0), 0, 48);
    let moment = Moment {
        monotonic: now,
        since_boot: Duration::from_secs(1),
        wall: UNIX_EPOCH + Duration::from_secs(1000),
    };
    let file = pcapng(&tap.snapshot(), &about(), Incident::Asked, moment);
    let packets = packets(&file);
    let number =
        |packet: &[u8], at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    let lengths: Vec<_> = packets
        .iter()
        .map(|(packet, len)| (packet.len(), *len))
        .collect();
    let first = 61_440 + 40;
    assert_eq!(lengths[0], (40 + 48 + 16, first));
    assert_eq!(
        lengths[1..4],
        [(40, first), (40, first), (40, 200_048 - 3 * 61_440 + 40)]
    );
    let numbers: Vec<_> = packets
        .iter()
        .map(|(packet, _)| (number(packet, 24), number(packet, 28)))
        .collect();
    assert_eq!(
        numbers[..4],
        [(1, 1), (61_441, 1), (122_881, 1), (184_321, 1)]
    );
    assert_eq!(numbers[4..], [(1, 200_049), (200_049, 49)]);
    // What the peer says of itself is escaped.
    assert!(!file.contains(&0x1b) && file.windows(4).any(|bytes| bytes == b"bell"));
}
