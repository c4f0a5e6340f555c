//! Patterns for names of initiators and for portals.

use super::session_name::SessionName;

/// Longest pattern in bytes: an iSCSI name, a portal, and some asterisks.
pub const MAX_PATTERN: usize = 512;

/// A pattern: `*` stands for any characters, `?` for one, a leading `!` turns the rest around. Case does not matter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: String,
    /// Without exclamation marks, in lower case.
    rest: String,
    inverted: bool,
}

impl Pattern {
    /// The pattern with this text; `None` if it is empty or longer than [`MAX_PATTERN`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return None;
        }
        let rest = text.trim_start_matches('!');
        Some(Self {
            inverted: (text.len() - rest.len()) % 2 == 1,
            rest: rest.to_ascii_lowercase(),
            text: text.to_owned(),
        })
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it begins with `!`, and so says who is not meant.
    #[must_use]
    pub fn is_inverted(&self) -> bool {
        self.inverted
    }

    /// Whether it says something of this name. Takes at most as long as name and pattern multiplied.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let same = |a: char, b: char| b == '?' || a.to_ascii_lowercase() == b;
        let (mut name, mut rest) = (name.chars(), self.rest.chars());
        // The last asterisk, and what it stands for ends here.
        let mut asterisk = None;
        let found = loop {
            let (here, mut after) = (name.clone(), rest.clone());
            match (name.next(), after.next()) {
                (_, Some('*')) => {
                    name = here;
                    asterisk = Some((after.clone(), name.clone()));
                    rest = after;
                }
                (Some(a), Some(b)) if same(a, b) => rest = after,
                (None, None) => break true,
                (None, Some(_)) => break false,
                // It stands for one character more.
                (Some(_), _) => match &mut asterisk {
                    None => break false,
                    Some((after, end)) => {
                        end.next();
                        (rest, name) = (after.clone(), end.clone());
                    }
                },
            }
        };
        found != self.inverted
    }

    /// Whether it is for a session.
    pub(super) fn is_for(&self, session: &SessionName) -> bool {
        let others = if self.inverted { &[] } else { session.others() };
        self.matches(session.as_str()) || others.iter().any(|other| self.matches(other))
    }

    /// The one name that it is for, in lower case, if it is for one.
    pub(super) fn only(&self) -> Option<&str> {
        let wild = self.inverted || self.rest.contains(['*', '?']);
        (!wild).then_some(&*self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule as it is said.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([b'!', rest @ ..], _) => !naive(rest, name),
            _ => glob(pattern, name),
        }
    }

    fn glob(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|n| glob(rest, &name[n..])),
            ([b'?', rest @ ..], [_, tail @ ..]) => glob(rest, tail),
            ([p, rest @ ..], [n, tail @ ..]) => p.eq_ignore_ascii_case(n) && glob(rest, tail),
            _ => false,
        }
    }

    #[test]
    fn a_pattern_says_whom_it_is_for() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().matches(name);
        assert!(matches(
            "iqn.2026-11.ORG.example:a",
            "iqn.2026-11.org.EXAMPLE:a"
        ));
        assert!(matches("iqn.*:a?", "iqn.2026-11.org.example:ab"));
        assert!(!matches("iqn.*:a?", "iqn.2026-11.org.example:a"));
        assert!(matches(
            "*#192.0.2.?",
            "iqn.2026-11.org.example:a#192.0.2.7"
        ));
        assert!(matches("!iqn.*", "eui.02004567a425678d"));
        assert!(!matches("!iqn.*", "iqn.a"));
        assert!(matches("!!iqn.*", "iqn.a"));
        assert!(!matches("!*", "anybody"));
        assert!(matches("?", "\u{e4}"));
    }

    #[test]
    fn a_pattern_is_neither_empty_nor_without_end() {
        assert_eq!(Pattern::new(""), None);
        assert!(Pattern::new(&"a".repeat(MAX_PATTERN)).is_some());
        assert_eq!(Pattern::new(&"a".repeat(MAX_PATTERN + 1)), None);
    }

    #[test]
    fn a_pattern_of_asterisks_takes_no_time_without_end() {
        let pattern = Pattern::new(&"*a".repeat(MAX_PATTERN / 2)).unwrap();
        assert!(!pattern.matches(&"a".repeat(MAX_PATTERN / 2 - 1)));
    }

    proptest! {
        #[test]
        fn patterns_match_as_the_naive_rule_does(
            pattern in "!{0,2}[aB*?]{0,8}",
            name in "[abB]{0,10}",
        ) {
            if let Some(parsed) = Pattern::new(&pattern) {
                prop_assert_eq!(
                    parsed.matches(&name),
                    naive(pattern.as_bytes(), name.as_bytes())
                );
            }
        }
    }
}
