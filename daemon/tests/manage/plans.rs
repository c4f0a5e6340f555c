//! A plan leads to what a configuration says, and then there is nothing to do.

use std::time::Instant;

use lunforge_daemon::control::protocol::Mode;
use lunforge_daemon::manage::{Change, Model, closing, emptying, plan, removal};
use lunforge_daemon::tree::{Attributes, Key, Kind, Object, Path, Tree};
use proptest::prelude::*;

use super::arbitrary::model;
use super::double::manager;

/// `tree` without the identifiers of ports of targets that have none in `wanted`: they keep what they have.
fn without_kept_ports(tree: &Tree, wanted: &Tree) -> Tree {
    let mut kept = Vec::new();
    wanted.walk(|path, target| {
        if path.kind() == Kind::Target && target.first("rel_tgt_id").is_none() {
            kept.push(path.clone());
        }
    });
    let mut tree = tree.clone();
    for path in kept {
        if let Some(target) = tree.get_mut(&path) {
            target.attributes.remove("rel_tgt_id");
        }
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_plan_in_place_of_everything_leads_from_any_model_to_any_other(a in model(80), b in model(80)) {
        let mut manager = manager(&a);
        let plan = plan(&a, b.tree(), Mode::Replace);
        prop_assert!(plan.notices.is_empty());
        if let Err(error) = manager.run(&plan.changes) {
            panic!("{error}\n{:#?}", plan.changes);
        }
        prop_assert_eq!(&without_kept_ports(manager.model().tree(), b.tree()), b.tree());
        prop_assert_eq!(manager.machine().model.tree(), manager.model().tree());
        let again = lunforge_daemon::manage::plan(manager.model(), b.tree(), Mode::Replace);
        prop_assert!(again.changes.is_empty(), "{:?}", again.changes);
    }

    #[test]
    fn a_plan_beside_what_is_there_removes_nothing_and_is_empty_when_it_is_done(a in model(40), b in model(40)) {
        let mut manager = manager(&a);
        let before = plan(&a, b.tree(), Mode::Merge);
        prop_assert!(before.notices.len() <= 21);
        // What is there may forbid what is wanted, as a device of another device group does.
        if manager.run(&before.changes).is_ok() {
            let after = plan(manager.model(), b.tree(), Mode::Merge);
            prop_assert!(after.changes.is_empty(), "{:?}", after.changes);
            let now = manager.model().tree();
            for tree in [a.tree(), b.tree()] {
                tree.walk(|path, _| {
                    let moved = path.kind() == Kind::Initiator;
                    let copy = path.name_of(Kind::Driver) == Some("copy_manager");
                    assert!(moved || copy || now.get(path).is_some(), "{path}");
                });
            }
        }
    }

    #[test]
    fn to_plan_what_is_there_is_nothing_to_do(a in model(80)) {
        for mode in [Mode::Merge, Mode::Replace] {
            prop_assert_eq!(plan(&a, a.tree(), mode), Default::default());
        }
    }

    #[test]
    fn removing_with_what_stands_in_it_leaves_nothing_of_it(a in model(80)) {
        let mut manager = manager(&a);
        for kind in [Kind::DeviceGroup, Kind::Device] {
            let changes: Vec<_> = match kind {
                Kind::Device => {
                    let devices = a.tree().root().of(kind);
                    let path = |key: &Key| Path::root().with(key.clone());
                    devices.flat_map(|(key, _)| closing(manager.model(), &path(key))).collect()
                }
                _ => emptying(manager.model(), &Path::root(), kind),
            };
            manager.run(&changes).unwrap();
            prop_assert_eq!(manager.model().tree().root().of(kind).count(), 0);
        }
        let iscsi: Path = "targets/iscsi".parse().unwrap();
        let changes = emptying(manager.model(), &iscsi, Kind::Target);
        manager.run(&changes).unwrap();
        prop_assert!(manager.model().object(&iscsi).unwrap().is_leaf());
    }
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn create(at: &str, given: &[(&str, &str)]) -> Change {
    let pairs = given
        .iter()
        .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
    Change::Create {
        path: path(at),
        attributes: pairs.collect(),
    }
}

fn of(run: &[Change]) -> Model {
    let mut manager = manager(&Model::new());
    manager.run(run).unwrap();
    manager.model().clone()
}

fn disk(name: &str) -> Change {
    create(&format!("devices/{name}"), &[("handler", "vdisk_nullio")])
}

fn told(from: &Model, to: &Model, mode: Mode) -> Vec<String> {
    let plan = plan(from, to.tree(), mode);
    plan.changes.iter().map(ToString::to_string).collect()
}

const T: &str = "targets/iscsi/t";

#[test]
fn everything_is_made_before_a_target_is_switched_on_and_it_is_switched_off_before_anything_goes() {
    let full = of(&[
        disk("a"),
        create(T, &[("enabled", "1"), ("rel_tgt_id", "1")]),
        create(&format!("{T}/luns/0"), &[("device", "a")]),
        create(&format!("{T}/ini_groups/g"), &[]),
        create(&format!("{T}/ini_groups/g/luns/0"), &[("device", "a")]),
        create(&format!("{T}/ini_groups/g/initiators/i"), &[]),
        create("device_groups/dg", &[]),
        create("device_groups/dg/devices/a", &[]),
        create("device_groups/dg/target_groups/tg", &[("group_id", "1")]),
        create("device_groups/dg/target_groups/tg/t", &[]),
        Change::Set {
            path: path("targets/iscsi"),
            attribute: "enabled".to_owned(),
            values: vec!["1".to_owned()],
        },
        Change::Set {
            path: Path::root(),
            attribute: "threads".to_owned(),
            values: vec!["2".to_owned()],
        },
    ]);
    let made = told(&Model::new(), &full, Mode::Replace);
    assert_eq!(
        made,
        [
            "make devices/a",
            "make targets/iscsi/t",
            "make targets/iscsi/t/luns/0",
            "make targets/iscsi/t/ini_groups/g",
            "make targets/iscsi/t/ini_groups/g/luns/0",
            "make targets/iscsi/t/ini_groups/g/initiators/i",
            "make targets/copy_manager/copy_manager_tgt/luns/0",
            "make device_groups/dg",
            "make device_groups/dg/devices/a",
            "make device_groups/dg/target_groups/tg",
            "make device_groups/dg/target_groups/tg/t",
            "set enabled of targets/iscsi/t",
            "set enabled of targets/iscsi",
            "set threads of the target system",
        ]
    );
    assert_eq!(
        told(&full, &Model::new(), Mode::Replace),
        [
            "set enabled of targets/iscsi back to its default",
            "set enabled of targets/iscsi/t back to its default",
            "remove device_groups/dg/target_groups/tg/t",
            "remove device_groups/dg/target_groups/tg",
            "remove device_groups/dg/devices/a",
            "remove device_groups/dg",
            "remove targets/iscsi/t/ini_groups/g/initiators/i",
            "remove targets/iscsi/t/ini_groups/g/luns/0",
            "remove targets/iscsi/t/ini_groups/g",
            "remove targets/iscsi/t/luns/0",
            "remove targets/iscsi/t",
            "remove targets/copy_manager/copy_manager_tgt/luns/0",
            "remove devices/a",
            "set threads of the target system back to its default",
        ]
    );
    assert_eq!(removal(&full, &path(T)).len(), 6);
}

#[test]
fn a_lun_gets_another_device_in_one_step_and_a_device_is_opened_anew_where_it_must_be() {
    let lun = |device: &str| create(&format!("{T}/luns/0"), &[("device", device)]);
    let before = of(&[disk("a"), disk("b"), create(T, &[]), lun("a")]);
    let after = of(&[disk("a"), disk("b"), create(T, &[]), lun("b")]);
    assert_eq!(
        told(&before, &after, Mode::Merge),
        ["put b under targets/iscsi/t/luns/0"]
    );
    let removable = create(
        "devices/a",
        &[("handler", "vdisk_nullio"), ("removable", "1")],
    );
    let reopened = of(&[removable, disk("b"), create(T, &[]), lun("a")]);
    assert_eq!(
        told(&before, &reopened, Mode::Merge),
        ["open devices/a anew"]
    );
    let serial = create("devices/a", &[("handler", "vdisk_nullio"), ("usn", "1")]);
    let set = of(&[serial, disk("b"), create(T, &[]), lun("a")]);
    assert_eq!(told(&before, &set, Mode::Merge), ["set usn of devices/a"]);
}

#[test]
fn another_file_and_what_is_said_of_it_are_one_step() {
    let with = |more: &[(&str, &str)]| {
        let given = [&[("handler", "vdisk_fileio")], more].concat();
        of(&[create("devices/a", &given)])
    };
    let old = with(&[("filename", "/old"), ("size", "2G")]);
    for new in [
        with(&[("filename", "/new")]),
        with(&[("filename", "/new"), ("size", "1G")]),
        with(&[("filename", "/new"), ("size", "2G"), ("usn", "1")]),
    ] {
        let plan = plan(&old, new.tree(), Mode::Replace);
        let [change @ Change::Reopen { attributes, .. }] = &*plan.changes else {
            panic!("{:?}", plan.changes);
        };
        assert_eq!(change.to_string(), "open devices/a anew");
        let wanted = &new.object(&path("devices/a")).unwrap().attributes;
        assert_eq!(attributes, wanted);
    }
    let file = with(&[("filename", "/new"), ("size", "2G")]);
    let told = |to: &Model| told(&old, to, Mode::Replace);
    assert_eq!(told(&file), ["set filename of devices/a"]);
    // Another medium of a drive is put into it; the drive stays what it is.
    let drive = |more: &[(&str, &str)]| {
        let given = [&[("handler", "vcdrom")], more].concat();
        of(&[create("devices/a", &given)])
    };
    let image = drive(&[("filename", "/new"), ("usn", "1")]);
    let sets = ["set filename of devices/a", "set usn of devices/a"];
    let plan = plan(&drive(&[("filename", "/old")]), image.tree(), Mode::Replace);
    let lines: Vec<_> = plan.changes.iter().map(Change::to_string).collect();
    assert_eq!(lines, sets);
}

#[test]
fn an_initiator_moves_in_one_step_between_groups_that_stay() {
    let groups = [
        create(T, &[]),
        create(&format!("{T}/ini_groups/g"), &[]),
        create(&format!("{T}/ini_groups/h"), &[]),
    ];
    let with = |group: &str| {
        let initiator = create(&format!("{T}/ini_groups/{group}/initiators/i"), &[]);
        of(&[&groups[..], &[initiator]].concat())
    };
    for mode in [Mode::Merge, Mode::Replace] {
        let changes = told(&with("g"), &with("h"), mode);
        assert_eq!(
            changes,
            ["move targets/iscsi/t/ini_groups/g/initiators/i to h"]
        );
        assert!(plan(&with("g"), with("h").tree(), mode).notices.is_empty());
    }
}

#[test]
fn what_the_configuration_does_not_name_stays_with_a_notice_and_not_more_than_some() {
    let target = |n: usize| create(&format!("targets/iscsi/t{n}"), &[("comment", "x")]);
    let many = of(&(0..30).map(target).collect::<Vec<_>>());
    let plan = plan(&many, Model::new().tree(), Mode::Merge);
    assert!(plan.changes.is_empty());
    assert_eq!(plan.notices.len(), 21);
    assert_eq!(
        plan.notices[0],
        "targets/iscsi/t0 is not in the configuration and stays"
    );
    assert_eq!(
        plan.notices[20],
        "10 more are not in the configuration and stay"
    );
}

#[test]
fn users_that_a_configuration_does_not_name_stay_and_the_secret_of_one_that_it_names_changes() {
    let with = |users: &[&str]| {
        let mut model = manager(&Model::new());
        let attributes = Attributes::from([(
            "IncomingUser".to_owned(),
            users.iter().map(|user| (*user).to_owned()).collect(),
        )]);
        let create = Change::Create {
            path: path(T),
            attributes,
        };
        model.run(&[create]).unwrap();
        model.model().clone()
    };
    let there = with(&["ann 0123456789ab", "joe 0123456789ab"]);
    let wanted = with(&["joe abcdefghijkl"]);
    let plan = plan(&there, wanted.tree(), Mode::Merge);
    assert_eq!(
        plan.notices,
        [format!(
            "IncomingUser of {T} is not in the configuration and stays"
        )]
    );
    let mut manager = manager(&there);
    manager.run(&plan.changes).unwrap();
    let users = &manager.model().object(&path(T)).unwrap().attributes["IncomingUser"];
    assert_eq!(*users, ["joe abcdefghijkl", "ann 0123456789ab"]);
}

#[test]
fn in_a_cluster_a_device_leaves_it_to_change_its_name_there_and_comes_back() {
    let disk = |more: &[(&str, &str)]| {
        let given = [&[("handler", "vdisk_nullio"), ("cluster_mode", "1")], more].concat();
        of(&[create("devices/a", &given)])
    };
    assert_eq!(
        told(&disk(&[]), &disk(&[("t10_dev_id", "x")]), Mode::Merge),
        [
            "set cluster_mode of devices/a back to its default",
            "set t10_dev_id of devices/a",
            "set cluster_mode of devices/a",
        ]
    );
    // To apply what is there again does not touch it.
    assert!(told(&disk(&[]), &disk(&[]), Mode::Merge).is_empty());
}

#[test]
fn disks_that_are_there_keep_their_luns_of_the_copy_manager() {
    let there = of(&[disk("a"), disk("b")]);
    let wanted = of(&[disk("c"), disk("b")]);
    let mut manager = manager(&there);
    manager
        .run(&plan(&there, wanted.tree(), Mode::Merge).changes)
        .unwrap();
    let target = manager
        .model()
        .object(&path("targets/copy_manager/copy_manager_tgt"))
        .unwrap();
    let luns: Vec<_> = target
        .children()
        .map(|(key, lun)| (key.name(), lun.first("device").unwrap()))
        .collect();
    assert_eq!(luns, [("0", "a"), ("1", "b"), ("2", "c")]);
}

#[test]
fn a_thousand_targets_are_planned_and_made_without_a_walk_for_each() {
    let mut tree = Model::new().tree().clone();
    let root = tree.get_mut(&Path::root()).unwrap();
    let key = |kind, name: String| Key::new(kind, name).unwrap();
    let object = |name: &str, value: &str| {
        Object::new(Attributes::from([(
            name.to_owned(),
            vec![value.to_owned()],
        )]))
    };
    root.insert(
        key(Kind::Device, "a".to_owned()),
        object("handler", "vdisk_nullio"),
    );
    for target in 0..1000 {
        let mut object_of_target = Object::default();
        for lun in 0..10 {
            object_of_target.insert(Key::lun(lun), object("device", "a"));
        }
        let iscsi = tree.get_mut(&path("targets/iscsi")).unwrap();
        iscsi.insert(key(Kind::Target, format!("t{target}")), object_of_target);
    }
    let begin = Instant::now();
    let mut manager = manager(&Model::new());
    let plan = plan(manager.model(), &tree, Mode::Replace);
    manager.run(&plan.changes).unwrap();
    // Without optimization and beside other work; a walk for each change would take minutes.
    assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
    assert_eq!(manager.model().users("a").count(), 10_001);
}
