//! What all channels of a transport share: targets, limits, and the registry of sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use lunforge_core::Target;
use lunforge_core::shard::ShardHandle;
use parking_lot::{Mutex, RwLock};

use super::Limits;
use super::arrival::Arrival;
use super::catalogue::Catalogue;
use super::channel::Channel;
use super::counters::{Logs, Tally};
use super::receives::Receives;
use super::registry::{NexusName, Place, Registry, Room};
use crate::fabric::{Request, Shared};
use crate::proto::iu::LoginRequest;
use crate::proto::iu::login::RejectReason;
use crate::proto::login::{Terms, judge, reject};
use crate::proto::port::PortId;
use crate::proto::tags::TaskId;

#[derive(Debug)]
pub(super) struct Service {
    pub(super) catalogue: RwLock<Catalogue>,
    pub(super) registry: Mutex<Registry>,
    pub(super) limits: Limits,
    pub(super) receives: Arc<Receives>,
    /// The shared receive queues of each shard, where receives are shared.
    shared: Mutex<BTreeMap<usize, Arc<Shared>>>,
    pub(super) tally: Tally,
    pub(super) logs: Logs,
}

/// What channels tell each other.
#[derive(Debug, Clone)]
pub(super) enum Notice {
    /// To itself, or from its fabric: there is something to poll.
    Poll,
    /// To a channel: a login terminates your session.
    Replaced,
    /// To a channel: somebody wants your session to end.
    End,
    /// To a login that waits: the I_T nexus may be free now, claim it again.
    Free,
    /// To a channel: hold this until what you move now has been moved.
    Barrier(Arc<Barrier>),
    /// To a channel: nothing that was moved when this function ended in the core is moved any more.
    Passed(TaskId, lunforge_core::tmf::Response),
}

/// A task management function that has ended in the core, and waits for data that is on its way: its initiator may take
/// the memory away as soon as it is answered. Whoever moves data holds this; the last one to drop it lets the answer go.
#[derive(Debug)]
pub(super) struct Barrier {
    pub(super) to: Place,
    pub(super) task: TaskId,
    pub(super) response: lunforge_core::tmf::Response,
}

impl Drop for Barrier {
    fn drop(&mut self) {
        let passed = Notice::Passed(self.task, self.response);
        self.to.tell(passed);
    }
}

impl Place {
    pub(super) fn tell(&self, notice: Notice) {
        self.shard.send(self.source, Box::new(notice));
    }
}

/// A login that may be accepted.
pub(super) struct Login {
    pub(super) request: Request,
    pub(super) login: LoginRequest,
    pub(super) terms: Terms,
    pub(super) target: Arc<Target>,
}

impl Login {
    pub(super) fn name(&self) -> NexusName {
        NexusName {
            target: self.login.target,
            initiator: self.login.initiator,
        }
    }
}

impl Service {
    pub(super) fn new(
        targets: BTreeMap<PortId, Arc<Target>>,
        arrival: Arrival,
        limits: Limits,
    ) -> Self {
        Self {
            catalogue: RwLock::new(Catalogue::new(targets, arrival)),
            registry: Mutex::default(),
            limits,
            receives: Arc::default(),
            shared: Mutex::default(),
            tally: Tally::default(),
            logs: Logs::new(limits.log_lines),
        }
    }

    /// What the channels of a shard share, if they share receives.
    pub(super) fn shared(&self, lane: usize) -> Option<Arc<Shared>> {
        let size = self.limits.shared_receives;
        let make = || Arc::new(Shared::new(size));
        (size > 0).then(|| Arc::clone(self.shared.lock().entry(lane).or_insert_with(make)))
    }

    pub(super) fn room(&self) -> Room {
        Room {
            channels: self.limits.channels_per_session,
            sessions_of_target: self.limits.sessions_per_target,
        }
    }

    /// Reads a request's login. `None`: it was rejected.
    pub(super) fn read(&self, request: Request, now: Instant) -> Option<Login> {
        let policy = self.limits.policy();
        let (mut login, terms) = match judge(&request.private_data, request.form, &policy) {
            Ok(judged) => judged,
            Err((violation, answer)) => {
                self.reject(request, answer.tag, answer.reason, &violation, now);
                return None;
            }
        };
        let found = {
            let catalogue = self.catalogue.read();
            catalogue.find(&login.target, request.port.as_ref())
        };
        let Some((port, target)) = found else {
            let violation = crate::proto::error::Violation::TargetPort;
            let reason = RejectReason::Association;
            self.reject(request, login.tag, reason, &violation, now);
            return None;
        };
        login.target = port;
        if let Err((reason, why)) = self.catalogue.read().admits(&port, &target) {
            self.reject(request, login.tag, reason, &why, now);
            return None;
        }
        Some(Login {
            request,
            login,
            terms,
            target,
        })
    }

    /// Rejects a login.
    pub(super) fn reject(
        &self,
        request: Request,
        tag: u64,
        reason: RejectReason,
        why: &dyn std::fmt::Display,
        now: Instant,
    ) {
        self.tally.rejects.add(1);
        if let Some(left_out) = self.logs.rejected.say(now) {
            let peer = request.peer.escape_debug();
            tracing::warn!(%peer, ?reason, %why, left_out, "SRP login rejected");
        }
        let mut answer = Vec::new();
        reject(tag, reason).emit(&mut answer);
        request.pending.reject(&answer);
    }

    /// Has a request served: on the shard of its session, or on the one with the fewest sessions.
    pub(super) fn place(
        self: &Arc<Self>,
        shards: &Arc<[ShardHandle]>,
        request: Request,
        now: Instant,
    ) {
        if let Some(login) = self.read(request, now) {
            let known = self.registry.lock().lane_of(&login.name());
            let fewest = || {
                let loads = shards.iter().enumerate();
                loads
                    .min_by_key(|(_, shard)| shard.load())
                    .map(|(at, _)| at)
            };
            let lane = known.or_else(fewest).unwrap_or(0);
            self.start(shards, login, lane);
        }
    }

    /// Has a login go on on a shard.
    pub(super) fn start(self: &Arc<Self>, shards: &Arc<[ShardHandle]>, login: Login, lane: usize) {
        let service = Arc::clone(self);
        if let Some(shard) = shards.get(lane) {
            shard.run(move |cx| {
                cx.add_source_with(|cx| Channel::start(cx, service, login, lane));
            });
        }
    }
}
