//! Every command of the opcode table against the tables of the standards, for every type and every kind of nexus.

use lunforge_core::cdb::table::{OpcodeEntry, TABLE};
use lunforge_core::cdb::{Cdb, CommandClass};
use lunforge_core::transport_id::TransportId;
use lunforge_pr::{
    Event, ItNexus, Reservation, ReservationKey, ReservationType, State, allowed, apply,
};
use std::collections::BTreeMap;

/// What the tables say of a command from a nexus without rights: under a write exclusive type, under an exclusive access
/// type (SPC-4 5.13.1, SBC-4 4.17), and while another nexus has reserved the unit by RESERVE (SPC-2 5.5.1).
#[derive(Clone, Copy, PartialEq, Debug)]
struct Row {
    write_exclusive: bool,
    exclusive_access: bool,
    spc2: bool,
}

const fn row(write_exclusive: bool, exclusive_access: bool, spc2: bool) -> Option<Row> {
    Some(Row {
        write_exclusive,
        exclusive_access,
        spc2,
    })
}

/// The tables, by OPERATION CODE and SERVICE ACTION. RESERVE, RELEASE and START STOP UNIT and PREVENT ALLOW MEDIUM
/// REMOVAL with the fields that make them conflict have tests of their own.
fn standard(opcode: u8, service_action: Option<u16>) -> Option<Row> {
    let always = row(true, true, true);
    let never = row(false, false, false);
    let reads = row(true, false, false);
    match (opcode, service_action) {
        // SPC-4. Those that SPC-2 had are in its column as it says, later ones as what they replace.
        (0x00, _) => row(true, true, false), // TEST UNIT READY
        (0x03, _) => always,                 // REQUEST SENSE
        (0x12, _) => always,                 // INQUIRY
        (0x15 | 0x55, _) => never,           // MODE SELECT
        (0x1A | 0x5A, _) => reads,           // MODE SENSE
        (0x1C, _) => reads,                  // RECEIVE DIAGNOSTIC RESULTS
        (0x1D, _) => never,                  // SEND DIAGNOSTIC
        (0x3B, _) => never,                  // WRITE BUFFER
        (0x3C, _) => reads,                  // READ BUFFER
        (0x4C, _) => never,                  // LOG SELECT
        (0x4D, _) => always,                 // LOG SENSE
        (0x5E, Some(0..=3)) => row(true, true, false), // PERSISTENT RESERVE IN
        (0x5F, Some(0..=8)) => row(true, true, false), // PERSISTENT RESERVE OUT: see the rules
        (0x83, Some(0x00 | 0x01)) => never,  // EXTENDED COPY
        (0x83, Some(0x10)) => reads,         // POPULATE TOKEN
        (0x83, Some(0x11)) => never,         // WRITE USING TOKEN
        (0x83, Some(0x1C)) => never,         // COPY OPERATION ABORT
        (0x84, Some(0..=8)) => row(true, true, false), // RECEIVE COPY ..., REPORT ALL ROD TOKENS
        (0x86 | 0x87, _) => always,          // ACCESS CONTROL IN, OUT
        (0x8C, _) => reads,                  // READ ATTRIBUTE
        (0x8D, _) => never,                  // WRITE ATTRIBUTE
        (0xA0, _) => always,                 // REPORT LUNS
        (0xA2, _) => reads,                  // SECURITY PROTOCOL IN
        (0xA3, Some(0x05)) => always,        // REPORT IDENTIFYING INFORMATION
        (0xA3, Some(0x0A)) => always,        // REPORT TARGET PORT GROUPS
        (0xA3, Some(0x0B)) => always,        // REPORT ALIASES
        (0xA3, Some(0x0C | 0x0D)) => reads, // REPORT SUPPORTED OPERATION CODES, TASK MANAGEMENT FUNCTIONS
        (0xA3, Some(0x0E | 0x0F)) => always, // REPORT PRIORITY, TIMESTAMP
        (0xA4, Some(0x06 | 0x0A | 0x0B | 0x0E | 0x0F)) => never, // SET ..., CHANGE ALIASES
        (0xAB, Some(0x01)) => always,       // READ MEDIA SERIAL NUMBER
        (0xB5, _) => never,                 // SECURITY PROTOCOL OUT
        // SBC-4
        (0x04 | 0x07, _) => never, // FORMAT UNIT, REASSIGN BLOCKS
        (0x08 | 0x28 | 0xA8 | 0x88, _) => reads, // READ
        (0x0A | 0x2A | 0xAA | 0x8A | 0x9C, _) => never, // WRITE, WRITE ATOMIC
        (0x25, _) => always,       // READ CAPACITY (10)
        (0x2E | 0xAE | 0x8E, _) => never, // WRITE AND VERIFY
        (0x2F | 0xAF | 0x8F, _) => reads, // VERIFY
        (0x34 | 0x90, _) => reads, // PRE-FETCH
        (0x35 | 0x91, _) => never, // SYNCHRONIZE CACHE
        (0x37 | 0xB7, _) => reads, // READ DEFECT DATA
        (0x3E, _) => never,        // READ LONG (10)
        (0x3F, _) => never,        // WRITE LONG (10)
        (0x41 | 0x93, _) => never, // WRITE SAME
        (0x42, _) => never,        // UNMAP
        (0x48, Some(0x01 | 0x02 | 0x03 | 0x1F)) => never, // SANITIZE
        (0x7F, Some(0x09 | 0x0A)) => reads, // READ (32), VERIFY (32)
        (0x7F, Some(0x0B..=0x0D)) => never, // WRITE (32), WRITE AND VERIFY (32), WRITE SAME (32)
        (0x89 | 0x8B, _) => never, // COMPARE AND WRITE, ORWRITE
        (0x9E, Some(0x10)) => always, // READ CAPACITY (16)
        (0x9E, Some(0x11)) => never, // READ LONG (16)
        (0x9E, Some(0x12)) => reads, // GET LBA STATUS
        (0x9E, Some(0x13)) => always, // REPORT REFERRALS
        (0x9F, Some(0x11)) => never, // WRITE LONG (16)
        // MMC-6
        (0x23, _) => always,                     // READ FORMAT CAPACITIES
        (0x43 | 0x51 | 0xAD | 0xBE, _) => reads, // READ TOC, DISC INFORMATION, DISC STRUCTURE, CD
        // As MODE SENSE: GET CONFIGURATION, GET EVENT STATUS NOTIFICATION, MECHANISM STATUS.
        (0x46 | 0x4A | 0xBD, _) => reads,
        _ => None,
    }
}

fn nexus(name: &str) -> ItNexus {
    let name = format!("iqn.2026-11.org.example:{name}");
    ItNexus::new(TransportId::iscsi(&name, [0; 6]).unwrap(), 1)
}

/// `a` holds, `b` is registered, `c` is not.
fn reserved(kind: ReservationType) -> State {
    let keys = BTreeMap::from([
        (nexus("a"), ReservationKey(1)),
        (nexus("b"), ReservationKey(2)),
    ]);
    let reservation = Some(Reservation::new(kind, nexus("a")));
    State::from_parts(0, keys, reservation, false).unwrap()
}

fn lets(state: &State, by: &str, class: CommandClass) -> bool {
    allowed(state, &nexus(by)) & class.bits() != 0
}

/// Whether a table row is one whose class follows from a field of the CDB, or one of RESERVE and RELEASE.
fn apart(entry: &OpcodeEntry) -> bool {
    matches!(entry.opcode, 0x16 | 0x17 | 0x56 | 0x57 | 0x1B | 0x1E)
}

#[test]
fn every_command_is_let_through_as_the_tables_say() {
    for entry in TABLE.iter().filter(|entry| !apart(entry)) {
        let says = standard(entry.opcode, entry.service_action)
            .unwrap_or_else(|| panic!("no row for {}", entry.name));
        for kind in ReservationType::ALL {
            let state = reserved(kind);
            let code = kind.code();
            let unentitled = if matches!(code, 1 | 5 | 7) {
                says.write_exclusive
            } else {
                says.exclusive_access
            };
            let registered = matches!(code, 5..=8) || unentitled;
            assert!(
                lets(&state, "a", entry.class),
                "{} type {code} holder",
                entry.name
            );
            assert_eq!(
                lets(&state, "b", entry.class),
                registered,
                "{} type {code} registrant",
                entry.name
            );
            assert_eq!(
                lets(&state, "c", entry.class),
                unentitled,
                "{} type {code} other",
                entry.name
            );
        }
        for by in ["a", "c"] {
            assert!(
                lets(&State::default(), by, entry.class),
                "{} without reservation",
                entry.name
            );
        }
        let (state, _) = apply(&State::default(), &Event::Reserve { from: nexus("a") }).unwrap();
        // SPC-2 5.5.1: persistent reservation commands conflict whoever sends them.
        let of_holder = !matches!(entry.opcode, 0x5E | 0x5F);
        assert_eq!(
            lets(&state, "a", entry.class),
            of_holder,
            "{} SPC-2 holder",
            entry.name
        );
        assert_eq!(
            lets(&state, "c", entry.class),
            says.spc2,
            "{} SPC-2 other",
            entry.name
        );
    }
}

#[test]
fn start_stop_and_prevent_allow_conflict_by_their_fields() {
    let table = [
        ([0x1B, 0, 0, 0, 0x01, 0], true),
        ([0x1B, 0, 0, 0, 0x00, 0], false),
        ([0x1B, 0, 0, 0, 0x11, 0], false),
        ([0x1E, 0, 0, 0, 0x00, 0], true),
        ([0x1E, 0, 0, 0, 0x01, 0], false),
        ([0x1E, 0, 0, 0, 0x02, 0], false),
    ];
    for (cdb, passes) in table {
        let class = Cdb::parse(&cdb).unwrap().class;
        for kind in ReservationType::ALL {
            let state = reserved(kind);
            assert!(lets(&state, "a", class));
            assert_eq!(lets(&state, "b", class), passes || kind.code() >= 5);
            assert_eq!(lets(&state, "c", class), passes);
        }
        let (state, _) = apply(&State::default(), &Event::Reserve { from: nexus("a") }).unwrap();
        assert_eq!(lets(&state, "c", class), passes);
    }
}

#[test]
fn n49_reserve_and_release_are_let_through_where_they_would_be_good() {
    let registered = BTreeMap::from([
        (nexus("a"), ReservationKey(1)),
        (nexus("b"), ReservationKey(2)),
    ]);
    let mut states: Vec<_> = ReservationType::ALL.map(reserved).into();
    states.push(State::from_parts(0, registered, None, false).unwrap());
    states.push(State::default());
    states.push(
        apply(&State::default(), &Event::Reserve { from: nexus("a") })
            .unwrap()
            .0,
    );
    for state in states {
        for by in ["a", "b", "c"] {
            let from = nexus(by);
            let reserve = apply(&state, &Event::Reserve { from: from.clone() });
            let release = apply(&state, &Event::Release { from });
            assert_eq!(
                lets(&state, by, CommandClass::RESERVE),
                reserve.is_ok(),
                "{state:?} {by}"
            );
            assert_eq!(
                lets(&state, by, CommandClass::RELEASE),
                release.is_ok(),
                "{state:?} {by}"
            );
        }
    }
}
