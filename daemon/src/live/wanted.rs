//! What is configured of an object, as the machine reads it.

use crate::manage::Model;
use crate::schema::value::{bytes, number};
use crate::schema::{self, Preset};
use crate::tree::{Attributes, Kind, Path};

/// An object's attributes: what it was given, and the defaults of the rest. What follows from other objects is taken
/// from the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) path: &'a Path,
    pub(super) given: &'a Attributes,
    pub(super) model: &'a Model,
}

impl Wanted<'_> {
    /// The object's name.
    pub(super) fn name(&self) -> &str {
        self.path.name()
    }

    /// The handler of a device.
    pub(super) fn handler(&self) -> &str {
        self.given("handler").unwrap_or_default()
    }

    /// What was given.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        let values = self.given.get(name)?;
        values.first().map(String::as_str)
    }

    /// All that was given.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.given.get(name);
        values.into_iter().flatten().map(String::as_str)
    }

    /// What was given, or the default; `None` where there is none, or only the machine knows.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        if let Some(given) = self.given(name) {
            return Some(given.to_owned());
        }
        let family = match self.path.kind() {
            Kind::Device => self.handler(),
            _ => self.path.name_of(Kind::Driver).unwrap_or_default(),
        };
        let definition = schema::find(self.path.kind(), family, name)?;
        match definition.preset {
            Preset::Is(text) => Some(text.to_owned()),
            Preset::Follows(from) => from(self.model.tree(), self.path),
            Preset::None | Preset::Live => None,
        }
    }

    /// As [`Wanted::text`]; `None` too where it is empty.
    pub(super) fn some(&self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// Whether a flag is set.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.text(name).as_deref(), Some("1" | "Yes"))
    }

    /// A number that fits.
    pub(super) fn number<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        let value = number(&self.text(name)?)?;
        T::try_from(value).ok()
    }

    /// The size that a device was given, in bytes.
    pub(super) fn size(&self) -> Option<u64> {
        let mib = |text| {
            let mib = u64::try_from(number(text)?).ok()?;
            mib.checked_mul(1 << 20)
        };
        let size = self.given("size").and_then(bytes);
        size.or_else(|| self.given("size_mb").and_then(mib))
    }
}
