//! Who uses a device, and whose an identification is, without a walk over the tree.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Refusal, values};
use crate::schema;
use crate::tree::{Kind, Path, Tree};

/// The identifications that no two objects of a kind share: by them an initiator takes two paths for one device, or two
/// ports for one.
const UNIQUE: [(Kind, &str); 5] = [
    (Kind::Device, "usn"),
    (Kind::Device, "t10_dev_id"),
    (Kind::Device, "eui64_id"),
    (Kind::Device, "naa_id"),
    (Kind::Target, "rel_tgt_id"),
];

/// A value that stands for "none", or "some value yet to be found".
const NO_IDENTIFICATIONS: [&str; 2] = ["", "0"];

#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Which LUNs and device groups have a device.
    users: BTreeMap<String, BTreeSet<Path>>,
    /// Who has an identification.
    owners: HashMap<(&'static str, String), BTreeSet<Path>>,
    /// What is noted of an object.
    noted: HashMap<Path, Noted>,
}

#[derive(Debug, Clone, Default)]
struct Noted {
    device: Option<String>,
    identifications: Vec<(&'static str, String)>,
}

impl Index {
    /// That of a whole tree.
    pub(super) fn of(tree: &Tree) -> Self {
        let mut index = Self::default();
        tree.walk(|path, _| index.add(tree, path));
        index
    }

    pub(super) fn users(&self, device: &str) -> impl Iterator<Item = &Path> {
        self.users.get(device).into_iter().flatten()
    }

    /// Notes an object as it is in `tree` now.
    pub(super) fn add(&mut self, tree: &Tree, path: &Path) {
        self.remove(path);
        let noted = Noted {
            device: device(tree, path),
            identifications: identifications(tree, path),
        };
        if noted.device.is_none() && noted.identifications.is_empty() {
            return;
        }
        if let Some(device) = &noted.device {
            self.users
                .entry(device.clone())
                .or_default()
                .insert(path.clone());
        }
        for identification in &noted.identifications {
            let owners = self.owners.entry(identification.clone()).or_default();
            owners.insert(path.clone());
        }
        self.noted.insert(path.clone(), noted);
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, path: &Path) {
        let Some(noted) = self.noted.remove(path) else {
            return;
        };
        if let Some(device) = noted.device
            && let Some(users) = self.users.get_mut(&device)
        {
            users.remove(path);
            if users.is_empty() {
                self.users.remove(&device);
            }
        }
        for identification in noted.identifications {
            if let Some(owners) = self.owners.get_mut(&identification) {
                owners.remove(path);
                if owners.is_empty() {
                    self.owners.remove(&identification);
                }
            }
        }
    }

    /// That nobody else has an identification of the object at `path`.
    pub(super) fn check(&self, path: &Path) -> Result<(), Refusal> {
        let identifications = self.noted.get(path).map(|noted| &noted.identifications);
        for identification in identifications.into_iter().flatten() {
            let owners = self.owners.get(identification).into_iter().flatten();
            if let Some(other) = owners.into_iter().find(|owner| *owner != path) {
                let (attribute, value) = identification.clone();
                let other = other.clone();
                return Err(Refusal::Duplicate {
                    attribute,
                    value,
                    other,
                });
            }
        }
        Ok(())
    }
}

fn device(tree: &Tree, path: &Path) -> Option<String> {
    match path.kind() {
        Kind::Lun => tree.get(path)?.first("device").map(str::to_owned),
        Kind::GroupDevice => Some(path.name().to_owned()),
        _ => None,
    }
}

fn identifications(tree: &Tree, path: &Path) -> Vec<(&'static str, String)> {
    let Some(object) = tree.get(path) else {
        return Vec::new();
    };
    let family = super::family(path, &object.attributes);
    UNIQUE
        .iter()
        .filter(|(kind, _)| *kind == path.kind())
        .filter_map(|(kind, name)| {
            let definition = schema::find(*kind, family, name)?;
            let value = values(tree, path, definition)?.into_iter().next()?;
            let told = !NO_IDENTIFICATIONS.contains(&value.as_str());
            told.then(|| (definition.name, value.to_ascii_lowercase()))
        })
        .collect()
}
