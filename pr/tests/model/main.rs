//! The state machine against a second one: naive, over a list of rows, written from the tables of SPC-4 5.13 by
//! another road. After each step of a random history both agree on status, state, generation, unit attentions and
//! permissions.

mod oracle;

use lunforge_core::cdb::CommandClass;
use lunforge_core::transport_id::TransportId;
use lunforge_pr::{
    Event, ItNexus, ListedId, Refusal, Registration, ReservationKey, ReserveOut, ScopeType,
    Setting, State, allowed, apply, takes_rights,
};
use oracle::{Check, Conflict, Good, INITIATORS, Model, PORTS, Step, Who};
use proptest::prelude::*;

fn initiator(name: u8) -> TransportId {
    TransportId::iscsi("iqn.2026-11.org.example:model", [0, 0, 0, 0, 0, name]).unwrap()
}

fn nexus(who: Who) -> ItNexus {
    ItNexus::new(initiator(who.0), who.1)
}

fn who(nexus: &ItNexus) -> Who {
    match &*nexus.initiator {
        TransportId::IscsiPort(_, isid) => (isid[5], nexus.port),
        other => panic!("{other}"),
    }
}

fn event(me: Who, step: Step) -> Event {
    let from = nexus(me);
    let key = ReservationKey;
    let lu = |kind| ScopeType { scope: 0, kind };
    let listed = |name| ListedId {
        offset: 28,
        id: initiator(name),
    };
    let registration = |new, all_target_ports, aptpl| Registration {
        key: key(new),
        all_target_ports,
        aptpl,
    };
    let command = match step {
        Step::Register {
            present,
            new,
            all,
            aptpl,
            listed: names,
        } => ReserveOut::Register {
            key: key(present),
            registration: registration(new, all, aptpl),
            initiators: names.map(|(a, b)| vec![listed(a), listed(b)]),
        },
        Step::Ignore { new, all, aptpl } => {
            ReserveOut::RegisterAndIgnoreExistingKey(registration(new, all, aptpl))
        }
        Step::Reserve { own, kind } => ReserveOut::Reserve {
            key: key(own),
            scope_type: lu(kind),
        },
        Step::Release { own, kind } => ReserveOut::Release {
            key: key(own),
            scope_type: lu(kind),
        },
        Step::Clear { own } => ReserveOut::Clear { key: key(own) },
        Step::Preempt {
            own,
            victim,
            kind,
            abort,
        } => ReserveOut::Preempt {
            key: key(own),
            victim: key(victim),
            scope_type: lu(kind),
            abort,
        },
        Step::Move {
            own,
            new,
            unregister,
            to,
        } => ReserveOut::RegisterAndMove {
            key: key(own),
            new_key: key(new),
            unregister,
            aptpl: false,
            port: to.1,
            initiator: listed(to.0),
        },
        Step::Reserve6 => return Event::Reserve { from },
        Step::Release6 => return Event::Release { from },
        Step::Lost => return Event::NexusLoss { nexus: from },
        Step::Reset => return Event::Reset,
        Step::In => return Event::ReserveIn,
    };
    let setting = Setting {
        ports: PORTS.to_vec(),
        connected: Vec::new(),
        aptpl_capable: true,
    };
    Event::ReserveOut {
        from,
        command,
        setting,
    }
}

fn agree(state: &State, model: &Model) -> Result<(), TestCaseError> {
    let registered: Vec<_> = state
        .registrants()
        .iter()
        .map(|(n, k)| (who(n), k.0))
        .collect();
    let mut rows = model.rows.clone();
    rows.sort_unstable();
    prop_assert_eq!(registered, rows);
    let reservation = state
        .reservation()
        .map(|r| (r.kind().code(), r.holder().map(who)));
    prop_assert_eq!(reservation, model.reservation);
    prop_assert_eq!(state.generation(), model.generation);
    prop_assert_eq!(state.aptpl(), model.aptpl);
    prop_assert_eq!(state.reserved_by().map(who), model.spc2);
    for me in INITIATORS.flat_map(|name| PORTS.map(|port| (name, port))) {
        prop_assert_eq!(state.holds(&nexus(me)), model.holders().contains(&me));
        let word = allowed(state, &nexus(me));
        let classes = [
            CommandClass::READ,
            CommandClass::WRITE,
            CommandClass::MODE_SENSE,
            CommandClass::TEST_UNIT_READY,
        ];
        prop_assert_eq!(
            classes.map(|c| word & c.bits() != 0),
            model.may(me),
            "{:?}",
            me
        );
    }
    Ok(())
}

/// Whoever loses a right to commands that enter the gate was to be expected to, victims of an abort apart.
fn warned(old: &State, new: &State, victims: &[ItNexus]) -> Result<(), TestCaseError> {
    let outside = [
        CommandClass::RESERVE,
        CommandClass::RELEASE,
        CommandClass::PR_IN,
        CommandClass::PR_OUT,
    ];
    let outside = outside.into_iter().fold(0, |all, class| all | class.bits());
    for me in (0..5u8).flat_map(|name| PORTS.map(|port| nexus((name, port)))) {
        let lost = allowed(old, &me) & !allowed(new, &me) & !outside != 0;
        prop_assert!(!lost || takes_rights(old, new, &[]));
        prop_assert!(!lost || victims.contains(&me) || takes_rights(old, new, victims));
    }
    Ok(())
}

/// Keys are few, and one's own is likelier than chance, so that histories get somewhere.
fn step() -> impl Strategy<Value = (Who, Step)> {
    let who = || (INITIATORS, prop::sample::select(&PORTS[..]));
    let key = || 0u64..4;
    let kind = || prop::sample::select(vec![1u8, 3, 5, 6, 7, 8, 1, 5, 7, 2]);
    let flag = any::<bool>;
    let listed = prop::option::weighted(0.2, (INITIATORS, INITIATORS));
    let register = (
        prop_oneof![Just(0u64), key()],
        key(),
        flag(),
        flag(),
        listed,
    )
        .prop_map(|(present, new, all, aptpl, listed)| Step::Register {
            present,
            new,
            all,
            aptpl,
            listed,
        });
    let steps = prop_oneof![
        5 => register,
        4 => (key(), prop::bool::weighted(0.3), flag()).prop_map(|(new, all, aptpl)| Step::Ignore { new, all, aptpl }),
        6 => (1u64..4, kind()).prop_map(|(own, kind)| Step::Reserve { own, kind }),
        3 => (1u64..4, kind()).prop_map(|(own, kind)| Step::Release { own, kind }),
        1 => (1u64..4).prop_map(|own| Step::Clear { own }),
        5 => (1u64..4, key(), kind(), flag())
            .prop_map(|(own, victim, kind, abort)| Step::Preempt { own, victim, kind, abort }),
        3 => (1u64..4, key(), flag(), who())
            .prop_map(|(own, new, unregister, to)| Step::Move { own, new, unregister, to }),
        1 => Just(Step::Reserve6),
        1 => Just(Step::Release6),
        1 => Just(Step::Lost),
        1 => Just(Step::Reset),
        1 => Just(Step::In),
    ];
    (who(), steps)
}

/// A step of a nexus that knows its key, more often than not.
fn informed(state: &State, me: Who, step: Step, luck: u8) -> Step {
    if luck < 64 {
        return step;
    }
    let mine = state.key_of(&nexus(me)).map_or(0, |key| key.0);
    match step {
        Step::Register {
            new,
            all,
            aptpl,
            listed,
            ..
        } => Step::Register {
            present: mine,
            new,
            all,
            aptpl,
            listed: listed.filter(|_| mine == 0),
        },
        Step::Reserve { kind, .. } => Step::Reserve { own: mine, kind },
        Step::Release { kind, .. } => {
            let present = state.reservation().map_or(kind, |r| r.kind().code());
            Step::Release {
                own: mine,
                kind: present,
            }
        }
        Step::Clear { .. } => Step::Clear { own: mine },
        Step::Preempt {
            victim,
            kind,
            abort,
            ..
        } => Step::Preempt {
            own: mine,
            victim,
            kind,
            abort,
        },
        Step::Move {
            new,
            unregister,
            to,
            ..
        } => Step::Move {
            own: mine,
            new,
            unregister,
            to,
        },
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]
    #[test]
    fn both_agree_after_every_step(history in prop::collection::vec((step(), any::<u8>()), 1..60)) {
        let (mut state, mut model) = (State::default(), Model::default());
        for ((me, drawn), luck) in history {
            let step = informed(&state, me, drawn, luck);
            let end = model.step(me, step);
            match apply(&state, &event(me, step)) {
                Ok((new, effects)) => {
                    prop_assert_eq!(end, Good, "{:?} {:?}", me, step);
                    let mut told: Vec<_> = effects.unit_attentions.iter().map(|(n, a)| (who(n), a.ascq)).collect();
                    let mut aborted: Vec<_> = effects.abort.iter().map(who).collect();
                    for list in [&mut told, &mut model.told] {
                        list.sort_unstable();
                    }
                    aborted.sort_unstable();
                    model.aborted.sort_unstable();
                    prop_assert_eq!(told, model.told.clone(), "{:?} {:?}", me, step);
                    prop_assert_eq!(aborted, model.aborted.clone());
                    warned(&state, &new, &effects.abort)?;
                    state = new;
                }
                Err(Refusal::Conflict) => prop_assert_eq!(end, Conflict, "{:?} {:?}", me, step),
                Err(Refusal::Check(sense)) => {
                    prop_assert_eq!(end, Check(sense.asc.asc, sense.asc.ascq), "{:?} {:?}", me, step);
                }
            }
            agree(&state, &model)?;
        }
    }
}
