//! Access states over a real file, which another owner can take while no port leads to it.

use std::fs::{File, TryLockError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lunforge::alua::{AccessState, AsymmetricAccess, DeviceGroup, TargetPort, TargetPortGroup};
use lunforge::core::status::Status;
use lunforge::core::testing::{Bed, Send};
use lunforge::iscsi::IscsiTransport;
use lunforge::vdisk::Vdisk;
use lunforge::{Engine, LogicalUnit, Target};
use lunforge_bench::initiator::{Initiator, Options};

const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];

struct World {
    file: tempfile::NamedTempFile,
    disk: Vdisk,
    group: DeviceGroup,
    bed: Bed,
}

fn world() -> World {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let disk = Vdisk::file(file.path()).serial("alua").open().unwrap();
    let access = AsymmetricAccess::new();
    access.bind_alua_state(true).unwrap();
    let unit = LogicalUnit::builder(Arc::new(disk.clone()));
    let unit = unit.service(access.clone()).build();
    let target = Target::builder("iqn.2026-11.org.example:alua").lun(0, unit);
    let bed = Bed::with_target(2, target.build().unwrap());
    let group = DeviceGroup::new("disks");
    let port = TargetPortGroup::new(1).with(TargetPort::Local(1));
    group.add_target_port_group(port).unwrap();
    group.add_unit(&access).unwrap();
    World {
        file,
        disk,
        group,
        bed,
    }
}

/// Whether somebody else can have the file, as the other node's storage would.
fn is_free(file: &File) -> bool {
    match file.try_lock() {
        Ok(()) => {
            file.unlock().unwrap();
            true
        }
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(error)) => panic!("{error}"),
    }
}

#[test]
fn a_standby_node_has_let_go_of_its_file_and_an_active_one_has_it_again() {
    let World {
        file,
        disk,
        group,
        mut bed,
    } = world();
    let session = bed.session(0, "iqn.2026-11.org.example:host");
    let other = file.reopen().unwrap();
    for round in 0..20u8 {
        let reply = bed.command(session, 0, &WRITE, &[round; 512], 0);
        assert_eq!(reply.status, Status::Good, "{reply:?}");
        assert!(!is_free(&other));
        let away = [
            AccessState::Standby,
            AccessState::Unavailable,
            AccessState::Offline,
        ];
        group.set_state(1, away[usize::from(round) % 3]).unwrap();
        assert!(!disk.is_active() && is_free(&other));
        bed.command(session, 0, &[0; 6], &[], 0);
        assert!(bed.command(session, 0, &READ, &[], 512).asc().is_some());
        // What describes the disk is known without it.
        let capacity = bed.command(session, 0, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 8);
        assert_eq!(capacity.data, [0, 0, 7, 0xFF, 0, 0, 2, 0]);
        group.set_state(1, AccessState::ActiveNonOptimized).unwrap();
        assert!(disk.is_active());
        bed.command(session, 0, &[0; 6], &[], 0);
        let reply = bed.command(session, 0, &READ, &[], 512);
        assert_eq!(reply.data, [round; 512]);
    }
}

#[test]
fn mode_parameters_can_be_set_while_the_store_is_closed() {
    let World {
        disk,
        group,
        mut bed,
        ..
    } = world();
    let session = bed.session(0, "iqn.2026-11.org.example:host");
    group.set_state(1, AccessState::Standby).unwrap();
    assert_eq!(
        bed.command(session, 0, &[0; 6], &[], 0).asc(),
        Some((0x2A, 0x06))
    );
    let sense = bed.command(session, 0, &[0x1A, 8, 8, 0, 64, 0], &[], 64);
    let mut list = sense.data.clone();
    assert_eq!(
        (list[4] & 0x3F, list[6] & 4),
        (8, 4),
        "the caching page with WCE"
    );
    (list[0], list[2], list[4]) = (0, 0, 8);
    list[6] &= !4;
    let select = [0x15, 0x10, 0, 0, list.len() as u8, 0];
    let reply = bed.command(session, 0, &select, &list, 0);
    assert_eq!(reply.status, Status::Good, "{reply:?}");
    assert!(!disk.is_active());
}

#[test]
fn n51_what_was_answered_is_in_the_file_when_the_state_has_changed_and_nothing_comes_after() {
    let World {
        file,
        group,
        mut bed,
        ..
    } = world();
    let session = bed.session(1, "iqn.2026-11.org.example:host");
    let mut last = 0;
    for round in 1..=50u8 {
        let done = Arc::new(AtomicBool::new(false));
        let change = std::thread::spawn({
            let (group, done) = (group.clone(), Arc::clone(&done));
            move || {
                let result = group.set_state(1, AccessState::Standby);
                done.store(true, Ordering::SeqCst);
                result
            }
        });
        // Writes until one is refused.
        let mut tags = Vec::new();
        while !done.load(Ordering::SeqCst) || tags.is_empty() {
            let (cdb, data_out) = (WRITE.to_vec(), vec![round; 512]);
            let send = Send {
                cdb,
                data_out,
                ..Send::default()
            };
            tags.push(bed.send(session, send));
            if tags.len() % 16 == 0 {
                bed.wait(session, tags[tags.len() - 1]);
            }
        }
        change.join().unwrap().unwrap();
        let on_disk = std::fs::read(file.path()).unwrap()[0];
        // By the answers that have come and will come.
        let answers: Vec<_> = tags
            .iter()
            .filter_map(|tag| bed.ended(session, *tag))
            .collect();
        if answers.iter().any(|reply| reply.status == Status::Good) {
            last = round;
        }
        assert_eq!(on_disk, last, "round {round}");
        bed.poll();
        assert_eq!(std::fs::read(file.path()).unwrap()[0], on_disk);
        bed.advance(Duration::from_secs(1));
        group.set_state(1, AccessState::ActiveOptimized).unwrap();
        for _ in 0..2 {
            bed.command(session, 0, &[0; 6], &[], 0);
        }
    }
}

/// Writes its number to its block over and over until it is told to stop. The last number that was
/// answered GOOD, and how many were refused.
fn write_on(mut initiator: Initiator, lba: u32, stop: &AtomicBool) -> (u64, u64) {
    let mut cdb = WRITE;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    let (mut number, mut good, mut refused) = (0u64, 0, 0);
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        let data: Vec<u8> = number.to_be_bytes().repeat(64);
        let reply = initiator.command(0, &cdb, &data, 0).unwrap();
        if reply.is_good() {
            good = number;
        } else {
            let asc = reply.asc_ascq();
            assert!(
                matches!(asc, Some((0x2A, 6) | (0x04, 0x0A..=0x0C) | (0x29, _))),
                "{reply:?}"
            );
            refused += 1;
        }
    }
    (good, refused)
}

#[test]
fn n51_two_hosts_write_while_the_paths_take_turns_and_no_write_is_lost_or_comes_late() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let disk = Vdisk::file(file.path()).serial("turns").open().unwrap();
    let access = AsymmetricAccess::new();
    access.bind_alua_state(true).unwrap();
    access.explicit(true);
    let unit = LogicalUnit::builder(Arc::new(disk.clone()));
    let unit = unit.service(access.clone()).build();
    let engine = Engine::builder().shards(2).start().unwrap();
    let group = DeviceGroup::new("turns");
    let mut portals = Vec::new();
    for port in [1, 2] {
        let target = Target::builder(format!("iqn.2026-11.org.example:{port}"));
        let target = target.relative_port(port).lun(0, Arc::clone(&unit));
        let transport = IscsiTransport::bind("127.0.0.1:0").unwrap();
        let served = engine.attach(transport, target.build().unwrap()).unwrap();
        portals.push((port, served));
        let ports = TargetPortGroup::new(port).with(TargetPort::Local(port));
        group.add_target_port_group(ports).unwrap();
    }
    group.add_unit(&access).unwrap();
    let login = |at: usize, session: u32| {
        let (port, served) = &portals[at];
        let name = format!("iqn.2026-11.org.example:{port}");
        let options = Options::default().isid_number(session);
        let mut initiator = Initiator::connect(served.portals()[0], &name, &options).unwrap();
        initiator.ready(0, 3).unwrap();
        initiator
    };
    let (writers, mut master) = ([login(0, 1), login(1, 2)], login(1, 3));
    let (stop, other) = (AtomicBool::new(false), file.reopen().unwrap());
    let results = std::thread::scope(|scope| {
        let threads = writers.into_iter().zip(0..);
        let threads: Vec<_> = threads
            .map(|(writer, lba)| {
                scope.spawn({
                    let stop = &stop;
                    move || write_on(writer, lba, stop)
                })
            })
            .collect();
        for round in 0..30 {
            group.set_state(1, AccessState::Standby).unwrap();
            // By command, over a path that has it or has it not.
            let state = if round % 2 == 0 { 2 } else { 0 };
            let list = [0, 0, 0, 0, state, 0, 0, 2, 2 - state, 0, 0, 1];
            let stpg = [0xA4, 0x0A, 0, 0, 0, 0, 0, 0, 0, list.len() as u8, 0, 0];
            let mut replies = (0..4).map(|_| master.command(0, &stpg, &list, 0).unwrap());
            assert!(replies.any(|reply| reply.is_good()));
            group.set_state(2, AccessState::Unavailable).unwrap();
            group.set_state(1, AccessState::Unavailable).unwrap();
            assert!(is_free(&other), "round {round}");
            group.set_state(2, AccessState::ActiveNonOptimized).unwrap();
            group.set_state(1, AccessState::ActiveOptimized).unwrap();
            assert!(!is_free(&other));
        }
        stop.store(true, Ordering::SeqCst);
        let ends = threads.into_iter().map(|thread| thread.join().unwrap());
        ends.collect::<Vec<_>>()
    });
    let on_disk = std::fs::read(file.path()).unwrap();
    for (lba, (good, refused)) in results.into_iter().enumerate() {
        assert!(good > 0 && refused > 0);
        assert_eq!(on_disk[lba * 512..][..512], good.to_be_bytes().repeat(64));
    }
}
