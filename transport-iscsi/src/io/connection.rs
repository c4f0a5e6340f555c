//! A connection as an event source: bytes between its link and the phase it is in.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::buffer::IoBuf;
use lunforge_core::shard::{Event, Readiness, ShardCx, Source};

use super::full_feature::{FullFeature, Verdict};
use super::link::{Link, Moved};
use super::login::{Finish, Login, Progress};
use super::service::{self, Claim, Notice, Permit, Place, PortName, Service};
use crate::proto::login::SessionType;

/// Bytes read at a time beside payload that goes straight to its buffer.
const STAGE: usize = 64 << 10;
/// Reads in one turn: other connections are served in between.
const ROUNDS: usize = 16;
/// How long the last bytes get to leave.
const GRACE: Duration = Duration::from_secs(1);
/// How long running commands and the last bytes get when the engine stops. What still runs then is aborted, which takes as
/// long as task management at most: together less than a second, whatever backends and peers do.
const STOP_GRACE: Duration = Duration::from_millis(300);

pub(super) struct Connection {
    service: Arc<Service>,
    link: Option<Link>,
    peer: SocketAddr,
    local: SocketAddr,
    permit: Permit,
    /// Received and not yet used: less than a header, but for a connection that is held back.
    staged: Vec<u8>,
    /// Login replies to send, before anything else.
    out: Vec<u8>,
    phase: Phase,
    watched: (bool, bool),
    /// Close as soon as all output has left.
    last_words: bool,
    /// The timer that ends the last words is set.
    closing: bool,
    /// When the timer runs out in full feature phase. One that comes too early looks at the clock and is set anew.
    armed: Option<Instant>,
}

/// The addresses of a connection's ends.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The initiator's.
    pub peer: SocketAddr,
    /// Ours: decides which portals a discovery shows.
    pub local: SocketAddr,
}

enum Phase {
    Login(Box<Login>),
    /// Authentication failed: the answer is held back for a while, so that guessing is slow.
    Denied(Vec<u8>),
    /// An older session of the same port has to end first.
    Waiting(Box<Finish>),
    Full(Box<FullFeature>),
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
        link.watch(cx).ok()?;
        let at = cx.now() + service.limits.login_time;
        cx.set_timer(Some(at));
        Some(Box::new(Self {
            phase: Phase::Login(Box::new(Login::new(&service))),
            service,
            link: Some(link),
            peer,
            local,
            permit,
            staged: Vec::new(),
            out: Vec::new(),
            watched: (true, false),
            last_words: false,
            closing: false,
            armed: None,
        }))
    }

    fn receive(&mut self, cx: &mut ShardCx<'_>) {
        let mut stage = cx
            .pool()
            .take(STAGE)
            .or_else(|_| IoBuf::unpooled(STAGE))
            .unwrap_or_default();
        for _ in 0..ROUNDS {
            if !self.wants_input() || !self.receive_once(cx, &mut stage) {
                break;
            }
        }
        cx.pool().recycle(stage);
    }

    /// One read. False when the socket has no more, or nothing more is wanted.
    fn receive_once(&mut self, cx: &mut ShardCx<'_>, stage: &mut IoBuf) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let Some(room) = stage.contiguous_mut(0..STAGE) else {
            return false;
        };
        let kept = self.staged.len().min(STAGE);
        room[..kept].copy_from_slice(&self.staged[..kept]);
        let (mut direct, mut space) = (0, STAGE - kept);
        let moved = match &mut self.phase {
            Phase::Full(full) if kept == 0 && full.payload().is_some() => {
                let mut parts = full.payload_slices();
                direct = parts.iter().map(|part| part.len()).sum();
                space += direct;
                parts.push(IoSliceMut::new(room));
                link.receive(&mut parts)
            }
            _ => link.receive(&mut [IoSliceMut::new(&mut room[kept..])]),
        };
        let received = match moved {
            Moved::Bytes(n) => n,
            Moved::WouldBlock => return false,
            Moved::Gone => {
                self.tear_down(cx);
                return false;
            }
        };
        self.staged.clear();
        let straight = received.min(direct);
        if let (Phase::Full(full), true) = (&mut self.phase, straight > 0) {
            full.payload_received(straight);
        }
        let end = kept + received - straight;
        let Some(bytes) = stage.contiguous(0..end).or((end == 0).then_some(&[])) else {
            return false;
        };
        self.digest(cx, bytes);
        received == space
    }

    /// Uses up bytes as far as the phase goes, keeps the rest.
    fn digest(&mut self, cx: &mut ShardCx<'_>, bytes: &[u8]) {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            match &mut self.phase {
                Phase::Login(login) if !self.last_words => {
                    let (n, progress) = login.feed(rest, &mut self.out);
                    used += n;
                    match progress {
                        Progress::Going => {}
                        Progress::NeedBytes => break,
                        Progress::Failed => self.last_words = true,
                        Progress::Denied => {
                            let at = cx.now() + self.service.limits.failure_delay;
                            cx.set_timer(Some(at));
                            self.phase = Phase::Denied(std::mem::take(&mut self.out));
                        }
                        Progress::Done(finish) => self.logged_in(cx, finish),
                    }
                }
                Phase::Full(full) if !self.last_words => {
                    let (n, verdict) = full.process(cx, rest);
                    used += n;
                    self.obey(cx, verdict);
                    break;
                }
                _ => break,
            }
        }
        if let Some(rest) = bytes.get(used..) {
            self.staged.extend_from_slice(rest);
        }
    }

    fn obey(&mut self, cx: &mut ShardCx<'_>, verdict: Verdict) {
        match verdict {
            Verdict::Go => {}
            Verdict::SayAndClose => {
                self.last_words = true;
                cx.wants_flush();
            }
        }
    }

    /// The login machine is content: the port has to be free, then the initiator is in.
    fn logged_in(&mut self, cx: &mut ShardCx<'_>, finish: Box<Finish>) {
        let Some(port) = port_of(&finish) else {
            return self.enter(cx, &finish, None);
        };
        let me = Place {
            shard: cx.handle(),
            source: cx.this(),
        };
        match self.service.claim(&port, finish.login.tsih, &me) {
            Claim::Granted => self.enter(cx, &finish, Some(port)),
            Claim::Held(old, superseded) => {
                if let Some(older) = superseded {
                    older.shard.send(older.source, Box::new(Notice::Superseded));
                }
                tracing::info!(
                    peer = %self.peer, initiator = %port.initiator.escape_debug(), "a session is reinstated"
                );
                old.shard.send(old.source, Box::new(Notice::Reinstated));
                self.phase = Phase::Waiting(finish);
            }
            Claim::Full => {
                finish.refuse(service::FULL, &mut self.out);
                self.last_words = true;
            }
        }
    }

    fn enter(&mut self, cx: &mut ShardCx<'_>, finish: &Finish, port: Option<PortName>) {
        let discovery = finish.login.session_type == SessionType::Discovery;
        let target = finish
            .login
            .target_name
            .as_deref()
            .and_then(|name| self.service.find_target(name))
            .cloned();
        let full = FullFeature::open(
            cx,
            finish,
            target,
            port.clone(),
            Arc::clone(&self.service),
            self.local,
        );
        let Some(full) = full.filter(|full| discovery || full.has_nexus()) else {
            if let Some(port) = port {
                self.service.release(&port, finish.login.tsih);
            }
            finish.refuse(service::FULL, &mut self.out);
            self.last_words = true;
            return;
        };
        finish.accept(finish.login.target_params.queued_commands, &mut self.out);
        self.permit.established();
        tracing::info!(
            peer = %self.peer, initiator = %finish.login.initiator_name.escape_debug(), discovery, "logged in"
        );
        cx.set_timer(full.next_timeout());
        self.armed = full.next_timeout();
        self.phase = Phase::Full(Box::new(full));
    }

    fn wants_input(&self) -> bool {
        self.link.is_some()
            && !self.last_words
            && match &self.phase {
                Phase::Login(_) => true,
                Phase::Full(full) => !full.is_held(),
                _ => false,
            }
    }

    /// Bytes that were held back, after what held them is gone.
    fn resume(&mut self, cx: &mut ShardCx<'_>) {
        if !self.staged.is_empty() && self.wants_input() {
            let bytes = std::mem::take(&mut self.staged);
            self.digest(cx, &bytes);
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
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Full(mut full) => {
                full.drop_buffers(cx);
                if full.close_nexus(cx) {
                    cx.set_timer(None);
                    self.phase = Phase::Closing(full);
                    return;
                }
                full.release();
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

    fn stop(&mut self, cx: &mut ShardCx<'_>) {
        match &mut self.phase {
            Phase::Full(full) => {
                full.say_goodbye();
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

fn port_of(finish: &Finish) -> Option<PortName> {
    let target = finish.login.target_name.as_ref()?.to_ascii_lowercase();
    let initiator = finish.login.initiator_name.to_ascii_lowercase();
    Some(PortName {
        initiator,
        isid: finish.login.isid,
        target,
    })
}

impl Source for Connection {
    fn ready(&mut self, cx: &mut ShardCx<'_>, readiness: Readiness) {
        if readiness.readable && self.wants_input() {
            self.receive(cx);
        } else if readiness.readable && !readiness.writable {
            self.rewatch(cx);
        } else if readiness.readable {
            // A hang-up or an error while nothing is read.
            self.tear_down(cx);
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
                _ => cx.pool().recycle(finished.buf),
            },
            Event::TaskManagement { tag, response } => {
                if let Phase::Full(full) = &mut self.phase {
                    let verdict = full.task_management_done(tag, response);
                    self.obey(cx, verdict);
                    self.resume(cx);
                }
            }
            Event::NexusClosed(_) => match &mut self.phase {
                Phase::Full(full) => {
                    let verdict = full.logged_out();
                    self.obey(cx, verdict);
                }
                Phase::Closing(full) => {
                    full.release();
                    self.phase = Phase::Over;
                    cx.remove_source();
                }
                _ => {}
            },
            Event::Message(body) => match (
                body.downcast::<Notice>().map(|notice| *notice),
                &mut self.phase,
            ) {
                (Ok(Notice::Reinstated), Phase::Full(_)) => {
                    // A login that has just succeeded is told so, even if another one takes its place at once.
                    self.send(cx);
                    self.tear_down(cx);
                }
                (Ok(Notice::StreamReady), _) => {
                    if let Some(readiness) = self.link.as_mut().and_then(Link::called) {
                        self.ready(cx, readiness);
                    }
                }
                (Ok(Notice::PortFree), Phase::Waiting(_)) => {
                    if let Phase::Waiting(finish) = std::mem::replace(&mut self.phase, Phase::Over)
                    {
                        self.logged_in(cx, finish);
                        self.resume(cx);
                    }
                }
                (Ok(Notice::Superseded), Phase::Waiting(finish)) => {
                    finish.refuse(service::SUPERSEDED, &mut self.out);
                    self.last_words = true;
                }
                _ => {}
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
            Phase::Denied(answer) => {
                self.out = std::mem::take(answer);
                self.phase = Phase::Over;
                self.last_words = true;
            }
            _ => self.tear_down(cx),
        }
    }

    fn flush(&mut self, cx: &mut ShardCx<'_>) {
        if !self.send(cx) {
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
}
