//! Changes of state while commands are at the medium, and stores that follow them.

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{CHANGED, GOOD, Probe, READ, STANDBY, UNAVAILABLE, World};
use common::{asc, local, read, ready, told};
use lunforge_alua::{
    AccessState as S, AluaError, AsymmetricAccess, DeviceGroup, TargetPort, TargetPortGroup,
};
use lunforge_core::status::Status;
use lunforge_core::testing::doubles::Blank;
use lunforge_core::tmf::{Function, Response};
use lunforge_core::{DeviceHandler, LogicalUnit};

#[test]
fn a_state_without_the_medium_waits_for_the_commands_at_it_and_then_closes_the_store() {
    let mut world = World::new();
    world.access.bind_alua_state(true).unwrap();
    world.group.set_state(2, S::Standby).unwrap();
    assert!(!world.probe.is_closed(), "the other port still leads to it");
    let a = world.session(1, "a");
    world.probe.controls().hold.store(true, Ordering::SeqCst);
    let running = world.send(a, &READ, 512);
    let group = world.group.clone();
    let change = std::thread::spawn(move || group.set_state(1, S::Standby));
    while world.reported(a) != [(1, 0xF), (2, 2)] {}
    let waiting = world.send(a, &READ, 512);
    assert!(world.bed.ended(a, running).is_none() && world.bed.ended(a, waiting).is_none());
    assert!(!change.is_finished() && !world.probe.is_closed());
    world.probe.controls().complete_all();
    assert_eq!(world.bed.wait(a, running).status, Status::Good);
    while !change.is_finished() {
        world.bed.poll();
    }
    change.join().unwrap().unwrap();
    assert!(world.probe.is_closed());
    assert_eq!(
        asc(&world.bed.wait(a, waiting)),
        STANDBY,
        "it waited for the end of the change"
    );
    assert_eq!(world.probe.reached_closed.load(Ordering::SeqCst), 0);
}

#[test]
fn commands_sent_during_a_transition_run_after_it() {
    let mut world = World::new();
    world.access.bind_alua_state(true).unwrap();
    for group in [1, 2] {
        world.group.set_state(group, S::Standby).unwrap();
    }
    assert!(world.probe.is_closed());
    let (a, b) = (world.session(1, "a"), world.session(2, "b"));
    let (is_there, go) = world.probe.stop_at_medium();
    let group = world.group.clone();
    let change = std::thread::spawn(move || group.set_state(1, S::ActiveOptimized));
    is_there.recv().unwrap();
    let early: Vec<u64> = (0..5).map(|_| world.send(a, &READ, 512)).collect();
    assert!(early.iter().all(|tag| world.bed.ended(a, *tag).is_none()));
    assert_eq!(read(&mut world, b), STANDBY, "the other group is as it was");
    go.send(()).unwrap();
    for tag in early {
        assert_eq!(asc(&world.bed.wait(a, tag)), GOOD);
    }
    change.join().unwrap().unwrap();
    assert_eq!(ready(&mut world, a), CHANGED);
    assert_eq!(world.probe.reached_closed.load(Ordering::SeqCst), 0);
}

#[test]
fn a_store_that_cannot_be_opened_leaves_the_group_unavailable() {
    let mut world = World::new();
    world.access.bind_alua_state(true).unwrap();
    for group in [1, 2] {
        world.group.set_state(group, S::Standby).unwrap();
    }
    let a = world.session(1, "a");
    world.probe.fail.store(true, Ordering::SeqCst);
    let result = world.group.set_state(1, S::ActiveOptimized);
    assert!(
        matches!(result, Err(AluaError::Activate { .. })),
        "{result:?}"
    );
    assert_eq!(ready(&mut world, a), CHANGED);
    assert_eq!(world.reported(a), [(1, 3), (2, 2)]);
    assert_eq!(read(&mut world, a), UNAVAILABLE);
    world.probe.fail.store(false, Ordering::SeqCst);
    world.group.set_state(1, S::ActiveOptimized).unwrap();
    assert_eq!(ready(&mut world, a), CHANGED);
    assert_eq!(read(&mut world, a), GOOD);
    assert_eq!(world.probe.reached_closed.load(Ordering::SeqCst), 0);
}

#[test]
fn a_handler_that_panics_has_failed_to_open_its_store() {
    let mut world = World::new();
    world.access.bind_alua_state(true).unwrap();
    for group in [1, 2] {
        world.group.set_state(group, S::Standby).unwrap();
    }
    world.probe.panic.store(true, Ordering::SeqCst);
    let result = world.group.set_state(1, S::ActiveOptimized);
    assert!(
        matches!(result, Err(AluaError::Activate { .. })),
        "{result:?}"
    );
    let a = world.session(1, "a");
    assert_eq!(world.reported(a), [(1, 3), (2, 2)]);
}

#[test]
fn one_store_of_several_that_cannot_be_opened_closes_the_others_again() {
    let world = World::new();
    world.access.bind_alua_state(true).unwrap();
    let other = Arc::new(Probe::new("other"));
    let access = AsymmetricAccess::new();
    let unit = LogicalUnit::builder(Arc::clone(&other) as Arc<dyn DeviceHandler>);
    let unit = unit.service(Arc::clone(&access) as _).build();
    access.bind_alua_state(true).unwrap();
    for target in &world.targets[..2] {
        target.add_lun(1, Arc::clone(&unit)).unwrap();
    }
    world.group.add_unit(&access).unwrap();
    for group in [1, 2] {
        world.group.set_state(group, S::Unavailable).unwrap();
    }
    assert!(other.is_closed() && world.probe.is_closed());
    other.fail.store(true, Ordering::SeqCst);
    assert!(world.group.set_state(2, S::ActiveOptimized).is_err());
    assert!(
        world.probe.is_closed(),
        "it was opened for a state that did not come"
    );
    assert!(world.group.dissolve().is_err());
    assert!(world.probe.is_closed(), "all units are still in the group");
    assert_eq!(world.group.units().len(), 2);
    other.fail.store(false, Ordering::SeqCst);
    world.group.dissolve().unwrap();
    assert!(!other.is_closed() && !world.probe.is_closed());
    assert!(world.group.units().is_empty());
}

#[test]
fn a_store_that_is_given_up_with_an_error_does_not_keep_the_state_from_changing() {
    let mut world = World::new();
    world.access.bind_alua_state(true).unwrap();
    world.group.set_state(2, S::Standby).unwrap();
    let a = world.session(1, "a");
    world.probe.fail.store(true, Ordering::SeqCst);
    let result = world.group.set_state(1, S::Standby);
    assert!(
        matches!(result, Err(AluaError::Deactivate { .. })),
        "{result:?}"
    );
    assert_eq!(ready(&mut world, a), CHANGED);
    assert_eq!(world.reported(a), [(1, 2), (2, 2)]);
    assert_eq!(read(&mut world, a), STANDBY);
}

#[test]
fn binding_takes_effect_at_once_and_unbinding_opens_the_store() {
    let mut world = World::new();
    for group in [1, 2] {
        world.group.set_state(group, S::Standby).unwrap();
    }
    assert!(!world.probe.is_closed());
    world.access.bind_alua_state(true).unwrap();
    assert!(world.probe.is_closed());
    world.targets[2]
        .add_lun(0, Arc::clone(&world.unit))
        .unwrap();
    let c = world.session(3, "c");
    assert_eq!(
        read(&mut world, c),
        UNAVAILABLE,
        "not even a port in no group gets at a closed store"
    );
    world.access.bind_alua_state(false).unwrap();
    assert!(!world.probe.is_closed());
    assert_eq!(world.probe.reached_closed.load(Ordering::SeqCst), 0);
}

#[test]
fn ports_of_other_nodes_do_not_move_the_store() {
    let world = World::new();
    world.access.bind_alua_state(true).unwrap();
    let target = "iqn.2026-11.org.example:far".to_owned();
    let far = TargetPort::Remote {
        target,
        relative_port: 9,
    };
    world
        .group
        .add_target_port_group(TargetPortGroup::new(9).with(far))
        .unwrap();
    for group in [1, 2] {
        world.group.set_state(group, S::Standby).unwrap();
    }
    assert!(
        world.probe.is_closed(),
        "an active remote group does not need it"
    );
    world.group.set_state(9, S::Standby).unwrap();
    world.group.set_state(9, S::ActiveOptimized).unwrap();
    assert!(world.probe.is_closed());
    assert_eq!(world.probe.deactivations.load(Ordering::SeqCst), 1);
}

#[test]
fn removing_a_group_gives_its_ports_full_access_and_its_stores_back() {
    let mut world = World::new();
    world.access.bind_alua_state(true).unwrap();
    let (a, b) = (world.session(1, "a"), world.session(2, "b"));
    for group in [1, 2] {
        world.group.set_state(group, S::Unavailable).unwrap();
    }
    assert_eq!(ready(&mut world, a), CHANGED);
    world.probe.fail.store(true, Ordering::SeqCst);
    assert!(world.group.remove_target_port_group(1).is_err());
    assert_eq!(world.reported(a), [(1, 3), (2, 3)], "nothing has changed");
    world.probe.fail.store(false, Ordering::SeqCst);
    world.group.remove_target_port_group(1).unwrap();
    assert!(!world.probe.is_closed());
    assert_eq!(told(&mut world, a), [(0x2A, 0x06), (0x3F, 0x03)]);
    assert_eq!(read(&mut world, a), GOOD);
    world.group.remove_unit(&world.access).unwrap();
    assert_eq!(told(&mut world, b), [(0x2A, 0x06), (0x3F, 0x03)]);
    assert_eq!(read(&mut world, b), GOOD);
    let inquiry = world.command(b, &[0x12, 0, 0, 0, 255, 0]);
    assert_eq!(
        (inquiry.data[0], inquiry.data[5] & 0x30),
        (0, 0),
        "as if there were no service"
    );
    assert_eq!(asc(&world.command(b, &common::RTPG)), Some((0x24, 0)));
}

#[test]
fn a_command_that_its_backend_never_ends_does_not_hold_a_change_for_ever() {
    let mut world = World::new();
    world.group.set_drain_bound(Duration::ZERO);
    let (a, b) = (world.session(1, "a"), world.session(2, "b"));
    world.probe.controls().hold.store(true, Ordering::SeqCst);
    world
        .probe
        .controls()
        .can_fence
        .store(true, Ordering::SeqCst);
    let stuck = world.send(a, &READ, 512);
    world
        .meanwhile(|group| group.set_state(1, S::Standby))
        .unwrap();
    let reply = world.bed.wait(a, stuck);
    assert!(
        !reply.responded || reply.status == Status::TaskAborted,
        "{reply:?}"
    );
    assert_eq!(world.reported(b), [(1, 2), (2, 0)]);
    let told = asc(&world.command(a, &[0; 6]));
    assert_eq!(told, Some((0x2F, 0x02)), "the command ended silently");
    world.probe.controls().complete_all();
}

#[test]
fn a_reset_is_answered_while_a_store_takes_its_time_to_open() {
    let mut world = World::new();
    world.access.bind_alua_state(true).unwrap();
    for group in [1, 2] {
        world.group.set_state(group, S::Standby).unwrap();
    }
    let a = world.session(1, "a");
    let (is_there, go) = world.probe.stop_at_medium();
    let group = world.group.clone();
    let change = std::thread::spawn(move || group.set_state(1, S::ActiveOptimized));
    is_there.recv().unwrap();
    assert_eq!(
        world.bed.tmf(a, 0, Function::LogicalUnitReset),
        Response::Complete
    );
    go.send(()).unwrap();
    change.join().unwrap().unwrap();
}

#[test]
fn the_stores_of_a_thousand_units_are_opened_and_closed_in_parallel() {
    /// Stores of which eight must be under way at once, or none gets through.
    struct Together(Blank, usize, Arc<std::sync::Barrier>);
    impl DeviceHandler for Together {
        fn identity(&self) -> lunforge_core::handler::Identity {
            let serial = format!("unit-{}", self.1);
            lunforge_core::handler::Identity {
                serial,
                ..self.0.identity()
            }
        }
        fn profile(&self) -> lunforge_core::handler::DeviceProfile {
            self.0.profile()
        }
        fn supports(&self, command: lunforge_core::cdb::CommandId) -> bool {
            self.0.supports(command)
        }
        fn vpd_pages(&self) -> Vec<u8> {
            Vec::new()
        }
        fn vpd(&self, _: u8) -> Option<Vec<u8>> {
            None
        }
        fn ready(&self) -> Result<(), lunforge_core::sense::Sense> {
            Ok(())
        }
        fn prepare(
            &self,
            cdb: &lunforge_core::cdb::ParsedCdb,
        ) -> Result<lunforge_core::Transfer, lunforge_core::sense::Sense> {
            self.0.prepare(cdb)
        }
        fn execute(&self, command: &mut lunforge_core::Execution<'_>) -> lunforge_core::Execute {
            self.0.execute(command)
        }
        fn deactivate(&self) -> std::io::Result<()> {
            self.2.wait();
            Ok(())
        }
        fn activate(&self) -> std::io::Result<()> {
            self.2.wait();
            Ok(())
        }
    }
    let group = DeviceGroup::new("thousand");
    let barrier = Arc::new(std::sync::Barrier::new(8));
    group.add_target_port_group(local(1, 1)).unwrap();
    let units: Vec<_> = (0..1000)
        .map(|n| {
            let handler = Together(Blank::default(), n, Arc::clone(&barrier));
            let access = AsymmetricAccess::new();
            let unit = LogicalUnit::builder(Arc::new(handler));
            let unit = unit.service(Arc::clone(&access) as _).build();
            group.add_unit(&access).unwrap();
            access.bind_alua_state(true).unwrap();
            unit
        })
        .collect();
    let begun = std::time::Instant::now();
    for state in [S::Standby, S::ActiveOptimized] {
        group.set_state(1, state).unwrap();
    }
    eprintln!(
        "two changes of {} units: {:?}",
        units.len(),
        begun.elapsed()
    );
}

#[test]
fn a_group_that_is_taken_apart_does_not_take_the_medium_where_that_was_ruled_out() {
    let mut world = World::new();
    world.access.bind_alua_state(true).unwrap();
    world.group.set_ungrouped_opens(false);
    let standby = |id| TargetPortGroup::new(id).in_state(S::Standby);
    let both = vec![
        standby(1).with(TargetPort::Local(1)),
        standby(2).with(TargetPort::Local(2)),
    ];
    world.group.set_target_port_groups(both).unwrap();
    assert!(world.probe.is_closed());
    let a = world.session(1, "a");
    // Another identifier in one step: no port is without a group in between.
    let renamed = vec![
        standby(7).with(TargetPort::Local(1)),
        standby(2).with(TargetPort::Local(2)),
    ];
    world.group.set_target_port_groups(renamed).unwrap();
    assert!(world.probe.is_closed());
    assert_eq!(told(&mut world, a), [(0x3F, 0x03)]);
    assert_eq!(world.reported(a), [(2, 2), (7, 2)]);
    assert!(matches!(
        world
            .group
            .set_target_port_groups(vec![TargetPortGroup::new(0)]),
        Err(AluaError::GroupId)
    ));
    assert_eq!(world.reported(a), [(2, 2), (7, 2)]);
    world.group.set_target_port_groups(Vec::new()).unwrap();
    assert!(world.probe.is_closed());
    assert!(told(&mut world, a).contains(&(0x3F, 0x03)));
    let unrestricted = world.command(a, &READ);
    assert_ne!(unrestricted.status, Status::Good, "its store is closed");
    world.group.release_unit(&world.access).unwrap();
    assert!(world.probe.is_closed());
    let again = world.group.release_unit(&world.access);
    assert!(matches!(again, Err(AluaError::NotInGroup(_))));
    world.group.set_ungrouped_opens(true);
    world.group.add_unit(&world.access).unwrap();
    assert!(!world.probe.is_closed());
}
