//! Sizes, times and rates as people read them.

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// Three digits and a unit: `1.50 GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for next in units {
        if value < 999.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let digits = match value {
        _ if unit == "B" => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    let number = format!("{value:.digits$}");
    // A whole number needs no zeros behind it.
    let number = match number.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        _ => number,
    };
    format!("{number} {unit}")
}

/// A time in its two greatest units: `3 d 4 h`.
pub(super) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days} d {} h", hours % 24),
        () if hours > 0 => format!("{hours} h {} min", minutes % 60),
        () if minutes > 0 => format!("{minutes} min {} s", seconds % 60),
        () => format!("{seconds} s"),
    }
}

/// A time in microseconds with three digits and a unit: `12.3 ms`.
pub(super) fn micros(micros: f64) -> String {
    let (value, unit) = match micros {
        us if us < 0.5 => return "<1 µs".to_owned(),
        us if us < 999.5 => return format!("{us:.0} µs"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let digits = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A count: `12345`, `1.23 M`.
pub(super) fn count(count: u64) -> String {
    let scaled = |scale: f64, unit: &str| format!("{:.2} {unit}", count as f64 / scale);
    match count {
        0..1_000_000 => count.to_string(),
        1_000_000..1_000_000_000 => scaled(1e6, "M"),
        _ => scaled(1e9, "G"),
    }
}

/// One of these, and the word for several: `1 target`, `2 targets`.
pub(super) fn several(n: u64, one: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {one}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (n, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (1000, "0.98 KiB"),
            (1 << 10, "1 KiB"),
            (3 << 29, "1.50 GiB"),
            (123 << 20, "123 MiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn ages_have_two_units() {
        for (n, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_700, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(age(n), text);
        }
    }

    #[test]
    fn times_have_three_digits() {
        for (us, text) in [
            (0.0, "<1 µs"),
            (1.0, "1 µs"),
            (999.4, "999 µs"),
            (999.6, "1.00 ms"),
            (12_345.0, "12.3 ms"),
            (999_499.0, "999 ms"),
            (16_777_216.0, "16.8 s"),
        ] {
            assert_eq!(micros(us), text);
        }
    }

    #[test]
    fn counts_stay_short() {
        assert_eq!(count(999_999), "999999");
        assert_eq!(count(1_234_567), "1.23 M");
        assert_eq!(count(5_000_000_000), "5.00 G");
    }
}
