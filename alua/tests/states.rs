//! Access states as initiators see them, and their changes while commands are under way.

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Probe, READ, READY, World, local, target};
use lunforge_alua::{
    AccessState as S, AluaError, AsymmetricAccess, DeviceGroup, TargetPort, TargetPortGroup,
};
use lunforge_core::cdb::{CommandClass, table::TABLE};
use lunforge_core::nexus::Policy;
use lunforge_core::status::Status;
use lunforge_core::testing::doubles::Blank;
use lunforge_core::testing::{Reply, Session};
use lunforge_core::tmf::{Function, Response};
use lunforge_core::{DeviceHandler, LogicalUnit};

const GOOD: Option<(u8, u8)> = None;
const CHANGED: Option<(u8, u8)> = Some((0x2A, 0x06));
const TRANSITION: Option<(u8, u8)> = Some((0x04, 0x0A));
const STANDBY: Option<(u8, u8)> = Some((0x04, 0x0B));
const UNAVAILABLE: Option<(u8, u8)> = Some((0x04, 0x0C));

/// ASC and ASCQ, or none with GOOD.
fn asc(reply: &Reply) -> Option<(u8, u8)> {
    assert!(reply.responded);
    assert_eq!(
        reply.asc().is_none(),
        reply.status == Status::Good,
        "{reply:?}"
    );
    reply.asc()
}

fn ready(world: &mut World, session: Session) -> Option<(u8, u8)> {
    asc(&world.command(session, &READY))
}

fn read(world: &mut World, session: Session) -> Option<(u8, u8)> {
    asc(&world.read(session))
}

/// What a session is told by unit attentions, whatever their order.
fn told(world: &mut World, session: Session) -> Vec<(u8, u8)> {
    let mut told = Vec::new();
    while let Some(at @ (0x2A | 0x3F, _)) = ready(world, session) {
        told.push(at);
    }
    told.sort_unstable();
    told
}

#[test]
fn each_port_has_the_state_of_its_group() {
    let mut world = World::new();
    let (a, b) = (world.session(1, "a"), world.session(2, "b"));
    for (state, refused) in [
        (S::Standby, STANDBY),
        (S::Unavailable, UNAVAILABLE),
        (S::Offline, Some((0x04, 0x12))),
        (S::ActiveNonOptimized, GOOD),
        (S::LogicalBlockDependent, GOOD),
        (S::ActiveOptimized, GOOD),
    ] {
        world.group.set_state(1, state).unwrap();
        assert_eq!(ready(&mut world, a), CHANGED);
        assert_eq!(ready(&mut world, a), refused, "TEST UNIT READY in {state}");
        assert_eq!(read(&mut world, a), refused, "READ in {state}");
        assert_eq!(read(&mut world, b), GOOD, "the other path");
        let words: Vec<u32> = world
            .unit
            .itls()
            .iter()
            .map(|i| i.access.published(Policy::AccessState))
            .collect();
        assert!(words.contains(&state.allowed().bits()), "{words:x?}");
    }
}

#[test]
fn every_command_of_the_table_is_let_through_or_refused_as_its_class_says() {
    let probe = Probe {
        everything: true,
        ..Probe::new("all")
    };
    let mut world = World::over(probe);
    world.access.explicit(true);
    world.group.set_hold_bound(Duration::ZERO);
    let session = world.session(1, "a");
    for state in S::ALL {
        world.group.set_state(1, state).unwrap();
        ready(&mut world, session);
        let mut reached = 0;
        for row in &TABLE {
            let mut cdb = vec![0; row.cdb_len()];
            cdb[0] = row.opcode;
            match (row.service_action, row.opcode) {
                (Some(action), 0x7F) => cdb[8..10].copy_from_slice(&action.to_be_bytes()),
                (Some(action), _) => cdb[1] = action as u8,
                (None, _) => {}
            }
            if row.opcode == 0x7F {
                cdb[7] = 24;
            }
            let reply = world.command(session, &cdb);
            // A CDB of zeroes is not valid for each; that is said before access is looked at.
            if reply.asc().is_some_and(|(asc, _)| asc == 0x24) {
                continue;
            }
            reached += 1;
            let refused = state.refusal().map(|s| (s.asc.asc, s.asc.ascq));
            let class = match row.class {
                CommandClass::PREVENT_REMOVAL => CommandClass::ALLOW_REMOVAL,
                class => class,
            };
            let expected = if state.allowed().contains(class) {
                None
            } else {
                refused
            };
            assert_eq!(reply.asc(), expected, "{} in {state}", row.name);
        }
        assert!(reached > 100, "{reached} of {}", TABLE.len());
    }
}

#[test]
fn a_session_that_comes_later_finds_the_state() {
    let mut world = World::new();
    world.group.set_state(2, S::Standby).unwrap();
    let late = world.session(2, "late");
    assert_eq!(
        read(&mut world, late),
        STANDBY,
        "and no unit attention of the past"
    );
}

#[test]
fn a_port_in_no_group_is_not_restricted() {
    let mut world = World::new();
    world.targets[2]
        .add_lun(0, Arc::clone(&world.unit))
        .unwrap();
    let c = world.session(3, "c");
    for group in [1, 2] {
        world.group.set_state(group, S::Unavailable).unwrap();
    }
    assert_eq!(read(&mut world, c), GOOD);
    world.group.add_port(1, TargetPort::Local(3)).unwrap();
    // The state, and the designator of page 83h.
    assert_eq!(told(&mut world, c), [(0x2A, 0x06), (0x3F, 0x03)]);
    assert_eq!(read(&mut world, c), UNAVAILABLE);
    world.group.remove_port(1, 3).unwrap();
    assert_eq!(told(&mut world, c), [(0x2A, 0x06), (0x3F, 0x03)]);
    assert_eq!(read(&mut world, c), GOOD);
}

#[test]
fn a_change_is_told_to_the_nexuses_by_the_ports_of_the_group_and_only_to_them() {
    let mut world = World::new();
    let (a, also_a, b) = (
        world.session(1, "a"),
        world.session(1, "x"),
        world.session(2, "b"),
    );
    world.group.set_state(1, S::ActiveNonOptimized).unwrap();
    world.group.set_state(1, S::ActiveNonOptimized).unwrap();
    for session in [a, also_a] {
        assert_eq!(ready(&mut world, session), CHANGED);
        assert_eq!(ready(&mut world, session), GOOD, "once");
    }
    assert_eq!(ready(&mut world, b), GOOD);
    world.group.set_preferred(2, true).unwrap();
    world.group.set_preferred(2, true).unwrap();
    assert_eq!(ready(&mut world, b), CHANGED, "PREF");
    assert_eq!([ready(&mut world, a), ready(&mut world, b)], [GOOD; 2]);
}

#[test]
fn entering_transition_is_not_told_and_leaving_it_is() {
    let mut world = World::new();
    world.group.set_hold_bound(Duration::ZERO);
    let a = world.session(1, "a");
    world.group.set_state(1, S::Transitioning).unwrap();
    assert_eq!(ready(&mut world, a), TRANSITION);
    assert_eq!(world.reported(a), [(1, 0xF), (2, 0)]);
    world.group.set_state(1, S::ActiveOptimized).unwrap();
    assert_eq!(ready(&mut world, a), CHANGED);
    assert_eq!(ready(&mut world, a), GOOD);
}

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
fn commands_sent_during_a_transition_are_answered_at_the_bound() {
    let mut world = World::new();
    world.group.set_state(1, S::Transitioning).unwrap();
    let a = world.session(1, "a");
    // The session began with a command that waited, too: the power on condition passes before access.
    let tag = world.send(a, &READ, 512);
    world.bed.advance(Duration::from_millis(300));
    assert!(world.bed.ended(a, tag).is_none());
    world.bed.advance(Duration::from_millis(300));
    let reply = world
        .bed
        .ended(a, tag)
        .expect("the default bound is half a second");
    assert_eq!(asc(&reply), TRANSITION);
    world.group.set_hold_bound(Duration::from_secs(60));
    let tag = world.send(a, &READ, 512);
    world.bed.advance(Duration::from_secs(59));
    assert!(world.bed.ended(a, tag).is_none());
    world.bed.advance(Duration::from_secs(2));
    assert_eq!(
        world.bed.ended(a, tag).map(|reply| asc(&reply)),
        Some(TRANSITION)
    );
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
fn a_unit_is_in_one_device_group() {
    let world = World::new();
    let second = DeviceGroup::new("second");
    assert!(
        matches!(second.add_unit(&world.access), Err(AluaError::UnitInGroup(name)) if name == "group")
    );
    assert!(matches!(
        second.remove_unit(&world.access),
        Err(AluaError::NotInGroup(_))
    ));
    assert!(matches!(
        second.add_unit(&AsymmetricAccess::new()),
        Err(AluaError::NoUnit)
    ));
    world.group.remove_unit(&world.access).unwrap();
    second.add_unit(&world.access).unwrap();
    assert_eq!(second.units().len(), 1);
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
    let _ = target(1, &units[0]);
}
