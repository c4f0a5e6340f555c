//! Who decides on SET TARGET PORT GROUPS, and the threads on which that takes its time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use lunforge_core::LogicalUnit;
use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::{Execution, Outcome};
use lunforge_core::nexus::NexusId;
use lunforge_core::sense::Sense;
use lunforge_core::shard::completion::CompletionToken;

use crate::device_group::Shared;
use crate::state::AccessState;
use crate::table::StatusCode;

/// A target port group that is to change its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// TARGET PORT GROUP.
    pub group: u16,
    /// The state it is in.
    pub from: AccessState,
    /// The state it is to be in.
    pub to: AccessState,
}

/// What an initiator asks for by one SET TARGET PORT GROUPS command.
#[derive(Clone, Debug)]
pub struct StpgRequest {
    /// Name of the device group.
    pub device_group: String,
    /// The unit by which it asks; the change is for all units of the device group.
    pub unit: Arc<LogicalUnit>,
    /// The changes, ascending by group: all are made, or none.
    pub changes: Vec<StateChange>,
}

/// The request is denied, or could not be fulfilled. The text goes to the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StpgRefused(pub String);

/// Something outside of the target that has a say in explicit changes of access states, for instance a cluster that has
/// to make a replicated device writable first.
pub trait StpgAgent: Send + Sync + 'static {
    /// Makes everything ready for the change and grants it, or refuses. Called on a thread of its own; may block. It may
    /// call [`DeviceGroup::set_state`](crate::DeviceGroup::set_state) itself; what it leaves to do is done after it.
    ///
    /// # Errors
    /// [`StpgRefused`]: the initiator gets HARDWARE ERROR, SET TARGET PORT GROUPS COMMAND FAILED.
    fn set_target_port_groups(&self, request: &StpgRequest) -> Result<(), StpgRefused>;

    /// How long its answer is waited for. After that the command fails as if it had refused.
    fn time_limit(&self) -> Duration {
        Duration::from_secs(17)
    }
}

/// The end of a SET TARGET PORT GROUPS command in progress: makes room for the next, also when a thread panics.
struct InProgress(Arc<Shared>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.end_asked();
    }
}

/// Has the agent asked and the change made; completes the command after that.
///
/// Not on the engine's offload pool: the change waits for commands that may need a thread of that pool. At most one
/// command of a device group is in progress, and at most one call of its agent, so the threads are bounded.
pub(crate) fn carry_out(
    shared: &Arc<Shared>,
    command: &mut Execution<'_>,
    changes: Vec<StateChange>,
) {
    let request = StpgRequest {
        device_group: shared.name().to_owned(),
        unit: Arc::clone(command.unit()),
        changes,
    };
    let (nexus, buf) = (command.nexus(), command.take_buf());
    let token = command.defer_cancellable();
    let in_progress = InProgress(Arc::clone(shared));
    let work = move || serve(in_progress, &request, nexus, token, buf);
    let thread = std::thread::Builder::new().name("lun-stpg".into());
    if let Err(error) = thread.spawn(work) {
        // The token was dropped with the closure, which answers the command.
        tracing::error!(%error, "no thread for SET TARGET PORT GROUPS");
    }
}

fn serve(
    in_progress: InProgress,
    request: &StpgRequest,
    nexus: NexusId,
    token: CompletionToken,
    buf: IoBuf,
) {
    let shared = &in_progress.0;
    let done = ask(shared, request).and_then(|()| {
        if !token.commit() {
            return Err(StpgRefused("the command was aborted".into()));
        }
        let made = shared.change(Some(nexus), |table| {
            let mut changes = request.changes.iter();
            changes.try_for_each(|c| table.set_state(c.group, c.to, StatusCode::Explicit))
        });
        made.map_err(|error| StpgRefused(error.to_string()))
    });
    let outcome = done.map_or_else(|refused| failed(request, &refused), |()| Outcome::good());
    // Before the answer, so that the initiator's next command finds the place free.
    drop(in_progress);
    token.complete(outcome, buf);
}

fn failed(request: &StpgRequest, why: &StpgRefused) -> Outcome {
    let group = &request.device_group;
    tracing::warn!(group, changes = ?request.changes, %why, "SET TARGET PORT GROUPS failed");
    Sense::hardware(Asc::SET_TARGET_PORT_GROUPS_COMMAND_FAILED).into()
}

/// Asks the agent, for as long as it may take.
fn ask(shared: &Arc<Shared>, request: &StpgRequest) -> Result<(), StpgRefused> {
    let Some(agent) = shared.agent() else {
        return Ok(());
    };
    let Some(call) = AgentCall::begin(shared) else {
        return Err(StpgRefused(
            "the agent has not answered an earlier request".into(),
        ));
    };
    let limit = agent.time_limit();
    let (answer, answered) = mpsc::sync_channel(1);
    let request = request.clone();
    let work = move || {
        let result = agent.set_target_port_groups(&request);
        // Before the answer: who gets it may ask again.
        drop(call);
        let _ = answer.send(result);
    };
    let thread = std::thread::Builder::new().name("lun-stpg-agent".into());
    let spawned = thread.spawn(work);
    spawned.map_err(|error| StpgRefused(format!("no thread for the agent: {error}")))?;
    match answered.recv_timeout(limit) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(StpgRefused(format!(
            "the agent did not answer within {limit:?}"
        ))),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(StpgRefused("the agent panicked".into())),
    }
}

/// The one call of an agent that a device group has under way, which may outlive its command.
struct AgentCall(Arc<AtomicBool>);

impl AgentCall {
    fn begin(shared: &Shared) -> Option<Self> {
        let flag = Arc::clone(shared.agent_is_asked());
        // AcqRel: one call happens after the other. Lazy, as dropping what was not begun would end the other call.
        (!flag.swap(true, Ordering::AcqRel)).then(|| Self(flag))
    }
}

impl Drop for AgentCall {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
