//! Logout: SRP_I_LOGOUT and SRP_T_LOGOUT (SRP 6.5, 6.6). Neither has a response; the channel is disconnected.

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U32, U64};

use super::{FormatError, SOLNT, Wire, opcode, wire};

wire!(InitiatorWire, opcode::I_LOGOUT, 16, { kind: u8, reserved: [u8; 7], tag: U64 });
wire!(TargetWire, opcode::T_LOGOUT, 16, {
    kind: u8, solicited: u8, reserved: [u8; 2], reason: U32, tag: U64,
});

/// SRP_I_LOGOUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitiatorLogout {
    /// TAG.
    pub tag: u64,
}

impl InitiatorLogout {
    /// Parses it.
    ///
    /// # Errors
    /// [`FormatError::Length`], [`FormatError::Type`].
    pub fn parse(iu: &[u8]) -> Result<Self, FormatError> {
        let (wire, _) = InitiatorWire::of(iu)?;
        Ok(Self {
            tag: wire.tag.get(),
        })
    }

    /// Appends it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let wire = InitiatorWire {
            kind: opcode::I_LOGOUT,
            reserved: [0; 7],
            tag: self.tag.into(),
        };
        out.extend_from_slice(wire.as_bytes());
    }
}

/// REASON of SRP_T_LOGOUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogoutReason {
    /// None is given.
    Unspecified,
    /// The channel is inactive, and its resources are wanted.
    Inactive,
    /// An information unit had a type that a target is not sent.
    Type,
    /// A response came that answers nothing.
    SpuriousResponse,
    /// A new login terminates the channel by its MULTI-CHANNEL ACTION.
    MultiChannelAction,
    /// DATA-OUT BUFFER DESCRIPTOR FORMAT had a value that is not supported.
    DataOutFormat,
    /// DATA-IN BUFFER DESCRIPTOR FORMAT had a value that is not supported.
    DataInFormat,
    /// An information unit had another length than its type.
    Length,
    /// Another code.
    Other(u32),
}

impl LogoutReason {
    /// The code.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Unspecified => 0,
            Self::Inactive => 1,
            Self::Type => 2,
            Self::SpuriousResponse => 3,
            Self::MultiChannelAction => 4,
            Self::DataOutFormat => 5,
            Self::DataInFormat => 6,
            Self::Length => 8,
            Self::Other(code) => code,
        }
    }

    /// The reason with this code.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Unspecified,
            1 => Self::Inactive,
            2 => Self::Type,
            3 => Self::SpuriousResponse,
            4 => Self::MultiChannelAction,
            5 => Self::DataOutFormat,
            6 => Self::DataInFormat,
            8 => Self::Length,
            code => Self::Other(code),
        }
    }
}

/// SRP_T_LOGOUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetLogout {
    /// TAG.
    pub tag: u64,
    /// SOLNT.
    pub solicited: bool,
    /// Why.
    pub reason: LogoutReason,
}

impl TargetLogout {
    /// Parses it.
    ///
    /// # Errors
    /// [`FormatError::Length`], [`FormatError::Type`].
    pub fn parse(iu: &[u8]) -> Result<Self, FormatError> {
        let (wire, _) = TargetWire::of(iu)?;
        Ok(Self {
            tag: wire.tag.get(),
            solicited: wire.solicited & SOLNT != 0,
            reason: LogoutReason::from_code(wire.reason.get()),
        })
    }

    /// Appends it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let wire = TargetWire {
            kind: opcode::T_LOGOUT,
            solicited: u8::from(self.solicited),
            reserved: [0; 2],
            reason: self.reason.code().into(),
            tag: self.tag.into(),
        };
        out.extend_from_slice(wire.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn logouts_come_back(bytes in any::<[u8; 16]>(), low in 0u8..12) {
            let mut bytes = bytes;
            bytes[0] = opcode::I_LOGOUT;
            let logout = InitiatorLogout::parse(&bytes).unwrap();
            let mut out = Vec::new();
            logout.emit(&mut out);
            prop_assert_eq!(InitiatorLogout::parse(&out), Ok(logout));
            for reason in [bytes[4], 0] {
                bytes[..8].copy_from_slice(&[opcode::T_LOGOUT, low, 0, 0, reason, 0, 0, low]);
                let logout = TargetLogout::parse(&bytes).unwrap();
                let mut out = Vec::new();
                logout.emit(&mut out);
                prop_assert_eq!(TargetLogout::parse(&out), Ok(logout));
                prop_assert_eq!(&out[4..], &bytes[4..]);
            }
        }
    }
}
