//! The program gives up what it does not need, and serves all the same.

mod common;

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use common::{Export, NOBODY, Place, Who, command, is_root, keys, reserve_out, without};
use lunforge_bench::copy;
use lunforge_bench::initiator::Initiator;
use lunforge_bench::load::{self, LoadOptions, Mode};
use lunforge_daemon::confine;

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const SIGSYS: i32 = 31;

/// The ways in which the program can come to few rights.
fn ways() -> Vec<(Place, &'static [&'static str])> {
    let mut ways: Vec<(Place, &'static [&'static str])> = vec![(Place::new(Who::Us), &[])];
    if is_root() {
        ways.push((Place::new(Who::Ordinary), &[]));
        ways.push((Place::new(Who::Us), &["--user", "65534:65534"]));
    }
    ways
}

/// Every thread: no new privileges, a filter, no capabilities that count.
fn is_confined(export: &Export, capabilities: u64) {
    for (field, value) in [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "2"),
    ] {
        let of_threads = export.of_threads(field);
        assert!(of_threads.len() > 1);
        assert!(
            of_threads.iter().all(|v| v == value),
            "{field} {of_threads:?}"
        );
    }
    for field in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        for set in export.of_threads(field) {
            let set = u64::from_str_radix(&set, 16).unwrap();
            assert_eq!(set & !capabilities, 0, "{field}");
        }
    }
}

/// Reads and writes of many kinds at once, each checked; a read-only disk is filled elsewhere.
fn load(export: &Export, mode: Mode, block: u32) {
    let mut options = LoadOptions::new(export.url.parse().unwrap());
    options.mode = mode;
    options.block = block;
    options.verify = mode != Mode::RandRead;
    options.sessions = 2;
    options.depth = 8;
    options.warmup = Duration::from_millis(10);
    options.measure = Duration::from_millis(150);
    let report = load::run(&options).unwrap();
    assert_eq!(report.errors, 0, "{:?}", report.messages);
}

/// Everything else that reaches the store or a file.
fn commands(i: &mut Initiator) {
    let (blocks, size) = {
        i.ready(0, 5).unwrap();
        i.capacity(0).unwrap()
    };
    assert!(blocks > 64);
    let block = vec![7; size as usize];
    let unmap = [
        0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0, 0, 0,
    ];
    let pair = [block.clone(), block.clone()].concat();
    let cases: &[(&str, &[u8], &[u8], u32)] = &[
        (
            "SYNCHRONIZE CACHE",
            &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[],
            0,
        ),
        (
            "WRITE with FUA",
            &[0x2A, 8, 0, 0, 0, 4, 0, 0, 1, 0],
            &block,
            0,
        ),
        (
            "COMPARE AND WRITE",
            &[0x89, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0],
            &pair,
            0,
        ),
        ("VERIFY", &[0x2F, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[], 0),
        ("PRE-FETCH", &[0x34, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[], 0),
        (
            "WRITE SAME",
            &[0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
            &block,
            0,
        ),
        (
            "WRITE SAME, UNMAP",
            &[0x93, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
            &block,
            0,
        ),
        ("UNMAP", &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &unmap, 0),
        (
            "GET LBA STATUS",
            &[0x9E, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0],
            &[],
            64,
        ),
        (
            "ORWRITE",
            &[0x8B, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0],
            &block,
            0,
        ),
        ("SEND DIAGNOSTIC", &[0x1D, 4, 0, 0, 0, 0], &[], 0),
        ("LOG SENSE", &[0x4D, 0, 0x4C, 0, 0, 0, 0, 1, 0, 0], &[], 256),
        (
            "SET IDENTIFYING INFORMATION",
            &[0xA4, 6, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0],
            b"rack",
            0,
        ),
        ("FORMAT UNIT", &[4, 0, 0, 0, 0, 0], &[], 0),
        ("eject", &[0x1B, 0, 0, 0, 2, 0], &[], 0),
        ("load", &[0x1B, 0, 0, 0, 3, 0], &[], 0),
    ];
    for (name, cdb, out, len) in cases {
        let reply = command(i, cdb, out, *len);
        // Supported or not by the set-up, but no error of the medium or of the program.
        let condition_met = 4;
        let fine = reply.is_good()
            || reply.status == condition_met
            || matches!(reply.sense_key(), Some(5 | 7));
        assert!(fine, "{name}: {reply:?}");
    }
}

#[test]
fn a_confined_program_serves_every_set_up() {
    let set_ups: &[&[&str]] = &[
        &[],
        &["--direct", "--thin"],
        &["--write-through", "--shards", "1"],
        &["--thin", "--nv-cache", "--physical-block-size", "4096"],
        &["--removable", "--block-size", "4096"],
    ];
    for (way, (place, more)) in ways().into_iter().enumerate() {
        // All of them once, and some in each way.
        let some = if way == 0 { set_ups.len() } else { 2 };
        for (number, set_up) in set_ups.iter().take(some).enumerate() {
            let path = place.path(&format!("disk.{number}"));
            let state = place.path(&format!("state.{number}"));
            let always = [
                "--confine",
                "require",
                "--size",
                "16M",
                "--state",
                &state,
                &path,
            ];
            let export = place.start(&[&always, more, *set_up].concat());
            load(&export, Mode::Mixed, 4096);
            load(&export, Mode::RandRw, 262_144);
            let mut i = export.login("a");
            commands(&mut i);
            assert_eq!(reserve_out(&mut i, 0, 0, 0xC0FFEE, 1), 0);
            assert_eq!(keys(&mut i), [0xC0FFEE]);
            is_confined(&export, if more.is_empty() { 1 << 1 } else { 0 });
            let said = export.said();
            assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
            drop(i);
            export.stop();
            let kept = std::fs::read_dir(&state).unwrap().count();
            assert_eq!(kept, 3, "lock, reservations, parameters");
        }
    }
}

#[test]
fn a_confined_program_serves_what_it_may_only_read() {
    for (place, more) in ways() {
        let path = place.file("disk", 0o444, vec![5; 4 << 20]);
        let args = [&["--confine", "require", "--read-only", &path], more].concat();
        let export = place.start(&args);
        let mut i = export.login("a");
        commands(&mut i);
        assert_eq!(i.read(0, 9, 1, 512).unwrap(), vec![5; 512]);
        load(&export, Mode::RandRead, 4096);
        export.stop();
    }
}

#[test]
fn a_confined_program_copies_between_its_files() {
    let place = Place::new(Who::Ordinary);
    let (from, to) = (place.path("from"), place.path("to"));
    let export = place.start(&["--confine", "require", "--size", "64M", &from, &to]);
    let url = export.url.parse().unwrap();
    let copied = copy::run(&url, &Export::options("a"), 1, 16 << 20, 1, &[]).unwrap();
    assert_eq!(copied.bytes, 16 << 20);
    export.stop();
}

#[test]
fn the_ring_works_where_it_was_made_before_the_filter() {
    let place = Place::new(Who::Us);
    let path = place.path("disk");
    let export = place.start(&["--confine", "require", "--direct", "--size", "16M", &path]);
    load(&export, Mode::Mixed, 4096);
    let names = export.of_threads("Name");
    // Where io_uring is forbidden to us as well, threads do its work.
    let forbidden = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .is_ok_and(|value| value.trim() != "0");
    assert!(
        forbidden || names.iter().any(|name| name == "vdisk-uring"),
        "{names:?}"
    );
    export.stop();
}

#[test]
fn where_io_uring_is_forbidden_threads_serve_and_nothing_fails() {
    let place = Place::new(Who::Ordinary);
    for (number, errno) in [EPERM, ENOSYS].into_iter().enumerate() {
        for confine in ["require", "off"] {
            let path = place.path(&format!("disk.{number}.{confine}"));
            let args = [
                "--direct",
                "--thin",
                "--size",
                "16M",
                "--portal",
                "127.0.0.1:0",
            ];
            let mut command = place.command(&args);
            command
                .args(["--confine", confine, &path])
                .env("LUNFORGE_LOG", "info");
            let export = without(&[libc::SYS_io_uring_setup], errno, || place.serve(command));
            load(&export, Mode::Mixed, 4096);
            load(&export, Mode::RandRw, 262_144);
            commands(&mut export.login("a"));
            let said = export.said();
            assert!(
                said.contains("io_uring is not available, using threads"),
                "{said}"
            );
            let names = export.of_threads("Name");
            assert!(
                names.iter().any(|name| name.starts_with("vdisk-io")),
                "{names:?}"
            );
            assert!(!names.iter().any(|name| name == "vdisk-uring"), "{names:?}");
            export.stop();
        }
    }
}

#[test]
fn what_cannot_be_had_is_said_or_refused() {
    let place = Place::new(Who::Ordinary);
    let path = place.path("disk");
    let args = [
        "--size",
        "4M",
        &path,
        "--portal",
        "127.0.0.1:0",
        "--confine",
    ];
    let landlock = [libc::SYS_landlock_create_ruleset];
    let mut required = place.command(&args);
    required.arg("require");
    let output = without(&landlock, ENOSYS, || required.output().unwrap());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot be confined as required"), "{said}");
    assert!(!std::fs::exists(&path).unwrap(), "nothing is created");

    let mut auto = place.command(&args);
    auto.arg("auto");
    let export = without(&landlock, ENOSYS, || place.serve(auto));
    assert!(export.said().contains("less confined"), "{}", export.said());
    load(&export, Mode::Mixed, 4096);
    let filters = export.of_threads("Seccomp");
    assert!(filters.iter().all(|mode| mode == "2"), "{filters:?}");
    export.stop();
}

#[test]
fn without_confinement_there_are_still_no_new_privileges() {
    let place = Place::new(Who::Us);
    let export = place.start(&["--null", "1M", "--confine", "off"]);
    assert!(
        export
            .of_threads("NoNewPrivs")
            .iter()
            .all(|value| value == "1")
    );
    assert!(
        export
            .of_threads("Seccomp_filters")
            .iter()
            .all(|value| value == "0")
    );
    export.stop();
}

/// The program started as `65534:7`, with the supplementary groups and rights that `setpriv` is told of.
fn started_as_nobody(place: &Place, setpriv: &[&str]) -> std::process::Command {
    let export = place.command(&["--portal", "127.0.0.1:0", "--null", "1M"]);
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=7"])
        .args(setpriv)
        .arg("--")
        .arg(export.get_program())
        .args(export.get_args())
        .args(["--user", "65534:7"]);
    command
}

#[test]
fn who_is_the_user_already_keeps_no_groups_that_were_not_asked_for() {
    if !is_root() {
        return;
    }
    let place = Place::new(Who::Ordinary);
    let refused = started_as_nobody(&place, &["--groups=7,4,27"]).output();
    let refused = refused.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(
        (refused.status.code(), said.lines().count()),
        (Some(2), 1),
        "{said}"
    );
    assert!(said.contains("also in group(s) 4, 27"), "{said}");
    assert!(said.contains("setpriv --clear-groups"), "{said}");
    for setpriv in [
        &["--clear-groups"][..],
        &["--groups=7"],
        // With the right to leave groups it leaves them.
        &[
            "--groups=7,4,27",
            "--inh-caps=+setgid",
            "--ambient-caps=+setgid",
        ],
    ] {
        let export = place.serve(started_as_nobody(&place, setpriv));
        let groups = export.of_threads("Groups");
        let own = |groups: &String| groups.is_empty() || groups == "7";
        assert!(groups.iter().all(own), "{setpriv:?}: {groups:?}");
        let capabilities = export.of_threads("CapEff");
        assert!(capabilities.iter().all(|set| set == "0000000000000000"));
        export.stop();
    }
}

#[test]
fn the_user_is_another_for_good() {
    if !is_root() {
        let place = Place::new(Who::Us);
        place.refused(&["--null", "1M", "--user", "3999999999:7"], "only root");
        return;
    }
    let place = Place::new(Who::Us);
    let (path, state) = (place.path("disk"), place.path("state"));
    let args = ["--state", &state, &path, "--user", "65534:7"];
    for (confine, size) in [("auto", &["--size", "4M"][..]), ("off", &[])] {
        let export = place.start(&[&args[..], &["--confine", confine], size].concat());
        for (field, number) in [("Uid", NOBODY), ("Gid", 7)] {
            let all = format!("{number}\t{number}\t{number}\t{number}");
            assert!(
                export.of_threads(field).iter().all(|ids| *ids == all),
                "{field}"
            );
        }
        assert!(export.of_threads("Groups").iter().all(String::is_empty));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(
                export
                    .of_threads(set)
                    .iter()
                    .all(|set| set == "0000000000000000"),
                "{set}"
            );
        }
        export.stop();
    }
    for path in [&path, &state, &place.path("state/lock")] {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path).unwrap();
        assert_eq!(
            (metadata.uid(), metadata.mode() & 0o077),
            (NOBODY, 0),
            "{path}"
        );
    }
    common::own(std::path::Path::new(&state), 0);
    let said = place.refused(&args, "chown -R 65534");
    assert!(said.contains("belongs to user 0"));
}

/// Runs one of the acts below in a process that is confined to the folder `dir`.
fn inside(act: &str, dir: &std::path::Path) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "act_in_a_confined_process",
            "--exact",
            "--ignored",
            "--test-threads=1",
        ])
        .env("ACT", act)
        .env("DIR", dir)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap()
}

#[test]
#[ignore = "a part of other tests, in a process of its own"]
fn act_in_a_confined_process() {
    let dir = std::path::PathBuf::from(std::env::var_os("DIR").unwrap());
    let folder = dir.join("folder");
    let mut reach = confine::Reach::default();
    reach.file(dir.join("readable"), false);
    reach.file(dir.join("writable"), true);
    reach.folder(&folder);
    confine::give_up().unwrap();
    assert_eq!(reach.confine(confine::Mode::Require).unwrap(), [""; 0]);
    let denied = |result: std::io::Result<std::fs::File>| {
        result.unwrap_err().kind() == std::io::ErrorKind::PermissionDenied
    };
    let open = |path: &dyn AsRef<std::path::Path>| std::fs::File::open(path.as_ref());
    let append = |name: &str| {
        std::fs::OpenOptions::new()
            .append(true)
            .open(dir.join(name))
    };
    match std::env::var("ACT").unwrap().as_str() {
        "allowed" => {
            open(&dir.join("readable")).unwrap();
            append("writable").unwrap();
            std::fs::write(folder.join("a"), "a").unwrap();
            std::fs::rename(folder.join("a"), folder.join("b")).unwrap();
            open(&folder).unwrap().sync_all().unwrap();
            std::fs::remove_file(folder.join("b")).unwrap();
            std::thread::spawn(|| ()).join().unwrap();
        }
        "outside" => {
            assert!(denied(open(&"/etc/passwd")));
            assert!(denied(open(&dir.join("other"))));
            assert!(denied(open(&"/proc/self/maps")));
            assert!(denied(append("readable")));
            assert!(denied(std::fs::File::create(dir.join("new"))));
            assert!(std::fs::create_dir(folder.join("d")).is_err());
            assert!(std::os::unix::fs::symlink("/", folder.join("l")).is_err());
            assert!(std::fs::rename(dir.join("writable"), folder.join("w")).is_err());
            let thread = std::thread::spawn(move || denied(open(&"/etc/passwd")));
            assert!(thread.join().unwrap());
        }
        "network" => {
            assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
            assert!(std::net::TcpStream::connect("127.0.0.1:9").is_err());
            assert!(std::os::unix::net::UnixStream::pair().is_err());
        }
        "child" => assert!(Command::new("/bin/true").status().is_err()),
        "exec" => drop(Command::new("/bin/true").exec()),
        "root" => drop(nix::unistd::setuid(nix::unistd::getuid())),
        other => panic!("no act {other}"),
    }
}

#[test]
fn a_confined_process_reaches_its_files_and_nothing_else() {
    let place = Place::new(Who::Us);
    for name in ["readable", "writable", "other"] {
        place.file(name, 0o600, name);
    }
    std::fs::create_dir(place.path("folder")).unwrap();
    for act in ["allowed", "outside", "network", "child"] {
        let status = inside(act, place.dir.path());
        assert!(status.success(), "{act}: {status}");
    }
    for act in ["exec", "root"] {
        assert_eq!(
            inside(act, place.dir.path()).signal(),
            Some(SIGSYS),
            "{act}"
        );
    }
}
