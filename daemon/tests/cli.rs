//! The binary as a user meets it: what it prints, how it leaves, and that a refusal changes nothing.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn lunforge(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lunforge"));
    command.arg("export").args(args);
    command
}

fn run(args: &[&str]) -> Output {
    lunforge(args).output().unwrap()
}

/// Refused: exit code 2, one line that contains `about`, nothing on standard output.
fn refused(args: &[&str], about: &str) {
    let output = run(args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
    assert!(said.contains(about), "{args:?}: {said}");
    assert!(output.stdout.is_empty());
}

/// A running target, and the first lines of its standard output.
fn start(args: &[&str], luns: usize) -> (Child, Vec<String>) {
    let mut child = lunforge(args)
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
    assert!(
        Command::new("kill")
            .args([name, &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
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

fn in_dir(dir: &tempfile::TempDir, name: &str) -> String {
    dir.path().join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_file_is_created_served_and_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = in_dir(&dir, "disk.img");
    let (mut child, urls) = start(
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
    let (mut child, _) = start(&["--null", "1M", "--portal", "127.0.0.1:0"], 1);
    signal(&child, "-INT");
    assert_eq!(exit_code(&mut child), Some(0));
}

#[test]
fn an_ipv6_portal_is_served() {
    let (mut child, urls) = start(&["--null", "1M", "--portal", "[::1]:0"], 1);
    assert!(urls[0].starts_with("iscsi://[::1]:"), "{}", urls[0]);
    signal(&child, "-TERM");
    assert_eq!(exit_code(&mut child), Some(0));
}

#[test]
fn a_refusal_says_its_cause_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = taken.local_addr().unwrap().to_string();
    let said = run(&["--null", "1M", "--portal", &portal]).stderr;
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.matches("os error").count(), 1, "{said}");
}

#[test]
fn a_refusal_is_one_sentence_and_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = in_dir(&dir, "disk.img");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = taken.local_addr().unwrap().to_string();
    refused(
        &[&path, "--size", "4M", "--portal", &portal],
        "cannot listen",
    );
    refused(&[&path, "--size", "1000"], "multiple of 512");
    refused(&[&path], "--size");
    refused(&[&path, "--size", "4M", "--bogus"], "--bogus");
    refused(&[&path, "--size", "4Q"], "unit");
    refused(&[&path, "--size", "4M", "--block-size", "1024"], "1024");
    refused(
        &[&path, "--size", "4M", "--write-through", "--read-only"],
        "--read-only",
    );
    refused(&[&path, "--size", "4M", "--target", "Disk"], "iSCSI name");
    refused(
        &[&path, "--size", "4M", "--state", "/no/where"],
        "no folder",
    );
    refused(&[&path, &path, "--size", "4M"], "twice");
    // The second of two is wrong: the first is not left behind.
    refused(
        &[&path, &in_dir(&dir, "no/such/folder"), "--size", "4M"],
        "no folder",
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_short_secret_is_refused_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let secret = in_dir(&dir, "secret");
    std::fs::write(&secret, "short\n").unwrap();
    refused(
        &["--null", "1M", "--chap", &format!("alice:{secret}")],
        "secret",
    );
    let said = run(&["--null", "1M", "--chap", &format!("alice:{secret}")]).stderr;
    assert!(!String::from_utf8(said).unwrap().contains("short\""));
}

#[test]
fn a_file_that_is_served_already_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = in_dir(&dir, "disk.img");
    let (mut child, _) = start(&[&path, "--size", "4M", "--portal", "127.0.0.1:0"], 1);
    refused(&[&path, "--portal", "127.0.0.1:0"], "in use");
    signal(&child, "-TERM");
    assert_eq!(exit_code(&mut child), Some(0));
}
