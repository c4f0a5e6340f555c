//! Relative target port identifiers that are found: a target that has none gets the lowest free one when it is enabled.
//!
//! It is given by a change of the run, so it is configured, shown and saved like one that the operator gave, and taken
//! back with the run. It stays the target's: reservations and what initiators know of a port depend on it.

use std::collections::HashSet;

use super::{Change, Model};
use crate::schema::{COPY_MANAGER, REL_TGT_ID};
use crate::tree::{Attributes, Kind, Path};

const ENABLED: &str = "enabled";

/// The identifiers that a run gives, early or late: none is found that is one of them.
#[derive(Debug, Default)]
pub(super) struct Ports(HashSet<u16>);

impl Ports {
    /// Those of a run.
    pub(super) fn of(run: &[Change]) -> Self {
        let given = run.iter().filter_map(|change| match change {
            Change::Create { path, attributes } if path.kind() == Kind::Target => {
                attributes.get(REL_TGT_ID)?.first()
            }
            Change::Set {
                path,
                attribute,
                values,
            } if path.kind() == Kind::Target && attribute == REL_TGT_ID => values.first(),
            _ => None,
        });
        Self(given.filter_map(|port| port.parse().ok()).collect())
    }

    /// What is done before a target is enabled that is there and has no identifier.
    pub(super) fn before(&self, model: &Model, change: &Change) -> Option<Change> {
        let Change::Set {
            path,
            attribute,
            values,
        } = change
        else {
            return None;
        };
        let enables = attribute == ENABLED && is_on(values) && serves(path);
        if !enables || port(model, path).is_some() {
            return None;
        }
        Some(Change::Set {
            path: path.clone(),
            attribute: REL_TGT_ID.to_owned(),
            values: self.find(model, path)?,
        })
    }

    /// A change in its own form, with the identifier of a target that it makes enabled, or that would be without one
    /// while it is.
    pub(super) fn complete(&self, model: &Model, mut change: Change) -> Change {
        match &mut change {
            Change::Create { path, attributes } if serves(path) => {
                let without = !attributes.contains_key(REL_TGT_ID);
                if without
                    && enabled(attributes)
                    && let Some(found) = self.find(model, path)
                {
                    attributes.insert(REL_TGT_ID.to_owned(), found);
                }
            }
            Change::Set {
                path,
                attribute,
                values,
            } if attribute == REL_TGT_ID && values.is_empty() && serves(path) => {
                let there = model.tree().get(path);
                if there.is_some_and(|target| enabled(&target.attributes)) {
                    values.extend(port(model, path));
                }
            }
            _ => {}
        }
        change
    }

    fn find(&self, model: &Model, target: &Path) -> Option<Vec<String>> {
        let port = model.free_port(target, |port| self.0.contains(&port))?;
        Some(vec![port.to_string()])
    }
}

/// Whether initiators may come to a target: not to the copy manager's.
fn serves(path: &Path) -> bool {
    path.kind() == Kind::Target && path.name_of(Kind::Driver) != Some(COPY_MANAGER)
}

fn is_on(values: &[String]) -> bool {
    values.first().is_some_and(|value| value == "1")
}

fn enabled(attributes: &Attributes) -> bool {
    attributes.get(ENABLED).is_some_and(|values| is_on(values))
}

/// The identifier that a target has.
fn port(model: &Model, target: &Path) -> Option<String> {
    model
        .tree()
        .get(target)?
        .first(REL_TGT_ID)
        .map(str::to_owned)
}
