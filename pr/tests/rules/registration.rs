//! Who is registered, and where: REGISTER and its kin, REGISTER AND MOVE.

use super::*;

#[test]
fn register_follows_the_table_of_register_behaviours() {
    let mut unit = Unit::new();
    // Not registered.
    assert_eq!(unit.good("a", register(0, 0)), Effects::default());
    assert_eq!((unit.key("a"), unit.state.generation()), (None, 0));
    assert_eq!(unit.refused("a", register(9, 5)), Refusal::Conflict);
    unit.good("a", register(0, 5));
    assert_eq!((unit.key("a"), unit.state.generation()), (Some(5), 1));
    // Registered.
    assert_eq!(unit.refused("a", register(0, 6)), Refusal::Conflict);
    assert_eq!(unit.refused("a", register(6, 5)), Refusal::Conflict);
    let others = ReserveOut::Register {
        key: key(5),
        registration: registration(6),
        initiators: Some(vec![ListedId {
            offset: 28,
            id: port("b"),
        }]),
    };
    assert_eq!(
        pointed(unit.refused("a", others)),
        (0x26, 0, Some((false, 20)))
    );
    unit.good("a", register(5, 6));
    assert_eq!((unit.key("a"), unit.state.generation()), (Some(6), 2));
    unit.good("a", register(6, 0));
    assert_eq!((unit.key("a"), unit.state.generation()), (None, 3));
}

#[test]
fn register_and_ignore_existing_key_asks_for_no_key() {
    let mut unit = Unit::new();
    for (new, generation) in [(0, 0), (5, 1), (6, 2), (0, 3)] {
        unit.good(
            "a",
            ReserveOut::RegisterAndIgnoreExistingKey(registration(new)),
        );
        assert_eq!(
            (unit.key("a").unwrap_or(0), unit.state.generation()),
            (new, generation)
        );
    }
}

#[test]
fn all_target_ports_are_registered_all_or_none() {
    let mut unit = Unit::new();
    let everywhere = |new| Registration {
        all_target_ports: true,
        ..registration(new)
    };
    let register = |present, new| ReserveOut::Register {
        key: key(present),
        registration: everywhere(new),
        initiators: None,
    };
    let at = |port: u16| ItNexus { port, ..nexus("a") };
    unit.good("a", register(0, 5));
    assert_eq!(unit.state.key_of(&at(2)), Some(key(5)));
    assert_eq!(unit.state.generation(), 1, "one command, one count");
    unit.good("a", register(5, 6));
    assert_eq!(unit.state.key_of(&at(2)), Some(key(6)));
    unit.good("a", register_here(6, 0));
    assert_eq!(unit.state.key_of(&at(2)), Some(key(6)), "one port only");
    // Port 2 is registered: a first registration at both is refused, at both.
    assert_eq!(unit.refused("a", register(0, 7)), Refusal::Conflict);
    unit.good("a", ReserveOut::RegisterAndIgnoreExistingKey(everywhere(7)));
    assert_eq!(unit.state.registrants().len(), 2);
    unit.good("a", register(7, 0));
    assert!(unit.state.registrants().is_empty());
}

fn register_here(present: u64, new: u64) -> ReserveOut {
    register(present, new)
}

#[test]
fn n38_spec_i_pt_registers_every_listed_port_or_none() {
    let listed = |ids: &[TransportId]| ReserveOut::Register {
        key: key(0),
        registration: registration(5),
        initiators: Some(
            (28u16..)
                .step_by(52)
                .zip(ids)
                .map(|(offset, id)| ListedId {
                    offset,
                    id: id.clone(),
                })
                .collect(),
        ),
    };
    let mut unit = Unit::new();
    unit.good("c", register(0, 3));
    let device = |name: &str| TransportId::IscsiDevice(IscsiName::new(name).unwrap());
    let known = device("iqn.2026-11.org.example:d");
    let connected = |isid: u8, port: u16| {
        ItNexus::new(
            TransportId::iscsi("iqn.2026-11.org.example:d", [isid; 6]).unwrap(),
            port,
        )
    };
    unit.setting.connected = vec![connected(1, 1), connected(2, 1), connected(3, 2)];
    assert_eq!(
        unit.refused("a", listed(&[port("b"), port("c")])),
        Refusal::Conflict,
        "the second is registered"
    );
    let nobody = device("iqn.2026-11.org.example:absent");
    let refusal = unit.refused("a", listed(&[port("b"), nobody]));
    assert_eq!(
        pointed(refusal),
        (0x26, 0, Some((false, 80))),
        "no port of that device is connected"
    );
    let refusal = unit.refused("a", listed(&[TransportId::Srp([1; 16])]));
    assert_eq!(
        pointed(refusal),
        (0x26, 0, Some((false, 28))),
        "another protocol's"
    );
    unit.good("a", listed(&[port("b"), known, port("b"), port("a")]));
    let registered: Vec<_> = unit.state.registrants().keys().cloned().collect();
    assert_eq!(registered.len(), 5, "{registered:?}");
    for by in [
        nexus("a"),
        nexus("b"),
        nexus("c"),
        connected(1, 1),
        connected(2, 1),
    ] {
        assert!(registered.contains(&by), "{by}");
    }
    assert_eq!(unit.state.generation(), 2);
}

#[test]
fn a_unit_takes_a_bounded_number_of_registrations() {
    let mut unit = Unit::new();
    let keys = (0..MAX_REGISTRANTS).map(|i| (nexus(&i.to_string()), key(1)));
    unit.state = State::from_parts(0, keys.collect(), None, false).unwrap();
    assert_eq!(
        pointed(unit.refused("one-more", register(0, 1))),
        (0x55, 4, None)
    );
    unit.good("1", register(1, 2));
}

#[test]
fn aptpl_follows_the_last_registration_and_needs_a_store() {
    let mut unit = Unit::new();
    let aptpl = |present, new, aptpl| ReserveOut::Register {
        key: key(present),
        registration: Registration {
            aptpl,
            ..registration(new)
        },
        initiators: None,
    };
    unit.good("a", aptpl(0, 1, true));
    assert!(unit.state.aptpl());
    unit.good("a", aptpl(1, 2, false));
    assert!(!unit.state.aptpl());
    unit.setting.aptpl_capable = false;
    assert_eq!(
        pointed(unit.refused("a", aptpl(2, 3, true))),
        (0x26, 0, Some((false, 20)))
    );
}

#[test]
fn register_and_move_gives_the_reservation_to_another_nexus() {
    for (unregister, left) in [(false, Some(1)), (true, None)] {
        let mut unit = Unit::of_three(5);
        assert_eq!(
            unit.good("a", move_to(1, 9, "d", unregister)),
            Effects::default()
        );
        let d = ItNexus {
            port: 2,
            ..nexus("d")
        };
        assert!(unit.state.holds(&d));
        assert_eq!(unit.state.key_of(&d), Some(key(9)));
        assert_eq!(
            (unit.key("a"), unit.kind(), unit.state.generation()),
            (left, 5, 4)
        );
    }
}

#[test]
fn register_and_move_is_refused_as_its_table_says() {
    let mut none = Unit::of_three(0);
    assert_eq!(
        pointed(none.refused("a", move_to(1, 9, "d", false))),
        (0x24, 0, Some((true, 1)))
    );
    let mut unit = Unit::of_three(5);
    assert_eq!(
        unit.refused("x", move_to(0, 9, "d", false)),
        Refusal::Conflict
    );
    assert_eq!(
        unit.refused("a", move_to(7, 9, "d", false)),
        Refusal::Conflict
    );
    assert_eq!(
        unit.refused("b", move_to(2, 9, "d", false)),
        Refusal::Conflict,
        "not the holder"
    );
    assert_eq!(
        Unit::of_three(7).refused("a", move_to(1, 9, "d", false)),
        Refusal::Conflict
    );
    assert_eq!(
        pointed(unit.refused("a", move_to(1, 0, "d", false))),
        (0x26, 0, Some((false, 8)))
    );
    let with = |change: fn(&mut u16, &mut TransportId)| {
        let mut command = move_to(1, 9, "d", false);
        if let ReserveOut::RegisterAndMove {
            port, initiator, ..
        } = &mut command
        {
            change(port, &mut initiator.id);
        }
        command
    };
    let refusals = [
        (with(|at, _| *at = 3), 18),
        (with(|at, id| (*at, *id) = (1, port("a"))), 24),
        (with(|_, id| *id = TransportId::Srp([0; 16])), 24),
        (
            with(|_, id| *id = TransportId::IscsiDevice(IscsiName::new("iqn.d").unwrap())),
            24,
        ),
    ];
    for (command, byte) in refusals {
        assert_eq!(
            pointed(unit.refused("a", command)),
            (0x26, 0, Some((false, byte)))
        );
    }
    // The same initiator port by another target port is another nexus.
    unit.good("a", with(|at, id| (*at, *id) = (2, port("a"))));
}
