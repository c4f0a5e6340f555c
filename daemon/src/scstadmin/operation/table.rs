//! The operations there are.

use super::super::exit::Problem;
use super::super::{Scstadmin, change, config, list};
use super::Operation;

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
pub(in super::super) const OPERATIONS: &[Operation] = &[
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
