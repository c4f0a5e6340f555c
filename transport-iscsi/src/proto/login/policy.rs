//! What a login asks of its surroundings.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::{LoginFailure, LoginStatus};
use crate::proto::chap::ChapConfig;
use crate::proto::keys::TargetParams;

/// Whether new logins are taken at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Admission {
    /// Yes.
    #[default]
    Accept,
    /// No, status 0301: shutting down or disabled.
    ServiceUnavailable,
    /// No, status 0302: a limit is reached.
    OutOfResources,
}

/// How an initiator has to prove itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AuthConfig {
    /// Not at all.
    #[default]
    None,
    /// By CHAP. With [`ChapConfig::decoy`] nobody succeeds.
    Chap(Arc<ChapConfig>),
}

impl AuthConfig {
    /// Whether an initiator must authenticate.
    #[must_use]
    pub fn is_required(&self) -> bool {
        matches!(self, Self::Chap(_))
    }

    /// Whether this demands nothing of `user` that he has not proved while `before` was demanded.
    #[must_use]
    pub fn is_met(&self, user: Option<&str>, before: &Self) -> bool {
        match (self, before, user) {
            (Self::None, ..) => true,
            (Self::Chap(now), Self::Chap(then), Some(user)) => now.believes(user, then),
            (Self::Chap(_), ..) => false,
        }
    }
}

/// A target as a login needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetLogin {
    /// The target's side of the negotiation.
    pub params: TargetParams,
    /// Authentication that it demands.
    pub auth: AuthConfig,
    /// How the login ends all the same: the initiator may not use the target, or is sent elsewhere. Where authentication is
    /// demanded only after it, so that strangers cannot tell this target from one that does not exist and is answered with
    /// [`ChapConfig::decoy`].
    pub refusal: Option<LoginFailure>,
    /// Tag of the portal group through which the initiator came.
    pub portal_group_tag: u16,
    /// TargetAlias, told after authentication.
    pub alias: Option<String>,
}

/// Answer to the question for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetLookup {
    /// Status 0203. To hide from strangers which targets exist, answer [`TargetLookup::Found`] with
    /// [`ChapConfig::decoy`] instead.
    NotFound,
    /// Status 0202.
    Forbidden,
    /// Status 0101 or 0102 with this TargetAddress.
    Moved {
        /// `host:port`, IPv6 in brackets, perhaps with `,tag`.
        address: String,
        /// Whether the move is permanent.
        permanent: bool,
    },
    /// Another status: 0204, 0301, 0302.
    Refused(LoginStatus),
    /// The login goes on.
    Found(Box<TargetLogin>),
}

/// A login that names an existing session (TSIH not 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionQuery<'a> {
    /// InitiatorName.
    pub initiator: &'a str,
    /// TargetName; `None` in a discovery session.
    pub target: Option<&'a str>,
    /// ISID.
    pub isid: [u8; 6],
    /// TSIH.
    pub tsih: u16,
    /// CID.
    pub cid: u16,
}

/// Answer to a [`SessionQuery`]. Sessions of several connections are not supported: a login may take the place of the
/// one that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionLookup {
    /// The CID is that of its connection: the login reinstates it (RFC 7143 §6.3.4).
    Reinstate,
    /// No such session: status 020A.
    Unknown,
    /// It has its one connection, of another CID: status 0206.
    TooManyConnections,
    /// It cannot span to this portal: status 0208.
    CannotInclude,
}

/// The surroundings of a login. Called on the shard's thread: an answer must not block.
///
/// One value may serve one portal or one connection, so that answers can depend on the local address.
pub trait LoginPolicy: Send + Sync {
    /// Whether logins are taken at present.
    fn admission(&self) -> Admission {
        Admission::Accept
    }

    /// The target that the initiator names.
    fn target(&self, initiator: &str, target: &str) -> TargetLookup;

    /// Authentication for discovery sessions.
    fn discovery_auth(&self, initiator: &str) -> AuthConfig;

    /// Our side of the negotiation in discovery sessions.
    fn discovery_params(&self) -> TargetParams {
        TargetParams::default()
    }

    /// The session that a login with a TSIH means to join.
    fn session(&self, query: &SessionQuery<'_>) -> SessionLookup;

    /// A TSIH that no session has; `None` ends the login with status 0302.
    fn new_tsih(&self) -> Option<NonZeroU16>;

    /// Told of each failed login, for counters, logs and delays. `initiator` is empty if it gave no name.
    fn login_failed(&self, initiator: &str, failure: &LoginFailure) {
        let _ = (initiator, failure);
    }
}
