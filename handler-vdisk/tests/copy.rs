//! Copies between disks inside the kernel, as third-party copy asks for them.

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use lunforge_core::LogicalUnit;
use lunforge_core::cdb::{Cdb, CommandId, ParsedCdb};
use lunforge_core::handler::{DeviceHandler, Execute, Execution, Outcome, Transfer};
use lunforge_core::sense::Sense;
use lunforge_core::service::UnitService;
use lunforge_core::status::Status;
use lunforge_core::units::{BlockCount, Lba};
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::*;

/// EXTENDED COPY with a parameter list of our own: from, to, blocks, 8 bytes each. BUSY: not offloaded.
struct Copier {
    source: Arc<dyn DeviceHandler>,
    destination: Arc<dyn DeviceHandler>,
}

impl UnitService for Copier {
    fn claims(&self, command: CommandId) -> bool {
        command == CommandId::ExtendedCopyLid1
    }

    fn prepare(&self, _: &ParsedCdb) -> Result<Transfer, Sense> {
        Ok(Transfer::Out(24))
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        assert!(matches!(command.cdb(), Cdb::ExtendedCopy { .. }));
        let list = command.take_buf().to_vec(0..24);
        let field = |at: usize| u64::from_be_bytes(list[at..at + 8].try_into().unwrap());
        let (from, to, blocks) = (Lba(field(0)), Lba(field(8)), BlockCount(field(16)));
        self.destination
            .copy_from(command, &self.source, from, to, blocks)
            .unwrap_or(Execute::Done(Outcome::status(Status::Busy)))
    }
}

/// A rig over `destination`, whose EXTENDED COPY copies from `source`.
fn rig(source: &Vdisk, destination: &Vdisk) -> Rig {
    let service = Copier {
        source: Arc::new(source.clone()),
        destination: Arc::new(destination.clone()),
    };
    let unit = LogicalUnit::builder(Arc::new(destination.clone()))
        .service(Arc::new(service))
        .build();
    let mut bed = lunforge_core::testing::Bed::new(1, unit);
    let session = bed.session(0, "iqn.2026-11.org.example:a");
    Rig {
        bed,
        session,
        disk: destination.clone(),
    }
}

fn copy(rig: &mut Rig, from: u64, to: u64, blocks: u64) -> Status {
    let list: Vec<u8> = [from, to, blocks]
        .iter()
        .flat_map(|n| n.to_be_bytes())
        .collect();
    let mut cdb = [0; 16];
    cdb[0] = 0x83;
    cdb[13] = 24;
    rig.run(&cdb, &list, 0).status
}

fn disk(path: &Path, engine: Engine) -> Vdisk {
    let disk = Vdisk::file(path).size(64 * MIB).block_size(512);
    disk.thin(true).engine(engine).open().unwrap()
}

const END: u64 = 64 * MIB / 512;

#[test]
fn blocks_are_copied_between_files_by_every_engine_on_one_and_on_two_file_systems() {
    for engine in [Engine::Auto, Engine::Inline, Engine::Uring, Engine::Threads] {
        for base in ["/dev/shm".into(), std::env::temp_dir()] {
            let (a, b) = (
                tempfile::tempdir().unwrap(),
                tempfile::tempdir_in(base).unwrap(),
            );
            let (from, to) = (
                disk(&a.path().join("a"), engine),
                disk(&b.path().join("b"), engine),
            );
            let mut source = Rig::new(from.clone());
            let mut rig = rig(&from, &to);
            let data = pattern(10_000, 5);
            source.good(&cdb16(0x8A, 0, 101, 10_000), &data, 0);
            rig.good(&cdb16(0x93, 0, 0, 32768), &[0xEE; 512], 0);
            for _ in 0..2 {
                assert_eq!(copy(&mut rig, 101, 3, 10_000), Status::Good, "{engine:?}");
                assert_eq!(rig.good(&cdb16(0x88, 0, 3, 10_000), &[], 5_120_000), data);
            }
            for edge in [2, 10_003] {
                assert_eq!(rig.good(&cdb16(0x88, 0, edge, 1), &[], 512), [0xEE; 512]);
            }
            // Holes arrive as zeroes, also where there was something.
            assert_eq!(copy(&mut rig, 50_000, 0, 16384), Status::Good);
            assert_eq!(
                rig.good(&cdb16(0x88, 0, 0, 16384), &[], 8 << 20),
                vec![0; 8 << 20]
            );
            assert_eq!(copy(&mut rig, 7, 9, 0), Status::Good);
        }
    }
}

#[test]
fn sparse_ranges_stay_sparse() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let (from, to) = (disk(&a, Engine::Auto), disk(&b, Engine::Auto));
    Rig::new(from.clone()).good(&cdb16(0x8A, 0, 4096, 8), &pattern(8, 1), 0);
    let mut rig = rig(&from, &to);
    for chunk in 0..8 {
        assert_eq!(
            copy(&mut rig, chunk * 16384, chunk * 16384, 16384),
            Status::Good
        );
    }
    to.flush().unwrap();
    let allocated = std::fs::metadata(&b).unwrap().blocks() * 512;
    assert!(
        allocated <= 128 << 10,
        "{allocated} bytes allocated for 4096 copied"
    );
    assert_eq!(rig.good(&cdb16(0x88, 0, 4096, 8), &[], 4096), pattern(8, 1));
}

#[test]
fn a_disk_copies_from_itself_unless_the_ranges_overlap() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(&dir.path().join("a"), Engine::Auto);
    let mut rig = rig(&disk, &disk);
    let data = pattern(100, 9);
    rig.good(&cdb16(0x8A, 0, 0, 100), &data, 0);
    assert_eq!(copy(&mut rig, 0, 100, 100), Status::Good);
    assert_eq!(rig.good(&cdb16(0x88, 0, 100, 100), &[], 51200), data);
    for (from, to) in [(0, 99), (99, 0), (5, 5)] {
        assert_eq!(copy(&mut rig, from, to, 100), Status::Busy, "{from} {to}");
    }
}

#[test]
fn what_cannot_be_offloaded_is_left_to_the_caller() {
    let dir = tempfile::tempdir().unwrap();
    let file = disk(&dir.path().join("a"), Engine::Auto);
    let path = dir.path().join("4k");
    let large = Vdisk::file(&path)
        .size(MIB)
        .block_size(4096)
        .open()
        .unwrap();
    let ram = Vdisk::store(Arc::new(RamStore::new(MIB)))
        .serial("r")
        .block_size(512);
    let ram = ram.open().unwrap();
    let as_handler = |disk: &Vdisk| -> Arc<dyn DeviceHandler> { Arc::new(disk.clone()) };
    for (source, destination) in [
        (&file, &large),
        (&large, &file),
        (&file, &ram),
        (&ram, &file),
    ] {
        assert!(!destination.copies_from(&as_handler(source)));
        assert_eq!(copy(&mut rig(source, destination), 0, 0, 1), Status::Busy);
    }
    assert!(file.copies_from(&as_handler(&file)));
    let other = disk(&dir.path().join("b"), Engine::Auto);
    let mut rig = rig(&file, &other);
    for (from, to, blocks) in [
        (END - 1, 0, 2),
        (0, END - 1, 2),
        (u64::MAX, 0, 1),
        (0, 0, u64::MAX),
    ] {
        assert_eq!(copy(&mut rig, from, to, blocks), Status::Busy);
    }
    // A source that another node took.
    file.deactivate(Duration::from_secs(5)).unwrap();
    assert_eq!(copy(&mut rig, 0, 0, 1), Status::Busy);
}

#[test]
fn n54_a_copy_is_as_durable_as_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let file = disk(&dir.path().join("a"), Engine::Auto);
    let store = Recorder::new(thin_volatile());
    let to = Vdisk::store(store.clone())
        .serial("t")
        .block_size(512)
        .open()
        .unwrap();
    let mut rig = rig(&file, &to);
    assert_eq!(copy(&mut rig, 0, 0, 16384), Status::Good);
    assert_eq!(store.take(), ["copy", "copy"], "pieces of 4 MiB");
    let mut list = vec![0, 0, 0, 0, 0x08, 0x12, 0x10];
    list.resize(24, 0);
    rig.good(&[0x15, 0x10, 0, 0, 24, 0], &list, 0);
    store.take();
    assert_eq!(copy(&mut rig, 0, 0, 1), Status::Good);
    assert_eq!(store.take(), ["copy", "flush"]);
}

#[test]
fn n60_a_source_file_that_shrank_gives_an_error_and_no_zeroes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let (from, to) = (
        disk(&path, Engine::Auto),
        disk(&dir.path().join("b"), Engine::Auto),
    );
    let mut rig = rig(&from, &to);
    rig.good(&cdb16(0x8A, 0, 8, 8), &[7; 4096], 0);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(4096).unwrap();
    assert_eq!(copy(&mut rig, 8, 8, 8), Status::CheckCondition);
    assert_eq!(rig.good(&cdb16(0x88, 0, 8, 8), &[], 4096), [7; 4096]);
}
