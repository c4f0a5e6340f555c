//! Reject (RFC 7143 §11.17).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, reason: u8, reserved: u8, lengths: U32, reserved2: [u8; 8], tag: U32,
        reserved3: U32, stat_sn: U32, exp_cmd_sn: U32, max_cmd_sn: U32, data_sn: U32,
        reserved4: [u8; 8],
    }
}

/// Reason codes (RFC 7143 §11.17.1).
pub mod reason {
    /// Data (payload) digest error.
    pub const DATA_DIGEST_ERROR: u8 = 0x02;
    /// SNACK reject.
    pub const SNACK_REJECT: u8 = 0x03;
    /// Protocol error.
    pub const PROTOCOL_ERROR: u8 = 0x04;
    /// Command not supported.
    pub const COMMAND_NOT_SUPPORTED: u8 = 0x05;
    /// Immediate command reject: too many immediate commands.
    pub const TOO_MANY_IMMEDIATE: u8 = 0x06;
    /// Task in progress.
    pub const TASK_IN_PROGRESS: u8 = 0x07;
    /// Invalid data acknowledgement.
    pub const INVALID_DATA_ACK: u8 = 0x08;
    /// Invalid PDU field.
    pub const INVALID_PDU_FIELD: u8 = 0x09;
    /// Long operation reject: no resources for the task.
    pub const LONG_OPERATION: u8 = 0x0a;
    /// Waiting for logout.
    pub const WAITING_FOR_LOGOUT: u8 = 0x0c;
}

/// A Reject header; the refused header is its data segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// Reason code (see [`reason`]).
    pub reason: u8,
    /// Data segment in bytes, without padding.
    pub data_segment_length: u32,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN the target expects.
    pub exp_cmd_sn: u32,
    /// Highest CmdSN the target accepts.
    pub max_cmd_sn: u32,
    /// Next DataSN or R2TSN expected, for data digest errors.
    pub data_sn: u32,
}

impl Reject {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        Ok(Self {
            reason: wire.reason,
            data_segment_length: super::data_segment_len(bhs),
            stat_sn: wire.stat_sn.get(),
            exp_cmd_sn: wire.exp_cmd_sn.get(),
            max_cmd_sn: wire.max_cmd_sn.get(),
            data_sn: wire.data_sn.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::REJECT,
            flags: 0x80,
            reason: self.reason,
            reserved: 0,
            lengths: lengths(0, self.data_segment_length),
            reserved2: [0; 8],
            tag: super::RESERVED_TAG.into(),
            reserved3: 0.into(),
            stat_sn: self.stat_sn.into(),
            exp_cmd_sn: self.exp_cmd_sn.into(),
            max_cmd_sn: self.max_cmd_sn.into(),
            data_sn: self.data_sn.into(),
            reserved4: [0; 8],
        }
        .bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parsed_headers_round_trip(head in any::<[u8; 24]>(), tail in any::<[u8; 24]>()) {
            let mut bhs = [0u8; 48];
            bhs[..24].copy_from_slice(&head);
            bhs[24..].copy_from_slice(&tail);
            bhs[0] = opcode::REJECT;
            let parsed = Reject::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(Reject::parse(&value.emit()), Ok(value));
            }
        }
    }
}
