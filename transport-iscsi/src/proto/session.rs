//! A session: the CmdSN window and the task table, shared by its connections (RFC 7143 §4.2.2, §4.4).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::pdu::RESERVED_TAG;
use super::task::{Task, TaskKey};

/// Most commands a session may queue (QueuedCommands).
pub const MAX_QUEUED_COMMANDS: u32 = 2048;

/// Immediate requests that may be in flight beside the window, unless set otherwise.
pub const MAX_IMMEDIATE: u32 = 32;

/// `a < b` in 32-bit serial number arithmetic (RFC 1982).
#[must_use]
pub fn serial_lt(a: u32, b: u32) -> bool {
    let distance = b.wrapping_sub(a);
    distance != 0 && distance < 1 << 31
}

/// What the session negotiated (RFC 7143 §13), lengths in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionParams {
    /// A discovery session: text and logout only.
    pub discovery: bool,
    /// InitialR2T: no unsolicited Data-Out PDUs.
    pub initial_r2t: bool,
    /// ImmediateData: data may come with the command.
    pub immediate_data: bool,
    /// MaxBurstLength.
    pub max_burst_length: u32,
    /// FirstBurstLength.
    pub first_burst_length: u32,
    /// MaxOutstandingR2T per task.
    pub max_outstanding_r2t: u16,
    /// DefaultTime2Wait in seconds.
    pub default_time2wait: u16,
    /// DefaultTime2Retain in seconds.
    pub default_time2retain: u16,
    /// QueuedCommands: depth of the CmdSN window, 1..=[`MAX_QUEUED_COMMANDS`].
    pub queued_commands: u32,
    /// Immediate requests that may be in flight beside the window.
    pub immediate_commands: u32,
}

impl Default for SessionParams {
    fn default() -> Self {
        Self {
            discovery: false,
            initial_r2t: true,
            immediate_data: true,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            max_outstanding_r2t: 1,
            default_time2wait: 2,
            default_time2retain: 0,
            queued_commands: 32,
            immediate_commands: MAX_IMMEDIATE,
        }
    }
}

/// Counters of a session; they only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionStatistics {
    /// SCSI commands accepted.
    pub commands: u64,
    /// Task management functions accepted.
    pub task_management: u64,
    /// Requests ignored because their CmdSN was outside of the window.
    pub outside_window: u64,
    /// Immediate requests rejected because there were too many.
    pub immediate_rejected: u64,
}

/// Whether a request may run, by its CmdSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Accept,
    OutsideWindow,
    Gap,
    TooManyImmediate,
}

/// The state that all connections of a session share.
#[derive(Debug)]
pub struct Session {
    params: SessionParams,
    exp_cmd_sn: u32,
    max_cmd_sn: u32,
    depth: u32,
    queued: u32,
    immediate: u32,
    slots: Vec<Task>,
    free: Vec<u32>,
    by_itt: HashMap<u32, u32, BuildHasherDefault<TagHasher>>,
    next_ttt: u32,
    // CmdSNs that an ABORT TASK declared received before they came (RFC 7143 §11.5.1).
    plugged: Vec<u32>,
    pub(crate) statistics: SessionStatistics,
}

impl Session {
    /// A session whose first non-immediate command carries `exp_cmd_sn`.
    #[must_use]
    pub fn new(params: SessionParams, exp_cmd_sn: u32) -> Self {
        let depth = params.queued_commands.clamp(1, MAX_QUEUED_COMMANDS);
        Self {
            params,
            exp_cmd_sn,
            max_cmd_sn: exp_cmd_sn.wrapping_add(depth - 1),
            depth,
            queued: 0,
            immediate: 0,
            slots: Vec::new(),
            free: Vec::new(),
            by_itt: HashMap::default(),
            next_ttt: 0,
            plugged: Vec::new(),
            statistics: SessionStatistics::default(),
        }
    }

    /// What was negotiated.
    #[must_use]
    pub fn params(&self) -> &SessionParams {
        &self.params
    }

    /// Counters.
    #[must_use]
    pub fn statistics(&self) -> SessionStatistics {
        self.statistics
    }

    /// Next CmdSN expected.
    #[must_use]
    pub fn exp_cmd_sn(&self) -> u32 {
        self.exp_cmd_sn
    }

    /// Highest CmdSN that the initiator may use now. It never goes back (RFC 7143 §4.2.2.1).
    pub fn max_cmd_sn(&mut self) -> u32 {
        let room = self.depth.saturating_sub(self.queued);
        let candidate = self.exp_cmd_sn.wrapping_add(room).wrapping_sub(1);
        if serial_lt(self.max_cmd_sn, candidate) {
            self.max_cmd_sn = candidate;
        }
        self.max_cmd_sn
    }

    /// Changes the depth of the window, for back-pressure; a smaller one takes effect as commands
    /// end. Clamped to 1..=QueuedCommands: a closed window with nothing in flight could not reopen.
    pub fn set_depth(&mut self, depth: u32) {
        self.depth = depth.clamp(1, self.params.queued_commands.clamp(1, MAX_QUEUED_COMMANDS));
    }

    /// Tasks in flight, those whose response is still being sent included.
    #[must_use]
    pub fn tasks_in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Keys of all tasks in flight, to abort them when the session ends.
    pub fn task_keys(&self) -> impl Iterator<Item = TaskKey> + '_ {
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, task)| task.live)
            .map(|(index, task)| TaskKey {
                index,
                generation: task.generation,
            })
    }

    /// Initiator task tag of a task in flight.
    #[must_use]
    pub fn initiator_task_tag(&self, key: TaskKey) -> Option<u32> {
        self.task(key).map(|task| task.itt)
    }

    pub(crate) fn admit(&mut self, cmd_sn: u32, immediate: bool) -> Admission {
        if immediate {
            return if self.immediate < self.params.immediate_commands.max(1) {
                Admission::Accept
            } else {
                Admission::TooManyImmediate
            };
        }
        if cmd_sn == self.exp_cmd_sn && !serial_lt(self.max_cmd_sn, cmd_sn) {
            self.advance();
            return Admission::Accept;
        }
        if serial_lt(cmd_sn, self.exp_cmd_sn) || serial_lt(self.max_cmd_sn, cmd_sn) {
            self.statistics.outside_window += 1;
            return Admission::OutsideWindow;
        }
        Admission::Gap
    }

    fn advance(&mut self) {
        self.exp_cmd_sn = self.exp_cmd_sn.wrapping_add(1);
        while let Some(at) = self.plugged.iter().position(|sn| *sn == self.exp_cmd_sn) {
            self.plugged.swap_remove(at);
            self.exp_cmd_sn = self.exp_cmd_sn.wrapping_add(1);
        }
    }

    /// Declares a CmdSN of the window received; false when it lies outside.
    pub(crate) fn plug(&mut self, cmd_sn: u32) -> bool {
        if serial_lt(cmd_sn, self.exp_cmd_sn) || serial_lt(self.max_cmd_sn, cmd_sn) {
            return false;
        }
        if cmd_sn == self.exp_cmd_sn {
            self.advance();
        } else if !self.plugged.contains(&cmd_sn) {
            // Bounded: every entry is a different number of the window.
            self.plugged.push(cmd_sn);
        }
        true
    }

    pub(crate) fn find(&self, itt: u32) -> Option<TaskKey> {
        let index = *self.by_itt.get(&itt)?;
        let task = self.slots.get(index as usize)?;
        Some(TaskKey {
            index,
            generation: task.generation,
        })
    }

    #[inline]
    pub(crate) fn task(&self, key: TaskKey) -> Option<&Task> {
        self.slots
            .get(key.index as usize)
            .filter(|task| task.live && task.generation == key.generation)
    }

    #[inline]
    pub(crate) fn task_mut(&mut self, key: TaskKey) -> Option<&mut Task> {
        self.slots
            .get_mut(key.index as usize)
            .filter(|task| task.live && task.generation == key.generation)
    }

    /// Puts a task in the table; its tag must not be there.
    pub(crate) fn insert(&mut self, itt: u32, immediate: bool) -> TaskKey {
        if immediate {
            self.immediate += 1;
        } else {
            self.queued += 1;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Task::default());
            // Bounded by the window, the immediate limit and the transmit bound.
            (self.slots.len() - 1) as u32
        });
        self.by_itt.insert(itt, index);
        let Some(task) = self.slots.get_mut(index as usize) else {
            return TaskKey {
                index,
                generation: 0,
            };
        };
        task.renew(itt, immediate);
        TaskKey {
            index,
            generation: task.generation,
        }
    }

    /// Frees the tag and the place in the window: the status is about to be sent.
    pub(crate) fn retire(&mut self, key: TaskKey) {
        let Some(task) = self.task_mut(key) else {
            return;
        };
        if std::mem::replace(&mut task.retired, true) {
            return;
        }
        let (itt, immediate) = (task.itt, task.immediate);
        self.by_itt.remove(&itt);
        if immediate {
            self.immediate -= 1;
        } else {
            self.queued -= 1;
        }
    }

    /// Frees the slot.
    pub(crate) fn remove(&mut self, key: TaskKey) {
        self.retire(key);
        if let Some(task) = self.task_mut(key) {
            task.live = false;
            self.free.push(key.index);
        }
    }

    pub(crate) fn allocate_ttt(&mut self) -> u32 {
        self.next_ttt = self.next_ttt.wrapping_add(1);
        if self.next_ttt == RESERVED_TAG {
            self.next_ttt = 0;
        }
        self.next_ttt
    }
}

/// Hash of a task tag. An initiator that picks colliding tags slows only its own session, by at most
/// the depth of its window.
#[derive(Debug, Default)]
pub(crate) struct TagHasher(u64);

impl Hasher for TagHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n17_window_wraps_and_ignores_what_is_outside() {
        let mut session = Session::new(
            SessionParams {
                queued_commands: 4,
                ..Default::default()
            },
            u32::MAX - 1,
        );
        assert_eq!(session.max_cmd_sn(), 1);
        for sn in [u32::MAX - 2, 2, 100] {
            assert_eq!(session.admit(sn, false), Admission::OutsideWindow);
        }
        assert_eq!(session.admit(0, false), Admission::Gap);
        let keys: Vec<_> = [u32::MAX - 1, u32::MAX, 0, 1]
            .map(|sn| {
                assert_eq!(session.admit(sn, false), Admission::Accept);
                session.insert(sn, false)
            })
            .into();
        assert_eq!((session.exp_cmd_sn(), session.max_cmd_sn()), (2, 1));
        assert_eq!(session.admit(2, false), Admission::OutsideWindow);
        session.remove(keys[2]);
        assert_eq!(session.max_cmd_sn(), 2);
        assert_eq!(session.admit(2, false), Admission::Accept);
        assert_eq!(session.statistics().outside_window, 4);
    }

    #[test]
    fn n17_immediate_requests_are_bounded() {
        let mut session = Session::new(SessionParams::default(), 1);
        for itt in 0..MAX_IMMEDIATE {
            assert_eq!(session.admit(77, true), Admission::Accept);
            session.insert(itt, true);
        }
        assert_eq!(session.admit(77, true), Admission::TooManyImmediate);
        assert_eq!(session.exp_cmd_sn(), 1);
    }

    #[test]
    fn max_cmd_sn_never_goes_back_when_the_depth_shrinks() {
        let mut session = Session::new(SessionParams::default(), 1);
        assert_eq!(session.max_cmd_sn(), 32);
        session.set_depth(0);
        assert_eq!(session.max_cmd_sn(), 32);
        for sn in 1..=32 {
            assert_eq!(session.admit(sn, false), Admission::Accept);
        }
        assert_eq!(session.max_cmd_sn(), 33);
    }

    #[test]
    fn stale_key_finds_nothing_after_the_slot_is_reused() {
        let mut session = Session::new(SessionParams::default(), 1);
        let old = session.insert(5, false);
        session.remove(old);
        let new = session.insert(5, false);
        assert_eq!(old.index, new.index);
        assert!(session.task(old).is_none() && session.task(new).is_some());
    }
}
