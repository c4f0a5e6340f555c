//! Configuration files. Each function takes arbitrary bytes and asserts what holds for any input.

use std::collections::HashSet;

use lunforge_daemon::conf::{Document, Error, Item, Statement, Word, ietd, parse, print};
use lunforge_daemon::config::{load, write};
use lunforge_daemon::control::protocol::Mode;
use lunforge_daemon::manage::{Change, Failure, Machine, Manager, Model, Plan, plan};
use lunforge_daemon::tree::{Path, Tree};

/// Reads the bytes as scst.conf. What is read is printed and read again as the same, and its meaning too.
pub fn scst_conf(bytes: &[u8]) {
    match parse(bytes) {
        Err(error) => refusal(&error, bytes),
        Ok(document) => {
            let converted = is_converted(&document, bytes);
            items(&document.items, bytes, converted);
            same_when_printed(&document);
            config(bytes);
        }
    }
}

/// Takes the bytes for a configuration. One that is taken is saved and loaded as it was.
fn config(bytes: &[u8]) {
    let tree = match load(bytes, &Tree::default()) {
        Ok(tree) => tree,
        Err(error) => return refusal(&error, bytes),
    };
    let mut manager = Manager::new(Model::new(), Anything);
    let way = plan(manager.model(), &tree, Mode::Replace);
    if let Err(error) = manager.run(&way.changes) {
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
        assert_eq!(manager.model().tree(), Model::new().tree());
        return;
    }
    let model = manager.model();
    let nothing = Plan::default();
    assert_eq!(plan(model, &tree, Mode::Merge), nothing);
    let text = print(&write(model, &|_, _| None, false));
    let again = load(&text, &Tree::default());
    let again = again.unwrap_or_else(|error| panic!("{}\n{text}", error.show("saved")));
    assert_eq!(plan(model, &again, Mode::Replace), nothing, "{text}");
}

/// A machine that can do everything.
struct Anything;

impl Machine for Anything {
    fn perform(&mut self, _: &Change, _: &Model) -> Result<(), Failure> {
        Ok(())
    }

    fn trigger(&mut self, _: &Path, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    fn read(&self, _: &Path, _: &str) -> Option<String> {
        None
    }
}

/// Reads the bytes as ietd.conf. What they become is printed and read again as the same; devices have names of their own.
pub fn ietd_conf(bytes: &[u8]) {
    match ietd::convert(bytes) {
        Err(error) => refusal(&error, bytes),
        Ok(converted) => {
            same_when_printed(&converted.document);
            let sections = converted.document.statements();
            let mut names = HashSet::new();
            for device in sections.flat_map(Statement::statements) {
                if device.keyword.text == "DEVICE" {
                    let [name] = device.arguments.as_slice() else {
                        panic!("{device:?}");
                    };
                    assert!((1..=64).contains(&name.len()) && !name.contains('/'));
                    assert!(names.insert(name.text.clone()), "{name}");
                }
            }
            for warning in converted.warnings {
                assert_eq!(warning.to_string().lines().count(), 1);
            }
        }
    }
}

fn same_when_printed(document: &Document) {
    let text = print(document);
    let again = parse(&text).unwrap_or_else(|error| panic!("{}\n{text}", error.show("printed")));
    assert_eq!(&again, document, "{text}");
    assert_eq!(print(&again), text);
}

/// Whether the file was in the form of before SCST 2.0.
fn is_converted(document: &Document, bytes: &[u8]) -> bool {
    let first = document.items.first();
    let says = matches!(first, Some(Item::Comment(text)) if text.starts_with("Converted from"));
    let mut lines = bytes.split(|byte| *byte == b'\n');
    says && lines.any(|line| line.trim_ascii_start().starts_with(b"["))
}

/// Words are where they are said to be, and comments have no control characters.
fn items(items: &[Item], bytes: &[u8], converted: bool) {
    for item in items {
        match item {
            Item::Statement(statement) => {
                for word in std::iter::once(&statement.keyword).chain(&statement.arguments) {
                    place(word, bytes, converted);
                }
                self::items(
                    statement.body.as_deref().unwrap_or_default(),
                    bytes,
                    converted,
                );
            }
            Item::Comment(text) => {
                assert!(
                    !text.chars().any(|c| c.is_control() && c != '\t'),
                    "{text:?}"
                );
            }
            Item::Blank => {}
        }
    }
}

/// A word is in one line of the file, at the column that is told, and as it is written there: a converted one may be
/// another word then.
fn place(word: &Word, bytes: &[u8], converted: bool) {
    let (start, end) = (word.span.start as usize, word.span.end as usize);
    let written = bytes.get(start..end).expect("a span within the file");
    assert!(!written.is_empty() && !written.contains(&b'\n'), "{word:?}");
    let before = std::str::from_utf8(&bytes[..start]).expect("whole characters");
    let (lines, line) = before.rsplit_once('\n').unwrap_or(("", before));
    let first = !before.contains('\n');
    let number = if first {
        1
    } else {
        lines.matches('\n').count() + 2
    };
    let line = line
        .strip_prefix('\u{feff}')
        .filter(|_| first)
        .unwrap_or(line);
    let told = (word.span.line as usize, word.span.column as usize);
    assert_eq!(told, (number, line.chars().count() + 1), "{word:?}");
    if !converted && !written.contains(&b'\\') && !written.contains(&b'"') {
        assert_eq!(written, word.as_bytes());
    }
}

/// An error says where in a line, in one line, and shows that in three.
fn refusal(error: &Error, bytes: &[u8]) {
    let place = error.place();
    assert!(place.line >= 1 && place.column >= 1);
    assert!(place.start <= place.end && place.end as usize <= bytes.len());
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    let shown = error.show("file");
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(shown.len() < 2000, "{shown}");
}
