//! Who holds: RESERVE, RELEASE, CLEAR, PREEMPT, leaving, and the commands of SPC-2 beside them.

use super::*;

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
        let old = unit.state.clone();
        let effects = unit.send(from.clone(), command).unwrap();
        let gate = takes_rights(&old, &unit.state, &effects.abort);
        let took = start.elapsed();
        let start = std::time::Instant::now();
        assert!(names.iter().all(|n| allowed(&unit.state, n) != 0));
        let words = start.elapsed();
        println!("{what}: {took:?}, gate {gate}; the words of all: {words:?}");
        effects
    };
    timed("RESERVE", &names[0], reserve(7, 7));
    assert_eq!(
        timed("REGISTER", &nexus("z"), register(0, 8))
            .unit_attentions
            .len(),
        0
    );
    timed("PREEMPT", &nexus("z"), preempt(8, 8, 7));
    timed("REGISTER", &nexus("z"), register(0, 8));
    let effects = timed("RELEASE", &names[5], release(7, 7));
    assert_eq!(effects.unit_attentions.len(), count);
    timed("RESERVE", &nexus("z"), reserve(8, 5));
    let abort = ReserveOut::Preempt {
        key: key(8),
        victim: key(7),
        scope_type: lu(5),
        abort: true,
    };
    let effects = timed("PREEMPT AND ABORT", &nexus("z"), abort);
    assert_eq!(
        (effects.abort.len(), effects.unit_attentions.len()),
        (count, count)
    );
    assert_eq!(unit.state.registrants().len(), 1);
}
