//! What is done by itself with a change: a disk becomes a LUN of the copy manager, and ceases to be one with its end.
//!
//! Companions are changes like others, with a way back of their own, so that a run that is taken back leaves every disk
//! at the LUN that it had.

use std::collections::{BTreeSet, HashSet};

use super::{Change, Model};
use crate::schema;
use crate::tree::{Attributes, Key, Kind};

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
        for change in run {
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
        let target = schema::copy_manager();
        let remove = |lun| Change::Remove {
            path: target.with(Key::lun(lun)),
        };
        model.copy_luns(path.name()).map(remove).collect()
    }

    /// What is done after a change that the model took. When all LUNs are taken, nothing.
    pub(super) fn after(&self, model: &Model, change: &Change) -> Option<Change> {
        let Change::Create { path, attributes } = change else {
            return None;
        };
        let handler = attributes.get("handler")?.first()?;
        if path.kind() != Kind::Device
            || !schema::is_copied(handler)
            || self.devices.contains(path.name())
        {
            return None;
        }
        let lun = model
            .free_copy_luns()
            .find(|lun| !self.luns.contains(lun))?;
        let device = ("device".to_owned(), vec![path.name().to_owned()]);
        Some(Change::Create {
            path: schema::copy_manager().with(Key::lun(lun)),
            attributes: Attributes::from([device]),
        })
    }
}
