//! The grammars of configuration files: text to syntax tree and back, with the place of every word. What the names
//! mean is decided elsewhere; nothing here opens a file, and no input makes it panic.
//!
//! ```text
//!   scst.conf ── parse ──► Document ── print ──► scst.conf
//!                             ▲
//!   [HANDLER vdisk] … ── (parse converts the form before SCST 2.0)
//! ```
//!
//! scst.conf in short: a statement is a line of words, `KEY value…`; a `{` at its end opens a block of statements that a
//! `}` closes. A word that holds a blank stands in `"…"`. `#` begins a comment where a word could begin. A backslash
//! before a punctuation mark takes its meaning away, so `\#`, `\\` and `\"`.
//!
//! It is what scstadmin reads, and stricter where scstadmin guesses: text beside a quote, a `#` inside a word, a quote
//! that does not end on its line, a brace too many or too few are errors here, while scstadmin drops what it does not
//! understand. Inside quotes there are `\n`, `\r`, `\t` and `\u{…}` too, so that every string can be written; scstadmin
//! takes such a backslash for nothing.

mod document;
mod error;
pub mod ietd;
mod legacy;
mod lexer;
mod parser;
mod print;

pub use document::{Document, Item, Span, Statement, Word};
pub use error::Error;
pub use parser::parse;
pub use print::print;

/// The longest file that is read, in bytes.
pub const MAX_LEN: usize = 16 << 20;

/// How many words, comments and ends of lines a file may have: a hundred bytes of memory each.
pub const MAX_TOKENS: usize = 1 << 21;

/// The longest word, in bytes of the file; what sysfs takes for a value.
pub const MAX_WORD: usize = 4096;

/// How many blocks may lie in each other; SCST has use for four.
pub const MAX_DEPTH: usize = 16;
