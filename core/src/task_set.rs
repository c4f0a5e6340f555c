//! The task set: which commands may run (SAM-5 8.5 to 8.8), and what an auto contingent allegiance forbids (5.9).
//!
//! With TST 001b each I_T nexus has a set of its own. A nexus lives on one shard, so that set needs no lock. With TST
//! 000b all nexuses of a unit share one, under a lock that only such units take (`shared.rs`). The rules are the same:
//!
//! | arriving | runs when |
//! |---|---|
//! | HEAD OF QUEUE, ACA | at once |
//! | SIMPLE | no HEAD OF QUEUE or ACA command and no older ORDERED command is unfinished |
//! | ORDERED | no HEAD OF QUEUE or ACA command and no older command at all is unfinished |
//!
//! While an auto contingent allegiance (ACA) lasts, nothing dormant becomes enabled, and what was enabled is blocked:
//! it neither begins nor ends. What arrives is judged by [`Contingency::judge`].

use std::collections::VecDeque;

use crate::asc::Asc;
use crate::handler::Outcome;
use crate::nexus::NexusId;
use crate::sense::Sense;
use crate::shard::completion::CommandKey;
use crate::status::Status;

pub(crate) mod shared;
#[cfg(test)]
mod tests;

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
    /// Belongs to the auto contingent allegiance that its nexus established.
    Aca,
}

/// A command as it arrives at a task set in which an ACA may be in effect.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The nexus it comes by.
    pub nexus: NexusId,
    /// The attribute it came with.
    pub attribute: TaskAttribute,
    /// NACA of its CONTROL byte.
    pub naca: bool,
    /// It is PERSISTENT RESERVE OUT with service action PREEMPT AND ABORT, which may end the ACA.
    pub preempt_and_abort: bool,
    /// TMF_ONLY of the control mode page.
    pub tmf_only: bool,
}

/// How a command enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// There is no ACA.
    Ordinary,
    /// As the ACA command of the faulted nexus.
    Aca,
    /// Past the ACA of another nexus.
    Past,
}

/// The auto contingent allegiance of a task set: none, or one (SAM-5 5.9).
#[derive(Debug, Clone, Default)]
pub struct Contingency {
    faulted: Option<NexusId>,
    /// ACA commands in the set.
    commands: usize,
}

impl Contingency {
    /// The faulted nexus, while there is an ACA.
    pub fn faulted(&self) -> Option<NexusId> {
        self.faulted
    }

    /// Establishes an ACA of `nexus`. False when another nexus has one, which stays.
    pub fn establish(&mut self, nexus: NexusId) -> bool {
        self.faulted.get_or_insert(nexus) == &nexus
    }

    /// What becomes of a new command (SAM-5 5.9.3, 5.9.4; SPC-4 7.5.8).
    ///
    /// # Errors
    /// ACA ACTIVE or BUSY while an ACA lasts; INVALID MESSAGE ERROR for an ACA command without one.
    pub fn judge(&self, new: &Arrival) -> Result<Entrance, Outcome> {
        let is_aca = new.attribute == TaskAttribute::Aca;
        match self.faulted {
            None if is_aca => Err(Sense::illegal_request(Asc::INVALID_MESSAGE_ERROR).into()),
            None => Ok(Entrance::Ordinary),
            // One ACA command at a time (SAM-5 5.9.3).
            Some(faulted) if faulted == new.nexus => {
                if is_aca && !new.tmf_only && self.commands == 0 {
                    Ok(Entrance::Aca)
                } else {
                    Err(Outcome::status(Status::AcaActive))
                }
            }
            Some(_) if new.preempt_and_abort => Ok(Entrance::Past),
            Some(_) if new.naca => Err(Outcome::status(Status::AcaActive)),
            Some(_) => Err(Outcome::status(Status::Busy)),
        }
    }
}

/// See the module's head. `M` names a command.
#[derive(Debug, Clone)]
pub struct TaskSet<M = CommandKey> {
    dormant: VecDeque<(M, TaskAttribute)>,
    simple: usize,
    ordered: usize,
    /// HEAD OF QUEUE and ACA commands.
    head: usize,
    /// The ACA in effect.
    pub aca: Contingency,
}

impl<M> Default for TaskSet<M> {
    fn default() -> Self {
        Self {
            dormant: VecDeque::new(),
            simple: 0,
            ordered: 0,
            head: 0,
            aca: Contingency::default(),
        }
    }
}

impl<M: Clone + PartialEq> TaskSet<M> {
    /// Takes a command in that [`Contingency::judge`] let pass; true when it may run at once.
    pub fn admit(&mut self, member: impl FnOnce() -> M, attribute: TaskAttribute) -> bool {
        let may = match attribute {
            TaskAttribute::HeadOfQueue | TaskAttribute::Aca => true,
            _ => self.dormant.is_empty() && self.may_enable(attribute),
        };
        if may {
            self.enable(attribute);
        } else {
            self.dormant.push_back((member(), attribute));
        }
        may
    }

    /// An enabled command ended; the commands that may run now are pushed to `enabled`, oldest first.
    pub fn leave(&mut self, attribute: TaskAttribute, enabled: &mut VecDeque<M>) {
        if attribute == TaskAttribute::Aca {
            self.aca.commands = self.aca.commands.saturating_sub(1);
        }
        let count = self.count(attribute);
        *count = count.saturating_sub(1);
        if !self.dormant.is_empty() {
            self.promote(enabled);
        }
    }

    /// A dormant command was aborted. False when it was not dormant.
    pub fn remove(&mut self, member: &M, enabled: &mut VecDeque<M>) -> bool {
        let before = self.dormant.len();
        self.dormant.retain(|(m, _)| m != member);
        let removed = self.dormant.len() != before;
        if removed {
            self.promote(enabled);
        }
        removed
    }

    /// Ends the ACA if there is one of a nexus that `of` names: what may run now is pushed to `enabled`. True when there
    /// was; then blocked commands go on as well.
    pub fn end_aca(&mut self, of: impl FnOnce(NexusId) -> bool, enabled: &mut VecDeque<M>) -> bool {
        let ended = self.aca.faulted.is_some_and(of);
        if ended {
            self.aca.faulted = None;
            self.promote(enabled);
        }
        ended
    }

    /// Commands in the set, running or not.
    pub fn len(&self) -> usize {
        self.dormant.len() + self.simple + self.ordered + self.head
    }

    /// Whether the set holds no command.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn promote(&mut self, enabled: &mut VecDeque<M>) {
        while let Some((_, attribute)) = self.dormant.front() {
            let attribute = *attribute;
            if self.aca.faulted.is_some() || !self.may_enable(attribute) {
                break;
            }
            if let Some((member, _)) = self.dormant.pop_front() {
                self.enable(attribute);
                enabled.push_back(member);
            }
        }
    }

    fn enable(&mut self, attribute: TaskAttribute) {
        if attribute == TaskAttribute::Aca {
            self.aca.commands += 1;
        }
        *self.count(attribute) += 1;
    }

    /// Whether a command with nothing dormant before it may run.
    fn may_enable(&self, attribute: TaskAttribute) -> bool {
        match attribute {
            TaskAttribute::HeadOfQueue | TaskAttribute::Aca => true,
            TaskAttribute::Simple => self.head == 0 && self.ordered == 0,
            TaskAttribute::Ordered => self.head == 0 && self.ordered == 0 && self.simple == 0,
        }
    }

    fn count(&mut self, attribute: TaskAttribute) -> &mut usize {
        match attribute {
            TaskAttribute::Simple => &mut self.simple,
            TaskAttribute::Ordered => &mut self.ordered,
            TaskAttribute::HeadOfQueue | TaskAttribute::Aca => &mut self.head,
        }
    }
}
