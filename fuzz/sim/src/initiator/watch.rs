//! What an initiator watches between two answers: how far the target is, and whether it is late.

use lunforge::core::tmf;
use lunforge::iscsi::proto::session::serial_lt;

use super::{Initiator, Phase, Task, What};
use crate::chronicle::Seq;

/// Turns of all shards, one after the other, in which what is due gets through: mail from shard to shard and back, for
/// each unit of a target reset, and for that of another initiator before it.
const TURNS: u32 = 48;
/// Time that a login may take beyond the bound of what it waits for.
const BOUND: u64 = tmf::BOUND.as_nanos() as u64;

impl Initiator {
    /// Notes which commands the target has begun.
    pub(crate) fn watch(&mut self) {
        let consumed = self.consumed();
        while let Some(itt) = self.unbegun.front() {
            let waits = |task| !self.has_begun(task, consumed);
            if self.tasks.get(itt).is_some_and(waits) {
                return;
            }
            if let Some(task) = self.tasks.get_mut(itt) {
                let mut model = self.shared.model.lock();
                task.began = Some(self.shared.chronicle.seq());
                if let Some(write) = task.writes().and_then(|id| model.write(id)) {
                    write.began = task.began;
                }
            }
            self.unbegun.pop_front();
        }
    }

    /// Whether the target has surely begun a command. What it has read it works through at once, but for a peer that does
    /// not read: then bytes wait with its connection as they might in a socket, still with the service delivery subsystem
    /// and in no task set that a reset could empty. ExpCmdSN tells what has left it (RFC 7143 4.2.2.1).
    fn has_begun(&self, task: &Task, consumed: u64) -> bool {
        let slow = self.link.as_ref().is_some_and(|link| link.slow);
        task.header_end <= consumed && (!slow || serial_lt(task.cmd_sn, self.exp_cmd_sn))
    }

    /// Whether a request has to be answered soon: a function, a logout, or a command whose unit left.
    fn is_bounded(&self, task: &Task, consumed: u64) -> bool {
        if !task.is_command() {
            return consumed >= task.header_end
                && matches!(task.what, What::Manage { .. } | What::Logout);
        }
        let left = |began: Seq| {
            let model = self.shared.model.lock();
            model.units[task.unit].left.is_some_and(|at| began < at)
        };
        // Its answer waits for its unsolicited data.
        consumed >= task.unsolicited_end && task.began.is_some_and(left) && !self.may_be_gone(task)
    }

    /// All shards have had a turn at `now`: what is bounded and not answered long after its time is late.
    pub(crate) fn turn(&mut self, now: u64) {
        let consumed = self.consumed();
        let blocked = self
            .link
            .as_ref()
            .is_none_or(|link| link.wire.look(|pipe| pipe.room < 4096));
        if blocked {
            return;
        }
        let mut late = None;
        let bounded = |(itt, task): (&u32, &Task)| self.is_bounded(task, consumed).then_some(*itt);
        let bounded: Vec<u32> = self.tasks.iter().filter_map(bounded).collect();
        for itt in bounded {
            let Some(task) = self.tasks.get_mut(&itt) else {
                continue;
            };
            let seen = *task.seen.get_or_insert(now);
            task.late += u32::from(now > seen + BOUND);
            if task.late > TURNS {
                late = Some((itt, task.clone()));
            }
        }
        if let Some((itt, task)) = late {
            self.fail("late", format!("{itt} has no answer: {task:?}"));
        }
        self.watch_login(now, consumed);
    }

    fn watch_login(&mut self, now: u64, consumed: u64) {
        if !matches!(self.phase, Phase::Login(_)) || consumed < self.login.end || self.login.wrong {
            return;
        }
        let seen = *self.login.seen.get_or_insert(now);
        self.login.late += u32::from(now > seen + BOUND);
        if self.login.late > TURNS {
            self.fail("late", "a login has no answer".into());
        }
    }

    /// The run is over and everything was given time: what is not answered was lost.
    pub(crate) fn check_answered(&self) {
        for (itt, task) in &self.tasks {
            let excused = task.is_command() && self.may_be_gone(task);
            if !excused {
                return self.fail("never-answered", format!("{itt}: {task:?}"));
            }
        }
    }
}
