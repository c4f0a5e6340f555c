//! Hard limits of a shard, and what they did.

use std::time::Duration;

use crate::buffer::SEGMENT_LEN;
use crate::setting::{Setting, Unit, count, millis, size};
use crate::stats::Counter;

/// Hard limits of a shard.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Commands at a time. Of the second half of them, and of the bytes, no unit gets more than its share.
    pub commands: usize,
    /// Commands of one session for one unit at a time; beyond, TASK SET FULL.
    pub commands_per_itl: usize,
    /// Bytes of buffers at a time. A command that moves more than [`Limits::largest_transfer`] is answered TASK SET FULL
    /// however often it comes: give more than twice what the largest command of any unit moves.
    pub buffer_bytes: usize,
    /// Bytes of those that one session may hold; beyond, TASK SET FULL. A transport takes less in before.
    pub session_bytes: usize,
    /// Bytes of free buffers kept.
    pub free_bytes: usize,
    /// How long a peer may owe something and not move before its session may be closed for the sake of others. Only
    /// done when the shard's buffers are nearly used up.
    pub stall_time: Duration,
    /// How long to spin for the next event before sleeping, while traffic is dense. Zero: never.
    pub spin: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            commands: 65_536,
            commands_per_itl: 64,
            buffer_bytes: 256 << 20,
            // 32 reads of 1 MiB in flight; an eighth of the shard.
            session_bytes: 32 << 20,
            free_bytes: 8 << 20,
            stall_time: Duration::from_secs(5),
            spin: Duration::from_micros(50),
        }
    }
}

impl Limits {
    /// The most bytes that a command may move and find its buffer for certain when nothing else is held: less than
    /// half of [`Limits::buffer_bytes`], since nobody gets more than a fair part of what is left. In whole
    /// [`SEGMENT_LEN`]s: below them, buffers are rounded up.
    pub fn largest_transfer(&self) -> usize {
        let less_than_half = self.buffer_bytes.saturating_sub(1) / 2;
        less_than_half - less_than_half % SEGMENT_LEN
    }

    /// All of them but `spin`, which bounds nothing that a peer does.
    pub const SETTINGS: &[Setting<Self>] = &[
        Setting {
            name: "shard-commands",
            meaning: "Commands at a time on one shard; beyond, TASK SET FULL.",
            unit: Unit::Count,
            range: 1..=1 << 24,
            read: |limits| count(limits.commands),
            write: |limits, n| limits.commands = size(n),
        },
        Setting {
            name: "commands-per-lun",
            meaning: "Commands at a time of one session for one LUN; beyond, TASK SET FULL.",
            unit: Unit::Count,
            range: 1..=1 << 16,
            read: |limits| count(limits.commands_per_itl),
            write: |limits, n| limits.commands_per_itl = size(n),
        },
        Setting {
            name: "shard-bytes",
            meaning: "Bytes of I/O buffers at a time on one shard; beyond, TASK SET FULL.",
            unit: Unit::Bytes,
            range: 1 << 20..=1 << 40,
            read: |limits| count(limits.buffer_bytes),
            write: |limits, n| limits.buffer_bytes = size(n),
        },
        Setting {
            name: "session-bytes",
            meaning: "Bytes of these that one session may hold; at half its command window closes, beyond, TASK SET FULL.",
            unit: Unit::Bytes,
            range: 64 << 10..=1 << 40,
            read: |limits| count(limits.session_bytes),
            write: |limits, n| limits.session_bytes = size(n),
        },
        Setting {
            name: "free-bytes",
            meaning: "Bytes of free I/O buffers that a shard keeps while it is busy.",
            unit: Unit::Bytes,
            range: 0..=1 << 40,
            read: |limits| count(limits.free_bytes),
            write: |limits, n| limits.free_bytes = size(n),
        },
        Setting {
            name: "stall-time",
            meaning: "When a shard's buffers are nearly used up, a session that has not moved for so long is closed, the biggest first.",
            unit: Unit::Time,
            range: 100..=3_600_000,
            read: |limits| millis(limits.stall_time),
            write: |limits, n| limits.stall_time = Duration::from_millis(n),
        },
    ];
}

/// What the limits of a shard did; the counts only grow.
#[derive(Debug, Default)]
pub struct ShardCounters {
    /// Commands answered TASK SET FULL for the number of commands, of the shard or of a session for a unit.
    pub full_commands: Counter,
    /// Commands answered TASK SET FULL because their session's budget was used up.
    pub full_session: Counter,
    /// Commands answered TASK SET FULL because the shard's buffers were used up.
    pub full_shard: Counter,
    /// Sessions closed because their peer did not move while the shard's buffers were nearly used up.
    pub shed: Counter,
}

impl ShardCounters {
    /// A command finds no buffer, although its session's budget would admit one, or because it does not.
    #[cold]
    pub(crate) fn full_of_buffers(&self, budget_admits: bool) {
        if budget_admits {
            self.full_shard.add(1);
        } else {
            self.full_session.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BufferPool;

    #[test]
    fn the_largest_transfer_finds_its_buffer_alone_whatever_the_budgets_and_half_of_all_never() {
        for (buffer_bytes, session_bytes) in [
            (1 << 20, 64 << 10),
            (1 << 20, 1 << 30),
            ((16 << 20) + 5000, 1 << 20),
            (256 << 20, 32 << 20),
        ] {
            let limits = Limits {
                buffer_bytes,
                session_bytes,
                ..Limits::default()
            };
            let mut pool = BufferPool::new(buffer_bytes, 0);
            let budget = pool.budget(session_bytes);
            let largest = limits.largest_transfer();
            for len in [largest, largest - 1, largest / 2 + 1] {
                assert!(pool.take_within(&budget, len, || true).is_ok(), "{len}");
            }
            let half = buffer_bytes.div_ceil(2);
            assert!(pool.take_within(&budget, half, || true).is_err());
        }
    }

    #[test]
    fn each_setting_takes_its_default_and_changes_one_field() {
        for setting in Limits::SETTINGS {
            let mut limits = Limits::default();
            let before = format!("{limits:?}");
            let shown = setting.show(&limits);
            setting.set(&mut limits, &shown).unwrap();
            assert_eq!(format!("{limits:?}"), before, "{}", setting.name);
            let other = if (setting.read)(&limits) == *setting.range.start() {
                *setting.range.end()
            } else {
                *setting.range.start()
            };
            (setting.write)(&mut limits, other);
            assert_eq!((setting.read)(&limits), other, "{}", setting.name);
            let changed = Limits::SETTINGS
                .iter()
                .filter(|s| (s.read)(&limits) != (s.read)(&Limits::default()));
            assert_eq!(changed.count(), 1, "{}", setting.name);
        }
    }
}
