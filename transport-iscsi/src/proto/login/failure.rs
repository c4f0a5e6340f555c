//! Why a login fails, and the one mapping to Status-Class and Status-Detail.

use crate::proto::chap::ChapError;
use crate::proto::keys::KeyError;
use crate::proto::text::TextError;

/// Status-Class and Status-Detail of a Login Response (RFC 7143 §11.13.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum LoginStatus {
    /// 0000: the login goes on or is done.
    Success = 0x0000,
    /// 0101: the target has moved for a time.
    TargetMovedTemporarily = 0x0101,
    /// 0102: the target has moved for good.
    TargetMovedPermanently = 0x0102,
    /// 0200: other error of the initiator.
    InitiatorError = 0x0200,
    /// 0201: authentication failed.
    AuthenticationFailure = 0x0201,
    /// 0202: the initiator may not use the target.
    AuthorizationFailure = 0x0202,
    /// 0203: no such target here.
    NotFound = 0x0203,
    /// 0204: the target was removed and left no address.
    TargetRemoved = 0x0204,
    /// 0205: no common version.
    UnsupportedVersion = 0x0205,
    /// 0206: too many connections on the session.
    TooManyConnections = 0x0206,
    /// 0207: a required key is missing.
    MissingParameter = 0x0207,
    /// 0208: the session cannot span to this portal.
    CannotIncludeInSession = 0x0208,
    /// 0209: session type not supported.
    SessionTypeNotSupported = 0x0209,
    /// 020A: no session has this TSIH.
    SessionDoesNotExist = 0x020a,
    /// 020B: not a Login Request during login.
    InvalidDuringLogin = 0x020b,
    /// 0300: error of the target.
    TargetError = 0x0300,
    /// 0301: the target is not operational.
    ServiceUnavailable = 0x0301,
    /// 0302: the target has no resources.
    OutOfResources = 0x0302,
}

impl LoginStatus {
    /// Class and detail together, class in the high byte.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }

    /// Status-Class.
    #[must_use]
    pub fn class(self) -> u8 {
        let [class, _] = self.code().to_be_bytes();
        class
    }

    /// Status-Detail.
    #[must_use]
    pub fn detail(self) -> u8 {
        let [_, detail] = self.code().to_be_bytes();
        detail
    }
}

/// Why a login ends without a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailure {
    /// Version-min above 0.
    #[error("no common protocol version")]
    UnsupportedVersion,
    /// CSG or NSG reserved, not the current stage, or not forward (RFC 7143 §11.12.3).
    #[error("illegal stage or stage transition")]
    BadStage,
    /// T and C both set (RFC 7143 §11.12.2).
    #[error("transit and continue bits both set")]
    TransitWithContinue,
    /// ISID, TSIH or CID differ from the first request.
    #[error("ISID, TSIH or CID changed during login")]
    HeaderChanged,
    /// More requests than a login may take.
    #[error("too many login requests")]
    TooManyExchanges,
    /// A PDU other than a Login Request came before the full feature phase.
    #[error("not a login request during login")]
    NotLogin,
    /// The text is malformed or too long.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A key breaks a rule of the negotiation.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key that this request must carry is missing.
    #[error("{0} missing")]
    Missing(&'static str),
    /// InitiatorName or TargetName is malformed.
    #[error("{0} malformed")]
    BadName(&'static str),
    /// A name was declared again with another value.
    #[error("{0} changed during login")]
    Changed(&'static str),
    /// SessionType is neither Normal nor Discovery.
    #[error("session type not supported")]
    BadSessionType,
    /// No target of this name is served here, or none that this initiator may know of.
    #[error("target not found")]
    NotFound,
    /// The initiator may not use the target.
    #[error("initiator not allowed")]
    Forbidden,
    /// The target is reached elsewhere.
    #[error("target moved to {address}")]
    Moved {
        /// TargetAddress: `host:port` or `host:port,tag`.
        address: String,
        /// Whether the move is permanent.
        permanent: bool,
    },
    /// The policy refuses with this status.
    #[error("refused by policy")]
    Refused(LoginStatus),
    /// Authentication is required and was skipped or not offered.
    #[error("authentication required")]
    AuthRequired,
    /// What is demanded changed during the login, which did not prove it.
    #[error("authentication changed during login")]
    AuthChanged,
    /// AuthMethod names no method that is acceptable.
    #[error("no authentication method in common")]
    NoCommonAuthMethod,
    /// A security key out of its turn.
    #[error("{0} out of turn")]
    OutOfTurn(&'static str),
    /// CHAP failed.
    #[error(transparent)]
    Chap(#[from] ChapError),
    /// TSIH of no session.
    #[error("session does not exist")]
    UnknownSession,
    /// The session has all the connections it may have.
    #[error("too many connections")]
    TooManyConnections,
    /// The session cannot include a connection to this portal.
    #[error("cannot include connection in session")]
    CannotInclude,
    /// The target is shutting down or disabled.
    #[error("service unavailable")]
    ServiceUnavailable,
    /// A limit of sessions or memory is reached.
    #[error("out of resources")]
    OutOfResources,
}

impl LoginFailure {
    /// The status that tells the initiator.
    #[must_use]
    pub fn status(&self) -> LoginStatus {
        match self {
            Self::UnsupportedVersion => LoginStatus::UnsupportedVersion,
            Self::BadStage
            | Self::TransitWithContinue
            | Self::HeaderChanged
            | Self::TooManyExchanges
            | Self::Text(_)
            | Self::Key(_)
            | Self::BadName(_)
            | Self::Changed(_)
            | Self::OutOfTurn(_) => LoginStatus::InitiatorError,
            Self::NotLogin => LoginStatus::InvalidDuringLogin,
            Self::Missing(_) => LoginStatus::MissingParameter,
            Self::BadSessionType => LoginStatus::SessionTypeNotSupported,
            Self::NotFound => LoginStatus::NotFound,
            Self::Forbidden => LoginStatus::AuthorizationFailure,
            Self::Moved {
                permanent: false, ..
            } => LoginStatus::TargetMovedTemporarily,
            Self::Moved {
                permanent: true, ..
            } => LoginStatus::TargetMovedPermanently,
            Self::Refused(LoginStatus::Success) => LoginStatus::TargetError,
            Self::Refused(status) => *status,
            Self::Chap(ChapError::Random(_)) => LoginStatus::TargetError,
            Self::AuthRequired | Self::AuthChanged | Self::NoCommonAuthMethod | Self::Chap(_) => {
                LoginStatus::AuthenticationFailure
            }
            Self::UnknownSession => LoginStatus::SessionDoesNotExist,
            Self::TooManyConnections => LoginStatus::TooManyConnections,
            Self::CannotInclude => LoginStatus::CannotIncludeInSession,
            Self::ServiceUnavailable => LoginStatus::ServiceUnavailable,
            Self::OutOfResources => LoginStatus::OutOfResources,
        }
    }

    /// Whether the failure is one of authentication: to be counted, and the next attempt delayed.
    #[must_use]
    pub fn is_authentication(&self) -> bool {
        self.status() == LoginStatus::AuthenticationFailure
    }
}
