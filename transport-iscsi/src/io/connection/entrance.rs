//! The way in: the steps of a login, the answer to one that fails, the port that has to be free, and the session.

use std::sync::Arc;

use lunforge_core::shard::ShardCx;

use super::takeover::Takeover;
use super::{Connection, Phase};
use crate::io::full_feature::FullFeature;
use crate::io::login::Finish;
use crate::io::offenders::Consequence;
use crate::io::service::{self, Claim, Notice, Place, PortName};
use crate::proto::login::{LoginStatus, SessionType};

impl Connection {
    /// The time for the next Login Request begins; that for the login goes on.
    pub(super) fn next_login_step(&mut self, cx: &mut ShardCx<'_>) {
        let step = cx.now() + self.service.limits.login_step_time;
        cx.set_timer(Some(step.min(self.login_end)));
    }

    /// The initiator of this name could not prove itself.
    pub(super) fn denied(&mut self, cx: &mut ShardCx<'_>, initiator: &str) {
        let (service, now) = (&self.service, cx.now());
        service.tally.authentication_failures.add(1);
        if let Some(left_out) = service.logs.authentication.say(now) {
            let initiator = initiator.escape_debug();
            tracing::warn!(peer = %self.peer, %initiator, left_out, "authentication failed");
        }
        match service.offenders.failed(self.origin, initiator, now) {
            Consequence::Later(delay, held_back) => {
                cx.set_timer(Some(now + delay));
                self.phase = Phase::Denied(std::mem::take(&mut self.out), held_back);
            }
            Consequence::Silence => {
                service.tally.unanswered_failures.add(1);
                self.out = Vec::new();
                self.last_words = true;
            }
        }
    }

    /// The login machine is content: the port has to be free, then the initiator is in.
    pub(super) fn logged_in(&mut self, cx: &mut ShardCx<'_>, finish: Box<Finish>) {
        // Before it takes the place of a session.
        if let Err(status) = finish.admit() {
            return self.turn_away(cx, &finish, status);
        }
        let login = &finish.login;
        if let Some(user) = &login.auth_user {
            let offenders = &self.service.offenders;
            offenders.proved(self.origin, &login.initiator_name, user);
        }
        let Some(port) = port_of(&finish) else {
            return self.enter(cx, &finish, None);
        };
        if login.continues {
            self.phase = Phase::Moving(finish);
            return;
        }
        let me = Place {
            shard: cx.handle(),
            source: cx.this(),
        };
        let max = login.target_params.max_sessions;
        match self.service.claim(&port, (login.tsih, login.cid), max, &me) {
            Claim::Granted => self.enter(cx, &finish, Some(port)),
            Claim::Held(old, superseded) => {
                if let Some(older) = superseded {
                    older.shard.send(older.source, Box::new(Notice::Superseded));
                }
                self.service.tally.reinstatements.add(1);
                if let Some(left_out) = self.service.logs.reinstated.say(cx.now()) {
                    let initiator = port.initiator.escape_debug();
                    tracing::info!(peer = %self.peer, %initiator, left_out, "a session is reinstated");
                }
                // There is one such login for each session, and it has a bound: it gives way to nobody.
                self.established();
                old.shard.send(old.source, Box::new(Notice::Reinstated));
                self.phase = Phase::Waiting(finish);
            }
            Claim::Full => {
                self.service.tally.sessions_full.add(1);
                self.refuse(cx, &finish, service::FULL);
            }
        }
    }

    /// Ends a login that succeeded after all.
    pub(super) fn refuse(&mut self, cx: &ShardCx<'_>, finish: &Finish, status: LoginStatus) {
        self.service.refusals.count(status);
        self.turn_away(cx, finish, status);
    }

    /// As [`Connection::refuse`], for what has been counted.
    fn turn_away(&mut self, cx: &ShardCx<'_>, finish: &Finish, status: LoginStatus) {
        let before = self.out.len();
        finish.refuse(status, &mut self.out);
        self.record_reply(cx, before);
        self.last_words = true;
    }

    fn enter(&mut self, cx: &mut ShardCx<'_>, finish: &Finish, port: Option<PortName>) {
        let discovery = finish.login.session_type == SessionType::Discovery;
        // Whoever removes the target ends the sessions that the registry has, and this one is there by now: it either sees
        // that the target is gone or is told to end.
        let target = match finish.admit() {
            Ok(target) => target,
            Err(status) => {
                if let Some(port) = port {
                    self.service.release(&port, finish.login.tsih);
                }
                return self.turn_away(cx, finish, status);
            }
        };
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
            self.service.tally.sessions_full.add(1);
            return self.refuse(cx, finish, service::FULL);
        };
        let mut full = Box::new(full);
        self.accept(cx, finish, &mut full);
        full.publish(cx, finish, self.ends());
        self.seated(cx, discovery);
        self.count_login(cx, finish);
        cx.set_timer(full.next_timeout());
        self.armed = full.next_timeout();
        self.pdus = self.service.limits.pdus_per_turn;
        self.phase = Phase::Full(full);
    }

    /// The last reply of a login; the session has it recorded, too.
    pub(super) fn accept(&mut self, cx: &ShardCx<'_>, finish: &Finish, full: &mut FullFeature) {
        let before = self.out.len();
        finish.accept(full.window(), &mut self.out);
        self.record_reply(cx, before);
        if let Some(recorder) = &mut self.recorder
            && let Some(tap) = recorder.logged_in(finish)
        {
            full.record(tap, recorder.settings());
        }
    }

    pub(super) fn count_login(&self, cx: &ShardCx<'_>, finish: &Finish) {
        self.service.tally.logins.add(1);
        if let Some(left_out) = self.service.logs.login.say(cx.now()) {
            let login = &finish.login;
            let initiator = login.initiator_name.escape_debug();
            let (discovery, continues) = (login.target_name.is_none(), login.continues);
            tracing::info!(peer = %self.peer, %initiator, discovery, continues, left_out, "logged in");
        }
    }

    /// The session has begun.
    fn seated(&mut self, cx: &ShardCx<'_>, discovery: bool) {
        match &mut self.permit {
            Some(permit) if discovery => {
                let place = Place {
                    shard: cx.handle(),
                    source: cx.this(),
                };
                self.service.admit_discovery(permit, place, cx.now());
            }
            _ => self.established(),
        }
    }

    /// Gives way to nobody any more.
    fn established(&mut self) {
        if let Some(permit) = &mut self.permit {
            permit.established();
        }
    }

    /// Hands the connection to the session that it is to go on with, on whatever shard that is.
    pub(super) fn move_over(&mut self, cx: &mut ShardCx<'_>) {
        let Phase::Moving(finish) = std::mem::replace(&mut self.phase, Phase::Over) else {
            return;
        };
        self.established();
        let old = port_of(&finish).and_then(|port| self.service.place_of(&port, finish.login.tsih));
        let Some(old) = old else {
            return self.refuse(cx, &finish, service::GONE);
        };
        if let Some(takeover) = Takeover::new(self, cx, finish) {
            old.shard.send(old.source, Box::new(takeover));
        }
        cx.set_timer(None);
        cx.remove_source();
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
