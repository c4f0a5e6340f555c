//! docs/robustness.md is true: every number of the negative list has a row and a test, and every test that carries a
//! number is named. With `UPDATE_DOCS=1` in the environment the list of tests is written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const LAST: u32 = 62;
/// What concerns several nodes has no test on one.
const CLUSTER: [u32; 2] = [53, 55];
const BEGIN: &str = "<!-- tests -->\n";
const END: &str = "<!-- end of tests -->\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> PathBuf {
    root().join("docs/robustness.md")
}

/// The source files of the crates and of the fuzz targets.
fn sources() -> Vec<PathBuf> {
    let skipped = ["corpus", "work", "artifacts"];
    // Cargo marks what it builds into; a folder of sources may be named `target`, too.
    let is_built = |folder: &Path| folder.join("CACHEDIR.TAG").exists();
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                let passed_over = name.starts_with('.') || skipped.contains(&name.as_str());
                if !passed_over && !is_built(&entry.path()) {
                    folders.push(entry.path());
                }
            } else if name.ends_with(".rs") {
                found.push(entry.path());
            }
        }
    }
    found
}

/// The numbers that a test's name carries: 10 and 16 of `n10_n16_without_...`.
fn numbers(name: &str) -> Vec<u32> {
    let number = |word: &str| word.strip_prefix('n')?.parse().ok();
    name.split('_').map_while(number).collect()
}

/// Test functions of the sources: number, file, name.
fn tests() -> BTreeSet<(u32, String, String)> {
    let mut found = BTreeSet::new();
    for file in sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(root()).unwrap().display().to_string();
        for line in text.lines() {
            let Some(rest) = line.trim_start().strip_prefix("fn ") else {
                continue;
            };
            let name = rest.split('(').next().unwrap_or(rest);
            for number in numbers(name) {
                found.insert((number, path.clone(), name.to_owned()));
            }
        }
    }
    found
}

fn list(tests: &BTreeSet<(u32, String, String)>) -> String {
    let mut by_number: BTreeMap<u32, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for (number, path, name) in tests {
        let files = by_number.entry(*number).or_default();
        files.entry(path).or_default().push(name);
    }
    let mut out = String::new();
    for (number, files) in by_number {
        writeln!(out, "- N{number}").unwrap();
        for (path, names) in files {
            writeln!(out, "  - {path}: `{}`", names.join("`, `")).unwrap();
        }
    }
    out
}

/// What stands between the markers, and the text around it.
fn split(page: &str) -> (&str, &str, &str) {
    let (head, rest) = page.split_once(BEGIN).expect("the list's beginning");
    let (list, tail) = rest.split_once(END).expect("the list's end");
    (head, list, tail)
}

#[test]
fn every_number_has_a_row_and_a_test_and_every_test_is_listed() {
    let tests = tests();
    let text = std::fs::read_to_string(page()).unwrap();
    let (head, listed, tail) = split(&text);
    let fresh = list(&tests);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page(), [head, BEGIN, &fresh, END, tail].concat()).unwrap();
    } else {
        assert!(
            listed == fresh,
            "docs/robustness.md is out of date: UPDATE_DOCS=1 cargo test -p lunforge --test negative_list"
        );
    }
    let numbers: BTreeSet<u32> = tests.iter().map(|(number, ..)| *number).collect();
    for number in 1..=LAST {
        let row = format!("\n| N{number} | ");
        assert_eq!(head.matches(&row).count(), 1, "rows of N{number}");
        let tested = numbers.contains(&number) || CLUSTER.contains(&number);
        assert!(tested, "N{number} has no test");
    }
    assert!(numbers.iter().all(|n| (1..=LAST).contains(n)));
}

#[test]
fn every_test_and_file_that_the_page_names_exists() {
    let text = std::fs::read_to_string(page()).unwrap();
    let (head, _, tail) = split(&text);
    let sources: Vec<String> = sources()
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    for quoted in [head, tail].concat().split('`').skip(1).step_by(2) {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if quoted.contains('_') && quoted.chars().all(word) {
            let function = format!("fn {quoted}(");
            let found = sources.iter().any(|text| text.contains(&function));
            // A fuzz target is a name with underscores, too.
            let target = root().join(format!("fuzz/fuzz_targets/{quoted}.rs"));
            assert!(found || target.exists(), "there is no test {quoted}");
        } else if quoted.contains('/') && !quoted.contains(' ') {
            assert!(root().join(quoted).exists(), "there is no {quoted}");
        }
    }
}
