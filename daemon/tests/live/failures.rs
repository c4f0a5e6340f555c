//! Runs that fail in the middle leave all as it was.

use lunforge_daemon::control::Observe;

use super::bed::*;

#[test]
fn a_missing_file_in_the_middle_of_a_run_leaves_all_as_it_was() {
    let mut bed = Bed::serving();
    let mut initiator = bed.login("host");
    let missing = bed.file("missing");
    let other = "targets/iscsi/iqn.2026-11.org.example:other";
    let said = bed.fails(
        &[
            null("e"),
            set("devices/d", "usn", &["another"]),
            set("devices/d", "size", &["4M"]),
            create(&lun(3), &[("device", "e")]),
            create(other, &[("enabled", "1")]),
            create(&format!("{other}/ini_groups/g"), &[]),
            create(&format!("{other}/ini_groups/g/initiators/*"), &[]),
            create(&format!("{other}/ini_groups/g/luns/0"), &[("device", "e")]),
            create("device_groups/dg", &[]),
            create("device_groups/dg/devices/d", &[]),
            create("device_groups/dg/target_groups/tg", &[("group_id", "1")]),
            create(
                "devices/f",
                &[("handler", "vdisk_fileio"), ("filename", &missing)],
            ),
        ],
        11,
    );
    assert!(said.contains("missing"), "{said}");
    told(&mut initiator, 0);
    assert_eq!(initiator.capacity(0).unwrap(), (2048, 512));
    assert_ne!(&inquiry(&mut initiator, 0, Some(0x80))[4..], b"another");
    assert_eq!(inquiry(&mut initiator, 0, None)[5] & 0x30, 0, "in no group");
    let gone = initiator.command(3, &TEST_UNIT_READY, &[], 0).unwrap();
    assert_eq!(asc(&gone), Some((0x25, 0)));
    let registry = bed.manager.machine().registry();
    let status = registry.status(bed.manager.model());
    assert_eq!((status.devices, status.luns), (1, 1));
    let login = bed.connect("iqn.2026-11.org.example:other", &host("host"));
    assert_eq!(refusal(login), (2, 3));
    // And what was taken back can be done again.
    bed.run(&[null("e"), create(&lun(3), &[("device", "e")])]);
    assert_eq!(told(&mut initiator, 3), [(0x29, 0)]);
}

#[test]
fn what_there_is_not_is_refused_in_a_sentence() {
    let mut bed = Bed::new();
    let cluster = [
        ("handler", "vdisk_nullio"),
        ("size", "1M"),
        ("cluster_mode", "1"),
    ];
    let said = bed.fails(&[create("devices/c", &cluster)], 0);
    assert!(said.contains("no cluster"), "{said}");
}
