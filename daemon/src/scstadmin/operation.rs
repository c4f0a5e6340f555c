//! The operations: which options each needs, whether the user is asked, and what it does.

use super::exit::Problem;
use super::options::Options;
use super::{Scstadmin, change, config, list};

/// An operation.
pub(super) struct Operation {
    /// Its option.
    pub(super) name: &'static str,
    /// Options that it needs.
    needs: &'static [&'static str],
    /// Whether it asks before.
    pub(super) asks: bool,
    /// Whether it is one that changes something by itself.
    pub(super) changes: bool,
    pub(super) run: fn(&mut Scstadmin<'_>) -> Result<(), Problem>,
    /// What it is for.
    help: &'static str,
}

type Run = fn(&mut Scstadmin<'_>) -> Result<(), Problem>;

const fn lists(
    name: &'static str,
    needs: &'static [&'static str],
    run: Run,
    help: &'static str,
) -> Operation {
    Operation {
        name,
        needs,
        asks: false,
        changes: false,
        run,
        help,
    }
}

const fn changes(
    name: &'static str,
    needs: &'static [&'static str],
    run: Run,
    help: &'static str,
) -> Operation {
    Operation {
        changes: true,
        ..lists(name, needs, run, help)
    }
}

const fn asks(
    name: &'static str,
    needs: &'static [&'static str],
    run: Run,
    help: &'static str,
) -> Operation {
    Operation {
        asks: true,
        ..changes(name, needs, run, help)
    }
}

const TARGET: &[&str] = &["driver", "target"];
const GROUP: &[&str] = &["driver", "target", "group"];
const DEV_GROUP: &[&str] = &["dev_group"];
const TGT_GROUP: &[&str] = &["dev_group", "tgt_group"];

/// All of them, in the order in which they are told.
pub(super) const OPERATIONS: &[Operation] = &[
    lists(
        "config",
        &[],
        config::apply,
        "apply a configuration file; with -force what it does not name goes",
    ),
    lists(
        "check_config",
        &[],
        config::check,
        "check a configuration file",
    ),
    lists(
        "write_config",
        &[],
        config::write,
        "write the present configuration to a file; -nonkey: with all attributes",
    ),
    asks(
        "clear_config",
        &["force"],
        config::clear,
        "remove all that can be removed",
    ),
    lists(
        "list_handler",
        &[],
        list::handlers,
        "handlers, or the devices of one",
    ),
    lists(
        "list_device",
        &[],
        list::devices,
        "devices, or the attributes of one",
    ),
    lists(
        "list_dgrp",
        &[],
        list::device_groups,
        "device groups, or one",
    ),
    lists(
        "list_tgrp",
        DEV_GROUP,
        list::target_groups,
        "target groups, or one",
    ),
    lists(
        "list_driver",
        &[],
        list::drivers,
        "target drivers, or the targets of one",
    ),
    lists(
        "list_target",
        &[],
        list::targets,
        "targets, or what stands in one",
    ),
    lists(
        "list_group",
        &[],
        list::groups,
        "initiator groups with LUNs and initiators",
    ),
    lists(
        "list_sessions",
        &[],
        list::sessions,
        "sessions and their attributes",
    ),
    lists(
        "list_scst_attr",
        &[],
        list::root_attributes,
        "attributes of the whole",
    ),
    lists(
        "list_hnd_attr",
        &[],
        list::handler_attributes,
        "attributes of a handler",
    ),
    lists(
        "list_dev_attr",
        &[],
        list::device_attributes,
        "attributes of a device",
    ),
    lists(
        "list_dgrp_attr",
        &[],
        list::device_group_attributes,
        "attributes of a device group",
    ),
    lists(
        "list_tgrp_attr",
        DEV_GROUP,
        list::target_group_attributes,
        "attributes of a target group",
    ),
    lists(
        "list_ttgt_attr",
        TGT_GROUP,
        list::group_target_attributes,
        "attributes of a target of a target group",
    ),
    lists(
        "list_drv_attr",
        &[],
        list::driver_attributes,
        "attributes of a target driver",
    ),
    lists(
        "list_tgt_attr",
        &["driver"],
        list::target_attributes,
        "attributes of a target",
    ),
    lists(
        "list_grp_attr",
        TARGET,
        list::group_attributes,
        "attributes of an initiator group",
    ),
    lists(
        "list_lun_attr",
        TARGET,
        list::lun_attributes,
        "attributes of a LUN",
    ),
    lists(
        "list_init_attr",
        GROUP,
        list::initiator_attributes,
        "attributes of an initiator",
    ),
    asks(
        "set_scst_attr",
        &["attributes"],
        change::set_root,
        "set attributes of the whole",
    ),
    asks(
        "set_hnd_attr",
        &["attributes"],
        change::set_handler,
        "set attributes of a handler",
    ),
    asks(
        "set_dev_attr",
        &["attributes"],
        change::set_device,
        "set attributes of a device",
    ),
    asks(
        "set_dgrp_attr",
        &["attributes"],
        change::set_device_group,
        "set attributes of a device group",
    ),
    asks(
        "set_tgrp_attr",
        &["dev_group", "attributes"],
        change::set_target_group,
        "set attributes of a target group, as state",
    ),
    asks(
        "set_ttgt_attr",
        &["dev_group", "tgt_group", "attributes"],
        change::set_group_target,
        "set attributes of a target of a target group",
    ),
    asks(
        "set_drv_attr",
        &["attributes"],
        change::set_driver,
        "set attributes of a target driver",
    ),
    asks(
        "set_tgt_attr",
        &["driver", "attributes"],
        change::set_target,
        "set attributes of a target",
    ),
    asks(
        "set_grp_attr",
        &["driver", "target", "attributes"],
        change::set_group,
        "set attributes of an initiator group",
    ),
    asks(
        "set_lun_attr",
        &["driver", "target", "attributes"],
        change::set_lun,
        "set attributes of a LUN",
    ),
    asks(
        "set_init_attr",
        &["driver", "target", "group", "attributes"],
        change::set_initiator,
        "set attributes of an initiator",
    ),
    changes(
        "add_drv_attr",
        &["attributes"],
        change::add_driver_attribute,
        "add values to attributes of a target driver",
    ),
    changes(
        "add_tgt_attr",
        &["driver", "attributes"],
        change::add_target_attribute,
        "add values to attributes of a target",
    ),
    asks(
        "rem_drv_attr",
        &["attributes"],
        change::remove_driver_attribute,
        "remove values of attributes of a target driver",
    ),
    asks(
        "rem_tgt_attr",
        &["driver", "attributes"],
        change::remove_target_attribute,
        "remove values of attributes of a target",
    ),
    changes(
        "open_dev",
        &["handler"],
        change::open_device,
        "make a device",
    ),
    asks(
        "close_dev",
        &[],
        change::close_device,
        "remove a device; with -force its LUNs too",
    ),
    changes(
        "resync_dev",
        &[],
        change::resync_device,
        "look at the size of a device anew",
    ),
    changes(
        "add_dgrp",
        &[],
        change::add_device_group,
        "make a device group",
    ),
    asks(
        "rem_dgrp",
        &[],
        change::remove_device_group,
        "remove a device group",
    ),
    changes(
        "add_dgrp_dev",
        DEV_GROUP,
        change::add_group_device,
        "add a device to a device group",
    ),
    asks(
        "rem_dgrp_dev",
        DEV_GROUP,
        change::remove_group_device,
        "remove a device from a device group",
    ),
    changes(
        "add_tgrp",
        DEV_GROUP,
        change::add_target_group,
        "make a target group",
    ),
    asks(
        "rem_tgrp",
        DEV_GROUP,
        change::remove_target_group,
        "remove a target group",
    ),
    changes(
        "add_tgrp_tgt",
        TGT_GROUP,
        change::add_group_target,
        "add a target to a target group",
    ),
    asks(
        "rem_tgrp_tgt",
        TGT_GROUP,
        change::remove_group_target,
        "remove a target from a target group",
    ),
    changes(
        "add_target",
        &["driver"],
        change::add_target,
        "make a target",
    ),
    asks(
        "rem_target",
        &["driver"],
        change::remove_target,
        "remove a target with all that stands in it",
    ),
    changes(
        "enable_target",
        &["driver"],
        change::enable_target,
        "let initiators log in",
    ),
    asks(
        "disable_target",
        &["driver"],
        change::disable_target,
        "let no initiators log in any more",
    ),
    changes(
        "issue_lip",
        &[],
        change::issue_lip,
        "nothing: this program has no Fibre Channel",
    ),
    changes(
        "add_group",
        TARGET,
        change::add_group,
        "make an initiator group",
    ),
    asks(
        "rem_group",
        TARGET,
        change::remove_group,
        "remove an initiator group with all that stands in it",
    ),
    changes(
        "add_init",
        GROUP,
        change::add_initiator,
        "add an initiator or a pattern to a group",
    ),
    asks(
        "rem_init",
        GROUP,
        change::remove_initiator,
        "remove an initiator from a group",
    ),
    asks(
        "move_init",
        &["driver", "target", "group", "to"],
        change::move_initiator,
        "move an initiator to another group",
    ),
    asks(
        "clear_inits",
        GROUP,
        change::clear_initiators,
        "remove all initiators of a group",
    ),
    changes(
        "add_lun",
        &["driver", "target", "device"],
        change::add_lun,
        "make a LUN of a target or group",
    ),
    asks("rem_lun", TARGET, change::remove_lun, "remove a LUN"),
    asks(
        "replace_lun",
        &["driver", "target", "device"],
        change::replace_lun,
        "put another device under a LUN",
    ),
    asks(
        "clear_luns",
        TARGET,
        change::clear_luns,
        "remove all LUNs of a target or group",
    ),
];

/// The operation that the options name; `None` if there is none, or help is asked for.
pub(super) fn of(options: &Options) -> Result<Option<&'static Operation>, Problem> {
    if options.has("h") || options.has("help") {
        return Ok(None);
    }
    let mut named = OPERATIONS
        .iter()
        .filter(|operation| options.has(operation.name));
    let Some(operation) = named.next() else {
        return Ok(None);
    };
    if let Some(other) = named.next() {
        let (one, other) = (operation.name, other.name);
        return Err(Problem::new(
            1,
            format!("-{one} and -{other} are two operations: give one"),
        ));
    }
    let missing: Vec<_> = operation
        .needs
        .iter()
        .filter(|option| !options.has(option))
        .map(|option| format!("-{option}"))
        .collect();
    if !missing.is_empty() {
        let name = operation.name;
        return Err(Problem::new(
            1,
            format!("-{name} needs {}", missing.join(", ")),
        ));
    }
    Ok(Some(operation))
}

/// What `-help` tells.
pub(super) fn usage() -> String {
    let mut usage = String::from(
        "Usage: scstadmin [OPTION]... OPERATION\n\nAdministers a running lunforge as SCST's program of this name does its target.\n\nOperations:\n",
    );
    for operation in OPERATIONS {
        let needs: String = operation
            .needs
            .iter()
            .map(|need| format!(" -{need} ..."))
            .collect();
        usage += &format!("  -{}{needs}\n        {}\n", operation.name, operation.help);
    }
    usage += "\nOptions:\n  \
        -attributes A=V,B=V  values; a name alone stands for 1, a comma in a value is written \\,\n  \
        -group NAME          an initiator group, for operations on LUNs\n  \
        -noprompt            do not ask\n  \
        -force               do it although something is in use\n  \
        -nonkey              with attributes that a configuration can do without\n  \
        -cont_on_err         go on after an error\n  \
        -debug               say what would be changed\n  \
        -control PATH        the control socket of the running target\n";
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(line: &str) -> Result<Option<&'static str>, String> {
        let options = Options::parse(line.split_whitespace().map(str::to_owned)).unwrap();
        of(&options)
            .map(|found| found.map(|o| o.name))
            .map_err(|problem| problem.message)
    }

    #[test]
    fn an_operation_needs_its_options_and_is_alone() {
        assert_eq!(
            operation("-add_target t -driver iscsi"),
            Ok(Some("add_target"))
        );
        assert_eq!(
            operation("-add_target t").unwrap_err(),
            "-add_target needs -driver"
        );
        assert_eq!(
            operation("-open_dev d -handler h -set_scst_attr").unwrap_err(),
            "-set_scst_attr and -open_dev are two operations: give one"
        );
        assert_eq!(
            operation("-clear_config").unwrap_err(),
            "-clear_config needs -force"
        );
        assert_eq!(operation("-noprompt"), Ok(None));
    }

    #[test]
    fn every_operation_is_an_option() {
        for operation in OPERATIONS {
            let line = format!("-{} x", operation.name);
            let words = line.split_whitespace().map(str::to_owned);
            let options = Options::parse(words.clone())
                .or_else(|_| Options::parse(words.take(1)))
                .unwrap();
            assert!(options.has(operation.name));
        }
    }
}
