//! The files whose grammar is right: what of them this program can be, and what it says of the others.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use lunforge_daemon::conf;
use lunforge_daemon::config::{load, write};
use lunforge_daemon::control::protocol::Mode;
use lunforge_daemon::manage::{Model, plan};
use lunforge_daemon::tree::Tree;

use super::double::manager;

const HANDLERS: &str = "expected one of vcdrom, vdisk_blockio, vdisk_fileio, vdisk_nullio";
const DRIVERS: &str = "expected one of copy_manager, ib_srpt, iscsi";

fn refusals() -> BTreeMap<String, String> {
    let all = [
        (
            "braces-in-every-place.conf",
            "line 8, column 1: found DEVICE without filename, expected one that has it".to_owned(),
        ),
        (
            "fcoe.conf",
            format!("line 1, column 15: found the target driver \"fcst\", {DRIVERS}"),
        ),
        (
            "fibre-channel.conf",
            format!("line 6, column 15: found the target driver \"qla2x00t\", {DRIVERS}"),
        ),
        (
            "legacy.conf",
            format!("line 16, column 10: found the handler \"dev_disk\", {HANDLERS}"),
        ),
        (
            "no-newline-at-end.conf",
            format!("line 9, column 15: found the target driver \"scst_local\", {DRIVERS}"),
        ),
        (
            "pass-through.conf",
            format!("line 2, column 9: found the handler \"dev_tape\", {HANDLERS}"),
        ),
        (
            "scst-local.conf",
            format!("line 9, column 15: found the target driver \"scst_local\", {DRIVERS}"),
        ),
        (
            "several-drivers.conf",
            "line 49, column 2: found \"tgt_grp_state_change_blocks\", expected DEVICE_GROUP"
                .to_owned(),
        ),
    ];
    all.map(|(name, why)| (name.to_owned(), why)).into()
}

#[test]
fn every_file_is_loaded_and_kept_or_refused_for_what_cannot_be_here() {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf");
    let mut refused = BTreeMap::new();
    let mut loaded = 0;
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read(&path).unwrap();
        let tree = match load(&text, &Tree::default()) {
            Ok(tree) => tree,
            Err(error) => {
                refused.insert(name, error.to_string());
                continue;
            }
        };
        let mut manager = manager(&Model::new());
        let changes = plan(&Model::new(), &tree, Mode::Replace).changes;
        manager
            .run(&changes)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let saved = conf::print(&write(manager.model(), &|_, _| None, false));
        let again = load(&saved, &Tree::default()).unwrap();
        let rest = plan(manager.model(), &again, Mode::Replace);
        assert_eq!(rest, Default::default(), "{name}");
        loaded += 1;
    }
    assert_eq!(refused, refusals());
    assert!(loaded >= 15, "{loaded}");
}
