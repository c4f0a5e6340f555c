//! One change of what is configured.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tree::{Attributes, Kind, Path};

/// A change. Each has a change that takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Makes an object with these attributes: `handler` of a device and `device` of a LUN among them.
    Create {
        /// Where.
        path: Path,
        /// What it is given.
        #[serde(default)]
        attributes: Attributes,
    },
    /// Removes an object in which nothing stands.
    Remove {
        /// Which.
        path: Path,
    },
    /// Sets all values of an attribute.
    Set {
        /// Of which object.
        path: Path,
        /// Its name.
        attribute: String,
        /// The values; none of them: it has its default again.
        values: Vec<String>,
    },
    /// Opens a device anew, with attributes that it can be given only then. Its LUNs stay, and say INQUIRY DATA HAS
    /// CHANGED.
    Reopen {
        /// The device.
        path: Path,
        /// All that it is given.
        attributes: Attributes,
    },
    /// Puts another device under a LUN.
    Replace {
        /// The LUN.
        path: Path,
        /// The device.
        device: String,
        /// Whether its sessions are told, by INQUIRY DATA HAS CHANGED.
        tell: bool,
    },
    /// Moves an initiator to another group of its target.
    Move {
        /// The initiator.
        path: Path,
        /// The group.
        group: String,
    },
    /// Puts an initiator group elsewhere in the order in which those of its target are asked.
    Order {
        /// The group.
        path: Path,
        /// The group that comes next; none: it is asked last.
        #[serde(default)]
        before: Option<String>,
    },
    /// Makes, removes, moves, orders and replaces initiator groups, LUNs and initiators of a target in one step: no session
    /// sees what is half done, and one that sees the same before and after notices nothing.
    AtOnce {
        /// The target.
        path: Path,
        /// In this order.
        changes: Vec<Change>,
    },
}

impl Change {
    /// The object that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Create { path, .. }
            | Self::Remove { path }
            | Self::Set { path, .. }
            | Self::Reopen { path, .. }
            | Self::Replace { path, .. }
            | Self::Move { path, .. }
            | Self::Order { path, .. }
            | Self::AtOnce { path, .. } => path,
        }
    }

    /// The changes that are made at once, or this one.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::AtOnce { changes, .. } => changes,
            change => std::slice::from_ref(change),
        }
    }

    /// In words, for a plan: a line, and one for each of the changes that are made at once.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let parts = match self {
            Self::AtOnce { changes, .. } => &**changes,
            _ => &[],
        };
        let parts = parts.iter().map(|part| format!("  {part}"));
        std::iter::once(self.to_string()).chain(parts)
    }
}

/// For a plan and for errors. Values are not told: some are secret.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self.path().kind() {
            Kind::Root => Kind::Root.title().to_owned(),
            _ => self.path().to_string(),
        };
        match self {
            Self::Create { .. } => write!(f, "make {path}"),
            Self::Remove { .. } => write!(f, "remove {path}"),
            Self::Set {
                attribute, values, ..
            } if values.is_empty() => write!(f, "set {attribute} of {path} back to its default"),
            Self::Set { attribute, .. } => write!(f, "set {attribute} of {path}"),
            Self::Reopen { .. } => write!(f, "open {path} anew"),
            Self::Replace { device, .. } => write!(f, "put {device} under {path}"),
            Self::Move { group, .. } => write!(f, "move {path} to {group}"),
            Self::Order { before, .. } => match before {
                Some(before) => write!(f, "put {path} before {before}"),
                None => write!(f, "put {path} behind the other groups"),
            },
            Self::AtOnce { .. } => write!(f, "change what initiators see of {path} in one step"),
        }
    }
}
