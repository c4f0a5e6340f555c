//! What to change so that there is what a configuration says.
//!
//! The order is SCST's, so that nobody sees what is half done: what goes is switched off and removed from the leaves up;
//! then come devices, target drivers, targets, their LUNs and groups, and device groups; then targets are switched on,
//! then drivers; attributes of the root come last, but for setup_id, from which names of devices follow.
//!
//! What initiators see of a target that stays changes in one step where groups or initiators change: who sees the same
//! before and after notices nothing, and nobody sees a third thing in between.

mod attributes;
mod copies;
mod devices;
mod groups;
mod luns;
mod removal;

use std::collections::HashSet;

use crate::control::protocol::Mode;
use crate::schema::{self, REL_TGT_ID};
use crate::tree::{Attributes, Key, Kind, Object, Path, Tree};

use super::{Change, Model};
use attributes::wanted;
use removal::subtree;

pub use removal::{closing, emptying, removal};

/// Most notices that are told one by one.
const NOTICES: usize = 20;
const ENABLED: &str = "enabled";

/// Changes, and what the operator should know beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they can be made.
    pub changes: Vec<Change>,
    /// One sentence each, and a bounded number of them.
    pub notices: Vec<String>,
}

/// Plans the way from what there is to what `desired` says. Nothing to do is an empty plan. With [`Mode::Merge`] what
/// `desired` does not name stays as it is, and is told in a notice.
///
/// Whether the changes are allowed is not asked here: [`Manager::rehearse`](super::Manager::rehearse).
pub fn plan(current: &Model, desired: &Tree, mode: Mode) -> Plan {
    let mut planner = Planner::new(current, desired, mode);
    let (root, there) = (Path::root(), current.tree().root());
    planner.root_attributes();
    for kind in [Kind::Handler, Kind::Device, Kind::Driver, Kind::DeviceGroup] {
        planner.children(&root, there, desired.root(), kind);
    }
    planner.copies();
    planner.finish()
}

/// The parts of a plan, in the order in which they come.
#[derive(Debug, Default)]
struct Parts {
    off: Vec<Change>,
    remove_groups: Vec<Change>,
    remove_targets: Vec<Change>,
    remove_devices: Vec<Change>,
    identity: Vec<Change>,
    devices: Vec<Change>,
    targets: Vec<Change>,
    groups: Vec<Change>,
    targets_on: Vec<Change>,
    drivers_on: Vec<Change>,
    root: Vec<Change>,
}

struct Planner<'a> {
    current: &'a Model,
    desired: &'a Tree,
    mode: Mode,
    parts: Parts,
    notices: Vec<String>,
    /// Notices that are not told one by one.
    more: usize,
    /// Where initiators that move are, and where they come to be.
    moved: HashSet<Path>,
    /// The identifiers of ports that the configuration gives.
    ports: HashSet<&'a str>,
}

impl<'a> Planner<'a> {
    fn new(current: &'a Model, desired: &'a Tree, mode: Mode) -> Self {
        Self {
            current,
            desired,
            mode,
            parts: Parts::default(),
            notices: Vec::new(),
            more: 0,
            moved: HashSet::new(),
            ports: ports(desired),
        }
    }

    fn finish(mut self) -> Plan {
        if self.more > 0 {
            self.notices.push(format!(
                "{} more are not in the configuration and stay",
                self.more
            ));
        }
        let parts = self.parts;
        let changes = [
            parts.off,
            parts.remove_groups,
            parts.remove_targets,
            parts.remove_devices,
            parts.identity,
            parts.devices,
            parts.targets,
            parts.groups,
            parts.targets_on,
            parts.drivers_on,
            parts.root,
        ];
        Plan {
            changes: changes.concat(),
            notices: self.notices,
        }
    }

    fn stays(&mut self, what: impl std::fmt::Display) {
        if self.notices.len() < NOTICES {
            self.notices
                .push(format!("{what} is not in the configuration and stays"));
        } else {
            self.more += 1;
        }
    }

    fn root_attributes(&mut self) {
        let root = Path::root();
        let (there, wanted) = (self.current.tree().root(), self.desired.root());
        for change in self.sets(&root, there, wanted) {
            let first = matches!(&change, Change::Set { attribute, .. } if attribute == "setup_id");
            let part = if first {
                &mut self.parts.identity
            } else {
                &mut self.parts.root
            };
            part.push(change);
        }
    }

    /// Objects of a kind in the object at `path`, which is there and is wanted.
    fn children(&mut self, path: &Path, there: &Object, wanted: &Object, kind: Kind) {
        for (key, object) in there.of(kind) {
            let path = path.with(key.clone());
            if wanted.child(key).is_none() && !self.moved.contains(&path) {
                self.leave(&path, object);
            }
        }
        for (key, object) in wanted.of(kind) {
            let path = path.with(key.clone());
            match there.child(key) {
                Some(there) => self.change(&path, there, object),
                None if self.moved.contains(&path) => {}
                None => self.make(&path, object),
            }
        }
    }

    /// What becomes of an object that is not wanted.
    fn leave(&mut self, path: &Path, there: &Object) {
        if self.mode == Mode::Merge {
            self.stays(path);
            return;
        }
        if there.first(ENABLED) == Some("1") {
            self.parts.off.push(set(path, ENABLED, Vec::new()));
        }
        let part = self.removals(path);
        subtree(path, there, part);
    }

    fn removals(&mut self, path: &Path) -> &mut Vec<Change> {
        match path.keys().first().map(Key::kind) {
            Some(Kind::DeviceGroup) => &mut self.parts.remove_groups,
            Some(Kind::Device) => &mut self.parts.remove_devices,
            _ => &mut self.parts.remove_targets,
        }
    }

    fn makes(&mut self, path: &Path) -> &mut Vec<Change> {
        match path.keys().first().map(Key::kind) {
            Some(Kind::DeviceGroup) => &mut self.parts.groups,
            Some(Kind::Device | Kind::Handler) => &mut self.parts.devices,
            _ => &mut self.parts.targets,
        }
    }

    /// An object with all that stands in it, switched on when everything is there.
    fn make(&mut self, path: &Path, wanted: &Object) {
        let mut attributes = given(path, wanted);
        if let Some(enabled) = attributes.remove(ENABLED) {
            self.switch_on(path, enabled);
        }
        let change = Change::Create {
            path: path.clone(),
            attributes,
        };
        self.makes(path).push(change);
        for kind in path.kind().children() {
            for (key, child) in wanted.of(*kind) {
                self.make(&path.with(key.clone()), child);
            }
        }
    }

    fn switch_on(&mut self, path: &Path, enabled: Vec<String>) {
        let part = match path.kind() {
            Kind::Driver => &mut self.parts.drivers_on,
            _ => &mut self.parts.targets_on,
        };
        part.push(set(path, ENABLED, enabled));
    }

    /// An object that is there and is wanted.
    fn change(&mut self, path: &Path, there: &Object, wanted: &Object) {
        match path.kind() {
            Kind::Device => return self.device(path, there, wanted),
            Kind::Lun => return self.lun(path, there, wanted),
            _ => {}
        }
        for change in self.sets(path, there, wanted) {
            match change {
                Change::Set {
                    attribute, values, ..
                } if attribute == ENABLED => {
                    if values.is_empty() {
                        self.parts.off.push(set(path, ENABLED, values));
                    } else {
                        self.switch_on(path, values);
                    }
                }
                change => self.makes(path).push(change),
            }
        }
        if path.kind() == Kind::Target {
            return self.shown(path, there, wanted);
        }
        for kind in path.kind().children() {
            self.children(path, there, wanted, *kind);
        }
    }

    /// Attributes that change, in the order of their table.
    fn sets(&mut self, path: &Path, there: &Object, wanted: &Object) -> Vec<Change> {
        let (changed, stay) = self::wanted(path, there, wanted, self.mode);
        for name in stay {
            if path.kind() == Kind::Target && name == REL_TGT_ID {
                // Whichever it has is what the configuration asks for.
                continue;
            }
            let of = match path.kind() {
                Kind::Root => Kind::Root.title().to_owned(),
                _ => path.to_string(),
            };
            self.stays(format_args!("{name} of {of}"));
        }
        let changed = changed.into_iter();
        let changed = changed.filter(|(name, values)| !self.keeps(path, there, name, values));
        changed
            .map(|(name, values)| set(path, name, values))
            .collect()
    }

    /// Whether a target keeps the identifier of its port: where a configuration gives none, whichever it has will do,
    /// but one that the configuration gives to another target.
    fn keeps(&self, path: &Path, there: &Object, name: &str, values: &[String]) -> bool {
        let none = path.kind() == Kind::Target && name == REL_TGT_ID && values.is_empty();
        let has = there.first(REL_TGT_ID);
        none && has.is_some_and(|port| !self.ports.contains(port))
    }
}

fn ports(desired: &Tree) -> HashSet<&str> {
    let drivers = desired.root().of(Kind::Driver);
    let targets = drivers.flat_map(|(_, driver)| driver.of(Kind::Target));
    let ports = targets.filter_map(|(_, target)| target.first(REL_TGT_ID));
    ports.collect()
}

fn set(path: &Path, attribute: &str, values: Vec<String>) -> Change {
    Change::Set {
        path: path.clone(),
        attribute: attribute.to_owned(),
        values,
    }
}

/// What an object of a configuration is given, without what is the default.
fn given(path: &Path, object: &Object) -> Attributes {
    let family = super::model::family(path, &object.attributes);
    let mut attributes = object.attributes.clone();
    attributes.retain(|name, values| {
        let definition = schema::find(path.kind(), family, name);
        definition.is_none_or(|definition| !definition.is_default(values))
    });
    attributes
}
