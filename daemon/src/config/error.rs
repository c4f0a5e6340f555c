//! What is wrong in a configuration.

use crate::conf::{self, Span, Word};

/// Most characters of a word that are told.
const SHOWN: usize = 64;

/// The first thing that is wrong in a configuration whose grammar is right. Its `Display` is one sentence with line and
/// column, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: found {found}, expected {expected}", place.line, place.column)]
pub struct Error {
    /// Where.
    pub place: Span,
    /// What stands there.
    pub found: String,
    /// What could stand there.
    pub expected: String,
}

impl Error {
    pub(super) fn new(at: &Word, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            place: at.span,
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// That with a place, if it has none.
    pub(super) fn or_near(mut self, near: Span) -> Self {
        if self.place.line == 0 {
            self.place = near;
        }
        self
    }

    /// That with the text in which it is, which can show the line.
    pub fn within(self, text: &str) -> conf::Error {
        conf::Error::new(text, self.place, self.found, self.expected)
    }
}

/// A word in quotes, escaped and bounded.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN).collect();
    format!("{shown:?}")
}
