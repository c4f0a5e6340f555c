//! How that changes which initiators see which LUNs.

use std::collections::{HashMap, HashSet};
use std::mem::take;

use crate::schema;
use crate::tree::{Key, Kind, Object, Path};

use super::{Change, Planner};

impl Planner<'_> {
    /// The LUNs and groups of a target that is there and is wanted. Where groups or initiators change, all of it is one
    /// step, but for LUNs whose device goes: a session that sees one of these loses it before.
    pub(super) fn shown(&mut self, path: &Path, there: &Object, wanted: &Object) {
        let removals_before = take(&mut self.parts.remove_targets);
        let changes_before = take(&mut self.parts.targets);
        // The LUNs of the copy manager have rules of their own.
        if *path != schema::copy_manager() {
            self.children(path, there, wanted, Kind::Lun);
        }
        let moves = self.moves(path, there, wanted);
        self.children(path, there, wanted, Kind::Group);
        self.parts.targets.extend(moves);
        let order = self.order(path, there, wanted);
        self.parts.targets.extend(order);
        let removals = std::mem::replace(&mut self.parts.remove_targets, removals_before);
        let changes = std::mem::replace(&mut self.parts.targets, changes_before);
        self.in_one_step(path, removals, changes);
    }

    fn in_one_step(&mut self, path: &Path, removals: Vec<Change>, changes: Vec<Change>) {
        let regroups = |change: &Change| match change {
            Change::Set { .. } => false,
            change => matches!(change.path().kind(), Kind::Group | Kind::Initiator),
        };
        let all = || removals.iter().chain(&changes);
        if all().count() < 2 || !all().any(regroups) {
            self.parts.remove_targets.extend(removals);
            self.parts.targets.extend(changes);
            return;
        }
        let (first, removals): (Vec<_>, Vec<_>) = removals
            .into_iter()
            .partition(|change| self.loses_device(change));
        let (sets, changes): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|change| matches!(change, Change::Set { .. }));
        self.parts.remove_targets.extend(first);
        self.parts.targets.extend(sets);
        let changes = [removals, changes].concat();
        if !changes.is_empty() {
            self.parts.targets.push(Change::AtOnce {
                path: path.clone(),
                changes,
            });
        }
    }

    /// Whether it removes a LUN whose device goes, which has to be none by then.
    fn loses_device(&self, change: &Change) -> bool {
        let lun = self.current.tree().get(change.path());
        let device = lun.and_then(|lun| lun.first("device"));
        device.is_some_and(|device| !self.device_stays(device))
    }

    /// What puts the groups of the configuration in its order, when those that are new have been made behind the others. As
    /// few as can be are placed elsewhere; groups that it does not name stay where they are.
    fn order(&self, target: &Path, there: &Object, wanted: &Object) -> Vec<Change> {
        let keys: Vec<&Key> = wanted.of(Kind::Group).map(|(key, _)| key).collect();
        let ranks: HashMap<_, _> = keys.iter().enumerate().map(|(n, key)| (*key, n)).collect();
        let old = there.of(Kind::Group).filter_map(|(key, _)| ranks.get(key));
        let old: Vec<usize> = old.copied().collect();
        let mut stay: HashSet<usize> = longest_ascending(&old).into_iter().collect();
        // New ones are made behind all.
        stay.extend(old.iter().max().map_or(0, |last| last + 1)..keys.len());
        let (mut changes, mut before) = (Vec::new(), None);
        for (rank, key) in keys.iter().enumerate().rev() {
            if !stay.contains(&rank) {
                changes.push(Change::Order {
                    path: target.with((*key).clone()),
                    before: before.map(|key: &Key| key.name().to_owned()),
                });
            }
            before = Some(*key);
        }
        changes
    }
}

/// A longest part of different numbers in which they ascend.
fn longest_ascending(numbers: &[usize]) -> Vec<usize> {
    // Of the ascending parts of each length that end so far, the one with the least end; and before each number the one
    // that precedes it in such a part.
    let (mut ends, mut preceding) = (Vec::new(), HashMap::new());
    for &number in numbers {
        let length = ends.partition_point(|end| *end < number);
        if let Some(before) = length.checked_sub(1).and_then(|n| ends.get(n)) {
            preceding.insert(number, *before);
        }
        match ends.get_mut(length) {
            Some(end) => *end = number,
            None => ends.push(number),
        }
    }
    let last = ends.last().copied();
    std::iter::successors(last, |number| preceding.get(number).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longest_ascending_part_is_found() {
        for (numbers, length) in [
            (&[][..], 0),
            (&[0, 1, 2, 3], 4),
            (&[3, 0, 1, 2], 3),
            (&[1, 2, 3, 0], 3),
            (&[3, 2, 1, 0], 1),
            (&[2, 5, 3, 7, 0, 4, 6, 1], 4),
        ] {
            let mut part = longest_ascending(numbers);
            part.reverse();
            assert_eq!(part.len(), length, "{numbers:?}: {part:?}");
            assert!(part.is_sorted(), "{part:?}");
            let mut rest = numbers.iter();
            assert!(part.iter().all(|n| rest.any(|m| m == n)), "{part:?}");
        }
    }
}
