//! Connection reinstatement (RFC 7143 6.3.4): a session goes on with a new connection in place of its old one.
//!
//! The login comes in wherever the listener put it. When it is through, the new link goes to the shard of the session,
//! which closes the old one, ends its commands without a word to the initiator, as is due below ErrorRecoveryLevel 2,
//! and goes on when the last of them is gone. The I_T nexus stays: no unit attention, no reservation lost.

use std::io::IoSlice;

use lunforge_core::shard::ShardCx;

use super::{Connection, Ends, Phase};
use crate::io::doorway::{Origin, Permit};
use crate::io::link::Link;
use crate::io::login::Finish;
use crate::io::recorder::Recorder;
use crate::io::service;
use crate::proto::login::LoginStatus;

/// A connection on its way to the session that it goes on with. Dropped, it is closed.
pub(super) struct Takeover {
    link: Link,
    ends: Ends,
    permit: Option<Permit>,
    /// What came after the login.
    staged: Vec<u8>,
    finish: Box<Finish>,
    recorder: Option<Box<Recorder>>,
}

impl Takeover {
    /// Takes what is needed out of the connection that logged in. `None` when its link is gone.
    pub(super) fn new(
        from: &mut Connection,
        cx: &mut ShardCx<'_>,
        finish: Box<Finish>,
    ) -> Option<Self> {
        let link = from.link.take()?;
        link.unwatch(cx);
        let (peer, local) = (from.peer, from.local);
        Some(Self {
            link,
            ends: Ends { peer, local },
            permit: from.permit.take(),
            staged: std::mem::take(&mut from.staged),
            finish,
            recorder: from.recorder.take(),
        })
    }

    /// Ends the new connection with that status, as far as it takes bytes at once.
    fn refuse(mut self, status: LoginStatus) {
        let mut out = Vec::new();
        self.finish.refuse(status, &mut out);
        self.link.send(&[IoSlice::new(&out)]);
    }
}

impl Connection {
    /// A new connection is to go on with this session. A session that ends cannot: then the new connection ends too, and
    /// its initiator logs in anew.
    pub(super) fn taken_over(&mut self, cx: &mut ShardCx<'_>, by: Box<Takeover>) {
        if let Err(status) = by.finish.admit() {
            return by.refuse(status);
        }
        let full = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Full(mut full) => {
                if cx.stopping() || full.is_told_to_end() || !full.abort_commands(cx) {
                    self.phase = Phase::Full(full);
                    return self.gone(*by);
                }
                full
            }
            Phase::Continuing(full, _) => full,
            other => {
                self.phase = other;
                return self.gone(*by);
            }
        };
        self.record_end(cx);
        if let Some(link) = self.link.take() {
            link.unwatch(cx);
        }
        (self.staged, self.out) = (Vec::new(), Vec::new());
        (self.last_words, self.closing, self.later) = (false, false, false);
        self.phase = Phase::Continuing(full, by);
        // What the core bounds ends long before.
        let at = cx.now() + 4 * lunforge_core::tmf::BOUND;
        cx.set_timer(Some(at));
        self.go_on_with_session(cx);
    }

    /// There is no session any more to go on with.
    fn gone(&self, by: Takeover) {
        self.service.refusals.count(service::GONE);
        by.refuse(service::GONE);
    }

    /// Goes on as soon as the core has no command of the old connection.
    pub(super) fn go_on_with_session(&mut self, cx: &mut ShardCx<'_>) {
        if !matches!(&self.phase, Phase::Continuing(full, _) if full.is_idle()) {
            return;
        }
        let Phase::Continuing(mut full, by) = std::mem::replace(&mut self.phase, Phase::Over)
        else {
            return;
        };
        if let Err(status) = by.finish.admit() {
            by.refuse(status);
            self.phase = Phase::Full(full);
            return self.tear_down(cx);
        }
        let Takeover {
            mut link,
            ends,
            permit,
            staged,
            finish,
            recorder,
        } = *by;
        full.reopen(cx, &finish, ends.local);
        link.moved(cx);
        let watched = link.watch(cx).is_ok();
        (self.peer, self.local, self.origin) = (ends.peer, ends.local, Origin::of(ends.peer));
        (self.link, self.permit, self.staged) = (Some(link), permit, staged);
        (self.watched, self.pdus) = ((true, false), self.service.limits.pdus_per_turn);
        self.recorder = recorder;
        self.accept(cx, &finish, &mut full);
        full.publish(cx, &finish, ends);
        self.service.tally.continuations.add(1);
        self.count_login(cx, &finish);
        self.armed = full.next_timeout();
        cx.set_timer(self.armed);
        self.phase = Phase::Full(full);
        if !watched {
            return self.tear_down(cx);
        }
        self.resume(cx);
        cx.wants_flush();
    }
}
