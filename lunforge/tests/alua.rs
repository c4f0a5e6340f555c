//! Access states over a real file, which another owner can take while no port leads to it.

use std::fs::{File, TryLockError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lunforge::alua::{AccessState, AsymmetricAccess, DeviceGroup, TargetPort, TargetPortGroup};
use lunforge::core::status::Status;
use lunforge::core::testing::{Bed, Send};
use lunforge::vdisk::Vdisk;
use lunforge::{LogicalUnit, Target};

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
