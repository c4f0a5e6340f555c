//! The syntax tree of scst.conf as text.

use std::fmt::Write;

use super::lexer::{in_comment, is_plain};
use super::{Document, Item, Word};

/// The text of a document, as scstadmin lays it out: a tab for each level, quotes only where they are needed, and no
/// empty lines but those that the document has.
///
/// [`parse`](super::parse()) gives the document back. A line feed in a comment begins a second comment, other control
/// characters in it become blanks, since no comment can hold them.
pub fn print(document: &Document) -> String {
    let mut text = String::new();
    items(&mut text, 0, &document.items);
    text
}

fn items(text: &mut String, depth: usize, items: &[Item]) {
    for item in items {
        match item {
            Item::Blank => text.push('\n'),
            Item::Comment(comment) => self::comment(text, depth, comment),
            Item::Statement(statement) => {
                indent(text, depth);
                word(text, &statement.keyword, true);
                for argument in &statement.arguments {
                    text.push(' ');
                    word(text, argument, false);
                }
                if let Some(body) = &statement.body {
                    text.push_str(" {\n");
                    self::items(text, depth + 1, body);
                    indent(text, depth);
                    text.push('}');
                }
                text.push('\n');
            }
        }
    }
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n('\t', depth));
}

fn comment(text: &mut String, depth: usize, comment: &str) {
    for line in comment.split('\n') {
        indent(text, depth);
        text.push('#');
        if !line.is_empty() {
            text.push(' ');
        }
        text.extend(line.chars().map(in_comment));
        text.push('\n');
    }
}

/// `first` words do not begin with the bracket of a section of before SCST 2.0.
fn word(text: &mut String, word: &Word, first: bool) {
    // As in scstadmin, a # or a backslash alone is escaped and not quoted.
    let quote = word.is_empty()
        || (first && word.starts_with('['))
        || word.chars().any(|c| !is_plain(c) && c != '#' && c != '\\');
    if quote {
        text.push('"');
    }
    for c in word.chars() {
        match c {
            '"' | '\\' | '#' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            // A tab is written as it is.
            c if c.is_control() && c != '\t' => {
                // Writing into a string does not fail.
                let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    if quote {
        text.push('"');
    }
}
