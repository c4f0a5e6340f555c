//! Logout Response (RFC 7143 §11.15).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::{U16, U32};

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, response: u8, reserved: u8, lengths: U32, reserved2: [u8; 8], itt: U32,
        reserved3: U32, stat_sn: U32, exp_cmd_sn: U32, max_cmd_sn: U32, reserved4: U32,
        time2wait: U16, time2retain: U16, reserved5: U32,
    }
}

/// A Logout Response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogoutResponse {
    /// 0 closed, 1 CID not found, 2 recovery not supported, 3 cleanup failed.
    pub response: u8,
    /// Initiator task tag.
    pub itt: u32,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN the target expects.
    pub exp_cmd_sn: u32,
    /// Highest CmdSN the target accepts.
    pub max_cmd_sn: u32,
    /// Seconds to wait before reconnecting.
    pub time2wait: u16,
    /// Seconds that tasks stay reassignable.
    pub time2retain: u16,
}

impl LogoutResponse {
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
            time2wait: wire.time2wait.get(),
            time2retain: wire.time2retain.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::LOGOUT_RESPONSE,
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
            reserved4: 0.into(),
            time2wait: self.time2wait.into(),
            time2retain: self.time2retain.into(),
            reserved5: 0.into(),
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
            bhs[0] = opcode::LOGOUT_RESPONSE;
            let parsed = LogoutResponse::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(LogoutResponse::parse(&value.emit()), Ok(value));
            }
        }
    }
}
