//! Why a recording is written.

use std::fmt;
use std::time::Duration;

use crate::proto::error::Violation;

/// What happened on a connection that is worth a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    /// A Reject PDU was sent, for this reason (RFC 7143 11.17.1).
    Rejected(u8),
    /// The connection is dropped because the initiator broke this rule.
    Dropped(Violation),
    /// The login ended in a refusal that is not about authentication, or its PDUs were malformed.
    LoginFailed,
    /// A command took this long.
    Slow(Duration),
    /// A command has had no answer for this long.
    Unanswered(Duration),
    /// The session's first task management function, with its code (RFC 7143 11.5.1).
    TaskManagement(u8),
    /// The connection ended while this many commands were under way.
    Lost(usize),
    /// The session ended.
    Ended,
    /// Somebody asked.
    Asked,
}

impl Incident {
    /// One word of our own for a file's name.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Rejected(_) => "reject",
            Self::Dropped(_) => "drop",
            Self::LoginFailed => "login",
            Self::Slow(_) => "slow",
            Self::Unanswered(_) => "unanswered",
            Self::TaskManagement(_) => "task-management",
            Self::Lost(_) => "lost",
            Self::Ended => "end",
            Self::Asked => "asked",
        }
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(reason) => write!(f, "a Reject was sent, reason {reason:#04x}"),
            Self::Dropped(violation) => write!(f, "the connection is dropped: {violation}"),
            Self::LoginFailed => f.write_str("the login failed"),
            Self::Slow(time) => write!(f, "a command took {} ms", time.as_millis()),
            Self::Unanswered(time) => {
                write!(f, "a command has had no answer for {} ms", time.as_millis())
            }
            Self::TaskManagement(function) => {
                write!(
                    f,
                    "first task management function of the session, code {function}"
                )
            }
            Self::Lost(commands) => {
                write!(f, "the connection ended with {commands} commands under way")
            }
            Self::Ended => f.write_str("the session ended"),
            Self::Asked => f.write_str("on demand"),
        }
    }
}
