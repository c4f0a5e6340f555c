//! Failures, in one sentence each.

use crate::manage::Failure;

/// What the system says of files and ports that are out of reach (EACCES).
pub(super) const DENIED: &str = "Permission denied";

/// A failure of this text.
pub(super) fn failure(text: impl ToString) -> Failure {
    Failure(text.to_string())
}

/// What was looked for in the machine is not there: the model and the machine differ, which a failed way back leaves.
pub(super) fn missing(what: impl std::fmt::Display) -> Failure {
    Failure(format!("{what} is not there in the running target"))
}
