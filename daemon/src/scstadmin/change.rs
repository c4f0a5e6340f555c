//! Operations that change something.

mod attribute;
mod object;

pub(super) use attribute::{
    add_driver_attribute, add_target_attribute, disable_target, enable_target,
    remove_driver_attribute, remove_target_attribute, resync_device, set_device, set_device_group,
    set_driver, set_group, set_group_target, set_handler, set_initiator, set_lun, set_root,
    set_target, set_target_group,
};
pub(super) use object::{
    add_device_group, add_group, add_group_device, add_group_target, add_initiator, add_lun,
    add_target, add_target_group, clear_initiators, clear_luns, close_device, issue_lip,
    move_initiator, open_device, remove_device_group, remove_group, remove_group_device,
    remove_group_target, remove_initiator, remove_lun, remove_target, remove_target_group,
    replace_lun,
};

use super::Scstadmin;
use super::exit::Problem;
use crate::tree::{Kind, Path, PathError};

/// Paths from options.
impl Scstadmin<'_> {
    /// The value of an option that its operation needs.
    pub(super) fn word(&self, option: &str) -> &str {
        self.options.value(option).unwrap_or_default()
    }

    fn named(&self, parent: Path, kind: Kind, option: &str) -> Result<Path, Problem> {
        let path = parent.child(kind, self.word(option));
        path.map_err(|error: PathError| Problem::fatal(error.to_string()))
    }

    pub(super) fn device(&self, option: &str) -> Result<Path, Problem> {
        self.named(Path::root(), Kind::Device, option)
    }

    pub(super) fn handler(&self, option: &str) -> Result<Path, Problem> {
        self.named(Path::root(), Kind::Handler, option)
    }

    pub(super) fn driver(&self, option: &str) -> Result<Path, Problem> {
        self.named(Path::root(), Kind::Driver, option)
    }

    pub(super) fn target(&self, option: &str) -> Result<Path, Problem> {
        self.named(self.driver("driver")?, Kind::Target, option)
    }

    pub(super) fn group(&self, option: &str) -> Result<Path, Problem> {
        self.named(self.target("target")?, Kind::Group, option)
    }

    /// What holds LUNs: the group, if one is named, or the target.
    pub(super) fn holder(&self) -> Result<Path, Problem> {
        if self.options.has("group") {
            self.group("group")
        } else {
            self.target("target")
        }
    }

    pub(super) fn lun(&self, option: &str) -> Result<Path, Problem> {
        self.named(self.holder()?, Kind::Lun, option)
    }

    pub(super) fn initiator(&self, option: &str) -> Result<Path, Problem> {
        self.named(self.group("group")?, Kind::Initiator, option)
    }

    pub(super) fn device_group(&self, option: &str) -> Result<Path, Problem> {
        self.named(Path::root(), Kind::DeviceGroup, option)
    }

    pub(super) fn group_device(&self, option: &str) -> Result<Path, Problem> {
        self.named(self.device_group("dev_group")?, Kind::GroupDevice, option)
    }

    pub(super) fn target_group(&self, option: &str) -> Result<Path, Problem> {
        self.named(self.device_group("dev_group")?, Kind::TargetGroup, option)
    }

    pub(super) fn group_target(&self, option: &str) -> Result<Path, Problem> {
        self.named(self.target_group("tgt_group")?, Kind::GroupTarget, option)
    }
}
