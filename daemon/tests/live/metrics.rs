//! What is counted of a managed target.

use lunforge_daemon::control::Observe;
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
