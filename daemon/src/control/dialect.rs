//! What the text of a configuration means.

use super::protocol::{Code, Error, Mode};
use crate::manage::{Change, Model};

/// Turns the text of a configuration into changes, and what is configured into text.
pub trait Dialect: Send + Sync + 'static {
    /// The changes that lead from `model` to what `text` says.
    ///
    /// # Errors
    /// [`Wrong`].
    fn plan(&self, text: &str, mode: Mode, model: &Model) -> Result<Plan, Wrong>;

    /// What is configured, so that planning it from nothing leads there. With `all` it has attributes that are not key
    /// ones.
    fn print(&self, model: &Model, all: bool) -> String;
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub changes: Vec<Change>,
    /// What the operator should know.
    pub notices: Vec<String>,
}

/// Why a text is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Wrong {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// One sentence, without the place.
    pub message: String,
}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        Self {
            line: Some(wrong.line),
            column: Some(wrong.column),
            ..Self::new(Code::Config, wrong.message)
        }
    }
}
