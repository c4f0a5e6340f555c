//! Files that must be refused, and what is said about them.

use std::fs;
use std::path::Path;

use lunforge_daemon::conf::{MAX_DEPTH, MAX_LEN, MAX_TOKENS, MAX_WORD, ietd, parse};

/// Each `broken/NAME.conf` is refused as `broken/NAME.error` says.
#[test]
fn every_broken_file_is_refused_with_what_and_where() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf/broken");
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
    assert!(count >= 20, "{count}");
}

#[test]
fn depth_words_and_files_are_bounded() {
    let deep = |levels: usize| "A {\n".repeat(levels) + &"}\n".repeat(levels);
    assert!(parse(deep(MAX_DEPTH)).is_ok());
    let error = parse(deep(MAX_DEPTH + 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 17, column 3: found {, expected at most 16 blocks in each other"
    );

    let word = |len: usize| format!("filename {}", "x".repeat(len));
    assert!(parse(word(MAX_WORD)).is_ok());
    assert_eq!(
        parse(word(MAX_WORD + 1)).unwrap_err().to_string(),
        "line 1, column 10: found a word of more than 4096 bytes, expected a shorter one"
    );

    assert!(parse(vec![b' '; MAX_LEN]).is_ok());
    assert_eq!(
        parse(vec![b' '; MAX_LEN + 1]).unwrap_err().to_string(),
        "line 1, column 1: found a file of 16777217 bytes, expected at most 16777216"
    );

    assert!(parse(vec![b'\n'; MAX_TOKENS]).is_ok());
    assert_eq!(
        parse(vec![b'\n'; MAX_TOKENS + 1]).unwrap_err().to_string(),
        "line 2097154, column 1: found more than 2097152 words and ends of lines, \
         expected the end of the file"
    );
}

/// Work that grew with the square of any of these would not end.
#[test]
fn long_lines_and_long_files_are_gone_through_once() {
    let words = parse("a ".repeat(1 << 18)).unwrap();
    assert_eq!(
        words.statements().next().unwrap().arguments.len(),
        (1 << 18) - 1
    );
    assert!(parse("A { b } ".repeat(30_000)).is_ok());
    assert!(parse(format!("a {}", r#""\u{41}\#" "#.repeat(30_000))).is_ok());

    let groups: String = (0..2_000).map(|at| format!("[GROUP g{at}]\n")).collect();
    let legacy = format!("{groups}[TARGETS enable]\nHOST iqn.a\n");
    assert_eq!(parse(&legacy).unwrap().statements().count(), 1);
    let error = parse(format!("{legacy}{}", "HOST iqn.b\n".repeat(8_000))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 10001, column 1: found more than 10000 lines in the form of before SCST 2.0, \
         expected the end of the file"
    );

    let targets: String = (0..20_000)
        .map(|at| format!("Target iqn.{at}:a\nLun 0 Path=/{at}\n"))
        .collect();
    assert_eq!(ietd::parse(&targets).unwrap().targets.len(), 20_000);
    assert_eq!(ietd::convert(&targets).unwrap().warnings.len(), 20_001);
}

#[test]
fn what_is_wrong_in_an_indented_line_of_before_scst_2_0_is_told_where_it_stands() {
    for (line, told) in [
        (
            "[HANDLER vdisk]\n\t DEVICE ,/a.img",
            "line 2, column 10: found \",/a.img\", expected DEVICE name,file,options,block size,id",
        ),
        (
            "[ASSIGNMENT g]\n\u{a0} DEVICE a,",
            "line 2, column 10: found \"a,\", expected a device and a LUN, with a comma between them",
        ),
        (
            "[ASSIGNMENT g]\n  DEVICE ,0",
            "line 2, column 10: found \",0\", expected a device and a LUN, with a comma between them",
        ),
    ] {
        assert_eq!(parse(line).unwrap_err().to_string(), told);
    }
}

#[test]
fn a_secret_is_in_no_error() {
    for line in [
        "IncomingUser \"joe abcdefghijkl",
        "\tOutgoingUser joe“ abcdefghijkl”",
        "incominguser joe \"abcdefghijkl\"x",
        "TARGET a { IncomingUser \"joe abcdefghijkl }",
    ] {
        let error = parse(format!("{line}\n")).unwrap_err();
        let said = format!("{error} {}", error.show("x"));
        assert!(!said.contains("joe") && !said.contains("abc"), "{said}");
    }
}
