//! The LUNs of the copy manager. They come and go with their disks, so what counts is that a disk is one of them.

use std::collections::BTreeSet;

use crate::control::protocol::Mode;
use crate::schema;
use crate::tree::{Key, Kind, MAX_LUN, Object, Path};

use super::{Change, Planner};

impl Planner<'_> {
    pub(super) fn copies(&mut self) {
        let target = schema::copy_manager();
        let there = self.current.tree().get(&target);
        let wanted = self.desired.get(&target);
        let (Some(there), Some(wanted)) = (there, wanted) else {
            return;
        };
        match self.mode {
            Mode::Replace => self.replace_copies(&target, there, wanted),
            Mode::Merge => self.add_copies(&target, there, wanted),
        }
    }

    fn replace_copies(&mut self, target: &Path, there: &Object, wanted: &Object) {
        let given = |key: &Key, lun: &Object| super::given(&target.with(key.clone()), lun);
        let same = |key: &Key, lun: &Object, others: &Object| {
            let other = others.child(key);
            other.is_some_and(|other| given(key, other) == given(key, lun))
        };
        for (key, lun) in there
            .of(Kind::Lun)
            .filter(|(key, lun)| !same(key, lun, wanted))
        {
            super::subtree(
                &target.with(key.clone()),
                lun,
                &mut self.parts.remove_targets,
            );
        }
        for (key, lun) in wanted
            .of(Kind::Lun)
            .filter(|(key, lun)| !same(key, lun, there))
        {
            self.make(&target.with(key.clone()), lun);
        }
    }

    /// A disk that is a LUN already stays there; another one gets the number of the configuration if it is free, or else
    /// the lowest that is.
    fn add_copies(&mut self, target: &Path, there: &Object, wanted: &Object) {
        let mut taken: BTreeSet<_> = there.of(Kind::Lun).map(|(key, _)| key.clone()).collect();
        let device = |lun: &Object| lun.first("device").unwrap_or_default().to_owned();
        let missing = wanted
            .of(Kind::Lun)
            .filter(|(_, lun)| self.current.copy_luns(&device(lun)).next().is_none());
        let (free, mut others): (Vec<_>, Vec<_>) =
            missing.partition(|(key, _)| !taken.contains(key));
        let mut made = Vec::new();
        for (key, lun) in free {
            taken.insert(key.clone());
            made.push((key.clone(), lun));
        }
        let mut numbers = (0..=MAX_LUN)
            .map(Key::lun)
            .filter(|key| !taken.contains(key));
        made.extend(
            others
                .drain(..)
                .filter_map(|(_, lun)| Some((numbers.next()?, lun))),
        );
        for (key, lun) in made {
            self.parts.targets.push(Change::Create {
                path: target.with(key),
                attributes: super::given(target, lun),
            });
        }
    }
}
