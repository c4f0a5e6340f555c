//! Information units (SRP 6), in both directions: a target parses what an initiator emits, and the other way round in tests,
//! in the fabric in memory and in a load generator.
//!
//! Reserved fields are ignored when parsed and zero when emitted. Bytes beyond an information unit are ignored.

pub mod command;
pub mod credit;
pub mod event;
pub mod login;
pub mod logout;
pub mod response;
pub mod task;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use command::Command;
pub use credit::{CreditRequest, CreditResponse};
pub use event::{AsyncEvent, AsyncEventResponse};
pub use login::{LoginReject, LoginRequest, LoginResponse};
pub use logout::{InitiatorLogout, TargetLogout};
pub use response::Response;
pub use task::TaskManagement;

/// Information unit types (SRP 6.1): the first byte.
pub mod opcode {
    /// SRP_LOGIN_REQ.
    pub const LOGIN_REQ: u8 = 0x00;
    /// SRP_TSK_MGMT.
    pub const TSK_MGMT: u8 = 0x01;
    /// SRP_CMD.
    pub const CMD: u8 = 0x02;
    /// SRP_I_LOGOUT.
    pub const I_LOGOUT: u8 = 0x03;
    /// SRP_CRED_RSP.
    pub const CRED_RSP: u8 = 0x41;
    /// SRP_AER_RSP.
    pub const AER_RSP: u8 = 0x42;
    /// SRP_T_LOGOUT.
    pub const T_LOGOUT: u8 = 0x80;
    /// SRP_CRED_REQ.
    pub const CRED_REQ: u8 = 0x81;
    /// SRP_AER_REQ.
    pub const AER_REQ: u8 = 0x82;
    /// SRP_LOGIN_RSP.
    pub const LOGIN_RSP: u8 = 0xC0;
    /// SRP_RSP.
    pub const RSP: u8 = 0xC1;
    /// SRP_LOGIN_REJ.
    pub const LOGIN_REJ: u8 = 0xC2;
}

/// Why bytes are no information unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No type that this end may be sent, or no byte at all.
    #[error("an information unit of type {0:#04x} is not for this end")]
    Type(u8),
    /// The information unit ends before its fields do.
    #[error("an information unit of {0} bytes is too short for its type")]
    Length(usize),
    /// The descriptor of the data-out buffer cannot be understood.
    #[error("data-out buffer descriptor: {0}")]
    DataOut(DescriptorError),
    /// The descriptor of the data-in buffer cannot be understood.
    #[error("data-in buffer descriptor: {0}")]
    DataIn(DescriptorError),
}

pub use super::data::DescriptorError;

/// What an initiator sends over a channel that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToTarget<'a> {
    /// SRP_CMD.
    Command(Command<'a>),
    /// SRP_TSK_MGMT.
    TaskManagement(TaskManagement),
    /// SRP_I_LOGOUT.
    Logout(InitiatorLogout),
    /// SRP_CRED_RSP.
    Credit(CreditResponse),
    /// SRP_AER_RSP.
    Event(AsyncEventResponse),
}

impl<'a> ToTarget<'a> {
    /// Parses what was received; `immediate` is where immediate data begins in a command, if the login allowed it.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn parse(iu: &'a [u8], immediate: Option<u16>) -> Result<Self, FormatError> {
        let &kind = iu.first().ok_or(FormatError::Length(0))?;
        Ok(match kind {
            opcode::CMD => Self::Command(Command::parse(iu, immediate)?),
            opcode::TSK_MGMT => Self::TaskManagement(TaskManagement::parse(iu)?),
            opcode::I_LOGOUT => Self::Logout(InitiatorLogout::parse(iu)?),
            opcode::CRED_RSP => Self::Credit(CreditResponse::parse(iu)?),
            opcode::AER_RSP => Self::Event(AsyncEventResponse::parse(iu)?),
            other => return Err(FormatError::Type(other)),
        })
    }
}

/// What a target sends, the answer to a login included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToInitiator<'a> {
    /// SRP_LOGIN_RSP.
    LoginResponse(LoginResponse),
    /// SRP_LOGIN_REJ.
    LoginReject(LoginReject),
    /// SRP_RSP.
    Response(Response<'a>),
    /// SRP_T_LOGOUT.
    Logout(TargetLogout),
    /// SRP_CRED_REQ.
    Credit(CreditRequest),
    /// SRP_AER_REQ.
    Event(AsyncEvent<'a>),
}

impl<'a> ToInitiator<'a> {
    /// Parses what was received.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn parse(iu: &'a [u8]) -> Result<Self, FormatError> {
        let &kind = iu.first().ok_or(FormatError::Length(0))?;
        Ok(match kind {
            opcode::LOGIN_RSP => Self::LoginResponse(LoginResponse::parse(iu)?),
            opcode::LOGIN_REJ => Self::LoginReject(LoginReject::parse(iu)?),
            opcode::RSP => Self::Response(Response::parse(iu)?),
            opcode::T_LOGOUT => Self::Logout(TargetLogout::parse(iu)?),
            opcode::CRED_REQ => Self::Credit(CreditRequest::parse(iu)?),
            opcode::AER_REQ => Self::Event(AsyncEvent::parse(iu)?),
            other => return Err(FormatError::Type(other)),
        })
    }
}

/// When the initiator wants its response with solicited notification (SRP clause 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Solicited {
    /// SCSOLNT: when the request succeeds.
    pub success: bool,
    /// UCSOLNT: when it does not.
    pub failure: bool,
}

impl Solicited {
    const SUCCESS: u8 = 0x02;
    const FAILURE: u8 = 0x04;

    fn parse(byte: u8) -> Self {
        Self {
            success: byte & Self::SUCCESS != 0,
            failure: byte & Self::FAILURE != 0,
        }
    }

    fn emit(self) -> u8 {
        let success = if self.success { Self::SUCCESS } else { 0 };
        let failure = if self.failure { Self::FAILURE } else { 0 };
        success | failure
    }

    /// SOLNT of the response.
    #[must_use]
    pub fn of(self, succeeded: bool) -> bool {
        if succeeded {
            self.success
        } else {
            self.failure
        }
    }
}

/// SOLNT in an information unit of the target.
const SOLNT: u8 = 0x01;

/// The wire form of an information unit's fixed part.
trait Wire: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned {
    const TYPE: u8;

    /// Views the fixed part and what follows it.
    fn of(iu: &[u8]) -> Result<(&Self, &[u8]), FormatError> {
        match iu.first() {
            Some(&kind) if kind == Self::TYPE => {}
            Some(&kind) => return Err(FormatError::Type(kind)),
            None => return Err(FormatError::Length(0)),
        }
        Self::ref_from_prefix(iu).map_err(|_| FormatError::Length(iu.len()))
    }
}

/// Declares a wire form with its type code and its length.
macro_rules! wire {
    ($name:ident, $kind:expr, $len:literal, { $($field:ident : $ty:ty),* $(,)? }) => {
        #[derive(Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout,
                 zerocopy::Immutable, zerocopy::Unaligned)]
        #[repr(C)]
        struct $name { $($field: $ty),* }
        const _: () = assert!(size_of::<$name>() == $len);
        impl crate::proto::iu::Wire for $name {
            const TYPE: u8 = $kind;
        }
    };
}
use wire;

/// A length as its field holds it; one beyond the field cannot come out of a parser.
fn field_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_refuses_what_only_the_other_may_be_sent_and_what_is_nothing() {
        let to_target = [0x01, 0x02, 0x03, 0x41, 0x42];
        let to_initiator = [0x80, 0x81, 0x82, 0xC0, 0xC1, 0xC2];
        for kind in 0..=u8::MAX {
            let mut iu = [0; 64];
            iu[0] = kind;
            let known = to_target.contains(&kind);
            let parsed = ToTarget::parse(&iu, None);
            assert_eq!(parsed.is_ok(), known, "{kind:#x}");
            if !known {
                assert_eq!(parsed, Err(FormatError::Type(kind)));
            }
            let known = to_initiator.contains(&kind);
            assert_eq!(ToInitiator::parse(&iu).is_ok(), known, "{kind:#x}");
        }
        assert_eq!(ToTarget::parse(&[], None), Err(FormatError::Length(0)));
        assert_eq!(ToInitiator::parse(&[]), Err(FormatError::Length(0)));
    }

    #[test]
    fn every_type_is_refused_one_byte_short_of_its_fields() {
        for (kind, len) in [(0x01, 48), (0x02, 48), (0x03, 16), (0x41, 16), (0x42, 16)] {
            for short in 1..len {
                let mut iu = vec![0; short];
                iu[0] = kind;
                assert_eq!(ToTarget::parse(&iu, None), Err(FormatError::Length(short)));
            }
        }
        let of_target = [
            (0x80, 16),
            (0x81, 16),
            (0x82, 36),
            (0xC0, 52),
            (0xC1, 36),
            (0xC2, 32),
        ];
        for (kind, len) in of_target {
            for short in 1..len {
                let mut iu = vec![0; short];
                iu[0] = kind;
                assert_eq!(ToInitiator::parse(&iu), Err(FormatError::Length(short)));
            }
        }
    }

    #[test]
    fn solicited_bits_are_those_of_the_outcome() {
        for byte in 0..=u8::MAX {
            let bits = Solicited::parse(byte);
            assert_eq!(bits.of(true), byte & 2 != 0);
            assert_eq!(bits.of(false), byte & 4 != 0);
            assert_eq!(bits.emit(), byte & 6);
        }
    }
}
