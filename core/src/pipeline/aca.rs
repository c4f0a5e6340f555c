//! Auto contingent allegiance (SAM-5 5.9), and what else the end of a command with another status than GOOD brings
//! about: QERR and UA_INTLCK_CTRL (SPC-4 7.5.8).

use super::run::leave_gate;
use crate::asc::Asc;
use crate::cdb::Control;
use crate::command::{Command, CommandRequest, Phase};
use crate::handler::{Outcome, QueueError, UnitAttentionInterlock};
use crate::lu::UnitId;
use crate::nexus::NexusId;
use crate::shard::completion::CommandKey;
use crate::shard::{LocalUnit, NexusKey, ShardCore};
use crate::status::Status;
use crate::task_set::{Arrival, Entrance, TaskAttribute};
use crate::tmf::{Manner, Then};
use crate::ua;

/// Reasons for care for which a task set is asked whether it has an ACA.
pub(super) const MAY_BE: u32 = ua::CONTINGENT | ua::SHARED;

/// Stage 1a: how a command enters a task set that may have an ACA.
///
/// # Errors
/// ACA ACTIVE, BUSY, or INVALID MESSAGE ERROR.
#[cold]
pub(super) fn judge(local: &LocalUnit, request: &CommandRequest<'_>) -> Result<Entrance, Outcome> {
    let action = request.cdb.get(1).map(|byte| byte & 0x1F);
    let new = Arrival {
        nexus: local.itl.nexus.id,
        attribute: request.attribute,
        naca: Control::of(request.cdb).naca(),
        preempt_and_abort: request.cdb.first() == Some(&0x5F) && action == Some(0x05),
        tmf_only: local.unit.handler().control().tmf_only,
    };
    match &local.unit.tasks {
        Some(shared) => shared.judge(&new),
        None => local.tasks.aca.judge(&new),
    }
}

/// Whether an ACA keeps an enabled command from going on.
#[cold]
pub(super) fn blocks(command: &Command, local: &LocalUnit) -> bool {
    let past = command.rare.as_ref().is_some_and(|rare| rare.past_aca);
    command.attribute != TaskAttribute::Aca && !past && !command.inner && faulted(local).is_some()
}

/// The nexus whose ACA is in effect.
pub(crate) fn faulted(local: &LocalUnit) -> Option<NexusId> {
    match &local.unit.tasks {
        Some(shared) => shared.faulted(),
        None => local.tasks.aca.faulted(),
    }
}

/// A command that ends with another status than GOOD.
pub(super) struct Failure {
    nexus: NexusKey,
    unit: usize,
    status: Status,
    naca: bool,
    /// It is the ACA command.
    aca: bool,
}

impl Failure {
    pub(super) fn of(command: &Command, status: Status) -> Self {
        Self {
            nexus: command.nexus,
            unit: command.local_unit,
            status,
            naca: command.cdb.control.naca(),
            aca: command.attribute == TaskAttribute::Aca,
        }
    }

    /// Of a command that does not come into its task set.
    pub(super) fn at_once(request: &CommandRequest<'_>, unit: usize, status: Status) -> Self {
        Self {
            nexus: request.nexus,
            unit,
            status,
            naca: Control::of(request.cdb).naca(),
            aca: request.attribute == TaskAttribute::Aca,
        }
    }
}

impl ShardCore {
    /// Stops a command at an ACA: before it begins, or with its outcome before it ends. What waits for it to end its
    /// access to the medium waits no longer.
    pub(super) fn block(&mut self, key: CommandKey, outcome: Option<Box<Outcome>>) {
        let lane = self.lane;
        let Some(unit) = self.unit_of(key) else {
            return;
        };
        let Some(command) = self.command_mut(key) else {
            return;
        };
        leave_gate(&unit, lane, command);
        command.phase = Phase::Blocked(outcome);
        if let Some(rare) = &mut command.rare {
            rare.range = None;
            rare.delays.clear();
        }
        self.blocked.entry(unit.id()).or_default().push(key);
    }

    /// No ACA is in effect any more in a task set of the unit. Commands that another one blocks come back here.
    pub(crate) fn aca_ended(&mut self, unit: UnitId) {
        for key in self.blocked.remove(&unit).unwrap_or_default() {
            let Some(command) = self.command_mut(key) else {
                continue;
            };
            match std::mem::replace(&mut command.phase, Phase::Ready) {
                Phase::Blocked(Some(outcome)) => {
                    let buf = std::mem::take(&mut command.buf);
                    self.finish(key, *outcome, buf);
                }
                Phase::Blocked(None) => self.runnable.push_back(key),
                other => command.phase = other,
            }
        }
    }

    /// Ends the ACA that `of` a unit's task set the nexus established, if it has one.
    pub(crate) fn end_aca(&mut self, nexus: NexusKey, unit: usize) {
        let mut enabled = std::collections::VecDeque::new();
        let Some(local) = self.local_mut(nexus, unit) else {
            return;
        };
        let id = local.unit.id();
        if local.unit.tasks.is_some() {
            return local.unit.end_shared_aca(|faulted| faulted == nexus.id());
        }
        if local.tasks.end_aca(|_| true, &mut enabled) {
            local.itl.ua.clear_care(ua::CONTINGENT);
            enabled.into_iter().for_each(|key| self.enabled(key));
            self.aca_ended(id);
        }
    }

    fn establish_aca(&mut self, nexus: NexusKey, unit: usize) {
        let Some(local) = self.local_mut(nexus, unit) else {
            return;
        };
        match &local.unit.tasks {
            Some(shared) => {
                shared.establish_aca(nexus.id());
            }
            None => {
                local.tasks.aca.establish(nexus.id());
                local.itl.ua.set_care(ua::CONTINGENT);
            }
        }
    }

    /// Before a command that failed leaves its task set: CHECK CONDITION with NACA establishes an ACA, so that nothing
    /// dormant gets its turn; without NACA one of the ACA command ends it (SAM-5 5.9.2, 5.9.5).
    #[cold]
    pub(super) fn before_failure(&mut self, failure: &Failure) {
        if failure.status != Status::CheckCondition {
            return;
        }
        let active = self.local(failure.nexus, failure.unit).and_then(faulted);
        if failure.naca {
            self.establish_aca(failure.nexus, failure.unit);
        } else if failure.aca && active == Some(failure.nexus.id()) {
            self.end_aca(failure.nexus, failure.unit);
        }
    }

    /// After the response to a command that failed: QERR, UA_INTLCK_CTRL.
    #[cold]
    pub(super) fn after_failure(&mut self, failure: &Failure) {
        let Some(local) = self.local(failure.nexus, failure.unit) else {
            return;
        };
        let control = local.unit.handler().control();
        let previous = match failure.status {
            Status::CheckCondition => {
                return self.queue_error(control.queue_error, failure);
            }
            Status::Busy => Asc::PREVIOUS_BUSY_STATUS,
            Status::TaskSetFull => Asc::PREVIOUS_TASK_SET_FULL_STATUS,
            Status::ReservationConflict => Asc::PREVIOUS_RESERVATION_CONFLICT_STATUS,
            _ => return,
        };
        if control.interlock == UnitAttentionInterlock::KeepAndEstablish {
            local.itl.ua.establish_previous_status(previous);
        }
    }

    /// QERR: other commands of the task set are aborted (SPC-4 7.5.8).
    fn queue_error(&mut self, queue_error: QueueError, failure: &Failure) {
        let Some(local) = self.local(failure.nexus, failure.unit) else {
            return;
        };
        let unit = std::sync::Arc::clone(&local.unit);
        match queue_error {
            QueueError::Continue => {}
            QueueError::AbortAll if unit.tasks.is_some() => {
                self.clear_shared(&unit, Vec::new(), failure.nexus.id(), Box::new(|| {}));
            }
            QueueError::AbortAll | QueueError::AbortNexus => {
                let victims = self.tasks_of(failure.nexus, &unit);
                self.abort(victims, Manner::of(failure.nexus.id()), Then::Nothing);
            }
        }
    }
}
