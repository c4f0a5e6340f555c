//! A connection as an event source: bytes between its link and the phase it is in.

mod entrance;
mod input;
mod recording;
mod takeover;

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::shard::{Event, Readiness, ShardCx, Source};

use super::doorway::{Origin, Permit};
use super::full_feature::{FullFeature, Verdict};
use super::link::{Link, Moved};
use super::login::{Finish, Login};
use super::offenders::HeldBack;
use super::recorder::{Ask, Recorder};
use super::service::{self, Notice, Place, Service};
use crate::proto::pdu::async_message::event;
use takeover::Takeover;

/// How long the last bytes get to leave.
const GRACE: Duration = Duration::from_secs(1);
/// How long running commands and the last bytes get when the engine stops. What still runs then is aborted, which takes as
/// long as task management at most: together less than a second, whatever backends and peers do.
const STOP_GRACE: Duration = Duration::from_millis(200);

pub(super) struct Connection {
    service: Arc<Service>,
    link: Option<Link>,
    peer: SocketAddr,
    local: SocketAddr,
    origin: Origin,
    permit: Option<Permit>,
    /// When the login has to be through.
    login_end: Instant,
    /// Received and not yet used: less than a header, but for a connection that is held back.
    staged: Vec<u8>,
    /// Login replies to send, before anything else.
    out: Vec<u8>,
    phase: Phase,
    /// Up to which PDU of the session this turn works.
    pdus: u64,
    /// What is staged has to wait for the next turn.
    later: bool,
    watched: (bool, bool),
    /// Close as soon as all output has left.
    last_words: bool,
    /// The timer that ends the last words is set.
    closing: bool,
    /// When the timer runs out in full feature phase. One that comes too early looks at the clock and is set anew.
    armed: Option<Instant>,
    recorder: Option<Box<Recorder>>,
}

/// The addresses of a connection's ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The initiator's.
    pub peer: SocketAddr,
    /// Ours: decides which portals a discovery shows.
    pub local: SocketAddr,
}

enum Phase {
    Login(Box<Login>),
    /// Authentication failed: the answer is held back for a while, so that guessing is slow.
    Denied(Vec<u8>, HeldBack),
    /// An older session of the same port has to end first.
    Waiting(Box<Finish>),
    /// The login is through, and belongs to a session that exists: it goes there with what came after it.
    Moving(Box<Finish>),
    Full(Box<FullFeature>),
    /// A new connection takes the place of the one that was; the old one's commands have to end first.
    Continuing(Box<FullFeature>, Box<Takeover>),
    /// The session is being closed; the link is gone.
    Closing(Box<FullFeature>),
    Over,
}

impl Connection {
    pub(super) fn start(
        cx: &mut ShardCx<'_>,
        mut link: Link,
        ends: Ends,
        service: Arc<Service>,
        permit: Permit,
    ) -> Option<Box<dyn Source>> {
        let Ends { peer, local } = ends;
        let place = Place {
            shard: cx.handle(),
            source: cx.this(),
        };
        if !permit.placed(place) {
            return None;
        }
        link.watch(cx).ok()?;
        let limits = &service.limits;
        let login_end = cx.now() + limits.login_time;
        let step_end = cx.now() + limits.login_step_time;
        cx.set_timer(Some(step_end.min(login_end)));
        Some(Box::new(Self {
            recorder: Recorder::new(&service, ends, cx.now()),
            phase: Phase::Login(Box::new(Login::new(&service, permit.origin(), local))),
            service,
            link: Some(link),
            peer,
            local,
            origin: permit.origin(),
            permit: Some(permit),
            login_end,
            pdus: 0,
            later: false,
            staged: Vec::new(),
            out: Vec::new(),
            watched: (true, false),
            last_words: false,
            closing: false,
            armed: None,
        }))
    }

    fn ends(&self) -> Ends {
        Ends {
            peer: self.peer,
            local: self.local,
        }
    }

    /// Whether being ready for both means the peer's end: for a socket that was not watched for input, which says so only
    /// then. What was watched for input may have some that came before it was held back. A stream's end is seen when it
    /// is used again.
    fn hangs_up(&self) -> bool {
        !self.watched.0 && matches!(self.link, Some(Link::Socket(_)))
    }

    fn obey(&mut self, cx: &mut ShardCx<'_>, verdict: Verdict) {
        match verdict {
            Verdict::Go => {}
            Verdict::SayAndClose => {
                self.last_words = true;
                cx.wants_flush();
            }
            Verdict::Later => self.go_on_later(cx),
        }
    }

    /// Sends what is ready; false when the peer is gone.
    fn send(&mut self, cx: &mut ShardCx<'_>) -> bool {
        let Some(link) = &mut self.link else {
            return true;
        };
        while !self.out.is_empty() {
            match link.send(&[IoSlice::new(&self.out)]) {
                Moved::Bytes(n) => drop(self.out.drain(..n)),
                Moved::WouldBlock => return true,
                Moved::Gone => return false,
            }
        }
        match &mut self.phase {
            Phase::Full(full) => full.send(cx, link),
            _ => true,
        }
    }

    fn has_output(&self) -> bool {
        !self.out.is_empty() || matches!(&self.phase, Phase::Full(full) if full.has_output())
    }

    /// Keeps the descriptor's interest in line with what is wanted.
    fn rewatch(&mut self, cx: &mut ShardCx<'_>) {
        // A connection that is held back still listens for the peer's end: a hang-up is always reported.
        let wanted = (self.wants_input(), self.has_output());
        let Some(link) = &mut self.link else { return };
        if wanted != self.watched && link.rewatch(cx, wanted.0, wanted.1).is_ok() {
            self.watched = wanted;
        }
        link.call_again(wanted.0, wanted.1);
    }

    /// Ends the connection: the link at once, the session when its commands are gone.
    fn tear_down(&mut self, cx: &mut ShardCx<'_>) {
        if let Some(link) = self.link.take() {
            link.unwatch(cx);
        }
        self.staged = Vec::new();
        self.record_end(cx);
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Full(mut full) | Phase::Continuing(mut full, _) => {
                full.drop_buffers(cx);
                if full.close_nexus(cx) {
                    cx.set_timer(None);
                    self.phase = Phase::Closing(full);
                    return;
                }
                full.release(cx.now());
            }
            Phase::Closing(full) => {
                self.phase = Phase::Closing(full);
                return;
            }
            _ => {}
        }
        cx.set_timer(None);
        cx.remove_source();
    }

    fn notice(&mut self, cx: &mut ShardCx<'_>, notice: Notice) {
        match (notice, &mut self.phase) {
            (Notice::Reinstated, Phase::Full(_) | Phase::Continuing(..)) => {
                // A login that has just succeeded is told so, even if another one takes its place at once.
                self.send(cx);
                self.tear_down(cx);
            }
            (Notice::End, Phase::Full(full)) => {
                full.told_to_end();
                full.announce(event::DROP_SESSION);
                self.last_words = true;
            }
            (Notice::End, Phase::Continuing(..)) => self.tear_down(cx),
            (Notice::GiveWay, Phase::Login(_) | Phase::Denied(..)) => self.tear_down(cx),
            (Notice::GiveWay, Phase::Full(full)) if !full.has_nexus() => self.tear_down(cx),
            (Notice::GoOn, _) => self.go_on(cx),
            (Notice::StreamReady, _) => {
                if let Some(readiness) = self.link.as_mut().and_then(Link::called) {
                    self.ready(cx, readiness);
                }
            }
            (Notice::PortFree, Phase::Waiting(_)) => {
                if let Phase::Waiting(finish) = std::mem::replace(&mut self.phase, Phase::Over) {
                    self.logged_in(cx, finish);
                    self.resume(cx);
                }
            }
            (Notice::Superseded, Phase::Waiting(finish)) => {
                self.service.refusals.count(service::SUPERSEDED);
                finish.refuse(service::SUPERSEDED, &mut self.out);
                self.last_words = true;
            }
            _ => {}
        }
    }

    fn stop(&mut self, cx: &mut ShardCx<'_>) {
        match &mut self.phase {
            Phase::Full(full) => {
                full.announce(event::DROP_CONNECTION);
                if full.is_idle() {
                    self.last_words = true;
                    cx.wants_flush();
                }
                let at = cx.now() + STOP_GRACE;
                cx.set_timer(Some(at));
            }
            Phase::Closing(_) => {}
            _ => self.tear_down(cx),
        }
    }
}

impl Source for Connection {
    fn ready(&mut self, cx: &mut ShardCx<'_>, readiness: Readiness) {
        if readiness.readable && self.wants_input() {
            self.receive(cx);
        } else if readiness.readable && readiness.writable && self.hangs_up() {
            self.tear_down(cx);
        } else {
            self.rewatch(cx);
        }
    }

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        match event {
            Event::Finished(finished) => match &mut self.phase {
                Phase::Full(full) => {
                    full.finished(cx, finished);
                    if cx.stopping() && full.is_idle() {
                        self.last_words = true;
                    }
                    self.resume(cx);
                }
                Phase::Continuing(full, _) => {
                    full.finished(cx, finished);
                    self.go_on_with_session(cx);
                }
                _ => cx.pool().recycle(finished.buf),
            },
            Event::TaskManagement { tag, response } => match &mut self.phase {
                Phase::Full(full) => {
                    let verdict = full.task_management_done(tag, response, cx.now());
                    self.obey(cx, verdict);
                    self.resume(cx);
                }
                Phase::Continuing(full, _) => {
                    match full.task_management_done(tag, response, cx.now()) {
                        Verdict::SayAndClose => self.tear_down(cx),
                        _ => self.go_on_with_session(cx),
                    }
                }
                _ => {}
            },
            Event::NexusClosed(_) => match &mut self.phase {
                Phase::Full(full) => {
                    let verdict = full.logged_out(cx.now());
                    self.obey(cx, verdict);
                }
                Phase::Closing(full) => {
                    full.release(cx.now());
                    self.phase = Phase::Over;
                    cx.remove_source();
                }
                _ => {}
            },
            Event::Message(body) => match body.downcast::<Notice>() {
                Ok(notice) => self.notice(cx, *notice),
                Err(body) => match body.downcast::<Takeover>() {
                    Ok(takeover) => self.taken_over(cx, takeover),
                    Err(body) => {
                        if let Ok(ask) = body.downcast::<Ask>() {
                            self.asked(cx, *ask);
                        }
                    }
                },
            },
            Event::Stop => self.stop(cx),
        }
    }

    fn timeout(&mut self, cx: &mut ShardCx<'_>) {
        let now = cx.now();
        match &mut self.phase {
            Phase::Full(full) if !cx.stopping() => {
                let verdict = full.timeout(now);
                cx.set_timer(full.next_timeout());
                self.armed = full.next_timeout();
                self.obey(cx, verdict);
                if self.last_words {
                    // Whoever does not answer pings does not read last words.
                    self.tear_down(cx);
                }
            }
            Phase::Denied(..) => {
                if let Phase::Denied(answer, held_back) =
                    std::mem::replace(&mut self.phase, Phase::Over)
                {
                    self.out = answer;
                    drop(held_back);
                }
                self.last_words = true;
            }
            Phase::Login(_) => {
                self.service.tally.login_timeouts.add(1);
                self.tear_down(cx);
            }
            _ => self.tear_down(cx),
        }
    }

    fn flush(&mut self, cx: &mut ShardCx<'_>) {
        let connected = self.send(cx);
        self.record_incident(cx);
        if !connected {
            return self.tear_down(cx);
        }
        self.resume(cx);
        if self.last_words && !self.has_output() {
            return self.tear_down(cx);
        }
        // Set once: a peer that takes a few bytes now and then does not move it.
        if self.last_words && !self.closing {
            self.closing = true;
            // When the engine stops, the timer has been set before.
            if !cx.stopping() {
                let at = cx.now() + GRACE;
                cx.set_timer(Some(at));
            }
        }
        if let (false, Phase::Full(full)) = (self.last_words || cx.stopping(), &self.phase)
            && let Some(due) = full.next_timeout()
            && self.armed.is_none_or(|armed| due < armed)
        {
            self.armed = Some(due);
            cx.set_timer(self.armed);
        }
        self.rewatch(cx);
    }

    fn stalled_since(&self, _: Instant) -> Option<Instant> {
        match &self.phase {
            Phase::Full(full) => full.stalled_since(),
            _ => None,
        }
    }

    fn shed(&mut self, cx: &mut ShardCx<'_>) {
        self.service.tally.shed.add(1);
        if let Some(left_out) = self.service.logs.closed.say(cx.now()) {
            tracing::warn!(peer = %self.peer, left_out, "buffers run out: a session that does not move is closed");
        }
        if let Phase::Full(full) = &mut self.phase {
            // One that does not read will not see it; one that does not send may.
            full.announce(event::DROP_SESSION);
            self.send(cx);
        }
        self.tear_down(cx);
    }
}
