//! Exclusion over a range of blocks: COMPARE AND WRITE and its kin run while no overlapping command of their unit
//! executes, on any session (SBC-4 4.27, 5.3).
//!
//! ```text
//!   command that excludes ── RangeGuard ─▶ the unit's list: after older overlapping ranges
//!        its turn ─▶ a RangeLock to every shard: from now on overlapping commands wait there; those that execute
//!                    keep a clone of it
//!        last clone dropped ─▶ the command's shard: it may run
//!   RangeGuard dropped with the command ─▶ every shard: waiting commands go on; the next range has its turn
//! ```
//!
//! Other commands pay for this with one look at an empty list of their own shard. A command that executes must never
//! wait for another one to start: it might be the one that a range waits for.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::cdb::{Attributes, Cdb, CommandClass, ParsedCdb};
use crate::command::{Command, Phase};
use crate::lu::{LogicalUnit, UnitId};
use crate::shard::ShardCore;
use crate::shard::completion::CommandKey;
use crate::shard::mailbox::{Mailbox, Message};

/// Blocks of a unit: the first, and the first beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    start: u64,
    end: u64,
}

impl Extent {
    const ALL: Self = Self {
        start: 0,
        end: u64::MAX,
    };

    /// The blocks whose content a command reads or changes; `None` when it does neither.
    pub(crate) fn of(cdb: &ParsedCdb) -> Option<Self> {
        if !cdb
            .class
            .intersects(CommandClass::READ | CommandClass::WRITE)
        {
            return None;
        }
        match (cdb.cdb.extent(), cdb.cdb) {
            // Up to the end of the medium, unless WSNZ forbids it (SBC-4 5.48).
            (Some((lba, blocks)), Cdb::WriteSame { .. }) if blocks.is_zero() => Some(Self {
                start: lba.0,
                end: u64::MAX,
            }),
            (Some((lba, blocks)), _) => (!blocks.is_zero()).then(|| Self {
                start: lba.0,
                end: lba.0.saturating_add(blocks.0),
            }),
            // What names its blocks elsewhere, as UNMAP does, may name any.
            (None, _) => cdb.class.contains(CommandClass::WRITE).then_some(Self::ALL),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Tells the ranges of a unit apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RangeId(u64);

/// The ranges of a unit that commands exclude or wait to exclude, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ranges(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: RangeId,
    extent: Extent,
    begun: bool,
    origin: Arc<Mailbox>,
    key: CommandKey,
}

/// A range on its way to being excluded. When the last clone is dropped, it is, and its command is told.
#[derive(Debug)]
pub(crate) struct RangeLock {
    unit: UnitId,
    id: RangeId,
    extent: Extent,
    origin: Arc<Mailbox>,
    key: CommandKey,
}

impl Drop for RangeLock {
    fn drop(&mut self) {
        self.origin.post(Message::RangeExcluded(self.key, self.id));
    }
}

/// A command's claim on a range, until it is dropped.
#[derive(Debug)]
pub(crate) struct RangeGuard {
    unit: Arc<LogicalUnit>,
    id: RangeId,
    /// No overlapping command executes: the claim is met.
    excluded: bool,
}

impl RangeGuard {
    fn new(
        unit: &Arc<LogicalUnit>,
        extent: Extent,
        origin: &Arc<Mailbox>,
        key: CommandKey,
    ) -> Self {
        let mut list = unit.ranges.0.lock();
        let id = RangeId(list.next);
        list.next += 1;
        list.entries.push(Entry {
            id,
            extent,
            begun: false,
            origin: Arc::clone(origin),
            key,
        });
        list.begin(unit);
        Self {
            unit: Arc::clone(unit),
            id,
            excluded: false,
        }
    }
}

impl Drop for RangeGuard {
    fn drop(&mut self) {
        let mut list = self.unit.ranges.0.lock();
        let Some(at) = list.entries.iter().position(|e| e.id == self.id) else {
            return;
        };
        // Shards hear of the end after the beginning: both are posted under the lock.
        if list.entries.remove(at).begun {
            for shard in self.unit.shards() {
                shard.post(Message::RangeReleased(self.unit.id(), self.id));
            }
        }
        list.begin(&self.unit);
    }
}

impl List {
    /// Begins what no older range overlaps.
    fn begin(&mut self, unit: &LogicalUnit) {
        for at in 0..self.entries.len() {
            let (older, rest) = self.entries.split_at_mut(at);
            let Some(entry) = rest.first_mut() else {
                return;
            };
            let free = !older.iter().any(|o| o.extent.overlaps(&entry.extent));
            if entry.begun || !free {
                continue;
            }
            entry.begun = true;
            let lock = Arc::new(RangeLock {
                unit: unit.id(),
                id: entry.id,
                extent: entry.extent,
                origin: Arc::clone(&entry.origin),
                key: entry.key,
            });
            for shard in unit.shards() {
                shard.post(Message::RangeWanted(Arc::clone(&lock)));
            }
        }
    }
}

/// A range of a unit into which no command of this shard may go, but the one that excludes it.
#[derive(Debug)]
pub(crate) struct LocalRange {
    unit: UnitId,
    id: RangeId,
    extent: Extent,
}

impl LocalRange {
    fn hit_by(&self, unit: &LogicalUnit, cdb: &ParsedCdb) -> bool {
        self.unit == unit.id() && Extent::of(cdb).is_some_and(|e| e.overlaps(&self.extent))
    }
}

impl ShardCore {
    /// Whether a command that is about to enter the gate must wait for a range: its own, or one that it overlaps.
    pub(crate) fn kept_out(&mut self, key: CommandKey) -> bool {
        let mailbox = Arc::clone(&self.mailbox);
        let Some(unit) = self.unit_of(key) else {
            return false;
        };
        let Some(command) = self.commands.get_mut(key.index as usize) else {
            return false;
        };
        let Some(extent) = Extent::of(&command.cdb) else {
            return false;
        };
        if command.cdb.entry.has(Attributes::LBA_EXCLUSIVE) {
            let claim = || RangeGuard::new(&unit, extent, &mailbox, key);
            let guard = command.rare().range.get_or_insert_with(claim);
            return !guard.excluded;
        }
        let in_it = |range: &LocalRange| range.unit == unit.id() && range.extent.overlaps(&extent);
        if self.ranges.iter().any(in_it) {
            return true;
        }
        // What copies from another unit does not wait for it, since it would wait in this one; its executor does without.
        if let Some(copy) = command
            .rare
            .as_mut()
            .and_then(|rare| rare.inner.as_mut()?.copy.as_mut())
        {
            let hit = |range: &LocalRange| range.hit_by(&copy.unit, &copy.cdb);
            copy.kept_out = self.ranges.iter().any(hit);
        }
        false
    }

    /// Another command is going to exclude a range: those that execute in it delay that.
    pub(crate) fn range_wanted(&mut self, lock: &Arc<RangeLock>) {
        self.ranges.push(LocalRange {
            unit: lock.unit,
            id: lock.id,
            extent: lock.extent,
        });
        let executing = |command: &Command| {
            let overlaps = |cdb| Extent::of(cdb).is_some_and(|e| e.overlaps(&lock.extent));
            let copy = command.inner_part().and_then(|inner| inner.copy.as_ref());
            let source = copy.filter(|copy| copy.unit.id() == lock.unit);
            command.executes()
                && (command.unit_id == Some(lock.unit) && overlaps(&command.cdb)
                    || source.is_some_and(|copy| overlaps(&copy.cdb)))
        };
        for (_, command) in &mut self.commands {
            if executing(command) {
                command.rare().delays.push(Arc::clone(lock));
            }
        }
    }

    /// The range of a command of this shard is excluded.
    pub(crate) fn range_excluded(&mut self, key: CommandKey, id: RangeId) {
        let Some(command) = self.command_mut(key) else {
            return;
        };
        if command.phase == Phase::AtGate
            && let Some(guard) = &mut command.rare().range
            // What delayed a claim that the command has given up says nothing of the one that it has now.
            && guard.id == id
        {
            guard.excluded = true;
            self.leave_queue_at_gate(key);
            self.runnable.push_back(key);
        }
    }

    pub(crate) fn range_released(&mut self, unit: UnitId, id: RangeId) {
        self.ranges.retain(|r| !(r.unit == unit && r.id == id));
        self.gate_opened(unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdb::{self, ParsedCdb};

    fn extent(cdb: &[u8]) -> Option<(u64, u64)> {
        let parsed = ParsedCdb::decode(cdb::lookup(cdb).unwrap(), cdb).unwrap();
        Extent::of(&parsed).map(|e| (e.start, e.end))
    }

    #[test]
    fn commands_touch_the_blocks_that_they_name() {
        assert_eq!(extent(&[0x28, 0, 0, 0, 0, 5, 0, 0, 3, 0]), Some((5, 8)));
        assert_eq!(
            extent(&[0x2A, 0, 0, 0, 0, 5, 0, 0, 0, 0]),
            None,
            "no blocks"
        );
        assert_eq!(extent(&[0x00; 6]), None, "TEST UNIT READY");
        assert_eq!(extent(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(
            extent(&[0x41, 0, 0, 0, 0, 9, 0, 0, 0, 0]),
            Some((9, u64::MAX))
        );
        assert_eq!(
            extent(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]),
            Some((0, u64::MAX)),
            "UNMAP may name any"
        );
    }

    #[test]
    fn ranges_that_touch_do_not_overlap() {
        let range = |start, end| Extent { start, end };
        assert!(!range(0, 8).overlaps(&range(8, 16)));
        assert!(range(0, 9).overlaps(&range(8, 16)));
        assert!(range(9, 10).overlaps(&range(8, 16)));
        assert!(Extent::ALL.overlaps(&range(1 << 40, (1 << 40) + 1)));
    }
}
