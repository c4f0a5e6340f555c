//! Writes that are promised, and what is found of them, against a target that keeps its promises or does not.

use std::path::PathBuf;

use lunforge_bench::durable::verify::{self, Tally};
use lunforge_bench::durable::write::{self, Until, WriteOptions};
use lunforge_bench::durable::{DurableError, UnderTest};
use lunforge_bench::initiator::Options;

use crate::fake_target::{FakeTarget, Fault};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("lunforge-durable-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn unit(mode: &str, target: &FakeTarget) -> UnderTest {
    format!("unit={mode}@{}", target.url()).parse().unwrap()
}

fn written(unit: &UnderTest, folder: &Folder) -> Result<u64, DurableError> {
    let options = WriteOptions {
        units: vec![unit.clone()],
        records: folder.0.clone(),
        depth: 8,
        span: None,
        until: Until::Writes(60),
        seed: 5,
        marks: Vec::new(),
        login: Options::default(),
    };
    write::run(&options).map(|written| written[0].acked)
}

fn verified(unit: &UnderTest, folder: &Folder) -> Tally {
    let units = [unit.clone()];
    verify::run(&units, &folder.0, &Options::default())
        .unwrap()
        .remove(0)
}

#[test]
fn n54_what_was_promised_and_kept_is_found_kept_over_several_runs() {
    for mode in ["fua", "sync"] {
        let (target, folder) = (FakeTarget::start(Fault::None), Folder::new(mode));
        let unit = unit(mode, &target);
        for runs in 1..=3 {
            assert_eq!(written(&unit, &folder).unwrap(), 60);
            let tally = verified(&unit, &folder);
            assert_eq!((tally.acked, tally.later), (runs * 60, 0), "{tally:?}");
            assert_eq!((tally.lost, tally.torn), (0, 0), "{tally:?}");
            assert!(tally.owed > 60);
        }
    }
}

#[test]
fn n54_a_promised_write_that_the_target_lost_is_found_once() {
    for mode in ["fua", "sync"] {
        let target = FakeTarget::start(Fault::LosesAWrite);
        let folder = Folder::new(&format!("lost-{mode}"));
        let unit = unit(mode, &target);
        written(&unit, &folder).unwrap();
        let tally = verified(&unit, &folder);
        assert!((1..=16).contains(&tally.lost), "{tally:?}");
        assert_eq!(verified(&unit, &folder).lost, 0, "a loss is reported once");
    }
}

#[test]
fn a_volatile_unit_is_promised_nothing() {
    let (target, folder) = (FakeTarget::start(Fault::None), Folder::new("volatile"));
    let unit = unit("volatile", &target);
    assert_eq!(written(&unit, &folder).unwrap(), 0);
    let tally = verified(&unit, &folder);
    assert!((tally.owed, tally.lost, tally.torn) == (0, 0, 0) && tally.later > 60);
}

#[test]
fn a_unit_whose_wce_is_not_that_of_its_mode_is_refused() {
    let (target, folder) = (FakeTarget::start(Fault::None), Folder::new("wce"));
    let error = written(&unit("write-through", &target), &folder).unwrap_err();
    assert!(error.to_string().contains("WCE is 1"), "{error}");
}

#[test]
fn a_lost_connection_is_an_error_when_no_cut_was_to_come() {
    let (target, folder) = (
        FakeTarget::start(Fault::BrokenWindow),
        Folder::new("closed"),
    );
    assert!(written(&unit("fua", &target), &folder).is_err());
}
