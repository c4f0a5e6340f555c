//! The dump of a running SCST 3.1 with all attributes, as its users' pages show it.

use std::collections::BTreeSet;

use lunforge_daemon::conf::{self, Statement};
use lunforge_daemon::config::{load, write};
use lunforge_daemon::control::protocol::Mode;
use lunforge_daemon::manage::{Model, plan};
use lunforge_daemon::tree::{Path, Tree};

use super::double::manager;

const DUMP: &str = include_str!("../conf/dump-3.1.0.conf");

/// What a running target would say of itself; the device is not there.
fn live(path: &Path, attribute: &str) -> Option<String> {
    (path.to_string(), attribute)
        .eq(&(String::new(), "threads"))
        .then(|| "2".to_owned())
}

fn loaded(text: &str) -> Model {
    let tree = load(text, &Tree::default()).unwrap();
    let mut manager = manager(&Model::new());
    manager
        .run(&plan(&Model::new(), &tree, Mode::Replace).changes)
        .unwrap();
    manager.model().clone()
}

/// Every statement with those around it, however it is laid out.
fn statements(text: &str) -> BTreeSet<String> {
    fn walk(around: &str, statement: &Statement, all: &mut BTreeSet<String>) {
        let words: Vec<_> = statement.arguments.iter().map(|word| &*word.text).collect();
        let line = format!("{around}/{} {}", statement.keyword.text, words.join("|"));
        for inner in statement.statements() {
            walk(&line, inner, all);
        }
        all.insert(line);
    }
    let mut all = BTreeSet::new();
    for statement in conf::parse(text).unwrap().statements() {
        walk("", statement, &mut all);
    }
    all
}

#[test]
fn a_dump_is_loaded_and_a_save_says_all_that_it_says_but_for_what_the_missing_device_would() {
    let saved = conf::print(&write(&loaded(DUMP), &live, true));
    let lost: Vec<_> = statements(DUMP)
        .difference(&statements(&saved))
        .cloned()
        .collect();
    let device = "/HANDLER vdisk_blockio/DEVICE vg1";
    assert_eq!(
        lost,
        [
            format!("{device}/block 0 0"),
            format!("{device}/size 21470642176"),
            format!("{device}/size_mb 20476"),
            format!("{device}/thin_provisioned 0"),
        ]
    );
}

#[test]
fn a_dump_leaves_the_size_to_the_device_and_keeps_by_what_initiators_know_it() {
    let model = loaded(DUMP);
    let device = model.object(&Path::device("vg1").unwrap()).unwrap();
    assert_eq!(device.first("size"), None);
    assert_eq!(device.first("t10_dev_id"), Some("509f7d73-vg1"));
    assert_eq!(device.first("prod_rev_lvl"), Some(" 320"));
    assert_eq!(device.first("write_through"), Some("1"));
    // These are the default.
    assert_eq!(device.first("nv_cache"), None);
    assert_eq!(device.first("blocksize"), None);
}

#[test]
fn a_dump_that_is_loaded_and_saved_and_loaded_is_the_same() {
    let model = loaded(DUMP);
    for all in [false, true] {
        let saved = conf::print(&write(&model, &live, all));
        assert_eq!(loaded(&saved).tree(), model.tree());
    }
}

#[test]
fn to_apply_a_dump_again_changes_nothing() {
    let model = loaded(DUMP);
    for mode in [Mode::Merge, Mode::Replace] {
        let tree = load(DUMP, model.tree()).unwrap();
        assert_eq!(plan(&model, &tree, mode), Default::default());
    }
}
