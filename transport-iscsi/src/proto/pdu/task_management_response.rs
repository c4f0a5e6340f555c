//! Task Management Function Response (RFC 7143 §11.6).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, response: u8, reserved: u8, lengths: U32, reserved2: [u8; 8], itt: U32,
        reserved3: U32, stat_sn: U32, exp_cmd_sn: U32, max_cmd_sn: U32, reserved4: [u8; 12],
    }
}

/// Response codes (RFC 7143 §11.6.1).
pub mod response {
    /// Function complete.
    pub const FUNCTION_COMPLETE: u8 = 0;
    /// Task does not exist.
    pub const TASK_DOES_NOT_EXIST: u8 = 1;
    /// LUN does not exist.
    pub const LUN_DOES_NOT_EXIST: u8 = 2;
    /// Task still allegiant.
    pub const TASK_STILL_ALLEGIANT: u8 = 3;
    /// Task allegiance reassignment not supported.
    pub const REASSIGNMENT_NOT_SUPPORTED: u8 = 4;
    /// Task management function not supported.
    pub const FUNCTION_NOT_SUPPORTED: u8 = 5;
    /// Function authorization failed.
    pub const AUTHORIZATION_FAILED: u8 = 6;
    /// Function rejected.
    pub const FUNCTION_REJECTED: u8 = 255;
}

/// A Task Management Function Response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskManagementResponse {
    /// Response code (see [`response`]).
    pub response: u8,
    /// Initiator task tag.
    pub itt: u32,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN the target expects.
    pub exp_cmd_sn: u32,
    /// Highest CmdSN the target accepts.
    pub max_cmd_sn: u32,
}

impl TaskManagementResponse {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        Ok(Self {
            response: wire.response,
            itt: wire.itt.get(),
            stat_sn: wire.stat_sn.get(),
            exp_cmd_sn: wire.exp_cmd_sn.get(),
            max_cmd_sn: wire.max_cmd_sn.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::TASK_MANAGEMENT_RESPONSE,
            flags: 0x80,
            response: self.response,
            reserved: 0,
            lengths: lengths(0, 0),
            reserved2: [0; 8],
            itt: self.itt.into(),
            reserved3: 0.into(),
            stat_sn: self.stat_sn.into(),
            exp_cmd_sn: self.exp_cmd_sn.into(),
            max_cmd_sn: self.max_cmd_sn.into(),
            reserved4: [0; 12],
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
            bhs[0] = opcode::TASK_MANAGEMENT_RESPONSE;
            let parsed = TaskManagementResponse::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(TaskManagementResponse::parse(&value.emit()), Ok(value));
            }
        }
    }
}
