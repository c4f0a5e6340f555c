//! Quantities on the command line.

use std::time::Duration;

/// A number of bytes with a suffix k, m or g, or none.
///
/// # Errors
/// A sentence for the user.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a number of bytes");
    let lower = text.to_ascii_lowercase();
    let (digits, shift) = match lower.strip_suffix(['k', 'm', 'g']) {
        Some(rest) if lower.ends_with('k') => (rest, 10),
        Some(rest) if lower.ends_with('m') => (rest, 20),
        Some(rest) => (rest, 30),
        None => (lower.as_str(), 0),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift))
        .ok_or_else(bad)
}

/// A number of seconds, up to a day.
///
/// # Errors
/// A sentence for the user.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number of seconds"))?;
    if !(0.0..=86_400.0).contains(&value) {
        return Err(format!("{text:?} is not 0 to 86400 seconds"));
    }
    Ok(Duration::from_secs_f64(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_1024_and_nonsense_is_refused() {
        assert_eq!(
            (size("4k"), size("3M"), size("512")),
            (Ok(4096), Ok(3 << 20), Ok(512))
        );
        assert!(size("k").is_err() && size("-1").is_err() && size("99999999999g").is_err());
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err() && seconds("86401").is_err());
    }
}
