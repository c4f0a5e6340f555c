//! Text Response (RFC 7143 §11.11).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, reserved: [u8; 2], lengths: U32, lun: [u8; 8], itt: U32,
        ttt: U32, stat_sn: U32, exp_cmd_sn: U32, max_cmd_sn: U32, reserved2: [u8; 12],
    }
}

/// A Text Response header; key=value pairs are its data segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextResponse {
    /// F bit.
    pub is_final: bool,
    /// C bit: the text goes on in the next response.
    pub is_continue: bool,
    /// Data segment in bytes, without padding.
    pub data_segment_length: u32,
    /// Logical unit number as sent.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Tag the initiator returns to go on; reserved when final.
    pub ttt: u32,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN the target expects.
    pub exp_cmd_sn: u32,
    /// Highest CmdSN the target accepts.
    pub max_cmd_sn: u32,
}

impl TextResponse {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        Ok(Self {
            is_final: wire.flags & 0x80 != 0,
            is_continue: wire.flags & 0x40 != 0,
            data_segment_length: super::data_segment_len(bhs),
            lun: wire.lun,
            itt: wire.itt.get(),
            ttt: wire.ttt.get(),
            stat_sn: wire.stat_sn.get(),
            exp_cmd_sn: wire.exp_cmd_sn.get(),
            max_cmd_sn: wire.max_cmd_sn.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::TEXT_RESPONSE,
            flags: u8::from(self.is_final) << 7 | u8::from(self.is_continue) << 6,
            reserved: [0; 2],
            lengths: lengths(0, self.data_segment_length),
            lun: self.lun,
            itt: self.itt.into(),
            ttt: self.ttt.into(),
            stat_sn: self.stat_sn.into(),
            exp_cmd_sn: self.exp_cmd_sn.into(),
            max_cmd_sn: self.max_cmd_sn.into(),
            reserved2: [0; 12],
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
            bhs[0] = opcode::TEXT_RESPONSE;
            let parsed = TextResponse::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(TextResponse::parse(&value.emit()), Ok(value));
            }
        }
    }
}
