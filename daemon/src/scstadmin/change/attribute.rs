//! Operations on attributes.

use super::super::exit::{self, Deed, Problem};
use super::super::{Scstadmin, attributes};
use crate::control::protocol::{Call, Done, ShownAttribute};
use crate::manage::Change;
use crate::tree::{Attributes, Kind, Path};

macro_rules! sets {
    ($($name:ident: $path:ident($option:literal);)*) => {
        $(
            pub(in super::super) fn $name(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
                let path = command.$path($option)?;
                command.set_given(&path)
            }
        )*
    };
}

sets! {
    set_handler: handler("set_hnd_attr");
    set_device: device("set_dev_attr");
    set_device_group: device_group("set_dgrp_attr");
    set_target_group: target_group("set_tgrp_attr");
    set_group_target: group_target("set_ttgt_attr");
    set_driver: driver("set_drv_attr");
    set_target: target("set_tgt_attr");
    set_group: group("set_grp_attr");
    set_lun: lun("set_lun_attr");
    set_initiator: initiator("set_init_attr");
}

pub(in super::super) fn set_root(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    command.set_given(&Path::root())
}

pub(in super::super) fn enable_target(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.target("enable_target")?;
    command.enable(&path, true)
}

pub(in super::super) fn disable_target(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.target("disable_target")?;
    command.enable(&path, false)
}

pub(in super::super) fn resync_device(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.device("resync_dev")?;
    command.show(&path)?;
    command.step(
        format_args!("Resyncing device '{}'", path.name()),
        |command| command.set_one(&path, "resync_size", &["1".to_owned()]),
    )
}

pub(in super::super) fn add_driver_attribute(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.driver("add_drv_attr")?;
    command.add_values(&path)
}

pub(in super::super) fn add_target_attribute(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.target("add_tgt_attr")?;
    command.add_values(&path)
}

pub(in super::super) fn remove_driver_attribute(
    command: &mut Scstadmin<'_>,
) -> Result<(), Problem> {
    let path = command.driver("rem_drv_attr")?;
    command.remove_values(&path)
}

pub(in super::super) fn remove_target_attribute(
    command: &mut Scstadmin<'_>,
) -> Result<(), Problem> {
    let path = command.target("rem_tgt_attr")?;
    command.remove_values(&path)
}

impl Scstadmin<'_> {
    fn enable(&mut self, path: &Path, enabled: bool) -> Result<(), Problem> {
        self.show(path)?;
        let (doing, value) = if enabled {
            ("Enabling", "1")
        } else {
            ("Disabling", "0")
        };
        self.step(
            format_args!("{doing} driver/target '{}'", place(path)),
            |command| command.set_one(path, "enabled", &[value.to_owned()]),
        )
    }

    /// Sets all attributes of `-attributes`.
    fn set_given(&mut self, path: &Path) -> Result<(), Problem> {
        self.show(path)?;
        let given = attributes::parse(self.word("attributes"));
        // The file of a device and what is said of it are one.
        if path.kind() == Kind::Device && given.len() > 1 && given.contains_key("filename") {
            return self.set_at_once(path, given);
        }
        for (name, values) in given {
            let what = (path.kind().title(), place(path));
            // What is printed ends in the logs of a cluster.
            let shown = if is_account(&name) {
                "...".to_owned()
            } else {
                values.join(", ")
            };
            self.step(
                format_args!(
                    "Setting {} attribute '{name}' to value '{shown}' for '{}'",
                    what.0, what.1
                ),
                |command| command.set_one(path, &name, &values),
            )?;
        }
        Ok(())
    }

    /// Sets attributes in one step, or none of them.
    fn set_at_once(&mut self, path: &Path, given: Attributes) -> Result<(), Problem> {
        let names: Vec<_> = given.keys().map(|name| format!("'{name}'")).collect();
        let (kind, names) = (path.kind().title(), names.join(", "));
        self.step(
            format_args!("Setting {kind} attributes {names} for '{}'", place(path)),
            |command| {
                let mut changes = Vec::with_capacity(given.len());
                for (attribute, values) in given {
                    command.settable(path, &attribute)?;
                    changes.push(Change::Set {
                        path: path.clone(),
                        attribute,
                        values,
                    });
                }
                let made = command.make(changes);
                made.map_err(|error| exit::problem(path, Deed::Set, &error))
            },
        )
    }

    /// An attribute that can be set.
    fn settable(&mut self, path: &Path, name: &str) -> Result<ShownAttribute, Problem> {
        let attribute = self.attribute(path, name)?;
        if !attribute.write {
            let message = format!("{name} of {} cannot be changed", place(path));
            return Err(Problem::new(exit::code(path, Deed::Static), message));
        }
        Ok(attribute)
    }

    /// Sets an attribute, or writes to it where that does something once.
    fn set_one(&mut self, path: &Path, name: &str, values: &[String]) -> Result<(), Problem> {
        let attribute = self.attribute(path, name)?;
        if attribute.trigger && !attribute.write {
            if !self.options.has("debug") {
                let trigger = Call::Trigger {
                    path: path.clone(),
                    attribute: name.to_owned(),
                    value: values.first().cloned().unwrap_or_default(),
                };
                self.call::<Done>(trigger)
                    .map_err(|error| exit::problem(path, Deed::Set, &error))?;
                self.made += 1;
            }
            return Ok(());
        }
        let attribute = self.settable(path, name)?;
        // An address list is written as one value, as SCST's is.
        let values: Vec<_> = if attribute.repeated && !is_account(name) {
            values
                .iter()
                .flat_map(|value| value.split_whitespace())
                .map(str::to_owned)
                .collect()
        } else {
            values.to_vec()
        };
        self.put(path, name, values, Deed::Set)
    }

    fn put(
        &mut self,
        path: &Path,
        name: &str,
        values: Vec<String>,
        deed: Deed,
    ) -> Result<(), Problem> {
        let change = Change::Set {
            path: path.clone(),
            attribute: name.to_owned(),
            values,
        };
        self.make(vec![change])
            .map_err(|error| exit::problem(path, deed, &error))
    }

    fn attribute(&mut self, path: &Path, name: &str) -> Result<ShownAttribute, Problem> {
        let mut shown = self.show(path)?;
        shown.attributes.remove(name).ok_or_else(|| {
            let message = format!("a {} has no attribute {name:?}", path.kind().title());
            Problem::new(exit::code(path, Deed::BadAttribute), message)
        })
    }

    fn add_values(&mut self, path: &Path) -> Result<(), Problem> {
        self.show(path)?;
        for (name, given) in attributes::parse(self.word("attributes")) {
            let (kind, at) = (path.kind().title(), place(path));
            self.step(
                format_args!("Adding {kind} attribute '{name}' to '{at}'"),
                |command| {
                    let mut values = command.dynamic(path, &name)?;
                    values.extend(given);
                    command.put(path, &name, values, Deed::AddAttribute)
                },
            )?;
        }
        Ok(())
    }

    fn remove_values(&mut self, path: &Path) -> Result<(), Problem> {
        self.show(path)?;
        for (name, given) in attributes::parse(self.word("attributes")) {
            let (kind, at) = (path.kind().title(), place(path));
            self.step(
                format_args!("Removing {kind} attribute '{name}' from '{at}'"),
                |command| {
                    let mut values = command.dynamic(path, &name)?;
                    for value in &given {
                        let Some(at) = values.iter().position(|has| has == value) else {
                            let message = format!("{name} has no such value");
                            return Err(Problem::new(
                                exit::code(path, Deed::RemoveAttribute),
                                message,
                            ));
                        };
                        values.remove(at);
                    }
                    command.put(path, &name, values, Deed::RemoveAttribute)
                },
            )?;
        }
        Ok(())
    }

    /// The values of an attribute that may be repeated.
    fn dynamic(&mut self, path: &Path, name: &str) -> Result<Vec<String>, Problem> {
        let attribute = self.attribute(path, name)?;
        if !attribute.repeated {
            let message = format!("{name} has one value, which -set_*_attr changes");
            return Err(Problem::new(exit::code(path, Deed::BadAttribute), message));
        }
        Ok(attribute.values)
    }
}

/// A user's name and secret are one value, with a blank in it.
fn is_account(name: &str) -> bool {
    name.ends_with("User")
}

/// How an object is named to the user.
pub(super) fn place(path: &Path) -> String {
    match path.kind() {
        Kind::Root => "the whole".to_owned(),
        Kind::Target => {
            let driver = path.name_of(Kind::Driver).unwrap_or_default();
            format!("{driver}/{}", path.name())
        }
        _ => path.name().to_owned(),
    }
}
