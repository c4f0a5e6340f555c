//! The place of an error in a configuration, shown.

use lunforge_daemon::control::protocol::Error;

/// Characters of a line that are shown.
const SHOWN: usize = 100;
/// What is behind these words is secret; and what stands in quotes may be, behind such a word that is misspelt: a name and
/// its secret have a blank between them.
const SECRET: [&str; 3] = ["incominguser", "outgoinguser", "\""];

/// An error about `text` for a terminal: the sentence with the name of the file, the line of the file, and a mark below
/// the place. Without a place only the sentence.
pub(crate) fn excerpt(file: &str, text: &str, error: &Error) -> String {
    let (Some(line), Some(column)) = (error.line, error.column) else {
        return format!("{file}: {error}");
    };
    let head = format!("{file}:{line}:{column}: {error}");
    let Some(shown) = line.checked_sub(1).and_then(|at| text.lines().nth(at)) else {
        return head;
    };
    let lower = shown.to_ascii_lowercase();
    let secret = SECRET
        .iter()
        .filter_map(|word| lower.find(word).map(|at| at + word.len()))
        .min();
    let shown = match secret.and_then(|end| shown.get(..end)) {
        Some(public) => format!("{public} ..."),
        None => shown.to_owned(),
    };
    let before = column.max(1) - 1;
    let skip = before.saturating_sub(SHOWN * 3 / 4);
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let line_text: String = shown.chars().skip(skip).take(SHOWN).map(visible).collect();
    let mark = (before - skip).min(line_text.chars().count());
    let width = line.to_string().len();
    format!(
        "{head}\n {line} | {}\n {:width$} | {:mark$}^",
        line_text.trim_end(),
        "",
        ""
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunforge_daemon::control::protocol::Code;

    fn shown(text: &str, line: usize, column: usize) -> String {
        let error = Error {
            line: Some(line),
            column: Some(column),
            ..Error::new(Code::Config, "this is wrong".to_owned())
        };
        excerpt("a.conf", text, &error)
    }

    #[test]
    fn the_mark_is_below_the_place() {
        assert_eq!(
            shown("one\n\tt\u{e4}o three\n", 2, 6),
            "a.conf:2:6: this is wrong\n 2 |  t\u{e4}o three\n   |      ^"
        );
    }

    #[test]
    fn a_secret_is_not_shown() {
        let said = shown("  IncomingUser joe hunter2hunter2", 1, 20);
        assert!(said.contains("IncomingUser ..."), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        let misspelt = shown("  IncomngUser \"joe hunter2hunter2\"", 1, 3);
        assert!(misspelt.contains("IncomngUser \" ..."), "{misspelt}");
        assert!(!misspelt.contains("hunter2"), "{misspelt}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let said = shown(&"x".repeat(5000), 1, 4000);
        assert!(said.len() < 400 && said.ends_with('^'), "{said}");
    }

    #[test]
    fn a_place_that_is_not_there_leaves_the_sentence() {
        assert_eq!(shown("", 7, 1), "a.conf:7:1: this is wrong");
        let plain = Error::new(Code::Config, "wrong".to_owned());
        assert_eq!(excerpt("a.conf", "x", &plain), "a.conf: wrong");
    }
}
