//! Device groups and access states.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use lunforge_bench::initiator::{Initiator, Reply};
use lunforge_daemon::control::protocol::{Call, Mode};
use lunforge_daemon::control::{Answers, ConfigFile, Managed, ScstConf};
use lunforge_daemon::live::Settings;
use lunforge_daemon::manage::Change;
use serde_json::json;

use super::bed::*;

const REMOTE: &str = "iqn.2026-11.org.example:remote";
const LOCAL_GROUP: &str = "device_groups/dg/target_groups/local";
const STATE_CHANGED: (u8, u8) = (0x2A, 0x06);
const STANDBY: (u8, u8) = (0x04, 0x0B);

/// As scst.conf of a node has it: a local target in group 1, one of the other node in group 2.
fn states(local: &str) -> Vec<Change> {
    let remote_group = "device_groups/dg/target_groups/remote";
    vec![
        create("device_groups/dg", &[]),
        create("device_groups/dg/devices/d", &[]),
        create(LOCAL_GROUP, &[("group_id", "1"), ("state", local)]),
        create(&format!("{LOCAL_GROUP}/{IQN}"), &[]),
        create(remote_group, &[("group_id", "2"), ("state", "active")]),
        create(&format!("{remote_group}/{REMOTE}"), &[("rel_tgt_id", "20")]),
    ]
}

/// Group identifier, state and ports as REPORT TARGET PORT GROUPS has them.
fn reported(initiator: &mut Initiator) -> Vec<(u16, u8, Vec<u16>)> {
    let cdb = [0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let data = initiator.command(0, &cdb, &[], 256).unwrap();
    let data = data.require_good("RTPG").unwrap().data;
    let word = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
    let (mut groups, mut rest) = (Vec::new(), &data[4..]);
    while rest.len() >= 8 {
        let ports = usize::from(rest[7]);
        let numbers = rest[8..8 + 4 * ports]
            .chunks_exact(4)
            .map(|p| word(&p[2..]));
        groups.push((word(&rest[2..]), rest[0] & 0x0F, numbers.collect()));
        rest = &rest[8 + 4 * ports..];
    }
    groups
}

#[test]
fn access_states_are_reported_and_told() {
    let mut bed = Bed::serving();
    let mut initiator = bed.login("host");
    bed.run(&states("nonoptimized"));
    told(&mut initiator, 0);
    let as_configured = vec![(1, 1, vec![1]), (2, 0, vec![20])];
    assert_eq!(reported(&mut initiator), as_configured);
    bed.run(&[set(LOCAL_GROUP, "state", &["standby"])]);
    let told_first = initiator.command(0, &TEST_UNIT_READY, &[], 0).unwrap();
    assert_eq!(asc(&told_first), Some(STATE_CHANGED));
    let refused = initiator.command(0, &TEST_UNIT_READY, &[], 0).unwrap();
    assert_eq!(asc(&refused), Some(STANDBY));
    assert_eq!(bed.read(LOCAL_GROUP, "state").unwrap(), "standby");
    bed.run(&[
        set(LOCAL_GROUP, "state", &["active"]),
        set(LOCAL_GROUP, "preferred", &["1"]),
        set(LOCAL_GROUP, "group_id", &["11"]),
        set(TARGET, "rel_tgt_id", &["5"]),
    ]);
    told(&mut initiator, 0);
    let now = vec![(2, 0, vec![20]), (11, 0, vec![5])];
    assert_eq!(reported(&mut initiator), now);
    let back: Vec<_> = states("active")
        .iter()
        .rev()
        .map(|change| Change::Remove {
            path: change.path().clone(),
        })
        .collect();
    bed.run(&back);
    told(&mut initiator, 0);
    assert_eq!(inquiry(&mut initiator, 0, None)[5] & 0x30, 0);
    initiator.read(0, 0, 1, 512).unwrap();
}

#[test]
fn a_device_bound_to_its_state_may_be_missing_on_a_node_that_stands_by() {
    let mut bed = Bed::new();
    let file = bed.file("d");
    let given = [
        ("handler", "vdisk_fileio"),
        ("filename", file.as_str()),
        ("bind_alua_state", "1"),
    ];
    let mut load = vec![
        create("devices/d", &given),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "d")]),
    ];
    load.extend(states("standby"));
    load.push(set(TARGET, "enabled", &["1"]));
    bed.run(&load);
    let mut initiator = bed.connect(IQN, &host("host")).unwrap();
    // Power on is told in every state; then the state.
    let replies = (0..4).map(|_| initiator.command(0, &TEST_UNIT_READY, &[], 0).unwrap());
    assert_eq!(asc(&replies.last().unwrap()), Some(STANDBY));
    // It cannot become active without its file, and stays what it is.
    let said = bed.fails(&[set(LOCAL_GROUP, "state", &["active"])], 0);
    assert!(said.contains("cannot take its medium"), "{said}");
    assert_eq!(bed.read(LOCAL_GROUP, "state").unwrap(), "standby");
    bed.disk("d");
    bed.run(&[set(LOCAL_GROUP, "state", &["active"])]);
    assert!(told(&mut initiator, 0).contains(&STATE_CHANGED));
    initiator.write(0, 0, &[3; 512], 512).unwrap();
    bed.run(&[set(LOCAL_GROUP, "state", &["standby"])]);
    assert_eq!(fs::read(&file).unwrap()[..512], [3; 512]);
    let free = fs::File::open(&file).unwrap();
    free.try_lock().expect("the file was given up");
    free.unlock().unwrap();
    // A group that is taken apart does not take the file.
    fs::remove_file(&file).unwrap();
    let back: Vec<_> = states("standby")
        .iter()
        .rev()
        .map(|change| Change::Remove {
            path: change.path().clone(),
        })
        .collect();
    bed.run(&back);
    assert_eq!(bed.read("devices/d", "active").unwrap(), "0");
}

/// A device whose access states initiators may change, as LUN 0, with both target groups.
fn explicit(bed: &mut Bed) {
    let file = bed.disk("d");
    let given = [("handler", "vdisk_fileio"), ("filename", file.as_str())];
    bed.run(&[
        create("devices/d", &given),
        set("devices/d", "expl_alua", &["1"]),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "d")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    bed.run(&states("active"));
}

/// SET TARGET PORT GROUPS of the local group.
fn set_state(initiator: &mut Initiator, state: u8) -> Reply {
    let cdb = [0xA4, 0x0A, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
    let list = [0, 0, 0, 0, state, 0, 0, 1];
    initiator.command(0, &cdb, &list, 0).unwrap()
}

#[test]
fn a_state_that_an_initiator_sets_is_what_is_configured() {
    let mut bed = Bed::new();
    explicit(&mut bed);
    let mut initiator = bed.login("host");
    let file = bed.dir.path().join("scst.conf");
    let observe = Arc::clone(bed.manager.machine().registry());
    let saved = Some(ConfigFile::new(&file));
    let managed = Arc::new(Managed::new(bed.manager, observe, ScstConf, saved));
    let ask = |call: Call| managed.answer(call).unwrap();
    let get = || {
        let (path, attribute) = (path(LOCAL_GROUP), "state".to_owned());
        ask(Call::Get { path, attribute })["values"][0].clone()
    };
    let steps = |config: &str| {
        let (config, mode) = (config.to_owned(), Mode::Replace);
        ask(Call::Plan { config, mode })["steps"].clone()
    };
    ask(Call::Save { all: false });
    let as_made = fs::read_to_string(&file).unwrap();
    assert_eq!(steps(&as_made), json!([]));

    assert!(set_state(&mut initiator, 1).is_good());
    assert_eq!(get(), "nonoptimized");
    let back = format!("set state of {LOCAL_GROUP} back to its default");
    assert_eq!(steps(&as_made), json!([back]));
    assert_eq!(ask(Call::Status)["unsaved"], true);
    let printed = ask(Call::Print { all: false })["config"].clone();
    assert!(printed.as_str().unwrap().contains("state nonoptimized"));

    // A save without a question before it, and an apply.
    assert!(set_state(&mut initiator, 2).is_good());
    ask(Call::Save { all: false });
    let now = fs::read_to_string(&file).unwrap();
    assert_eq!(now, as_made.replacen("state active", "state standby", 1));
    assert_eq!(ask(Call::Status)["unsaved"], false);
    assert!(set_state(&mut initiator, 1).is_good());
    let planned = managed.apply(&as_made, Mode::Replace, true).unwrap();
    assert_eq!(planned.steps, [back]);
    assert_eq!(get(), "active");
    told(&mut initiator, 0);
    assert_eq!(reported(&mut initiator)[0].1, 0);
}

#[test]
fn a_program_decides_what_initiators_may_change() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("on_stpg");
    let asked = dir.path().join("asked");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\ntest \"$3\" != standby\n",
        asked.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut bed = Bed::with(Settings {
        on_stpg: Some(program),
        ..Settings::default()
    });
    explicit(&mut bed);
    let mut initiator = bed.login("host");
    assert!(set_state(&mut initiator, 1).is_good());
    assert_eq!(bed.read(LOCAL_GROUP, "state").unwrap(), "nonoptimized");
    let refused = set_state(&mut initiator, 2);
    assert_eq!(asc(&refused), Some((0x67, 0x0A)));
    assert_eq!(bed.read(LOCAL_GROUP, "state").unwrap(), "nonoptimized");
    let lines = fs::read_to_string(asked).unwrap();
    assert_eq!(
        lines,
        "d active nonoptimized dg local\nd nonoptimized standby dg local\n"
    );
}

#[test]
fn an_identifier_that_is_found_is_none_of_a_target_of_another_node() {
    let remote = format!("device_groups/dg/target_groups/remote/{REMOTE}");
    let mut bed = Bed::new();
    bed.run(&[null("d"), create(TARGET, &[])]);
    bed.run(&states("active"));
    bed.run(&[
        set(&remote, "rel_tgt_id", &["1"]),
        create(&lun(0), &[("device", "d")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    assert_eq!(bed.read(TARGET, "rel_tgt_id").unwrap(), "2");
    let ports = |(group, _, ports): (u16, u8, Vec<u16>)| (group, ports);
    let reported = reported(&mut bed.login("host")).into_iter().map(ports);
    assert_eq!(reported.collect::<Vec<_>>(), [(1, vec![2]), (2, vec![1])]);
}
