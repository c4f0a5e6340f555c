//! The state machine against a second one: naive, over a list of rows, written from the tables of SPC-4 5.13 by
//! another road. After each step of a random history both agree on status, state, generation, unit attentions and
//! permissions.

use lunforge_core::cdb::CommandClass;
use lunforge_core::transport_id::TransportId;
use lunforge_pr::{
    Event, ItNexus, ListedId, Refusal, Registration, ReservationKey, ReserveOut, ScopeType,
    Setting, State, allowed, apply, takes_rights,
};
use proptest::prelude::*;

/// Initiators 0 to 3, target ports 1 and 2.
type Who = (u8, u16);

const INITIATORS: std::ops::Range<u8> = 0..4;
const PORTS: [u16; 2] = [1, 2];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Register {
        present: u64,
        new: u64,
        all: bool,
        aptpl: bool,
        listed: Option<(u8, u8)>,
    },
    Ignore {
        new: u64,
        all: bool,
        aptpl: bool,
    },
    Reserve {
        own: u64,
        kind: u8,
    },
    Release {
        own: u64,
        kind: u8,
    },
    Clear {
        own: u64,
    },
    Preempt {
        own: u64,
        victim: u64,
        kind: u8,
        abort: bool,
    },
    Move {
        own: u64,
        new: u64,
        unregister: bool,
        to: Who,
    },
    Reserve6,
    Release6,
    Lost,
    Reset,
    In,
}

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Good,
    Conflict,
    Check(u8, u8),
}
use End::{Check, Conflict, Good};

const BAD_LIST: End = Check(0x26, 0);
const BAD_CDB: End = Check(0x24, 0);

#[derive(Default, Clone, Debug)]
struct Model {
    /// One row for each registration.
    rows: Vec<(Who, u64)>,
    /// TYPE and, where there is one, the single holder.
    reservation: Option<(u8, Option<Who>)>,
    generation: u32,
    aptpl: bool,
    spc2: Option<Who>,
    /// What the last step told whom.
    told: Vec<(Who, u8)>,
    aborted: Vec<Who>,
}

impl Model {
    fn key(&self, who: Who) -> u64 {
        self.rows
            .iter()
            .find(|row| row.0 == who)
            .map_or(0, |row| row.1)
    }

    fn put(&mut self, who: Who, key: u64) {
        self.rows.retain(|row| row.0 != who);
        if key != 0 {
            self.rows.push((who, key));
        }
    }

    fn holders(&self) -> Vec<Who> {
        match self.reservation {
            None => vec![],
            Some((7 | 8, _)) => self.rows.iter().map(|row| row.0).collect(),
            Some((_, holder)) => holder.into_iter().collect(),
        }
    }

    fn tell_all_but(&mut self, me: Who, ascq: u8) {
        for (who, _) in self.rows.clone() {
            if who != me {
                self.told.push((who, ascq));
            }
        }
    }

    /// SPC-4 5.13.11.3: what leaving does to the reservation.
    fn leave(&mut self, leavers: &[Who], me: Who) {
        let Some((kind, holder)) = self.reservation else {
            self.rows.retain(|row| !leavers.contains(&row.0));
            return;
        };
        self.rows.retain(|row| !leavers.contains(&row.0));
        let over = match kind {
            7 | 8 => self.rows.is_empty(),
            _ => leavers.contains(&holder.unwrap()),
        };
        if over {
            self.reservation = None;
            if kind >= 5 {
                self.tell_all_but(me, 4);
            }
        }
    }

    fn step(&mut self, me: Who, step: Step) -> End {
        self.told.clear();
        self.aborted.clear();
        let persistent = !matches!(
            step,
            Step::Reserve6 | Step::Release6 | Step::Lost | Step::Reset
        );
        if persistent && self.spc2.is_some() {
            return Conflict;
        }
        let mine = self.key(me);
        let ports = |all: bool| if all { PORTS.to_vec() } else { vec![me.1] };
        match step {
            Step::Register {
                present,
                new,
                all,
                aptpl,
                listed,
            } => match (mine, present, new) {
                (0, 0, 0) => return Good,
                (0, 0, _) => {
                    let names = [Some(me.0), listed.map(|l| l.0), listed.map(|l| l.1)];
                    let new_rows: Vec<Who> = names
                        .into_iter()
                        .flatten()
                        .flat_map(|name| ports(all).into_iter().map(move |port| (name, port)))
                        .collect();
                    if new_rows.iter().any(|who| self.key(*who) != 0) {
                        return Conflict;
                    }
                    new_rows.into_iter().for_each(|who| self.put(who, new));
                    self.aptpl = aptpl;
                }
                _ if mine != present => return Conflict,
                _ if listed.is_some() => return BAD_LIST,
                (_, _, new) => {
                    let same: Vec<Who> = ports(all)
                        .into_iter()
                        .map(|p| (me.0, p))
                        .filter(|w| self.key(*w) == mine)
                        .collect();
                    if new == 0 {
                        self.leave(&same, me);
                    } else {
                        same.into_iter().for_each(|who| self.put(who, new));
                    }
                    self.aptpl = aptpl;
                }
            },
            Step::Ignore { new, all, aptpl } => {
                if (mine, new) == (0, 0) {
                    return Good;
                }
                let here: Vec<Who> = ports(all).into_iter().map(|p| (me.0, p)).collect();
                if new == 0 {
                    let same: Vec<Who> =
                        here.into_iter().filter(|w| self.key(*w) == mine).collect();
                    self.leave(&same, me);
                } else {
                    here.into_iter().for_each(|who| self.put(who, new));
                }
                self.aptpl = aptpl;
            }
            Step::Reserve { own, kind } => {
                if ![1, 3, 5, 6, 7, 8].contains(&kind) {
                    return BAD_CDB;
                }
                if mine == 0 || mine != own {
                    return Conflict;
                }
                match self.reservation {
                    None => self.reservation = Some((kind, (kind < 7).then_some(me))),
                    Some((present, _)) if present == kind && self.holders().contains(&me) => {}
                    Some(_) => return Conflict,
                }
                return Good;
            }
            Step::Release { own, kind } => {
                if ![1, 3, 5, 6, 7, 8].contains(&kind) {
                    return BAD_CDB;
                }
                if mine == 0 || mine != own {
                    return Conflict;
                }
                if self.holders().contains(&me) {
                    if self.reservation.unwrap().0 != kind {
                        return Check(0x26, 4);
                    }
                    self.reservation = None;
                    if kind >= 5 {
                        self.tell_all_but(me, 4);
                    }
                }
                return Good;
            }
            Step::Clear { own } => {
                if mine == 0 || mine != own {
                    return Conflict;
                }
                self.tell_all_but(me, 3);
                self.rows.clear();
                self.reservation = None;
            }
            Step::Preempt {
                own,
                victim,
                kind,
                abort,
            } => {
                if mine == 0 || mine != own {
                    return Conflict;
                }
                let all_registrants = matches!(self.reservation, Some((7 | 8, _)));
                let of_holder = match self.reservation {
                    Some((1..=6, Some(holder))) => self.key(holder) == victim,
                    _ => false,
                };
                if victim == 0 && !all_registrants {
                    return BAD_LIST;
                }
                if of_holder || (all_registrants && victim == 0) {
                    if ![1, 3, 5, 6, 7, 8].contains(&kind) {
                        return BAD_CDB;
                    }
                    let old_kind = self.reservation.unwrap().0;
                    for (who, key) in self.rows.clone() {
                        if who == me {
                            continue;
                        }
                        if victim == 0 || key == victim {
                            self.put(who, 0);
                            self.told.push((who, 5));
                        } else if old_kind != kind {
                            self.told.push((who, 4));
                        }
                    }
                    self.reservation = Some((kind, (kind < 7).then_some(me)));
                } else {
                    let gone: Vec<Who> = self
                        .rows
                        .iter()
                        .filter(|row| row.1 == victim)
                        .map(|row| row.0)
                        .collect();
                    if gone.is_empty() {
                        return Conflict;
                    }
                    for who in gone {
                        self.put(who, 0);
                        if who != me {
                            self.told.push((who, 5));
                        }
                    }
                    if self.rows.is_empty() {
                        self.reservation = None;
                    }
                }
                if abort {
                    self.aborted = self.told.iter().filter(|t| t.1 == 5).map(|t| t.0).collect();
                }
            }
            Step::Move {
                own,
                new,
                unregister,
                to,
            } => {
                if mine == 0 || mine != own {
                    return Conflict;
                }
                match self.reservation {
                    None => return BAD_CDB,
                    Some((1..=6, Some(holder))) if holder == me => {}
                    Some(_) => return Conflict,
                }
                if new == 0 || to == me {
                    return BAD_LIST;
                }
                self.put(to, new);
                self.reservation = self.reservation.map(|(kind, _)| (kind, Some(to)));
                if unregister {
                    self.put(me, 0);
                }
                self.aptpl = false;
            }
            Step::Reserve6 | Step::Release6 => {
                if !self.rows.is_empty() {
                    let holds = self.holders().contains(&me);
                    let shares = matches!(self.reservation, Some((5..=8, _))) && mine != 0;
                    return if holds || shares { Good } else { Conflict };
                }
                match (step, self.spc2) {
                    (Step::Reserve6, None) => self.spc2 = Some(me),
                    (Step::Reserve6, Some(holder)) if holder != me => return Conflict,
                    (Step::Release6, Some(holder)) if holder == me => self.spc2 = None,
                    _ => {}
                }
                return Good;
            }
            Step::Lost => {
                self.spc2 = self.spc2.filter(|holder| *holder != me);
                return Good;
            }
            Step::Reset => {
                self.spc2 = None;
                return Good;
            }
            Step::In => return Good,
        }
        self.generation += 1;
        Good
    }

    /// Whether a nexus may read, write, ask for mode pages, and test the unit.
    fn may(&self, me: Who) -> [bool; 4] {
        if let Some(holder) = self.spc2 {
            return [holder == me; 4];
        }
        let Some((kind, holder)) = self.reservation else {
            return [true; 4];
        };
        let full = if kind < 5 {
            holder == Some(me)
        } else {
            self.key(me) != 0
        };
        let reads = matches!(kind, 1 | 5 | 7);
        [full || reads, full, full || reads, true]
    }
}

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
