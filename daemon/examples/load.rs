//! How long it takes to load a large configuration, and to make one more target while it is there.
//!
//! `cargo run --release -p lunforge-daemon --example load [TARGETS LUNS]`

use std::time::{Duration, Instant};

use anyhow::Context;
use lunforge::Engine;
use lunforge::iscsi::IscsiTransport;
use lunforge_daemon::heap;
use lunforge_daemon::live::{Live, Settings, SrpSetup};
use lunforge_daemon::manage::{Change, Manager, Model};
use lunforge_daemon::tree::{Attributes, Kind, Path};

/// Targets that are made one by one.
const MORE: usize = 20;
/// How long each of them may take, with all that is there.
const BOUND: Duration = Duration::from_millis(10);

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse());
    let targets: usize = numbers.next().transpose()?.unwrap_or(1_000);
    let luns: usize = numbers.next().transpose()?.unwrap_or(10_000);
    let engine = Engine::builder().shards(2).start()?;
    let iscsi = engine.attach(IscsiTransport::builder().portless(), Vec::new())?;
    let live = Live::new(engine, iscsi, SrpSetup::default(), Settings::default())?;
    let mut manager = Manager::new(Model::new(), live);
    let (threads, memory) = (field("Threads:")?, field("VmRSS:")?);

    let mut changes = Vec::new();
    for at in 0..luns {
        changes.push(device(&format!("disk{at}"))?);
    }
    for at in 0..targets {
        let devices: Vec<_> = (luns * at / targets..luns * (at + 1) / targets)
            .map(|device| format!("disk{device}"))
            .collect();
        changes.extend(target(at, &devices)?);
    }
    // As whoever manages it does when a run is through.
    let load = took(|| manager.run(&changes).map(heap::discard))?;
    println!("{targets} targets and {luns} LUNs loaded: {load:.1?}");

    let mut times = Vec::new();
    for at in 0..MORE {
        let name = format!("one-more{at}");
        let mut more = vec![device(&name)?];
        more.extend(target(targets + at, &[name])?);
        times.push(took(|| manager.run(&more))?);
    }
    println!("one target with one LUN more, the first, the second, ...: {times:.2?}");
    let most = times.iter().max().copied().unwrap_or_default();
    anyhow::ensure!(most < BOUND, "one took {most:.2?}: more than {BOUND:?}");

    println!("threads: {threads} before, {} now", field("Threads:")?);
    println!("memory: {memory} KiB before, {} now", field("VmRSS:")?);
    let began = Instant::now();
    drop(manager);
    println!("the end: {:.1?}", began.elapsed());
    Ok(())
}

fn took<T, E>(work: impl FnOnce() -> Result<T, E>) -> anyhow::Result<Duration>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

fn create(path: Path, given: &[(&str, &str)]) -> Change {
    let mut attributes = Attributes::new();
    for (name, value) in given {
        attributes.insert((*name).to_owned(), vec![(*value).to_owned()]);
    }
    Change::Create { path, attributes }
}

fn device(name: &str) -> anyhow::Result<Change> {
    let given = [("handler", "vdisk_nullio"), ("size", "1G")];
    Ok(create(Path::device(name)?, &given))
}

/// A target with these devices as its LUNs, enabled at last.
fn target(at: usize, devices: &[String]) -> anyhow::Result<Vec<Change>> {
    let path = Path::target("iscsi", &format!("iqn.2026-11.org.example:{at}"))?;
    let mut changes = vec![create(path.clone(), &[])];
    for (lun, device) in devices.iter().enumerate() {
        let lun = path.child(Kind::Lun, lun.to_string())?;
        changes.push(create(lun, &[("device", device)]));
    }
    changes.push(Change::Set {
        path,
        attribute: "enabled".to_owned(),
        values: vec!["1".to_owned()],
    });
    Ok(changes)
}

/// A number of this process.
fn field(name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no such field")?.parse()?)
}
