//! What one unit may take of a shard: so much that the units beside it always find something left.
//!
//! A unit whose backend is dead keeps all that its commands hold until the backend ends them, and initiators send more.
//! Up to half of a shard's commands and buffers whoever comes first gets them. The other half is shared out: each of
//! the n units that have commands on the shard may hold an nth of it. So a unit that took all of the first half, and is
//! dead, gets nothing of the second, and the others have theirs.
//!
//! Of either half a session gets a fair part only ([`fair_part`]).
//!
//! Nothing is counted until the first half is gone, or a session asks for more than its part of that; then once in a turn of the shard.

use std::collections::HashMap;
use std::time::Instant;

use slab::Slab;

use crate::budget::fair_part;
use crate::buffer::BufferPool;
use crate::command::Command;
use crate::handler::Transfer;
use crate::lu::UnitId;
use crate::shard::Limits;

/// What the units on a shard hold, as of the beginning of a turn, with what they got in it.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    turn: Option<Instant>,
    held: HashMap<UnitId, Held>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Held {
    commands: usize,
    bytes: usize,
}

impl Shares {
    /// What a unit holds, and how many units there are.
    fn of(&mut self, unit: UnitId, commands: &Slab<Command>, now: Instant) -> (&mut Held, usize) {
        if self.turn != Some(now) {
            self.turn = Some(now);
            self.held.clear();
            for (_, command) in commands {
                let Some(unit) = command.unit_id else {
                    continue;
                };
                let held = self.held.entry(unit).or_default();
                held.commands += 1;
                held.bytes += BufferPool::footprint(bytes(command.transfer));
            }
        }
        self.held.entry(unit).or_default();
        let units = self.held.len();
        (self.held.entry(unit).or_default(), units)
    }

    /// Whether a unit may have another command although half of them are taken.
    #[cold]
    pub(crate) fn command(
        &mut self,
        unit: UnitId,
        commands: &Slab<Command>,
        limits: &Limits,
        now: Instant,
    ) -> bool {
        let (held, units) = self.of(unit, commands, now);
        let part = limits.commands / 2 / units;
        // However small the part is: one at a time.
        let may = commands.len() < limits.commands && held.commands < part.max(1);
        held.commands += usize::from(may);
        may
    }

    /// Whether a unit may have another buffer, for a session that holds `used` bytes, although half of the bytes are
    /// taken. As in the pool, the session may hold no more than a fair part of what the unit has left. One that holds
    /// none may: of many units each has a small part, and commands that are larger than that have to end some time.
    #[cold]
    pub(crate) fn buffer(
        &mut self,
        unit: UnitId,
        (used, len): (usize, usize),
        commands: &Slab<Command>,
        limits: &Limits,
        now: Instant,
    ) -> bool {
        let (held, units) = self.of(unit, commands, now);
        let len = BufferPool::footprint(len);
        let part = limits.buffer_bytes / 2 / units;
        let after = held.bytes + len;
        let fair = || used.saturating_add(len) <= fair_part(part.saturating_sub(after), part);
        let may = held.bytes == 0 || fair();
        if may {
            held.bytes = after;
        }
        may
    }
}

/// Bytes of buffer that a command took at most.
fn bytes(transfer: Transfer) -> usize {
    match transfer {
        Transfer::None => 0,
        Transfer::In(len)
        | Transfer::Out(len)
        | Transfer::OutExactly(len)
        | Transfer::OutAtMost(len) => len,
    }
}
