//! What cannot be done to a target.

use super::{MAX_GROUP, MAX_LUN, MAX_PATTERN};

/// How much of a wrong name is told.
const SHOWN: usize = 64;

/// The beginning of a name that may be long.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}

/// Why a target cannot be made or changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The number is larger than [`MAX_LUN`].
    #[error("LUN {0} is out of range: 0 to {MAX_LUN}")]
    LunRange(u64),
    /// The number is taken.
    #[error("LUN {0} is in use")]
    LunInUse(u16),
    /// There is no such LUN.
    #[error("there is no LUN {0}")]
    NoSuchLun(u16),
    /// Two units would claim to be the same device.
    #[error("two logical units have the serial number {0:?}")]
    DuplicateSerial(String),
    /// Two units would claim to be the same device, by a designator.
    #[error("logical unit {0:?} has a designator of logical unit {1:?}")]
    DuplicateDesignator(String, String),
    /// The unit is a LUN of another target, whose port has the same relative identifier.
    #[error("the unit is reached through another target by the relative target port {0} already")]
    DuplicatePort(u16),
    /// No name, or one of more than 223 bytes (RFC 7143 4.2.7); its beginning.
    #[error("the target name {0:?} is empty or longer than 223 bytes")]
    Name(String),
    /// No name of a group, or a long one; its beginning.
    #[error("the group name {0:?} is empty or longer than {MAX_GROUP} bytes")]
    GroupName(String),
    /// The name of the group is taken.
    #[error("there is a group {0:?} already")]
    GroupInUse(String),
    /// There is no such group; the beginning of its name.
    #[error("there is no group {0:?}")]
    NoSuchGroup(String),
    /// No pattern, or a long one; its beginning.
    #[error("the pattern {0:?} is empty or longer than {MAX_PATTERN} bytes")]
    Pattern(String),
    /// The group has the pattern.
    #[error("the group {0:?} has the initiator {1:?} already")]
    InitiatorInUse(String, String),
    /// The group does not have the pattern.
    #[error("the group {0:?} has no initiator {1:?}")]
    NoSuchInitiator(String, String),
}
