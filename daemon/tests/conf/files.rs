//! Files that must be read.

use std::fs;
use std::path::Path;

use lunforge_daemon::conf::{Statement, parse, print};

fn files() -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf");
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "conf")
        })
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_file_is_read_and_what_is_printed_of_it_is_read_as_the_same() {
    for (name, bytes) in files() {
        let document = parse(&bytes).unwrap_or_else(|error| panic!("{}", error.show(&name)));
        assert!(document.statements().count() > 0, "{name}");
        let text = print(&document);
        assert_eq!(parse(&text).as_ref(), Ok(&document), "{name}");
    }
}

fn printed(name: &str) -> String {
    let (_, bytes) = files().into_iter().find(|(file, _)| file == name).unwrap();
    print(&parse(&bytes).unwrap())
}

#[test]
fn there_are_files_of_every_kind() {
    assert!(files().len() >= 24);
}

#[test]
fn line_ends_a_byte_order_mark_and_a_missing_last_line_feed_change_nothing() {
    let one = printed("one-target.conf");
    assert_eq!(printed("windows-line-ends.conf"), one);
    assert_eq!(printed("byte-order-mark.conf"), one);
    assert_eq!(
        printed("no-newline-at-end.conf"),
        printed("scst-local.conf")
    );
}

#[test]
fn what_scstadmin_wrote_is_printed_without_a_difference() {
    let (_, bytes) = files()
        .into_iter()
        .find(|(file, _)| file == "written-by-scstadmin.conf")
        .unwrap();
    assert_eq!(
        printed("written-by-scstadmin.conf").as_bytes(),
        bytes.as_slice()
    );
}

#[test]
fn braces_are_found_wherever_they_stand() {
    let expected = "\
HANDLER vdisk_fileio {
	DEVICE a {
		filename /a
	}
	DEVICE b {
		filename /b
	}
	DEVICE c {
		filename /c
	}
	DEVICE d {
	}
	DEVICE e {
	}
	DEVICE f
}
TARGET_DRIVER iscsi {
	enabled 1
	TARGET iqn.2023-01.example:x {
		LUN 0 a
		LUN 1 b {
			read_only 1
		}
		LUN 2 c
	}
}
";
    assert_eq!(printed("braces-in-every-place.conf"), expected);
}

#[test]
fn escapes_and_quotes_are_taken_off_words() {
    let chap = printed("chap.conf");
    let identity = printed("identity.conf");
    for (text, line) in [
        (&chap, r#"		IncomingUser "bob \#secret\#with\#hash""#),
        (&chap, r#"		IncomingUser1 "carol back\\slash-12345""#),
        (&chap, "		allowed_portal !198.51.100.*"),
        (&identity, r#"		inq_vend_specific "5 1/4\" floppy""#),
        (&identity, r#"		vend_specific_id """#),
    ] {
        assert!(
            text.lines().any(|printed| printed == line),
            "{line}\n{text}"
        );
    }
    let document = parse(&chap).unwrap();
    let iscsi = document.statements().next().unwrap();
    let target = iscsi.statements().last().unwrap();
    let users: Vec<&str> = target
        .statements()
        .filter(|statement| statement.keyword.starts_with("IncomingUser"))
        .map(|statement| statement.arguments[0].text.as_str())
        .collect();
    assert_eq!(
        users,
        [
            "alice wonder1land2wonder",
            "bob #secret#with#hash",
            "carol back\\slash-12345"
        ]
    );
}

#[test]
fn every_word_of_a_converted_file_has_the_place_that_it_came_from() {
    fn check(statement: &Statement, lines: &[&str]) {
        for word in std::iter::once(&statement.keyword).chain(&statement.arguments) {
            assert!(word.span.line >= 1 && word.span.column >= 1, "{word}");
            let line = lines[word.span.line as usize - 1];
            assert!((word.span.column as usize) <= line.len(), "{word}");
        }
        if statement.keyword.text == "LUN" {
            let line = lines[statement.keyword.span.line as usize - 1];
            assert!(
                line.ends_with(&format!(",{}", statement.arguments[0])),
                "{line}"
            );
        }
        statement.statements().for_each(|inner| check(inner, lines));
    }
    let (_, bytes) = files()
        .into_iter()
        .find(|(name, _)| name == "legacy.conf")
        .unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let document = parse(&text).unwrap();
    document
        .statements()
        .for_each(|statement| check(statement, &lines));
}

#[test]
fn the_form_of_before_scst_2_is_converted() {
    let expected = "\
# Converted from the form of before SCST 2.0.
# The option SERVER means nothing any more.
# The option O_DIRECT of the device old means nothing any more.

HANDLER vdisk_fileio {
	DEVICE disk1 {
		filename /srv/disk1.img
	}

	DEVICE old {
		filename /srv/old.img
		blocksize 4096
		read_only 1
	}
}

HANDLER vdisk_blockio {
	DEVICE disk2 {
		filename /dev/sdb
		blocksize 512
		t10_dev_id T10-0002
		write_through 1
	}
}

HANDLER vdisk_nullio {
	DEVICE perf
}

HANDLER vcdrom {
	DEVICE cd {
		filename /srv/cd.iso
	}
}

HANDLER dev_disk {
	DEVICE 3:0:0:0
}

TARGET_DRIVER iscsi {
	enabled 1

	TARGET iqn.2006-11.example.san:one {
		enabled 1

		LUN 0 cd
		LUN 1 disk1

		GROUP hosts {
			LUN 0 disk2
			LUN 1 perf

			INITIATOR iqn.2006-11.example.host:one
			INITIATOR 21:00:00:1b:32:00:00:01
		}
	}
}

TARGET_DRIVER qla2x00t {
	TARGET 25:00:00:24:ff:00:a1:b2 {
		enabled 1

		LUN 0 cd

		GROUP hosts {
			LUN 0 disk2
			LUN 1 perf

			INITIATOR iqn.2006-11.example.host:one
			INITIATOR 21:00:00:1b:32:00:00:01
		}
	}

	TARGET 21:00:00:24:ff:00:00:02 {
		enabled 0

		LUN 0 cd

		GROUP hosts {
			LUN 0 disk2
			LUN 1 perf

			INITIATOR iqn.2006-11.example.host:one
			INITIATOR 21:00:00:1b:32:00:00:01
		}
	}
}
";
    assert_eq!(printed("legacy.conf"), expected);
}
