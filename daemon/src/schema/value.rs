//! The values that attributes take.

/// How long a wrong value is told.
const SHOWN: usize = 64;

/// Which values an attribute takes.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// `0` or `1`.
    Flag,
    /// `Yes` or `No`.
    YesNo,
    /// A number in decimal or, with `0x`, in hexadecimal, from the first to the last.
    Number(i64, i64),
    /// A size in bytes with an optional K, M, G or T behind it.
    Bytes,
    /// Printable text of at most so many bytes; it may be empty.
    Text(usize),
    /// An absolute path.
    Path,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Whatever this takes; its error says what is expected.
    Checked(fn(&str) -> Result<(), String>),
}

/// A value that an attribute does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not allowed: expected {expected}")]
pub struct WrongValue {
    /// The beginning of what was given.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl Value {
    /// # Errors
    /// [`WrongValue`].
    pub fn check(&self, text: &str) -> Result<(), WrongValue> {
        let expected = |expected: String| {
            let found = text.chars().take(SHOWN).collect();
            Err(WrongValue { found, expected })
        };
        let right = match *self {
            Self::Flag => matches!(text, "0" | "1"),
            Self::YesNo => matches!(text, "Yes" | "No"),
            Self::Number(least, most) => number(text).is_some_and(|n| (least..=most).contains(&n)),
            Self::Bytes => bytes(text).is_some(),
            Self::Text(most) => text.len() <= most && !text.chars().any(char::is_control),
            Self::Path => text.starts_with('/') && !text.chars().any(char::is_control),
            Self::Word(words) => words.contains(&text),
            Self::Checked(check) => return check(text).or_else(expected),
        };
        if right {
            Ok(())
        } else {
            expected(self.expected())
        }
    }

    /// What it takes, in words.
    pub fn expected(&self) -> String {
        match *self {
            Self::Flag => "0 or 1".to_owned(),
            Self::YesNo => "Yes or No".to_owned(),
            Self::Number(least, most) => format!("a number from {least} to {most}"),
            Self::Bytes => "a size in bytes, with K, M, G or T if you like".to_owned(),
            Self::Text(most) => format!("text of at most {most} bytes"),
            Self::Path => "an absolute path".to_owned(),
            Self::Word(words) => words.join(" or "),
            Self::Checked(_) => "another value".to_owned(),
        }
    }
}

/// A number as SCST takes it.
pub fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok().filter(|n| *n >= 0),
        None => text.parse().ok(),
    }
}

/// A size in bytes.
pub fn bytes(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        b'T' => 40,
        _ => return text.parse().ok(),
    };
    let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_takes_what_it_says_and_nothing_else() {
        let takes = |value: Value, text: &str| value.check(text).is_ok();
        assert!(takes(Value::Flag, "1") && !takes(Value::Flag, "2") && !takes(Value::Flag, "yes"));
        assert!(takes(Value::YesNo, "Yes") && !takes(Value::YesNo, "yes"));
        assert!(takes(Value::Number(0, 16), "0x10") && !takes(Value::Number(0, 16), "17"));
        assert!(!takes(Value::Number(0, 16), "") && !takes(Value::Number(0, 16), "-1"));
        assert!(takes(Value::Bytes, "4k") && !takes(Value::Bytes, "99999999999999T"));
        assert!(!takes(Value::Bytes, "k") && !takes(Value::Bytes, "ä"));
        assert!(takes(Value::Path, "/dev/sda") && !takes(Value::Path, "dev"));
        assert!(takes(Value::Word(&["auto", "never"]), "never"));
    }

    #[test]
    fn a_wrong_value_is_told_with_what_is_right() {
        let refusal = Value::Number(1, 65_535).check("none").unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "\"none\" is not allowed: expected a number from 1 to 65535"
        );
    }
}
