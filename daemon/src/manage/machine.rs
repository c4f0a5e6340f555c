//! What a change is done to.

use super::{Change, Model};
use crate::tree::Path;

/// Why the machine could not do what the model allows: one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// What is managed: the running target, or a double. Its calls may block, each for a bounded time.
pub trait Machine {
    /// A run of changes begins.
    fn begin(&mut self) {}

    /// Does a change. `model` has it already, and the others of the same run; what a call needs to know of other objects
    /// it asks there.
    ///
    /// # Errors
    /// [`Failure`]; nothing has changed then.
    fn perform(&mut self, change: &Change, model: &Model) -> Result<(), Failure>;

    /// Takes back the last change of the run that was done and not taken back, by the change that does so. `model` is as
    /// before the run. What the change did beside what it says goes, too.
    ///
    /// # Errors
    /// [`Failure`]: what of it is not taken back.
    fn take_back(&mut self, inverse: &Change, model: &Model) -> Result<(), Failure> {
        self.perform(inverse, model)
    }

    /// Writes to an attribute that does something once ([`Access::TRIGGER`](crate::schema::Access::TRIGGER)).
    ///
    /// # Errors
    /// [`Failure`].
    fn trigger(&mut self, path: &Path, attribute: &str, value: &str) -> Result<(), Failure>;

    /// What an attribute is now that the running target says ([`Preset::Live`](crate::schema::Preset::Live)).
    fn read(&self, path: &Path, attribute: &str) -> Option<String>;
}
