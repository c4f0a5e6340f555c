//! Copies by a store (`CopyFrom`) against copies by reading and writing, on one file system in one run: time and
//! CPU time per MiB, and their ratios.
//!
//!     cargo bench -p lunforge-vdisk --bench copy [-- DIRECTORY [MIB]]

use std::path::Path;
use std::time::{Duration, Instant};

use lunforge_core::buffer::IoBuf;
use lunforge_vdisk::store::*;

const MIB: u64 = 1 << 20;
/// What a copy command moves at a time.
const CHUNK: u64 = 4 * MIB;
const ROUNDS: usize = 10;

fn open(path: &Path, size: u64) -> FdStore {
    let options = FdOptions {
        size: Some(size),
        engine: Engine::Inline,
        ..FdOptions::default()
    };
    FdStore::file(path, options).expect("a file")
}

/// Runs an operation to its end: the inline engine needs nothing else.
fn run(store: &FdStore, op: StoreOp) -> IoBuf {
    let (tx, rx) = std::sync::mpsc::channel();
    submit_with(store, op, 1, move |result, buf| {
        tx.send((result, buf)).expect("a listener");
    });
    let (result, buf) = rx.recv().expect("an answer");
    result.expect("success");
    buf.unwrap_or_default()
}

fn by_store(from: &FdStore, to: &FdStore, size: u64) {
    let source = from.copy_source(Stamp::from(1)).expect("a source");
    for at in (0..size).step_by(CHUNK as usize) {
        let op = StoreOp::CopyFrom {
            source: source.clone(),
            from: at,
            offset: at,
            len: CHUNK,
            may_unmap: false,
        };
        run(to, op);
    }
}

fn by_hand(from: &FdStore, to: &FdStore, size: u64) {
    let mut buf = IoBuf::unpooled(CHUNK as usize).expect("memory");
    for offset in (0..size).step_by(CHUNK as usize) {
        let range = 0..CHUNK as usize;
        let read = StoreOp::Read {
            offset,
            buf,
            range: range.clone(),
        };
        let write = StoreOp::Write {
            offset,
            buf: run(from, read),
            range,
            fua: false,
        };
        buf = run(to, write);
    }
}

fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Time and CPU time.
fn once(copy: impl FnOnce()) -> (Duration, Duration) {
    let (start, used) = (Instant::now(), cpu());
    copy();
    (start.elapsed(), cpu() - used)
}

/// Microseconds per MiB: the medians of time and CPU time.
fn medians(mut rounds: Vec<(Duration, Duration)>, size: u64) -> (f64, f64) {
    let per_mib = |d: Duration| d.as_secs_f64() * 1e6 / (size / MIB) as f64;
    let middle = rounds.len() / 2;
    rounds.sort();
    let wall = per_mib(rounds[middle].0);
    rounds.sort_by_key(|round| round.1);
    (wall, per_mib(rounds[middle].1))
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let base = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let size = arguments
        .next()
        .map_or(256, |mib| mib.parse::<u64>().expect("MiB"))
        * MIB;
    let dir = tempfile::tempdir_in(&base).expect("a directory");
    let from = open(&dir.path().join("from"), size);
    let to = open(&dir.path().join("to"), size);
    let mut buf = IoBuf::unpooled(CHUNK as usize).expect("memory");
    for offset in (0..size).step_by(CHUNK as usize) {
        buf.fill(0..CHUNK as usize, 1 + (offset / CHUNK) as u8);
        for store in [&from, &to] {
            let write = StoreOp::Write {
                offset,
                buf,
                range: 0..CHUNK as usize,
                fua: false,
            };
            buf = run(store, write);
        }
    }
    run(&from, StoreOp::Flush);
    run(&to, StoreOp::Flush);
    // In turns, each as often the first: what else the machine does falls on both.
    let (mut hand, mut store) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for which in [round % 2, 1 - round % 2] {
            if which == 0 {
                hand.push(once(|| by_hand(&from, &to, size)));
            } else {
                store.push(once(|| by_store(&from, &to, size)));
            }
            run(&to, StoreOp::Flush);
        }
    }
    let (hand, store) = (medians(hand, size), medians(store, size));
    println!(
        "{} MiB in {}, warm cache, us per MiB",
        size / MIB,
        base.display()
    );
    println!("read and write   {:8.1} time {:8.1} cpu", hand.0, hand.1);
    println!("copy by the store{:8.1} time {:8.1} cpu", store.0, store.1);
    println!(
        "ratio            {:8.2} time {:8.2} cpu",
        store.0 / hand.0,
        store.1 / hand.1
    );
}
