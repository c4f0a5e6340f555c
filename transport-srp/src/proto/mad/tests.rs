use proptest::prelude::*;

use super::unit::operation;
use super::*;
use crate::proto::port::PortId;

const SERVICE: u64 = 0x013F_15B3;
const GUID: u64 = 0x0002_C903_0000_0001;

fn unit() -> IoUnit {
    let ports = (1..=6).map(|extension| PortId::new(extension, GUID));
    let other = [PortId::new(0xABC, GUID + 1)];
    let profile = Profile {
        send_depth: 128,
        send_len: 8276,
        ..Profile::srp(0, "a target")
    };
    IoUnit::srp(ports.chain(other), SERVICE, &profile)
}

fn asked(attribute: u16, modifier: u32) -> Result<[u8; DATA_LEN], u16> {
    let request = Datagram::get(7, attribute, modifier);
    let answer = request.answer(&unit()).unwrap();
    assert_eq!((answer.method, answer.transaction), (method::GET_RESP, 7));
    assert_eq!((answer.attribute, answer.modifier), (attribute, modifier));
    match answer.status {
        0 => Ok(answer.data),
        status => Err(status),
    }
}

/// As a reader of the kernel or of srp_daemon goes through a unit.
#[test]
fn a_reader_finds_every_target_by_its_extension_and_guid() {
    let info = IoUnitInfo::parse(&asked(attribute_id::IO_UNIT_INFO, 0).unwrap()).unwrap();
    assert_eq!(info.slots, [Slot::Present; 2]);
    let mut found = Vec::new();
    for slot in 1..=2_u32 {
        let profile = asked(attribute_id::IO_CONTROLLER_PROFILE, slot).unwrap();
        let profile = Profile::parse(&profile).unwrap();
        assert_eq!((profile.io_class, profile.protocol), (0x0100, 0x0108));
        for first in (0..profile.service_entries).step_by(4) {
            let last = (first + 3).min(profile.service_entries - 1);
            let modifier = slot << 16 | u32::from(last) << 8 | u32::from(first);
            let entries = asked(attribute_id::SERVICE_ENTRIES, modifier).unwrap();
            for entry in &ServiceEntries::parse(&entries).0[..usize::from(last - first) + 1] {
                assert_eq!(entry.id, SERVICE);
                found.push((profile.guid, entry.extension().unwrap()));
            }
        }
    }
    let all: Vec<_> = (1..=6).map(|extension| (GUID, extension)).collect();
    assert_eq!(found, [all, vec![(GUID + 1, 0xABC)]].concat());
}

#[test]
fn a_profile_has_its_fields_where_table_b_7_has_them() {
    let data = asked(attribute_id::IO_CONTROLLER_PROFILE, 1).unwrap();
    assert_eq!(data[..8], GUID.to_be_bytes());
    assert_eq!(data[28..36], [0x01, 0, 0x60, 0x9E, 0x01, 0x08, 0, 1]);
    assert_eq!(data[40..44], [0, 128, 0, 4]);
    assert_eq!(data[44..52], [0, 0, 0x20, 0x54, 1, 0, 0, 0]);
    assert_eq!(data[52..55], [0x2B, 0, 6]);
    assert_eq!(data[64..73], *b"a target\0");
    assert_eq!(data[128..], [0; 64]);
    assert_eq!(operation::RDMA_WRITE_FROM | operation::SEND_TO, 0x21);
}

#[test]
fn a_service_is_named_by_the_sixteen_digits_of_its_extension() {
    let data = asked(attribute_id::SERVICE_ENTRIES, 2 << 16).unwrap();
    assert_eq!(data[..25], *b"SRP.T10:0000000000000abc\0");
    assert_eq!(data[40..48], SERVICE.to_be_bytes());
    assert_eq!(data[48..], [0; 144]);
}

#[test]
fn entries_that_are_not_there_are_zero_behind_those_that_are() {
    let data = asked(attribute_id::SERVICE_ENTRIES, 0x0001_0704).unwrap();
    let entries = ServiceEntries::parse(&data).0;
    let found = entries.map(|entry| entry.extension());
    assert_eq!(found, [Some(5), Some(6), None, None]);
    assert_eq!(data[96..], [0; 96]);
}

#[test]
fn a_unit_says_which_slots_there_are_not() {
    let data = asked(attribute_id::IO_UNIT_INFO, 0).unwrap();
    assert_eq!(data[..5], [0, 1, 2, 0, 0x11]);
    assert_eq!(data[5..132], [0xFF; 127]);
    assert_eq!(data[132..], [0; 60]);
}

#[test]
fn the_class_is_not_redirected_and_answers_in_four_seconds() {
    let data = asked(attribute_id::CLASS_PORT_INFO, 0).unwrap();
    assert_eq!(data[..8], [1, 1, 0, 0, 0, 0, 0, 20]);
    assert_eq!(data[8..], [0; 184]);
}

#[test]
fn what_is_not_there_has_the_status_for_it() {
    let profile = attribute_id::IO_CONTROLLER_PROFILE;
    for (slot, expected) in [
        (0, status::INVALID_VALUE),
        (3, status::NO_CONTROLLER),
        (255, status::NO_CONTROLLER),
        (256, status::INVALID_VALUE),
    ] {
        assert_eq!(asked(profile, slot), Err(expected), "{slot}");
    }
    let entries = attribute_id::SERVICE_ENTRIES;
    for (modifier, expected) in [
        (0x0000_0000, status::INVALID_VALUE),
        (0x0003_0000, status::NO_CONTROLLER),
        (0x0001_0001, status::INVALID_VALUE),
        (0x0001_0400, status::INVALID_VALUE),
        (0x0001_0606, status::INVALID_VALUE),
        (0x0001_FFFF, status::INVALID_VALUE),
    ] {
        assert_eq!(asked(entries, modifier), Err(expected), "{modifier:#x}");
    }
    assert_eq!(asked(0x0020, 0), Err(status::UNSUPPORTED_ATTRIBUTE));
}

#[test]
fn other_methods_and_versions_are_refused_and_answers_never_answered() {
    let status_of = |change: fn(&mut Datagram)| {
        let mut datagram = Datagram::get(1, attribute_id::IO_UNIT_INFO, 0);
        change(&mut datagram);
        datagram.answer(&unit()).map(|answer| answer.status)
    };
    let set = status_of(|d| d.method = method::SET);
    assert_eq!(set, Some(status::UNSUPPORTED_ATTRIBUTE));
    let unknown = status_of(|d| d.method = 0x15);
    assert_eq!(unknown, Some(status::UNSUPPORTED_METHOD));
    let version = status_of(|d| d.class_version = 2);
    assert_eq!(version, Some(status::BAD_VERSION));
    let version = status_of(|d| d.base_version = 0);
    assert_eq!(version, Some(status::BAD_VERSION));
    for method in [method::GET_RESP, 0x80, 0xFF, 3, 5, 7] {
        let mut datagram = Datagram::get(1, attribute_id::IO_UNIT_INFO, 0);
        datagram.method = method;
        assert_eq!(datagram.answer(&unit()), None, "{method:#x}");
    }
}

#[test]
fn names_that_are_not_srp_s_have_no_extension() {
    let named = |text: &[u8]| {
        let mut entry = ServiceEntry::srp(0, 0);
        entry.name = [0; 40];
        entry.name[..text.len()].copy_from_slice(text);
        entry.extension()
    };
    assert_eq!(named(b"SRP.T10:1f"), Some(0x1F));
    for text in [
        &b""[..],
        b"SRP.T10:",
        b"srp.t10:1",
        b"SRP.T10:+1",
        b"SRP.T10:12345678123456781",
        &[b'S'; 40],
    ] {
        assert_eq!(named(text), None);
    }
}

#[test]
fn too_many_controllers_and_services_are_left_out() {
    let many = (0..300).map(|n| PortId::new(n, GUID));
    let more = (0..300).map(|n| PortId::new(0, n));
    let profile = Profile::srp(0, &"long ".repeat(30));
    let unit = IoUnit::srp(many.chain(more), SERVICE, &profile);
    let info = IoUnitInfo::parse(&unit.info().emit()).unwrap();
    assert_eq!(info.slots.len(), 255);
    let most = unit.controllers.iter().map(|one| one.services.len());
    assert!(most.max().unwrap() <= 255);
    assert_eq!(profile.name[63], 0);
}

fn data() -> impl Strategy<Value = [u8; DATA_LEN]> {
    proptest::collection::vec(any::<u8>(), DATA_LEN).prop_map(|v| v.try_into().unwrap())
}

proptest! {
    #[test]
    fn a_datagram_comes_back_from_its_bytes(
        head in any::<(u8, u8, u8, u16, u64, u16, u32)>(),
        data in data(),
    ) {
        let (base_version, class_version, method, status, transaction, attribute, modifier) = head;
        let datagram = Datagram {
            base_version, class_version, method, status, transaction, attribute, modifier, data,
        };
        prop_assert_eq!(Datagram::parse(&datagram.emit()), Ok(datagram));
    }

    #[test]
    fn attributes_come_back_from_their_bytes(data in data()) {
        super::check_attributes(&data);
    }

    #[test]
    fn whatever_is_no_datagram_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        match Datagram::parse(&bytes) {
            Ok(_) => prop_assert!(bytes.len() >= 256 && bytes[1] == CLASS),
            Err(DatagramError::Length(len)) => prop_assert!(len < 256),
            Err(DatagramError::Class(class)) => prop_assert!(class != CLASS),
        }
    }
}
