//! What `--state` keeps: reservations outlive the process, however it ends.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lunforge_bench::initiator::{Initiator, Options, Reply};

const KEY: u64 = 0xC0FFEE;
const CONFLICT: u8 = 0x18;
const APTPL: u8 = 1;

/// A running `lunforge export`, killed with SIGKILL when dropped.
struct Export {
    child: Child,
    address: SocketAddr,
    target: String,
}

impl Drop for Export {
    fn drop(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("a process to wait for");
    }
}

impl Export {
    fn start(dir: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lunforge"))
            .args(["export", "--size", "4M", "--serial", "kept/1"])
            .args(["--portal", "127.0.0.1:0", "--state"])
            .args([dir, &dir.join("disk.img")])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        let mut parts = url.trim().trim_start_matches("iscsi://").split('/');
        Self {
            address: parts.next().unwrap().parse().unwrap(),
            target: parts.next().unwrap().to_owned(),
            child,
        }
    }

    fn login(&self, name: &str) -> Initiator {
        let options = Options {
            initiator_name: format!("iqn.2026-11.org.example:{name}"),
            ..Options::default()
        };
        Initiator::connect(self.address, &self.target, &options).unwrap()
    }
}

/// A command; unit attentions are taken first.
fn command(i: &mut Initiator, cdb: &[u8], out: &[u8], len: u32) -> Reply {
    for _ in 0..4 {
        let reply = i.command(0, cdb, out, len).unwrap();
        if reply.sense_key() != Some(6) {
            return reply;
        }
    }
    panic!("unit attentions without end");
}

fn reserve_out(i: &mut Initiator, action: u8, key: u64, new_key: u64, flags: u8) -> u8 {
    let mut list = [0; 24];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&new_key.to_be_bytes());
    list[20] = flags;
    let exclusive_access = 3;
    let cdb = [0x5F, action, exclusive_access, 0, 0, 0, 0, 0, 24, 0];
    command(i, &cdb, &list, 0).status
}

fn keys(i: &mut Initiator) -> Vec<u64> {
    let data = command(i, &[0x5E, 0, 0, 0, 0, 0, 0, 1, 0, 0], &[], 256).data;
    let key = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    data[8..].chunks_exact(8).map(key).collect()
}

fn write(i: &mut Initiator) -> u8 {
    command(i, &[0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[1; 512], 0).status
}

/// Registers and reserves with APTPL, and is killed at once.
fn reserve_and_die(dir: &Path) {
    let export = Export::start(dir, &[]);
    let mut owner = export.login("owner");
    assert_eq!(reserve_out(&mut owner, 0, 0, KEY, APTPL), 0);
    assert_eq!(reserve_out(&mut owner, 1, KEY, 0, 0), 0);
}

fn kept(dir: &Path) -> PathBuf {
    dir.join("kept%2f1.reservations")
}

#[test]
fn n39_a_reservation_with_aptpl_outlives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    reserve_and_die(dir.path());
    let export = Export::start(dir.path(), &[]);
    let (mut owner, mut other) = (export.login("owner"), export.login("other"));
    assert_eq!(keys(&mut other), [KEY]);
    assert_eq!(write(&mut other), CONFLICT);
    assert_eq!(write(&mut owner), 0);
    // Without APTPL they end with the process.
    assert_eq!(reserve_out(&mut owner, 6, 0, KEY, 0), 0);
    drop(export);
    let export = Export::start(dir.path(), &[]);
    assert_eq!(keys(&mut export.login("other")), [] as [u64; 0]);
}

#[test]
fn n39_damaged_reservations_refuse_the_medium_or_start_clean_by_policy() {
    let dir = tempfile::tempdir().unwrap();
    reserve_and_die(dir.path());
    let mut bytes = std::fs::read(kept(dir.path())).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(kept(dir.path()), bytes).unwrap();

    let export = Export::start(dir.path(), &[]);
    let mut other = export.login("other");
    let refused = command(&mut other, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[], 512);
    assert_eq!(refused.sense_key(), Some(2), "not ready");
    assert_eq!(refused.asc_ascq(), Some((4, 3)), "manual intervention");
    drop(export);

    let export = Export::start(dir.path(), &["--damaged-reservations", "discard"]);
    let mut other = export.login("other");
    assert_eq!(keys(&mut other), [] as [u64; 0]);
    assert_eq!(write(&mut other), 0);
}
