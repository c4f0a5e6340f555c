//! Why a configuration file is refused, and how that is shown.

use super::Span;

/// Characters of a line that are shown.
const SHOWN: usize = 100;

/// Why a configuration file is refused: the first thing that is wrong with it, and where. Its `Display` is one sentence;
/// [`Error::show`] is for terminals. Neither has more than the keyword of a line that holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: found {found}, expected {expected}", place.line, place.column)]
pub struct Error {
    place: Span,
    found: String,
    expected: String,
    /// The line, cut to what is shown.
    excerpt: String,
    /// Characters of the excerpt before the place.
    indent: usize,
}

impl Error {
    /// An error at `place` in `text`.
    pub(crate) fn new(
        text: &str,
        place: Span,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        let (excerpt, indent) = excerpt(line_of(text, place), place.column);
        Self {
            place,
            found: found.into(),
            expected: expected.into(),
            excerpt,
            indent,
        }
    }

    /// An error at a word, which is named unless it may be a secret.
    pub(super) fn at_word(
        text: &str,
        place: Span,
        word: &str,
        expected: impl Into<String>,
    ) -> Self {
        let found = if secret(line_of(text, place)).is_some() {
            "a word".to_owned()
        } else {
            quoted(word)
        };
        Self::new(text, place, found, expected)
    }

    /// Where: the first character that is wrong.
    pub fn place(&self) -> Span {
        self.place
    }

    /// What stands there.
    pub fn found(&self) -> &str {
        &self.found
    }

    /// What could stand there.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// Three lines for a terminal, without a line feed at the end: the sentence with the name of the file, the line of
    /// the file, and a mark below the place.
    pub fn show(&self, file: &str) -> String {
        let Span { line, column, .. } = self.place;
        let number = line.to_string();
        let (width, indent) = (number.len(), self.indent);
        format!(
            "{file}:{line}:{column}: found {}, expected {}\n {number} | {}\n {:width$} | {:indent$}^",
            self.found, self.expected, self.excerpt, "", ""
        )
    }
}

/// A word as errors name it: in quotes, escaped and bounded.
pub(super) fn quoted(word: &str) -> String {
    let mut shown: String = word.chars().take(40).collect();
    if shown.len() < word.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// The line in which the place is.
fn line_of(text: &str, place: Span) -> &str {
    let start = usize::try_from(place.start).unwrap_or(usize::MAX);
    let (before, after) = text.split_at_checked(start).unwrap_or((text, ""));
    let begin = before.rfind('\n').map_or(0, |at| at + 1);
    let end = start + after.find('\n').unwrap_or(after.len());
    let line = text.get(begin..end).unwrap_or_default();
    line.strip_prefix('\u{feff}').unwrap_or(line)
}

/// Where the part of the line ends that may be shown, if it says a secret of CHAP.
fn secret(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    ["incominguser", "outgoinguser"]
        .iter()
        .filter_map(|keyword| lower.find(keyword).map(|at| at + keyword.len()))
        .min()
}

/// The part of the line that is shown, and the characters of it before the column.
fn excerpt(line: &str, column: u32) -> (String, usize) {
    let mut before = usize::try_from(column).unwrap_or(usize::MAX).max(1) - 1;
    let public = secret(line).and_then(|end| line.get(..end));
    if let Some(public) = public {
        before = before.min(public.chars().count() + 1);
    }
    let skip = before.saturating_sub(SHOWN * 3 / 4);
    let mut rest = public.unwrap_or(line).chars().skip(skip);
    let mut shown = if skip > 0 { "…" } else { "" }.to_owned();
    shown.extend(rest.by_ref().take(SHOWN).map(|c| match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }));
    if public.is_some() {
        shown.push_str(" …");
    } else if rest.next().is_some() {
        shown.push('…');
    }
    let shown = shown.trim_end().to_owned();
    (shown, before - skip + usize::from(skip > 0))
}
