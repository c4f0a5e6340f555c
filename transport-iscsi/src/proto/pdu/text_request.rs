//! Text Request (RFC 7143 §11.10).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, reserved: [u8; 2], lengths: U32, lun: [u8; 8], itt: U32,
        ttt: U32, cmd_sn: U32, exp_stat_sn: U32, reserved2: [u8; 16],
    }
}

/// A Text Request header; key=value pairs are its data segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextRequest {
    /// Immediate delivery: does not take a CmdSN.
    pub immediate: bool,
    /// F bit.
    pub is_final: bool,
    /// C bit: the text goes on in the next request.
    pub is_continue: bool,
    /// Data segment in bytes, without padding.
    pub data_segment_length: u32,
    /// Logical unit number as sent.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Tag of the exchange being continued, else the reserved tag.
    pub ttt: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN the initiator expects.
    pub exp_stat_sn: u32,
}

impl TextRequest {
    /// Parses the header.
    ///
    /// # Errors
    /// [`FormatError::Field`] when F and C are both set.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        if wire.flags & 0xc0 == 0xc0 {
            return Err(FormatError::Field("F and C"));
        }
        Ok(Self {
            immediate: wire.opcode & 0x40 != 0,
            is_final: wire.flags & 0x80 != 0,
            is_continue: wire.flags & 0x40 != 0,
            data_segment_length: super::data_segment_len(bhs),
            lun: wire.lun,
            itt: wire.itt.get(),
            ttt: wire.ttt.get(),
            cmd_sn: wire.cmd_sn.get(),
            exp_stat_sn: wire.exp_stat_sn.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::TEXT_REQUEST | u8::from(self.immediate) << 6,
            flags: u8::from(self.is_final) << 7 | u8::from(self.is_continue) << 6,
            reserved: [0; 2],
            lengths: lengths(0, self.data_segment_length),
            lun: self.lun,
            itt: self.itt.into(),
            ttt: self.ttt.into(),
            cmd_sn: self.cmd_sn.into(),
            exp_stat_sn: self.exp_stat_sn.into(),
            reserved2: [0; 16],
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
            bhs[0] = bhs[0] & 0x40 | opcode::TEXT_REQUEST;
            let parsed = TextRequest::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(TextRequest::parse(&value.emit()), Ok(value));
            }
        }
    }
}
