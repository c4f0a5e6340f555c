//! Time to plan and make 1 000 targets with 10 000 LUNs, to plan them again, and to add one more LUN beside few and many
//! others; on a machine that is a model.
//!
//!     cargo bench -p lunforge-daemon --bench manage

use std::time::{Duration, Instant};

use lunforge_daemon::config::{load, write};
use lunforge_daemon::control::protocol::Mode;
use lunforge_daemon::manage::{Change, Failure, Machine, Manager, Model, plan};
use lunforge_daemon::tree::{Attributes, Key, Kind, Object, Path, Tree};
use lunforge_daemon::{conf, schema};

const LUNS_OF_A_TARGET: u16 = 10;
const TARGETS: usize = 1000;
const ROUNDS: usize = 1001;

struct Double(Model);

impl Machine for Double {
    fn perform(&mut self, change: &Change, _: &Model) -> Result<(), Failure> {
        let done = self.0.apply(change).map(drop);
        done.map_err(|refusal| Failure(refusal.to_string()))
    }

    fn trigger(&mut self, _: &Path, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    fn read(&self, _: &Path, _: &str) -> Option<String> {
        None
    }
}

fn manager() -> Manager<Double> {
    Manager::new(Model::new(), Double(Model::new()))
}

fn key(kind: Kind, name: String) -> Key {
    Key::new(kind, name).expect("a name")
}

fn object(name: &str, value: &str) -> Object {
    Object::new(Attributes::from([(
        name.to_owned(),
        vec![value.to_owned()],
    )]))
}

/// So many targets, each with LUNs of its own disk.
fn tree(targets: usize) -> Tree {
    let mut tree = Model::new().tree().clone();
    let iscsi = Path::root().with(key(Kind::Driver, "iscsi".to_owned()));
    for number in 0..targets {
        let disk = format!("disk{number}");
        let root = tree.get_mut(&Path::root()).expect("the root");
        root.insert(
            key(Kind::Device, disk.clone()),
            object("handler", "vdisk_nullio"),
        );
        let mut target = object("enabled", "1");
        for lun in 0..LUNS_OF_A_TARGET {
            target.insert(Key::lun(lun), object("device", &disk));
        }
        let name = format!("iqn.2026-11.org.example:t{number}");
        tree.get_mut(&iscsi)
            .expect("iscsi")
            .insert(key(Kind::Target, name), target);
        let copies = tree
            .get_mut(&schema::copy_manager())
            .expect("the copy manager");
        let lun = u16::try_from(number).expect("a LUN");
        copies.insert(Key::lun(lun), object("device", &disk));
    }
    tree
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begin = Instant::now();
    let result = work();
    (begin.elapsed(), result)
}

fn all_at_once() {
    let wanted = tree(TARGETS);
    let mut manager = manager();
    let (planned, made) = timed(|| plan(manager.model(), &wanted, Mode::Replace));
    let (done, result) = timed(|| manager.run(&made.changes));
    result.expect("a run");
    let (again, nothing) = timed(|| plan(manager.model(), &wanted, Mode::Replace));
    assert!(nothing.changes.is_empty());
    let (written, text) = timed(|| conf::print(&write(manager.model(), &|_, _| None, false)));
    let (read, loaded) = timed(|| load(&text, &Tree::default()));
    assert!(
        plan(manager.model(), &loaded.expect("a file"), Mode::Replace)
            .changes
            .is_empty()
    );
    println!(
        "{TARGETS} targets, {} LUNs, {} changes",
        TARGETS * 10,
        made.changes.len()
    );
    println!("plan {planned:>10.1?}   run {done:>10.1?}   plan again {again:>10.1?}");
    println!(
        "save {written:>10.1?}   load {read:>9.1?}   ({} bytes)",
        text.len()
    );
}

/// The median time in which a LUN is made, and one in which it is removed.
fn one_more(targets: usize) -> (Duration, Duration) {
    let mut manager = manager();
    let all = plan(manager.model(), &tree(targets), Mode::Replace);
    manager.run(&all.changes).expect("a run");
    let path: Path = "targets/iscsi/iqn.2026-11.org.example:t0/luns/100"
        .parse()
        .expect("a path");
    let create = [Change::Create {
        path: path.clone(),
        attributes: object("device", "disk0").attributes,
    }];
    let remove = [Change::Remove { path }];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (run, times) in [&create, &remove].into_iter().zip(&mut times) {
            let (time, result) = timed(|| manager.run(run));
            result.expect("a run");
            times.push(time);
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[ROUNDS / 2]
    };
    let [made, removed] = times;
    (median(made), median(removed))
}

fn main() {
    all_at_once();
    for targets in [1, 10, 100, 1000, 10_000] {
        let (made, removed) = one_more(targets);
        println!(
            "beside {:>6} LUNs: make one {made:>8.1?}, remove it {removed:>8.1?}",
            targets * 10
        );
    }
}
