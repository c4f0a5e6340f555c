//! A machine that is a model of its own: what it was told to do is what it is.

use lunforge_daemon::manage::{Change, Failure, Machine, Manager, Model};
use lunforge_daemon::tree::{Path, Tree};

#[derive(Debug)]
pub(crate) struct Double {
    pub(crate) model: Model,
    /// Calls until one fails.
    pub(crate) fails_in: Option<usize>,
    pub(crate) calls: usize,
    /// What it was after each change, if that is wanted.
    pub(crate) trace: Option<Vec<Tree>>,
}

impl Double {
    pub(crate) fn new(model: Model) -> Self {
        Self {
            model,
            fails_in: None,
            calls: 0,
            trace: None,
        }
    }
}

impl Machine for Double {
    fn perform(&mut self, change: &Change, _: &Model) -> Result<(), Failure> {
        self.calls += 1;
        match self.fails_in {
            Some(0) => {
                self.fails_in = None;
                Err(Failure("the machine cannot".to_owned()))
            }
            left => {
                self.fails_in = left.map(|left| left - 1);
                let done = self.model.apply(change).map(drop);
                if let Some(trace) = &mut self.trace {
                    trace.push(self.model.tree().clone());
                }
                done.map_err(|refusal| Failure(refusal.to_string()))
            }
        }
    }

    fn trigger(&mut self, _: &Path, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    fn read(&self, _: &Path, _: &str) -> Option<String> {
        None
    }
}

/// A manager of a double that both are as this model.
pub(crate) fn manager(model: &Model) -> Manager<Double> {
    Manager::new(model.clone(), Double::new(model.clone()))
}
