//! Exit codes, as scripts know them from SCST.

use crate::control::protocol::{Code, Error};
use crate::tree::{Kind, Path};

/// Whatever has no code of its own: a wrong command line, no running target.
pub(super) const FATAL: u8 = 2;
/// A target has sessions and is not to lose them.
pub(super) const TARGET_BUSY: u8 = 54;
/// A device is in another device group.
pub(super) const DEVICE_IN_OTHER_GROUP: u8 = 138;
/// A device under a LUN could not be replaced.
pub(super) const REPLACE_LUN: u8 = 96;
/// An initiator could not be moved.
pub(super) const MOVE_INITIATOR: u8 = 84;

/// Why an operation ended: what is said, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The exit code.
    pub code: u8,
    /// One sentence.
    pub message: String,
}

impl Problem {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    /// One with [`FATAL`].
    pub(super) fn fatal(message: impl Into<String>) -> Self {
        Self::new(FATAL, message)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::fatal(error.message)
    }
}

/// What was to be done with an object when an error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Find,
    Exists,
    Add,
    Remove,
    Set,
    /// The attribute is none, or its value is wrong.
    BadAttribute,
    /// The attribute cannot be set.
    Static,
    AddAttribute,
    RemoveAttribute,
}

/// The code for an object of this kind in this place.
pub(super) fn code(path: &Path, deed: Deed) -> u8 {
    let in_group = path.name_of(Kind::Group).is_some();
    // Find, Exists, Add, Remove, Set, BadAttribute, Static
    let codes = match path.kind() {
        Kind::Root => [FATAL, FATAL, FATAL, FATAL, 9, 7, 8],
        Kind::Handler => [10, FATAL, FATAL, FATAL, 19, 17, 18],
        Kind::Device => [20, 21, 22, 23, 29, 27, 28],
        Kind::Driver => [30, FATAL, 31, 31, 39, 37, 38],
        Kind::Target => [40, 41, 42, 43, 52, 50, 51],
        Kind::Lun if in_group => [70, 71, 72, 73, 99, 97, 98],
        Kind::Lun => [47, 49, 48, 53, 99, 97, 98],
        Kind::Group => [60, 61, 62, 63, 79, 77, 78],
        Kind::Initiator => [80, 81, 82, 83, 102, 100, 101],
        Kind::DeviceGroup => [120, 121, 122, 123, 142, 140, 141],
        Kind::GroupDevice => [132, 133, 130, 131, FATAL, FATAL, FATAL],
        Kind::TargetGroup => [136, 137, 134, 135, 152, 150, 151],
        Kind::GroupTarget => [162, 163, 160, 161, 172, 170, 171],
    };
    let of_driver = path.kind() == Kind::Driver;
    match deed {
        Deed::Find => codes[0],
        Deed::Exists => codes[1],
        Deed::Add => codes[2],
        Deed::Remove => codes[3],
        Deed::Set => codes[4],
        Deed::BadAttribute => codes[5],
        Deed::Static => codes[6],
        Deed::AddAttribute => {
            if of_driver {
                35
            } else {
                45
            }
        }
        Deed::RemoveAttribute => {
            if of_driver {
                36
            } else {
                46
            }
        }
    }
}

/// The problem that an error of the running target is for this deed.
pub(super) fn problem(path: &Path, deed: Deed, error: &Error) -> Problem {
    let code = match error.code {
        Code::Request | Code::Forbidden => FATAL,
        _ => code(path, deed),
    };
    Problem::new(code, error.message.clone())
}
