//! Access states as initiators see them.

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{CHANGED, GOOD, Probe, READ, STANDBY, UNAVAILABLE, World};
use common::{asc, local, read, ready, told};
use lunforge_alua::{AccessState as S, AluaError, AsymmetricAccess, DeviceGroup, TargetPort};
use lunforge_core::LogicalUnit;
use lunforge_core::cdb::{CommandClass, table::TABLE};
use lunforge_core::nexus::Policy;
use lunforge_core::testing::Send;

const TRANSITION: Option<(u8, u8)> = Some((0x04, 0x0A));

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
fn commands_sent_during_a_transition_are_answered_at_the_bound() {
    let mut world = World::new();
    world.group.set_state(1, S::Transitioning).unwrap();
    let a = world.session(1, "a");
    let tag = world.send(a, &READ, 512);
    // The group's bound is an hour; that of the unit's ladder holds.
    let hold = lunforge_core::Ladder::default().hold;
    world.bed.advance(hold - Duration::from_secs(1));
    assert!(world.bed.ended(a, tag).is_none());
    world.bed.advance(Duration::from_secs(1));
    let reply = world.bed.ended(a, tag).expect("the bound is over");
    assert_eq!(asc(&reply), TRANSITION);
    // What it is unless set: half a second.
    let (access, group) = (AsymmetricAccess::new(), DeviceGroup::new("as it is made"));
    let unit = LogicalUnit::builder(Arc::new(Probe::new("other")));
    let unit = unit.service(Arc::clone(&access) as _).build();
    world.targets[0].add_lun(1, unit).unwrap();
    let transitioning = local(1, 1).in_state(S::Transitioning);
    group.add_target_port_group(transitioning).unwrap();
    group.add_unit(&access).unwrap();
    let send = |world: &mut World| {
        let (cdb, expected_in, lun) = (READ.to_vec(), 512, 1);
        let send = Send {
            cdb,
            expected_in,
            lun,
            ..Send::default()
        };
        let tag = world.bed.send(a, send);
        world.bed.advance(Duration::from_millis(501));
        world.bed.ended(a, tag).expect("it ended")
    };
    assert_eq!(asc(&send(&mut world)), Some((0x29, 0)), "a new unit");
    assert_eq!(asc(&send(&mut world)), TRANSITION);
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
