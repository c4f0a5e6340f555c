//! Runs of changes: all of them, or none.

use super::{Change, Failure, Machine, Model, Refusal};

/// Why a run did not come to its end. What was done of it has been taken back.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The model does not take a change; nothing was done.
    #[error("cannot {change}: {refusal}")]
    Refused {
        /// Its place in the run, from 0.
        at: usize,
        /// Which.
        change: Change,
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
        change: Change,
        /// Why.
        #[source]
        failure: Failure,
        /// What could not be taken back, and why not: there the machine differs from the model.
        stuck: Vec<(Change, Failure)>,
    },
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

    /// Does all the changes, in their order, or none.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn run(&mut self, changes: &[Change]) -> Result<(), RunError> {
        let mut back = Vec::with_capacity(changes.len());
        for (at, change) in changes.iter().enumerate() {
            match self.model.apply(change) {
                Ok(inverse) => back.push(inverse),
                Err(refusal) => {
                    self.take_back_model(&back);
                    let change = change.clone();
                    return Err(RunError::Refused {
                        at,
                        change,
                        refusal,
                    });
                }
            }
        }
        for (at, change) in changes.iter().enumerate() {
            if let Err(refusal) = self.model.check(change) {
                self.take_back_model(&back);
                let change = change.clone();
                return Err(RunError::Refused {
                    at,
                    change,
                    refusal,
                });
            }
        }
        for (at, change) in changes.iter().enumerate() {
            if let Err(failure) = self.machine.perform(change, &self.model) {
                self.take_back_model(&back);
                let stuck = self.take_back_machine(back.get(..at).unwrap_or_default());
                let change = change.clone();
                return Err(RunError::Failed {
                    at,
                    change,
                    failure,
                    stuck,
                });
            }
        }
        Ok(())
    }

    /// What takes a change back is always taken by a model that has just taken that change.
    fn take_back_model(&mut self, back: &[Change]) {
        for inverse in back.iter().rev() {
            if let Err(refusal) = self.model.apply(inverse) {
                tracing::error!(%inverse, %refusal, "a change of the model could not be taken back");
            }
        }
    }

    fn take_back_machine(&mut self, back: &[Change]) -> Vec<(Change, Failure)> {
        let mut stuck = Vec::new();
        for inverse in back.iter().rev() {
            if let Err(failure) = self.machine.perform(inverse, &self.model) {
                tracing::error!(%inverse, %failure, "a change could not be taken back");
                stuck.push((inverse.clone(), failure));
            }
        }
        stuck
    }
}
