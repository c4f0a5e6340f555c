//! What `--state` keeps: reservations outlive the process, however it ends, and the folder belongs to one process.

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{Export, Place, Who, command, keys, reserve_out};
use lunforge_bench::initiator::Initiator;

const KEY: u64 = 0xC0FFEE;
const CONFLICT: u8 = 0x18;
const APTPL: u8 = 1;

/// A target with its state in the place's folder.
fn start(place: &Place, more: &[&str]) -> Export {
    let (state, disk) = (place.path("."), place.path("disk.img"));
    let args = [
        "--size", "4M", "--serial", "kept/1", "--state", &state, &disk,
    ];
    place.start(&[&args, more].concat())
}

fn write(i: &mut Initiator) -> u8 {
    command(i, &[0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[1; 512], 0).status
}

/// Registers and reserves with APTPL, and is killed at once.
fn reserve_and_die(place: &Place) {
    let export = start(place, &[]);
    let mut owner = export.login("owner");
    assert_eq!(reserve_out(&mut owner, 0, 0, KEY, APTPL), 0);
    assert_eq!(reserve_out(&mut owner, 1, KEY, 0, 0), 0);
}

fn kept(dir: &Path) -> PathBuf {
    dir.join("kept%2f1.reservations")
}

#[test]
fn n39_a_reservation_with_aptpl_outlives_sigkill() {
    let place = Place::new(Who::Ordinary);
    reserve_and_die(&place);
    let export = start(&place, &[]);
    let (mut owner, mut other) = (export.login("owner"), export.login("other"));
    assert_eq!(keys(&mut other), [KEY]);
    assert_eq!(write(&mut other), CONFLICT);
    assert_eq!(write(&mut owner), 0);
    // Without APTPL they end with the process.
    assert_eq!(reserve_out(&mut owner, 6, 0, KEY, 0), 0);
    drop(export);
    let export = start(&place, &[]);
    assert_eq!(keys(&mut export.login("other")), [] as [u64; 0]);
}

#[test]
fn n39_damaged_reservations_refuse_the_medium_or_start_clean_by_policy() {
    let place = Place::new(Who::Ordinary);
    reserve_and_die(&place);
    let mut bytes = std::fs::read(kept(place.dir.path())).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(kept(place.dir.path()), bytes).unwrap();

    let export = start(&place, &[]);
    let mut other = export.login("other");
    let refused = command(&mut other, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[], 512);
    assert_eq!(refused.sense_key(), Some(2), "not ready");
    assert_eq!(refused.asc_ascq(), Some((4, 3)), "manual intervention");
    drop(export);

    let export = start(&place, &["--damaged-reservations", "discard"]);
    let mut other = export.login("other");
    assert_eq!(keys(&mut other), [] as [u64; 0]);
    assert_eq!(write(&mut other), 0);
}

#[test]
fn n57_a_state_folder_is_made_private_and_serves_one_process() {
    let place = Place::new(Who::Ordinary);
    let state = place.path("state");
    let args = ["--null", "1M", "--state", &state];
    let export = place.start(&args);
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/lock")), (0o700, 0o600));
    let in_use = [&args[..], &["--portal", "127.0.0.1:0"]].concat();
    place.refused(&in_use, "in use by another process");
    // Killed, it leaves no lock behind.
    drop(export);
    place.start(&args).stop();
}

#[test]
fn n57_a_state_folder_that_others_can_write_to_is_refused() {
    let place = Place::new(Who::Ordinary);
    for mode in [0o770, 0o702, 0o777] {
        std::fs::set_permissions(place.dir.path(), PermissionsExt::from_mode(mode)).unwrap();
        let state = place.path("");
        let said = place.refused(&["--null", "1M", "--state", &state], "chmod 700");
        assert!(said.contains(&format!("{mode:o}")), "{said}");
    }
    std::fs::set_permissions(place.dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let file = place.file("file", 0o600, "");
    place.refused(&["--null", "1M", "--state", &file], "no folder");
}

#[test]
fn n57_a_lock_that_is_another_name_of_a_file_is_refused_and_keeps_its_owner() {
    let place = Place::new(Who::Ordinary);
    let other = place.file("other", 0o600, "");
    let lock = place.path("lock");
    std::fs::hard_link(&other, &lock).unwrap();
    let state = place.path("");
    place.refused(&["--null", "1M", "--state", &state], "no file of its own");
    std::fs::remove_file(&lock).unwrap();
    place.start(&["--null", "1M", "--state", &state]).stop();
}

#[test]
fn n57_a_refused_export_leaves_no_state_folder_behind() {
    let place = Place::new(Who::Ordinary);
    let (state, disk) = (
        place.path("state"),
        place.file("disk", 0o600, vec![0; 4096]),
    );
    let writer = place.start(&[&disk]);
    place.refused(
        &[&disk, "--state", &state, "--portal", "127.0.0.1:0"],
        "in use",
    );
    assert!(!Path::new(&state).exists());
    writer.stop();
}

/// SET IDENTIFYING INFORMATION: the program keeps it in a file before it answers GOOD.
fn identify(i: &mut Initiator, text: &str) -> u8 {
    let len = u8::try_from(text.len()).unwrap();
    let cdb = [0xA4, 6, 0, 0, 0, 0, 0, 0, 0, len, 0, 0];
    command(i, &cdb, text.as_bytes(), 0).status
}

fn identity(i: &mut Initiator) -> String {
    let data = command(i, &[0xA3, 5, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[], 256).data;
    String::from_utf8(data[4..].to_vec()).unwrap()
}

#[test]
fn n57_sigkill_in_the_midst_of_changes_leaves_a_state_that_was_asked_for() {
    let place = Place::new(Who::Ordinary);
    let mut last = String::new();
    for round in 0..8 {
        let export = start(&place, &[]);
        let mut i = export.login("owner");
        let kept = identity(&mut i);
        // The last that was answered, or the one that was under way when the process was killed.
        let next = format!("{:04}", last.parse::<u32>().unwrap_or(0) + 1);
        assert!(kept == last || kept == next, "{kept:?} after {last:?}");
        last = kept;
        let pid = export.child.id().to_string();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(5 + 7 * round));
                std::process::Command::new("kill")
                    .args(["-KILL", &pid])
                    .status()
                    .unwrap();
            });
            // Ends with the connection.
            loop {
                let next = format!("{:04}", last.parse::<u32>().unwrap_or(0) + 1);
                let cdb = [0xA4, 6, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0];
                match i.command(0, &cdb, next.as_bytes(), 0) {
                    Ok(reply) if reply.is_good() => last = next,
                    Ok(reply) => assert_eq!(reply.sense_key(), Some(6), "{reply:?}"),
                    Err(_) => break,
                }
            }
        });
    }
    let export = start(&place, &[]);
    assert_eq!(identify(&mut export.login("owner"), "done"), 0);
    assert_eq!(identity(&mut export.login("owner")), "done");
}
