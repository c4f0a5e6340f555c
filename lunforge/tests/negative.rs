//! Negative tests over a whole unit: disk, reservations and what else [`Unit`] puts together, without a wire.

use std::sync::Arc;

use lunforge::Unit;
use lunforge::core::cdb::table::{TABLE, rows};
use lunforge::core::cdb::{Direction, OpcodeEntry};
use lunforge::core::status::Status;
use lunforge::core::testing::{Bed, Reply, Send, Session};
use lunforge::core::tmf::Function;
use lunforge::vdisk::Vdisk;
use lunforge::vdisk::store::RamStore;

const BLOCK: usize = 512;
/// More than any parameter data here.
const ROOM: usize = 4096;

fn bed() -> (Bed, Session) {
    let disk = Vdisk::store(Arc::new(RamStore::new(1 << 20)))
        .serial("negative")
        .thin(true)
        .removable(true)
        .open()
        .unwrap();
    let mut bed = Bed::new(1, Unit::new(disk));
    let session = bed.session(0, "iqn.2026-11.org.example:a");
    (bed, session)
}

/// The place of ALLOCATION LENGTH in commands that have one: first byte and number of bytes.
fn allocation_length(row: &OpcodeEntry) -> Option<(usize, usize)> {
    Some(match row.opcode {
        // READ BUFFER counts in three bytes, READ DEFECT DATA (12) and the reports in four.
        0x03 | 0x1A => (4, 1),
        0x12 | 0x1C => (3, 2),
        0x3C => (6, 3),
        0x37 | 0x4D | 0x5A | 0x5E => (7, 2),
        0x84 => (10, 4),
        0x9E if matches!(row.service_action, Some(0x10 | 0x12)) => (10, 4),
        0xA0 | 0xA3 | 0xB7 => (6, 4),
        _ => return None,
    })
}

/// CDBs of every command with parameter data that the unit answers with GOOD, and where their length stands.
fn reports(bed: &mut Bed, session: Session) -> Vec<(Vec<u8>, (usize, usize))> {
    let mut found = Vec::new();
    for row in &TABLE {
        let Some(place) = allocation_length(row) else {
            continue;
        };
        for cdb in variants(row) {
            let cdb = with_length(&cdb, place, ROOM);
            if send(bed, session, &cdb, &[], ROOM).status == Status::Good {
                found.push((cdb, place));
            }
        }
    }
    found
}

/// The command with its pages, modes and formats, as far as they are told apart by a field.
fn variants(row: &OpcodeEntry) -> Vec<Vec<u8>> {
    let mut cdb = vec![0; row.cdb_len()];
    cdb[0] = row.opcode;
    if let Some(action) = row.service_action {
        cdb[1] = action as u8;
    }
    let with = |byte: usize, values: &[u8]| -> Vec<Vec<u8>> {
        let mut one = |&value: &u8| {
            let mut cdb = cdb.clone();
            cdb[byte] |= value;
            cdb
        };
        values.iter().map(&mut one).collect()
    };
    let all: Vec<u8> = (0..=0x3F).collect();
    match row.opcode {
        0x12 => {
            cdb[1] = 1;
            let mut pages: Vec<_> = (0..=0xFF_u8).map(|page| set(&cdb, 2, page)).collect();
            pages.push(set(&cdb, 1, 0));
            pages
        }
        0x1A | 0x5A | 0x4D => with(2, &all),
        0x3C => with(1, &[0x02, 0x03, 0x0A, 0x0B]),
        0x03 => with(1, &[0, 1]),
        0x37 => with(2, &[0x00, 0x08, 0x10, 0x18, 0x1D]),
        0xB7 => with(1, &[0x00, 0x08, 0x10, 0x18, 0x1D]),
        0xA3 if row.service_action == Some(0x0A) => with(1, &[0, 0x20]),
        0xA3 if row.service_action == Some(0x0C) => with(2, &[0, 0x80]),
        0xA3 if row.service_action == Some(0x05) => with(10, &[0, 4, 0xFE]),
        _ => vec![cdb],
    }
}

fn set(cdb: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut cdb = cdb.to_vec();
    cdb[at] = value;
    cdb
}

fn with_length(cdb: &[u8], (at, len): (usize, usize), value: usize) -> Vec<u8> {
    let mut cdb = cdb.to_vec();
    let value = value.min((1_usize << (8 * len)) - 1);
    cdb[at..at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
    cdb
}

fn send(bed: &mut Bed, session: Session, cdb: &[u8], out: &[u8], room: usize) -> Reply {
    let tag = bed.send(
        session,
        Send {
            cdb: cdb.to_vec(),
            data_out: out.to_vec(),
            expected_in: room,
            ..Send::default()
        },
    );
    bed.wait(session, tag)
}

/// Whether the answer changes by itself: counters (log page 19h, General Statistics and Performance) and the clock.
fn goes_on(cdb: &[u8]) -> bool {
    (cdb[0] == 0x4D && cdb[2] & 0x3F == 0x19) || cdb[..2] == [0xA3, 0x0F]
}

/// How long parameter data says it is in its header; `None` where it says nothing.
fn announced(cdb: &[u8], data: &[u8]) -> Option<usize> {
    let short = |at: usize| usize::from(u16::from_be_bytes([data[at], data[at + 1]]));
    let long = |at: usize| (short(at) << 16) + short(at + 2);
    Some(match (cdb[0], cdb[1] & 0x1F) {
        (0x03, _) => 8 + usize::from(data[7]),
        (0x12, 0) => 5 + usize::from(data[4]),
        (0x12, _) | (0x1C | 0x37 | 0x4D, _) => 4 + short(2),
        (0x1A, _) => 1 + usize::from(data[0]),
        (0x5A, _) | (0xA3, 0x0F) => 2 + short(0),
        (0x5E, 2) => short(0),
        (0x5E, _) | (0xA0 | 0xB7, _) => 8 + long(if cdb[0] == 0xA0 { 0 } else { 4 }),
        (0x84, _) | (0x9E, 0x12) | (0xA3, 0x0A) => 4 + long(0),
        (0xA3, 0x0C) if cdb[2] & 7 == 0 => 4 + long(0),
        (0xA3, 0x05) => 4 + short(2),
        _ => return None,
    })
}

#[test]
fn n31_parameter_data_is_cut_to_the_allocation_length_and_says_its_whole_length() {
    let (mut bed, session) = bed();
    let reports = reports(&mut bed, session);
    assert!(
        reports.len() >= 45,
        "only {} commands looked at",
        reports.len()
    );
    for (cdb, place) in reports {
        let whole = send(&mut bed, session, &cdb, &[], ROOM).data;
        let says = announced(&cdb, &whole).unwrap_or(whole.len());
        assert_eq!(says, whole.len(), "{cdb:02x?}: {whole:02x?}");
        // READ BUFFER has as much as there is room; all else is shorter than a block.
        for len in (0..=whole.len().min(BLOCK)).chain([whole.len(), ROOM]) {
            let cdb = with_length(&cdb, place, len);
            let len = len.min((1 << (8 * place.1)) - 1);
            let reply = send(&mut bed, session, &cdb, &[], ROOM);
            assert_eq!(reply.status, Status::Good, "{cdb:02x?}");
            assert_eq!(reply.data.len(), len.min(whole.len()), "{cdb:02x?}");
            assert!(
                goes_on(&cdb) || whole.starts_with(&reply.data),
                "{cdb:02x?}"
            );
        }
    }
}

#[test]
fn n31_without_a_unit_only_three_commands_are_answered_and_those_at_every_length() {
    let (mut bed, session) = bed();
    let reports = reports(&mut bed, session);
    for (cdb, place) in reports {
        for len in (0..=16).chain([ROOM]) {
            let cdb = with_length(&cdb, place, len);
            let tag = bed.send(
                session,
                Send {
                    lun: 9,
                    cdb: cdb.clone(),
                    expected_in: ROOM,
                    ..Send::default()
                },
            );
            let reply = bed.wait(session, tag);
            // INQUIRY and REQUEST SENSE (SPC-4 6.6, 6.39); REPORT LUNS is for LUN 0 and its well known unit.
            match cdb[0] {
                0x12 if cdb[1] & 1 == 0 => assert_eq!(reply.status, Status::Good),
                0x03 => assert_eq!(reply.status, Status::Good),
                0x12 | 0xA0 => assert!(reply.responded && reply.data.len() <= len),
                _ => assert_eq!(reply.asc(), Some((0x25, 0)), "{cdb:02x?}"),
            }
            assert!(reply.data.len() <= len, "{cdb:02x?}");
        }
    }
}

#[test]
fn n33_what_a_report_says_does_not_depend_on_what_lay_in_its_buffer() {
    let (mut bed, session) = bed();
    let reports = reports(&mut bed, session);
    let mut seen: Vec<Vec<Vec<u8>>> = Vec::new();
    for poison in [0xA5, 0x5A] {
        // Reads of every size leave their bytes in every buffer of the pool.
        let data = vec![poison; 128 * BLOCK];
        let cdb = [0x2A, 0, 0, 0, 0, 0, 0, 0, 128, 0];
        assert_eq!(send(&mut bed, session, &cdb, &data, 0).status, Status::Good);
        for blocks in [1, 2, 8, 64, 128] {
            let cdb = [0x28, 0, 0, 0, 0, 0, 0, 0, blocks, 0];
            send(&mut bed, session, &cdb, &[], usize::from(blocks) * BLOCK);
        }
        let ask = |(cdb, _): &(Vec<u8>, _)| send(&mut bed, session, cdb, &[], ROOM).data;
        seen.push(
            reports
                .iter()
                .filter(|(cdb, _)| !goes_on(cdb))
                .map(ask)
                .collect(),
        );
    }
    assert!(seen[0] == seen[1]);
}

#[test]
fn n40_every_opcode_service_action_and_group_is_answered_once_and_the_unit_lives() {
    let (mut bed, session) = bed();
    for opcode in 0..=0xFF_u8 {
        // Those run for long, or take the medium away; they have tests of their own.
        if matches!(opcode, 0x04 | 0x1B | 0x48) {
            continue;
        }
        for second in [0, 1, 2, 5, 8, 0x0A, 0x0C, 0x10, 0x1C, 0x1F, 0x7F, 0xFF] {
            for fill in [0, 1, 0xFF] {
                for len in [6, 10, 12, 16, 32, 260] {
                    let mut cdb = vec![fill; len];
                    (cdb[0], cdb[1]) = (opcode, second);
                    let out = direction(opcode) == Some(Direction::Out);
                    let data = if out { &[0x11; 1024][..] } else { &[] };
                    let reply = send(&mut bed, session, &cdb, data, if out { 0 } else { ROOM });
                    assert!(reply.responded, "{cdb:02x?}");
                    // A bit of the fill was NACA: the unit would answer nothing but ACA ACTIVE.
                    if reply.status == Status::CheckCondition {
                        bed.tmf(session, 0, Function::ClearAca);
                    }
                }
            }
        }
    }
    let inquiry = send(&mut bed, session, &[0x12, 0, 0, 0, 96, 0], &[], 96);
    assert_eq!(inquiry.status, Status::Good);
}

fn direction(opcode: u8) -> Option<Direction> {
    rows(opcode).first().map(|row| row.direction)
}
