//! Devices that are opened anew while initiators use them.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lunforge_bench::initiator::{Initiator, Request, rw_cdb};
use lunforge_daemon::live::Settings;

use super::bed::*;

const APTPL: u8 = 1;
const HARDWARE_ERROR: u8 = 4;
const BUSY: u8 = 0x08;
const SOON: Duration = Duration::from_secs(5);

fn file_disk(bed: &mut Bed) -> String {
    let file = bed.disk("a");
    let given = [("handler", "vdisk_fileio"), ("filename", &*file)];
    bed.run(&[
        create("devices/a", &given),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "a")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    file
}

fn read(initiator: &mut Initiator) -> u32 {
    let (cdb, len) = rw_cdb(false, 0, 1);
    let request = Request::new(0, &cdb[..len]).data_in(512);
    initiator.submit(&request).unwrap()
}

#[test]
fn a_device_that_is_blocked_is_opened_anew_at_once_and_stays_blocked() {
    let mut bed = Bed::new();
    let file = file_disk(&mut bed);
    let other = bed.disk("b");
    fs::write(&other, [5; 1 << 20]).unwrap();
    let mut initiator = bed.login("host");
    bed.trigger("devices/a", "block", "1");
    let waiting = read(&mut initiator);
    for file in [&file, &other] {
        let given = [("handler", "vdisk_fileio"), ("filename", file)];
        let began = Instant::now();
        bed.run(&[reopen("devices/a", &given)]);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!(bed.read("devices/a", "block").unwrap(), "1 0");
    }
    // What waited at the old one is to be sent again, and waits at the new one then.
    assert_eq!(initiator.wait(waiting).unwrap().status, BUSY);
    let told = initiator.command(0, &TEST_UNIT_READY, &[], 0).unwrap();
    assert_eq!(asc(&told), Some(INQUIRY_CHANGED));
    let waiting = read(&mut initiator);
    let held = initiator.wait_for(waiting, Duration::from_millis(200));
    assert!(held.unwrap().is_none());
    bed.trigger("devices/a", "block", "0");
    assert_eq!(initiator.wait(waiting).unwrap().data, [5; 512]);
    bed.run(&[remove(&lun(0)), remove("devices/a")]);
}

#[test]
fn another_file_of_reservations_leaves_a_device_blocked() {
    let mut bed = Bed::new();
    let kept = bed.file("pr");
    bed.run(&[null("d")]);
    bed.trigger("devices/d", "block", "1");
    bed.run(&[
        set("devices/d", "pr_file_name", &[&kept]),
        create(TARGET, &[]),
        create(&lun(0), &[("device", "d")]),
        set(TARGET, "enabled", &["1"]),
    ]);
    let mut initiator = bed.connect(IQN, &host("host")).unwrap();
    let power_on = initiator.command(0, &TEST_UNIT_READY, &[], 0).unwrap();
    assert_eq!(power_on.sense_key(), Some(6));
    let waiting = read(&mut initiator);
    let held = initiator.wait_for(waiting, Duration::from_millis(200));
    assert!(held.unwrap().is_none());
    bed.trigger("devices/d", "block", "0");
    assert!(initiator.wait(waiting).unwrap().is_good());
}

#[test]
fn no_command_is_aborted_when_its_device_is_opened_anew() {
    let mut bed = Bed::new();
    let file = file_disk(&mut bed);
    let other = bed.disk("b");
    let (ended, mut initiator) = (AtomicBool::new(false), bed.login("load"));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut good, mut again) = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                let tags: Vec<_> = (0..16)
                    .map(|at| {
                        let (cdb, len) = rw_cdb(at % 2 == 0, at, 1);
                        let request = Request::new(0, &cdb[..len]);
                        let data = [7; 512];
                        let request = if at % 2 == 0 {
                            request.data_out(&data)
                        } else {
                            request.data_in(512)
                        };
                        initiator.submit(&request).unwrap()
                    })
                    .collect();
                for tag in tags {
                    let reply = initiator.wait(tag).unwrap();
                    match (reply.status, asc(&reply)) {
                        (0, _) => good += 1,
                        (BUSY, _) | (2, Some(INQUIRY_CHANGED)) => again += 1,
                        _ => panic!("{reply:?}"),
                    }
                }
            }
            (good, again)
        });
        for round in 0..20 {
            let file = if round % 4 == 3 { &other } else { &file };
            let through = if round % 2 == 0 { "1" } else { "0" };
            let given = [
                ("handler", "vdisk_fileio"),
                ("filename", file),
                ("write_through", through),
            ];
            bed.run(&[reopen("devices/a", &given)]);
            std::thread::sleep(Duration::from_millis(20));
        }
        ended.store(true, Ordering::Relaxed);
        let (good, again) = load.join().unwrap();
        assert!(good > 100 && again > 0, "{good} {again}");
    });
}

#[test]
fn a_device_is_opened_anew_by_another_name_of_its_file() {
    let mut bed = Bed::new();
    let file = file_disk(&mut bed);
    let other = bed.file("other");
    fs::hard_link(&file, &other).unwrap();
    let mut initiator = bed.login("host");
    initiator.write(0, 0, &[9; 512], 512).unwrap();
    bed.run(&[set("devices/a", "filename", &[&other])]);
    assert_eq!(told(&mut initiator, 0), [INQUIRY_CHANGED]);
    assert_eq!(initiator.read(0, 0, 1, 512).unwrap(), [9; 512]);
}

#[test]
fn no_reservation_that_was_granted_is_lost_when_its_device_is_opened_anew() {
    let state = tempfile::tempdir().unwrap();
    let kept = state.path().join("pr/a");
    let mut bed = Bed::with(Settings {
        state: Some(state.path().to_owned()),
        ..Settings::default()
    });
    let file = file_disk(&mut bed);
    let (ended, mut initiator) = (AtomicBool::new(false), bed.login("host"));
    let (grants, refusals) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let register = scope.spawn(|| {
            let (mut granted, mut key) = (0, 0x6C75_6E66_6F72_6765);
            while !ended.load(Ordering::Relaxed) {
                key += 1;
                let mut list = [0; 24];
                list[8..16].copy_from_slice(&u64::to_be_bytes(key));
                list[20] = APTPL;
                let register_and_ignore = [0x5F, 6, 0, 0, 0, 0, 0, 0, 24, 0];
                let reply = initiator.command(0, &register_and_ignore, &list, 0);
                let reply = reply.unwrap();
                assert_ne!(reply.sense_key(), Some(HARDWARE_ERROR), "{reply:?}");
                let count = if reply.is_good() {
                    granted = key;
                    &grants
                } else {
                    &refusals
                };
                count.fetch_add(1, Ordering::Relaxed);
                if granted > 0 {
                    let kept = fs::read(&kept).unwrap();
                    let granted = u64::to_be_bytes(granted);
                    assert!(kept.windows(8).any(|key| key == granted), "{reply:?}");
                }
                let read_keys = [0x5E, 0, 0, 0, 0, 0, 0, 1, 0, 0];
                let keys = initiator.command(0, &read_keys, &[], 256).unwrap();
                if keys.is_good() && granted > 0 {
                    assert_eq!(keys.data[8..], u64::to_be_bytes(granted));
                }
            }
        });
        let seen = |count: &AtomicU32, enough| count.load(Ordering::Relaxed) >= enough;
        let mut round = 0;
        while round < 50 || !(seen(&grants, 50) && seen(&refusals, 1)) {
            let through = if round % 2 == 0 { "1" } else { "0" };
            let given = [
                ("handler", "vdisk_fileio"),
                ("filename", &*file),
                ("write_through", through),
            ];
            bed.run(&[reopen("devices/a", &given)]);
            if register.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            round += 1;
            assert!(round < 2000, "{grants:?} {refusals:?}");
        }
        ended.store(true, Ordering::Relaxed);
        register.join().unwrap();
    });
}

#[test]
fn a_device_that_is_several_luns_of_a_target_is_opened_anew_under_all_of_them() {
    let mut bed = Bed::new();
    let file = file_disk(&mut bed);
    let other = bed.disk("b");
    fs::write(&other, [5; 1 << 20]).unwrap();
    bed.run(&[create(&lun(7), &[("device", "a")])]);
    let mut initiator = bed.login("host");
    told(&mut initiator, 7);
    let given = [("handler", "vdisk_fileio"), ("filename", &*other)];
    bed.run(&[reopen("devices/a", &given)]);
    for lun in [0, 7] {
        assert_eq!(told(&mut initiator, lun), [INQUIRY_CHANGED]);
        assert_eq!(initiator.read(lun, 0, 1, 512).unwrap(), [5; 512]);
    }
    let given = [("handler", "vdisk_fileio"), ("filename", &*file)];
    bed.run(&[reopen("devices/a", &given), remove(&lun(7))]);
}
