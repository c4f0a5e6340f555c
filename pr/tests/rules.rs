//! The rules of SPC-4 5.13, clause by clause, on the pure state machine.

use lunforge_core::asc::Asc;
use lunforge_core::sense::{Sense, SenseKey, SenseSpecific};
use lunforge_core::transport_id::{IscsiName, TransportId};
use lunforge_pr::{
    Effects, Event, ItNexus, ListedId, MAX_REGISTRANTS, Refusal, Registration, ReservationKey,
    ReservationType, ReserveOut, ScopeType, Setting, State, allowed, apply,
};

const CONFLICT: Result<(), Refusal> = Err(Refusal::Conflict);

fn port(name: &str) -> TransportId {
    TransportId::iscsi(&format!("iqn.2026-11.org.example:{name}"), [0; 6]).unwrap()
}

/// The nexus of initiator `name` with target port 1.
fn nexus(name: &str) -> ItNexus {
    ItNexus::new(port(name), 1)
}

const fn key(key: u64) -> ReservationKey {
    ReservationKey(key)
}

const fn lu(kind: u8) -> ScopeType {
    ScopeType { scope: 0, kind }
}

fn registration(new: u64) -> Registration {
    Registration {
        key: key(new),
        all_target_ports: false,
        aptpl: false,
    }
}

fn register(present: u64, new: u64) -> ReserveOut {
    ReserveOut::Register {
        key: key(present),
        registration: registration(new),
        initiators: None,
    }
}

fn reserve(own: u64, kind: u8) -> ReserveOut {
    ReserveOut::Reserve {
        key: key(own),
        scope_type: lu(kind),
    }
}

fn release(own: u64, kind: u8) -> ReserveOut {
    ReserveOut::Release {
        key: key(own),
        scope_type: lu(kind),
    }
}

fn preempt(own: u64, victim: u64, kind: u8) -> ReserveOut {
    ReserveOut::Preempt {
        key: key(own),
        victim: key(victim),
        scope_type: lu(kind),
        abort: false,
    }
}

fn move_to(own: u64, new: u64, to: &str, unregister: bool) -> ReserveOut {
    ReserveOut::RegisterAndMove {
        key: key(own),
        new_key: key(new),
        unregister,
        aptpl: false,
        port: 2,
        initiator: ListedId {
            offset: 24,
            id: port(to),
        },
    }
}

/// A unit at ports 1 and 2.
struct Unit {
    state: State,
    setting: Setting,
}

impl Unit {
    fn new() -> Self {
        let setting = Setting {
            ports: vec![1, 2],
            connected: Vec::new(),
            aptpl_capable: true,
        };
        let state = State::default();
        Self { state, setting }
    }

    /// Keys 1, 2, 3 for a, b, c; a holds if there is a type.
    fn of_three(kind: u8) -> Self {
        let mut unit = Self::new();
        for (name, own) in [("a", 1), ("b", 2), ("c", 3)] {
            unit.good(name, register(0, own));
        }
        if kind != 0 {
            unit.good("a", reserve(1, kind));
        }
        unit
    }

    fn send(&mut self, from: ItNexus, command: ReserveOut) -> Result<Effects, Refusal> {
        let setting = self.setting.clone();
        let event = Event::ReserveOut {
            from,
            command,
            setting,
        };
        let (state, effects) = apply(&self.state, &event)?;
        self.state = state;
        Ok(effects)
    }

    #[track_caller]
    fn good(&mut self, from: &str, command: ReserveOut) -> Effects {
        self.send(nexus(from), command).unwrap()
    }

    /// Refused, and nothing changed.
    #[track_caller]
    fn refused(&mut self, from: &str, command: ReserveOut) -> Refusal {
        let before = self.state.clone();
        let refusal = self.send(nexus(from), command).unwrap_err();
        assert_eq!(self.state, before);
        refusal
    }

    fn key(&self, name: &str) -> Option<u64> {
        self.state.key_of(&nexus(name)).map(|key| key.0)
    }

    fn kind(&self) -> u8 {
        self.state.reservation().map_or(0, |r| r.kind().code())
    }
}

/// Who is told what, in short.
fn told(effects: &Effects) -> Vec<(String, u8)> {
    let name = |n: &ItNexus| match &*n.initiator {
        TransportId::IscsiPort(name, _) => name.as_str().rsplit(':').next().unwrap().to_owned(),
        other => other.to_string(),
    };
    let asc = |asc: &Asc| {
        assert_eq!(asc.asc, 0x2A);
        asc.ascq
    };
    effects
        .unit_attentions
        .iter()
        .map(|(n, a)| (name(n), asc(a)))
        .collect()
}

fn to(names: &[&str], ascq: u8) -> Vec<(String, u8)> {
    names
        .iter()
        .map(|name| ((*name).to_owned(), ascq))
        .collect()
}

/// ILLEGAL REQUEST with this code and a pointer into the parameter list or the CDB.
fn pointed(refusal: Refusal) -> (u8, u8, Option<(bool, u16)>) {
    let Refusal::Check(Sense {
        key, asc, specific, ..
    }) = refusal
    else {
        panic!("{refusal:?}");
    };
    assert_eq!(key, SenseKey::IllegalRequest);
    let pointer = match specific {
        SenseSpecific::FieldPointer { in_cdb, byte, .. } => Some((in_cdb, byte)),
        _ => None,
    };
    (asc.asc, asc.ascq, pointer)
}

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
    unit.good("a", at_one_port(6, 0));
    assert_eq!(unit.state.key_of(&at(2)), Some(key(6)), "one port only");
    // Port 2 is registered: a first registration at both is refused, at both.
    assert_eq!(unit.refused("a", register(0, 7)), Refusal::Conflict);
    unit.good("a", ReserveOut::RegisterAndIgnoreExistingKey(everywhere(7)));
    assert_eq!(unit.state.registrants().len(), 2);
    unit.good("a", register(7, 0));
    assert!(unit.state.registrants().is_empty());
}

fn at_one_port(present: u64, new: u64) -> ReserveOut {
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
    for i in 0..MAX_REGISTRANTS {
        unit.good(&i.to_string(), register(0, 1));
        if i == 100 {
            // Fill up from here in one step; the state is the same.
            let keys = (0..MAX_REGISTRANTS)
                .map(|i| (nexus(&i.to_string()), key(1)))
                .collect();
            unit.state = State::from_parts(0, keys, None, false).unwrap();
            break;
        }
    }
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
fn reserve_needs_a_registration_the_right_key_and_a_free_unit() {
    let mut unit = Unit::of_three(0);
    let generation = unit.state.generation();
    assert_eq!(unit.refused("x", reserve(0, 1)), Refusal::Conflict);
    assert_eq!(unit.refused("a", reserve(2, 1)), Refusal::Conflict);
    for kind in [0, 2, 4, 9, 15] {
        assert_eq!(
            pointed(unit.refused("a", reserve(1, kind))),
            (0x24, 0, Some((true, 2)))
        );
    }
    let extent = ReserveOut::Reserve {
        key: key(1),
        scope_type: ScopeType { scope: 1, kind: 1 },
    };
    assert_eq!(
        pointed(unit.refused("a", extent)),
        (0x24, 0, Some((true, 2)))
    );
    unit.good("a", reserve(1, 5));
    unit.good("a", reserve(1, 5));
    assert_eq!(
        unit.refused("a", reserve(1, 6)),
        Refusal::Conflict,
        "the holder, another type"
    );
    assert_eq!(
        unit.refused("b", reserve(2, 5)),
        Refusal::Conflict,
        "another, the same type"
    );
    assert_eq!(unit.state.generation(), generation);
    let mut unit = Unit::of_three(7);
    unit.good("b", reserve(2, 7));
    assert_eq!(unit.refused("b", reserve(2, 8)), Refusal::Conflict);
}

#[test]
fn release_tells_the_others_where_they_had_rights() {
    for kind in ReservationType::ALL {
        let mut unit = Unit::of_three(kind.code());
        let generation = unit.state.generation();
        assert_eq!(
            unit.refused("x", release(0, kind.code())),
            Refusal::Conflict
        );
        assert_eq!(
            unit.refused("a", release(2, kind.code())),
            Refusal::Conflict
        );
        let other_type = if kind.code() == 1 { 3 } else { 1 };
        assert_eq!(
            pointed(unit.refused("a", release(1, other_type))),
            (0x26, 4, None)
        );
        if !kind.all_registrants() {
            assert_eq!(unit.good("b", release(2, kind.code())), Effects::default());
            assert_eq!(unit.good("b", release(2, other_type)), Effects::default());
            assert_eq!(unit.kind(), kind.code(), "not the holder's");
        }
        let effects = unit.good("a", release(1, kind.code()));
        let expected = if kind.for_registrants() {
            to(&["b", "c"], 4)
        } else {
            vec![]
        };
        assert_eq!(told(&effects), expected, "{kind:?}");
        assert_eq!((unit.kind(), unit.state.generation()), (0, generation));
        assert_eq!(
            unit.good("a", release(1, 1)),
            Effects::default(),
            "nothing is reserved"
        );
    }
}

#[test]
fn clear_ends_all_and_tells_the_others() {
    let mut unit = Unit::of_three(1);
    assert_eq!(
        unit.refused("x", ReserveOut::Clear { key: key(0) }),
        Refusal::Conflict
    );
    let effects = unit.good("b", ReserveOut::Clear { key: key(2) });
    assert_eq!(told(&effects), to(&["a", "c"], 3));
    assert_eq!(
        (
            unit.kind(),
            unit.state.registrants().len(),
            unit.state.generation()
        ),
        (0, 0, 4)
    );
}

#[test]
fn a_holder_that_unregisters_releases() {
    for kind in ReservationType::ALL {
        let mut unit = Unit::of_three(kind.code());
        let effects = unit.good("a", register(1, 0));
        if kind.all_registrants() {
            assert_eq!(
                (told(&effects), unit.kind()),
                (vec![], kind.code()),
                "others hold it"
            );
            unit.good("b", register(2, 0));
            assert_eq!(unit.kind(), kind.code());
            assert_eq!(unit.good("c", register(3, 0)), Effects::default());
        } else {
            let expected = if kind.for_registrants() {
                to(&["b", "c"], 4)
            } else {
                vec![]
            };
            assert_eq!(told(&effects), expected);
        }
        assert_eq!(unit.kind(), 0);
    }
}

#[test]
fn preempt_of_the_holder_takes_the_reservation_over() {
    let mut unit = Unit::of_three(5);
    let effects = unit.good("b", preempt(2, 1, 5));
    assert_eq!(
        told(&effects),
        to(&["a"], 5),
        "the same type: nobody else is told"
    );
    assert_eq!(
        (unit.key("a"), unit.kind(), unit.state.generation()),
        (None, 5, 4)
    );
    assert!(unit.state.holds(&nexus("b")));
    let effects = unit.good("c", preempt(3, 2, 6));
    assert_eq!(told(&effects), to(&["b"], 5));
    let mut unit = Unit::of_three(1);
    let effects = unit.good("b", preempt(2, 1, 3));
    assert_eq!(told(&effects), [to(&["a"], 5), to(&["c"], 4)].concat());
    assert_eq!(
        pointed(Unit::of_three(1).refused("b", preempt(2, 1, 2))),
        (0x24, 0, Some((true, 2)))
    );
}

#[test]
fn preempt_of_a_registrant_removes_it_and_ignores_the_type() {
    for kind in [0, 1, 3, 5, 6, 7, 8] {
        let mut unit = Unit::of_three(kind);
        let command = ReserveOut::Preempt {
            key: key(1),
            victim: key(3),
            scope_type: ScopeType { scope: 9, kind: 2 },
            abort: true,
        };
        let effects = unit.good("a", command);
        assert_eq!(told(&effects), to(&["c"], 5));
        assert_eq!(effects.abort, [nexus("c")]);
        assert_eq!((unit.key("c"), unit.kind()), (None, kind));
        assert_eq!(
            unit.refused("a", preempt(1, 9, 1)),
            Refusal::Conflict,
            "nobody has key 9"
        );
    }
}

#[test]
fn preempt_with_key_zero_is_for_all_registrants_types() {
    for kind in [0, 1, 3, 5, 6] {
        let refusal = Unit::of_three(kind).refused("b", preempt(2, 0, 1));
        assert_eq!(pointed(refusal), (0x26, 0, Some((false, 8))));
    }
    for kind in [7, 8] {
        let mut unit = Unit::of_three(kind);
        let effects = unit.good("b", preempt(2, 0, 1));
        assert_eq!(told(&effects), to(&["a", "c"], 5));
        assert_eq!((unit.key("b"), unit.kind()), (Some(2), 1));
        assert!(unit.state.holds(&nexus("b")));
    }
}

#[test]
fn preempt_of_ones_own_key() {
    // The holder changes the type of its reservation and keeps its registration.
    let mut unit = Unit::of_three(1);
    let effects = unit.good("a", preempt(1, 1, 6));
    assert_eq!(told(&effects), to(&["b", "c"], 4));
    assert_eq!((unit.key("a"), unit.kind()), (Some(1), 6));
    assert_eq!(told(&unit.good("a", preempt(1, 1, 6))), vec![]);
    // Another registrant removes itself, and is told nothing.
    assert_eq!(unit.good("b", preempt(2, 2, 6)), Effects::default());
    assert_eq!((unit.key("b"), unit.kind()), (None, 6));
    // Where each registrant holds, the last one ends the reservation.
    let mut unit = Unit::of_three(8);
    for (name, own) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(unit.kind(), 8);
        unit.good(name, preempt(own, own, 8));
    }
    assert_eq!(unit.kind(), 0);
}

#[test]
fn preempt_needs_a_registration() {
    let mut unit = Unit::of_three(1);
    assert_eq!(unit.refused("x", preempt(0, 1, 1)), Refusal::Conflict);
    assert_eq!(unit.refused("b", preempt(1, 1, 1)), Refusal::Conflict);
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

#[test]
fn n49_spc2_commands_beside_persistent_reservations_follow_crh() {
    let spc2 = |unit: &Unit, from: &str| {
        let from = nexus(from);
        let reserve = apply(&unit.state, &Event::Reserve { from: from.clone() });
        let release = apply(&unit.state, &Event::Release { from });
        let same = |done: Result<(State, Effects), Refusal>| {
            done.map(|(state, _)| assert_eq!(state, unit.state))
        };
        let (reserve, release) = (same(reserve), same(release));
        assert_eq!(reserve, release);
        reserve
    };
    let registered = Unit::of_three(0);
    for by in ["a", "x"] {
        assert_eq!(
            spc2(&registered, by),
            CONFLICT,
            "registered, nothing reserved"
        );
    }
    for kind in ReservationType::ALL {
        let unit = Unit::of_three(kind.code());
        assert_eq!(spc2(&unit, "a"), Ok(()));
        assert_eq!(spc2(&unit, "b").is_ok(), kind.for_registrants());
        assert_eq!(spc2(&unit, "x"), CONFLICT);
    }
}

#[test]
fn ten_thousand_registrants_are_preempted_cleared_and_told() {
    let count = 10_000usize;
    let names: Vec<_> = (0..count).map(|i| nexus(&format!("host-{i:05}"))).collect();
    let keys = names.iter().map(|n| (n.clone(), key(7))).collect();
    let mut unit = Unit::new();
    unit.state = State::from_parts(0, keys, None, false).unwrap();
    let mut timed = |what: &str, from: &ItNexus, command| {
        let start = std::time::Instant::now();
        let effects = unit.send(from.clone(), command).unwrap();
        let took = start.elapsed();
        let start = std::time::Instant::now();
        assert!(names.iter().all(|n| allowed(&unit.state, n) != 0));
        println!("{what}: {took:?}; the words of all: {:?}", start.elapsed());
        effects
    };
    timed("RESERVE", &names[0], reserve(7, 7));
    assert_eq!(
        timed("REGISTER", &nexus("z"), register(0, 8))
            .unit_attentions
            .len(),
        0
    );
    let effects = timed("RELEASE", &names[5], release(7, 7));
    assert_eq!(effects.unit_attentions.len(), count);
    let abort = ReserveOut::Preempt {
        key: key(8),
        victim: key(7),
        scope_type: lu(1),
        abort: true,
    };
    let effects = timed("PREEMPT AND ABORT", &nexus("z"), abort);
    assert_eq!(
        (effects.abort.len(), effects.unit_attentions.len()),
        (count, count)
    );
    assert_eq!(unit.state.registrants().len(), 1);
}
