//! Which attributes each kind of object has: name, value, default, access, and whether a saved configuration has it.
//!
//! The tables are the one list of attributes. Configuration files, `scstadmin`, the control socket, the manual and the
//! plan of a change all ask here.
//!
//! A table has a line or two for each attribute: its name; in brackets what may be done with it (`C` given when the
//! object is made, `R` read, `W` set, `T` a trigger), followed by what is not the rule for such attributes; the values
//! that it takes; its default; its help.

mod alua;
mod checks;
mod device;
mod identity;
mod iscsi;
mod root;
mod srp;
mod target;
pub mod value;

use crate::tree::{Kind, Object, Path, Tree};

pub use target::{COPY_MANAGER, COPY_MANAGER_TARGET, REL_TGT_ID};
pub use value::Value;

bitflags::bitflags! {
    /// What may be done with an attribute.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Access: u8 {
        /// It may be given when the object is made.
        const CREATE = 1;
        /// It can be read.
        const READ = 2;
        /// It can be set while the object lives.
        const WRITE = 4;
        /// Writing it does something once; nothing is kept.
        const TRIGGER = 8;
    }
}

/// What an attribute is when it was not given.
#[derive(Debug, Clone, Copy)]
pub enum Preset {
    /// Without a value: there is none.
    None,
    /// Always this. A value that is given and the same is not kept: it says nothing.
    Is(&'static str),
    /// It follows from the object's name and other attributes; `None` where only the running target knows.
    Follows(fn(&Tree, &Path) -> Option<String>),
    /// The running target says it, as the size of a file.
    Live,
}

/// Whether a saved configuration has an attribute among its key attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Whatever its value is.
    Always,
    /// When it was given and is not its default.
    WhenGiven,
    /// Only in a save with all attributes.
    Never,
}

/// What setting an attribute does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// What its help says.
    Works,
    /// Nothing; it is kept and shown, since configurations of SCST have it. Why it means nothing in user space.
    Kept(&'static str),
}

/// An attribute.
#[derive(Debug, Clone, Copy)]
pub struct Attribute {
    /// Its name, as SCST has it.
    pub name: &'static str,
    /// Which values it takes.
    pub value: Value,
    /// Its value when it was not given.
    pub preset: Preset,
    /// What may be done with it.
    pub access: Access,
    /// Whether a saved configuration has it.
    pub key: Key,
    /// Whether it may have several values. Each has its line in a file; SCST's sysfs numbers them.
    pub repeated: bool,
    /// Whether its value must not be shown in logs and errors.
    pub secret: bool,
    /// What setting it does.
    pub effect: Effect,
    /// One sentence for the operator.
    pub help: &'static str,
}

/// What may be done with an attribute, as the tables write it.
#[allow(non_snake_case, reason = "the letters of the tables")]
mod letters {
    use super::Access;

    pub(super) const R: Access = Access::READ;
    pub(super) const T: Access = Access::TRIGGER;
    pub(super) const RT: Access = R.union(T);
    pub(super) const RW: Access = R.union(Access::WRITE);
    pub(super) const CR: Access = R.union(Access::CREATE);
    pub(super) const CRW: Access = RW.union(Access::CREATE);
}

/// See the module's head.
macro_rules! table {
    ($($name:literal [$access:ident $($more:ident $(($why:expr))?)*] $value:expr, $preset:expr, $help:literal;)*) => {
        &[$($crate::schema::Attribute::new(
            $name, $crate::schema::letters::$access, $value, $preset, $help,
        )$(.$more($($why)?))*),*]
    };
}
use table;

impl Attribute {
    const fn new(
        name: &'static str,
        access: Access,
        value: Value,
        preset: Preset,
        help: &'static str,
    ) -> Self {
        let given = access.intersects(Access::CREATE.union(Access::WRITE));
        Self {
            name,
            value,
            preset,
            access,
            key: if given { Key::WhenGiven } else { Key::Never },
            repeated: false,
            secret: false,
            effect: Effect::Works,
            help,
        }
    }

    const fn always(mut self) -> Self {
        self.key = Key::Always;
        self
    }

    const fn repeated(mut self) -> Self {
        self.repeated = true;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn kept(mut self, why: &'static str) -> Self {
        self.effect = Effect::Kept(why);
        self
    }

    /// Whether an object cannot be made without it.
    pub fn is_needed(&self) -> bool {
        matches!(self.preset, Preset::None)
            && self.access.contains(Access::CREATE)
            && self.key == Key::Always
    }

    /// Whether it can be given or set: a configuration may have it.
    pub fn is_settable(&self) -> bool {
        self.access.intersects(Access::CREATE | Access::WRITE)
    }

    /// Whether a save with all attributes has it: SCST's has no attribute that is only shown.
    pub fn is_saved(&self) -> bool {
        self.access.contains(Access::READ) && self.access != Access::READ
    }

    /// Whether these values are its default: given or not, they say nothing.
    pub fn is_default(&self, values: &[String]) -> bool {
        match self.preset {
            Preset::None => values.is_empty(),
            Preset::Is(text) => values.is_empty() || values == [text],
            Preset::Follows(_) | Preset::Live => values.is_empty(),
        }
    }
}

/// The attributes of objects of a kind. `family` is the handler of a device, and the driver of a target and of what
/// stands in it.
pub fn attributes(kind: Kind, family: &str) -> &'static [Attribute] {
    match kind {
        Kind::Root => root::ROOT,
        Kind::Handler => root::HANDLER,
        Kind::Device => device::attributes(family),
        Kind::Driver => target::driver(family),
        Kind::Target => target::target(family),
        Kind::Group => target::group(family),
        Kind::Lun => target::LUN,
        Kind::Initiator | Kind::DeviceGroup | Kind::GroupDevice => &[],
        Kind::TargetGroup => alua::TARGET_GROUP,
        Kind::GroupTarget => alua::GROUP_TARGET,
    }
}

/// The attribute of this name. One that may be repeated is found with a number behind its name too, as SCST's sysfs
/// shows all but the first.
pub fn find(kind: Kind, family: &str, name: &str) -> Option<&'static Attribute> {
    let all = attributes(kind, family);
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit());
    all.iter()
        .find(|attribute| attribute.name == name)
        .or_else(|| all.iter().find(|a| a.repeated && a.name == plain))
}

/// The handlers and drivers of this program, with what stands in them from the start.
pub fn builtin() -> impl Iterator<Item = (crate::tree::Key, Object)> {
    root::builtin()
}

/// What there is from the start beside handlers and drivers: nobody makes or removes it.
pub fn is_builtin(path: &Path) -> bool {
    match path.kind() {
        Kind::Root | Kind::Handler | Kind::Driver => true,
        Kind::Target => path.name_of(Kind::Driver) == Some(COPY_MANAGER),
        _ => false,
    }
}

/// Whether devices of a handler become LUNs of the copy manager.
pub fn is_copied(handler: &str) -> bool {
    handler.starts_with("vdisk_")
}

/// The path of the target whose LUNs EXTENDED COPY works on in SCST: each disk is one of them by itself.
pub fn copy_manager() -> Path {
    Path::target(COPY_MANAGER, COPY_MANAGER_TARGET).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn tables() -> Vec<(Kind, &'static str)> {
        let mut tables = vec![
            (Kind::Root, ""),
            (Kind::Handler, ""),
            (Kind::Lun, "iscsi"),
            (Kind::TargetGroup, ""),
            (Kind::GroupTarget, ""),
        ];
        for (key, _) in builtin() {
            let name = device::HANDLERS
                .into_iter()
                .chain(target::DRIVERS)
                .find(|name| *name == key.name())
                .unwrap();
            match key.kind() {
                Kind::Handler => tables.push((Kind::Device, name)),
                _ => tables
                    .extend([Kind::Driver, Kind::Target, Kind::Group].map(|kind| (kind, name))),
            }
        }
        tables
    }

    #[test]
    fn no_name_stands_twice_in_a_table_and_no_help_is_missing() {
        for (kind, family) in tables() {
            let mut names = BTreeSet::new();
            for attribute in attributes(kind, family) {
                assert!(
                    names.insert(attribute.name),
                    "{kind:?} {family} {}",
                    attribute.name
                );
                assert!(attribute.help.ends_with('.'), "{kind:?} {}", attribute.name);
                if let Effect::Kept(why) = attribute.effect {
                    assert!(!why.is_empty() && !why.ends_with('.'), "{}", attribute.name);
                }
            }
        }
    }

    #[test]
    fn every_default_is_a_value_that_the_attribute_takes_in_the_form_in_which_it_is_kept() {
        for (kind, family) in tables() {
            for attribute in attributes(kind, family) {
                if let Preset::Is(text) = attribute.preset {
                    let name = attribute.name;
                    assert_eq!(
                        attribute.value.canonical(text).as_deref(),
                        Ok(text),
                        "{name}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_a_key_attribute_can_be_read_and_given() {
        for (kind, family) in tables() {
            for attribute in attributes(kind, family) {
                let saved = attribute.key != Key::Never;
                assert_eq!(saved, attribute.is_settable(), "{}", attribute.name);
                assert!(
                    !saved || attribute.access.contains(Access::READ),
                    "{}",
                    attribute.name
                );
            }
        }
    }

    #[test]
    fn an_attribute_that_is_repeated_is_found_with_a_number() {
        let found = |name| find(Kind::Target, "iscsi", name).map(|attribute| attribute.name);
        assert_eq!(found("IncomingUser12"), Some("IncomingUser"));
        assert_eq!(found("rel_tgt_id1"), None);
    }
}
