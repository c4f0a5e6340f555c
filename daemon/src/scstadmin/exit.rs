//! Exit codes, as scripts know them from SCST.

use crate::control::protocol::{Code, Error};
use crate::tree::{Key, Kind, Path};

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

/// Codes that belong to no object.
const OWN: &[(u8, &str)] = &[
    (0, "all is done"),
    (1, "the command line is wrong, or has no operation"),
    (
        FATAL,
        "nothing could be asked or changed; errors without a code of their own",
    ),
    (TARGET_BUSY, "the target has sessions"),
    (MOVE_INITIATOR, "the initiator could not be moved"),
    (
        REPLACE_LUN,
        "the device under the LUN could not be replaced",
    ),
    (
        DEVICE_IN_OTHER_GROUP,
        "the device is in another device group",
    ),
];

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

impl Deed {
    const ALL: [Self; 9] = [
        Self::Find,
        Self::Exists,
        Self::Add,
        Self::Remove,
        Self::Set,
        Self::BadAttribute,
        Self::Static,
        Self::AddAttribute,
        Self::RemoveAttribute,
    ];

    /// Whether it is about one value of several, which only drivers and targets have.
    fn is_of_values(self) -> bool {
        matches!(self, Self::AddAttribute | Self::RemoveAttribute)
    }

    fn said(self, what: &str) -> String {
        match self {
            Self::Find => format!("there is no such {what}"),
            Self::Exists => format!("the {what} is there already"),
            Self::Add => format!("the {what} could not be made"),
            Self::Remove => format!("the {what} could not be removed"),
            Self::Set => format!("an attribute of the {what} could not be set"),
            Self::BadAttribute => {
                format!("the {what} has no such attribute, or the value is wrong")
            }
            Self::Static => format!("the attribute of the {what} cannot be set"),
            Self::AddAttribute => {
                format!("the value could not be added to the attribute of the {what}")
            }
            Self::RemoveAttribute => {
                format!("the value could not be removed from the attribute of the {what}")
            }
        }
    }
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

/// Every code with what it says, ascending.
pub(super) fn told() -> Vec<(u8, String)> {
    let own = OWN.iter().map(|(code, why)| (*code, (*why).to_owned()));
    let mut told: std::collections::BTreeMap<u8, String> = own.collect();
    for (path, what) in places() {
        for deed in Deed::ALL {
            let of_driver = path.kind() == Kind::Driver;
            if deed.is_of_values() && !of_driver && path.kind() != Kind::Target {
                continue;
            }
            let said = || deed.said(&what);
            told.entry(code(&path, deed)).or_insert_with(said);
        }
    }
    told.into_iter().collect()
}

/// A place of each kind, with what stands there.
fn places() -> Vec<(Path, String)> {
    use Kind as K;
    let group = [K::Driver, K::Target, K::Group];
    let kinds: [&[Kind]; 13] = [
        &[],
        &[K::Handler],
        &[K::Device],
        &[K::Driver],
        &group[..2],
        &[K::Driver, K::Target, K::Lun],
        &group,
        &[K::Driver, K::Target, K::Group, K::Lun],
        &[K::Driver, K::Target, K::Group, K::Initiator],
        &[K::DeviceGroup],
        &[K::DeviceGroup, K::GroupDevice],
        &[K::DeviceGroup, K::TargetGroup],
        &[K::DeviceGroup, K::TargetGroup, K::GroupTarget],
    ];
    let place = |kinds: &&[Kind]| {
        let keys = kinds.iter().filter_map(|kind| Key::new(*kind, "0").ok());
        let path = keys.fold(Path::root(), |path, key| path.with(key));
        let what = match path.kind() {
            K::Lun if kinds.contains(&K::Group) => "LUN of the initiator group".to_owned(),
            kind => kind.title().trim_start_matches("the ").to_owned(),
        };
        (path, what)
    };
    kinds.iter().map(place).collect()
}

/// The problem that an error of the running target is for this deed.
pub(super) fn problem(path: &Path, deed: Deed, error: &Error) -> Problem {
    let code = match error.code {
        Code::Request | Code::Forbidden => FATAL,
        _ => code(path, deed),
    };
    Problem::new(code, error.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_told_once_with_what_it_says() {
        let told = told();
        let said = |code| {
            told.iter()
                .find(|(told, _)| *told == code)
                .map(|(_, why)| why.as_str())
        };
        assert_eq!(said(20), Some("there is no such device"));
        assert_eq!(said(31), Some("the target driver could not be made"));
        assert_eq!(
            said(46),
            Some("the value could not be removed from the attribute of the target")
        );
        assert_eq!(
            said(73),
            Some("the LUN of the initiator group could not be removed")
        );
        assert_eq!(
            said(172),
            Some("an attribute of the target of a target group could not be set")
        );
        assert_eq!(said(54), Some("the target has sessions"));
        assert!(told.is_sorted_by(|one, other| one.0 < other.0));
        for (path, _) in places() {
            for deed in Deed::ALL {
                assert!(said(code(&path, deed)).is_some());
            }
        }
    }
}
