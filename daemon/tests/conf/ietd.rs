//! ietd.conf, and scst.conf made of it. `ietd/full.conf` becomes `ietd/full.expected`, warnings at the end.

use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use lunforge_daemon::conf::ietd::{Converted, Kind, Mode, convert, parse};
use lunforge_daemon::conf::{self, Statement, print};
use proptest::prelude::*;

const PAGE: &str = "\
Target iqn.2000-12.com.blogsite.lraikhman:storage.lun1
Lun 0 Path=/dev/drbd1,Type=fileio,ScsiSN=AMHDSK-061031-03
Alias iDISK0
";

#[test]
fn the_serial_number_of_a_mirrored_disk_is_kept() {
    let ietd = parse(PAGE).unwrap();
    let lun = &ietd.targets[0].luns[0];
    assert_eq!((lun.number, lun.kind, lun.mode), (0, Kind::Fileio, None));
    let place = lun.scsi_sn.as_ref().unwrap().span;
    assert_eq!((place.line, place.column), (2, 42));
    assert_eq!(
        PAGE.get(place.start as usize..place.end as usize),
        Some("AMHDSK-061031-03")
    );

    let expected = "\
# Converted from ietd.conf.
# Who may log in is not part of that file: look at initiators.allow, initiators.deny and targets.allow.

HANDLER vdisk_fileio {
	DEVICE storage.lun1-lun0 {
		filename /dev/drbd1
		prod_id VIRTUAL-DISK
		prod_rev_lvl 0
		t10_dev_id AMHDSK-061031-03
		t10_vend_id IET
		usn AMHDSK-061031-03
		write_through 1
	}
}

TARGET_DRIVER iscsi {
	enabled 1

	TARGET iqn.2000-12.com.blogsite.lraikhman:storage.lun1 {
		alias iDISK0
		enabled 1

		LUN 0 storage.lun1-lun0
	}
}
";
    assert_eq!(print(&convert(PAGE).unwrap().document), expected);
}

#[test]
fn the_mode_of_writes_is_kept() {
    let text = |parameters: &str| {
        let text = format!("Target iqn.a:b\nLun 0 Path=/a,BlockSize=512,ScsiSN=1{parameters}\n");
        print(&convert(text).unwrap().document)
    };
    for (parameters, through, read_only) in [
        ("", true, false),
        (",IOMode=wt", true, false),
        (",IOMode=WB", false, false),
        (",IOMode=ro", false, true),
        (",Type=blockio", false, false),
        (",Type=blockio,IOMode=wt", true, false),
        (",Type=BlockIO,IOMode=ro", false, true),
    ] {
        let text = text(parameters);
        assert_eq!(text.contains("write_through 1\n"), through, "{parameters}");
        assert_eq!(text.contains("read_only 1"), read_only, "{parameters}");
    }
    assert!(text(",IOMode=wb").contains("# IOMode=wb: what was written is in memory"));
    assert_eq!(
        parse("Target a\nLun 0 Path=/a,IOMode=wb").unwrap().targets[0].luns[0].mode,
        Some(Mode::WriteBack)
    );
}

#[test]
fn line_ends_case_and_continued_lines_change_nothing() {
    let text = print(&convert(PAGE).unwrap().document);
    for other in [
        PAGE.replace('\n', "\r\n"),
        format!("\u{feff}{PAGE}"),
        PAGE.replace("Target ", "TARGET \\\n\t")
            .replace("Lun", "lUN"),
        PAGE.replace(",Type", ",\\\r\nType"),
        PAGE.replace("\nLun", "\n  # x \\\n\n   # y\n\tLun"),
        PAGE.trim_end().to_owned(),
    ] {
        assert_eq!(print(&convert(&other).unwrap().document), text, "{other}");
    }
}

#[test]
fn each_broken_file_is_refused_with_what_and_where() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf/ietd/broken");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let error = parse(fs::read(&path).unwrap()).expect_err(&name);
        let said = fs::read_to_string(path.with_extension("error")).unwrap_or_default();
        assert_eq!(format!("{}\n", error.show(&name)), said, "{name}");
        count += 1;
    }
    assert!(count >= 16, "{count}");
}

#[test]
fn what_cannot_be_kept_is_said() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf/ietd");
    let converted = convert(fs::read(dir.join("full.conf")).unwrap()).unwrap();
    let mut text = print(&converted.document);
    for warning in &converted.warnings {
        writeln!(text, "warning: {warning}").unwrap();
    }
    assert_eq!(text, fs::read_to_string(dir.join("full.expected")).unwrap());
}

/// Every LUN has a device, every device a name of its own that fits, and the document is one that can be read.
fn sound(converted: &Converted) {
    let document = &converted.document;
    let text = print(document);
    assert_eq!(conf::parse(&text).as_ref(), Ok(document), "{text}");
    let all: Vec<&Statement> = document
        .statements()
        .flat_map(Statement::statements)
        .collect();
    let named = |keyword: &'static str| all.iter().filter(move |at| at.keyword.text == keyword);
    let mut devices = HashSet::new();
    for device in named("DEVICE") {
        let name = &device.arguments[0].text;
        assert!(
            (1..=64).contains(&name.len()) && !name.contains('/'),
            "{name}"
        );
        assert!(devices.insert(name), "{name}");
    }
    for target in named("TARGET") {
        for lun in target.statements().filter(|lun| lun.keyword.text == "LUN") {
            assert!(devices.contains(&lun.arguments[1].text));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_lines_are_converted_soundly_or_refused(text in r"((Target iqn\.[ab]:[a-c/]{1,70}|Lun [0-9] (Path=/[ab],?|Type=(blockio|nullio),?|Sectors=9,?|ScsiId=[ab],?|ScsiSN=[ab],?|IOMode=(ro|wb|wt)){1,5}|IncomingUser a [a-z]{0,14}|NOPInterval [0-3]|NOPTimeout [0-3]|Alias [ -~]{0,9}|(?i:initialr2t) Yes|[a-z#\\ ]{0,6})\n){0,12}") {
        match convert(&text) {
            Ok(converted) => sound(&converted),
            Err(error) => prop_assert_eq!(error.show("x").lines().count(), 3),
        }
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(converted) = convert(&bytes) {
            sound(&converted);
        }
    }
}

#[test]
fn a_secret_is_in_no_error_and_no_warning() {
    let text =
        "IncomingUser joe geheim\nTarget a\nOutgoingUser joe geheim\nOutgoingUser joe geheimer\n";
    for warning in convert(text).unwrap().warnings {
        assert!(!warning.to_string().contains("geheim"), "{warning}");
    }
    for broken in [
        "IncomingUser joe geheim geheimer",
        "incominguser joe geh\u{1}eim",
    ] {
        let error = convert(broken).unwrap_err();
        let said = format!("{error} {}", error.show("x"));
        assert!(!said.contains("geh") && !said.contains("joe"), "{said}");
    }
}
