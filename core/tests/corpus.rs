//! Replays `fuzz/corpus/` through what the fuzz targets of this crate run.

use std::fs;
use std::path::{Path, PathBuf};

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/vocabulary.rs"]
mod vocabulary;

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
fn cdb_corpus_holds() {
    replay("cdb", 115, vocabulary::cdb);
}

#[test]
fn sense_corpus_holds() {
    replay("sense", 30, vocabulary::sense);
}

#[test]
fn identifier_corpus_holds() {
    replay("transport_id_designator_lun", 50, vocabulary::identifiers);
}
