//! Operations that only show.

use super::exit::Problem;
use super::{Scstadmin, say, table};
use crate::control::protocol::{Call, Shown, ShownAttribute};
use crate::control::report;
use crate::schema::{self, Access};
use crate::tree::{Kind, Path};

pub(super) fn handlers(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    if command.options.value("list_handler").is_none() {
        let root = command.show(&Path::root())?;
        say!(
            command,
            "{}",
            table::column("Handler", names(&root, "handlers"))
        );
        return Ok(());
    }
    let handler = command.handler("list_handler")?;
    command.show(&handler)?;
    let rows = command.devices_of(handler.name())?;
    say!(command, "{}", table::pairs(["Handler", "Device"], &rows));
    Ok(())
}

pub(super) fn devices(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    if command.options.value("list_device").is_some() {
        let device = command.device("list_device")?;
        return command.tell_attributes(&device);
    }
    let root = command.show(&Path::root())?;
    let mut rows = Vec::new();
    for handler in names(&root, "handlers") {
        rows.extend(command.devices_of(handler)?);
    }
    say!(command, "{}", table::pairs(["Handler", "Device"], &rows));
    Ok(())
}

pub(super) fn device_groups(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    if command.options.value("list_dgrp").is_none() {
        let root = command.show(&Path::root())?;
        say!(
            command,
            "{}",
            table::column("Device Group", names(&root, "device_groups"))
        );
        return Ok(());
    }
    let group = command.device_group("list_dgrp")?;
    let shown = command.show(&group)?;
    say!(command, "Device Group: {}\n\n", group.name());
    say!(
        command,
        "{}\n",
        table::column("Devices", names(&shown, "devices"))
    );
    for name in names(&shown, "target_groups") {
        if let Ok(path) = group.child(Kind::TargetGroup, name.as_str()) {
            command.tell_target_group(&path)?;
        }
    }
    Ok(())
}

pub(super) fn target_groups(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    if command.options.value("list_tgrp").is_some() {
        let group = command.target_group("list_tgrp")?;
        return command.tell_target_group(&group);
    }
    let group = command.device_group("dev_group")?;
    let shown = command.show(&group)?;
    say!(
        command,
        "{}",
        table::column("Target Group", names(&shown, "target_groups"))
    );
    Ok(())
}

pub(super) fn drivers(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    if command.options.value("list_driver").is_none() {
        let root = command.show(&Path::root())?;
        say!(
            command,
            "{}",
            table::column("Driver", names(&root, "targets"))
        );
        return Ok(());
    }
    let driver = command.driver("list_driver")?;
    let shown = command.show(&driver)?;
    say!(
        command,
        "{}",
        table::pairs(["Driver", "Target"], &targets_of(&driver, &shown))
    );
    Ok(())
}

pub(super) fn targets(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let named = command.options.value("list_target").map(str::to_owned);
    let mut rows = Vec::new();
    for driver in command.drivers()? {
        let shown = command.show(&driver)?;
        for row in targets_of(&driver, &shown) {
            if named.as_ref() != Some(&row.1) {
                rows.push(row);
                continue;
            }
            let target = driver.child(Kind::Target, row.1);
            let target = target.map_err(|error| Problem::fatal(error.to_string()))?;
            command.tell_target(&target)?;
        }
    }
    let Some(name) = named else {
        say!(command, "{}", table::pairs(["Driver", "Target"], &rows));
        return Ok(());
    };
    // To say that there is none, with its code.
    let driver = command.drivers()?.into_iter().next().unwrap_or_default();
    let anywhere = command.drivers()?.into_iter().any(|driver| {
        driver
            .child(Kind::Target, name.as_str())
            .is_ok_and(|path| command.is_there(&path))
    });
    if !anywhere {
        let path = driver.child(Kind::Target, name.as_str());
        command.show(&path.map_err(|error| Problem::fatal(error.to_string()))?)?;
    }
    Ok(())
}

pub(super) fn groups(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let named = command.options.value("list_group").map(str::to_owned);
    for driver in command.drivers()? {
        let shown = command.show(&driver)?;
        for (_, name) in targets_of(&driver, &shown) {
            let Ok(target) = driver.child(Kind::Target, name.as_str()) else {
                continue;
            };
            if command
                .options
                .value("target")
                .is_some_and(|only| only != name)
            {
                continue;
            }
            let shown = command.show(&target)?;
            if let Some(named) = &named {
                if names(&shown, "ini_groups").contains(named) {
                    say!(command, "Driver: {}\nTarget: {name}\n\n", driver.name());
                    command.tell_group(&target, named)?;
                }
                continue;
            }
            command.tell_target(&target)?;
        }
    }
    Ok(())
}

pub(super) fn sessions(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let sessions: Vec<report::Session> = command.call(Call::Sessions)?;
    for driver in command.drivers()? {
        let shown = command.show(&driver)?;
        for (_, target) in targets_of(&driver, &shown) {
            say!(command, "Driver/Target: {}/{target}\n\n", driver.name());
            let of = |s: &&report::Session| s.driver == driver.name() && s.target == target;
            let mut of_target = sessions.iter().filter(of).peekable();
            if of_target.peek().is_none() {
                say!(command, "\t(no sessions)\n\n");
            }
            for session in of_target {
                say!(command, "\tSession: {}\n\n", session.name);
                let rows = session_attributes(session);
                say!(
                    command,
                    "{}\n",
                    table::attributes(rows.iter().map(|(n, a)| (n, a)), true)
                );
            }
        }
    }
    Ok(())
}

macro_rules! tells {
    ($($name:ident: $path:ident($option:literal);)*) => {
        $(
            pub(super) fn $name(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
                let path = command.$path($option)?;
                command.tell_attributes(&path)
            }
        )*
    };
}

tells! {
    handler_attributes: handler("list_hnd_attr");
    device_attributes: device("list_dev_attr");
    device_group_attributes: device_group("list_dgrp_attr");
    target_group_attributes: target_group("list_tgrp_attr");
    group_target_attributes: group_target("list_ttgt_attr");
    driver_attributes: driver("list_drv_attr");
    target_attributes: target("list_tgt_attr");
    group_attributes: group("list_grp_attr");
    lun_attributes: lun("list_lun_attr");
    initiator_attributes: initiator("list_init_attr");
}

pub(super) fn root_attributes(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    command.tell_attributes(&Path::root())
}

impl Scstadmin<'_> {
    fn drivers(&mut self) -> Result<Vec<Path>, Problem> {
        let root = self.show(&Path::root())?;
        let only = self.options.value("driver");
        Ok(names(&root, "targets")
            .iter()
            .filter(|name| only.is_none_or(|only| only == *name))
            .filter_map(|name| Path::root().child(Kind::Driver, name.as_str()).ok())
            .collect())
    }

    /// The devices of a handler, or a dash.
    fn devices_of(&mut self, handler: &str) -> Result<Vec<(String, String)>, Problem> {
        let devices: Vec<report::Device> = self.call(Call::Devices)?;
        let mut rows: Vec<_> = devices
            .into_iter()
            .filter(|device| device.handler == handler)
            .map(|device| (handler.to_owned(), device.name))
            .collect();
        rows.sort();
        if rows.is_empty() {
            rows.push((handler.to_owned(), "-".to_owned()));
        }
        Ok(rows)
    }

    fn tell_attributes(&mut self, path: &Path) -> Result<(), Problem> {
        let shown = self.show(path)?;
        let all = self.options.has("nonkey");
        say!(self, "{}", table::attributes(shown.attributes.iter(), all));
        let given_at = match path.kind() {
            Kind::Handler => "Device",
            Kind::Target | Kind::Group => "LUN",
            Kind::Driver => "Target",
            _ => return Ok(()),
        };
        let created = created_with(path);
        if !created.is_empty() {
            let title = format!("{given_at} CREATE attributes available");
            say!(self, "\n{}", table::column(&title, &created));
        }
        Ok(())
    }

    fn tell_target(&mut self, target: &Path) -> Result<(), Problem> {
        let driver = target.name_of(Kind::Driver).unwrap_or_default();
        say!(self, "Driver: {driver}\nTarget: {}\n\n", target.name());
        let shown = self.show(target)?;
        self.tell_luns(target, &shown)?;
        for group in names(&shown, "ini_groups") {
            self.tell_group(target, group)?;
        }
        Ok(())
    }

    fn tell_group(&mut self, target: &Path, name: &str) -> Result<(), Problem> {
        let Ok(group) = target.child(Kind::Group, name) else {
            return Ok(());
        };
        let shown = self.show(&group)?;
        say!(self, "Group: {name}\n\n");
        self.tell_luns(&group, &shown)?;
        say!(
            self,
            "Assigned Initiators:\n\n{}\n",
            table::column("Initiator", names(&shown, "initiators"))
        );
        Ok(())
    }

    fn tell_luns(&mut self, holder: &Path, shown: &Shown) -> Result<(), Problem> {
        let luns = names(shown, "luns");
        if luns.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::new();
        for lun in luns {
            let path = holder.child(Kind::Lun, lun.as_str());
            let path = path.map_err(|error| Problem::fatal(error.to_string()))?;
            let shown = self.show(&path)?;
            let device = shown
                .attributes
                .get("device")
                .and_then(|a| a.values.first().cloned());
            rows.push((lun.clone(), device.unwrap_or_default()));
        }
        say!(
            self,
            "Assigned LUNs:\n\n{}\n",
            table::pairs(["LUN", "Device"], &rows)
        );
        Ok(())
    }

    fn tell_target_group(&mut self, group: &Path) -> Result<(), Problem> {
        let shown = self.show(group)?;
        say!(self, "Target Group: {}\n\n", group.name());
        say!(
            self,
            "{}\n",
            table::attributes(shown.attributes.iter(), true)
        );
        say!(
            self,
            "{}\n",
            table::column("Targets", names(&shown, "targets"))
        );
        Ok(())
    }
}

/// Names of what stands in an object's folder.
fn names<'a>(shown: &'a Shown, folder: &str) -> &'a [String] {
    shown.children.get(folder).map_or(&[], Vec::as_slice)
}

fn targets_of(driver: &Path, shown: &Shown) -> Vec<(String, String)> {
    let name = driver.name();
    names(shown, "targets")
        .iter()
        .map(|target| (name.to_owned(), target.clone()))
        .collect()
}

/// The attributes that what stands in an object may be made with.
fn created_with(path: &Path) -> Vec<String> {
    let (kind, family) = match path.kind() {
        Kind::Handler => (Kind::Device, path.name()),
        Kind::Driver => (Kind::Target, path.name()),
        _ => (Kind::Lun, path.name_of(Kind::Driver).unwrap_or_default()),
    };
    // Those have options of their own.
    let by_option = ["handler", "device"];
    schema::attributes(kind, family)
        .iter()
        .filter(|attribute| attribute.access.contains(Access::CREATE))
        .map(|attribute| attribute.name.to_owned())
        .filter(|name| !by_option.contains(&name.as_str()))
        .collect()
}

fn session_attributes(session: &report::Session) -> Vec<(String, ShownAttribute)> {
    let numbers = [
        ("active_commands", session.active_commands),
        ("commands", session.commands),
        ("read_io_count_kb", session.read_bytes >> 10),
        ("write_io_count_kb", session.write_bytes >> 10),
    ];
    let mut rows: Vec<_> = numbers
        .map(|(name, n)| (name.to_owned(), n.to_string()))
        .into();
    rows.push(("initiator_name".to_owned(), session.initiator.clone()));
    // SCST has these of iSCSI only.
    if session.driver == "iscsi" {
        rows.push(("ip".to_owned(), session.peer.clone()));
        rows.push(("target_ip".to_owned(), session.portal.clone()));
    }
    rows.extend(session.parameters.iter().cloned());
    rows.sort();
    rows.into_iter()
        .map(|(name, value)| {
            let values = vec![value];
            (
                name,
                ShownAttribute {
                    values,
                    read: true,
                    ..ShownAttribute::default()
                },
            )
        })
        .collect()
}
