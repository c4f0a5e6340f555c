//! Logout Request (RFC 7143 §11.14).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::{U16, U32};

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, reason: u8, reserved: [u8; 2], lengths: U32, reserved2: [u8; 8], itt: U32,
        cid: U16, reserved3: U16, cmd_sn: U32, exp_stat_sn: U32, reserved4: [u8; 16],
    }
}

/// A Logout Request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogoutRequest {
    /// Immediate delivery: does not take a CmdSN.
    pub immediate: bool,
    /// 0 close the session, 1 close the connection, 2 remove it for recovery.
    pub reason: u8,
    /// Initiator task tag.
    pub itt: u32,
    /// Connection to close, for the reasons 1 and 2.
    pub cid: u16,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN the initiator expects.
    pub exp_stat_sn: u32,
}

impl LogoutRequest {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        Ok(Self {
            immediate: wire.opcode & 0x40 != 0,
            reason: wire.reason & 0x7f,
            itt: wire.itt.get(),
            cid: wire.cid.get(),
            cmd_sn: wire.cmd_sn.get(),
            exp_stat_sn: wire.exp_stat_sn.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::LOGOUT_REQUEST | u8::from(self.immediate) << 6,
            reason: 0x80 | self.reason & 0x7f,
            reserved: [0; 2],
            lengths: lengths(0, 0),
            reserved2: [0; 8],
            itt: self.itt.into(),
            cid: self.cid.into(),
            reserved3: 0.into(),
            cmd_sn: self.cmd_sn.into(),
            exp_stat_sn: self.exp_stat_sn.into(),
            reserved4: [0; 16],
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
            bhs[0] = bhs[0] & 0x40 | opcode::LOGOUT_REQUEST;
            let parsed = LogoutRequest::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(LogoutRequest::parse(&value.emit()), Ok(value));
            }
        }
    }
}
