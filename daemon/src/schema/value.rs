//! The values that attributes take.

/// How long a wrong value is told.
const SHOWN: usize = 64;
/// Longest path in bytes (`PATH_MAX` less the NUL).
const MAX_PATH: usize = 4095;

/// Which values an attribute takes.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// `0` or `1`.
    Flag,
    /// `Yes` or `No`.
    YesNo,
    /// A number in decimal or, with `0x`, in hexadecimal, from the first to the last. It is kept in decimal.
    Number(i64, i64),
    /// A number from 0 to this one, kept in hexadecimal.
    Hex(i64),
    /// A size in bytes with an optional K, M, G or T behind it. It is kept in bytes.
    Bytes,
    /// Printable text of at most so many bytes; it may be empty.
    Text(usize),
    /// 1 to so many printable ASCII characters, as INQUIRY data has them.
    Ascii(usize),
    /// An absolute path.
    Path,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Whatever this takes, in the form in which it is kept; its error says what is expected.
    Checked(fn(&str) -> Result<String, String>),
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
    /// Whether the attribute takes it.
    ///
    /// # Errors
    /// [`WrongValue`].
    pub fn check(&self, text: &str) -> Result<(), WrongValue> {
        self.canonical(text).map(drop)
    }

    /// The value in the form in which it is kept, one for all ways to write it.
    ///
    /// # Errors
    /// [`WrongValue`].
    pub fn canonical(&self, text: &str) -> Result<String, WrongValue> {
        let printable = !text.chars().any(char::is_control);
        let as_it_is = |right: bool| right.then(|| text.to_owned());
        let taken = match *self {
            Self::Flag => as_it_is(matches!(text, "0" | "1")),
            Self::YesNo => as_it_is(matches!(text, "Yes" | "No")),
            Self::Number(least, most) => within(text, least, most).map(|n| n.to_string()),
            Self::Hex(most) => within(text, 0, most).map(|n| format!("{n:#x}")),
            Self::Bytes => bytes(text).map(|n| n.to_string()),
            Self::Text(most) => as_it_is(text.len() <= most && printable),
            Self::Ascii(most) => {
                let ascii = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
                as_it_is(ascii && (1..=most).contains(&text.len()))
            }
            Self::Path => as_it_is(text.starts_with('/') && text.len() <= MAX_PATH && printable),
            Self::Word(words) => as_it_is(words.contains(&text)),
            Self::Checked(check) => match check(text) {
                Ok(taken) => Some(taken),
                Err(expected) => return Err(wrong(text, expected)),
            },
        };
        taken.ok_or_else(|| wrong(text, self.expected()))
    }

    /// What it takes, in words.
    pub fn expected(&self) -> String {
        match *self {
            Self::Flag => "0 or 1".to_owned(),
            Self::YesNo => "Yes or No".to_owned(),
            Self::Number(least, most) if least == most => format!("{least}"),
            Self::Number(least, most) => format!("a number from {least} to {most}"),
            Self::Hex(most) => format!("a number from 0 to {most:#x}"),
            Self::Bytes => "a size in bytes, with K, M, G or T if you like".to_owned(),
            Self::Text(most) => format!("text of at most {most} bytes"),
            Self::Ascii(most) => format!("1 to {most} printable ASCII characters"),
            Self::Path => "an absolute path".to_owned(),
            Self::Word(words) => words.join(" or "),
            // None of them takes a control character, and what is right only the check says.
            Self::Checked(check) => check("\0")
                .err()
                .unwrap_or_else(|| "another value".to_owned()),
        }
    }
}

fn wrong(text: &str, expected: String) -> WrongValue {
    let found = text.chars().take(SHOWN).collect();
    WrongValue { found, expected }
}

fn within(text: &str, least: i64, most: i64) -> Option<i64> {
    number(text).filter(|n| (least..=most).contains(n))
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
        assert!(takes(Value::Ascii(4), " 320") && !takes(Value::Ascii(4), ""));
        assert!(!takes(Value::Ascii(4), "ä") && !takes(Value::Ascii(4), "12345"));
        assert!(takes(Value::Hex(255), "0xff") && !takes(Value::Hex(255), "256"));
    }

    #[test]
    fn a_value_is_kept_in_one_form() {
        let kept = |value: Value, text: &str| value.canonical(text).unwrap();
        assert_eq!(kept(Value::Number(-1, 100), "0x10"), "16");
        assert_eq!(kept(Value::Number(-1, 100), "007"), "7");
        assert_eq!(kept(Value::Hex(100), "16"), "0x10");
        assert_eq!(kept(Value::Bytes, "4k"), "4096");
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
