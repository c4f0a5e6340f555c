//! Why target port groups cannot be made or changed as asked.

/// See the module's head. Unless its text says otherwise, an error means that nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum AluaError {
    /// Identifiers of groups go from 1 to 65535.
    #[error("0 is no target port group identifier: 1 to 65535")]
    GroupId,
    /// The identifier is taken.
    #[error("target port group {0} exists already")]
    GroupExists(u16),
    /// There is no such group.
    #[error("there is no target port group {0}")]
    NoSuchGroup(u16),
    /// Relative target port identifiers go from 1 to 65535.
    #[error("0 is no relative target port identifier: 1 to 65535")]
    PortId,
    /// A relative target port identifier belongs to one port of the device group.
    #[error("relative target port {port} is in target port group {group} already")]
    PortInUse {
        /// The port.
        port: u16,
        /// Where it is.
        group: u16,
    },
    /// The group has no such port.
    #[error("target port group {group} has no relative target port {port}")]
    NoSuchPort {
        /// The group.
        group: u16,
        /// The port.
        port: u16,
    },
    /// TARGET PORT COUNT has one byte (SPC-4 6.37).
    #[error("target port group {0} would have more than 255 ports")]
    TooManyPorts(u16),
    /// The name of a remote target is empty or longer than 223 bytes.
    #[error("the remote target name {0:?} is empty or longer than 223 bytes")]
    RemoteName(String),
    /// A target is in a group once.
    #[error("the remote target {target:?} is in target port group {group} already")]
    RemoteTwice {
        /// The target.
        target: String,
        /// The group.
        group: u16,
    },
    /// A unit is in one device group at most.
    #[error("the unit is in the device group {0:?} already")]
    UnitInGroup(String),
    /// The unit is not in this device group.
    #[error("the unit is not in the device group {0:?}")]
    NotInGroup(String),
    /// The service was not given to a logical unit, or that is gone.
    #[error("there is no logical unit with this access service")]
    NoUnit,
    /// Commands did not end although they were aborted; the access states are as they were.
    #[error("commands of unit {0:?} do not end")]
    StillRunning(String),
    /// A unit could not take its medium. Groups that were to get access are unavailable now.
    #[error("unit {unit:?} cannot take its medium: {source}")]
    Activate {
        /// Serial number.
        unit: String,
        /// Why.
        source: std::io::Error,
    },
    /// A unit gave its medium up with an error: not all of it may be durable, or the device may still be open. The
    /// groups are in the new state all the same.
    #[error("unit {unit:?} did not give its medium up cleanly: {source}")]
    Deactivate {
        /// Serial number.
        unit: String,
        /// Why.
        source: std::io::Error,
    },
}
