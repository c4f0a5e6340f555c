//! Who uses a device, whose an identification is, and which LUNs of the copy manager and which identifiers of ports are
//! free, without a walk over the tree.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Refusal, values};
use crate::schema::{self, REL_TGT_ID};
use crate::tree::{Key, Kind, MAX_LUN, Path, Tree};

/// The identifications that no two objects share, of all or of those in one object of this kind: by them an initiator
/// takes two paths for one device, or two ports for one.
const UNIQUE: [(Kind, &str, Option<Kind>); 7] = [
    (Kind::Device, "usn", None),
    (Kind::Device, "t10_dev_id", None),
    (Kind::Device, "eui64_id", None),
    (Kind::Device, "naa_id", None),
    (Kind::Target, REL_TGT_ID, None),
    (Kind::TargetGroup, "group_id", Some(Kind::DeviceGroup)),
    (Kind::GroupTarget, REL_TGT_ID, Some(Kind::DeviceGroup)),
];

/// A value that stands for "none", or "some value yet to be found".
const NO_IDENTIFICATIONS: [&str; 2] = ["", "0"];

#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Which LUNs and device groups have a device.
    users: BTreeMap<String, BTreeSet<Path>>,
    /// Who has an identification.
    owners: HashMap<Identification, BTreeSet<Path>>,
    /// What is noted of an object.
    noted: HashMap<Path, Noted>,
    /// The LUNs of the copy manager.
    copies: Numbers,
    /// Which of them a device is.
    copy_luns: HashMap<String, BTreeSet<u16>>,
    /// The relative target port identifiers of targets of this node.
    ports: Numbers,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identification {
    attribute: &'static str,
    /// In which object it is unique; `None`: everywhere.
    within: Option<Path>,
    value: String,
}

impl Identification {
    /// The identifier of the port of a target of this node.
    fn port(&self) -> Option<u16> {
        let of_target = self.attribute == REL_TGT_ID && self.within.is_none();
        of_target.then(|| self.value.parse().ok()).flatten()
    }
}

#[derive(Debug, Clone, Default)]
struct Noted {
    device: Option<String>,
    copy_lun: Option<u16>,
    identifications: Vec<Identification>,
}

/// Numbers in use, as those below the first that never was and the holes among them.
#[derive(Debug, Clone, Default)]
struct Numbers {
    next: u16,
    holes: BTreeSet<u16>,
}

impl Numbers {
    fn take(&mut self, number: u16) {
        if number < self.next {
            self.holes.remove(&number);
        } else {
            self.holes.extend(self.next..number);
            // After the last one: nothing is left but holes.
            self.next = number.saturating_add(1);
        }
    }

    fn free(&mut self, number: u16) {
        self.holes.insert(number);
    }

    /// Those up to `most` that are free, from the lowest on.
    fn lowest(&self, most: u16) -> impl Iterator<Item = u16> {
        self.holes.iter().copied().chain(self.next..=most)
    }
}

impl Index {
    /// That of a whole tree.
    pub(super) fn of(tree: &Tree) -> Self {
        let mut index = Self::default();
        tree.walk(|path, _| index.add(tree, path));
        index
    }

    /// The LUNs and device groups that a device is in; a device group comes last.
    pub(super) fn users(&self, device: &str) -> impl DoubleEndedIterator<Item = &Path> {
        self.users.get(device).into_iter().flatten()
    }

    /// The free LUNs of the copy manager, from the lowest on.
    pub(super) fn free_copy_luns(&self) -> impl Iterator<Item = u16> {
        self.copies.lowest(MAX_LUN)
    }

    /// Which LUNs of the copy manager a device is.
    pub(super) fn copy_luns(&self, device: &str) -> impl Iterator<Item = u16> {
        self.copy_luns.get(device).into_iter().flatten().copied()
    }

    /// The lowest relative target port identifier that no target of this node has, nor a target of another node beside
    /// `target` in a device group, nor `taken`.
    pub(super) fn free_port(
        &self,
        tree: &Tree,
        target: &Path,
        taken: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let mut free = self.ports.lowest(u16::MAX);
        free.find(|port| *port > 0 && !taken(*port) && !self.is_remote(tree, *port, target))
    }

    /// Whether a device group knows an identifier as that of another target.
    fn is_remote(&self, tree: &Tree, port: u16, target: &Path) -> bool {
        let value = port.to_string();
        let owned = |group: &Key| {
            let owners = self.owners.get(&Identification {
                attribute: REL_TGT_ID,
                within: Some(Path::root().with(group.clone())),
                value: value.clone(),
            });
            let other = |owner: &Path| !owner.name().eq_ignore_ascii_case(target.name());
            owners.into_iter().flatten().any(other)
        };
        let mut groups = tree.root().of(Kind::DeviceGroup);
        groups.any(|(group, _)| owned(group))
    }

    /// Notes an object as it is in `tree` now.
    pub(super) fn add(&mut self, tree: &Tree, path: &Path) {
        self.remove(path);
        let noted = Noted {
            device: device(tree, path),
            copy_lun: copy_lun(path),
            identifications: identifications(tree, path),
        };
        if noted.device.is_none() && noted.identifications.is_empty() {
            return;
        }
        if let Some(device) = &noted.device {
            let users = self.users.entry(device.clone()).or_default();
            users.insert(path.clone());
            if let Some(number) = noted.copy_lun {
                self.copies.take(number);
                self.copy_luns
                    .entry(device.clone())
                    .or_default()
                    .insert(number);
            }
        }
        for identification in &noted.identifications {
            let owners = self.owners.entry(identification.clone()).or_default();
            owners.insert(path.clone());
            if let Some(port) = identification.port() {
                self.ports.take(port);
            }
        }
        self.noted.insert(path.clone(), noted);
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, path: &Path) {
        let Some(noted) = self.noted.remove(path) else {
            return;
        };
        if let Some(device) = noted.device {
            if let Some(users) = self.users.get_mut(&device) {
                users.remove(path);
                if users.is_empty() {
                    self.users.remove(&device);
                }
            }
            if let Some(number) = noted.copy_lun {
                self.copies.free(number);
                if let Some(luns) = self.copy_luns.get_mut(&device) {
                    luns.remove(&number);
                    if luns.is_empty() {
                        self.copy_luns.remove(&device);
                    }
                }
            }
        }
        for identification in noted.identifications {
            if let Some(owners) = self.owners.get_mut(&identification) {
                owners.remove(path);
                if owners.is_empty() {
                    self.owners.remove(&identification);
                    if let Some(port) = identification.port() {
                        self.ports.free(port);
                    }
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
                return Err(Refusal::Duplicate {
                    attribute: identification.attribute,
                    value: identification.value.clone(),
                    other: other.clone(),
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

fn copy_lun(path: &Path) -> Option<u16> {
    match path.keys() {
        [driver, _, lun] if driver.name() == schema::COPY_MANAGER => lun.number(),
        _ => None,
    }
}

fn identifications(tree: &Tree, path: &Path) -> Vec<Identification> {
    let Some(object) = tree.get(path) else {
        return Vec::new();
    };
    let family = super::family(path, &object.attributes);
    let of_kind = UNIQUE.iter().filter(|(kind, _, _)| *kind == path.kind());
    let attributes = of_kind.filter_map(|(kind, name, within)| {
        let definition = schema::find(*kind, family, name)?;
        let value = values(tree, path, definition)?.into_iter().next()?;
        let told = !NO_IDENTIFICATIONS.contains(&value.as_str());
        told.then(|| Identification {
            attribute: definition.name,
            within: within.and_then(|kind| path.up_to(kind)),
            value: value.to_ascii_lowercase(),
        })
    });
    // Names of iSCSI are the same in upper and lower case, and device groups name targets without their driver; a port is in
    // one target group of a device group.
    let within = match path.kind() {
        Kind::Target => Some(None),
        Kind::GroupTarget => Some(path.up_to(Kind::DeviceGroup)),
        _ => None,
    };
    let name = within.map(|within| Identification {
        attribute: "the name",
        within,
        value: path.name().to_ascii_lowercase(),
    });
    attributes.chain(name).collect()
}
