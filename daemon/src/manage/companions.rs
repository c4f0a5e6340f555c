//! What is done by itself with a change: a disk becomes a LUN of the copy manager, and ceases to be one with its end, or
//! when it is opened anew as something else.
//!
//! Companions are changes like others, with a way back of their own, so that a run that is taken back leaves every disk
//! at the LUN that it had.

use std::collections::{BTreeSet, HashSet};

use super::{Change, Model};
use crate::schema;
use crate::tree::{Attributes, Key, Kind, MAX_LUN, Object, Tree};

/// What a run says of the copy manager itself.
#[derive(Debug, Default)]
pub(super) struct Companions<'a> {
    /// Devices that it makes LUNs.
    devices: HashSet<&'a str>,
    /// The LUNs that it makes.
    luns: BTreeSet<u16>,
}

impl<'a> Companions<'a> {
    /// Those of a run.
    pub(super) fn of(run: &'a [Change]) -> Self {
        let mut named = Self::default();
        for change in run.iter().flat_map(Change::parts) {
            let Change::Create { path, attributes } = change else {
                continue;
            };
            if let [driver, _, lun] = path.keys()
                && driver.name() == schema::COPY_MANAGER
            {
                named.luns.extend(lun.number());
                let device = attributes.get("device").and_then(|values| values.first());
                named.devices.extend(device.map(String::as_str));
            }
        }
        named
    }

    /// What is done before a change.
    pub(super) fn before(model: &Model, change: &Change) -> Vec<Change> {
        let Change::Remove { path } = change else {
            return Vec::new();
        };
        if path.kind() != Kind::Device {
            return Vec::new();
        }
        removals(model, path.name())
    }

    /// What is done after a change that the model took. When all LUNs are taken, nothing.
    pub(super) fn after(&self, model: &Model, change: &Change) -> Vec<Change> {
        let (Change::Create { path, attributes } | Change::Reopen { path, attributes }) = change
        else {
            return Vec::new();
        };
        if path.kind() != Kind::Device {
            return Vec::new();
        }
        let device = path.name();
        let target = schema::copy_manager();
        let handler = attributes.get("handler").and_then(|values| values.first());
        if !handler.is_some_and(|handler| schema::is_copied(handler)) {
            return removals(model, device);
        }
        if self.devices.contains(device) || model.copy_luns(device).next().is_some() {
            return Vec::new();
        }
        let mut free = model.free_copy_luns();
        let lun = free.find(|lun| !self.luns.contains(lun));
        let create = lun.map(|lun| Change::Create {
            path: target.with(Key::lun(lun)),
            attributes: Attributes::from([("device".to_owned(), vec![device.to_owned()])]),
        });
        create.into_iter().collect()
    }
}

fn removals(model: &Model, device: &str) -> Vec<Change> {
    let target = schema::copy_manager();
    let remove = |lun| Change::Remove {
        path: target.with(Key::lun(lun)),
    };
    model.copy_luns(device).map(remove).collect()
}

/// Makes each disk of a configuration a LUN of the copy manager that is none, at the lowest free number.
pub(crate) fn complete_copies(tree: &mut Tree) {
    let target = schema::copy_manager();
    let (mut numbers, mut copied) = (BTreeSet::new(), HashSet::new());
    for (key, lun) in tree.get(&target).into_iter().flat_map(Object::children) {
        numbers.extend(key.number());
        copied.extend(lun.first("device"));
    }
    let mut free = (0..=MAX_LUN).filter(|number| !numbers.contains(number));
    let is_copied = |device: &Object| device.first("handler").is_some_and(schema::is_copied);
    let disks = tree.root().of(Kind::Device);
    let missing: Vec<_> = disks
        .filter(|(key, device)| is_copied(device) && !copied.contains(key.name()))
        .filter_map(|(key, _)| Some((free.next()?, key.name().to_owned())))
        .collect();
    let Some(target) = tree.get_mut(&target) else {
        return;
    };
    for (number, device) in missing {
        let attributes = Attributes::from([("device".to_owned(), vec![device])]);
        target.insert(Key::lun(number), Object::new(attributes));
    }
}
