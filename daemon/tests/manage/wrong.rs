//! Configurations that are refused, each with what is said and where.

use lunforge_daemon::config::load;
use lunforge_daemon::tree::Tree;

/// The sentence for a file of these lines.
fn says(lines: &[&str]) -> String {
    load(lines.join("\n"), &Tree::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn what_has_no_place_is_refused_with_what_has() {
    assert_eq!(
        says(&["HANDLERS vdisk_fileio {", "}"]),
        "line 1, column 1: found \"HANDLERS\", expected HANDLER, TARGET_DRIVER, DEVICE_GROUP or an attribute of the \
         target system"
    );
    assert_eq!(
        says(&["HANDLER vdisk_fileio {", "\tLUN 0 a", "}"]),
        "line 2, column 2: found LUN in a handler, expected DEVICE or an attribute of a handler"
    );
    assert_eq!(
        says(&[
            "TARGET_DRIVER iscsi {",
            "TARGET t {",
            "colour red",
            "}",
            "}"
        ]),
        "line 3, column 1: found \"colour\", expected LUN, GROUP or an attribute of a target of iscsi"
    );
    assert_eq!(
        says(&["TARGET_DRIVER iscsi {", "TARGET t {", "HW_TARGET", "}", "}"]),
        "line 3, column 1: found HW_TARGET in a target of iscsi, expected it in targets of ib_srpt only"
    );
    assert_eq!(
        says(&[
            "HANDLER vdisk_nullio {",
            "DEVICE a {",
            "handler vdisk_fileio",
            "}",
            "}"
        ]),
        "line 3, column 1: found \"handler\", expected an attribute of a device"
    );
    assert_eq!(
        says(&["ALUA {", "HANDLER vdisk_fileio", "}"]),
        "line 2, column 1: found \"HANDLER\", expected DEVICE_GROUP"
    );
}

#[test]
fn a_target_of_iscsi_has_a_name_of_characters_that_names_of_iscsi_have() {
    let named = |name: &str| format!("TARGET_DRIVER iscsi {{\n\tTARGET \"{name}\" {{\n\t}}\n}}\n");
    assert_eq!(
        says(&[&named("my disk")]),
        "line 2, column 9: found \"my disk\", expected a name: a name of iSCSI has no ' ', but letters, digits, '-', \
         '.' and ':', as iqn.2026-11.org.example:disk1"
    );
    for wrong in ["a,b", "a*", "a=b", "a;b", "a\u{a0}b"] {
        let said = says(&[&named(wrong)]);
        assert!(said.contains("a name of iSCSI has no"), "{wrong:?}: {said}");
    }
    // Which of these begins as RFC 7143 has it is not asked, as in SCST; '_' is in no name of RFC 3722, and in many.
    for right in [
        "t",
        "Storage.Disk-1",
        "iqn.2026-11.org.example:a_b",
        "naa.5",
        "iqn.2026-11.org.example:plätze",
    ] {
        assert!(load(named(right), &Tree::default()).is_ok(), "{right}");
    }
    let other = "TARGET_DRIVER ib_srpt {\n\tTARGET \"my disk\"\n}\n";
    assert!(load(other, &Tree::default()).is_ok());
}

#[test]
fn handlers_and_drivers_that_there_are_not_are_named_with_those_that_there_are() {
    assert_eq!(
        says(&["HANDLER dev_disk {", "\tDEVICE 0:0:0:0", "}"]),
        "line 1, column 9: found the handler \"dev_disk\", expected one of vcdrom, vdisk_blockio, vdisk_fileio, \
         vdisk_nullio"
    );
    assert_eq!(
        says(&["TARGET_DRIVER qla2x00t {", "}"]),
        "line 1, column 15: found the target driver \"qla2x00t\", expected one of copy_manager, ib_srpt, iscsi"
    );
}

#[test]
fn wrong_values_are_told_with_what_would_be_right() {
    let device = |line: &str| {
        says(&[
            "HANDLER vdisk_fileio {",
            "DEVICE a {",
            "filename /a",
            line,
            "}",
            "}",
        ])
    };
    assert_eq!(
        device("nv_cache yes"),
        "line 4, column 10: found \"yes\" as nv_cache, expected 0 or 1"
    );
    assert_eq!(
        device("blocksize 768"),
        "line 4, column 11: found \"768\" as blocksize, expected a power of two from 512 to 65536"
    );
    assert_eq!(
        device("nv_cache"),
        "line 4, column 1: found nv_cache alone, expected 0 or 1"
    );
    assert_eq!(
        device("filename /b"),
        "line 4, column 1: found \"filename\" again, expected it once: it stands at line 3"
    );
    assert_eq!(
        device("usn {\n}"),
        "line 4, column 1: found { behind the attribute usn, expected a value and the end of the line"
    );
}

#[test]
fn heads_of_sections_are_told_what_they_lack() {
    let target = |line: &str| says(&["TARGET_DRIVER iscsi {", "TARGET t {", line, "}", "}"]);
    assert_eq!(
        target("LUN 0"),
        "line 3, column 1: found LUN, expected a number and a device behind it"
    );
    assert_eq!(
        target("LUN x a"),
        "line 3, column 5: found \"x\", expected a name: \"x\" is no LUN: 0 to 16383"
    );
    assert_eq!(
        target("GROUP"),
        "line 3, column 1: found GROUP alone, expected a name behind it"
    );
    assert_eq!(
        target("GROUP a b"),
        "line 3, column 9: found \"b\", expected one name, and { or the end of the line"
    );
    assert_eq!(
        target("GROUP a\nGROUP a"),
        "line 4, column 7: found \"a\" again, expected it once: it stands at line 3"
    );
}

#[test]
fn a_device_that_is_nowhere_or_lacks_its_file_is_told() {
    assert_eq!(
        says(&["DEVICE_GROUP g {", "\tDEVICE vg1", "}"]),
        "line 2, column 9: found the device \"vg1\", expected one that a HANDLER of the file has, or that is there"
    );
    assert_eq!(
        says(&["HANDLER vdisk_blockio {", "\tDEVICE vg1", "}"]),
        "line 2, column 2: found DEVICE without filename, expected one that has it"
    );
}

#[test]
fn attributes_of_one_object_must_agree() {
    assert_eq!(
        says(&[
            "HANDLER vdisk_nullio {",
            "DEVICE a {",
            "size_mb 1",
            "size 4096",
            "}",
            "}"
        ]),
        "line 4, column 1: found size_mb cannot be another size than size, expected attributes that agree"
    );
    assert_eq!(
        says(&[
            "TARGET_DRIVER iscsi {",
            "portal 192.0.2.1 192.0.2.1:3260",
            "}"
        ]),
        "line 2, column 1: found portal has \"192.0.2.1:3260\" twice, expected it once"
    );
}

#[test]
fn an_error_never_has_a_secret() {
    let text = "TARGET_DRIVER iscsi {\nIncomingUser joe hidden\n}";
    let error = load(text, &Tree::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2, column 14: found another value of IncomingUser, expected a name and a secret of 12 to 256 bytes"
    );
    assert!(!error.show("x").contains("hidden"), "{}", error.show("x"));
}

#[test]
fn what_was_converted_from_the_form_of_old_has_the_place_that_is_nearest() {
    let text = [
        "[HANDLER vdisk]",
        "DEVICE disk1,/srv/disk1.img",
        "",
        "DEVICE disk1,/srv/disk1.img",
    ];
    let error = load(text.join("\n"), &Tree::default()).unwrap_err();
    assert!(
        error.place().line >= 1 && error.place().column >= 1,
        "{error}"
    );
    assert!(error.to_string().contains("again"), "{error}");
}
