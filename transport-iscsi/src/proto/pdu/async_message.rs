//! Asynchronous Message (RFC 7143 §11.9).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::{U16, U32};

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, reserved: [u8; 2], lengths: U32, lun: [u8; 8], tag: U32,
        reserved2: U32, stat_sn: U32, exp_cmd_sn: U32, max_cmd_sn: U32, event: u8, vendor_code: u8,
        parameter1: U16, parameter2: U16, parameter3: U16, reserved3: U32,
    }
}

/// Event codes (RFC 7143 §11.9.1).
pub mod event {
    /// SCSI asynchronous event, sense data in the data segment.
    pub const SCSI: u8 = 0;
    /// Target requests a logout within Parameter3 seconds.
    pub const LOGOUT_REQUEST: u8 = 1;
    /// Target will drop this connection.
    pub const DROP_CONNECTION: u8 = 2;
    /// Target will drop all connections of the session.
    pub const DROP_SESSION: u8 = 3;
    /// Target requests parameter negotiation.
    pub const NEGOTIATE: u8 = 4;
}

/// An Asynchronous Message header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsyncMessage {
    /// Data segment in bytes, without padding.
    pub data_segment_length: u32,
    /// Logical unit number as sent.
    pub lun: [u8; 8],
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN the target expects.
    pub exp_cmd_sn: u32,
    /// Highest CmdSN the target accepts.
    pub max_cmd_sn: u32,
    /// Event code (see [`event`]).
    pub event: u8,
    /// Code of a vendor event.
    pub vendor_code: u8,
    /// First parameter of the event.
    pub parameter1: u16,
    /// Second parameter of the event, seconds.
    pub parameter2: u16,
    /// Third parameter of the event, seconds.
    pub parameter3: u16,
}

impl AsyncMessage {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        Ok(Self {
            data_segment_length: super::data_segment_len(bhs),
            lun: wire.lun,
            stat_sn: wire.stat_sn.get(),
            exp_cmd_sn: wire.exp_cmd_sn.get(),
            max_cmd_sn: wire.max_cmd_sn.get(),
            event: wire.event,
            vendor_code: wire.vendor_code,
            parameter1: wire.parameter1.get(),
            parameter2: wire.parameter2.get(),
            parameter3: wire.parameter3.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::ASYNC_MESSAGE,
            flags: 0x80,
            reserved: [0; 2],
            lengths: lengths(0, self.data_segment_length),
            lun: self.lun,
            tag: super::RESERVED_TAG.into(),
            reserved2: 0.into(),
            stat_sn: self.stat_sn.into(),
            exp_cmd_sn: self.exp_cmd_sn.into(),
            max_cmd_sn: self.max_cmd_sn.into(),
            event: self.event,
            vendor_code: self.vendor_code,
            parameter1: self.parameter1.into(),
            parameter2: self.parameter2.into(),
            parameter3: self.parameter3.into(),
            reserved3: 0.into(),
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
            bhs[0] = opcode::ASYNC_MESSAGE;
            let parsed = AsyncMessage::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(AsyncMessage::parse(&value.emit()), Ok(value));
            }
        }
    }
}
