//! Operations that make, remove and move objects.

use super::super::exit::{self, Deed, Problem};
use super::super::{Scstadmin, attributes, say};
use super::attribute::place;
use crate::control::protocol::{Call, Shown};
use crate::control::report;
use crate::manage::Change;
use crate::tree::{Attributes, Kind, Path};

/// The most levels of objects in objects.
const DEEPEST: usize = 4;

pub(in super::super) fn open_device(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.device("open_dev")?;
    let handler = command.handler("handler")?;
    command.show(&handler)?;
    let mut given = command.given();
    given.insert("handler".to_owned(), vec![handler.name().to_owned()]);
    let what = (path.name().to_owned(), handler.name().to_owned());
    command.step(
        format_args!("Opening device '{}' using handler '{}'", what.0, what.1),
        |command| command.add(&path, given),
    )
}

pub(in super::super) fn close_device(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.device("close_dev")?;
    command.show(&path)?;
    let mut changes = Vec::new();
    if command.options.has("force") {
        let devices: Vec<report::Device> = command.call(Call::Devices)?;
        let used = devices
            .into_iter()
            .filter(|device| device.name == path.name());
        for lun in used.flat_map(|device| device.luns) {
            // Those that are not the user's to remove go with their device.
            if let Ok(path) = lun.parse::<Path>()
                && path.name_of(Kind::Driver) != Some("copy_manager")
            {
                changes.push(Change::Remove { path });
            }
        }
        changes.extend(command.memberships(&path)?);
    }
    changes.push(Change::Remove { path: path.clone() });
    command.step(
        format_args!("Closing device '{}'", path.name()),
        |command| {
            command
                .make(changes)
                .map_err(|error| exit::problem(&path, Deed::Remove, &error))
        },
    )
}

macro_rules! adds {
    ($($name:ident: $path:ident($option:literal), $what:literal;)*) => {
        $(
            pub(in super::super) fn $name(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
                let path = command.$path($option)?;
                let given = command.given();
                command.step(format_args!(concat!("Adding ", $what, " '{}'"), path.name()), |command| {
                    command.add(&path, given)
                })
            }
        )*
    };
}

adds! {
    add_device_group: device_group("add_dgrp"), "device group";
    add_group_device: group_device("add_dgrp_dev"), "device to device group";
    add_target_group: target_group("add_tgrp"), "target group";
    add_group_target: group_target("add_tgrp_tgt"), "target to target group";
    add_target: target("add_target"), "target";
    add_group: group("add_group"), "initiator group";
    add_initiator: initiator("add_init"), "initiator";
}

macro_rules! removes {
    ($($name:ident: $path:ident($option:literal), $what:literal;)*) => {
        $(
            pub(in super::super) fn $name(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
                let path = command.$path($option)?;
                command.step(format_args!(concat!("Removing ", $what, " '{}'"), path.name()), |command| {
                    command.remove(&path)
                })
            }
        )*
    };
}

removes! {
    remove_device_group: device_group("rem_dgrp"), "device group";
    remove_group_device: group_device("rem_dgrp_dev"), "device from device group";
    remove_target_group: target_group("rem_tgrp"), "target group";
    remove_group_target: group_target("rem_tgrp_tgt"), "target from target group";
    remove_initiator: initiator("rem_init"), "initiator";
    remove_lun: lun("rem_lun"), "LUN";
}

pub(in super::super) fn remove_target(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.target("rem_target")?;
    command.show(&path)?;
    command.step(
        format_args!("Removing target '{}'", place(&path)),
        |command| {
            if command.has_sessions(&path, None)? && !command.options.has("force") {
                let message = format!("{} has sessions: -force ends them", place(&path));
                return Err(Problem::new(exit::TARGET_BUSY, message));
            }
            command.remove(&path)
        },
    )
}

pub(in super::super) fn remove_group(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.group("rem_group")?;
    command.show(&path)?;
    command.step(
        format_args!("Removing initiator group '{}'", path.name()),
        |command| {
            let target = command.target("target")?;
            if command.has_sessions(&target, Some(path.name()))? && !command.options.has("force") {
                let message = format!(
                    "sessions use {}: -force takes its LUNs from them",
                    path.name()
                );
                return Err(Problem::new(exit::code(&path, Deed::Remove), message));
            }
            command.remove(&path)
        },
    )
}

pub(in super::super) fn move_initiator(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.initiator("move_init")?;
    command.show(&path)?;
    let group = command.word("to").to_owned();
    command.step(
        format_args!("Moving initiator '{}' to group '{group}'", path.name()),
        |command| {
            let change = Change::Move {
                path: path.clone(),
                group: group.clone(),
            };
            let moved = command.make(vec![change]);
            moved.map_err(|error| Problem::new(exit::MOVE_INITIATOR, error.message))
        },
    )
}

pub(in super::super) fn add_lun(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.lun("add_lun")?;
    let device = command.device("device")?;
    command.show(&device)?;
    let mut given = command.given();
    given.insert("device".to_owned(), vec![device.name().to_owned()]);
    let what = (device.name().to_owned(), path.name().to_owned());
    command.step(
        format_args!("Adding device '{}' at LUN {}", what.0, what.1),
        |command| command.add(&path, given),
    )
}

pub(in super::super) fn replace_lun(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let path = command.lun("replace_lun")?;
    let device = command.device("device")?.name().to_owned();
    command.show(&path)?;
    command.step(
        format_args!("Replacing the device at LUN {} by '{device}'", path.name()),
        |command| {
            let change = Change::Replace {
                path: path.clone(),
                device: device.clone(),
                tell: true,
            };
            let replaced = command.make(vec![change]);
            replaced.map_err(|error| Problem::new(exit::REPLACE_LUN, error.message))
        },
    )
}

pub(in super::super) fn clear_luns(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let holder = command.holder()?;
    command.clear(&holder, Kind::Lun, "luns")
}

pub(in super::super) fn clear_initiators(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let group = command.group("group")?;
    command.clear(&group, Kind::Initiator, "initiators")
}

pub(in super::super) fn issue_lip(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    say!(command, "\t-> No driver here has a loop to initialize.\n");
    Ok(())
}

impl Scstadmin<'_> {
    /// The attributes of `-attributes`.
    fn given(&self) -> Attributes {
        attributes::parse(self.word("attributes"))
    }

    fn add(&mut self, path: &Path, attributes: Attributes) -> Result<(), Problem> {
        if let Some((parent, _)) = path.split() {
            self.show(&parent)?;
        }
        if self.is_there(path) {
            let message = format!("there is a {} {} already", path.kind().title(), place(path));
            return Err(Problem::new(exit::code(path, Deed::Exists), message));
        }
        if path.kind() == Kind::GroupDevice
            && let Some(Change::Remove { path: other }) = self.memberships(path)?.first()
        {
            let message = format!("{} is in a device group: {other}", path.name());
            return Err(Problem::new(exit::DEVICE_IN_OTHER_GROUP, message));
        }
        let change = Change::Create {
            path: path.clone(),
            attributes,
        };
        self.make(vec![change])
            .map_err(|error| exit::problem(path, Deed::Add, &error))
    }

    /// Removes an object with all that stands in it.
    fn remove(&mut self, path: &Path) -> Result<(), Problem> {
        let shown = self.show(path)?;
        let mut changes = Vec::new();
        self.removals(path, &shown, DEEPEST, &mut changes)?;
        self.make(changes)
            .map_err(|error| exit::problem(path, Deed::Remove, &error))
    }

    fn removals(
        &mut self,
        path: &Path,
        shown: &Shown,
        deep: usize,
        changes: &mut Vec<Change>,
    ) -> Result<(), Problem> {
        for child in children(path, shown) {
            if deep > 0 {
                let shown = self.show(&child)?;
                self.removals(&child, &shown, deep - 1, changes)?;
            }
        }
        changes.push(Change::Remove { path: path.clone() });
        Ok(())
    }

    fn clear(&mut self, holder: &Path, kind: Kind, folder: &str) -> Result<(), Problem> {
        let shown = self.show(holder)?;
        let names = shown.children.get(folder).into_iter().flatten();
        let changes: Vec<_> = names
            .filter_map(|name| holder.child(kind, name.as_str()).ok())
            .map(|path| Change::Remove { path })
            .collect();
        self.step(
            format_args!("Clearing all {folder} of '{}'", place(holder)),
            |command| {
                if changes.is_empty() {
                    return Ok(());
                }
                let removed = command.make(changes);
                let code = if kind == Kind::Initiator {
                    85
                } else if holder.kind() == Kind::Group {
                    75
                } else {
                    53
                };
                removed.map_err(|error| Problem::new(code, error.message))
            },
        )
    }

    /// What takes a device out of the device groups that it is in.
    fn memberships(&mut self, device: &Path) -> Result<Vec<Change>, Problem> {
        let root = self.show(&Path::root())?;
        let mut changes = Vec::new();
        for group in root.children.get("device_groups").into_iter().flatten() {
            let path = Path::root().child(Kind::DeviceGroup, group.as_str());
            let path = path.map_err(|error| Problem::fatal(error.to_string()))?;
            let shown = self.show(&path)?;
            let has = |names: &Vec<String>| names.iter().any(|name| name == device.name());
            if shown.children.get("devices").is_some_and(has) {
                let path = path.child(Kind::GroupDevice, device.name());
                changes.extend(path.ok().map(|path| Change::Remove { path }));
            }
        }
        Ok(changes)
    }

    fn has_sessions(&mut self, target: &Path, group: Option<&str>) -> Result<bool, Problem> {
        let sessions: Vec<report::Session> = self.call(Call::Sessions)?;
        let driver = target.name_of(Kind::Driver).unwrap_or_default();
        Ok(sessions.iter().any(|session| {
            session.driver == driver
                && session.target == target.name()
                && group.is_none_or(|group| session.group.as_deref() == Some(group))
        }))
    }
}

/// The paths of what stands in an object.
fn children(path: &Path, shown: &Shown) -> Vec<Path> {
    let mut paths = Vec::new();
    for (folder, names) in &shown.children {
        for name in names {
            // Targets stand in a driver or a group directly, all else in its folder.
            let text = match (path.kind(), folder.as_str()) {
                (Kind::Driver | Kind::TargetGroup, _) => format!("{path}/{name}"),
                _ => format!("{path}/{folder}/{name}"),
            };
            paths.extend(text.parse::<Path>());
        }
    }
    paths
}
