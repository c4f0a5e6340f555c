//! How LUNs change, and initiators move.

use std::collections::BTreeMap;

use crate::control::protocol::Mode;
use crate::tree::{Key, Kind, Object, Path};

use super::{Change, Planner};

const DEVICE: &str = "device";

impl Planner<'_> {
    /// Another device is put under a LUN in one step, as long as the one before stays; then its sessions are told. If
    /// something else changes, the LUN goes and comes again.
    pub(super) fn lun(&mut self, path: &Path, there: &Object, wanted: &Object) {
        let changes = self.sets(path, there, wanted);
        let only_device =
            matches!(&*changes, [Change::Set { attribute, .. }] if attribute == DEVICE);
        let (before, after) = (there.first(DEVICE), wanted.first(DEVICE));
        if changes.is_empty() {
            return;
        }
        if only_device
            && let Some(after) = after
            && before.is_some_and(|before| self.device_stays(before))
        {
            self.parts.targets.push(Change::Replace {
                path: path.clone(),
                device: after.to_owned(),
                tell: true,
            });
            return;
        }
        self.parts
            .remove_targets
            .push(Change::Remove { path: path.clone() });
        let mut wanted = wanted.clone();
        if self.mode == Mode::Merge {
            for (name, values) in &there.attributes {
                wanted
                    .attributes
                    .entry(name.clone())
                    .or_insert_with(|| values.clone());
            }
        }
        self.make(path, &wanted);
    }

    pub(super) fn device_stays(&self, device: &str) -> bool {
        let there = || Key::new(Kind::Device, device).ok();
        self.mode == Mode::Merge
            || there().is_some_and(|key| self.desired.root().child(&key).is_some())
    }

    /// Initiators that are in one group and are wanted in another, both of which are there and stay: they move in one
    /// step.
    pub(super) fn moves(&mut self, target: &Path, there: &Object, wanted: &Object) -> Vec<Change> {
        let stays = |key: &Key| there.child(key).is_some() && wanted.child(key).is_some();
        let lacks = |object: &Object, group: &Key, initiator: &Key| {
            let group = object.child(group);
            group.is_none_or(|group| group.child(initiator).is_none())
        };
        let mut leave = BTreeMap::new();
        for (group, object) in there.of(Kind::Group).filter(|(key, _)| stays(key)) {
            for (initiator, _) in object.of(Kind::Initiator) {
                if lacks(wanted, group, initiator) {
                    leave.insert(initiator, group);
                }
            }
        }
        let mut moves = Vec::new();
        for (group, object) in wanted.of(Kind::Group).filter(|(key, _)| stays(key)) {
            for (initiator, _) in object.of(Kind::Initiator) {
                if lacks(there, group, initiator)
                    && let Some(from) = leave.remove(initiator)
                {
                    let path = target.with(from.clone()).with(initiator.clone());
                    self.moved.insert(path.clone());
                    self.moved
                        .insert(target.with(group.clone()).with(initiator.clone()));
                    let group = group.name().to_owned();
                    moves.push(Change::Move { path, group });
                }
            }
        }
        moves
    }
}
