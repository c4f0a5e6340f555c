//! What a failed run did by the way is taken back, or told of.

use std::fs;
use std::os::unix::fs::FileExt;

use lunforge_daemon::control::protocol::Mode;
use lunforge_daemon::manage::{Change, Machine, plan};
use lunforge_daemon::tree::Tree;

use super::bed::*;

const OTHER: &str = "targets/iscsi/iqn.2026-11.org.example:other";

/// A change that the model takes and the machine does not.
fn impossible(bed: &Bed) -> Change {
    let missing = bed.file("missing");
    let given = [("handler", "vdisk_fileio"), ("filename", &*missing)];
    create("devices/impossible", &given)
}

fn file_disk(name: &str, file: &str, more: &[(&str, &str)]) -> Change {
    let mut given = vec![("handler", "vdisk_fileio"), ("filename", file)];
    given.extend(more);
    create(&format!("devices/{name}"), &given)
}

fn serve(bed: &mut Bed, device: Change) {
    bed.run(&[
        device,
        create(TARGET, &[]),
        create(&lun(0), &[("device", "a")]),
        set(TARGET, "enabled", &["1"]),
    ]);
}

fn fail(bed: &mut Bed, changes: &[Change]) {
    let changes = [changes, &[impossible(bed)]].concat();
    bed.fails(&changes, changes.len() - 1);
}

/// What is said when a change is taken back, `meanwhile` having happened after it.
fn taken_back(
    bed: &mut Bed,
    change: &Change,
    inverse: &Change,
    meanwhile: impl FnOnce(),
) -> String {
    let model = bed.manager.model().clone();
    let machine = bed.manager.machine_mut();
    machine.begin();
    machine.perform(change, &model).unwrap();
    meanwhile();
    let back = machine.take_back(inverse, &model);
    back.expect_err("all is taken back").to_string()
}

fn len(path: &str) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn an_identifier_that_was_found_is_had_again() {
    let mut bed = Bed::serving();
    let port = |bed: &Bed, at: &str| bed.read(at, "rel_tgt_id").unwrap();
    bed.run(&[create(OTHER, &[("enabled", "1")])]);
    assert_eq!(
        (port(&bed, TARGET), port(&bed, OTHER)),
        ("1".into(), "2".into())
    );
    fail(&mut bed, &[set(OTHER, "rel_tgt_id", &["7"])]);
    assert_eq!(port(&bed, OTHER), "2");
    // The lowest one is free meanwhile.
    fail(
        &mut bed,
        &[set(TARGET, "rel_tgt_id", &["9"]), remove(OTHER)],
    );
    assert_eq!(
        (port(&bed, TARGET), port(&bed, OTHER)),
        ("1".into(), "2".into())
    );
    bed.run(&[set(TARGET, "rel_tgt_id", &["5"])]);
    fail(&mut bed, &[remove(OTHER)]);
    assert_eq!(port(&bed, OTHER), "2");
}

#[test]
fn who_gave_way_with_its_identifier_has_it_back() {
    let mut bed = Bed::serving();
    bed.run(&[create(OTHER, &[])]);
    let third = "targets/iscsi/iqn.2026-11.org.example:third";
    let given = [("rel_tgt_id", "2"), ("enabled", "1")];
    let enable = set(OTHER, "enabled", &["1"]);
    fail(&mut bed, &[create(third, &given), enable.clone()]);
    // Its own change fails, after the other has given way.
    let wrong = [("rel_tgt_id", "2"), ("IncomingUser", "bob short")];
    assert!(bed.manager.run(&[create(third, &wrong)]).is_err());
    bed.run(&[enable]);
    assert_eq!(bed.read(OTHER, "rel_tgt_id").unwrap(), "2");
}

#[test]
fn a_file_that_grew_is_as_long_as_it_was() {
    let mut bed = Bed::new();
    let file = bed.disk("a");
    fs::write(&file, [7; 1 << 20]).unwrap();
    serve(&mut bed, file_disk("a", &file, &[]));
    let mut initiator = bed.login("host");
    let grow = |size| set("devices/a", "size", &[size]);
    fail(&mut bed, &[grow("2M"), grow("4M")]);
    assert_eq!(fs::read(&file).unwrap(), [7; 1 << 20]);
    told(&mut initiator, 0);
    assert_eq!(initiator.capacity(0).unwrap(), (2048, 512));
    // Blocked, it takes no longer.
    bed.trigger("devices/a", "block", "1");
    fail(&mut bed, &[grow("2M")]);
    bed.trigger("devices/a", "block", "0");
    assert_eq!(len(&file), 1 << 20);
    // A device that is opened anew, and one that is made.
    let given = [("handler", "vdisk_fileio"), ("filename", &*file)];
    let larger = [&given[..], &[("size", "2M"), ("write_through", "1")]].concat();
    fail(&mut bed, &[reopen("devices/a", &larger)]);
    assert_eq!(len(&file), 1 << 20);
    told(&mut initiator, 0);
    assert_eq!(initiator.capacity(0).unwrap(), (2048, 512));
    assert_eq!(initiator.read(0, 2047, 1, 512).unwrap(), [7; 512]);
    let other = bed.disk("b");
    fail(&mut bed, &[file_disk("b", &other, &[("size", "2M")])]);
    assert_eq!(len(&other), 1 << 20);
}

#[test]
fn a_file_that_was_made_goes_again() {
    let mut bed = Bed::new();
    let file = bed.file("new");
    fail(&mut bed, &[file_disk("a", &file, &[("size", "1M")])]);
    assert!(!fs::exists(&file).unwrap());
    // Its own change fails, after it was made.
    let nowhere = [("size", "1M"), ("pr_file_name", "/nowhere/at/all")];
    assert!(bed.manager.run(&[file_disk("a", &file, &nowhere)]).is_err());
    assert!(!fs::exists(&file).unwrap());
    // What was there before is not touched.
    fs::write(&file, [7; 1 << 20]).unwrap();
    fail(&mut bed, &[file_disk("a", &file, &[("size", "1M")])]);
    assert_eq!(fs::read(&file).unwrap(), [7; 1 << 20]);
}

#[test]
fn a_file_with_data_in_it_stays_and_that_is_told() {
    let mut bed = Bed::new();
    let file = bed.file("new");
    let write = |at| {
        let open = fs::OpenOptions::new().write(true).open(&file).unwrap();
        open.write_all_at(&[9; 4096], at).unwrap();
    };
    let change = file_disk("a", &file, &[("size", "1M")]);
    let back = remove("devices/a");
    let said = taken_back(&mut bed, &change, &back, || write(8192));
    let wanted = format!("the file {file} was made and stays: data");
    assert!(said.contains(&wanted), "{said}");
    assert_eq!(len(&file), 1 << 20);

    serve(&mut bed, file_disk("a", &file, &[]));
    let (grow, back) = (
        set("devices/a", "size", &["2M"]),
        set("devices/a", "size", &[]),
    );
    let said = taken_back(&mut bed, &grow, &back, || write(1 << 20));
    let wanted = "had 1048576 bytes and stays longer: data";
    assert!(said.contains(wanted), "{said}");
    assert_eq!(len(&file), 2 << 20);
    let mut initiator = bed.login("host");
    assert_eq!(initiator.capacity(0).unwrap(), (2048, 512));
}

#[test]
fn a_file_that_another_process_has_taken_stays_and_that_is_told() {
    let mut bed = Bed::new();
    let file = bed.file("new");
    let change = file_disk("a", &file, &[("size", "1M")]);
    let said = taken_back(&mut bed, &change, &remove("devices/a"), || {
        fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .and_then(|open| open.set_len(3 << 20))
            .unwrap();
    });
    assert!(said.contains("its length has changed"), "{said}");
    assert_eq!(len(&file), 3 << 20);
}

#[test]
fn the_size_of_one_file_makes_and_lengthens_no_other() {
    let mut bed = Bed::new();
    let file = bed.disk("a");
    let small = bed.disk("small");
    let missing = bed.file("typo");
    bed.run(&[file_disk("a", &file, &[("size", "2M")])]);
    let other = |file: &str| {
        let line = format!("HANDLER vdisk_fileio {{ DEVICE a {{\nfilename {file}\n}}\n}}\n");
        line.replace("{ DEVICE", "{\nDEVICE")
    };
    let tree = lunforge_daemon::config::load(other(&missing), &Tree::default()).unwrap();
    let changes = plan(bed.manager.model(), &tree, Mode::Replace).changes;
    assert!(bed.manager.run(&changes).is_err());
    let both = [
        set("devices/a", "filename", &[&missing]),
        set("devices/a", "size", &[]),
    ];
    bed.fails(&both, 0);
    assert!(!fs::exists(&missing).unwrap());
    assert_eq!(bed.apply_text(&other(&small)), ["open devices/a anew"]);
    assert_eq!((len(&small), len(&file)), (1 << 20, 2 << 20));
    assert_eq!(bed.read("devices/a", "size").unwrap(), "1048576");
}
