//! A channel as an event source: from the request for a connection until the last buffer is back.
//!
//! ```text
//!   request ──► Waiting ──► Open ──────────────► ending ──► gone
//!       │       (an older    requests, data,     the core has its commands, the fabric its buffers;
//!       ▼        session)    responses           the last channel closes the I_T nexus
//!    rejected
//! ```

mod command;
mod open;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::buffer::BufferPool;
use lunforge_core::shard::{Event, Readiness, ShardCx, Source};
use lunforge_core::tmf::BOUND;
use parking_lot::Mutex;

use super::listener::waker;
use super::receives::Held;
use super::registry::{Claim, NexusName, Place};
use super::service::{Login, Notice, Service};
use super::session::{Session, session_name};
use crate::fabric::{Request, Setup};
use crate::proto::iu::login::{MultiChannelAction, MultiChannelResult, RejectReason};
use crate::proto::iu::logout::LogoutReason;
use crate::proto::login::Terms;
use crate::proto::tags::Tags;
use open::Open;

/// How long an older session is waited for. Its last words and what the core bounds end before.
const WAIT: Duration = BOUND.saturating_mul(4);
/// Receive buffers beside those for requests: a logout, and the answer to a request of the target.
const SPARE: usize = 2;
/// A channel has this part of the memory for receives that is left, at most.
const CHANNELS: usize = 32;
/// Requests that a channel has however little is left, unless a limit says less.
const FEWEST: u32 = 16;

pub(super) struct Channel {
    service: Arc<Service>,
    me: Place,
    name: NexusName,
    phase: Phase,
}

enum Phase {
    /// An older session has to end first; with it whether this login terminates it.
    Waiting(Box<Login>, bool),
    Open(Box<Open>),
    Over,
}

impl Channel {
    /// Begins on its shard. `None`: there is nothing more to do here.
    pub(super) fn start(
        cx: &mut ShardCx<'_>,
        service: Arc<Service>,
        login: Login,
        lane: usize,
    ) -> Option<Box<dyn Source>> {
        let mut this = Self {
            me: Place {
                lane,
                shard: cx.handle(),
                source: cx.this(),
            },
            name: login.name(),
            service,
            phase: Phase::Over,
        };
        this.log_in(cx, login, false);
        match this.phase {
            Phase::Over => None,
            _ => Some(Box::new(this)),
        }
    }

    /// Claims the I_T nexus of a login; `terminated`: this login has ended the session that had it.
    fn log_in(&mut self, cx: &mut ShardCx<'_>, login: Login, terminated: bool) {
        if cx.stopping() {
            self.service.tally.given_up.add(1);
            let reason = RejectReason::InsufficientResources;
            return self.reject(cx, login, reason, "the transport stops");
        }
        let multi = login.login.action == MultiChannelAction::Multi;
        let room = self.service.room();
        let claim = self
            .service
            .registry
            .lock()
            .claim(self.name, multi, room, &self.me);
        match claim {
            Claim::New(number) => self.open(cx, login, None, number, terminated),
            Claim::Join(session, number) => self.open(cx, login, Some(session), number, false),
            Claim::Elsewhere(lane) => {
                let shards = Arc::clone(cx.shards());
                self.service.start(&shards, login, lane);
            }
            Claim::Wait(channels) => {
                if !channels.is_empty() {
                    self.service.tally.replaced.add(1);
                }
                channels
                    .iter()
                    .for_each(|place| place.tell(Notice::Replaced));
                let at = cx.now() + WAIT;
                cx.set_timer(Some(at));
                self.phase = Phase::Waiting(Box::new(login), !multi);
            }
            Claim::Full(reason) => self.reject(cx, login, reason, "there is no room"),
        }
    }

    fn reject(&self, cx: &ShardCx<'_>, login: Login, reason: RejectReason, why: &str) {
        let tag = login.login.tag;
        self.service
            .reject(login.request, tag, reason, &why, cx.now());
    }

    /// Accepts a login whose I_T nexus is claimed, into a session or for one of its own.
    fn open(
        &mut self,
        cx: &mut ShardCx<'_>,
        login: Login,
        session: Option<Arc<Session>>,
        number: u32,
        terminated: bool,
    ) {
        match self.accept(cx, login, session, number, terminated) {
            Some(open) => self.phase = Phase::Open(Box::new(open)),
            None => self.leave(number),
        }
    }

    /// Gives the place in the session back.
    fn leave(&self, number: u32) {
        let waiters = self.service.registry.lock().left(&self.name, number);
        waiters.iter().for_each(|place| place.tell(Notice::Free));
    }

    fn accept(
        &mut self,
        cx: &mut ShardCx<'_>,
        mut login: Login,
        session: Option<Arc<Session>>,
        number: u32,
        terminated: bool,
    ) -> Option<Open> {
        // It may have been removed or disabled before the nexus was claimed; from then on that ends this session, too.
        let admitted = {
            let catalogue = self.service.catalogue.read();
            catalogue.admits(&self.name.target, &login.target)
        };
        if let Err((reason, why)) = admitted {
            self.reject(cx, login, reason, why);
            return None;
        }
        // What the session may see goes by the address of its first channel; its port is only what the initiator says.
        if session
            .as_ref()
            .is_some_and(|session| session.peer != login.request.peer)
        {
            let why = "its session is that of another address";
            self.reject(cx, login, RejectReason::Association, why);
            return None;
        }
        login.terms.depth = self.depth(cx, &login.terms);
        let Some((setup, held)) = self.setup(cx, &login.request, &login.terms) else {
            let reason = RejectReason::InsufficientResources;
            self.reject(cx, login, reason, "no buffers are left");
            return None;
        };
        let result = match (&session, terminated) {
            (Some(_), _) => MultiChannelResult::Maintained,
            (None, true) => MultiChannelResult::Terminated,
            (None, false) => MultiChannelResult::NoChannel,
        };
        let mut answer = Vec::new();
        login
            .terms
            .response(login.login.tag, result)
            .emit(&mut answer);
        let (peer, local) = (login.request.peer, login.request.local);
        let accepted = login.request.pending.accept(&answer, setup);
        let watched = accepted.and_then(|mut endpoint| {
            endpoint.wake_by(waker(&self.me));
            if let Some(fd) = endpoint.wait_fd() {
                let watched = cx.watch(fd, true, false);
                watched.map_err(|error| crate::fabric::ConnectError(error.to_string()))?;
            }
            Ok(endpoint)
        });
        let endpoint = watched
            .inspect_err(|error| {
                self.service.tally.given_up.add(1);
                if let Some(left_out) = self.service.logs.rejected.say(cx.now()) {
                    let peer = peer.escape_debug();
                    tracing::warn!(%peer, %error, left_out, "SRP login given up");
                }
            })
            .ok()?;
        let session = match session {
            Some(session) => {
                cx.join_nexus(session.nexus);
                session
            }
            None => self.begin_session(cx, &login.target, peer, local)?,
        };
        self.service.tally.logins.add(1);
        let number_and_terms = (number, login.terms);
        let service = Arc::clone(&self.service);
        let me = self.me.clone();
        Some(Open::new(
            cx,
            service,
            (me, self.name),
            number_and_terms,
            (endpoint, held),
            session,
        ))
    }

    /// Requests of a new channel: fewer than the login may have, the less memory for receives is left. So there is some for
    /// many channels, of which an initiator with many processors opens many.
    fn depth(&self, cx: &mut ShardCx<'_>, terms: &Terms) -> u32 {
        if self.service.shared(self.me.lane).is_some() {
            return terms.depth;
        }
        let half = cx.limits().buffer_bytes / 2;
        let left = self.service.receives.left(self.me.lane, half);
        let each = BufferPool::footprint(terms.it_iu_len as usize).max(1);
        let share = (left / CHANNELS / each).saturating_sub(SPARE);
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        share.max(FEWEST).min(terms.depth)
    }

    /// The buffers of a new channel; `None` if there is no memory for them.
    fn setup(
        &self,
        cx: &mut ShardCx<'_>,
        request: &Request,
        terms: &Terms,
    ) -> Option<(Setup, Held)> {
        let shared = self.service.shared(self.me.lane);
        let own = terms.depth as usize + SPARE;
        // What is shared has room for whatever any channel may be sent.
        let (count, len) = match &shared {
            Some(shared) => (
                request.pending.wants(shared, own),
                self.service.limits.policy().max_it_iu_len,
            ),
            None => (own, terms.it_iu_len),
        };
        let before = cx.pool().in_use();
        let receives = (0..count).map(|_| cx.pool().take(len as usize));
        let receives = receives.collect::<Result<_, _>>().ok()?;
        let room = Setup::sends_len(terms.depth, terms.ti_iu_len);
        let sends = cx.pool().take(room).ok()?;
        let bytes = cx.pool().in_use().saturating_sub(before);
        let half = cx.limits().buffer_bytes / 2;
        let lane = self.me.lane;
        let held = self
            .service
            .receives
            .hold(lane, &request.peer, bytes, half)?;
        let setup = Setup {
            receives,
            depth: terms.depth,
            send_len: terms.ti_iu_len,
            sends,
            shared,
            spin: self.service.limits.spin(),
        };
        Some((setup, held))
    }

    fn begin_session(
        &self,
        cx: &mut ShardCx<'_>,
        target: &Arc<lunforge_core::Target>,
        peer: String,
        local: String,
    ) -> Option<Arc<Session>> {
        let port = self.name.initiator;
        let name = session_name(&peer, &port);
        let nexus = cx.open_nexus_as(target, port.transport_id(), name);
        let session = Arc::new(Session {
            nexus,
            shared: Arc::clone(cx.nexus(nexus)?),
            tags: Mutex::new(Tags::default()),
            peer,
            local,
            since: cx.now(),
            gauges: Mutex::default(),
        });
        let opened = Arc::clone(&session);
        self.service.registry.lock().opened(&self.name, opened);
        Some(session)
    }

    fn notice(&mut self, cx: &mut ShardCx<'_>, notice: Notice) {
        match (&mut self.phase, notice) {
            (Phase::Waiting(..), Notice::Free) => {
                let phase = std::mem::replace(&mut self.phase, Phase::Over);
                if let Phase::Waiting(login, terminates) = phase {
                    cx.set_timer(None);
                    self.log_in(cx, *login, terminates);
                    self.end_if_over(cx);
                }
            }
            (Phase::Open(open), Notice::Poll) => open.poll(cx),
            (Phase::Open(open), Notice::Replaced) => {
                open.log_out(cx, LogoutReason::MultiChannelAction);
            }
            (Phase::Open(open), Notice::End) => open.log_out(cx, LogoutReason::Unspecified),
            (Phase::Open(open), Notice::Barrier(barrier)) => open.hold(&barrier),
            (Phase::Open(open), Notice::Passed(task, response)) => {
                open.function_passed(task, response);
            }
            _ => {}
        }
    }

    fn end_if_over(&self, cx: &mut ShardCx<'_>) {
        if matches!(self.phase, Phase::Over) {
            cx.set_timer(None);
            cx.remove_source();
        }
    }

    /// Gives up waiting for the older session.
    fn give_up(&mut self, cx: &mut ShardCx<'_>, reason: RejectReason, why: &str) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        if let Phase::Waiting(login, _) = phase {
            self.reject(cx, *login, reason, why);
        }
        self.end_if_over(cx);
    }
}

impl Source for Channel {
    fn ready(&mut self, cx: &mut ShardCx<'_>, _: Readiness) {
        if let Phase::Open(open) = &mut self.phase {
            open.poll(cx);
        }
    }

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        match (&mut self.phase, event) {
            (Phase::Open(open), Event::Finished(finished)) => open.finished(cx, finished),
            (_, Event::Finished(finished)) => cx.pool().recycle(finished.buf),
            (Phase::Open(open), Event::TaskManagement { tag, response }) => {
                open.function_ended(tag, response);
            }
            (Phase::Open(open), Event::NexusClosed(_)) => open.nexus_closed(),
            (Phase::Open(open), Event::Stop) => open.stop(cx),
            (Phase::Waiting(..), Event::Stop) => {
                let reason = RejectReason::InsufficientResources;
                self.give_up(cx, reason, "the transport stops");
            }
            (_, Event::Message(body)) => {
                if let Ok(notice) = body.downcast::<Notice>() {
                    self.notice(cx, *notice);
                }
            }
            _ => {}
        }
        self.settle(cx);
    }

    fn timeout(&mut self, cx: &mut ShardCx<'_>) {
        match &mut self.phase {
            Phase::Waiting(..) => {
                let reason = RejectReason::Association;
                self.give_up(cx, reason, "the older session does not end");
            }
            Phase::Open(open) => open.timeout(cx),
            Phase::Over => {}
        }
        self.settle(cx);
    }

    fn flush(&mut self, cx: &mut ShardCx<'_>) {
        if let Phase::Open(open) = &mut self.phase {
            open.flush(cx);
        }
        self.settle(cx);
    }

    fn stalled_since(&self, _: Instant) -> Option<Instant> {
        match &self.phase {
            Phase::Open(open) => open.stalled_since(),
            _ => None,
        }
    }

    fn shed(&mut self, cx: &mut ShardCx<'_>) {
        if let Phase::Open(open) = &mut self.phase {
            open.shed(cx);
        }
        self.settle(cx);
    }
}

impl Channel {
    /// Ends the source when nothing of the channel is left.
    fn settle(&mut self, cx: &mut ShardCx<'_>) {
        if let Phase::Open(open) = &mut self.phase
            && open.is_over()
        {
            self.phase = Phase::Over;
            self.end_if_over(cx);
        }
    }
}
