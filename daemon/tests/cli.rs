//! The binary as a user meets it: what it prints, how it leaves, and that a refusal changes nothing. Run as an ordinary
//! user: files and ports from 1024 on need no root.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Place, Who};

fn place() -> Place {
    Place::new(Who::Ordinary)
}

/// A running target, and the first lines of its standard output.
fn start(place: &Place, args: &[&str], luns: usize) -> (Child, Vec<String>) {
    let mut child = place
        .command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let urls = (0..luns)
        .map(|_| lines.next().expect("a line per LUN").unwrap())
        .collect();
    (child, urls)
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

fn exit_code(child: &mut Child) -> Option<i32> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < end, "the target does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_file_is_created_served_and_left_behind() {
    let place = place();
    let path = place.path("disk.img");
    let (mut child, urls) = start(
        &place,
        &[
            &path,
            "--null",
            "1M",
            "--size",
            "4M",
            "--portal",
            "127.0.0.1:0",
        ],
        2,
    );
    assert!(
        urls[0].starts_with("iscsi://127.0.0.1:")
            && urls[0].ends_with("/iqn.2026-11.org.lunforge:disk/0")
    );
    assert!(urls[1].ends_with("/1"));
    let address = urls[0]
        .trim_start_matches("iscsi://")
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    std::net::TcpStream::connect(address).expect("a portal that listens");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 4 << 20);
    signal(&child, "-TERM");
    assert_eq!(exit_code(&mut child), Some(0));
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    for hint in [
        "iscsiadm",
        "iscsi-inq",
        "qemu",
        "Windows",
        "Ctrl-C",
        "created",
    ] {
        assert!(said.contains(hint), "{hint} in {said}");
    }
    assert!(Path::new(&path).exists());
}

#[test]
fn an_interrupt_ends_it_as_well() {
    let place = place();
    let (mut child, _) = start(&place, &["--null", "1M", "--portal", "127.0.0.1:0"], 1);
    signal(&child, "-INT");
    assert_eq!(exit_code(&mut child), Some(0));
}

#[test]
fn an_ipv6_portal_is_served() {
    let place = place();
    let (mut child, urls) = start(&place, &["--null", "1M", "--portal", "[::1]:0"], 1);
    assert!(urls[0].starts_with("iscsi://[::1]:"), "{}", urls[0]);
    signal(&child, "-TERM");
    assert_eq!(exit_code(&mut child), Some(0));
}

#[test]
fn a_refusal_says_its_cause_once() {
    let place = place();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = taken.local_addr().unwrap().to_string();
    let said = place.run(&["--null", "1M", "--portal", &portal]).stderr;
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.matches("os error").count(), 1, "{said}");
}

#[test]
fn a_refusal_is_one_sentence_and_creates_nothing() {
    let place = place();
    let path = place.path("disk.img");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = taken.local_addr().unwrap().to_string();
    place.refused(
        &[&path, "--size", "4M", "--portal", &portal],
        "cannot listen",
    );
    place.refused(&[&path, "--size", "1000"], "multiple of 512");
    place.refused(&[&path], "--size");
    place.refused(&[&path, "--size", "4M", "--bogus"], "--bogus");
    place.refused(&[&path, "--size", "4Q"], "unit");
    place.refused(&[&path, "--size", "4M", "--block-size", "1024"], "1024");
    place.refused(
        &[&path, "--size", "4M", "--write-through", "--read-only"],
        "--read-only",
    );
    place.refused(&[&path, "--size", "4M", "--target", "Disk"], "iSCSI name");
    place.refused(
        &[&path, "--size", "4M", "--state", "/no/where"],
        "no folder",
    );
    place.refused(&[&path, &path, "--size", "4M"], "twice");
    // The second of two is wrong: the first is not left behind.
    place.refused(
        &[&path, &place.path("no/such/folder"), "--size", "4M"],
        "no folder",
    );
    assert_eq!(std::fs::read_dir(place.dir.path()).unwrap().count(), 0);
}

#[test]
fn srp_without_rdma_core_is_refused_and_says_what_to_install() {
    let place = place();
    let broken = place.path("broken");
    std::fs::create_dir(&broken).unwrap();
    // The first that the dynamic linker finds, and no library.
    place.file("broken/libibverbs.so.1", 0o644, "");
    let path = place.path("disk.img");
    let args = [&*path, "--size", "4M", "--srp", "192.0.2.1:5555"];
    for more in [&[][..], &["--portal", "127.0.0.1:0"]] {
        let mut command = place.command(&[&args, more].concat());
        let output = command.env("LD_LIBRARY_PATH", &broken).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("lunforge: SRP needs rdma-core"), "{said}");
        assert!(
            said.contains("libibverbs.so.1") && said.contains("install"),
            "{said}"
        );
        assert!(output.stdout.is_empty() && !Path::new(&path).exists());
    }
}

#[test]
fn srp_at_an_address_of_no_rdma_device_is_refused_and_creates_nothing() {
    let place = place();
    let path = place.path("disk.img");
    let args = [&*path, "--size", "4M", "--srp", "192.0.2.1:5555"];
    // As far as this machine has RDMA: no rdma-core, no device, or one with other addresses.
    let said = place.refused(&args, "");
    let begins = [
        "SRP needs ",
        "cannot listen for RDMA connections on 192.0.2.1:5555",
    ];
    let said = said.trim_start_matches("lunforge: ");
    assert!(begins.iter().any(|begin| said.starts_with(begin)), "{said}");
    assert!(
        ["install", "rdma link"]
            .iter()
            .any(|what| said.contains(what)),
        "{said}"
    );
    assert!(!Path::new(&path).exists());
}

#[test]
fn srp_that_would_let_in_more_than_asked_for_is_refused() {
    let place = place();
    let path = place.path("disk.img");
    let only = "iqn.2026-11.org.example:a";
    let args = [
        &*path,
        "--size",
        "4M",
        "--srp",
        "192.0.2.1:5555",
        "--initiator",
        only,
    ];
    place.refused(&args, "name the address");
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_file_that_is_served_already_is_refused() {
    let place = place();
    let path = place.path("disk.img");
    let (mut child, _) = start(
        &place,
        &[&path, "--size", "4M", "--portal", "127.0.0.1:0"],
        1,
    );
    place.refused(&[&path, "--portal", "127.0.0.1:0"], "in use");
    signal(&child, "-TERM");
    assert_eq!(exit_code(&mut child), Some(0));
}

#[test]
fn n57_readers_share_a_file_and_a_writer_has_it_alone() {
    let place = place();
    let path = place.file("disk.img", 0o600, vec![0; 1 << 20]);
    let link = place.path("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let read_only = |path| place.start(&["--read-only", path]);
    let (first, second) = (read_only(&path), read_only(&link));
    place.refused(&[&link, "--portal", "127.0.0.1:0"], "in use");
    drop((first, second));
    let writer = place.start(&[&link]);
    place.refused(&[&path, "--portal", "127.0.0.1:0"], "in use");
    place.refused(&[&path, "--read-only", "--portal", "127.0.0.1:0"], "in use");
    writer.stop();
}

#[test]
fn a_created_disk_is_its_owner_s_alone() {
    use std::os::unix::fs::MetadataExt;
    let place = place();
    let path = place.path("disk.img");
    place.start(&[&path, "--size", "1M"]).stop();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn timeouts_that_are_no_ladder_are_refused_and_say_which_rung_is_wrong() {
    place().refused(
        &["--null", "1M", "--timeouts", "10,8,30,120"],
        "hold time of 8s must be longer than the backend's 10s",
    );
    place().refused(
        &["--null", "1M", "--timeouts", "10,15,25,120"],
        "command timeout of 25s must be longer than hold time and backend's time together",
    );
    place().refused(&["--null", "1M", "--timeouts", "forever"], "expected linux");
}
