//! Configuration files. Each function takes arbitrary bytes and asserts what holds for any input.

use std::collections::HashSet;

use lunforge_daemon::conf::{Document, Error, Item, Statement, ietd, parse, print};
use lunforge_daemon::config::{load, write};
use lunforge_daemon::control::protocol::Mode;
use lunforge_daemon::manage::{Change, Failure, Machine, Manager, Model, Plan, plan};
use lunforge_daemon::tree::{Path, Tree};

/// Reads the bytes as scst.conf. What is read is printed and read again as the same, and its meaning too.
pub fn scst_conf(bytes: &[u8]) {
    match parse(bytes) {
        Err(error) => refusal(&error, bytes),
        Ok(document) => {
            if !is_converted(&document) {
                for statement in document.statements() {
                    places(statement, bytes);
                }
            }
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
fn is_converted(document: &Document) -> bool {
    let first = document.items.first();
    matches!(first, Some(Item::Comment(text)) if text.starts_with("Converted from"))
}

/// Words are where they are said to be.
fn places(statement: &Statement, bytes: &[u8]) {
    for word in std::iter::once(&statement.keyword).chain(&statement.arguments) {
        let (start, end) = (word.span.start as usize, word.span.end as usize);
        let written = bytes.get(start..end).expect("a span within the file");
        assert!(word.span.line > 0 && word.span.column > 0);
        if !written.contains(&b'\\') && !written.contains(&b'"') {
            assert_eq!(written, word.as_bytes());
        }
    }
    for item in statement.body.iter().flatten() {
        if let Item::Statement(statement) = item {
            places(statement, bytes);
        }
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
