//! CD drives: made, changed and saved by their attributes, while initiators read.

use std::fs;

use lunforge_bench::initiator::Initiator;
use lunforge_daemon::control::Observe;

use super::bed::*;

const NO_MEDIUM: (u8, u8) = (0x3A, 0);
const MAY_HAVE_CHANGED: (u8, u8) = (0x28, 0);
const PREVENT: [u8; 6] = [0x1E, 0, 0, 0, 1, 0];

/// An image of so many blocks that are all of this byte.
fn image(bed: &Bed, name: &str, byte: u8, blocks: usize) -> String {
    let file = bed.file(name);
    fs::write(&file, vec![byte; blocks * 2048]).unwrap();
    file
}

fn drive(bed: &mut Bed, given: &[(&str, &str)]) -> Initiator {
    let given = [&[("handler", "vcdrom")], given].concat();
    bed.run(&[
        create("devices/cd", &given),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "cd")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    bed.connect(IQN, &host("host")).unwrap()
}

/// What TEST UNIT READY says once all unit attentions are told.
fn missing(initiator: &mut Initiator) -> (u8, u8) {
    for _ in 0..3 {
        let reply = initiator.command(0, &TEST_UNIT_READY, &[], 0).unwrap();
        if reply.sense_key() == Some(2) {
            return asc(&reply).unwrap();
        }
    }
    panic!("a medium is in");
}

fn block(initiator: &mut Initiator, lba: u64) -> u8 {
    let data = initiator.read(0, lba, 1, 2048).unwrap();
    assert!(data.iter().all(|byte| *byte == data[0]));
    data[0]
}

#[test]
fn a_drive_is_made_with_an_image_and_tells_what_scst_tells() {
    let mut bed = Bed::new();
    let iso = image(&bed, "a.iso", 1, 1024);
    let given = [
        ("filename", iso.as_str()),
        ("t10_dev_id", "cd-1"),
        ("usn", "4711"),
    ];
    let mut initiator = drive(&mut bed, &given);
    assert_eq!(told(&mut initiator, 0), [(0x29, 0)]);
    let standard = inquiry(&mut initiator, 0, None);
    assert_eq!(standard[..2], [0x05, 0x80]);
    assert_eq!(standard[5] & 0x08, 0, "3PC: no third-party copy");
    let pages = inquiry(&mut initiator, 0, Some(0));
    assert_eq!(pages[4..], [0x00, 0x80, 0x83, 0x86]);
    assert_eq!(&standard[8..32], b"SCST_FIOcd              ");
    assert_eq!(&inquiry(&mut initiator, 0, Some(0x80))[4..], b"4711");
    assert_eq!(block(&mut initiator, 1023), 1);
    let write = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let refused = initiator.command(0, &write, &[0; 2048], 0).unwrap();
    assert_eq!(
        (refused.sense_key(), asc(&refused)),
        (Some(7), Some((0x27, 0)))
    );
    let read = |name| bed.read("devices/cd", name).unwrap();
    assert_eq!(read("type"), "5 CD-ROM device");
    assert_eq!(
        (read("size"), read("size_mb")),
        ("2097152".into(), "2".into())
    );
    assert_eq!(
        bed.read("handlers/vcdrom", "type").unwrap(),
        "5 CD-ROM device"
    );
    let status = bed.manager.machine().registry().status(bed.manager.model());
    assert!(status.troubles.is_empty(), "{:?}", status.troubles);
}

#[test]
fn setting_the_filename_ejects_and_loads_and_every_session_is_told() {
    let mut bed = Bed::new();
    let (a, b) = (image(&bed, "a.iso", 1, 10), image(&bed, "b.iso", 2, 20));
    let mut initiator = drive(&mut bed, &[]);
    assert_eq!(missing(&mut initiator), NO_MEDIUM);
    assert_eq!(bed.read("devices/cd", "size").unwrap(), "0");
    let mut other = bed.connect(IQN, &host("other")).unwrap();
    assert_eq!(missing(&mut other), NO_MEDIUM);
    bed.run(&[set("devices/cd", "filename", &[&a])]);
    for session in [&mut initiator, &mut other] {
        assert_eq!(told(session, 0), [MAY_HAVE_CHANGED]);
        assert_eq!(block(session, 9), 1);
    }
    // SCST changes it whatever initiators prevent.
    assert!(initiator.command(0, &PREVENT, &[], 0).unwrap().is_good());
    bed.run(&[set("devices/cd", "filename", &[&b])]);
    for session in [&mut initiator, &mut other] {
        assert_eq!(told(session, 0), [MAY_HAVE_CHANGED]);
        assert_eq!(block(session, 19), 2);
    }
    // The image that was taken out is free.
    let file = [("handler", "vdisk_fileio"), ("filename", a.as_str())];
    bed.run(&[create("devices/a", &file), remove("devices/a")]);
    bed.run(&[set("devices/cd", "filename", &[""])]);
    assert_eq!(missing(&mut initiator), NO_MEDIUM);
    bed.run(&[set("devices/cd", "filename", &[&b])]);
    bed.run(&[set("devices/cd", "filename", &[])]);
    assert_eq!(missing(&mut other), NO_MEDIUM);
}

#[test]
fn an_image_that_is_none_is_refused_by_name_and_nothing_changes() {
    let mut bed = Bed::new();
    let iso = image(&bed, "a.iso", 1, 10);
    let lost = bed.file("lost.iso");
    let given = [("handler", "vcdrom"), ("filename", lost.as_str())];
    let said = bed.fails(&[create("devices/no", &given)], 0);
    assert!(said.contains("lost.iso"), "{said}");
    let mut initiator = drive(&mut bed, &[("filename", &iso)]);
    told(&mut initiator, 0);
    let said = bed.fails(&[set("devices/cd", "filename", &[&lost])], 0);
    assert!(said.contains("lost.iso"), "{said}");
    assert_eq!(told(&mut initiator, 0), []);
    // A later change of the run fails: the medium that was in is in again.
    let other = image(&bed, "b.iso", 2, 10);
    bed.fails(
        &[
            set("devices/cd", "filename", &[&other]),
            create("devices/no", &given),
        ],
        1,
    );
    assert_eq!(told(&mut initiator, 0), [MAY_HAVE_CHANGED]);
    assert_eq!(block(&mut initiator, 0), 1);
}

#[test]
fn a_drive_that_is_opened_anew_has_its_medium_and_its_reservations() {
    let mut bed = Bed::new();
    let iso = image(&bed, "a.iso", 1, 10);
    let given = [("handler", "vcdrom"), ("filename", iso.as_str())];
    let mut initiator = drive(&mut bed, &given[1..]);
    told(&mut initiator, 0);
    let reserve = [0x16, 0, 0, 0, 0, 0];
    assert!(initiator.command(0, &reserve, &[], 0).unwrap().is_good());
    let shared = [&given[..], &[("tst", "0")]].concat();
    bed.run(&[reopen("devices/cd", &shared)]);
    assert_eq!(told(&mut initiator, 0), [INQUIRY_CHANGED]);
    assert_eq!(block(&mut initiator, 9), 1);
    let mut other = bed.connect(IQN, &host("other")).unwrap();
    other.command(0, &TEST_UNIT_READY, &[], 0).unwrap();
    let reply = other.command(0, &TEST_UNIT_READY, &[], 0).unwrap();
    assert!(!reply.is_good() && reply.sense_key().is_none(), "{reply:?}");
    bed.run(&[reopen("devices/cd", &[("handler", "vcdrom")])]);
    assert_eq!(missing(&mut initiator), NO_MEDIUM);
}
