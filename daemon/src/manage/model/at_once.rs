//! Who sees what of a target: initiators that move, the order of groups, and changes that are made in one step.

use super::{Change, Model, Refusal};
use crate::tree::{Attributes, Key, Kind, Path};

impl Model {
    pub(super) fn move_initiator(&mut self, path: &Path, group: &str) -> Result<Change, Refusal> {
        if path.kind() != Kind::Initiator {
            return Err(Refusal::WrongKind(path.clone(), Kind::Initiator.title()));
        }
        self.object(path)?;
        let Some((from, key)) = path.split() else {
            return Err(Refusal::Missing(path.clone()));
        };
        let Some((target, from_key)) = from.split() else {
            return Err(Refusal::Missing(path.clone()));
        };
        let to = target.child(Kind::Group, group)?;
        let there = to.with(key.clone());
        if self.object(&to)?.child(key).is_some() {
            return Err(Refusal::Exists(there));
        }
        let object = self.tree.get_mut(&from).and_then(|group| group.remove(key));
        if let (Some(object), Some(to)) = (object, self.tree.get_mut(&to)) {
            to.insert(key.clone(), object);
        }
        let group = from_key.name().to_owned();
        Ok(Change::Move { path: there, group })
    }

    pub(super) fn order(&mut self, path: &Path, before: Option<&str>) -> Result<Change, Refusal> {
        if path.kind() != Kind::Group {
            return Err(Refusal::WrongKind(path.clone(), Kind::Group.title()));
        }
        self.object(path)?;
        let Some((target, key)) = path.split() else {
            return Err(Refusal::Missing(path.clone()));
        };
        let before = before.map(|name| Key::new(Kind::Group, name)).transpose()?;
        if let Some(before) = &before {
            self.object(&target.with(before.clone()))?;
        }
        let mut behind = None;
        if let Some(target) = self.tree.get_mut(&target) {
            behind = target.group_behind(key).map(|key| key.name().to_owned());
            target.place_group(key, before.as_ref());
        }
        Ok(Change::Order {
            path: path.clone(),
            before: behind,
        })
    }

    pub(super) fn at_once(&mut self, path: &Path, parts: &[Change]) -> Result<Change, Refusal> {
        if path.kind() != Kind::Target {
            return Err(Refusal::WrongKind(path.clone(), Kind::Target.title()));
        }
        self.object(path)?;
        let mut inverses = Vec::with_capacity(parts.len());
        for part in parts {
            let inverse = belongs(path, part).and_then(|()| self.apply(part));
            match inverse {
                Ok(inverse) => inverses.push(inverse),
                Err(refusal) => {
                    for inverse in inverses.iter().rev() {
                        // What takes back a change that was just taken is taken.
                        self.apply(inverse)?;
                    }
                    return Err(refusal);
                }
            }
        }
        let inverses = inverses.iter().rev();
        Ok(Change::AtOnce {
            path: path.clone(),
            changes: inverses.flat_map(Change::parts).cloned().collect(),
        })
    }
}

/// What takes back the removal of a group that was not the last one.
pub(super) fn group(path: Path, attributes: Attributes, before: String) -> Change {
    let target = path.split().map_or_else(Path::root, |(target, _)| target);
    let order = Change::Order {
        path: path.clone(),
        before: Some(before),
    };
    Change::AtOnce {
        path: target,
        changes: vec![Change::Create { path, attributes }, order],
    }
}

/// A part of what is done at once to the target at `target`, as [`Model::canonical`].
pub(super) fn canonical(model: &Model, target: &Path, part: &Change) -> Result<Change, Refusal> {
    belongs(target, part)?;
    model.canonical(part)
}

/// Whether a change may be made at once with others of a target.
fn belongs(target: &Path, part: &Change) -> Result<(), Refusal> {
    let path = part.path();
    let kind = matches!(path.kind(), Kind::Group | Kind::Lun | Kind::Initiator);
    let change = !matches!(
        part,
        Change::Set { .. } | Change::Reopen { .. } | Change::AtOnce { .. }
    );
    if kind && change && path.is_within(target) {
        return Ok(());
    }
    Err(Refusal::NotAtOnce {
        change: part.to_string(),
        target: target.clone(),
    })
}
