//! Runs of changes: all of them, or none.

use super::companions::Companions;
use super::ports::Ports;
use super::together;
use super::{Change, Failure, Machine, Model, Refusal};
use crate::tree::Path;

/// Why a run did not come to its end. What was done of it has been taken back.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The model does not take a change; nothing was done.
    #[error("cannot {change}: {refusal}")]
    Refused {
        /// Its place in the run, from 0.
        at: usize,
        /// Which.
        change: Box<Change>,
        /// Why not.
        #[source]
        refusal: Refusal,
    },
    /// The machine failed; the changes before were taken back.
    #[error("cannot {change}: {failure}")]
    Failed {
        /// Its place in the run, from 0.
        at: usize,
        /// Which.
        change: Box<Change>,
        /// Why.
        #[source]
        failure: Failure,
        /// What could not be taken back, and why not: there the machine differs from the model.
        stuck: Vec<(Change, Failure)>,
    },
}

/// A change of a run, or a companion of one, that the model took.
#[derive(Debug)]
struct Step {
    /// The place in the run, from 0.
    at: usize,
    change: Change,
    inverse: Change,
}

/// The model and the machine, which agree between two runs.
#[derive(Debug)]
pub struct Manager<M> {
    model: Model,
    machine: M,
}

impl<M: Machine> Manager<M> {
    /// A machine that stands as `model` says.
    pub fn new(model: Model, machine: M) -> Self {
        Self { model, machine }
    }

    /// What is configured.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What runs.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// As [`Manager::machine`], for what is no change.
    pub fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    /// What runs, no longer managed.
    pub fn into_machine(self) -> M {
        self.machine
    }

    /// Does all the changes, in their order, or none. With them is done what goes with them by itself: a disk that is made
    /// becomes a LUN of the copy manager, unless the run makes it one, and one that is removed ceases to be one; a target
    /// that is enabled without a relative target port identifier gets the lowest that is free.
    ///
    /// The machine is given the changes with attributes under their own names and values in the form in which they are
    /// kept; what is the default is left out.
    ///
    /// Returns what was done, as the machine was given it: a model like this one's before the run that takes these changes
    /// is like this one's after it.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn run(&mut self, changes: &[Change]) -> Result<Vec<Change>, RunError> {
        let mut steps = Vec::with_capacity(changes.len());
        if let Err(error) = self.take(changes, &mut steps) {
            self.take_back_model(&steps);
            return Err(error);
        }
        self.machine.begin();
        for (done, step) in steps.iter().enumerate() {
            if let Err(failure) = self.machine.perform(&step.change, &self.model) {
                self.take_back_model(&steps);
                let stuck = self.take_back_machine(steps.get(..done).unwrap_or_default());
                return Err(RunError::Failed {
                    at: step.at,
                    change: Box::new(step.change.clone()),
                    failure,
                    stuck,
                });
            }
        }
        Ok(steps.into_iter().map(|step| step.change).collect())
    }

    /// Has the model take what the machine did without being told, so that they agree again.
    pub fn adopt(&mut self, done: &[Change]) {
        for change in done {
            if let Err(refusal) = self.model.apply(change) {
                tracing::error!(%change, %refusal, "the model does not take what was done");
            }
        }
    }

    /// Whether the model takes a run; nothing is done.
    ///
    /// # Errors
    /// [`RunError::Refused`].
    pub fn rehearse(&mut self, changes: &[Change]) -> Result<(), RunError> {
        let mut steps = Vec::with_capacity(changes.len());
        let taken = self.take(changes, &mut steps);
        self.take_back_model(&steps);
        taken
    }

    /// Has the model take a run; what it took before an error is in `steps`.
    fn take(&mut self, run: &[Change], steps: &mut Vec<Step>) -> Result<(), RunError> {
        let companions = Companions::of(run);
        let ports = Ports::of(run);
        let mut done = 0;
        for (at, change) in run.iter().enumerate() {
            if at < done {
                continue;
            }
            let rest = run.get(at..).unwrap_or_default();
            let length = together::length(&self.model, rest);
            if length > 1 {
                done = at + length;
                let step = rest.get(..length).unwrap_or_default();
                steps.push(self.reopen(at, change.path(), step)?);
                continue;
            }
            for before in Companions::before(&self.model, change) {
                steps.push(self.step(at, &before)?);
            }
            let canonical = self.model.canonical(change).map_err(refused(at, change))?;
            if let Some(before) = ports.before(&self.model, &canonical) {
                steps.push(self.step(at, &before)?);
            }
            let complete = ports.complete(&self.model, canonical);
            let inverse = self.model.apply(&complete).map_err(refused(at, change))?;
            steps.push(Step {
                at,
                change: complete,
                inverse,
            });
            for after in companions.after(&self.model, change) {
                steps.push(self.step(at, &after)?);
            }
        }
        for Step { at, change, .. } in &*steps {
            self.model.check(change).map_err(refused(*at, change))?;
        }
        Ok(())
    }

    /// Sets several attributes of a device in one step: it is opened anew with all of them.
    fn reopen(&mut self, at: usize, path: &Path, run: &[Change]) -> Result<Step, RunError> {
        let mut taken = Vec::with_capacity(run.len());
        let all = run.iter().zip(at..).try_for_each(|(change, at)| {
            taken.push(self.step(at, change)?);
            Ok(())
        });
        let reopen = together::reopen(&self.model, path);
        self.take_back_model(&taken);
        all?;
        self.step(at, &reopen)
    }

    fn step(&mut self, at: usize, change: &Change) -> Result<Step, RunError> {
        let canonical = self.model.canonical(change).map_err(refused(at, change))?;
        let inverse = self.model.apply(&canonical).map_err(refused(at, change))?;
        Ok(Step {
            at,
            change: canonical,
            inverse,
        })
    }

    /// What takes a change back is always taken by a model that has just taken that change.
    fn take_back_model(&mut self, steps: &[Step]) {
        for Step { inverse, .. } in steps.iter().rev() {
            if let Err(refusal) = self.model.apply(inverse) {
                tracing::error!(%inverse, %refusal, "a change of the model could not be taken back");
            }
        }
    }

    fn take_back_machine(&mut self, steps: &[Step]) -> Vec<(Change, Failure)> {
        let mut stuck = Vec::new();
        for Step { inverse, .. } in steps.iter().rev() {
            if let Err(failure) = self.machine.take_back(inverse, &self.model) {
                tracing::error!(%inverse, %failure, "a change could not be taken back");
                stuck.push((inverse.clone(), failure));
            }
        }
        stuck
    }
}

fn refused(at: usize, change: &Change) -> impl FnOnce(Refusal) -> RunError {
    let change = Box::new(change.clone());
    move |refusal| RunError::Refused {
        at,
        change,
        refusal,
    }
}
