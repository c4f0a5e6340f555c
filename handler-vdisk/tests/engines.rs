//! One suite over every store and engine: the same operations give the same bytes.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use lunforge_core::buffer::IoBuf;
use lunforge_vdisk::store::*;
use proptest::prelude::*;

const SIZE: u64 = 1 << 20;

/// Runs one operation to its end.
fn run(store: &dyn BackingStore, generation: u64, op: StoreOp) -> (StoreResult, Option<IoBuf>) {
    let (tx, rx) = mpsc::channel();
    submit_with(store, op, generation, move |result, buf| {
        tx.send((result, buf)).unwrap()
    });
    rx.recv_timeout(Duration::from_secs(20))
        .expect("the operation ends")
}

fn read(store: &dyn BackingStore, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
    let buf = IoBuf::unpooled(len).unwrap();
    let (result, buf) = run(
        store,
        1,
        StoreOp::Read {
            offset,
            buf,
            range: 0..len,
        },
    );
    result.map(|_| buf.expect("the buffer comes back").to_vec(0..len))
}

fn write(store: &dyn BackingStore, offset: u64, bytes: &[u8], fua: bool) -> StoreResult {
    let buf = IoBuf::from_slice(bytes).unwrap();
    run(
        store,
        1,
        StoreOp::Write {
            offset,
            buf,
            range: 0..bytes.len(),
            fua,
        },
    )
    .0
}

/// A scratch directory on memory (`/dev/shm`) or on the disk of the build.
fn scratch(memory: bool) -> tempfile::TempDir {
    let memory = memory && std::path::Path::new("/dev/shm").is_dir();
    let base = if memory {
        PathBuf::from("/dev/shm")
    } else {
        std::env::temp_dir()
    };
    tempfile::tempdir_in(base).unwrap()
}

struct Case {
    name: String,
    store: Box<dyn BackingStore>,
    _dir: Option<tempfile::TempDir>,
}

fn cases() -> Vec<Case> {
    let mut cases = vec![Case {
        name: "ram".into(),
        store: Box::new(RamStore::new(SIZE)),
        _dir: None,
    }];
    for memory in [true, false] {
        for engine in [Engine::Auto, Engine::Inline, Engine::Uring, Engine::Threads] {
            for (direct, write_through) in [(false, false), (true, false), (false, true)] {
                let dir = scratch(memory);
                let options = FdOptions {
                    size: Some(SIZE),
                    engine,
                    direct,
                    write_through,
                    ring_at_open: direct,
                    ..FdOptions::default()
                };
                let name = format!("memory={memory} {options:?}");
                let Ok(store) = FdStore::file(dir.path().join("disk"), options) else {
                    continue;
                };
                cases.push(Case {
                    name,
                    store: Box::new(store),
                    _dir: Some(dir),
                });
            }
        }
    }
    cases
}

#[derive(Clone, Debug)]
enum Op {
    Read(u64, usize),
    Write(u64, usize, u8, bool),
    Flush,
    Discard(u64, u64),
    Zero(u64, u64, bool),
}

fn op() -> impl Strategy<Value = Op> {
    let at = (0u64..SIZE / 512).prop_map(|n| n * 512);
    let len = prop_oneof![1u64..16, 1u64..700].prop_map(|n| n * 512);
    prop_oneof![
        4 => (at.clone(), len.clone()).prop_map(|(at, len)| Op::Read(at, len as usize)),
        4 => (at.clone(), len.clone(), any::<u8>(), any::<bool>()).prop_map(|(at, len, b, fua)| Op::Write(at, len as usize, b, fua)),
        1 => Just(Op::Flush),
        1 => (at.clone(), len.clone()).prop_map(|(at, len)| Op::Discard(at, len)),
        1 => (at, len, any::<bool>()).prop_map(|(at, len, unmap)| Op::Zero(at, len, unmap)),
    ]
}

fn clip(at: u64, len: u64) -> u64 {
    len.min(SIZE - at)
}

fn apply(store: &dyn BackingStore, model: &mut [u8], op: &Op) {
    match *op {
        Op::Read(at, len) => {
            let len = clip(at, len as u64) as usize;
            assert_eq!(
                read(store, at, len).unwrap(),
                &model[at as usize..at as usize + len]
            );
        }
        Op::Write(at, len, byte, fua) => {
            let len = clip(at, len as u64) as usize;
            let bytes: Vec<u8> = (0..len)
                .map(|i| byte.wrapping_add((i / 512) as u8))
                .collect();
            write(store, at, &bytes, fua).unwrap();
            model[at as usize..at as usize + len].copy_from_slice(&bytes);
        }
        Op::Flush => assert_eq!(run(store, 1, StoreOp::Flush).0, Ok(Answer::Done)),
        Op::Discard(at, len) => {
            let len = clip(at, len);
            assert_eq!(
                run(store, 1, StoreOp::Discard { offset: at, len }).0,
                Ok(Answer::Done)
            );
            assert!(
                store
                    .capabilities()
                    .contains(Capabilities::READS_ZERO_AFTER_DISCARD)
            );
            model[at as usize..(at + len) as usize].fill(0);
        }
        Op::Zero(at, len, may_unmap) => {
            let len = clip(at, len);
            assert_eq!(
                run(
                    store,
                    1,
                    StoreOp::WriteZeroes {
                        offset: at,
                        len,
                        may_unmap
                    }
                )
                .0,
                Ok(Answer::Done)
            );
            model[at as usize..(at + len) as usize].fill(0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
    #[test]
    fn every_engine_gives_the_bytes_of_the_model(ops in proptest::collection::vec(op(), 1..40)) {
        for case in cases() {
            let mut model = vec![0; SIZE as usize];
            for op in &ops {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| apply(&*case.store, &mut model, op)));
                prop_assert!(outcome.is_ok(), "{} failed at {op:?}", case.name);
            }
            prop_assert_eq!(read(&*case.store, 0, SIZE as usize).unwrap(), model, "{}", case.name);
        }
    }
}

#[test]
fn many_operations_at_once_all_end_and_land() {
    for case in cases() {
        let (tx, rx) = mpsc::channel();
        let count = 1500u64;
        for n in 0..count {
            let tx = tx.clone();
            let buf = IoBuf::from_slice(&[(n % 251) as u8; 512]).unwrap();
            let op = StoreOp::Write {
                offset: n * 512,
                buf,
                range: 0..512,
                fua: false,
            };
            submit_with(&*case.store, op, 1, move |result, _| {
                tx.send(result).unwrap()
            });
        }
        for _ in 0..count {
            assert_eq!(
                rx.recv_timeout(Duration::from_secs(20)).unwrap(),
                Ok(Answer::Done),
                "{}",
                case.name
            );
        }
        for n in (0..count).step_by(97) {
            assert_eq!(
                read(&*case.store, n * 512, 512).unwrap(),
                [(n % 251) as u8; 512],
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn allocation_follows_writes_and_discards() {
    for case in cases() {
        if !case
            .store
            .capabilities()
            .contains(Capabilities::ALLOCATION_STATUS)
        {
            continue;
        }
        write(&*case.store, 256 << 10, &[7; 64 << 10], true).unwrap();
        let ask = |offset| match run(&*case.store, 1, StoreOp::AllocationStatus { offset }).0 {
            Ok(Answer::Allocation(allocation)) => allocation,
            other => panic!("{}: {other:?}", case.name),
        };
        assert_eq!(
            ask(0),
            Allocation {
                mapped: false,
                len: 256 << 10
            },
            "{}",
            case.name
        );
        assert_eq!(
            ask(256 << 10),
            Allocation {
                mapped: true,
                len: 64 << 10
            },
            "{}",
            case.name
        );
        assert_eq!(
            ask(320 << 10),
            Allocation {
                mapped: false,
                len: SIZE - (320 << 10)
            },
            "{}",
            case.name
        );
        let op = StoreOp::Discard {
            offset: 256 << 10,
            len: 64 << 10,
        };
        assert_eq!(run(&*case.store, 1, op).0, Ok(Answer::Done));
        assert!(!ask(256 << 10).mapped, "{}", case.name);
    }
}

#[test]
fn n60_a_file_that_shrank_gives_an_error_and_never_old_memory() {
    for engine in [Engine::Auto, Engine::Inline, Engine::Uring, Engine::Threads] {
        for memory in [true, false] {
            let dir = scratch(memory);
            let path = dir.path().join("disk");
            let store = FdStore::file(
                &path,
                FdOptions {
                    size: Some(SIZE),
                    engine,
                    ..FdOptions::default()
                },
            )
            .unwrap();
            std::fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(4096)
                .unwrap();
            assert_eq!(
                read(&store, 0, 8192),
                Err(StoreError::Short { offset: 4096 }),
                "{engine:?}"
            );
        }
    }
}

#[test]
fn a_file_is_not_exported_twice() {
    let dir = scratch(false);
    let path = dir.path().join("disk");
    let options = FdOptions {
        size: Some(SIZE),
        ..FdOptions::default()
    };
    let first = FdStore::file(&path, options.clone()).unwrap();
    let second = FdStore::file(&path, options.clone()).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    assert!(second.to_string().contains("already exported"));
    drop(first);
    FdStore::file(&path, options).unwrap();
}

#[test]
fn two_readers_may_share_a_read_only_file() {
    let dir = scratch(false);
    let path = dir.path().join("disk");
    drop(
        FdStore::file(
            &path,
            FdOptions {
                size: Some(SIZE),
                ..FdOptions::default()
            },
        )
        .unwrap(),
    );
    let options = FdOptions {
        read_only: true,
        ..FdOptions::default()
    };
    let a = FdStore::file(&path, options.clone()).unwrap();
    let b = FdStore::file(&path, options).unwrap();
    assert_eq!(read(&a, 0, 512), read(&b, 0, 512));
    assert_eq!(write(&a, 0, &[1; 512], false), Err(StoreError::ReadOnly));
}

#[test]
fn deactivate_returns_with_the_file_closed_and_a_fenced_generation_cannot_write() {
    for engine in [Engine::Auto, Engine::Inline, Engine::Uring, Engine::Threads] {
        let dir = scratch(false);
        let path = dir.path().join("disk");
        let options = FdOptions {
            size: Some(SIZE),
            engine,
            ..FdOptions::default()
        };
        let store = FdStore::file(&path, options.clone()).unwrap();
        let (tx, rx) = mpsc::channel();
        for n in 0..200u64 {
            let tx = tx.clone();
            let buf = IoBuf::from_slice(&[1; 4096]).unwrap();
            let op = StoreOp::Write {
                offset: n * 4096,
                buf,
                range: 0..4096,
                fua: true,
            };
            submit_with(&store, op, 1, move |result, _| tx.send(result).unwrap());
        }
        store.deactivate(Duration::from_secs(20)).unwrap();
        // Closed: another owner can lock it now.
        drop(FdStore::file(&path, options).unwrap());
        drop(tx);
        for result in rx.iter() {
            assert!(
                matches!(result, Ok(_) | Err(StoreError::Inactive)),
                "{result:?}"
            );
        }
        assert_eq!(
            write(&store, 0, &[2; 512], false),
            Err(StoreError::Inactive)
        );
        assert_eq!(
            store.activate(1),
            Err(StoreError::Fenced),
            "an old generation never comes back"
        );
        store.activate(2).unwrap();
        assert_eq!(write(&store, 0, &[2; 512], false), Err(StoreError::Fenced));
        let buf = IoBuf::from_slice(&[3; 512]).unwrap();
        let op = StoreOp::Write {
            offset: 0,
            buf,
            range: 0..512,
            fua: false,
        };
        assert_eq!(run(&store, 2, op).0, Ok(Answer::Done));
    }
}

#[test]
fn a_simple_store_works_on_its_threads_and_a_panic_is_an_error() {
    struct Simple(parking_lot::Mutex<Vec<u8>>, bool);
    impl SimpleStore for Simple {
        fn size(&self) -> u64 {
            SIZE
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
            assert!(offset != 4096, "panics on purpose");
            buf.copy_from_slice(&self.0.lock()[offset as usize..][..buf.len()]);
            Ok(())
        }
        fn write_at(&self, buf: &[u8], offset: u64) -> std::io::Result<()> {
            if offset == 8192 {
                return Err(std::io::Error::from_raw_os_error(28));
            }
            self.0.lock()[offset as usize..][..buf.len()].copy_from_slice(buf);
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn blocking(&self) -> bool {
            self.1
        }
    }
    for blocking in [true, false] {
        let store = SimpleAdapter::new(
            Simple(parking_lot::Mutex::new(vec![0; SIZE as usize]), blocking),
            2,
        );
        write(&store, 0, &[9; 1024], true).unwrap();
        assert_eq!(read(&store, 512, 512).unwrap(), [9; 512]);
        assert_eq!(read(&store, 4096, 512), Err(StoreError::Dropped));
        assert_eq!(
            write(&store, 8192, &[0; 512], false),
            Err(StoreError::NoSpace)
        );
    }
}

#[test]
fn resize_of_a_file_is_seen_by_limits() {
    let dir = scratch(false);
    let store = FdStore::file(
        dir.path().join("d"),
        FdOptions {
            size: Some(SIZE),
            ..FdOptions::default()
        },
    )
    .unwrap();
    assert_eq!(store.resize(2 * SIZE).unwrap().size, 2 * SIZE);
    write(&store, 2 * SIZE - 512, &[1; 512], false).unwrap();
    assert_eq!(store.resize(SIZE).unwrap().size, SIZE);
    assert_eq!(store.limits().size, SIZE);
}
