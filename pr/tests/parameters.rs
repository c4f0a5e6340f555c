//! Parameter lists and parameter data, byte by byte.

mod common;

use common::*;
use lunforge_core::sense::{Sense, SenseSpecific};
use lunforge_core::status::Status::{CheckCondition, Good};
use lunforge_core::testing::{Bed, Send, doubles::Blank};
use lunforge_core::transport_id::TransportId;
use lunforge_pr::{ReserveOut, ScopeType, Volatile, parse_reserve_out};

const SPEC_I_PT: u8 = 8;

fn parse(service_action: u8, list: &[u8]) -> Result<ReserveOut, Sense> {
    parse_reserve_out(service_action, ScopeType { scope: 0, kind: 1 }, list)
}

/// Additional sense code and the byte of the parameter list that the field pointer gives.
fn error(result: Result<ReserveOut, Sense>) -> (u8, Option<u16>) {
    let sense = result.unwrap_err();
    match sense.specific {
        SenseSpecific::FieldPointer {
            in_cdb: false,
            byte,
            ..
        } => (sense.asc.asc, Some(byte)),
        _ => (sense.asc.asc, None),
    }
}

fn spec_i_pt(ids: &[u8], said: usize) -> Vec<u8> {
    let mut list = Out(REGISTER, 0, 0, 1, SPEC_I_PT).list();
    list.extend((said as u32).to_be_bytes());
    list.extend(ids);
    list
}

fn id(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    TransportId::iscsi(name, [1; 6]).unwrap().emit(&mut bytes);
    bytes
}

fn move_list(port: u16, id: &[u8], said: usize) -> Vec<u8> {
    let mut list = Out(REGISTER_AND_MOVE, 0, 1, 2, 0).list();
    list[17] = 0x03;
    list[18..20].copy_from_slice(&port.to_be_bytes());
    list[20..24].copy_from_slice(&(said as u32).to_be_bytes());
    list.extend(id);
    list
}

#[test]
fn n36_a_list_of_another_length_than_24_is_refused() {
    for action in REGISTER..=REGISTER_AND_MOVE {
        let list = Out(action, 0, 1, 2, 0).list();
        for len in (0..24).chain(25..60) {
            let mut other = list.clone();
            other.resize(len, 0);
            assert_eq!(error(parse(action, &other)), (0x1A, None), "{action} {len}");
        }
        let right = parse(action, &list).is_ok();
        assert_eq!(right, action != REGISTER_AND_MOVE, "{action}");
    }
    assert_eq!(error(parse(REGISTER, &[0; 8193])), (0x1A, None));
}

#[test]
fn n36_the_unit_refuses_such_lists_and_stays_as_it_was() {
    let (unit, reservations) = unit(Blank::default(), Volatile);
    let mut bed = Bed::new(1, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let command = Out(REGISTER, 0, 0, 1, 0);
    for (said, sent) in [
        (0, 0),
        (1, 1),
        (23, 23),
        (25, 25),
        (24, 23),
        (48, 24),
        (9000, 9000),
    ] {
        let mut data_out = command.list();
        data_out.resize(sent, 0);
        let cdb = command.cdb(said).to_vec();
        let tag = bed.send(
            a,
            Send {
                cdb,
                data_out,
                ..Send::default()
            },
        );
        let reply = bed.wait(a, tag);
        assert_eq!(
            (reply.status, reply.asc()),
            (CheckCondition, Some((0x1A, 0))),
            "{said} {sent}"
        );
    }
    assert!(reservations.snapshot().registrants().is_empty());
    // More than the CDB says is the initiator's residual, not the command's concern.
    good(&mut bed, a, &command);
}

#[test]
fn spec_i_pt_is_for_register_only() {
    for action in RESERVE..=REGISTER_AND_IGNORE {
        let list = Out(action, 0, 1, 2, SPEC_I_PT).list();
        assert_eq!(error(parse(action, &list)), (0x26, Some(20)), "{action}");
    }
    // APTPL and ALL_TG_PT are ignored where they have no meaning.
    for action in RESERVE..=PREEMPT_AND_ABORT {
        assert!(parse(action, &Out(action, 0, 1, 2, 5).list()).is_ok());
    }
}

#[test]
fn n37_n38_a_list_of_transport_ids_is_read_to_its_end() {
    let (a, b) = (
        id("iqn.2026-11.org.example:a"),
        id("iqn.2026-11.org.example:b"),
    );
    let ids = [&a[..], &b].concat();
    let Ok(ReserveOut::Register {
        initiators: Some(found),
        ..
    }) = parse(REGISTER, &spec_i_pt(&ids, ids.len()))
    else {
        panic!("a good list");
    };
    assert_eq!(
        found.iter().map(|l| l.offset).collect::<Vec<_>>(),
        [28, 28 + a.len() as u16]
    );
    // Too short, too long, no multiple of four, empty, and without the length.
    for said in [
        0,
        ids.len() - 4,
        ids.len() + 4,
        ids.len() - 1,
        usize::from(u16::MAX),
    ] {
        assert_eq!(
            error(parse(REGISTER, &spec_i_pt(&ids, said))).0,
            0x1A,
            "{said}"
        );
    }
    let cut = &ids[..ids.len() - 4];
    assert_eq!(
        error(parse(REGISTER, &spec_i_pt(cut, cut.len()))),
        (0x1A, None),
        "the second is cut"
    );
    assert_eq!(error(parse(REGISTER, &spec_i_pt(&[], 0))), (0x26, Some(24)));
    assert_eq!(
        error(parse(REGISTER, &Out(REGISTER, 0, 0, 1, SPEC_I_PT).list())),
        (0x1A, None)
    );
    // The second one is malformed, each time in another way.
    let second = 28 + a.len() as u16;
    type Spoil = fn(&mut [u8]);
    let malformed: [(Spoil, u16); 4] = [
        (|id| id[0] = 0x85, second),
        (|id| id[3] = 21, second + 2),
        (|id| id[4..].fill(b'x'), second + 4),
        (|id| id[4] = b',', second + 4),
    ];
    for (spoil, byte) in malformed {
        let mut ids = ids.clone();
        spoil(&mut ids[a.len()..]);
        assert_eq!(
            error(parse(REGISTER, &spec_i_pt(&ids, ids.len()))),
            (0x26, Some(byte))
        );
    }
}

#[test]
fn n36_register_and_move_has_exactly_one_transport_id() {
    let d = id("iqn.2026-11.org.example:d");
    let list = move_list(7, &d, d.len());
    let Ok(ReserveOut::RegisterAndMove {
        unregister,
        aptpl,
        port,
        initiator,
        ..
    }) = parse(REGISTER_AND_MOVE, &list)
    else {
        panic!("a good list");
    };
    assert_eq!(
        (unregister, aptpl, port, initiator.offset),
        (true, true, 7, 24)
    );
    let two = [&d[..], &d].concat();
    let wrong = [
        move_list(7, &d, d.len() + 4),
        move_list(7, &d, d.len() - 4),
        move_list(7, &d, 0),
        move_list(7, &two, two.len()),
        move_list(7, &d[..20], 20),
        list[..list.len() - 1].to_vec(),
    ];
    for list in wrong {
        assert_eq!(error(parse(REGISTER_AND_MOVE, &list)).0, 0x1A, "{list:?}");
    }
}

#[test]
fn n31_persistent_reserve_in_is_cut_to_the_allocation_length_and_tells_the_true_one() {
    let (unit, _) = unit(Blank::default(), Volatile);
    let mut bed = Bed::new(1, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(0, "iqn.2026-11.org.example:b");
    good(&mut bed, a, &Out(REGISTER, 0, 0, 0x0102_0304_0506_0708, 0));
    good(&mut bed, b, &Out(REGISTER, 0, 0, 2, 0));
    good(&mut bed, a, &Out(RESERVE, 5, 0x0102_0304_0506_0708, 0, 0));
    let full = |bed: &mut Bed, action| reserve_in(bed, a, action, 4096).data;
    let keys = [
        [0, 0, 0, 2, 0, 0, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8],
        [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(full(&mut bed, 0), keys.concat()[..24]);
    let reservation = [
        0, 0, 0, 2, 0, 0, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 5, 0, 0,
    ];
    assert_eq!(full(&mut bed, 1), reservation);
    // CRH, SIP_C, ATP_C; TMV, ALLOW COMMANDS 100b; all six types.
    assert_eq!(full(&mut bed, 2), [0, 8, 0x1C, 0xC0, 0xEA, 0x01, 0, 0]);
    let status = full(&mut bed, 3);
    let (first, len) = (&status[8..], id("iqn.2026-11.org.example:a").len());
    assert_eq!(status[..8], [0, 0, 0, 2, 0, 0, 0, (2 * (24 + len)) as u8]);
    assert_eq!(first[..14], [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 1, 5]);
    assert_eq!(first[14..24], [0, 0, 0, 0, 0, 1, 0, 0, 0, len as u8]);
    let mut transport_id = Vec::new();
    TransportId::iscsi("iqn.2026-11.org.example:a", [0; 6])
        .unwrap()
        .emit(&mut transport_id);
    assert_eq!(first[24..24 + len], transport_id);
    for action in 0..4 {
        let all = full(&mut bed, action);
        for alloc in 0..=all.len() as u16 + 2 {
            let reply = reserve_in(&mut bed, a, action, alloc);
            assert_eq!(reply.status, Good);
            assert_eq!(reply.data, all[..all.len().min(alloc.into())]);
        }
    }
    assert_eq!(reserve_in(&mut bed, a, 4, 8).asc(), Some((0x24, 0)));
    assert_eq!(
        out(&mut bed, a, &Out(8, 0, 1, 2, 0)).asc(),
        Some((0x24, 0)),
        "REPLACE LOST RESERVATION"
    );
}

#[test]
fn all_registrants_report_no_single_holder() {
    let (unit, _) = unit(Blank::default(), Volatile);
    let mut bed = Bed::new(1, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    let b = bed.session(0, "iqn.2026-11.org.example:b");
    good(&mut bed, a, &Out(REGISTER, 0, 0, 1, 0));
    good(&mut bed, b, &Out(REGISTER, 0, 0, 2, 0));
    good(&mut bed, a, &Out(RESERVE, 8, 1, 0, 0));
    let reservation = reserve_in(&mut bed, b, 1, 100).data;
    assert_eq!(
        reservation[8..],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]
    );
    let status = reserve_in(&mut bed, b, 3, 1000).data;
    let len = 24 + usize::from(status[8 + 23]);
    for descriptor in status[8..].chunks(len) {
        assert_eq!(descriptor[12..14], [1, 8]);
    }
}

#[test]
fn n49_third_party_and_extent_forms_of_reserve_and_release_are_refused() {
    let (unit, _) = unit(Blank::default(), Volatile);
    let mut bed = Bed::new(1, unit);
    let a = bed.session(0, "iqn.2026-11.org.example:a");
    for opcode in [0x16, 0x17] {
        for byte_1 in [0x01, 0x10] {
            let reply = bed.command(a, 0, &[opcode, byte_1, 0, 0, 0, 0], &[], 0);
            assert_eq!(reply.asc(), Some((0x24, 0)));
        }
    }
    for opcode in [0x56, 0x57] {
        for byte_1 in [0x01, 0x02, 0x10] {
            let reply = bed.command(a, 0, &[opcode, byte_1, 0, 0, 0, 0, 0, 0, 0, 0], &[], 0);
            assert_eq!(reply.asc(), Some((0x24, 0)));
        }
        assert_eq!(
            status(&mut bed, a, &[opcode, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Good
        );
    }
}
