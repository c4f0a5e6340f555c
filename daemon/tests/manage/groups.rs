//! The order of initiator groups is kept, and a plan changes who sees what in one step.

use std::collections::BTreeMap;

use lunforge::core::target::Pattern;
use lunforge_daemon::conf;
use lunforge_daemon::config::{load, write};
use lunforge_daemon::control::protocol::Mode;
use lunforge_daemon::manage::{Change, Manager, Model, Plan, plan};
use lunforge_daemon::tree::{Kind, Object, Path, Tree};
use proptest::prelude::*;

use super::arbitrary::model;
use super::double::{Double, manager};

const TARGET: &str = "targets/iscsi/t";

/// LUN by LUN, the device, and whether it is only read.
type View = BTreeMap<u16, (String, bool)>;

/// What a session of this name sees of a target: the first group that is for it decides.
fn view(target: &Object, name: &str) -> View {
    let is_for = |group: &&Object| {
        let mut patterns = group.of(Kind::Initiator);
        patterns.any(|(key, _)| Pattern::new(key.name()).unwrap().matches(name))
    };
    let mut groups = target.of(Kind::Group).map(|(_, group)| group);
    let luns = groups.find(is_for).unwrap_or(target).of(Kind::Lun);
    luns.map(|(key, lun)| {
        let device = lun.first("device").unwrap().to_owned();
        let read_only = lun.first("read_only") == Some("1");
        (key.number().unwrap(), (device, read_only))
    })
    .collect()
}

/// That nobody sees at a LUN what is there neither before nor after a plan, and who sees the same notices nothing.
fn nobody_sees_a_third_thing(before: &Tree, trace: &[Tree], after: &Tree) {
    let iscsi: Path = "targets/iscsi".parse().unwrap();
    for (key, was) in before.get(&iscsi).unwrap().of(Kind::Target) {
        let path = iscsi.with(key.clone());
        let Some(becomes) = after.get(&path) else {
            continue;
        };
        for name in ["iqn.0", "iqn.1", "iqn.2", "other"] {
            let (was, becomes) = (view(was, name), view(becomes, name));
            for (step, now) in trace.iter().enumerate() {
                let now = view(now.get(&path).unwrap(), name);
                for lun in was.keys().chain(becomes.keys()).chain(now.keys()) {
                    let (was, now, becomes) = (was.get(lun), now.get(lun), becomes.get(lun));
                    let allowed = now == was || now == becomes || now.is_none() && was != becomes;
                    assert!(
                        allowed,
                        "{path} {name} {lun} {step}: {was:?} {now:?} {becomes:?}"
                    );
                }
            }
        }
    }
}

/// Does a plan; the machine after each change.
fn traced(manager: &mut Manager<Double>, plan: &Plan) -> Vec<Tree> {
    manager.machine_mut().trace = Some(Vec::new());
    manager.run(&plan.changes).unwrap();
    manager.machine_mut().trace.take().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn no_initiator_sees_what_is_neither_old_nor_new_while_a_plan_is_done(a in model(120), b in model(120)) {
        let mut manager = manager(&a);
        let plan = plan(&a, b.tree(), Mode::Replace);
        let trace = traced(&mut manager, &plan);
        nobody_sees_a_third_thing(a.tree(), &trace, b.tree());
    }
}

fn of(text: &str) -> Model {
    let devices = "HANDLER vdisk_nullio {\nDEVICE a\nDEVICE b\nDEVICE c\n}\n";
    let text = format!("{devices}TARGET_DRIVER iscsi {{\nTARGET t {{\n{text}}}\n}}\n");
    let tree =
        load(&text, &Tree::default()).unwrap_or_else(|error| panic!("{}", error.show(&text)));
    let mut manager = manager(&Model::new());
    let plan = plan(manager.model(), &tree, Mode::Replace);
    manager.run(&plan.changes).unwrap();
    manager.model().clone()
}

fn group(name: &str, disk: &str, patterns: &[&str]) -> String {
    let initiators: String = patterns
        .iter()
        .map(|pattern| format!("INITIATOR {pattern}\n"))
        .collect();
    format!("GROUP {name} {{\nLUN 0 {disk}\n{initiators}}}\n")
}

fn groups(model: &Model) -> Vec<String> {
    let target = model.object(&TARGET.parse().unwrap()).unwrap();
    let groups = target.of(Kind::Group);
    groups.map(|(key, _)| key.name().to_owned()).collect()
}

/// The steps from one configuration to another one; nobody sees a third thing meanwhile.
fn steps(from: &Model, to: &Model, mode: Mode) -> Vec<String> {
    let plan = plan(from, to.tree(), mode);
    let mut manager = manager(from);
    let trace = traced(&mut manager, &plan);
    nobody_sees_a_third_thing(from.tree(), &trace, manager.model().tree());
    plan.changes.iter().flat_map(Change::lines).collect()
}

#[test]
fn a_file_is_loaded_and_saved_with_its_groups_in_their_order() {
    let model = of(&[
        group("z", "a", &["*"]),
        group("a", "b", &["*"]),
        group("m", "c", &[]),
    ]
    .concat());
    assert_eq!(groups(&model), ["z", "a", "m"]);
    let text = conf::print(&write(&model, &|_, _| None, false));
    let tree = load(&text, &Tree::default()).unwrap();
    for mode in [Mode::Replace, Mode::Merge] {
        assert_eq!(plan(&model, &tree, mode), Plan::default());
    }
    let mut again = manager(&Model::new());
    let plan = plan(again.model(), &tree, Mode::Replace);
    again.run(&plan.changes).unwrap();
    assert_eq!(again.model().tree(), model.tree());
    let printed = conf::print(&write(again.model(), &|_, _| None, false));
    assert_eq!(printed, text);
}

#[test]
fn a_file_with_the_groups_in_another_order_leads_to_that_order() {
    let (a, b, c) = (
        group("a", "a", &["*"]),
        group("b", "b", &["*"]),
        group("c", "c", &[]),
    );
    let abc = of(&[&*a, &*b, &*c].concat());
    let bca = of(&[&*b, &*c, &*a].concat());
    for mode in [Mode::Replace, Mode::Merge] {
        assert_eq!(
            steps(&abc, &bca, mode),
            ["put targets/iscsi/t/ini_groups/a behind the other groups"]
        );
    }
    assert_eq!(
        steps(&bca, &abc, Mode::Replace),
        ["put targets/iscsi/t/ini_groups/a before b"]
    );
    // What is not named stays, wherever that is among the others.
    let ca = of(&[&*c, &*a].concat());
    let mut manager = manager(&abc);
    let merge = plan(&abc, ca.tree(), Mode::Merge);
    manager.run(&merge.changes).unwrap();
    assert_eq!(groups(manager.model()), ["b", "c", "a"]);
    assert!(
        plan(manager.model(), ca.tree(), Mode::Merge)
            .changes
            .is_empty()
    );
}

#[test]
fn a_group_that_is_new_comes_to_its_place_in_the_file() {
    let (a, b, new) = (
        group("a", "a", &["*"]),
        group("b", "b", &["*"]),
        group("n", "c", &["*:x"]),
    );
    let before = of(&[&*a, &*b].concat());
    let after = of(&[&*new, &*a, &*b].concat());
    for mode in [Mode::Replace, Mode::Merge] {
        assert_eq!(
            steps(&before, &after, mode),
            [
                "change what initiators see of targets/iscsi/t in one step",
                "  make targets/iscsi/t/ini_groups/n",
                "  make targets/iscsi/t/ini_groups/n/luns/0",
                "  make targets/iscsi/t/ini_groups/n/initiators/*:x",
                "  put targets/iscsi/t/ini_groups/n before a",
            ]
        );
    }
}

#[test]
fn a_group_that_gets_another_name_is_replaced_in_one_step() {
    let default = "LUN 0 c\n".to_owned();
    let before = of(&[
        &*default,
        &group("old", "a", &["i*"]),
        &group("z", "b", &["*"]),
    ]
    .concat());
    let after = of(&[
        &*default,
        &group("new", "a", &["i*"]),
        &group("z", "b", &["*"]),
    ]
    .concat());
    assert_eq!(
        steps(&before, &after, Mode::Replace),
        [
            "change what initiators see of targets/iscsi/t in one step",
            "  remove targets/iscsi/t/ini_groups/old/initiators/i*",
            "  remove targets/iscsi/t/ini_groups/old/luns/0",
            "  remove targets/iscsi/t/ini_groups/old",
            "  make targets/iscsi/t/ini_groups/new",
            "  make targets/iscsi/t/ini_groups/new/luns/0",
            "  make targets/iscsi/t/ini_groups/new/initiators/i*",
            "  put targets/iscsi/t/ini_groups/new before z",
        ]
    );
}

#[test]
fn groups_that_exchange_names_or_initiators_do_so_in_one_step() {
    let of = |x: (&str, &[&str]), y: (&str, &[&str])| {
        of(&["LUN 0 c\n", &group("x", x.0, x.1), &group("y", y.0, y.1)].concat())
    };
    let before = of(("a", &["iqn.0"]), ("b", &["iqn.1"]));
    let names = of(("b", &["iqn.1"]), ("a", &["iqn.0"]));
    let initiators = of(("a", &["iqn.1"]), ("b", &["iqn.0"]));
    for after in [&names, &initiators] {
        let steps = steps(&before, after, Mode::Replace);
        assert_eq!(
            steps[0],
            format!("change what initiators see of {TARGET} in one step")
        );
        assert!(
            steps[1..].iter().all(|step| step.starts_with("  ")),
            "{steps:?}"
        );
    }
}

#[test]
fn a_lun_whose_device_goes_is_removed_before_and_all_else_in_one_step() {
    let before = of(&["LUN 0 c\n", &group("x", "a", &["i"])].concat());
    let tree = load(
        "HANDLER vdisk_nullio {\nDEVICE b\nDEVICE c\n}\n\
         TARGET_DRIVER iscsi {\nTARGET t {\nLUN 0 c\nGROUP y {\nLUN 0 b\nINITIATOR i\n}\n}\n}\n",
        &Tree::default(),
    )
    .unwrap();
    let plan = plan(&before, &tree, Mode::Replace);
    let mut manager = manager(&before);
    let trace = traced(&mut manager, &plan);
    nobody_sees_a_third_thing(before.tree(), &trace, &tree);
    let first = plan.changes.first().map(Change::to_string);
    assert_eq!(first.unwrap(), "remove targets/iscsi/t/ini_groups/x/luns/0");
}

#[test]
fn a_removed_group_comes_back_to_its_place_when_a_run_is_taken_back() {
    let all = ["a", "b", "c"].map(|name| group(name, "a", &[]));
    let model = of(&all.concat());
    let at = |rest: &str| {
        format!("{TARGET}/ini_groups/{rest}")
            .parse::<Path>()
            .unwrap()
    };
    let remove = |rest: &str| Change::Remove { path: at(rest) };
    let run = [
        remove("b/luns/0"),
        remove("b"),
        remove("a/luns/0"),
        remove("a"),
        Change::Order {
            path: at("c"),
            before: None,
        },
        remove("c/luns/0"),
        remove("c"),
    ];
    let mut manager = manager(&model);
    manager.machine_mut().fails_in = Some(run.len() - 1);
    manager.run(&run).unwrap_err();
    assert_eq!(manager.model().tree(), model.tree());
    assert_eq!(manager.machine().model.tree(), model.tree());
    assert_eq!(groups(manager.model()), ["a", "b", "c"]);
}

#[test]
fn what_is_no_change_of_what_initiators_see_is_not_done_with_others_at_once() {
    let model = of(&group("a", "a", &[]));
    let path: Path = TARGET.parse().unwrap();
    let at = |rest: &str| format!("{TARGET}/{rest}").parse::<Path>().unwrap();
    let set = Change::Set {
        path: at("ini_groups/a"),
        attribute: "black_hole".to_owned(),
        values: Vec::new(),
    };
    let device = Change::Remove {
        path: Path::device("c").unwrap(),
    };
    let elsewhere = Change::Remove {
        path: "targets/iscsi/u/luns/0".parse().unwrap(),
    };
    let itself = Change::AtOnce {
        path: path.clone(),
        changes: Vec::new(),
    };
    for wrong in [set, device, elsewhere, itself] {
        let told = wrong.to_string();
        let first = Change::Remove {
            path: at("ini_groups/a/luns/0"),
        };
        let changes = vec![first, wrong];
        let mut manager = manager(&model);
        let error = manager
            .run(&[Change::AtOnce {
                path: path.clone(),
                changes,
            }])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot change what initiators see of {TARGET} in one step: {told} is not done in one step with changes of \
                 what initiators see of {TARGET}"
            )
        );
        assert_eq!(manager.model().tree(), model.tree());
    }
    let none = Change::Order {
        path: at("ini_groups/a"),
        before: Some("none".to_owned()),
    };
    let error = manager(&model).run(&[none]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot put {TARGET}/ini_groups/a before none: there is no initiator group {TARGET}/ini_groups/none"
        )
    );
}
