//! Removing objects with what stands in them.

use crate::manage::{Change, Model};
use crate::tree::{Kind, Object, Path};

use super::{ENABLED, set};

/// What removes an object with all that stands in it, the leaves first. A target is switched off before.
pub fn removal(model: &Model, path: &Path) -> Vec<Change> {
    let mut changes = Vec::new();
    let Some(object) = model.tree().get(path) else {
        // The model says so.
        return vec![Change::Remove { path: path.clone() }];
    };
    if object.first(ENABLED) == Some("1") {
        changes.push(set(path, ENABLED, Vec::new()));
    }
    subtree(path, object, &mut changes);
    changes
}

/// What removes everything of a kind from the object at `path`, with all that stands in it.
pub fn emptying(model: &Model, path: &Path, kind: Kind) -> Vec<Change> {
    let object = model.tree().get(path);
    let keys = object.into_iter().flat_map(|object| object.of(kind));
    keys.flat_map(|(key, _)| removal(model, &path.with(key.clone())))
        .collect()
}

/// What removes a device, and before it from all LUNs and device groups.
pub fn closing(model: &Model, device: &Path) -> Vec<Change> {
    let users = model.users(device.name());
    let removals = users
        .chain([device])
        .map(|path| Change::Remove { path: path.clone() });
    removals.collect()
}

/// Removes from the leaves up, what was made last first.
pub(super) fn subtree(path: &Path, object: &Object, changes: &mut Vec<Change>) {
    for kind in path.kind().children().iter().rev() {
        for (key, child) in object.of(*kind) {
            subtree(&path.with(key.clone()), child, changes);
        }
    }
    changes.push(Change::Remove { path: path.clone() });
}
