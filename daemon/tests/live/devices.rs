//! Devices that change while initiators use them.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge::Ladder;
use lunforge_daemon::control::Observe;
use lunforge_daemon::live::Settings;
use lunforge_daemon::manage::Change;

use super::bed::*;

#[test]
fn what_is_written_is_read_and_is_in_the_file() {
    let mut bed = Bed::new();
    let file = bed.disk("a");
    bed.run(&[
        create(
            "devices/a",
            &[("handler", "vdisk_fileio"), ("filename", &file)],
        ),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "a")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    let mut initiator = bed.login("host");
    initiator.write(0, 3, &[7; 1024], 512).unwrap();
    assert_eq!(initiator.read(0, 3, 2, 512).unwrap(), [7; 1024]);
    bed.trigger("devices/a", "sync", "1");
    assert_eq!(fs::read(&file).unwrap()[1536..2560], [7; 1024]);
    let registry = bed.manager.machine().registry();
    let device = registry.devices(bed.manager.model()).remove(0);
    assert_eq!((device.writes, device.write_bytes), (1, 1024));
    assert_eq!((device.active, device.size), (true, Some(1 << 20)));
    assert_eq!(device.luns, [lun(0)]);
    let status = registry.status(bed.manager.model());
    assert_eq!((status.luns, status.sessions), (1, 1));
    assert!(status.troubles.is_empty(), "{:?}", status.troubles);
}

#[test]
fn initiators_find_the_device_that_scst_showed_them() {
    let mut bed = Bed::new();
    bed.run(&[
        null("vg1"),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "vg1")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    let mut initiator = bed.login("host");
    let standard = inquiry(&mut initiator, 0, None);
    assert_eq!(&standard[8..32], b"SCST_FIOvg1             ");
    assert_eq!(&inquiry(&mut initiator, 0, Some(0x80))[4..], b"509f7d73");
    let page = inquiry(&mut initiator, 0, Some(0x83));
    let begins = b"\x02\x01\x00\x14SCST_FIO509f7d73-vg1\x01\x02\x00\x08509f7d73";
    assert_eq!(&page[4..4 + begins.len()], begins);
    bed.run(&[set("devices/vg1", "usn", &["4711"])]);
    assert_eq!(told(&mut initiator, 0), [INQUIRY_CHANGED]);
    assert_eq!(&inquiry(&mut initiator, 0, Some(0x80))[4..], b"4711");
    // The same one as before is no news.
    bed.run(&[set("devices/vg1", "usn", &["4711"])]);
    assert_eq!(told(&mut initiator, 0), []);
}

#[test]
fn the_setup_of_a_node_goes_into_what_its_devices_are_known_by() {
    let mut bed = Bed::new();
    bed.run(&[
        set("", "setup_id", &["0x1"]),
        null("vg1"),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "vg1")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    let mut initiator = bed.login("host");
    let page = inquiry(&mut initiator, 0, Some(0x83));
    assert_eq!(&page[16..29], b"1509f7d73-vg1");
}

#[test]
fn a_serial_number_that_is_free_again_may_be_used_in_the_same_target() {
    let mut bed = Bed::serving();
    bed.run(&[set("devices/d", "usn", &["one"])]);
    bed.run(&[set("devices/d", "usn", &["two"])]);
    bed.run(&[
        null("e"),
        set("devices/e", "usn", &["one"]),
        create(&lun(1), &[("device", "e")]),
    ]);
    assert_eq!(told(&mut bed.login("host"), 1), [(0x29, 0)]);
}

#[test]
fn another_size_is_told_and_a_size_that_is_none_changes_nothing() {
    let mut bed = Bed::serving();
    let mut initiator = bed.login("host");
    bed.run(&[set("devices/d", "size", &["2M"])]);
    assert_eq!(told(&mut initiator, 0), [CAPACITY_CHANGED]);
    assert_eq!(initiator.capacity(0).unwrap(), (4096, 512));
    let wrong = bed.manager.run(&[set("devices/d", "size", &["1000"])]);
    assert!(wrong.is_err());
    assert_eq!(initiator.capacity(0).unwrap(), (4096, 512));
    assert_eq!(told(&mut initiator, 0), []);
}

#[test]
fn a_file_that_grew_is_as_long_as_it_is_after_resync_size() {
    let mut bed = Bed::new();
    let file = bed.disk("a");
    bed.run(&[
        create(
            "devices/a",
            &[("handler", "vdisk_fileio"), ("filename", &file)],
        ),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "a")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    let mut initiator = bed.login("host");
    let grown = fs::OpenOptions::new().write(true).open(&file).unwrap();
    grown.set_len(3 << 20).unwrap();
    assert_eq!(bed.read("devices/a", "size").unwrap(), "1048576");
    bed.trigger("devices/a", "resync_size", "1");
    assert_eq!(told(&mut initiator, 0), [CAPACITY_CHANGED]);
    assert_eq!(initiator.capacity(0).unwrap(), (6144, 512));
    assert_eq!(bed.read("devices/a", "size_mb").unwrap(), "3");
}

#[test]
fn a_device_that_is_not_active_is_not_ready_and_its_file_is_free() {
    let mut bed = Bed::new();
    let file = bed.disk("a");
    bed.run(&[
        create(
            "devices/a",
            &[("handler", "vdisk_fileio"), ("filename", &file)],
        ),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "a")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    let mut initiator = bed.login("host");
    bed.run(&[set("devices/a", "active", &["0"])]);
    let reply = initiator.command(0, &TEST_UNIT_READY, &[], 0).unwrap();
    assert_eq!((reply.sense_key(), asc(&reply)), (Some(2), Some((4, 0))));
    assert_eq!(bed.read("devices/a", "active").unwrap(), "0");
    fs::remove_file(&file).unwrap();
    let said = bed.fails(&[set("devices/a", "active", &["1"])], 0);
    assert!(!said.is_empty());
    bed.disk("a");
    bed.run(&[set("devices/a", "active", &["1"])]);
    initiator.write(0, 0, &[1; 512], 512).unwrap();
}

#[test]
fn a_file_may_be_missing_until_its_device_is_activated() {
    let mut bed = Bed::new();
    let file = bed.file("later");
    let given = [("handler", "vdisk_fileio"), ("filename", file.as_str())];
    let missing = bed.fails(&[create("devices/a", &given)], 0);
    assert!(missing.contains("later"), "{missing}");
    let inactive = [&given[..], &[("active", "0")]].concat();
    bed.run(&[
        create("devices/a", &inactive),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "a")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    let mut initiator = bed.connect(IQN, &host("host")).unwrap();
    let last = (0..3).map(|_| initiator.command(0, &TEST_UNIT_READY, &[], 0).unwrap());
    assert_eq!(last.last().unwrap().sense_key(), Some(2));
    assert_eq!(bed.read("devices/a", "size"), None);
    bed.disk("later");
    bed.run(&[set("devices/a", "active", &["1"])]);
    assert_eq!(told(&mut initiator, 0), [CAPACITY_CHANGED]);
    assert_eq!(initiator.capacity(0).unwrap(), (2048, 512));
}

#[test]
fn a_device_that_is_opened_anew_is_told_under_its_luns_and_keeps_its_reservations() {
    let mut bed = Bed::new();
    let file = bed.disk("a");
    let given = [("handler", "vdisk_fileio"), ("filename", file.as_str())];
    bed.run(&[
        create("devices/a", &given),
        null("other"),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "a")]),
        create(&lun(1), &[("device", "other")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    let mut initiator = bed.login("host");
    told(&mut initiator, 1);
    initiator.write(0, 0, &[9; 512], 512).unwrap();
    let mut register = [0; 24];
    register[15] = 7;
    let cdb = [0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    let registered = initiator.command(0, &cdb, &register, 0).unwrap();
    assert!(registered.is_good(), "{registered:?}");
    let large = [&given[..], &[("blocksize", "4096")]].concat();
    bed.run(&[reopen("devices/a", &large)]);
    assert_eq!(told(&mut initiator, 0), [INQUIRY_CHANGED]);
    assert_eq!(told(&mut initiator, 1), []);
    assert_eq!(initiator.capacity(0).unwrap(), (256, 4096));
    assert_eq!(initiator.read(0, 0, 1, 4096).unwrap()[..512], [9; 512]);
    let keys = [0x5E, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    let keys = initiator.command(0, &keys, &[], 256).unwrap().data;
    assert_eq!(keys[8..], 7_u64.to_be_bytes());
}

#[test]
fn a_device_that_cannot_be_opened_anew_goes_on_as_it_was() {
    let mut bed = Bed::new();
    let file = bed.disk("a");
    let given = [("handler", "vdisk_fileio"), ("filename", file.as_str())];
    bed.run(&[
        create("devices/a", &given),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "a")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    let mut initiator = bed.login("host");
    initiator.write(0, 0, &[9; 512], 512).unwrap();
    let odd = std::fs::File::create(bed.file("odd")).unwrap();
    odd.set_len(1000).unwrap();
    let odd = bed.file("odd");
    for wrong in [bed.file("missing"), odd] {
        let given = [("handler", "vdisk_fileio"), ("filename", wrong.as_str())];
        let said = bed.fails(&[reopen("devices/a", &given)], 0);
        assert!(!said.is_empty());
        assert_eq!(told(&mut initiator, 0), []);
        assert_eq!(initiator.read(0, 0, 1, 512).unwrap(), [9; 512]);
    }
    // The last of a run fails: what was opened anew before is as it was, and is told of both.
    let large = [&given[..], &[("blocksize", "4096")]].concat();
    let missing = bed.file("missing");
    bed.fails(
        &[
            reopen("devices/a", &large),
            create(
                "devices/b",
                &[("handler", "vdisk_fileio"), ("filename", &missing)],
            ),
        ],
        1,
    );
    assert_eq!(told(&mut initiator, 0), [INQUIRY_CHANGED]);
    assert_eq!(initiator.capacity(0).unwrap(), (2048, 512));
    assert_eq!(initiator.read(0, 0, 1, 512).unwrap(), [9; 512]);
}

#[test]
fn commands_that_are_held_back_go_on_when_they_may() {
    let mut bed = Bed::serving();
    let mut initiator = bed.login("host");
    bed.trigger("devices/d", "block", "1");
    assert_eq!(bed.read("devices/d", "block").unwrap(), "1 0");
    let (cdb, len) = lunforge_bench::initiator::rw_cdb(false, 0, 1);
    let request = lunforge_bench::initiator::Request::new(0, &cdb[..len]).data_in(512);
    let tag = initiator.submit(&request).unwrap();
    let wait = std::time::Duration::from_millis(200);
    assert!(initiator.wait_for(tag, wait).unwrap().is_none());
    bed.trigger("devices/d", "block", "0");
    assert!(initiator.wait(tag).unwrap().is_good());
}

#[test]
fn a_change_that_waits_for_a_device_ends_in_time_and_keeps_nobody_from_looking() {
    let second = Duration::from_secs(1);
    let ladder = Ladder {
        backend: second,
        hold: 2 * second,
        abort: 10 * second,
        replacement: 30 * second,
    };
    let mut bed = Bed::with(Settings {
        ladder,
        ..Settings::default()
    });
    let file = bed.disk("a");
    let given = [("handler", "vdisk_fileio"), ("filename", file.as_str())];
    bed.run(&[
        create("devices/a", &given),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "a")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    let mut initiator = bed.login("host");
    // Somebody else has the unit for himself.
    let (target, ..) = bed.manager.machine().iscsi().target(IQN).unwrap();
    let unit = Arc::clone(target.luns().get(&0).unwrap());
    let (tell, held) = std::sync::mpsc::channel();
    unit.close_gate(move |closed| tell.send(closed).unwrap());
    let registry = Arc::clone(bed.manager.machine().registry());
    let model = bed.manager.model().clone();
    let (began, change) = (Instant::now(), reopen("devices/a", &given));
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| bed.fails(&[change], 0));
        let mut looks = 0;
        while !changing.is_finished() {
            let look = Instant::now();
            assert_eq!(registry.status(&model).devices, 1);
            assert_eq!(registry.devices(&model).len(), 1);
            assert!(look.elapsed() < second);
            looks += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(looks > 10, "{looks}");
        assert!(changing.join().unwrap().contains("do not end"));
    });
    assert!(began.elapsed() < 8 * second);
    drop(held);
    assert_eq!(told(&mut initiator, 0), []);
    initiator.write(0, 0, &[1; 512], 512).unwrap();
}

#[test]
fn nothing_that_is_printed_of_the_machine_has_a_secret() {
    let mut bed = Bed::serving();
    let user = ["joe 0123456789abcdef"];
    bed.run(&[
        set(TARGET, "IncomingUser", &user),
        set("targets/iscsi", "IncomingUser", &user),
    ]);
    let machine = bed.manager.machine();
    let printed = format!("{machine:?} {:?}", machine.registry());
    assert!(printed.contains(IQN) && !printed.contains("0123456789abcdef"));
}

#[test]
fn reservations_and_saved_modes_outlive_the_process_in_the_state() {
    let state = tempfile::tempdir().unwrap();
    let settings = || Settings {
        state: Some(state.path().to_owned()),
        ..Settings::default()
    };
    let changes = [
        null("d"),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "d")]),
        set(TARGET, "enabled", &["1"]),
    ];
    let mut bed = Bed::with(settings());
    bed.run(&changes);
    let mut initiator = bed.login("host");
    let mut register = [0; 24];
    (register[15], register[20]) = (7, 1);
    let cdb = [0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    let registered = initiator.command(0, &cdb, &register, 0).unwrap();
    assert!(registered.is_good(), "{registered:?}");
    assert!(state.path().join("pr/d").is_file());
    drop((initiator, bed));
    let mut bed = Bed::with(settings());
    bed.run(&changes);
    let registry = bed.manager.machine().registry();
    let kept = registry.reservations(bed.manager.model());
    assert_eq!((kept.len(), kept[0].aptpl), (1, true));
    assert_eq!(kept[0].registrants[0].2, "0x0000000000000007");
    let text = bed.read("devices/d", "pr_state").unwrap();
    assert!(text.contains("key 0x0000000000000007"), "{text}");
}

#[test]
fn a_device_is_another_one_after_replace_and_told_if_so_wished() {
    let mut bed = Bed::serving();
    bed.run(&[null("e"), set("devices/e", "size", &["2M"])]);
    let mut initiator = bed.login("host");
    let replace = |device: &str, tell| Change::Replace {
        path: path(&lun(0)),
        device: device.to_owned(),
        tell,
    };
    bed.run(&[replace("e", true)]);
    assert_eq!(told(&mut initiator, 0), [INQUIRY_CHANGED]);
    assert_eq!(initiator.capacity(0).unwrap().0, 4096);
    bed.run(&[replace("d", false)]);
    assert_eq!(told(&mut initiator, 0), []);
    assert_eq!(initiator.capacity(0).unwrap().0, 2048);
    bed.run(&[remove("devices/e")]);
}

#[test]
fn a_size_that_is_taken_back_cuts_no_file() {
    let mut bed = Bed::new();
    let file = bed.disk("a");
    fs::write(&file, vec![5; 1 << 20]).unwrap();
    let missing = bed.file("missing");
    let device = |name: &str, file: &str| {
        let given = [("handler", "vdisk_fileio"), ("filename", file)];
        create(&format!("devices/{name}"), &given)
    };
    bed.run(&[device("a", &file)]);
    bed.fails(
        &[set("devices/a", "size", &["512K"]), device("b", &missing)],
        1,
    );
    assert_eq!(bed.read("devices/a", "size").unwrap(), "1048576");
    assert_eq!(fs::read(&file).unwrap(), vec![5; 1 << 20]);
    bed.run(&[set("devices/a", "size", &["2M"])]);
    assert_eq!(fs::metadata(&file).unwrap().len(), 2 << 20);
    bed.run(&[set("devices/a", "inq_vend_specific", &["shelf 3"])]);
}
