//! Every protocol rule a peer can break in full feature phase, and the one place that says what follows.

use super::pdu::FormatError;
use super::pdu::reject::reason;

/// A broken rule of RFC 7143.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The header digest does not match (§7.7).
    #[error("header digest error")]
    HeaderDigest,
    /// The data digest does not match (§7.7).
    #[error("data digest error")]
    DataDigest,
    /// DataSegmentLength exceeds the MaxRecvDataSegmentLength that we declared (§13.12).
    #[error("data segment longer than MaxRecvDataSegmentLength")]
    SegmentTooLong,
    /// The header breaks the format of its PDU type (§11).
    #[error(transparent)]
    Format(#[from] FormatError),
    /// CmdSN outside of ExpCmdSN..=MaxCmdSN (§4.2.2.1).
    #[error("CmdSN outside of the window")]
    OutsideWindow,
    /// CmdSN skipped ahead on the only connection, which has to send in order (§4.2.2.1).
    #[error("CmdSN out of order on its connection")]
    CommandGap,
    /// More immediate commands than are accepted at a time (§4.2.2.1).
    #[error("too many immediate commands")]
    TooManyImmediate,
    /// An initiator task tag that is in use (§11.2.1.8).
    #[error("initiator task tag in use")]
    TagInUse,
    /// The reserved tag on a PDU that needs an answer (§11.2.1.8).
    #[error("reserved initiator task tag")]
    ReservedTag,
    /// A request that a discovery session does not have (§4.3).
    #[error("request not allowed in a discovery session")]
    DiscoveryOnly,
    /// A Login Request in full feature phase (§4.4.3).
    #[error("login request in full feature phase")]
    LoginAgain,
    /// A request after the logout request (§11.14).
    #[error("request after logout")]
    AfterLogout,
    /// SNACK at ErrorRecoveryLevel 0 (§11.16).
    #[error("SNACK at ErrorRecoveryLevel 0")]
    Snack,
    /// Data-Out for a task that does not exist, as after an abort (§11.7).
    #[error("Data-Out for an unknown task")]
    StrayDataOut,
    /// A target transfer tag that we did not give (§11.7.4).
    #[error("unknown target transfer tag")]
    TransferTag,
    /// A LUN that is not that of the task (§11.7.4).
    #[error("LUN differs from that of the command")]
    LunMismatch,
    /// Unsolicited or immediate data that was not allowed or is too much (§11.4.7.2, §13.10, §13.11, §13.14).
    #[error("unexpected unsolicited data")]
    UnexpectedUnsolicited,
    /// DataSN, offset, length or final bit not as asked for (§11.4.7.2, §11.7.5).
    #[error("incorrect amount of data")]
    IncorrectAmount,
    /// A text exchange that is longer than we hold or out of step (§11.10).
    #[error("text negotiation out of step")]
    Text,
    /// A logout reason that does not exist (§11.14.1).
    #[error("unknown logout reason")]
    LogoutReason,
    /// The initiator did not answer our NOP-In in time.
    #[error("NOP-In was not answered")]
    NopTimeout,
    /// The initiator neither sent the data asked for nor read what we sent in time.
    #[error("no progress within RspTimeout")]
    ResponseTimeout,
}

/// What follows from a [`Violation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Ignored without an answer, and counted.
    Ignore,
    /// Answered by a Reject PDU with this reason; the PDU has no other effect.
    Reject(u8),
    /// Answered by a Reject PDU with this reason, then the connection is closed.
    RejectAndDrop(u8),
    /// The connection is closed.
    Drop,
    /// The command ends with ABORTED COMMAND and this ASC and ASCQ (§11.4.7.2).
    FailCommand {
        /// Additional sense code.
        asc: u8,
        /// Additional sense code qualifier.
        ascq: u8,
    },
}

impl Violation {
    /// The one mapping from rule to consequence at ErrorRecoveryLevel 0.
    #[must_use]
    pub fn disposition(self) -> Disposition {
        use Disposition::{Drop, FailCommand, Ignore, Reject, RejectAndDrop};
        match self {
            Self::OutsideWindow | Self::StrayDataOut | Self::AfterLogout => Ignore,
            Self::DataDigest => Reject(reason::DATA_DIGEST_ERROR),
            Self::Format(FormatError::Opcode(_)) => Reject(reason::COMMAND_NOT_SUPPORTED),
            Self::Format(_)
            | Self::ReservedTag
            | Self::TransferTag
            | Self::LunMismatch
            | Self::LogoutReason => Reject(reason::INVALID_PDU_FIELD),
            Self::TooManyImmediate => Reject(reason::TOO_MANY_IMMEDIATE),
            Self::TagInUse => Reject(reason::TASK_IN_PROGRESS),
            Self::Snack => Reject(reason::SNACK_REJECT),
            Self::Text => Reject(reason::PROTOCOL_ERROR),
            Self::SegmentTooLong | Self::LoginAgain | Self::DiscoveryOnly => {
                RejectAndDrop(reason::PROTOCOL_ERROR)
            }
            Self::HeaderDigest | Self::CommandGap | Self::NopTimeout | Self::ResponseTimeout => {
                Drop
            }
            Self::UnexpectedUnsolicited => FailCommand {
                asc: 0x0c,
                ascq: 0x0c,
            },
            Self::IncorrectAmount => FailCommand {
                asc: 0x0c,
                ascq: 0x0d,
            },
        }
    }
}
