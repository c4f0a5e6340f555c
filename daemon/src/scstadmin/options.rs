//! The command line of `scstadmin`: long options with one dash or two, in any case, cut as short as is still clear.

use std::collections::BTreeMap;

/// Whether an option has a value behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// None.
    Nothing,
    /// The next word, unless that is an option.
    Perhaps,
    /// The next word.
    Word,
}

use Takes::{Nothing, Perhaps, Word};

/// All options. Those of an operation stand in [`OPERATIONS`](super::operation::OPERATIONS) too, the others in
/// [`MODIFIERS`](super::manual::MODIFIERS).
pub(super) const OPTIONS: &[(&str, Takes)] = &[
    ("config", Perhaps),
    ("check_config", Perhaps),
    ("write_config", Word),
    ("clear_config", Nothing),
    ("list_handler", Perhaps),
    ("list_device", Perhaps),
    ("list_dgrp", Perhaps),
    ("list_tgrp", Perhaps),
    ("list_driver", Perhaps),
    ("list_target", Perhaps),
    ("list_group", Perhaps),
    ("list_sessions", Nothing),
    ("list_scst_attr", Nothing),
    ("list_hnd_attr", Word),
    ("list_dev_attr", Word),
    ("list_dgrp_attr", Word),
    ("list_tgrp_attr", Word),
    ("list_ttgt_attr", Word),
    ("list_drv_attr", Word),
    ("list_tgt_attr", Word),
    ("list_grp_attr", Word),
    ("list_lun_attr", Word),
    ("list_init_attr", Word),
    ("set_scst_attr", Nothing),
    ("set_hnd_attr", Word),
    ("set_dev_attr", Word),
    ("set_dgrp_attr", Word),
    ("set_tgrp_attr", Word),
    ("set_ttgt_attr", Word),
    ("set_drv_attr", Word),
    ("set_tgt_attr", Word),
    ("set_grp_attr", Word),
    ("set_lun_attr", Word),
    ("set_init_attr", Word),
    ("add_drv_attr", Word),
    ("add_tgt_attr", Word),
    ("rem_drv_attr", Word),
    ("rem_tgt_attr", Word),
    ("open_dev", Word),
    ("close_dev", Word),
    ("resync_dev", Word),
    ("add_dgrp", Word),
    ("rem_dgrp", Word),
    ("add_dgrp_dev", Word),
    ("rem_dgrp_dev", Word),
    ("add_tgrp", Word),
    ("rem_tgrp", Word),
    ("add_tgrp_tgt", Word),
    ("rem_tgrp_tgt", Word),
    ("add_target", Word),
    ("rem_target", Word),
    ("enable_target", Word),
    ("disable_target", Word),
    ("issue_lip", Perhaps),
    ("add_group", Word),
    ("rem_group", Word),
    ("add_init", Word),
    ("rem_init", Word),
    ("move_init", Word),
    ("clear_inits", Nothing),
    ("add_lun", Word),
    ("rem_lun", Word),
    ("replace_lun", Word),
    ("clear_luns", Nothing),
    ("handler", Word),
    ("device", Word),
    ("driver", Word),
    ("target", Word),
    ("group", Word),
    ("dev_group", Word),
    ("tgt_group", Word),
    ("to", Word),
    ("attributes", Word),
    ("control", Word),
    ("nonkey", Nothing),
    ("noprompt", Nothing),
    ("cont_on_err", Nothing),
    ("force", Nothing),
    ("dumpAttrs", Nothing),
    ("lip", Nothing),
    ("no_lip", Nothing),
    ("debug", Nothing),
    ("h", Nothing),
    ("help", Nothing),
];

/// What is wrong with a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is no such option.
    #[error("unknown option: {0}")]
    Unknown(String),
    /// The beginning of several options.
    #[error("option {0} is ambiguous: {1}")]
    Ambiguous(String, String),
    /// An option without its value.
    #[error("option {0} requires an argument")]
    Missing(&'static str),
    /// A value for an option that has none.
    #[error("option {0} does not take an argument")]
    Superfluous(&'static str),
    /// A word that belongs to no option.
    #[error("{0:?} belongs to no option")]
    Stray(String),
}

/// The options that were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<&'static str, Option<String>>);

impl Options {
    /// # Errors
    /// [`OptionError`].
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, OptionError> {
        let mut options = BTreeMap::new();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let Some(text) = option_text(&word) else {
                return Err(OptionError::Stray(word));
            };
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            let (name, takes) = find(name)?;
            let value = match (takes, value) {
                (Nothing, Some(_)) => return Err(OptionError::Superfluous(name)),
                (Nothing, None) => None,
                (_, Some(value)) => Some(value),
                (Word, None) => Some(words.next().ok_or(OptionError::Missing(name))?),
                (Perhaps, None) => words.next_if(|next| option_text(next).is_none()),
            };
            options.insert(name, value);
        }
        Ok(Self(options))
    }

    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value of an option, if it was given and has one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_deref()
    }

    /// The options that were given, by name.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

/// What stands behind the dashes of an option.
fn option_text(word: &str) -> Option<&str> {
    let text = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        .then_some(text)
}

fn find(name: &str) -> Result<(&'static str, Takes), OptionError> {
    if let Some(found) = OPTIONS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
    {
        return Ok(*found);
    }
    let begins = |known: &str| {
        known
            .get(..name.len())
            .is_some_and(|beginning| beginning.eq_ignore_ascii_case(name))
    };
    let found: Vec<_> = OPTIONS.iter().filter(|(known, _)| begins(known)).collect();
    match found.as_slice() {
        [] => Err(OptionError::Unknown(name.to_owned())),
        [found] => Ok(**found),
        several => {
            let names: Vec<_> = several.iter().map(|(known, _)| *known).collect();
            Err(OptionError::Ambiguous(name.to_owned(), names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, OptionError> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn one_dash_or_two_any_case_and_an_equals_sign_are_the_same() {
        let one = parse("-add_target iqn.x -driver iscsi").unwrap();
        assert_eq!(one, parse("--add_target iqn.x --driver=iscsi").unwrap());
        assert_eq!(one, parse("-DRIVER iscsi -Add_Target iqn.x").unwrap());
        assert_eq!(one.value("add_target"), Some("iqn.x"));
    }

    #[test]
    fn an_option_may_be_cut_as_long_as_it_is_clear() {
        assert_eq!(parse("-attr a=1").unwrap().value("attributes"), Some("a=1"));
        assert!(parse("-nop").unwrap().has("noprompt"));
        let refusal = parse("-no").unwrap_err().to_string();
        assert_eq!(refusal, "option no is ambiguous: nonkey, noprompt, no_lip");
        assert_eq!(parse("-x").unwrap_err().to_string(), "unknown option: x");
    }

    #[test]
    fn a_name_that_is_whole_is_not_ambiguous_with_longer_ones() {
        assert!(
            parse("-list_target t -target t -config")
                .unwrap()
                .has("target")
        );
        assert_eq!(parse("-add_dgrp g").unwrap().value("add_dgrp"), Some("g"));
    }

    #[test]
    fn a_value_that_may_be_left_out_is_no_option() {
        let options = parse("-config -force").unwrap();
        assert!(options.has("config") && options.has("force"));
        assert_eq!(options.value("config"), None);
        assert_eq!(
            parse("-config a.conf").unwrap().value("config"),
            Some("a.conf")
        );
    }

    #[test]
    fn wrong_words_are_named() {
        assert_eq!(
            parse("-driver").unwrap_err(),
            OptionError::Missing("driver")
        );
        assert_eq!(
            parse("-force=1").unwrap_err(),
            OptionError::Superfluous("force")
        );
        assert_eq!(
            parse("config").unwrap_err(),
            OptionError::Stray("config".to_owned())
        );
    }
}
