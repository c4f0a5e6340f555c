//! `lunforge serve` with initiators: what the configuration says is on the network, changes while it is used, and is there
//! again after a restart.

mod common;
#[path = "common/served.rs"]
mod served;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{Export, Place, Who, command, keys, reserve_out};
use lunforge_bench::initiator::Initiator;
use served::Served;

const NAME: &str = "iqn.2026-11.org.example:a";
const TARGET: &str = "targets/iscsi/iqn.2026-11.org.example:a";
const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];

fn config(disk: &str) -> String {
    format!(
        "HANDLER vdisk_fileio {{\n\tDEVICE disk1 {{\n\t\tfilename {disk}\n\t}}\n}}\n\
         TARGET_DRIVER iscsi {{\n\tenabled 1\n\tTARGET {NAME} {{\n\t\tenabled 1\n\t\tLUN 0 disk1\n\t}}\n}}\n"
    )
}

/// One with a disk of 1 MiB, at a free port, as confined as it can be.
fn start() -> Served {
    let place = Place::new(Who::Ordinary);
    let disk = place.file("disk1.img", 0o600, vec![0; 1 << 20]);
    Served::start(
        place,
        &config(&disk),
        &["--portal", "127.0.0.1:0", "--state", "state"],
    )
}

fn json(served: &Served, list: &str) -> serde_json::Value {
    serde_json::from_str(&served.told(&[list, "--json"])).unwrap()
}

fn portal(served: &Served) -> SocketAddr {
    let status = json(served, "status");
    status["portals"][0].as_str().unwrap().parse().unwrap()
}

fn login(served: &Served, name: &str) -> Initiator {
    Initiator::connect(portal(served), NAME, &Export::options(name)).unwrap()
}

#[test]
fn a_disk_is_used_watched_and_kept() {
    let served = start();
    let mut host = login(&served, "host");
    assert_eq!(command(&mut host, &WRITE, &[7; 512], 0).status, 0);
    assert_eq!(command(&mut host, &READ, &[], 512).data, [7; 512]);
    let devices = json(&served, "devices");
    assert_eq!(
        (&devices[0]["name"], &devices[0]["writes"]),
        (&"disk1".into(), &1.into())
    );
    let sessions = json(&served, "sessions");
    assert_eq!(sessions[0]["initiator"], "iqn.2026-11.org.example:host");
    assert!(
        served
            .told(&["sessions"])
            .contains("iqn.2026-11.org.example:host")
    );
    assert!(served.told(&["top", "--once"]).contains("disk1"));
    let top = served.told(&["top", "--once", "--json"]);
    let top: serde_json::Value = serde_json::from_str(&top).unwrap();
    assert_eq!(top["devices"][0]["name"], "disk1");
    assert_eq!(top["devices"][0]["mean_us"], serde_json::Value::Null);
    assert!(top["seconds"].as_f64().unwrap() >= 1.0);
    served.stop();
}

#[test]
fn a_lun_comes_and_goes_under_a_session() {
    let served = start();
    let mut host = login(&served, "host");
    assert_eq!(command(&mut host, &READ, &[], 512).status, 0);
    let disk = served.place.file("disk2.img", 0o600, vec![9; 1 << 20]);
    served.told(&[
        "add",
        "devices/disk2",
        "handler=vdisk_fileio",
        &format!("filename={disk}"),
    ]);
    served.told(&["add", &format!("{TARGET}/luns/1"), "device=disk2"]);
    let mut later = login(&served, "later");
    let read = |i: &mut Initiator| {
        for _ in 0..8 {
            let reply = i.command(1, &READ, &[], 512).unwrap();
            if reply.sense_key() != Some(6) {
                return reply;
            }
        }
        panic!("unit attentions without end");
    };
    assert_eq!(read(&mut later).data, [9; 512]);
    // It was never saved: the file says what there is.
    served.signal("-HUP");
    let end = Instant::now() + Duration::from_secs(10);
    while json(&served, "devices").as_array().unwrap().len() > 1 {
        assert!(Instant::now() < end, "{}", served.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(read(&mut later).sense_key(), Some(5));
    served.stop();
}

#[test]
fn what_cannot_be_opened_is_told_and_nothing_changes() {
    let served = start();
    let before = served.told(&["print"]);
    let elsewhere = tempfile::tempdir().unwrap();
    for missing in [
        served.place.path("missing.img"),
        elsewhere.path().join("x").display().to_string(),
    ] {
        let filename = format!("filename={missing}");
        served.refused(
            &["add", "devices/b", "handler=vdisk_fileio", &filename],
            1,
            "cannot make devices/b",
        );
    }
    assert_eq!(served.told(&["print"]), before);
    let mut host = login(&served, "host");
    assert_eq!(command(&mut host, &READ, &[], 512).status, 0);
    served.stop();
}

#[test]
fn n39_reservations_with_aptpl_outlive_sigkill_also_as_another_user() {
    let place = Place::new(Who::Us);
    let disk = place.file("disk1.img", 0o600, vec![0; 1 << 20]);
    let mut more = vec!["--portal", "127.0.0.1:0", "--state", "state"];
    if common::is_root() {
        more.extend(["--user", "65534:65534"]);
        common::own(place.dir.path(), common::NOBODY);
        common::own(disk.as_ref(), common::NOBODY);
    }
    let mut served = Served::start(place, &config(&disk), &more);
    let mut owner = login(&served, "owner");
    let aptpl = 1;
    assert_eq!(reserve_out(&mut owner, 0, 0, 0xC0FFEE, aptpl), 0);
    assert_eq!(reserve_out(&mut owner, 1, 0xC0FFEE, 0, aptpl), 0);
    assert!(served.told(&["reservations"]).contains("example:owner"));
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    let place = std::mem::replace(&mut served.place, Place::new(Who::Us));
    let served = Served::again(place, &more);
    let mut other = login(&served, "other");
    assert_eq!(keys(&mut other), [0xC0FFEE]);
    let conflict = 0x18;
    assert_eq!(command(&mut other, &WRITE, &[7; 512], 0).status, conflict);
    served.stop();
}

#[test]
fn recordings_of_all_sessions_are_written_when_asked_for() {
    let place = Place::new(Who::Ordinary);
    let disk = place.file("disk1.img", 0o600, vec![0; 1 << 20]);
    let more = ["--portal", "127.0.0.1:0", "--record", "records"];
    let mut served = Served::start(place, &config(&disk), &more);
    let mut host = login(&served, "host");
    assert_eq!(command(&mut host, &READ, &[], 512).status, 0);
    served.signal("-USR2");
    served.wait_for("Recordings written: 1");
    served.stop();
}

#[test]
fn what_is_out_of_reach_of_a_confined_process_says_so() {
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = elsewhere.path().join("a.img");
    std::fs::write(&image, [0; 4096]).unwrap();
    let device = format!("filename={}", image.display());
    let add = ["add", "devices/new", "handler=vdisk_fileio", &device];
    let place = Place::new(Who::Us);
    let served = Served::start(place, "", &["--confine", "off"]);
    served.told(&add);
    served.stop();
    if lunforge_daemon::confine::check_support().is_err() {
        return;
    }
    let served = Served::start(Place::new(Who::Us), "", &[]);
    served.refused(&add, 1, "reaches only what --allow names");
    served.told(&["set", "targets/iscsi", "portal", "127.0.0.1:14061"]);
    let enable = ["set", "targets/iscsi", "enabled", "1"];
    served.refused(&enable, 1, "or --portal named at its start (see --confine)");
    served.stop();
}

/// A configuration with a target of SRP, and rdma-core that is not there.
fn srp(enabled: bool) -> (Place, std::process::Command) {
    let place = Place::new(Who::Ordinary);
    let broken = place.path("broken");
    std::fs::create_dir(&broken).unwrap();
    // The first that the dynamic linker finds, and no library.
    place.file("broken/libibverbs.so.1", 0o644, "");
    let enabled = u8::from(enabled);
    let config = format!(
        "{}TARGET_DRIVER ib_srpt {{\n\trdma_cm_port 5555\n\tTARGET a {{\n\t\tenabled {enabled}\n\t}}\n}}\n",
        config(&place.file("disk1.img", 0o600, vec![0; 1 << 20]))
    );
    place.file("scst.conf", 0o600, config);
    let args = served::arguments(&["--portal", "127.0.0.1:0"]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut command = place.lunforge(&args);
    command.env("LD_LIBRARY_PATH", &broken);
    (place, command)
}

/// Whether it is said what SRP wants, whichever of it this machine does not have.
fn says_what_is_missing(said: &str) -> bool {
    said.contains("SRP needs rdma-core") || said.contains("there is no RDMA device")
}

#[test]
fn srp_that_cannot_be_had_is_refused_where_a_target_is_enabled() {
    let (place, mut command) = srp(true);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("ib_srpt") && says_what_is_missing(&said),
        "{said}"
    );
    assert!(!place.dir.path().join("run").exists());
}

#[test]
fn srp_that_cannot_be_had_is_noted_where_no_target_is_enabled_and_iscsi_is_served() {
    let (place, mut command) = srp(false);
    let served = Served::spawn(place, &mut command);
    let said = served.said();
    assert!(
        said.contains("Note: SRP is not served") && says_what_is_missing(&said),
        "{said}"
    );
    let mut host = login(&served, "host");
    assert_eq!(read_status(&mut host), 0);
    let target = "targets/ib_srpt/a";
    served.refused(&["set", target, "enabled", "1"], 1, "cannot be enabled: ");
    assert_eq!(served.told(&["get", target, "enabled"]).trim(), "0");
    served.stop();
}

fn read_status(host: &mut Initiator) -> u8 {
    command(host, &READ, &[], 512).status
}
