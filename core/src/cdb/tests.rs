//! The table against itself, every command's fields, and every opcode with every service action.

use proptest::prelude::*;

use super::table::{TABLE, find, rows};
use super::*;
use crate::asc::Asc;
use crate::sense::{SenseKey, SenseSpecific};
use crate::units::{BlockCount, BlockSize, Lba};

/// The smallest valid CDB of a row.
fn minimal(row: &OpcodeEntry) -> Vec<u8> {
    let mut cdb = vec![0; row.cdb_len()];
    cdb[0] = row.opcode;
    match (row.opcode, row.service_action) {
        (0x7F, Some(action)) => {
            cdb[7] = 0x18;
            cdb[8..10].copy_from_slice(&action.to_be_bytes());
        }
        (_, Some(action)) => cdb[1] = u8::try_from(action).unwrap(),
        (_, None) => {}
    }
    cdb
}

fn parsed(bytes: &[u8]) -> Cdb {
    Cdb::parse(bytes)
        .unwrap_or_else(|sense| panic!("{bytes:02x?}: {sense:?}"))
        .cdb
}

fn field_pointer(bytes: &[u8]) -> (u16, Option<u8>) {
    let sense = Cdb::parse(bytes).unwrap_err();
    assert_eq!(
        (sense.key, sense.asc),
        (SenseKey::IllegalRequest, Asc::INVALID_FIELD_IN_CDB)
    );
    match sense.specific {
        SenseSpecific::FieldPointer {
            in_cdb: true,
            byte,
            bit,
        } => (byte, bit),
        other => panic!("{bytes:02x?}: {other:?}"),
    }
}

#[test]
fn rows_ascend_and_ids_are_their_positions() {
    assert!(TABLE.windows(2).all(|pair| {
        (pair[0].opcode, pair[0].service_action) < (pair[1].opcode, pair[1].service_action)
    }));
    for (at, row) in TABLE.iter().enumerate() {
        assert_eq!(row.id as usize, at);
        assert!(std::ptr::eq(row.id.entry(), row));
        assert!(std::ptr::eq(
            find(row.opcode, row.service_action).unwrap(),
            row
        ));
        assert_eq!(row.class.bits().count_ones(), 1, "{}", row.name);
    }
}

#[test]
fn an_opcode_has_either_service_actions_or_one_row() {
    for opcode in 0..=u8::MAX {
        let rows = rows(opcode);
        assert!(rows.len() <= 1 || rows.iter().all(|row| row.service_action.is_some()));
    }
}

#[test]
fn usage_starts_with_the_opcode_and_its_length_is_that_of_the_group() {
    for row in &TABLE {
        assert_eq!(row.usage[0], row.opcode, "{}", row.name);
        let by_group = match row.opcode >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => 16,
            5 => 12,
            _ => 32,
        };
        assert_eq!(row.cdb_len(), by_group, "{}", row.name);
        if let Some(action) = row.service_action {
            let shown = match row.opcode {
                0x7F => u16::from_be_bytes([row.usage[8], row.usage[9]]),
                _ => (row.usage[1] & 0x1F).into(),
            };
            assert_eq!(shown, action, "{}", row.name);
        }
    }
}

#[test]
fn every_row_parses_and_is_classified_as_itself() {
    for row in &TABLE {
        let cdb = minimal(row);
        let parsed = Cdb::parse(&cdb).unwrap_or_else(|sense| panic!("{}: {sense}", row.name));
        assert_eq!(parsed.entry.id, row.id);
        if let Cdb::Other(id) = parsed.cdb {
            assert_eq!(id, row.id);
        }
        let writes = matches!(row.class, CommandClass::WRITE);
        assert!(
            !writes || row.has(Attributes::WRITES_MEDIUM),
            "{}",
            row.name
        );
    }
}

#[test]
fn each_reserved_bit_alone_is_refused_with_a_pointer_to_it() {
    for row in &TABLE {
        let control = if row.opcode == 0x7F {
            1
        } else {
            row.cdb_len() - 1
        };
        for (byte, usage) in row.usage.iter().enumerate().skip(1) {
            for bit in 0..8u8 {
                let mask = 1 << bit;
                let tolerated = byte == control && mask & 0xC4 != 0;
                let selects = row.service_action.is_some()
                    && match row.opcode {
                        0x7F => byte == 8 || byte == 9,
                        _ => byte == 1 && bit < 5,
                    };
                if usage & mask != 0 || tolerated || selects {
                    continue;
                }
                let mut cdb = minimal(row);
                cdb[byte] |= mask;
                let expect = (u16::try_from(byte).unwrap(), Some(bit));
                assert_eq!(field_pointer(&cdb), expect, "{}", row.name);
            }
        }
    }
}

#[test]
fn naca_is_read_and_vendor_control_bits_are_ignored() {
    let control = |byte| Cdb::parse(&[0, 0, 0, 0, 0, byte]).map(|parsed| parsed.control.naca());
    assert_eq!(control(0x04), Ok(true));
    assert_eq!(control(0xC0), Ok(false));
    assert!(control(0x01).is_err());
    let mut long = minimal(CommandId::Read32.entry());
    long[1] = 0x04;
    assert!(Cdb::parse(&long).unwrap().control.naca());
}

#[test]
fn n40_every_opcode_service_action_and_length_is_answered() {
    let mut unknown = 0;
    for opcode in 0..=u8::MAX {
        unknown += usize::from(rows(opcode).is_empty());
        for action in 0..=u8::MAX {
            let mut cdb = [0u8; 260];
            cdb[0] = opcode;
            cdb[1] = action;
            cdb[9] = action;
            for len in [0, 1, 5, 6, 9, 10, 11, 12, 15, 16, 17, 31, 32, 33, 260] {
                let outcome = Cdb::parse(&cdb[..len]);
                let Err(sense) = outcome else { continue };
                let expect = if len > 0 && rows(opcode).is_empty() {
                    Asc::INVALID_COMMAND_OPERATION_CODE
                } else {
                    Asc::INVALID_FIELD_IN_CDB
                };
                assert_eq!((sense.key, sense.asc), (SenseKey::IllegalRequest, expect));
            }
        }
    }
    assert!(unknown > 128, "vendor specific opcodes have no row");
}

#[test]
fn n40_variable_length_with_bad_additional_length_points_at_it() {
    let mut cdb = minimal(CommandId::Read32.entry());
    for wrong in [0x00, 0x08, 0x10] {
        cdb[7] = wrong;
        assert_eq!(field_pointer(&cdb), (7, None));
    }
    cdb[7] = 0xF8;
    assert_eq!(field_pointer(&cdb).0, 7);
    cdb[8] = 0xFF;
    assert_eq!(field_pointer(&cdb), (8, Some(7)));
}

#[test]
fn unknown_service_action_points_at_the_field() {
    assert_eq!(
        field_pointer(&[0x9E, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (1, Some(4))
    );
}

#[test]
fn short_cdb_is_invalid_field_without_pointer() {
    let sense = Cdb::parse(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap_err();
    assert_eq!(
        (sense.asc, sense.specific),
        (Asc::INVALID_FIELD_IN_CDB, SenseSpecific::None)
    );
}

#[test]
fn unsupported_service_action_is_told_from_unsupported_opcode() {
    let sense = unsupported(CommandId::GetLbaStatus.entry(), |id| {
        id == CommandId::ReadCapacity16
    });
    assert_eq!(sense.asc, Asc::INVALID_FIELD_IN_CDB);
    let sense = unsupported(CommandId::GetLbaStatus.entry(), |_| false);
    assert_eq!(sense.asc, Asc::INVALID_COMMAND_OPERATION_CODE);
}

#[test]
fn n41_length_zero_of_read_6_is_256_blocks_and_nothing_elsewhere() {
    let blocks = |cdb: &[u8]| parsed(cdb).extent().unwrap().1.0;
    assert_eq!(blocks(&[0x08, 0, 0, 0, 0, 0]), 256);
    assert_eq!(blocks(&[0x0A, 0, 0, 0, 0, 0]), 256);
    assert_eq!(blocks(&[0x08, 0, 0, 0, 255, 0]), 255);
    for id in [
        CommandId::Read10,
        CommandId::Read12,
        CommandId::Read16,
        CommandId::Read32,
    ] {
        assert_eq!(blocks(&minimal(id.entry())), 0);
    }
}

#[test]
fn read_fields_of_every_size() {
    let read = |lba, blocks| Cdb::Read {
        lba: Lba(lba),
        blocks: BlockCount(blocks),
        dpo: false,
        fua: true,
        rarc: false,
        protect: 1,
    };
    assert_eq!(
        parsed(&[0x28, 0x28, 0x12, 0x34, 0x56, 0x78, 0x1F, 0xAB, 0xCD, 0]),
        read(0x1234_5678, 0xABCD)
    );
    assert_eq!(
        parsed(&[
            0xA8, 0x28, 0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC, 0xDE, 0xF0, 0, 0
        ]),
        read(0x1234_5678, 0x9ABC_DEF0)
    );
    let mut sixteen = vec![0x88, 0x28];
    sixteen.extend_from_slice(&0x0102_0304_0506_0708u64.to_be_bytes());
    sixteen.extend_from_slice(&[0x11, 0x22, 0x33, 0x44, 0, 0]);
    assert_eq!(parsed(&sixteen), read(0x0102_0304_0506_0708, 0x1122_3344));
    let mut long = minimal(CommandId::Read32.entry());
    long[10] = 0x28;
    long[12..20].copy_from_slice(&0x0102_0304_0506_0708u64.to_be_bytes());
    long[20..28].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    long[28..32].copy_from_slice(&[0x11, 0x22, 0x33, 0x44]);
    assert_eq!(parsed(&long), read(0x0102_0304_0506_0708, 0x1122_3344));
    let tags = ProtectionTags {
        reference: 0x0102_0304,
        application: 0x0506,
        mask: 0x0708,
    };
    assert_eq!(ProtectionTags::of(&long), Some(tags));
    assert_eq!(ProtectionTags::of(&sixteen), None);
    assert_eq!(
        parsed(&[0x08, 0x1F, 0xFF, 0xFE, 0x02, 0]).extent(),
        Some((Lba(0x1F_FFFE), BlockCount(2)))
    );
}

#[test]
fn write_family_fields() {
    let mut cdb = minimal(CommandId::Write10.entry());
    cdb[1] = 0x02;
    assert!(
        matches!(
            parsed(&cdb),
            Cdb::Write {
                fua: true,
                dpo: false,
                ..
            }
        ),
        "FUA_NV counts as FUA"
    );
    let mut cdb = minimal(CommandId::CompareAndWrite.entry());
    cdb[9] = 7;
    cdb[13] = 3;
    assert!(matches!(
        parsed(&cdb),
        Cdb::CompareAndWrite {
            lba: Lba(7),
            blocks: 3,
            ..
        }
    ));
    assert_eq!(parsed(&cdb).data_len(BlockSize::B512), Some(2 * 3 * 512));
    let mut cdb = minimal(CommandId::WriteAtomic16.entry());
    cdb[11] = 4;
    cdb[13] = 8;
    assert!(matches!(
        parsed(&cdb),
        Cdb::WriteAtomic16 {
            boundary: 4,
            blocks: BlockCount(8),
            ..
        }
    ));
    let mut cdb = minimal(CommandId::WriteSame16.entry());
    cdb[1] = 0x09;
    cdb[13] = 1;
    assert!(matches!(
        parsed(&cdb),
        Cdb::WriteSame {
            unmap: true,
            ndob: true,
            anchor: false,
            ..
        }
    ));
    assert_eq!(parsed(&cdb).data_len(BlockSize::B4096), Some(0));
}

#[test]
fn bytchk_decides_the_data_out_of_verify() {
    let len = |bytchk: u8, blocks: u8| {
        let cdb = [0x2F, bytchk << 1, 0, 0, 0, 0, 0, 0, blocks, 0];
        Cdb::parse(&cdb).map(|parsed| parsed.cdb.data_len(BlockSize::B512).unwrap())
    };
    assert_eq!(len(0, 8), Ok(0));
    assert_eq!(len(1, 8), Ok(4096));
    assert_eq!(len(3, 8), Ok(512));
    assert_eq!(len(3, 0), Ok(0));
    assert_eq!(len(2, 8), Err(Sense::invalid_field_in_cdb(1, Some(2))));
    assert_eq!(
        field_pointer(&[0x2E, 0x06, 0, 0, 0, 0, 0, 0, 1, 0]),
        (1, Some(2))
    );
}

#[test]
fn inquiry_page_code_without_evpd_is_refused() {
    assert_eq!(
        parsed(&[0x12, 0, 0, 1, 4, 0]),
        Cdb::Inquiry {
            vpd: None,
            alloc: 260
        }
    );
    assert_eq!(
        parsed(&[0x12, 1, 0x83, 0, 255, 0]),
        Cdb::Inquiry {
            vpd: Some(0x83),
            alloc: 255
        }
    );
    assert_eq!(field_pointer(&[0x12, 0, 0x83, 0, 255, 0]), (2, Some(7)));
    assert_eq!(field_pointer(&[0x12, 2, 0, 0, 255, 0]), (1, Some(1)));
}

#[test]
fn read_capacity_takes_an_lba_only_with_pmi() {
    assert_eq!(
        field_pointer(&[0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
        (2, Some(7))
    );
    assert_eq!(
        parsed(&[0x25, 0, 0, 0, 0, 1, 0, 0, 1, 0]),
        Cdb::ReadCapacity10
    );
    let mut cdb = minimal(CommandId::ReadCapacity16.entry());
    cdb[13] = 32;
    assert_eq!(parsed(&cdb), Cdb::ReadCapacity16 { alloc: 32 });
    cdb[9] = 1;
    assert_eq!(field_pointer(&cdb), (2, Some(7)));
}

#[test]
fn start_and_allow_are_milder_than_stop_and_prevent() {
    let class = |cdb: [u8; 6]| Cdb::parse(&cdb).unwrap().class;
    assert_eq!(class([0x1B, 0, 0, 0, 0x01, 0]), CommandClass::START);
    assert_eq!(class([0x1B, 0, 0, 0, 0x00, 0]), CommandClass::STOP);
    assert_eq!(class([0x1B, 0, 0, 0, 0x11, 0]), CommandClass::STOP);
    assert_eq!(class([0x1E, 0, 0, 0, 0x00, 0]), CommandClass::ALLOW_REMOVAL);
    assert_eq!(
        class([0x1E, 0, 0, 0, 0x01, 0]),
        CommandClass::PREVENT_REMOVAL
    );
}

#[test]
fn mode_and_log_fields() {
    assert_eq!(
        parsed(&[0x5A, 0x18, 0x8A, 0x01, 0, 0, 0, 0x01, 0x00, 0]),
        Cdb::ModeSense {
            dbd: true,
            llbaa: true,
            pc: PageControl::Default,
            page: 0x0A,
            subpage: 1,
            alloc: 256,
            ten: true,
        }
    );
    assert_eq!(
        parsed(&[0x15, 0x11, 0, 0, 24, 0]),
        Cdb::ModeSelect {
            pf: true,
            sp: true,
            parameter_list_len: 24,
            ten: false
        }
    );
    assert_eq!(
        field_pointer(&[0x15, 0x02, 0, 0, 24, 0]),
        (1, Some(1)),
        "RTD is not supported"
    );
    assert_eq!(
        parsed(&[0x4D, 0, 0x4D, 0, 0, 0x01, 0x02, 0, 64, 0]),
        Cdb::LogSense {
            sp: false,
            pc: PageControl::Changeable,
            page: 0x0D,
            subpage: 0,
            pointer: 0x0102,
            alloc: 64,
        }
    );
}

#[test]
fn reservation_and_port_group_fields() {
    assert_eq!(
        parsed(&[0x5F, 0x05, 0x03, 0, 0, 0, 0, 0, 24, 0]),
        Cdb::PersistentReserveOut {
            service_action: 5,
            scope: 0,
            kind: 3,
            parameter_list_len: 24
        }
    );
    assert_eq!(
        parsed(&[0x5E, 0x03, 0, 0, 0, 0, 0, 0x20, 0, 0]),
        Cdb::PersistentReserveIn {
            service_action: 3,
            alloc: 8192
        }
    );
    assert_eq!(
        parsed(&[0xA3, 0x2A, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
        Cdb::ReportTargetPortGroups {
            extended: true,
            alloc: 256
        }
    );
    assert_eq!(
        field_pointer(&[0xA3, 0x4A, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
        (1, Some(7))
    );
    assert_eq!(
        field_pointer(&[0x16, 0x10, 0, 0, 0, 0]),
        (1, Some(4)),
        "third-party RESERVE"
    );
}

#[test]
fn copy_and_buffer_fields() {
    let mut cdb = minimal(CommandId::ReceiveCopyStatusLid4.entry());
    cdb[2..6].copy_from_slice(&[1, 2, 3, 4]);
    cdb[13] = 64;
    assert_eq!(
        parsed(&cdb),
        Cdb::ReceiveCopyResults {
            service_action: 5,
            list_id: 0x0102_0304,
            alloc: 64
        }
    );
    assert_eq!(
        parsed(&[0x3C, 0x0A, 0, 0, 0, 0, 0x01, 0, 0, 0]),
        Cdb::ReadBuffer {
            mode: 0x0A,
            mode_specific: 0,
            id: 0,
            offset: 0,
            alloc: 0x1_0000
        }
    );
}

#[test]
fn n47_report_supported_operation_codes_covers_all_options() {
    let all = |_: CommandId| true;
    let refused = Err(Sense::invalid_field_in_cdb(2, Some(2)));
    let unsupported = Ok(vec![0, 1, 0, 0]);
    assert_eq!(
        rsoc::respond(None, 1, 0x9E, 0, all),
        refused,
        "opcode has service actions"
    );
    assert_eq!(
        rsoc::respond(None, 2, 0x28, 0, all),
        refused,
        "opcode has none"
    );
    for options in 4..=7 {
        assert_eq!(rsoc::respond(None, options, 0x28, 0, all), refused);
    }
    assert_eq!(rsoc::respond(None, 1, 0xFF, 0, all), unsupported);
    assert_eq!(rsoc::respond(None, 2, 0x9E, 0xFFFF, all), unsupported);
    assert_eq!(rsoc::respond(None, 2, 0x7F, 0xFFFF, all), unsupported);
    assert_eq!(rsoc::respond(None, 3, 0x28, 1, all), unsupported);
    assert_eq!(
        rsoc::respond(Some(&Default::default()), 1, 0x28, 0, |_| false),
        unsupported
    );
    let inquiry = rsoc::respond(None, 3, 0x12, 0, all).unwrap();
    assert_eq!(inquiry, [0, 3, 0, 6, 0x12, 1, 0xFF, 0xFF, 0xFF, 4]);
    let timed = rsoc::respond(Some(&Default::default()), 2, 0x9E, 0x10, all).unwrap();
    assert_eq!(timed.len(), 4 + 16 + 12);
    assert_eq!(timed[..6], [0, 0x83, 0, 16, 0x9E, 0x10]);
    assert_eq!(timed[20..22], [0, 0x0A]);
}

#[test]
fn report_of_all_commands_lists_exactly_the_supported_ones() {
    for (rctd, each) in [(false, 8), (true, 20)] {
        let out = rsoc::emit_all(
            |id| matches!(id, CommandId::Inquiry | CommandId::ReadCapacity16),
            rctd.then_some(&crate::deadline::Ladder::linux()),
        );
        assert_eq!(out[..4], u32::try_from(2 * each).unwrap().to_be_bytes());
        assert_eq!(out.len(), 4 + 2 * each);
        let flag = if rctd { 2 } else { 0 };
        assert_eq!(out[4..12], [0x12, 0, 0, 0, 0, flag, 0, 6]);
        assert_eq!(
            out[4 + each..12 + each],
            [0x9E, 0, 0, 0x10, 0, flag | 1, 0, 16]
        );
    }
}

#[test]
fn data_lengths_agree_with_the_direction_of_the_row() {
    for row in &TABLE {
        let mut cdb = minimal(row);
        if row.opcode != 0x12 {
            // Lengths all ones where the row has a length.
            for (byte, usage) in cdb.iter_mut().zip(row.usage).skip(4) {
                *byte |= if *usage == 0xFF { 0x01 } else { 0 };
            }
        }
        let Ok(parsed) = Cdb::parse(&cdb) else {
            continue;
        };
        if row.direction == Direction::None && !matches!(parsed.cdb, Cdb::Other(_)) {
            assert_eq!(
                parsed.cdb.data_len(BlockSize::B512),
                Some(0),
                "{}",
                row.name
            );
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused_with_a_pointer_inside_the_cdb(
        row in 0..TABLE.len(),
        noise in prop::collection::vec(any::<u8>(), 0..48),
        keep in any::<bool>(),
    ) {
        let mut cdb = noise;
        if keep {
            let minimal = minimal(&TABLE[row]);
            cdb.resize(minimal.len().max(cdb.len()), 0);
            for (at, byte) in minimal.iter().enumerate() {
                cdb[at] = byte | (cdb[at] & TABLE[row].usage[at]);
            }
        }
        match Cdb::parse(&cdb) {
            Ok(parsed) => {
                let _ = parsed.cdb.data_len(BlockSize::B4096);
                prop_assert!(parsed.entry.cdb_len() <= cdb.len());
            }
            Err(sense) => if let SenseSpecific::FieldPointer { byte, .. } = sense.specific {
                prop_assert!(usize::from(byte) < cdb.len());
            },
        }
    }

    #[test]
    fn bytes_beyond_the_cdb_are_not_looked_at(tail in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut cdb = vec![0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0];
        let plain = parsed(&cdb);
        cdb.extend(tail);
        prop_assert_eq!(parsed(&cdb), plain);
    }
}
