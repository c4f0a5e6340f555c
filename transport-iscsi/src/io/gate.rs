//! What a login is told of the targets at the portal by which it came.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::catalogue::{Catalogue, Served};
use super::service::{PORTAL_GROUP, Service};
use crate::proto::keys::TargetParams;
use crate::proto::login::{
    AuthConfig, LoggedIn, LoginFailure, LoginPolicy, LoginStatus, SessionLookup, SessionQuery,
    TargetLogin, TargetLookup,
};

/// The policy for the login of one connection.
pub(super) struct Gate {
    service: Arc<Service>,
    /// Our end of it.
    local: SocketAddr,
    /// What the login was measured by.
    asked: OnceLock<Asked>,
}

/// What a login asked for, as it was then.
enum Asked {
    Target(Served),
    Discovery(AuthConfig),
}

impl Gate {
    pub(super) fn new(service: Arc<Service>, local: SocketAddr) -> Self {
        Self {
            service,
            local,
            asked: OnceLock::new(),
        }
    }

    /// Whether a login that has come to its end gets in as things are now, and to which target. That has to be the one
    /// that it asked for, not one of the same name; and what is demanded has to be what the login has shown. A
    /// redirection or another limit is for those who ask from now on.
    fn admits(&self, login: &LoggedIn) -> Result<Option<Served>, LoginFailure> {
        let user = login.auth_user.as_deref();
        let catalogue = self.service.catalogue.read();
        let before = match self.asked.get() {
            Some(Asked::Discovery(before)) if catalogue.discovery.is_met(user, before) => {
                return Ok(None);
            }
            Some(Asked::Discovery(_)) => return Err(LoginFailure::AuthChanged),
            Some(Asked::Target(before)) => before,
            None => return Err(LoginFailure::NotFound),
        };
        let initiator = &login.initiator_name;
        let now = catalogue.get(before.target.name());
        let there =
            |now: &&Served| now.is_still(before) && !now.is_hidden_from(initiator, self.local);
        let now = now.filter(there).ok_or(LoginFailure::NotFound)?;
        if !now.settings.auth.is_met(user, &before.settings.auth) {
            return Err(LoginFailure::AuthChanged);
        }
        if !now.settings.access.allows(initiator) {
            return Err(LoginFailure::Forbidden);
        }
        Ok(Some(now.clone()))
    }

    /// As [`Gate::admits`]; a login that does not get in counts as any other that is refused.
    pub(super) fn admit(&self, login: &LoggedIn) -> Result<Option<Served>, LoginStatus> {
        self.admits(login).map_err(|failure| {
            self.service.login_failed(&login.initiator_name, &failure);
            failure.status()
        })
    }
}

/// Why a login to a target that is there for this initiator does not succeed, if it does not.
fn refusal(served: &Served, initiator: &str, local: SocketAddr) -> Option<LoginFailure> {
    let settings = &served.settings;
    if !settings.access.allows(initiator) {
        return Some(LoginFailure::Forbidden);
    }
    settings.moved(local)
}

/// The answer for a target that is not there.
fn unknown(catalogue: &Catalogue, name: &str) -> TargetLookup {
    let Some(decoy) = catalogue.decoy(name) else {
        return TargetLookup::NotFound;
    };
    TargetLookup::Found(Box::new(TargetLogin {
        auth: AuthConfig::Chap(decoy),
        refusal: Some(LoginFailure::NotFound),
        portal_group_tag: PORTAL_GROUP,
        ..TargetLogin::default()
    }))
}

impl LoginPolicy for Gate {
    fn target(&self, initiator: &str, target: &str) -> TargetLookup {
        let catalogue = self.service.catalogue.read();
        let Some(served) = catalogue.get(target) else {
            return unknown(&catalogue, target);
        };
        let settings = &served.settings;
        let hidden = served.is_hidden_from(initiator, self.local);
        // One that demands a proof itself tells him who has it that it is not there.
        if hidden && !settings.auth.is_required() {
            return unknown(&catalogue, target);
        }
        // Asked for once in a login.
        let _ = self.asked.set(Asked::Target(served.clone()));
        let refusal = if hidden {
            Some(LoginFailure::NotFound)
        } else {
            refusal(served, initiator, self.local)
        };
        TargetLookup::Found(Box::new(TargetLogin {
            params: settings.params.clone(),
            auth: settings.auth.clone(),
            refusal,
            portal_group_tag: PORTAL_GROUP,
            alias: settings.alias.clone(),
        }))
    }

    fn discovery_auth(&self, _: &str) -> AuthConfig {
        let auth = self.service.catalogue.read().discovery.clone();
        let _ = self.asked.set(Asked::Discovery(auth.clone()));
        auth
    }

    fn discovery_params(&self) -> TargetParams {
        self.service.params.clone()
    }

    fn session(&self, query: &SessionQuery<'_>) -> SessionLookup {
        self.service.registry.lock().find(query)
    }

    fn new_tsih(&self) -> Option<NonZeroU16> {
        self.service.registry.lock().new_tsih()
    }

    fn login_failed(&self, initiator: &str, failure: &LoginFailure) {
        self.service.login_failed(initiator, failure);
    }
}

impl Service {
    pub(super) fn login_failed(&self, initiator: &str, failure: &LoginFailure) {
        self.tally.logins_refused.add(1);
        self.refusals.count(failure.status());
        // A line only: its time need not be that of the shard.
        if let Some(left_out) = self.logs.login_failed.say(Instant::now()) {
            let initiator = initiator.escape_debug();
            tracing::info!(%initiator, %failure, left_out, "login refused");
        }
    }
}
