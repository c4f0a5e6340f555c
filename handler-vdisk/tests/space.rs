//! A file system that is full. The tests mount one of their own: in a namespace, as root or where users may have one
//! (`unshare -rm`); elsewhere they do nothing.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use common::*;
use lunforge_vdisk::{Engine, Vdisk};

const NO_SPACE: (u8, u8, u8) = (7, 0x27, 7);
/// Where the second run of a test finds its file system.
const FOLDER: &str = "LUNFORGE_TEST_FULL";

/// Runs `test` in a folder of one mebibyte, by this program once more.
fn in_a_small_folder(name: &str, test: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return test(Path::new(&folder));
    }
    let namespace = || {
        let mut command = Command::new("unshare");
        command.arg("-rm");
        command
    };
    if !namespace()
        .arg("true")
        .output()
        .is_ok_and(|out| out.status.success())
    {
        eprintln!("no namespace here: not tested");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=1m none "$1" && exec "$2" --exact "$3" --nocapture"#;
    let status = namespace()
        .args(["sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(FOLDER, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn n54_a_stable_write_that_gets_no_space_loses_nothing_and_flushes_go_on() {
    let name = "n54_a_stable_write_that_gets_no_space_loses_nothing_and_flushes_go_on";
    in_a_small_folder(name, |folder| {
        for engine in [Engine::Auto, Engine::Inline, Engine::Uring, Engine::Threads] {
            for write_through in [false, true] {
                let path = folder.join("disk");
                let disk = Vdisk::file(&path)
                    .size(4 * MIB)
                    .engine(engine)
                    .write_through(write_through)
                    .serial("full")
                    .open()
                    .unwrap();
                let mut rig = Rig::new(disk);
                let (data, fua) = (vec![7; 1 << 19], 0x08);
                rig.good(&cdb16(0x8A, fua, 0, 1024), &data, 0);
                // Of this the first half fits at most.
                let larger = vec![8; 1 << 20];
                for lba in [2048, 2048, 6144] {
                    rig.fails(&cdb16(0x8A, fua, lba, 2048), &larger, 0, NO_SPACE);
                }
                // What has its space is written and flushed.
                rig.good(&cdb16(0x8A, fua, 0, 1024), &data, 0);
                rig.good(&cdb10(0x35, 0, 0, 0), &[], 0);
                assert_eq!(rig.good(&cdb16(0x88, 0, 0, 1024), &[], 1 << 19), data);
                drop(rig);
                std::fs::remove_file(&path).unwrap();
            }
        }
    });
}

/// Needs a file system that finds out at write-back that it has no space: ext4 without a journal on a loop device over a
/// file of 64 MiB in a tmpfs of 8, and its folder in `LUNFORGE_TEST_OVERCOMMITTED`, made anew for each run.
#[test]
fn n54_a_stable_write_whose_write_back_finds_no_space_is_a_loss() {
    let Some(folder) = std::env::var_os("LUNFORGE_TEST_OVERCOMMITTED") else {
        return;
    };
    let mut rest = std::fs::File::create(Path::new(&folder).join("rest")).unwrap();
    rest.write_all(&vec![1; 8 << 20]).unwrap();
    // It may fail, as the others are to.
    let _ = rest.sync_data();
    for engine in [Engine::Auto, Engine::Inline, Engine::Uring, Engine::Threads] {
        let path = Path::new(&folder).join(format!("{engine:?}"));
        let disk = Vdisk::file(path).size(16 * MIB).engine(engine);
        let mut rig = Rig::new(disk.serial("thin").open().unwrap());
        let data = vec![7; 8 << 20];
        rig.fails(&cdb16(0x8A, 0x08, 0, 16384), &data, 0, (3, 0x0C, 0));
        rig.fails(&cdb10(0x35, 0, 0, 0), &[], 0, (3, 0x0C, 0));
    }
}
