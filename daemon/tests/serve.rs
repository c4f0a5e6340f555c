//! `lunforge serve` and the commands as a user meets them: what they print, how they end, and what they leave.

mod common;
#[path = "common/served.rs"]
mod served;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use common::{Place, Who, is_root};
use lunforge_daemon::control::Client;
use lunforge_daemon::control::protocol::{Call, Mode};
use served::{Served, arguments};

const TARGET: &str = "targets/iscsi/iqn.2026-11.org.example:a";
const DISK: &str = "HANDLER vdisk_nullio {\n\tDEVICE a\n}\n";
const OTHER: &str = "HANDLER vdisk_nullio {\n\tDEVICE b\n}\n";
/// Wrong in its third line.
const WRONG: &str = "HANDLER vdisk_nullio {\n\tDEVICE c\n\tDEVISE d\n}\n";

#[test]
fn limits_are_listed_without_a_configuration_and_nothing_else_is_done_without_one() {
    let place = Place::new(Who::Ordinary);
    let listed = place
        .lunforge(&["serve", "--limit", "help"])
        .output()
        .unwrap();
    let exported = place
        .lunforge(&["export", "--limit", "help"])
        .output()
        .unwrap();
    assert_eq!(listed.status.code(), Some(0));
    assert!(!listed.stdout.is_empty() && listed.stdout == exported.stdout);
    for args in [&["serve"][..], &["serve", "--limit", "half-open=7"]] {
        let refused = place.lunforge(args).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("--config"), "{said}");
    }
}

/// What a start says that is refused.
fn not_started(place: &Place, more: &[&str]) -> String {
    let args = arguments(more);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let output = place.lunforge(&args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!place.dir.path().join("run").exists());
    said
}

#[test]
fn a_disk_for_everybody_in_five_commands_that_a_restart_keeps() {
    let served = Served::pretending("");
    let lun = format!("{TARGET}/luns/0");
    served.told(&["add", "devices/disk1", "handler=vdisk_nullio"]);
    served.told(&["add", TARGET]);
    served.told(&["add", &lun, "device=disk1"]);
    served.told(&["set", TARGET, "enabled", "1"]);
    served.told(&["set", "targets/iscsi", "enabled", "1"]);
    assert_eq!(served.told(&["get", &lun, "device"]), "disk1\n");
    assert!(served.told(&["status"]).contains("1, 1 enabled"));
    assert!(served.told(&["status"]).contains("changed since"));
    assert!(served.told(&["devices"]).contains("disk1"));
    assert_eq!(served.told(&["save"]), "Saved.\n");
    let saved = served.config();
    assert_eq!(saved, served.told(&["print"]));
    let place = Place::new(Who::Ordinary);
    served.stop();
    let served = Served::start(place, &saved, &["--pretend"]);
    assert_eq!(served.told(&["print"]), saved);
    assert!(!served.told(&["status"]).contains("changed since"));
    served.stop();
}

#[test]
fn lists_are_for_people_and_with_json_for_programs() {
    let served = Served::pretending(DISK);
    let text = served.told(&["devices"]);
    assert!(text.starts_with("DEVICE  HANDLER "), "{text}");
    // No colours but on a terminal.
    assert!(!text.contains('\x1b'));
    for list in ["devices", "targets", "sessions", "reservations"] {
        served.told(&[list]);
        let json: serde_json::Value =
            serde_json::from_str(&served.told(&[list, "--json"])).unwrap();
        assert!(json.is_array(), "{list}: {json}");
    }
    let status: serde_json::Value =
        serde_json::from_str(&served.told(&["status", "--json"])).unwrap();
    assert_eq!(status["devices"], 1);
    assert!(served.told(&["sessions"]).contains("no sessions"));
    let shown = served.told(&["get", "devices/a"]);
    assert!(
        shown.contains("vdisk_nullio") && shown.contains("given when made"),
        "{shown}"
    );
    assert!(served.told(&["get", ""]).contains("devices: a\n"));
    let once = served.told(&["top", "--once"]);
    assert!(
        once.contains("IOPS") && once.lines().all(|line| line.chars().count() <= 80),
        "{once}"
    );
}

#[test]
fn what_is_refused_ends_with_2_and_says_why_in_a_sentence() {
    let served = Served::pretending(DISK);
    served.refused(&["get", "devices/b"], 2, "there is no device devices/b");
    served.refused(&["get", "devices/a", "colour"], 2, "colour");
    served.refused(&["get", "nowhere/a"], 2, "nowhere");
    served.refused(&["add", "devices/a", "handler=vdisk_nullio"], 2, "already");
    served.refused(&["add", "devices/b", "handler"], 2, "ATTRIBUTE=VALUE");
    served.refused(
        &["set", "devices/a", "handler", "vdisk_fileio"],
        2,
        "handler",
    );
    served.refused(&["set", TARGET, "enabled"], 2, "VALUE");
    served.refused(&["remove", "devices/b"], 2, "there is no device");
    served.refused(
        &["add", "targets/iscsi/my disk"],
        2,
        "a name of iSCSI has no ' '",
    );
    served.told(&["add", "targets/iscsi/plain.name"]);
    served.refused(
        &["apply", "missing.conf"],
        2,
        "there is no file missing.conf",
    );
}

#[test]
fn users_come_one_beside_the_other_and_attributes_together() {
    let served = Served::pretending(DISK);
    served.told(&["add", TARGET]);
    let users = || served.told(&["get", TARGET, "IncomingUser"]);
    let set = |more: &[&str], user: &str| {
        let user = format!("{user} a-secret-of-16-byte");
        served.told(&[&["set"], more, &[TARGET, "IncomingUser", &user]].concat())
    };
    set(&[], "alice");
    set(&["--add"], "bob");
    assert_eq!(users().lines().count(), 2);
    set(&[], "carol");
    assert!(users().starts_with("carol ") && users().lines().count() == 1);
    served.refused(
        &["set", "--add", "devices/a", "usn", "x"],
        2,
        "no attribute \"usn\" with several values",
    );
    served.told(&["set", "devices/a", "usn=12", "t10_dev_id=x"]);
    assert_eq!(served.told(&["get", "devices/a", "usn"]), "12\n");
    served.refused(&["set", "devices/a", "usn=34", "colour=red"], 2, "colour");
    assert_eq!(served.told(&["get", "devices/a", "usn"]), "12\n");
}

#[test]
fn a_file_that_two_devices_would_write_to_is_not_right() {
    let served = Served::pretending("");
    let disk = |name: &str| format!("DEVICE {name} {{\nfilename /srv/one.img\n}}\n");
    let text = format!("HANDLER vdisk_fileio {{\n{}{}}}\n", disk("a"), disk("b"));
    served.place.file("two.conf", 0o600, &text);
    let checked = served.place.lunforge(&["check", "two.conf"]).output();
    let checked = checked.unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(2), "{said}");
    assert!(
        said.contains("two.conf: devices/a and devices/b have one file"),
        "{said}"
    );
}

#[test]
fn an_object_is_removed_with_what_stands_in_it_when_told() {
    let served = Served::pretending(DISK);
    let group = format!("{TARGET}/ini_groups/hosts");
    served.told(&["add", TARGET]);
    served.told(&["add", &format!("{TARGET}/luns/0"), "device=a"]);
    served.told(&["add", &group]);
    served.told(&["add", &format!("{group}/luns/7"), "device=a"]);
    served.told(&["add", &format!("{group}/initiators/iqn.*")]);
    served.refused(&["remove", TARGET], 2, "not empty");
    served.told(&["remove", "--recursive", TARGET]);
    assert!(!served.told(&["print"]).contains("TARGET iqn"));
    assert!(served.told(&["targets"]).contains("no targets"));
}

#[test]
fn a_file_is_applied_once_and_kept_as_it_was_written() {
    let served = Served::pretending("");
    let before = served.told(&["print"]);
    served.place.file("new.conf", 0o600, DISK);
    let planned = served.told(&["plan", "new.conf"]);
    let steps = "  make devices/a\n  make targets/copy_manager/copy_manager_tgt/luns/0\n";
    assert_eq!(planned, format!("{steps}2 changes to do.\n"));
    assert_eq!(served.told(&["apply", "new.conf", "--plan"]), planned);
    assert_eq!(served.told(&["print"]), before);
    let applied = served.told(&["apply", "new.conf", "--no-save"]);
    assert_eq!(applied, format!("{steps}2 changes done.\n"));
    assert_eq!(served.config(), "");
    let again = served.told(&["apply", "new.conf"]);
    assert_eq!(again, "Nothing to change. Saved.\n");
    assert_eq!(served.config(), DISK);
}

#[test]
fn a_wrong_file_is_refused_with_its_place_and_nothing_is_changed_or_started() {
    let served = Served::pretending(DISK);
    let before = served.told(&["print"]);
    served.place.file("wrong.conf", 0o600, WRONG);
    for command in [&["apply", "wrong.conf"][..], &["plan", "wrong.conf"]] {
        let output = served.ask(command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said.starts_with("lunforge: wrong.conf:3:2: "), "{said}");
        assert!(said.ends_with(" 3 |  DEVISE d\n   |  ^\n"), "{said}");
    }
    let check = |file| served.place.lunforge(&["check", file]).output().unwrap();
    assert_eq!(check("wrong.conf").status.code(), Some(2));
    assert_eq!(check("scst.conf").stdout, b"scst.conf is right.\n");
    assert_eq!(served.told(&["print"]), before);
    assert_eq!(served.config(), DISK);
    let place = Place::new(Who::Ordinary);
    place.file("scst.conf", 0o600, WRONG);
    let said = not_started(&place, &["--pretend"]);
    assert!(
        said.contains("scst.conf:3:2") && said.ends_with("^\n"),
        "{said}"
    );
}

#[test]
fn an_ietd_conf_becomes_one_that_is_right() {
    let place = Place::new(Who::Ordinary);
    let ietd = "Target iqn.2026-11.org.example:a\n\tLun 0 Path=/dev/null,Type=fileio\n";
    place.file("ietd.conf", 0o600, ietd);
    let convert = place.lunforge(&["convert", "ietd.conf"]).output().unwrap();
    assert_eq!(convert.status.code(), Some(0));
    place.file("scst.conf", 0o600, convert.stdout);
    let check = place.lunforge(&["check", "scst.conf"]).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{check:?}");
}

#[test]
fn a_missing_file_says_how_to_make_one() {
    let place = Place::new(Who::Ordinary);
    let said = not_started(&place, &["--pretend"]);
    assert!(said.contains("touch scst.conf"), "{said}");
    place.file("scst.conf", 0o600, "");
    assert!(
        not_started(&place, &["--pretend", "--control-group", "no such group"])
            .contains("no group")
    );
}

#[test]
fn n57_secrets_in_a_file_that_others_can_read_are_spoken_of_and_never_said() {
    let secret = "TARGET_DRIVER iscsi {\n\tTARGET iqn.x:a {\n\t\tIncomingUser \"joe a-secret-of-16-byte\"\n\t}\n}\n";
    for (config, mode, spoken) in [
        (secret, 0o644, true),
        (secret, 0o600, false),
        (DISK, 0o644, false),
    ] {
        let place = Place::new(Who::Ordinary);
        place.file("scst.conf", mode, config);
        let served = Served::again(place, &["--pretend"]);
        let said = served.said();
        assert_eq!(said.contains("chmod 600 scst.conf"), spoken, "{said}");
        assert!(!said.contains("a-secret"), "{said}");
        served.stop();
    }
}

#[test]
fn sighup_applies_the_file_again_wholly_or_not_at_all() {
    let mut served = Served::pretending(DISK);
    served.place.file("scst.conf", 0o600, OTHER);
    served.signal("-HUP");
    served.wait_for("is applied");
    let after = served.told(&["print"]);
    assert!(
        after.contains("DEVICE b") && !after.contains("DEVICE a"),
        "{after}"
    );
    served.place.file("scst.conf", 0o600, WRONG);
    served.signal("-HUP");
    served.wait_for("Nothing has changed");
    assert!(served.said().contains("scst.conf:3:2"), "{}", served.said());
    assert_eq!(served.told(&["print"]), after);
    served.stop();
}

#[test]
fn a_second_one_at_the_same_socket_is_refused_and_a_dead_one_s_is_replaced() {
    let mut served = Served::pretending("");
    let args = arguments(&["--pretend"]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let output = served.place.lunforge(&args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let pid = format!("(process {})", served.child.id());
    assert!(
        said.contains("running process") && said.contains(&pid),
        "{said}"
    );
    served.told(&["status"]);
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    let said = served.refused(&["status"], 1, "no lunforge is running");
    assert!(said.contains("lunforge serve --config"), "{said}");
    let command = &mut served.place.lunforge(&args);
    let place = Place::new(Who::Ordinary);
    let place = std::mem::replace(&mut served.place, place);
    Served::spawn(place, command).stop();
}

#[test]
fn nobody_else_may_give_commands() {
    if !is_root() {
        return;
    }
    let served = Served::start(Place::new(Who::Us), "", &["--pretend", "--confine", "off"]);
    let stranger = Place::new(Who::Ordinary);
    let socket = served.place.path("run/control.sock");
    let ask = || {
        let output = stranger
            .lunforge(&["status", "--control", &socket])
            .output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let open = |path: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(served.place.path(path), mode).unwrap();
    };
    open(".", 0o755);
    let (code, said) = ask();
    assert!(
        code == Some(2) && said.contains("you may not use"),
        "{said}"
    );
    // Not even where somebody has opened the socket to all.
    open("run", 0o755);
    open("run/control.sock", 0o666);
    let (code, said) = ask();
    assert!(
        code == Some(2) && said.contains("user 65534 may not"),
        "{said}"
    );
}

#[test]
fn a_confined_process_of_another_user_saves_and_ends_cleanly() {
    let place = Place::new(Who::Us);
    let mut more = vec!["--pretend"];
    if is_root() {
        common::own(place.dir.path(), common::NOBODY);
        more.extend(["--user", "65534:65534"]);
    }
    let path = place.file("scst.conf", 0o640, "");
    if is_root() {
        common::own(path.as_ref(), common::NOBODY);
    }
    let served = Served::again(place, &more);
    let before = fs::metadata(&path).unwrap();
    served.told(&["add", "devices/a", "handler=vdisk_nullio"]);
    served.told(&["save"]);
    let after = fs::metadata(&path).unwrap();
    assert_eq!(served.config(), served.told(&["print"]));
    assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()));
    assert_eq!(
        fs::metadata(served.place.path("run")).unwrap().mode() & 0o777,
        0o700
    );
    served.stop();
}

#[test]
fn the_service_manager_hears_of_readiness_life_reloading_and_the_end() {
    let place = Place::new(Who::Us);
    let path = place.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    place.file("scst.conf", 0o600, "");
    let args = arguments(&["--pretend"]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut command = place.lunforge(&args);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "100000");
    let served = Served::spawn(place, &mut command);
    let wait_for = |what: &str| {
        let mut message = [0; 256];
        for _ in 0..10_000 {
            let n = socket.recv(&mut message).unwrap();
            if String::from_utf8_lossy(&message[..n]).contains(what) {
                return;
            }
        }
        panic!("no {what}");
    };
    wait_for("READY=1");
    wait_for("WATCHDOG=1");
    wait_for("WATCHDOG=1");
    served.signal("-HUP");
    wait_for("RELOADING=1\nMONOTONIC_USEC=");
    wait_for("READY=1");
    served.signal("-TERM");
    wait_for("STOPPING=1");
}

#[test]
fn log_lines_are_json_when_told() {
    let place = Place::new(Who::Ordinary);
    place.file("scst.conf", 0o600, "");
    let args = arguments(&["--pretend", "--log-format", "json"]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut command = place.lunforge(&args);
    command.env("LUNFORGE_LOG", "debug");
    let served = Served::spawn(place, &mut command);
    let said = served.said();
    let mut lines = said.lines().filter(|line| line.starts_with('{'));
    let line: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(line["level"], "DEBUG");
}

/// Applies one configuration after the other until the process is gone, and says each time that it did.
fn apply_forever(socket: &std::path::Path, configs: &[String], applied: &Sender<()>) {
    let Ok(mut client) = Client::connect(socket) else {
        return;
    };
    for config in configs.iter().cycle() {
        let apply = Call::Apply {
            config: config.clone(),
            mode: Mode::Replace,
            save: true,
        };
        if client.call::<serde_json::Value>(apply).is_err() {
            return;
        }
        // The test may have seen enough.
        let _ = applied.send(());
    }
}

#[test]
fn n57_sigkill_at_any_moment_leaves_one_configuration_or_the_other() {
    let config = |names: std::ops::Range<u32>| {
        let devices: String = names.map(|name| format!("\tDEVICE disk{name}\n")).collect();
        format!("HANDLER vdisk_nullio {{\n{devices}}}\n")
    };
    let configs = [config(0..30), config(20..60)];
    let mut place = Place::new(Who::Ordinary);
    place.file("scst.conf", 0o600, &configs[0]);
    let mut seen = [0, 0];
    for round in 0..34 {
        let mut served = Served::again(place, &["--pretend"]);
        let socket = served.place.dir.path().join("run/control.sock");
        std::thread::scope(|scope| {
            let (applied, seen) = channel();
            let (socket, configs) = (&socket, &configs);
            scope.spawn(move || apply_forever(socket, configs, &applied));
            for _ in 0..round % 3 {
                seen.recv_timeout(Duration::from_secs(20)).unwrap();
            }
            std::thread::sleep(Duration::from_micros(1_931 * (round % 17)));
            served.child.kill().unwrap();
        });
        served.child.wait().unwrap();
        let found = served.config();
        let which = configs.iter().position(|config| *config == found);
        seen[which.expect("one of the two")] += 1;
        place = std::mem::replace(&mut served.place, Place::new(Who::Ordinary));
        let left: Vec<_> = fs::read_dir(place.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("scst.conf"))
            .collect();
        assert!(left.len() <= 2, "{left:?}");
    }
    assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    Served::again(place, &["--pretend"]).stop();
}
