//! What kinds of objects there are, and which stands in which.

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The whole; it has no name.
    Root,
    /// A device handler, as `vdisk_fileio`.
    Handler,
    /// A device; its handler is its attribute `handler`.
    Device,
    /// A target driver, as `iscsi`.
    Driver,
    /// A target of a driver.
    Target,
    /// An initiator group of a target.
    Group,
    /// A LUN of a target or a group; its device is its attribute `device`.
    Lun,
    /// A pattern of initiator names in a group.
    Initiator,
    /// A device group (asymmetric access).
    DeviceGroup,
    /// A device as a member of a device group.
    GroupDevice,
    /// A target port group of a device group.
    TargetGroup,
    /// A target as a member of a target port group. It may be one of another node.
    GroupTarget,
}

impl Kind {
    /// The kinds of objects that stand directly in one of this kind, in the order in which they are made.
    pub fn children(self) -> &'static [Kind] {
        match self {
            Self::Root => &[Self::Handler, Self::Device, Self::Driver, Self::DeviceGroup],
            Self::Driver => &[Self::Target],
            Self::Target => &[Self::Lun, Self::Group],
            Self::Group => &[Self::Lun, Self::Initiator],
            Self::DeviceGroup => &[Self::GroupDevice, Self::TargetGroup],
            Self::TargetGroup => &[Self::GroupTarget],
            Self::Handler
            | Self::Device
            | Self::Lun
            | Self::Initiator
            | Self::GroupDevice
            | Self::GroupTarget => &[],
        }
    }

    /// What an operator calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Root => "the target system",
            Self::Handler => "handler",
            Self::Device => "device",
            Self::Driver => "target driver",
            Self::Target => "target",
            Self::Group => "initiator group",
            Self::Lun => "LUN",
            Self::Initiator => "initiator",
            Self::DeviceGroup => "device group",
            Self::GroupDevice => "device of a device group",
            Self::TargetGroup => "target group",
            Self::GroupTarget => "target of a target group",
        }
    }

    /// [`Kind::title`] with its article.
    pub fn one(self) -> String {
        match self {
            Self::Root => self.title().to_owned(),
            Self::Group | Self::Initiator => format!("an {}", self.title()),
            _ => format!("a {}", self.title()),
        }
    }

    /// The folder in which objects of this kind stand in their parent, as SCST's sysfs has it; `None` where they stand
    /// in it directly.
    pub(super) fn folder(self) -> Option<&'static str> {
        match self {
            Self::Handler => Some("handlers"),
            Self::Device | Self::GroupDevice => Some("devices"),
            Self::Driver => Some("targets"),
            Self::Group => Some("ini_groups"),
            Self::Lun => Some("luns"),
            Self::Initiator => Some("initiators"),
            Self::DeviceGroup => Some("device_groups"),
            Self::TargetGroup => Some("target_groups"),
            Self::Root | Self::Target | Self::GroupTarget => None,
        }
    }
}
