//! What a peer does wrong, and what follows from it: all of it in one function.

use lunforge_core::asc::Asc;
use lunforge_core::sense::Sense;

use super::iu::FormatError;
use super::iu::login::RejectReason;
use super::iu::logout::LogoutReason;
use super::iu::response::ResponseCode;
use crate::proto::data::DescriptorError;

/// A rule of the protocol that a peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A login request that is none.
    #[error("the login request is malformed: {0}")]
    Login(FormatError),
    /// A login for a target port that is not here.
    #[error("the target port of the login is not here")]
    TargetPort,
    /// A login asks for information units of a length that is not supported.
    #[error("the login asks for information units of {0} bytes")]
    IuLength(u32),
    /// A login needs a data buffer descriptor format that is not supported.
    #[error("the login needs the data buffer formats {0:#06x}")]
    BufferFormats(u16),
    /// A login has a MULTI-CHANNEL ACTION that is reserved.
    #[error("the login has the reserved multi-channel action {0}")]
    Action(u8),
    /// An information unit that is none.
    #[error(transparent)]
    Format(FormatError),
    /// A request beyond the request limit.
    #[error("a request exceeds the request limit")]
    RequestLimit,
    /// A request has the tag of one that is not answered.
    #[error("a request has the tag of another one")]
    Tag,
    /// A response to nothing.
    #[error("a response answers no request")]
    SpuriousResponse,
    /// A task attribute that is reserved.
    #[error("a command has the reserved task attribute {0}")]
    Attribute(u8),
    /// A task management function that is not supported.
    #[error("the task management function {0:#04x} is not supported")]
    Function(u8),
}

/// What follows from a violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consequence {
    /// The login is rejected.
    Reject(RejectReason),
    /// The command ends with CHECK CONDITION.
    Check(Box<Sense>),
    /// The task management function is answered so.
    Answer(ResponseCode),
    /// The initiator is logged out, and the channel disconnected.
    Logout(LogoutReason),
}

impl Violation {
    /// What follows from it.
    #[must_use]
    pub fn consequence(self) -> Consequence {
        match self {
            Self::Login(_) => Consequence::Reject(RejectReason::Unspecified),
            Self::TargetPort | Self::Action(_) => Consequence::Reject(RejectReason::Association),
            Self::IuLength(_) => Consequence::Reject(RejectReason::IuLength),
            Self::BufferFormats(_) => Consequence::Reject(RejectReason::DescriptorFormat),
            Self::Format(error) => of_format(error),
            Self::RequestLimit | Self::Tag => Consequence::Logout(LogoutReason::Unspecified),
            Self::SpuriousResponse => Consequence::Logout(LogoutReason::SpuriousResponse),
            Self::Attribute(_) => invalid_field(),
            Self::Function(_) => Consequence::Answer(ResponseCode::NotSupported),
        }
    }
}

/// A command with a tag to answer by ends; what has none, or a form that cannot be known, ends the channel.
fn of_format(error: FormatError) -> Consequence {
    use DescriptorError::{Format, Length};
    Consequence::Logout(match error {
        FormatError::Type(_) => LogoutReason::Type,
        FormatError::Length(_) | FormatError::DataOut(Length) | FormatError::DataIn(Length) => {
            LogoutReason::Length
        }
        FormatError::DataOut(Format(_)) => LogoutReason::DataOutFormat,
        FormatError::DataIn(Format(_)) => LogoutReason::DataInFormat,
        FormatError::DataOut(_) | FormatError::DataIn(_) => return invalid_field(),
    })
}

/// DEVIATION: SRP 6.9 would have response data say REQUEST FIELDS INVALID. Linux looks at that only for task management; of a
/// command it would take the status beside it, GOOD, for the truth.
fn invalid_field() -> Consequence {
    Consequence::Check(Box::new(Sense::illegal_request(
        Asc::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT,
    )))
}
