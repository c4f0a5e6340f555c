//! How a device changes.

use crate::control::protocol::Mode;
use crate::manage::together;
use crate::schema::{self, Access};
use crate::tree::{Attributes, Kind, Object, Path};

use super::{Change, Planner, given, set};

const CLUSTER_MODE: &str = "cluster_mode";

impl Planner<'_> {
    /// Sets what can be set, and opens the device anew if something else changes, or the file of its reservations while
    /// initiators reach it. What others in the cluster know it by changes outside of the cluster.
    pub(super) fn device(&mut self, path: &Path, there: &Object, wanted: &Object) {
        let changes = self.sets(path, there, wanted);
        let handler = wanted.first("handler").unwrap_or_default();
        let changes_one_of = |names: &[&str]| {
            changes
                .iter()
                .any(|change| names.contains(&attribute(change)))
        };
        let leaves = there.first(CLUSTER_MODE) == Some("1")
            && changes_one_of(&["t10_dev_id", "pr_file_name"]);
        if leaves {
            self.parts.devices.push(set(path, CLUSTER_MODE, Vec::new()));
        }
        let settable = |change: &Change| {
            let found = schema::find(Kind::Device, handler, attribute(change));
            found.is_some_and(|found| found.access.contains(Access::WRITE))
        };
        let moves_file = changes_one_of(&["pr_file_name"]) && self.current.is_exported(path.name());
        // The file and what is said of it are one: the size of the one before would make or lengthen it.
        let another_file = changes.len() > 1
            && changes
                .iter()
                .any(|change| together::reopens(handler, attribute(change)));
        if moves_file || another_file || !changes.iter().all(settable) {
            let attributes = self.all_of(path, there, wanted, &changes);
            let path = path.clone();
            self.parts.devices.push(Change::Reopen { path, attributes });
            return;
        }
        let (cluster, others): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|change| attribute(change) == CLUSTER_MODE);
        self.parts.devices.extend(others);
        match (leaves, cluster.into_iter().next()) {
            (true, None) => {
                let back = set(path, CLUSTER_MODE, vec!["1".to_owned()]);
                self.parts.devices.push(back);
            }
            // It has left.
            (true, Some(_)) => {}
            (false, change) => self.parts.devices.extend(change),
        }
    }

    /// All that the device is given when it is opened anew.
    fn all_of(
        &self,
        path: &Path,
        there: &Object,
        wanted: &Object,
        changes: &[Change],
    ) -> Attributes {
        if self.mode == Mode::Replace {
            return given(path, wanted);
        }
        let handler = wanted.first("handler").unwrap_or_default();
        let mut attributes = there.attributes.clone();
        for change in changes {
            if let Change::Set {
                attribute, values, ..
            } = change
            {
                attributes.insert(attribute.clone(), values.clone());
            }
        }
        // Another handler may not know what the one before was given.
        attributes.retain(|name, values| {
            !values.is_empty() && schema::find(Kind::Device, handler, name).is_some()
        });
        attributes
    }
}

fn attribute(change: &Change) -> &str {
    match change {
        Change::Set { attribute, .. } => attribute,
        _ => "",
    }
}
