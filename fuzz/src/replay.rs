//! Replays a corpus through the body of its fuzz target.

use std::fs;
use std::path::{Path, PathBuf};

/// Runs `body` on every file of `fuzz/corpus/TARGET`, which are `at_least` so many.
pub fn replay(target: &str, at_least: usize, body: fn(&[u8])) {
    // Of the crate that includes this file: each lies beside `fuzz/`.
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
