//! What a login is told of the targets at the portal by which it came.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Instant;

use super::catalogue::{Catalogue, Served};
use super::service::{PORTAL_GROUP, Service};
use crate::proto::keys::TargetParams;
use crate::proto::login::{
    AuthConfig, LoginFailure, LoginPolicy, SessionLookup, SessionQuery, TargetLogin, TargetLookup,
};

/// The policy for the logins of one connection.
pub(super) struct Gate {
    pub(super) service: Arc<Service>,
    /// Our end of it.
    pub(super) local: SocketAddr,
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
        self.service.catalogue.read().discovery.clone()
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
