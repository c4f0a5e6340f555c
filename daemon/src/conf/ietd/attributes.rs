//! What becomes an attribute, and what of several lines becomes one.

use std::collections::BTreeMap;

use super::super::{Item, Span, Statement};
use super::{Setting, Value};

/// The server that targets are registered with, wherever in the file it is said.
#[derive(Default)]
pub(super) struct Isns {
    server: Option<String>,
    access_control: bool,
}

impl Isns {
    pub(super) fn take(&mut self, setting: &Setting) -> bool {
        match (setting.key.text.as_str(), &setting.value) {
            ("iSNSServer", Value::Text(server)) => self.server = Some(server.clone()),
            ("iSNSAccessControl", Value::Flag(on)) => self.access_control = *on,
            _ => return false,
        }
        true
    }

    pub(super) fn attribute(&self) -> Option<String> {
        let server = self.server.as_deref()?;
        let control = if self.access_control {
            " AccessControl"
        } else {
            ""
        };
        Some(format!("{server}{control}"))
    }
}

/// Attributes by name, as scstadmin sorts them; some have several values.
#[derive(Default)]
pub(super) struct Attributes(BTreeMap<&'static str, Vec<String>>);

impl Attributes {
    /// The attribute has this value only; whether it had one before.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<String>) -> bool {
        self.0.insert(name, vec![value.into()]).is_some()
    }

    pub(super) fn add(&mut self, name: &'static str, value: String) {
        self.0.entry(name).or_default().push(value);
    }

    pub(super) fn items(self) -> Vec<Item> {
        let lines = |(name, values): (&'static str, Vec<String>)| {
            values
                .into_iter()
                .map(move |value| Statement::new(name, [value]).into())
        };
        self.0.into_iter().flat_map(lines).collect()
    }
}

/// Pings of a target.
#[derive(Default)]
pub(super) struct Ping {
    pub(super) interval: Option<u32>,
    pub(super) timeout: Option<u32>,
    pub(super) place: Span,
}

impl Ping {
    pub(super) fn take(&mut self, setting: &Setting) -> bool {
        match (setting.key.text.as_str(), &setting.value) {
            ("NOPInterval", Value::Number(seconds)) => self.interval = Some(*seconds),
            ("NOPTimeout", Value::Number(seconds)) => self.timeout = Some(*seconds),
            _ => return false,
        }
        self.place = setting.key.span;
        true
    }
}
