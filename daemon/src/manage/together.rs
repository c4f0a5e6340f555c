//! Attributes that are set in one step: a device that is opened anew for its file is opened with all that is set with it.
//! The size of the file before would make or lengthen the new one.

use super::{Change, Model};
use crate::tree::{Attributes, Kind, Path};

const FILENAME: &str = "filename";

/// Whether another `filename` has a device opened anew. In a drive it is another medium.
pub(super) fn reopens(handler: &str, attribute: &str) -> bool {
    attribute == FILENAME && handler != "vcdrom"
}

/// How many changes at the head of a run are one step.
pub(super) fn length(model: &Model, run: &[Change]) -> usize {
    let Some(path) = run.first().and_then(device) else {
        return 1;
    };
    let of_device = run.iter().take_while(|change| device(change) == Some(path));
    let names: Vec<_> = of_device.filter_map(attribute).collect();
    let object = model.tree().get(path);
    let handler = object.and_then(|object| object.first("handler"));
    let reopens = |name: &&str| handler.is_some_and(|handler| reopens(handler, name));
    // What may change depends on whether a device is in its cluster: there the order counts.
    if names.iter().any(reopens) && !names.contains(&"cluster_mode") {
        names.len()
    } else {
        1
    }
}

/// What opens a device anew with all that a model says of it.
pub(super) fn reopen(model: &Model, path: &Path) -> Change {
    let object = model.tree().get(path);
    Change::Reopen {
        path: path.clone(),
        attributes: object.map_or_else(Attributes::new, |object| object.attributes.clone()),
    }
}

fn device(change: &Change) -> Option<&Path> {
    match change {
        Change::Set { path, .. } if path.kind() == Kind::Device => Some(path),
        _ => None,
    }
}

fn attribute(change: &Change) -> Option<&str> {
    match change {
        Change::Set { attribute, .. } => Some(attribute),
        _ => None,
    }
}
