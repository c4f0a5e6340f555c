//! The rules against a naive reference, over every order of arrivals, ends, aborts and CLEAR ACA.

use super::TaskAttribute::{Aca, HeadOfQueue, Ordered, Simple};
use super::*;
use crate::transport_id::TransportId;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Not here yet.
    Outside,
    /// Answered when it arrived.
    Refused(Status),
    Dormant,
    Enabled,
    Ended,
}

#[derive(Debug, Clone, Copy)]
struct Planned {
    nexus: NexusId,
    attribute: TaskAttribute,
    naca: bool,
}

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive(usize),
    Good(usize),
    /// CHECK CONDITION.
    Check(usize),
    Abort(usize),
    ClearAca,
}

/// The reference: the whole history, over which the rules are applied afresh at every step.
#[derive(Debug, Clone)]
struct History {
    plan: Vec<Planned>,
    states: Vec<State>,
    faulted: Option<NexusId>,
}

impl History {
    fn in_set(&self, i: usize) -> bool {
        matches!(self.states[i], State::Dormant | State::Enabled)
    }

    fn any(&self, what: impl Fn(usize) -> bool) -> bool {
        (0..self.plan.len()).any(|i| self.in_set(i) && what(i))
    }

    /// SAM-5 8.6, for a command that is in the set.
    fn may_run(&self, i: usize) -> bool {
        let urgent = |j: usize| matches!(self.plan[j].attribute, HeadOfQueue | Aca);
        match self.plan[i].attribute {
            HeadOfQueue | Aca => true,
            Simple => {
                !self.any(urgent) && !self.any(|j| j < i && self.plan[j].attribute == Ordered)
            }
            Ordered => !self.any(urgent) && !self.any(|j| j < i),
        }
    }

    /// SAM-5 5.9.3 and 5.9.4, as a table.
    fn refusal(&self, i: usize) -> Option<Status> {
        let new = self.plan[i];
        let has_aca = self.any(|j| self.plan[j].attribute == Aca);
        match (self.faulted, new.attribute, new.naca) {
            (None, Aca, _) => Some(Status::CheckCondition),
            (None, ..) => None,
            (Some(f), Aca, _) if f == new.nexus && !has_aca => None,
            (Some(f), ..) if f == new.nexus => Some(Status::AcaActive),
            (Some(_), _, true) => Some(Status::AcaActive),
            (Some(_), _, false) => Some(Status::Busy),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Arrive(i) => {
                self.states[i] = self.refusal(i).map_or(State::Dormant, State::Refused);
                if self.states[i] == State::Refused(Status::CheckCondition) && self.plan[i].naca {
                    self.faulted = Some(self.plan[i].nexus);
                }
            }
            Step::Good(i) | Step::Abort(i) => self.states[i] = State::Ended,
            Step::Check(i) => {
                self.states[i] = State::Ended;
                if self.plan[i].naca {
                    self.faulted = Some(self.plan[i].nexus);
                } else if self.plan[i].attribute == Aca {
                    self.faulted = None;
                }
            }
            Step::ClearAca => {
                for i in 0..self.plan.len() {
                    if self.in_set(i) && self.plan[i].attribute == Aca {
                        self.states[i] = State::Ended;
                    }
                }
                self.faulted = None;
            }
        }
        // To a fixed point: nothing that becomes enabled here hinders what follows it.
        for i in 0..self.plan.len() {
            let lets = self.faulted.is_none() || self.plan[i].attribute == Aca;
            if self.states[i] == State::Dormant && lets && self.may_run(i) {
                self.states[i] = State::Enabled;
            }
        }
    }

    /// Whether an ACA keeps an enabled command from ending.
    fn blocked(&self, i: usize) -> bool {
        self.faulted.is_some() && self.plan[i].attribute != Aca
    }

    fn next_steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let arriving = self.states.iter().position(|s| *s == State::Outside);
        steps.extend(arriving.map(Step::Arrive));
        for (i, state) in self.states.iter().enumerate() {
            match state {
                State::Enabled if !self.blocked(i) => {
                    steps.push(Step::Good(i));
                    // Without NACA a CHECK CONDITION means something for the ACA command only.
                    if self.plan[i].naca || self.plan[i].attribute == Aca {
                        steps.push(Step::Check(i));
                    }
                }
                State::Dormant => steps.push(Step::Abort(i)),
                _ => {}
            }
        }
        if self.faulted.is_some() {
            steps.push(Step::ClearAca);
        }
        steps
    }
}

/// The set under test, driven as the pipeline does.
#[derive(Debug, Clone)]
struct Tested {
    set: TaskSet<usize>,
    states: Vec<State>,
}

impl Tested {
    fn step(&mut self, plan: &[Planned], step: Step) {
        let mut enabled = VecDeque::new();
        match step {
            Step::Arrive(i) => self.arrive(plan[i], i),
            Step::Good(i) => {
                self.states[i] = State::Ended;
                self.set.leave(plan[i].attribute, &mut enabled);
            }
            Step::Check(i) => {
                if plan[i].naca {
                    self.set.aca.establish(plan[i].nexus);
                } else if plan[i].attribute == Aca {
                    self.set.end_aca(|_| true, &mut enabled);
                }
                self.states[i] = State::Ended;
                self.set.leave(plan[i].attribute, &mut enabled);
            }
            Step::Abort(i) => {
                self.states[i] = State::Ended;
                assert!(self.set.remove(&i, &mut enabled));
            }
            // To the ACA command it is ABORT TASK (SAM-5 7.4).
            Step::ClearAca => {
                for (i, planned) in plan.iter().enumerate() {
                    if planned.attribute == Aca && self.states[i] == State::Enabled {
                        self.states[i] = State::Ended;
                        self.set.leave(Aca, &mut enabled);
                    }
                }
                assert!(self.set.end_aca(|_| true, &mut enabled));
            }
        }
        for i in enabled {
            assert_eq!(self.states[i], State::Dormant);
            self.states[i] = State::Enabled;
        }
    }

    fn arrive(&mut self, new: Planned, i: usize) {
        let Planned {
            nexus,
            attribute,
            naca,
        } = new;
        let judged = self.set.aca.judge(&Arrival {
            nexus,
            attribute,
            naca,
            preempt_and_abort: false,
            tmf_only: false,
        });
        self.states[i] = match judged {
            Ok(_) if self.set.admit(|| i, attribute) => State::Enabled,
            Ok(_) => State::Dormant,
            Err(outcome) => State::Refused(outcome.status),
        };
        if self.states[i] == State::Refused(Status::CheckCondition) && naca {
            self.set.aca.establish(nexus);
        }
    }
}

/// Every continuation of a history; returns how many steps that were.
fn explore(history: &History, tested: &Tested) -> usize {
    let mut steps = 0;
    for step in history.next_steps() {
        let (mut history, mut tested) = (history.clone(), tested.clone());
        history.step(step);
        tested.step(&history.plan, step);
        assert_eq!(tested.states, history.states, "{step:?} in {history:?}");
        assert_eq!(tested.set.aca.faulted(), history.faulted);
        let inside = (0..history.plan.len()).filter(|i| history.in_set(*i));
        assert_eq!(tested.set.len(), inside.count());
        steps += 1 + explore(&history, &tested);
    }
    steps
}

fn explore_plan(plan: Vec<Planned>) -> usize {
    let states = vec![State::Outside; plan.len()];
    let tested = Tested {
        set: TaskSet::default(),
        states: states.clone(),
    };
    let history = History {
        plan,
        states,
        faulted: None,
    };
    explore(&history, &tested)
}

/// All plans of `len` commands over an alphabet.
fn explore_all(alphabet: &[Planned], len: u32) -> usize {
    let plans = alphabet.len().pow(len);
    let digit = |n: usize, i: u32| alphabet[n / alphabet.len().pow(i) % alphabet.len()];
    (0..plans)
        .map(|n| explore_plan((0..len).map(|i| digit(n, i)).collect()))
        .sum()
}

/// Ids of nexuses, of which each engine has its own.
fn nexuses<const N: usize>() -> [NexusId; N] {
    let target = crate::Target::builder("iqn.2026-11.org.example:t")
        .build()
        .unwrap();
    let initiator = TransportId::iscsi("iqn.2026-11.org.example:a", [0; 6]).unwrap();
    let nexus = |_| {
        let name = crate::target::SessionName::new(initiator.device());
        crate::nexus::Nexus::new(target.clone(), initiator.clone(), name, target.luns()).id
    };
    std::array::from_fn(nexus)
}

fn alphabet(nexuses: &[NexusId], nacas: &[bool]) -> Vec<Planned> {
    let mut all = Vec::new();
    for &nexus in nexuses {
        for attribute in [Simple, Ordered, HeadOfQueue, Aca] {
            all.extend(nacas.iter().map(|&naca| Planned {
                nexus,
                attribute,
                naca,
            }));
        }
    }
    all
}

#[test]
fn every_order_of_four_commands_follows_sam_8_6() {
    let alphabet: Vec<_> = alphabet(&nexuses::<1>(), &[false])
        .into_iter()
        .filter(|planned| planned.attribute != Aca)
        .collect();
    let steps = explore_all(&alphabet, 4);
    assert!(steps > 10_000, "the exploration explored nothing: {steps}");
}

#[test]
fn every_order_of_three_commands_and_their_aca_in_a_set_of_one_nexus() {
    let steps = explore_all(&alphabet(&nexuses::<1>(), &[false, true]), 3);
    assert!(steps > 10_000, "the exploration explored nothing: {steps}");
}

#[test]
fn every_order_of_three_commands_and_their_aca_in_a_set_of_two_nexuses() {
    let steps = explore_all(&alphabet(&nexuses::<2>(), &[false, true]), 3);
    assert!(steps > 50_000, "the exploration explored nothing: {steps}");
}

/// As the ACA's tables need: the fault, two of any kind behind it.
#[test]
fn four_commands_of_which_the_first_faults_in_a_set_of_two_nexuses() {
    let [a, b] = nexuses();
    let first = Planned {
        nexus: a,
        attribute: Simple,
        naca: true,
    };
    let letters = [
        (a, Aca, true),
        (a, Aca, false),
        (a, Ordered, false),
        (b, Simple, true),
    ];
    let letters = letters.map(|(nexus, attribute, naca)| Planned {
        nexus,
        attribute,
        naca,
    });
    let mut steps = 0;
    for n in 0..64usize {
        let rest = (0..3).map(|i| letters[n / 4usize.pow(i) % 4]);
        steps += explore_plan(std::iter::once(first).chain(rest).collect());
    }
    assert!(steps > 10_000, "the exploration explored nothing: {steps}");
}

#[test]
fn with_tmf_only_not_even_the_aca_command_enters() {
    let [a] = nexuses();
    let mut aca = Contingency::default();
    assert!(aca.establish(a));
    let mut new = Arrival {
        nexus: a,
        attribute: Aca,
        naca: true,
        preempt_and_abort: false,
        tmf_only: false,
    };
    assert_eq!(aca.judge(&new), Ok(Entrance::Aca));
    new.tmf_only = true;
    assert_eq!(aca.judge(&new), Err(Outcome::status(Status::AcaActive)));
}

#[test]
fn only_preempt_and_abort_of_another_nexus_comes_past_an_aca() {
    let [a, b] = nexuses();
    let mut aca = Contingency::default();
    assert!(aca.establish(a));
    assert!(!aca.establish(b), "one ACA at a time");
    let new = |nexus, naca, preempt_and_abort| Arrival {
        nexus,
        attribute: Simple,
        naca,
        preempt_and_abort,
        tmf_only: false,
    };
    assert_eq!(aca.judge(&new(b, false, true)), Ok(Entrance::Past));
    let answers = [(a, false, true), (b, true, false), (b, false, false)]
        .map(|(nexus, naca, past)| aca.judge(&new(nexus, naca, past)).map_err(|o| o.status));
    let expected = [Status::AcaActive, Status::AcaActive, Status::Busy].map(Err);
    assert_eq!(answers, expected);
}

#[test]
fn simple_commands_do_not_wait_for_each_other() {
    let mut set = TaskSet::default();
    assert!((0..100).all(|i| set.admit(|| i, Simple)));
    assert_eq!(set.len(), 100);
}

#[test]
fn an_aborted_ordered_command_lets_the_younger_ones_go() {
    let mut set = TaskSet::default();
    let mut enabled = VecDeque::new();
    assert!(set.admit(|| 0, Simple));
    assert!(!set.admit(|| 1, Ordered));
    assert!(!set.admit(|| 2, Simple));
    assert!(set.remove(&1, &mut enabled));
    assert_eq!(enabled, [2]);
}
