//! Login: SRP_LOGIN_REQ, SRP_LOGIN_RSP, SRP_LOGIN_REJ (SRP 6.2 to 6.4).
//!
//! An InfiniBand connection manager carries the request as the information unit is. The private data of RDMA/CM has 56
//! bytes, eight less than that: Linux has a form for it, with the same fields in another order.

use zerocopy::FromBytes;
use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U32, U64};

use super::{FormatError, Wire, opcode, wire};
use crate::proto::port::PortId;

/// Data buffer descriptor formats (SRP 6.2, REQUIRED BUFFER FORMATS).
pub mod buffer_format {
    /// Direct: one memory descriptor.
    pub const DIRECT: u16 = 0x02;
    /// Indirect: a table of memory descriptors.
    pub const INDIRECT: u16 = 0x04;
}

wire!(RequestWire, opcode::LOGIN_REQ, 64, {
    kind: u8, reserved: [u8; 7], tag: U64, req_it_iu_len: U32, reserved2: [u8; 4], buffer_formats: U16, flags: u8,
    reserved3: u8, immediate_offset: U16, reserved4: [u8; 2], initiator: [u8; 16], target: [u8; 16],
});

/// The private data of RDMA/CM.
#[derive(
    Clone,
    Copy,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::KnownLayout,
    zerocopy::Immutable,
    zerocopy::Unaligned,
)]
#[repr(C)]
struct RdmaWire {
    tag: U64,
    buffer_formats: U16,
    flags: u8,
    kind: u8,
    req_it_iu_len: U32,
    initiator: [u8; 16],
    target: [u8; 16],
    immediate_offset: U16,
    reserved: [u8; 6],
}
const _: () = assert!(size_of::<RdmaWire>() == 56);

wire!(ResponseWire, opcode::LOGIN_RSP, 52, {
    kind: u8, reserved: [u8; 3], request_limit_delta: U32, tag: U64, max_it_iu_len: U32, max_ti_iu_len: U32,
    buffer_formats: U16, flags: u8, reserved2: [u8; 25],
});

wire!(RejectWire, opcode::LOGIN_REJ, 32, {
    kind: u8, reserved: [u8; 3], reason: U32, tag: U64, reserved2: [u8; 8], buffer_formats: U16, reserved3: [u8; 6],
});

/// How the connection manager carries a login request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginForm {
    /// IB/CM: the information unit, 64 bytes.
    Ib,
    /// RDMA/CM: 56 bytes.
    Rdma,
}

/// MULTI-CHANNEL ACTION: what becomes of the channels that the I_T nexus has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MultiChannelAction {
    /// They are terminated.
    Single,
    /// They go on.
    Multi,
    /// A reserved code.
    Reserved(u8),
}

impl MultiChannelAction {
    fn parse(flags: u8) -> Self {
        match flags & 3 {
            0 => Self::Single,
            1 => Self::Multi,
            code => Self::Reserved(code),
        }
    }

    fn emit(self) -> u8 {
        match self {
            Self::Single => 0,
            Self::Multi => 1,
            Self::Reserved(code) => code & 3,
        }
    }
}

/// SRP_LOGIN_REQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRequest {
    /// TAG.
    pub tag: u64,
    /// REQUESTED MAXIMUM INITIATOR TO TARGET IU LENGTH, in bytes.
    pub req_it_iu_len: u32,
    /// Bits of [`buffer_format`] that the initiator needs; others are kept.
    pub buffer_formats: u16,
    /// What becomes of other channels.
    pub action: MultiChannelAction,
    /// LOSOLNT: target logouts with solicited notification.
    pub logout_solicited: bool,
    /// CRSOLNT: credit requests with solicited notification.
    pub credit_solicited: bool,
    /// AESOLNT: asynchronous events with solicited notification.
    pub event_solicited: bool,
    /// Immediate data is asked for. An extension of the Linux driver, which has no clause.
    pub immediate: bool,
    /// Where immediate data begins in a command, in bytes.
    pub immediate_offset: u16,
    /// Initiator port.
    pub initiator: PortId,
    /// Target port.
    pub target: PortId,
}

const LOSOLNT: u8 = 0x10;
const CRSOLNT: u8 = 0x20;
const AESOLNT: u8 = 0x40;
const IMMEDIATE: u8 = 0x80;

impl LoginRequest {
    /// Parses what a connection manager brought.
    ///
    /// # Errors
    /// [`FormatError::Length`], [`FormatError::Type`].
    pub fn parse(bytes: &[u8], form: LoginForm) -> Result<Self, FormatError> {
        match form {
            LoginForm::Ib => Ok(Self::of_ib(RequestWire::of(bytes)?.0)),
            LoginForm::Rdma => {
                let (wire, _) = RdmaWire::ref_from_prefix(bytes)
                    .map_err(|_| FormatError::Length(bytes.len()))?;
                if wire.kind == opcode::LOGIN_REQ {
                    Ok(Self::of_rdma(wire))
                } else {
                    Err(FormatError::Type(wire.kind))
                }
            }
        }
    }

    fn of_ib(wire: &RequestWire) -> Self {
        Self {
            tag: wire.tag.get(),
            req_it_iu_len: wire.req_it_iu_len.get(),
            buffer_formats: wire.buffer_formats.get(),
            immediate_offset: wire.immediate_offset.get(),
            initiator: PortId(wire.initiator),
            target: PortId(wire.target),
            ..Self::of_flags(wire.flags)
        }
    }

    fn of_rdma(wire: &RdmaWire) -> Self {
        Self {
            tag: wire.tag.get(),
            req_it_iu_len: wire.req_it_iu_len.get(),
            buffer_formats: wire.buffer_formats.get(),
            immediate_offset: wire.immediate_offset.get(),
            initiator: PortId(wire.initiator),
            target: PortId(wire.target),
            ..Self::of_flags(wire.flags)
        }
    }

    fn of_flags(flags: u8) -> Self {
        Self {
            tag: 0,
            req_it_iu_len: 0,
            buffer_formats: 0,
            action: MultiChannelAction::parse(flags),
            logout_solicited: flags & LOSOLNT != 0,
            credit_solicited: flags & CRSOLNT != 0,
            event_solicited: flags & AESOLNT != 0,
            immediate: flags & IMMEDIATE != 0,
            immediate_offset: 0,
            initiator: PortId([0; 16]),
            target: PortId([0; 16]),
        }
    }

    fn flags(&self) -> u8 {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        self.action.emit()
            | bit(self.logout_solicited, LOSOLNT)
            | bit(self.credit_solicited, CRSOLNT)
            | bit(self.event_solicited, AESOLNT)
            | bit(self.immediate, IMMEDIATE)
    }

    /// Appends it in a form.
    pub fn emit(&self, form: LoginForm, out: &mut Vec<u8>) {
        match form {
            LoginForm::Ib => out.extend_from_slice(
                RequestWire {
                    kind: opcode::LOGIN_REQ,
                    reserved: [0; 7],
                    tag: self.tag.into(),
                    req_it_iu_len: self.req_it_iu_len.into(),
                    reserved2: [0; 4],
                    buffer_formats: self.buffer_formats.into(),
                    flags: self.flags(),
                    reserved3: 0,
                    immediate_offset: self.immediate_offset.into(),
                    reserved4: [0; 2],
                    initiator: self.initiator.0,
                    target: self.target.0,
                }
                .as_bytes(),
            ),
            LoginForm::Rdma => out.extend_from_slice(
                RdmaWire {
                    tag: self.tag.into(),
                    buffer_formats: self.buffer_formats.into(),
                    flags: self.flags(),
                    kind: opcode::LOGIN_REQ,
                    req_it_iu_len: self.req_it_iu_len.into(),
                    initiator: self.initiator.0,
                    target: self.target.0,
                    immediate_offset: self.immediate_offset.into(),
                    reserved: [0; 6],
                }
                .as_bytes(),
            ),
        }
    }
}

/// MULTI-CHANNEL RESULT: what became of the channels that the I_T nexus had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MultiChannelResult {
    /// There were none.
    NoChannel,
    /// They were terminated.
    Terminated,
    /// They go on.
    Maintained,
    /// A reserved code.
    Reserved,
}

/// SRP_LOGIN_RSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginResponse {
    /// TAG of the request.
    pub tag: u64,
    /// REQUEST LIMIT DELTA: how many requests the initiator may send at first.
    pub request_limit_delta: u32,
    /// MAXIMUM INITIATOR TO TARGET IU LENGTH, in bytes.
    pub max_it_iu_len: u32,
    /// MAXIMUM TARGET TO INITIATOR IU LENGTH, in bytes.
    pub max_ti_iu_len: u32,
    /// Bits of [`buffer_format`] that the target knows.
    pub buffer_formats: u16,
    /// What became of other channels.
    pub result: MultiChannelResult,
    /// SOLNTSUP: solicited notification is supported.
    pub solicited: bool,
    /// Immediate data is understood.
    pub immediate: bool,
}

const SOLNTSUP: u8 = 0x10;

impl LoginResponse {
    /// Parses it.
    ///
    /// # Errors
    /// [`FormatError::Length`], [`FormatError::Type`].
    pub fn parse(iu: &[u8]) -> Result<Self, FormatError> {
        let (wire, _) = ResponseWire::of(iu)?;
        Ok(Self {
            tag: wire.tag.get(),
            request_limit_delta: wire.request_limit_delta.get(),
            max_it_iu_len: wire.max_it_iu_len.get(),
            max_ti_iu_len: wire.max_ti_iu_len.get(),
            buffer_formats: wire.buffer_formats.get(),
            result: match wire.flags & 3 {
                0 => MultiChannelResult::NoChannel,
                1 => MultiChannelResult::Terminated,
                2 => MultiChannelResult::Maintained,
                _ => MultiChannelResult::Reserved,
            },
            solicited: wire.flags & SOLNTSUP != 0,
            immediate: wire.flags & IMMEDIATE != 0,
        })
    }

    /// Appends it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let result = match self.result {
            MultiChannelResult::NoChannel => 0,
            MultiChannelResult::Terminated => 1,
            MultiChannelResult::Maintained => 2,
            MultiChannelResult::Reserved => 3,
        };
        let solicited = if self.solicited { SOLNTSUP } else { 0 };
        let immediate = if self.immediate { IMMEDIATE } else { 0 };
        out.extend_from_slice(
            ResponseWire {
                kind: opcode::LOGIN_RSP,
                reserved: [0; 3],
                request_limit_delta: self.request_limit_delta.into(),
                tag: self.tag.into(),
                max_it_iu_len: self.max_it_iu_len.into(),
                max_ti_iu_len: self.max_ti_iu_len.into(),
                buffer_formats: self.buffer_formats.into(),
                flags: result | solicited | immediate,
                reserved2: [0; 25],
            }
            .as_bytes(),
        );
    }
}

/// REASON of SRP_LOGIN_REJ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectReason {
    /// No channel can be established, for no reason that has a code.
    Unspecified,
    /// Insufficient RDMA channel resources.
    InsufficientResources,
    /// The requested maximum initiator to target IU length is too large.
    IuLength,
    /// The channel cannot be associated with the specified I_T nexus.
    Association,
    /// A required data buffer descriptor format is not supported.
    DescriptorFormat,
    /// Multiple channels for an I_T nexus are not supported.
    MultiChannel,
    /// The initiator has as many channels as it may.
    ChannelLimit,
    /// Another code.
    Other(u32),
}

impl RejectReason {
    /// The code.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Unspecified => 0x0001_0000,
            Self::InsufficientResources => 0x0001_0001,
            Self::IuLength => 0x0001_0002,
            Self::Association => 0x0001_0003,
            Self::DescriptorFormat => 0x0001_0004,
            Self::MultiChannel => 0x0001_0005,
            Self::ChannelLimit => 0x0001_0006,
            Self::Other(code) => code,
        }
    }

    /// The reason with this code.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code {
            0x0001_0000 => Self::Unspecified,
            0x0001_0001 => Self::InsufficientResources,
            0x0001_0002 => Self::IuLength,
            0x0001_0003 => Self::Association,
            0x0001_0004 => Self::DescriptorFormat,
            0x0001_0005 => Self::MultiChannel,
            0x0001_0006 => Self::ChannelLimit,
            code => Self::Other(code),
        }
    }
}

/// SRP_LOGIN_REJ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginReject {
    /// TAG of the request.
    pub tag: u64,
    /// Why.
    pub reason: RejectReason,
    /// Bits of [`buffer_format`] that the target knows.
    pub buffer_formats: u16,
}

impl LoginReject {
    /// Parses it.
    ///
    /// # Errors
    /// [`FormatError::Length`], [`FormatError::Type`].
    pub fn parse(iu: &[u8]) -> Result<Self, FormatError> {
        let (wire, _) = RejectWire::of(iu)?;
        Ok(Self {
            tag: wire.tag.get(),
            reason: RejectReason::from_code(wire.reason.get()),
            buffer_formats: wire.buffer_formats.get(),
        })
    }

    /// Appends it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            RejectWire {
                kind: opcode::LOGIN_REJ,
                reserved: [0; 3],
                reason: self.reason.code().into(),
                tag: self.tag.into(),
                reserved2: [0; 8],
                buffer_formats: self.buffer_formats.into(),
                reserved3: [0; 6],
            }
            .as_bytes(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel's ib_srp was seen to send over RDMA/CM.
    #[test]
    fn the_private_data_of_the_linux_initiator_is_read() {
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 7, 0, 6, 0x80, 0, 0, 0, 0x20, 0x44];
        bytes.extend([
            0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0x77, 0, 1,
        ]);
        bytes.extend([
            1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x54, 0, 0xff, 0xfe, 0x77, 0, 2,
        ]);
        bytes.extend([0, 0x44, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes.len(), 56);
        let login = LoginRequest::parse(&bytes, LoginForm::Rdma).unwrap();
        assert_eq!(login.tag, 7);
        assert_eq!(login.req_it_iu_len, 0x2044);
        assert_eq!(login.buffer_formats, 6);
        assert_eq!(login.action, MultiChannelAction::Single);
        assert!(login.immediate && !login.logout_solicited);
        assert_eq!(login.immediate_offset, 0x44);
        assert_eq!(
            login.initiator.to_string(),
            "0000:0000:0000:0000:5054:00ff:fe77:0001"
        );
        assert_eq!(login.target.guid(), 0x5054_00ff_fe77_0002);
        let mut again = Vec::new();
        login.emit(LoginForm::Rdma, &mut again);
        assert_eq!(again, bytes);
    }

    proptest! {
        #[test]
        fn login_requests_come_back_from_both_forms(bytes in any::<[u8; 64]>()) {
            for (form, len, kind) in [(LoginForm::Ib, 64, 0), (LoginForm::Rdma, 56, 11)] {
                let mut bytes = bytes;
                bytes[kind] = opcode::LOGIN_REQ;
                let login = LoginRequest::parse(&bytes, form).unwrap();
                let mut out = Vec::new();
                login.emit(form, &mut out);
                prop_assert_eq!(out.len(), len);
                prop_assert_eq!(LoginRequest::parse(&out, form), Ok(login));
                prop_assert_eq!(
                    LoginRequest::parse(&bytes[..len - 1], form),
                    Err(FormatError::Length(len - 1))
                );
                bytes[kind] = 2;
                prop_assert_eq!(LoginRequest::parse(&bytes, form), Err(FormatError::Type(2)));
            }
        }

        #[test]
        fn answers_to_logins_come_back(bytes in any::<[u8; 52]>()) {
            let mut bytes = bytes;
            bytes[0] = opcode::LOGIN_RSP;
            let response = LoginResponse::parse(&bytes).unwrap();
            let mut out = Vec::new();
            response.emit(&mut out);
            prop_assert_eq!(LoginResponse::parse(&out), Ok(response));
            bytes[0] = opcode::LOGIN_REJ;
            let reject = LoginReject::parse(&bytes).unwrap();
            let mut out = Vec::new();
            reject.emit(&mut out);
            prop_assert_eq!(out.len(), 32);
            prop_assert_eq!(LoginReject::parse(&out), Ok(reject));
        }
    }

    #[test]
    fn every_reason_has_its_code() {
        for code in 0x0000_ffff..0x0001_0010 {
            assert_eq!(RejectReason::from_code(code).code(), code);
        }
    }
}
