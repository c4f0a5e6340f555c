//! A run is done whole or not at all.

use lunforge_daemon::manage::{Change, Manager, Model, RunError};
use proptest::prelude::*;

use super::arbitrary::{changes, index, model, seeds};
use super::double::{Double, manager};

fn same(manager: &Manager<Double>) {
    assert_eq!(manager.model().tree(), manager.machine().model.tree());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_run_that_fails_at_any_step_leaves_model_and_machine_as_they_were(
        before in model(60),
        seeds in seeds(25),
        at in index(),
    ) {
        // The changes that are taken one after the other, as one run.
        let mut trial = manager(&before);
        let run: Vec<_> = changes(&seeds)
            .into_iter()
            .filter(|change| trial.run(std::slice::from_ref(change)).is_ok())
            .collect();
        let calls = trial.machine().calls;
        let mut manager = manager(&before);
        if calls > 0 {
            manager.machine_mut().fails_in = Some(at.index(calls));
            // A run as a whole is checked at its end only, so it may have fewer steps to fail at, or none.
            if let Err(error) = manager.run(&run) {
                let RunError::Failed { stuck, .. } = error else {
                    panic!("{error}");
                };
                prop_assert!(stuck.is_empty(), "{:?}", stuck);
                prop_assert_eq!(manager.model().tree(), before.tree());
            }
            same(&manager);
            manager.machine_mut().fails_in = None;
        }
        if manager.model().tree() == before.tree() {
            manager.run(&run).unwrap();
        }
        same(&manager);
        prop_assert_eq!(manager.model().tree(), trial.model().tree());
    }

    #[test]
    fn a_run_with_a_refused_change_leaves_everything_as_it_was(before in model(60), seeds in seeds(25)) {
        let mut manager = manager(&before);
        let run = changes(&seeds);
        let taken = manager.run(&run).is_ok();
        same(&manager);
        if !taken {
            prop_assert_eq!(manager.model().tree(), before.tree());
            prop_assert_eq!(manager.machine().calls, 0);
        }
    }

    #[test]
    fn what_is_noted_of_objects_is_that_of_the_tree(before in model(80)) {
        // A change that is refused for what is noted, and its way back, leave no traces: a run and its opposite.
        let mut manager = manager(&before);
        manager.rehearse(&changes(&[])).unwrap();
        for (key, _) in before.tree().root().children() {
            let users = before.users(key.name());
            for user in users {
                prop_assert!(before.object(user).is_ok(), "{}", user);
            }
        }
    }
}

#[test]
fn attributes_of_one_device_that_are_set_with_its_file_are_one_step_in_any_order() {
    let set = |name: &str, values: &[&str]| Change::Set {
        path: "devices/a".parse().unwrap(),
        attribute: name.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let given = |pairs: &[(&str, &str)]| {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), vec![(*value).to_owned()]);
        pairs.iter().map(pair).collect()
    };
    let old = [
        ("handler", "vdisk_fileio"),
        ("filename", "/old"),
        ("size", "2G"),
    ];
    let create = Change::Create {
        path: "devices/a".parse().unwrap(),
        attributes: given(&old),
    };
    let (file, size) = (set("filename", &["/new"]), set("size", &[]));
    for run in [[file.clone(), size.clone()], [size, file]] {
        let mut manager = manager(&Model::new());
        manager.run(std::slice::from_ref(&create)).unwrap();
        let done = manager.run(&run).unwrap();
        let reopen = Change::Reopen {
            path: "devices/a".parse().unwrap(),
            attributes: given(&[("handler", "vdisk_fileio"), ("filename", "/new")]),
        };
        assert_eq!(done, [reopen]);
        same(&manager);
    }
    // What cannot be set is not opened anew for company, and which it was is told.
    let mut manager = manager(&Model::new());
    manager.run(&[create]).unwrap();
    let before = manager.model().tree().clone();
    let run = [set("filename", &["/new"]), set("blocksize", &["4096"])];
    let refused = manager.run(&run);
    assert!(
        matches!(refused, Err(RunError::Refused { at: 1, .. })),
        "{refused:?}"
    );
    assert_eq!(*manager.model().tree(), before);
}
