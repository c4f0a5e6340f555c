//! What the text of a configuration means.

use super::protocol::{Code, Error, Mode};
use crate::manage::{self, Model, Plan};
use crate::tree::{Path, Tree};
use crate::{conf, config};

/// What tells the values that only the running target knows.
pub type Live<'a> = &'a dyn Fn(&Path, &str) -> Option<String>;

/// Turns the text of a configuration into changes, and what is configured into text.
pub trait Dialect: Send + Sync + 'static {
    /// The changes that lead from `model` to what `text` says.
    ///
    /// # Errors
    /// [`Wrong`].
    fn plan(&self, text: &str, mode: Mode, model: &Model) -> Result<Plan, Wrong>;

    /// What is configured, so that planning it from nothing leads there. With `all` it has attributes that are not key
    /// ones.
    fn print(&self, model: &Model, live: Live<'_>, all: bool) -> String;

    /// `text` with the identifiers of ports that targets of `model` have and that it does not name; `None` where it names
    /// them all. Planned from nothing, a text without them may lead to others.
    fn with_ports(&self, text: &str, model: &Model) -> Option<String>;
}

/// That of scst.conf.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScstConf;

impl Dialect for ScstConf {
    fn plan(&self, text: &str, mode: Mode, model: &Model) -> Result<Plan, Wrong> {
        let nothing = Tree::default();
        let stays = match mode {
            Mode::Merge => model.tree(),
            Mode::Replace => &nothing,
        };
        let desired = config::load(text, stays)?;
        Ok(manage::plan(model, &desired, mode))
    }

    fn print(&self, model: &Model, live: Live<'_>, all: bool) -> String {
        conf::print(&config::write(model, live, all))
    }

    fn with_ports(&self, text: &str, model: &Model) -> Option<String> {
        config::with_ports(text, model)
    }
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

impl From<conf::Error> for Wrong {
    fn from(error: conf::Error) -> Self {
        let number = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            line: number(error.place().line),
            column: number(error.place().column),
            message: format!("found {}, expected {}", error.found(), error.expected()),
        }
    }
}
