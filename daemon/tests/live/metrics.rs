//! What is counted of a managed target.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_daemon::control::Observe;
use lunforge_daemon::control::report::Session;
use lunforge_daemon::metrics::Snapshot;

use super::bed::*;

fn metrics(bed: &Bed) -> Snapshot {
    let registry = bed.manager.machine().registry();
    registry.metrics(bed.manager.model())
}

#[test]
fn devices_sessions_and_shards_are_counted() {
    let bed = Bed::serving();
    let mut initiator = bed.login("host");
    initiator.read(0, 0, 8, 512).unwrap();
    let snapshot = metrics(&bed);
    let device = &snapshot.devices[0];
    assert_eq!(
        (device.told.name.as_str(), device.told.read_bytes),
        ("d", 4096)
    );
    let reads = device
        .commands
        .iter()
        .find(|c| c.command.starts_with("READ("));
    assert_eq!(reads.unwrap().count, 1);
    assert!(device.latency.total.count() >= 1);
    let transport = snapshot.transport.unwrap();
    assert_eq!((transport.sessions, transport.counters.logins), (1, 1));
    let census = snapshot.shards.iter().map(|shard| shard.census.unwrap());
    assert_eq!(census.map(|census| census.nexuses).sum::<usize>(), 1);
    assert_eq!(snapshot.shards.len(), 2);
    let target = snapshot.targets.iter().find(|target| target.name == IQN);
    assert_eq!(target.unwrap().sessions, 1);
}

#[test]
fn with_measure_latency_commands_that_end_at_once_take_time() {
    let mut bed = Bed::serving();
    let mut initiator = bed.login("host");
    initiator.read(0, 0, 8, 512).unwrap();
    let sum = |bed: &Bed| metrics(bed).devices[0].latency.backend.sum();
    let before = sum(&bed);
    initiator.read(0, 0, 8, 512).unwrap();
    assert_eq!(sum(&bed), before);
    bed.run(&[set("", "measure_latency", &["1"])]);
    initiator.read(0, 0, 8, 512).unwrap();
    let measured = sum(&bed);
    assert!(measured > before);
    bed.run(&[set("", "measure_latency", &["0"])]);
    initiator.read(0, 0, 8, 512).unwrap();
    assert_eq!(sum(&bed), measured);
}

#[test]
fn commands_under_way_and_their_buffers_are_told() {
    let mut bed = Bed::serving();
    let mut initiator = bed.login("host");
    let idle = bed.login("idle");
    bed.trigger("devices/d", "block", "1");
    // It has its data, and waits for the device.
    let write = std::thread::spawn(move || {
        initiator.write(0, 0, &[1; 4096], 512).unwrap();
        initiator
    });
    let registry = Arc::clone(bed.manager.machine().registry());
    let model = bed.manager.model().clone();
    let told = || {
        let sessions = Observe::sessions(&*registry, &model);
        let active = |name: &str| {
            let of = |session: &&Session| session.initiator.ends_with(name);
            sessions.iter().find(of).unwrap().active_commands
        };
        let status = registry.status(&model);
        (active("host"), active("idle"), status.buffers >= 4096)
    };
    let end = Instant::now() + Duration::from_secs(10);
    while told() != (1, 0, true) {
        assert!(Instant::now() < end, "{:?}", told());
        std::thread::sleep(Duration::from_millis(5));
    }
    bed.trigger("devices/d", "block", "0");
    let host = write.join().unwrap();
    assert_eq!(told(), (0, 0, false));
    drop((host, idle));
}

#[test]
fn a_device_tells_how_long_its_commands_took() {
    let mut bed = Bed::serving();
    bed.run(&[set("", "measure_latency", &["1"])]);
    let mut initiator = bed.login("host");
    let latency = |bed: &Bed| {
        let registry = bed.manager.machine().registry();
        Observe::devices(&**registry, bed.manager.model())[0]
            .latency
            .clone()
    };
    let before = latency(&bed);
    for _ in 0..100 {
        initiator.read(0, 0, 8, 512).unwrap();
    }
    let now = latency(&bed);
    assert_eq!(now.commands - before.commands, 100);
    assert_eq!(
        now.up_to_us.iter().map(|(_, n)| n).sum::<u64>(),
        now.commands
    );
    let most: u64 = now.up_to_us.iter().map(|(bound, n)| bound * n).sum();
    assert!(now.sum_us > before.sum_us && now.sum_us <= most, "{now:?}");
}
