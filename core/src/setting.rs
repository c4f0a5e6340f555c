//! Settings with a name: what a configuration, a command line or a control socket shows and changes without knowing the
//! fields behind it.

use std::ops::RangeInclusive;
use std::time::Duration;

/// What a setting's number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes; written with K, M or G as powers of 1024.
    Bytes,
    /// Milliseconds; written with ms, s or m, without any in seconds.
    Time,
}

/// One setting of a `T`.
#[derive(Debug)]
pub struct Setting<T: 'static> {
    /// Its name: lower case, with hyphens.
    pub name: &'static str,
    /// What it bounds, in one sentence.
    pub meaning: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// What it may be.
    pub range: RangeInclusive<u64>,
    /// Reads it.
    pub read: fn(&T) -> u64,
    /// Writes it; the value is in range.
    pub write: fn(&mut T, u64),
}

/// Why a setting is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No setting has this name.
    #[error("no limit is named {0:?}")]
    UnknownName(String),
    /// The value is malformed or out of range.
    #[error("{name}: {value:?} is not {expected}")]
    BadValue {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is legal, in words.
        expected: String,
    },
}

impl<T> Setting<T> {
    /// Changes the setting of `of` to what `text` says.
    ///
    /// # Errors
    /// [`SettingError::BadValue`]; nothing changes.
    pub fn set(&self, of: &mut T, text: &str) -> Result<(), SettingError> {
        let value = self.unit.parse(text).filter(|n| self.range.contains(n));
        let bad = || SettingError::BadValue {
            name: self.name,
            value: text.to_owned(),
            expected: self.expected(),
        };
        (self.write)(of, value.ok_or_else(bad)?);
        Ok(())
    }

    /// The setting of `of` as text that [`Setting::set`] takes.
    pub fn show(&self, of: &T) -> String {
        self.unit.show((self.read)(of))
    }

    fn expected(&self) -> String {
        let [low, high] = [self.range.start(), self.range.end()].map(|n| self.unit.show(*n));
        let what = match self.unit {
            Unit::Count => "a number",
            Unit::Bytes => "a size",
            Unit::Time => "a time",
        };
        format!("{what} from {low} to {high}")
    }
}

/// Changes the setting of this name.
///
/// # Errors
/// [`SettingError`]; nothing changes.
pub fn set<T>(
    settings: &[Setting<T>],
    of: &mut T,
    name: &str,
    text: &str,
) -> Result<(), SettingError> {
    match settings.iter().find(|setting| setting.name == name) {
        Some(setting) => setting.set(of, text),
        None => Err(SettingError::UnknownName(name.to_owned())),
    }
}

impl Unit {
    fn suffixes(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Count => &[("", 1)],
            Self::Bytes => &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("", 1)],
            Self::Time => &[("ms", 1), ("s", 1000), ("m", 60_000), ("", 1000)],
        }
    }

    fn parse(self, text: &str) -> Option<u64> {
        self.suffixes().iter().find_map(|(suffix, factor)| {
            let digits = text.strip_suffix(suffix)?;
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits
                .parse::<u64>()
                .ok()
                .filter(|_| plain)?
                .checked_mul(*factor)
        })
    }

    /// A number of this unit as text, by its largest suffix that leaves it whole.
    pub fn show(self, value: u64) -> String {
        if value == 0 {
            return "0".to_owned();
        }
        // The largest unit that leaves no rest.
        let best = self
            .suffixes()
            .iter()
            .filter(|(suffix, factor)| {
                value.is_multiple_of(*factor) && (!suffix.is_empty() || *factor == 1)
            })
            .max_by_key(|(_, factor)| *factor);
        match best {
            Some((suffix, factor)) => format!("{}{suffix}", value / factor),
            None => value.to_string(),
        }
    }
}

/// A time as a setting's number.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A number of things or bytes as a setting's.
pub fn count(n: usize) -> u64 {
    n as u64
}

/// A setting's number as a number of things or bytes.
pub fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_taken_back() {
        for unit in [Unit::Count, Unit::Bytes, Unit::Time] {
            for value in [0, 1, 999, 1000, 1024, 1500, 60_000, 65_536, 1 << 30, 90_000] {
                assert_eq!(
                    unit.parse(&unit.show(value)),
                    Some(value),
                    "{unit:?} {value}"
                );
            }
        }
        assert_eq!(Unit::Time.parse("15"), Some(15_000));
        assert_eq!(Unit::Bytes.parse("4096"), Some(4096));
    }

    #[test]
    fn what_is_no_number_or_too_much_is_refused() {
        let setting = Setting::<u64> {
            name: "things",
            meaning: "Things.",
            unit: Unit::Bytes,
            range: 1..=1 << 20,
            read: |n| *n,
            write: |n, value| *n = value,
        };
        let mut value = 7;
        for text in [
            "",
            "K",
            "-1",
            "+1",
            "1.5K",
            "1KK",
            "0",
            "2M",
            "99999999999999999999",
            "20G000",
        ] {
            let error = setting.set(&mut value, text).unwrap_err();
            assert!(error.to_string().contains("a size from 1 to 1M"), "{error}");
            assert_eq!(value, 7);
        }
        let all = [setting];
        assert!(set(&all, &mut value, "thing", "1").is_err());
        set(&all, &mut value, "things", "4K").unwrap();
        assert_eq!(value, 4096);
    }
}
