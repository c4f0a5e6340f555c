//! Replays `fuzz/corpus/` through what the fuzz targets of this crate run.

use std::fs;
use std::path::{Path, PathBuf};

use lunforge_iscsi::proto::fuzzing::{fuzz_login, fuzz_text_keys};

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/pdu_stream.rs"]
mod pdu_stream;

fn replay(target: &str, at_least: usize, body: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(
        files.len() >= at_least,
        "{} files in {}",
        files.len(),
        dir.display()
    );
    for file in files {
        let bytes = fs::read(&file).unwrap();
        // Names the input when the body panics.
        eprintln!("{}", file.display());
        body(&bytes);
    }
}

#[test]
fn pdu_stream_corpus_holds() {
    replay("pdu_stream", 100, pdu_stream::pdu_stream);
}

#[test]
fn text_keys_corpus_holds() {
    replay("text_keys", 30, fuzz_text_keys);
}

#[test]
fn login_corpus_holds() {
    replay("login", 40, fuzz_login);
}
