//! Names of devices, made of the name of a target and a LUN.

use std::collections::{HashMap, HashSet};

/// The longest name of a device in SCST.
const MAX: usize = 64;

/// Names that have been given.
#[derive(Default)]
pub(super) struct Names {
    given: HashSet<String>,
    /// For each name that was wanted again, the number that was tried last.
    last: HashMap<String, u32>,
}

impl Names {
    /// A name that was not given yet: what tells the target from others of its naming authority, and the LUN.
    pub(super) fn name(&mut self, target: &str, lun: u16) -> String {
        let wanted = fitting(own_part(target), &format!("-lun{lun}"));
        if self.given.insert(wanted.clone()) {
            return wanted;
        }
        let last = self.last.entry(wanted).or_insert(1);
        loop {
            // There are fewer LUNs than numbers.
            *last = last.saturating_add(1);
            let name = fitting(own_part(target), &format!("-lun{lun}-{last}"));
            if self.given.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// What stands behind the colon of an iSCSI name, or all of it.
fn own_part(target: &str) -> &str {
    match target.split_once(':') {
        Some((_, own)) if !own.is_empty() => own,
        _ => target,
    }
}

/// `name` in the characters of a device name, its beginning cut off if need be, and `tail`.
fn fitting(name: &str, tail: &str) -> String {
    let safe: Vec<char> = name
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c,
            '.' | '_' | '-' => c,
            _ => '_',
        })
        .collect();
    let skip = (safe.len() + tail.len()).saturating_sub(MAX);
    let kept = safe.into_iter().skip(skip);
    kept.chain(tail.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit() {
        let mut names = Names::default();
        let long = format!("iqn.2001-04.com.example:{}", "x".repeat(200));
        let mut seen = HashSet::new();
        for target in [
            "iqn.2001-04.com.example:disk",
            "iqn.2002-04.com.example:disk",
            "iqn.2002-04.com.example:disk-lun1",
            long.as_str(),
            "iqn.2001-04.com.example:",
            "eui.02004567A425678D",
            "iqn.2001-04.com.example:é/..",
        ] {
            for lun in [0, 1, 1, 16383] {
                let name = names.name(target, lun);
                assert!(name.len() <= MAX && !name.contains(['/', ' ']), "{name}");
                assert!(seen.insert(name.clone()), "{name}");
            }
        }
        assert!(seen.contains("disk-lun0") && seen.contains("disk-lun0-2"));
    }

    #[test]
    fn many_equal_targets_take_linear_time() {
        let mut names = Names::default();
        for _ in 0..200_000 {
            names.name("iqn.2001-04.com.example:a", 0);
        }
        assert_eq!(names.given.len(), 200_000);
    }
}
