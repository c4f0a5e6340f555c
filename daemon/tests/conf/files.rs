//! Files that must be read.

use std::fs;
use std::path::Path;

use lunforge_daemon::conf::{parse, print};

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
