//! Refusals, each with its sentence, and what goes with a change by itself.

use super::*;
use crate::tree::{Attributes, Path};

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn attributes(given: &[(&str, &str)]) -> Attributes {
    let mut attributes = Attributes::new();
    for (name, value) in given {
        let values: &mut Vec<String> = attributes.entry((*name).to_owned()).or_default();
        values.push((*value).to_owned());
    }
    attributes
}

fn create(at: &str, given: &[(&str, &str)]) -> Change {
    let (path, attributes) = (path(at), attributes(given));
    Change::Create { path, attributes }
}

fn disk(name: &str, given: &[(&str, &str)]) -> Change {
    let filename = format!("/disks/{name}");
    let all = [
        &[("handler", "vdisk_fileio"), ("filename", &filename)],
        given,
    ]
    .concat();
    create(&format!("devices/{name}"), &all)
}

fn remove(at: &str) -> Change {
    Change::Remove { path: path(at) }
}

fn set(at: &str, attribute: &str, values: &[&str]) -> Change {
    Change::Set {
        path: path(at),
        attribute: attribute.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

/// A machine that can do everything.
#[derive(Debug, Default)]
struct Able {
    done: Vec<String>,
}

impl Machine for Able {
    fn perform(&mut self, change: &Change, _: &Model) -> Result<(), Failure> {
        self.done.push(change.to_string());
        Ok(())
    }

    fn trigger(&mut self, _: &Path, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    fn read(&self, _: &Path, _: &str) -> Option<String> {
        None
    }
}

fn manager(run: &[Change]) -> Manager<Able> {
    let mut manager = Manager::new(Model::new(), Able::default());
    manager.run(run).unwrap();
    manager
}

const T: &str = "targets/iscsi/iqn.2026-11.org.example:t";

/// A disk at LUN 0 of a target, and in a device group.
fn small() -> Vec<Change> {
    vec![
        disk("a", &[]),
        create(T, &[]),
        create(&format!("{T}/luns/0"), &[("device", "a")]),
        create(&format!("{T}/ini_groups/hosts"), &[]),
        create(&format!("{T}/ini_groups/others"), &[]),
        create(&format!("{T}/ini_groups/hosts/initiators/iqn.*"), &[]),
        create("device_groups/g", &[]),
        create("device_groups/g/devices/a", &[]),
        create("device_groups/g/target_groups/local", &[("group_id", "1")]),
    ]
}

/// The sentence by which a run is refused that comes after another one, of which nothing is left then.
fn refusal(before: &[Change], run: &[Change]) -> String {
    let mut manager = manager(before);
    let tree = manager.model().tree().clone();
    let done = manager.machine().done.len();
    let error = manager.run(run).unwrap_err();
    assert_eq!(*manager.model().tree(), tree);
    assert_eq!(manager.machine().done.len(), done);
    error.to_string()
}

#[test]
fn what_is_not_there_or_is_there_already_is_named() {
    let says = |run: Change| refusal(&small(), &[run]);
    assert_eq!(
        says(remove("devices/b")),
        "cannot remove devices/b: there is no device devices/b"
    );
    assert_eq!(
        says(disk("a", &[])),
        "cannot make devices/a: there is a device devices/a already"
    );
    assert_eq!(
        says(create("targets/iscsi/x/luns/0", &[("device", "a")])),
        "cannot make targets/iscsi/x/luns/0: there is no target targets/iscsi/x"
    );
    assert_eq!(
        says(create(&format!("{T}/luns/1"), &[("device", "b")])),
        format!("cannot make {T}/luns/1: there is no device devices/b")
    );
    assert_eq!(
        says(create(
            "devices/b",
            &[("handler", "dev_disk"), ("filename", "/dev/sda")]
        )),
        "cannot make devices/b: there is no handler handlers/dev_disk"
    );
    assert_eq!(
        says(create("device_groups/g/devices/b", &[])),
        "cannot make device_groups/g/devices/b: there is no device devices/b"
    );
}

#[test]
fn what_is_in_use_or_holds_something_stays() {
    let says = |at: &str| refusal(&small(), &[remove(at)]);
    assert_eq!(
        says("devices/a"),
        format!(
            "cannot remove devices/a: devices/a is in use by {T}/luns/0, device_groups/g/devices/a"
        )
    );
    assert_eq!(says(T), format!("cannot remove {T}: {T} is not empty"));
    let second = [
        create("device_groups/h", &[]),
        create("device_groups/h/devices/a", &[]),
    ];
    assert_eq!(
        refusal(&small(), &second),
        "cannot make device_groups/h/devices/a: devices/a is in use by device_groups/g/devices/a"
    );
}

#[test]
fn what_is_there_from_the_start_is_neither_made_nor_removed() {
    let says = |run: Change| refusal(&[], &[run]);
    assert_eq!(
        says(create("handlers/dev_disk", &[])),
        "cannot make handlers/dev_disk: a handler cannot be made or removed: there are vcdrom, vdisk_blockio, \
         vdisk_fileio, vdisk_nullio"
    );
    assert_eq!(
        says(remove("targets/iscsi")),
        "cannot remove targets/iscsi: a target driver cannot be made or removed: there are copy_manager, ib_srpt, iscsi"
    );
    assert_eq!(
        says(remove("targets/copy_manager/copy_manager_tgt")),
        "cannot remove targets/copy_manager/copy_manager_tgt: a target cannot be made or removed: there are \
         copy_manager_tgt"
    );
}

#[test]
fn attributes_that_are_unknown_missing_or_not_settable_are_named() {
    let says = |run: Change| refusal(&small(), &[run]);
    assert_eq!(
        says(set("devices/a", "color", &["red"])),
        "cannot set color of devices/a: a device of vdisk_fileio has no attribute \"color\""
    );
    assert_eq!(
        says(create("devices/b", &[("handler", "vdisk_blockio")])),
        "cannot make devices/b: a device needs the attribute \"filename\""
    );
    assert_eq!(
        says(create("devices/b", &[("filename", "/disks/b")])),
        "cannot make devices/b: a device needs the attribute \"handler\""
    );
    assert_eq!(
        says(set("devices/a", "nv_cache", &["1"])),
        "cannot set nv_cache of devices/a: nv_cache cannot be changed while the object lives"
    );
    assert_eq!(
        says(set("devices/a", "type", &["0"])),
        "cannot set type of devices/a: type cannot be set"
    );
    assert_eq!(
        says(set(T, "rel_tgt_id", &["1", "2"])),
        format!("cannot set rel_tgt_id of {T}: rel_tgt_id has one value, not several")
    );
    assert_eq!(
        says(set(T, "rel_tgt_id", &["70000"])),
        format!(
            "cannot set rel_tgt_id of {T}: rel_tgt_id: \"70000\" is not allowed: expected a number from 0 to 65535"
        )
    );
    assert_eq!(
        says(create(
            &format!("devices/{}", "x".repeat(65)),
            &[("handler", "vdisk_nullio")]
        )),
        format!(
            "cannot make devices/{}: the name of a device has at most 64 bytes",
            "x".repeat(65)
        )
    );
}

#[test]
fn an_error_never_has_a_secret() {
    let says = |values: &[&str]| refusal(&small(), &[set(T, "IncomingUser", values)]);
    assert_eq!(
        says(&["joe short"]),
        format!(
            "cannot set IncomingUser of {T}: IncomingUser: \"...\" is not allowed: expected a name and a secret of 12 \
             to 256 bytes"
        )
    );
    assert_eq!(
        says(&["joe 0123456789ab", "joe abcdefghijkl"]),
        format!("cannot set IncomingUser of {T}: IncomingUser has \"joe\" twice")
    );
    let both = [
        set(T, "OutgoingUser", &["us 0123456789ab"]),
        set(T, "IncomingUser", &["joe 0123456789ab"]),
    ];
    assert_eq!(
        refusal(&small(), &both),
        format!(
            "cannot set OutgoingUser of {T}: {T}: the secret of OutgoingUser must differ from that of IncomingUser \
             \"joe\""
        )
    );
}

#[test]
fn attributes_that_exclude_each_other_are_refused_when_the_run_is_over() {
    let both = [("write_through", "1"), ("read_only", "1")];
    assert_eq!(
        refusal(&[], &[disk("b", &both)]),
        "cannot make devices/b: devices/b: write_through and read_only exclude each other"
    );
    assert_eq!(
        refusal(&[], &[disk("b", &[("size", "1000")])]),
        "cannot make devices/b: devices/b: size 1000 is not a positive multiple of blocksize 512"
    );
    assert_eq!(
        refusal(&small(), &[set(T, "FirstBurstLength", &["2097152"])]),
        format!(
            "cannot set FirstBurstLength of {T}: {T}: FirstBurstLength 2097152 must not exceed MaxBurstLength 1048576"
        )
    );
    let mut manager = manager(&small());
    let larger = [
        set(T, "FirstBurstLength", &["2097152"]),
        set(T, "MaxBurstLength", &["4194304"]),
    ];
    manager.run(&larger).unwrap();
}

#[test]
fn two_objects_are_never_taken_for_one() {
    let usn = [("usn", "1")];
    assert_eq!(
        refusal(&[disk("b", &usn)], &[disk("c", &usn)]),
        "cannot make devices/c: usn \"1\" is that of devices/b already"
    );
    for other in [
        "targets/iscsi/iqn.2026-11.org.example:T",
        "targets/ib_srpt/iqn.2026-11.org.example:t",
    ] {
        assert_eq!(
            refusal(&small(), &[create(other, &[])]),
            format!(
                "cannot make {other}: the name \"iqn.2026-11.org.example:t\" is that of {T} already"
            )
        );
    }
    let groups = [create(
        "device_groups/g/target_groups/remote",
        &[("group_id", "0x1")],
    )];
    assert_eq!(
        refusal(&small(), &groups),
        "cannot make device_groups/g/target_groups/remote: group_id \"1\" is that of \
         device_groups/g/target_groups/local already"
    );
}

#[test]
fn two_targets_exchange_their_identifiers_in_one_run() {
    let u = "targets/iscsi/iqn.2026-11.org.example:u";
    let mut manager = manager(&[
        create(T, &[("rel_tgt_id", "1")]),
        create(u, &[("rel_tgt_id", "2")]),
    ]);
    let swap = [set(T, "rel_tgt_id", &["2"]), set(u, "rel_tgt_id", &["1"])];
    manager.run(&swap).unwrap();
    assert_eq!(manager.model().value(&path(T), "rel_tgt_id").unwrap(), "2");
}

#[test]
fn in_a_cluster_a_device_keeps_what_the_others_know_it_by() {
    let clustered = [disk("b", &[("cluster_mode", "1")])];
    for name in ["t10_dev_id", "pr_file_name"] {
        let refused =
            format!("cannot set {name} of devices/b: {name} cannot be set while cluster_mode is 1");
        assert_eq!(
            refusal(&clustered, &[set("devices/b", name, &["/x"])]),
            refused
        );
    }
    let reopen = Change::Reopen {
        path: path("devices/b"),
        attributes: attributes(&[
            ("handler", "vdisk_fileio"),
            ("filename", "/disks/b"),
            ("cluster_mode", "1"),
            ("t10_dev_id", "x"),
        ]),
    };
    assert_eq!(
        refusal(&clustered, &[reopen]),
        "cannot open devices/b anew: t10_dev_id cannot be set while cluster_mode is 1"
    );
    let leave = [
        set("devices/b", "cluster_mode", &["0"]),
        set("devices/b", "t10_dev_id", &["x"]),
        set("devices/b", "cluster_mode", &["1"]),
    ];
    manager(&clustered).run(&leave).unwrap();
}

#[test]
fn the_file_of_reservations_stays_while_initiators_reach_the_device() {
    assert_eq!(
        refusal(&small(), &[set("devices/a", "pr_file_name", &["/x"])]),
        "cannot set pr_file_name of devices/a: pr_file_name cannot be set while the device is a LUN"
    );
    // That of the copy manager is none.
    let mut manager = manager(&[disk("b", &[])]);
    manager
        .run(&[set("devices/b", "pr_file_name", &["/x"])])
        .unwrap();
}

#[test]
fn setup_id_stays_while_a_device_is_known_by_it() {
    assert_eq!(
        refusal(&small(), &[set("", "setup_id", &["5"])]),
        "cannot set setup_id of the target system: setup_id cannot be set while the identification of devices/a follows from it"
    );
    let own = [disk("b", &[("usn", "1"), ("t10_dev_id", "1")])];
    let mut manager = manager(&own);
    manager.run(&[set("", "setup_id", &["5"])]).unwrap();
    assert_eq!(
        manager.model().value(&Path::root(), "setup_id").unwrap(),
        "0x5"
    );
}

#[test]
fn a_change_that_its_kind_does_not_have_is_refused() {
    let replace = Change::Replace {
        path: path("devices/a"),
        device: "a".to_owned(),
        tell: true,
    };
    assert_eq!(
        refusal(&small(), &[replace]),
        "cannot put a under devices/a: devices/a is no LUN"
    );
    let reopen = Change::Reopen {
        path: path(T),
        attributes: Attributes::new(),
    };
    assert_eq!(
        refusal(&small(), &[reopen]),
        format!("cannot open {T} anew: {T} is no device")
    );
    let from = format!("{T}/ini_groups/hosts/initiators/iqn.*");
    let to = |group: &str| Change::Move {
        path: path(&from),
        group: group.to_owned(),
    };
    assert_eq!(
        refusal(&small(), &[to("nowhere")]),
        format!(
            "cannot move {from} to nowhere: there is no initiator group {T}/ini_groups/nowhere"
        )
    );
    let there = create(&format!("{T}/ini_groups/others/initiators/iqn.*"), &[]);
    assert_eq!(
        refusal(&[small(), vec![there]].concat(), &[to("others")]),
        format!(
            "cannot move {from} to others: there is an initiator {T}/ini_groups/others/initiators/iqn.* already"
        )
    );
}

#[test]
fn what_is_the_default_is_not_kept_and_what_is_written_in_two_ways_is_kept_in_one() {
    let manager = manager(&[disk(
        "b",
        &[("nv_cache", "0"), ("size_mb", "16"), ("usn", "b1ab1a")],
    )]);
    let device = manager.model().object(&path("devices/b")).unwrap();
    let kept: Vec<_> = device.attributes.keys().map(String::as_str).collect();
    assert_eq!(kept, ["filename", "handler", "size", "usn"]);
    assert_eq!(device.first("size").unwrap(), "16777216");
    assert_eq!(
        manager
            .model()
            .value(&path("devices/b"), "size_mb")
            .unwrap(),
        "16"
    );
    assert_eq!(
        refusal(&[], &[disk("c", &[("size_mb", "16"), ("size", "4096")])]),
        "cannot make devices/c: size_mb cannot be another size than size"
    );
}

fn copies(manager: &Manager<Able>) -> Vec<(u16, String)> {
    let target = manager
        .model()
        .object(&crate::schema::copy_manager())
        .unwrap();
    let luns = target.children().map(|(key, lun)| {
        (
            key.number().unwrap(),
            lun.first("device").unwrap().to_owned(),
        )
    });
    luns.collect()
}

fn copy(lun: u16, device: &str) -> (u16, String) {
    (lun, device.to_owned())
}

#[test]
fn a_disk_is_the_lowest_free_lun_of_the_copy_manager_for_as_long_as_it_lives() {
    let mut manager = manager(&[disk("a", &[]), disk("b", &[]), disk("c", &[])]);
    assert_eq!(copies(&manager), [copy(0, "a"), copy(1, "b"), copy(2, "c")]);
    manager
        .run(&[remove("devices/a"), remove("devices/b")])
        .unwrap();
    assert_eq!(copies(&manager), [copy(2, "c")]);
    manager.run(&[disk("d", &[])]).unwrap();
    assert_eq!(copies(&manager), [copy(0, "d"), copy(2, "c")]);
    let cd = create("devices/cd", &[("handler", "vcdrom")]);
    manager.run(&[cd]).unwrap();
    assert_eq!(copies(&manager).len(), 2);
}

#[test]
fn a_run_that_names_luns_of_the_copy_manager_has_them_as_it_says() {
    let lun = |number: u16, device: &str| {
        create(
            &format!("targets/copy_manager/copy_manager_tgt/luns/{number}"),
            &[("device", device)],
        )
    };
    let manager = manager(&[
        disk("a", &[]),
        disk("b", &[]),
        disk("c", &[]),
        lun(0, "c"),
        lun(5, "a"),
    ]);
    assert_eq!(copies(&manager), [copy(0, "c"), copy(1, "b"), copy(5, "a")]);
}

#[test]
fn a_run_that_is_taken_back_leaves_every_disk_at_its_lun_of_the_copy_manager() {
    let before = [disk("a", &[]), disk("b", &[]), disk("c", &[])];
    let mut manager = manager(&before);
    manager.run(&[remove("devices/a")]).unwrap();
    let tree = manager.model().tree().clone();
    manager
        .run(&[remove("devices/c"), remove("devices/nowhere")])
        .unwrap_err();
    assert_eq!(*manager.model().tree(), tree);
}
