//! The task set of one I_T_L nexus: which commands may run (SAM-5 8.5 to 8.7).
//!
//! TST is 001b, one task set per I_T nexus: a nexus lives on one shard, so a task set needs no lock.
//!
//! | arriving | runs when |
//! |---|---|
//! | HEAD OF QUEUE | at once |
//! | SIMPLE | no HEAD OF QUEUE command and no older ORDERED command is unfinished |
//! | ORDERED | no HEAD OF QUEUE command and no older command at all is unfinished |

use std::collections::VecDeque;

use crate::shard::completion::CommandKey;

/// How a command is ordered against the others of its task set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskAttribute {
    /// No order asked for. An untagged command counts as one.
    #[default]
    Simple,
    /// After everything older, before everything younger.
    Ordered,
    /// Before everything that does not run yet.
    HeadOfQueue,
    /// Belongs to an auto contingent allegiance, of which there is none.
    Aca,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct TaskSet {
    dormant: VecDeque<(CommandKey, TaskAttribute)>,
    simple: usize,
    ordered: usize,
    head: usize,
}

impl TaskSet {
    /// Takes a command in; true when it may run at once.
    pub fn admit(&mut self, key: CommandKey, attribute: TaskAttribute) -> bool {
        let may = match attribute {
            TaskAttribute::HeadOfQueue => true,
            _ => self.dormant.is_empty() && self.may_enable(attribute),
        };
        if may {
            *self.count(attribute) += 1;
        } else {
            self.dormant.push_back((key, attribute));
        }
        may
    }

    /// An enabled command ended; the commands that may run now are pushed to `enabled`, oldest first.
    pub fn leave(&mut self, attribute: TaskAttribute, enabled: &mut VecDeque<CommandKey>) {
        let count = self.count(attribute);
        *count = count.saturating_sub(1);
        self.promote(enabled);
    }

    /// A dormant command was aborted. False when it was not dormant.
    pub fn remove(&mut self, key: CommandKey, enabled: &mut VecDeque<CommandKey>) -> bool {
        let before = self.dormant.len();
        self.dormant.retain(|(k, _)| *k != key);
        let removed = self.dormant.len() != before;
        if removed {
            self.promote(enabled);
        }
        removed
    }

    /// Commands in the set, running or not.
    pub fn len(&self) -> usize {
        self.dormant.len() + self.simple + self.ordered + self.head
    }

    /// Whether the set holds no command.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn promote(&mut self, enabled: &mut VecDeque<CommandKey>) {
        while let Some(&(key, attribute)) = self.dormant.front() {
            if !self.may_enable(attribute) {
                break;
            }
            self.dormant.pop_front();
            *self.count(attribute) += 1;
            enabled.push_back(key);
        }
    }

    /// Whether a command with nothing dormant before it may run.
    fn may_enable(&self, attribute: TaskAttribute) -> bool {
        match attribute {
            TaskAttribute::HeadOfQueue => true,
            TaskAttribute::Simple | TaskAttribute::Aca => self.head == 0 && self.ordered == 0,
            TaskAttribute::Ordered => self.head == 0 && self.ordered == 0 && self.simple == 0,
        }
    }

    fn count(&mut self, attribute: TaskAttribute) -> &mut usize {
        match attribute {
            TaskAttribute::Simple | TaskAttribute::Aca => &mut self.simple,
            TaskAttribute::Ordered => &mut self.ordered,
            TaskAttribute::HeadOfQueue => &mut self.head,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TaskAttribute::{HeadOfQueue, Ordered, Simple};

    fn key(index: usize) -> CommandKey {
        CommandKey {
            index: u32::try_from(index).unwrap(),
            generation: 0,
        }
    }

    /// The rules of the table above, applied afresh to the whole history: the reference.
    fn may_run(history: &[(TaskAttribute, State)], i: usize) -> bool {
        let unfinished = |j: usize| history[j].1 != State::Ended;
        let head =
            (0..history.len()).any(|j| j != i && history[j].0 == HeadOfQueue && unfinished(j));
        match history[i].0 {
            HeadOfQueue => true,
            Ordered => !head && (0..i).all(|j| !unfinished(j)),
            _ => !head && (0..i).all(|j| !(history[j].0 == Ordered && unfinished(j))),
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum State {
        Dormant,
        Running,
        Ended,
    }

    /// Every arrival order of up to five commands, and at every point every running command may end next.
    fn explore(set_up: &[TaskAttribute], arrived: usize, log: &[usize]) -> usize {
        let mut set = TaskSet::default();
        let mut history: Vec<(TaskAttribute, State)> = Vec::new();
        let mut enabled = VecDeque::new();
        let mut steps = 0;
        // A log entry is either the next arrival (usize::MAX) or the index of the command that ends.
        for &what in log {
            steps += 1;
            if what == usize::MAX {
                let i = history.len();
                history.push((set_up[i], State::Dormant));
                if set.admit(key(i), set_up[i]) {
                    history[i].1 = State::Running;
                    assert!(may_run(&history, i), "{history:?} lets {i} run too early");
                }
            } else {
                history[what].1 = State::Ended;
                set.leave(history[what].0, &mut enabled);
                while let Some(k) = enabled.pop_front() {
                    let i = k.index as usize;
                    history[i].1 = State::Running;
                    assert!(may_run(&history, i), "{history:?} lets {i} run too early");
                }
            }
            for i in 0..history.len() {
                if history[i].1 == State::Running {
                    continue;
                }
                let dormant = history[i].1 == State::Dormant;
                assert!(
                    !(dormant && may_run(&history, i)),
                    "{history:?} holds {i} back for nothing"
                );
            }
        }
        let mut total = steps;
        if arrived < set_up.len() {
            total += explore(set_up, arrived + 1, &[log, &[usize::MAX]].concat());
        }
        for (i, (_, state)) in history.iter().enumerate() {
            if *state == State::Running {
                assert!(log.len() < 2 * set_up.len());
                total += explore(set_up, arrived, &[log, &[i]].concat());
            }
        }
        total
    }

    #[test]
    fn every_order_of_four_commands_follows_sam_8_6() {
        let attributes = [Simple, Ordered, HeadOfQueue];
        let mut total = 0;
        for n in 0..81usize {
            let set_up: Vec<_> = (0..4).map(|i| attributes[n / 3usize.pow(i) % 3]).collect();
            total += explore(&set_up, 0, &[]);
        }
        assert!(total > 10_000, "the exploration explored nothing: {total}");
    }

    #[test]
    fn simple_commands_do_not_wait_for_each_other() {
        let mut set = TaskSet::default();
        assert!((0..100).all(|i| set.admit(key(i), Simple)));
        assert_eq!(set.len(), 100);
    }

    #[test]
    fn an_aborted_ordered_command_lets_the_younger_ones_go() {
        let mut set = TaskSet::default();
        let mut enabled = VecDeque::new();
        assert!(set.admit(key(0), Simple));
        assert!(!set.admit(key(1), Ordered));
        assert!(!set.admit(key(2), Simple));
        assert!(set.remove(key(1), &mut enabled));
        assert_eq!(enabled, [key(2)]);
    }
}
