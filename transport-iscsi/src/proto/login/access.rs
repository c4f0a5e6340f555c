//! Which initiators may use a target.

use std::collections::BTreeSet;

use super::MAX_NAME_LEN;

/// A word that is no iSCSI name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no iSCSI name: it starts with iqn., eui. or naa., and has at most {MAX_NAME_LEN} bytes and no blanks"
)]
pub struct NotAName(pub String);

/// The initiators that may log in to a target and see it in SendTargets answers: all of them unless told otherwise.
///
/// An initiator says its name itself, and nothing proves it: CHAP proves a user (CHAP_N), who may come under the name of
/// any initiator. So this keeps out those who err; strangers are kept out by CHAP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Names in lower case; `None` stands for all there are.
    only: Option<BTreeSet<String>>,
}

impl Access {
    /// Every initiator.
    #[must_use]
    pub fn everybody() -> Self {
        Self::default()
    }

    /// The initiators with these names and no others; no names, no initiators. Case does not matter (RFC 7143 §4.2.7.1).
    ///
    /// # Errors
    /// [`NotAName`] for the first word that is none.
    pub fn only<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self, NotAName> {
        let name = |name: S| {
            let name = name.as_ref();
            let lower = name.to_ascii_lowercase();
            let form = ["iqn.", "eui.", "naa."]
                .iter()
                .any(|p| lower.strip_prefix(p).is_some_and(|rest| !rest.is_empty()));
            let blank = |c: char| c.is_whitespace() || c.is_control();
            if form && lower.len() <= MAX_NAME_LEN && !lower.contains(blank) {
                Ok(lower)
            } else {
                Err(NotAName(name.to_owned()))
            }
        };
        Ok(Self {
            only: Some(names.into_iter().map(name).collect::<Result<_, _>>()?),
        })
    }

    /// Whether the initiator of this name may.
    #[must_use]
    pub fn allows(&self, initiator: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|names| names.contains(&initiator.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_allowed_unless_some_are_named() {
        assert!(Access::everybody().allows("iqn.2026-11.org.example:a"));
        let some = Access::only(["iqn.2026-11.org.example:A", "eui.02004567A425678D"]).unwrap();
        assert!(some.allows("iqn.2026-11.ORG.example:a"));
        assert!(some.allows("eui.02004567a425678d"));
        assert!(!some.allows("iqn.2026-11.org.example:ab"));
        assert!(!some.allows("iqn.2026-11.org.example:"));
        assert!(!some.allows(""));
        assert!(
            !Access::only::<&str>([])
                .unwrap()
                .allows("iqn.2026-11.org.example:a")
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("iqn.{}", "x".repeat(MAX_NAME_LEN));
        for word in ["", "iqn.", "host", "iqn.a b", "iqn.a\0", "*", &long] {
            assert_eq!(Access::only([word]), Err(NotAName(word.to_owned())));
        }
    }
}
