//! One task of the table: a SCSI command or a task management function in flight.

use std::time::Instant;

/// Names a task; a key outlives its task without harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl TaskKey {
    /// Slot of the task in its session, dense from 0, reused after the task ended.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    #[default]
    Scsi,
    TaskManagement,
}

/// Where the write side of a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DataOutState {
    /// The caller has not yet said whether it takes the data.
    #[default]
    Undecided,
    /// Data goes to the caller's buffer.
    Receiving,
    /// Everything wanted has arrived.
    Complete,
    /// Data is thrown away: refused by the caller, or a rule was broken.
    Discarding,
}

/// An R2T whose data is not all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutstandingR2t {
    pub ttt: u32,
    pub offset: u32,
    pub len: u32,
    pub received: u32,
    pub data_sn: u32,
}

/// The unsolicited sequence after a command without the F bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsolicited {
    pub data_sn: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Task {
    pub generation: u32,
    pub live: bool,
    pub retired: bool,
    pub kind: Kind,
    pub immediate: bool,
    pub itt: u32,
    pub cmd_sn: u32,
    pub lun: [u8; 8],
    pub read: bool,
    pub write: bool,
    /// Expected transfer lengths of the initiator, bytes.
    pub expected_in: u32,
    pub expected_out: u32,
    pub out: DataOutState,
    /// Bytes the caller's buffer takes, at most `expected_out`.
    pub wanted: u32,
    /// Next offset of unsolicited data; afterwards the first offset not yet asked for by R2T.
    pub next_offset: u32,
    pub unsolicited: Option<Unsolicited>,
    pub r2ts: Vec<OutstandingR2t>,
    pub r2t_sn: u32,
    /// A broken rule to report when the data still on its way is in.
    pub failure: Option<(u8, u8)>,
    /// The answer, held until the unsolicited sequence has ended.
    pub held: Option<Box<super::connection::HeldAnswer>>,
    /// Since when data is awaited from the initiator.
    pub waiting_since: Option<Instant>,
}

impl Task {
    /// Makes the slot a new task; keeps the R2T list's memory.
    pub(crate) fn renew(&mut self, itt: u32, immediate: bool) {
        let mut r2ts = std::mem::take(&mut self.r2ts);
        r2ts.clear();
        *self = Self {
            generation: self.generation.wrapping_add(1),
            live: true,
            itt,
            immediate,
            r2ts,
            ..Self::default()
        };
    }

    /// Whether Data-Out for this task is still on its way.
    pub(crate) fn data_on_its_way(&self) -> bool {
        self.unsolicited.is_some() || !self.r2ts.is_empty()
    }
}

impl TaskKey {
    /// One number for the key, to hand it through interfaces that know only tags.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key that [`TaskKey::to_u64`] made this of.
    #[must_use]
    pub fn from_u64(raw: u64) -> Self {
        // The halves.
        Self {
            index: raw as u32,
            generation: (raw >> 32) as u32,
        }
    }
}
