//! How things are, told while a change goes on.

use super::report::{Device, Reservation, Session, Status, Target};
use crate::manage::{Change, Failure, Model};
use crate::metrics::Snapshot;
use crate::tree::Path;

/// The running target as it is asked, from many threads at a time. No call waits for a change that is under way
/// ([`Machine::perform`](crate::manage::Machine::perform)), and each takes a bounded time. `model` is the configuration
/// after the last change.
pub trait Observe: Send + Sync + 'static {
    /// As [`Machine::read`](crate::manage::Machine::read).
    fn read(&self, path: &Path, attribute: &str) -> Option<String>;

    /// What initiators changed of what is configured, as changes that `model` does not have: the access states of target
    /// groups, which SET TARGET PORT GROUPS sets. None where there is no such thing.
    fn by_initiators(&self, _model: &Model) -> Vec<Change> {
        Vec::new()
    }

    /// The sessions.
    fn sessions(&self, model: &Model) -> Vec<Session>;

    /// The devices.
    fn devices(&self, model: &Model) -> Vec<Device>;

    /// The targets.
    fn targets(&self, model: &Model) -> Vec<Target>;

    /// The reservations.
    fn reservations(&self, model: &Model) -> Vec<Reservation>;

    /// The whole at a glance.
    fn status(&self, model: &Model) -> Status;

    /// What there is to count.
    fn metrics(&self, model: &Model) -> Snapshot {
        Snapshot::of_reports(self, model)
    }

    /// Ends sessions of a target, or the one of this id.
    ///
    /// # Errors
    /// [`Failure`].
    fn close_sessions(&self, target: &Path, id: Option<u64>) -> Result<(), Failure>;
}
