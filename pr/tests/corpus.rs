//! Replays `fuzz/corpus/` through what the fuzz targets of this crate run.

use std::fs;
use std::path::{Path, PathBuf};

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/reservations.rs"]
mod reservations;

fn replay(target: &str, at_least: usize, body: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let count = files.len();
    assert!(count >= at_least, "{count} files in {}", dir.display());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        // Names the input when the body panics.
        eprintln!("{}", file.display());
        body(&bytes);
    }
}

#[test]
fn pr_out_corpus_holds() {
    replay("pr_out", 100, reservations::pr_out);
}

#[test]
fn pr_sequence_corpus_holds() {
    replay("pr_sequence", 200, reservations::pr_sequence);
}

#[test]
fn aptpl_file_corpus_holds() {
    replay("aptpl_file", 100, reservations::aptpl_file);
}
