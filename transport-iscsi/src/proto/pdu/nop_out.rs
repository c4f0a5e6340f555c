//! NOP-Out (RFC 7143 §11.18).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, reserved: [u8; 2], lengths: U32, lun: [u8; 8], itt: U32,
        ttt: U32, cmd_sn: U32, exp_stat_sn: U32, reserved2: [u8; 16],
    }
}

/// A NOP-Out header: a ping, or the answer to our NOP-In.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NopOut {
    /// Immediate delivery: does not take a CmdSN.
    pub immediate: bool,
    /// Data segment in bytes, without padding.
    pub data_segment_length: u32,
    /// Logical unit number as sent.
    pub lun: [u8; 8],
    /// Initiator task tag; the reserved tag when no answer is wanted.
    pub itt: u32,
    /// Target transfer tag copied from our NOP-In, else the reserved tag.
    pub ttt: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN the initiator expects.
    pub exp_stat_sn: u32,
}

impl NopOut {
    /// Parses the header.
    ///
    /// # Errors
    /// [`FormatError::Field`] when the tag is reserved and the PDU is not immediate.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        let immediate = wire.opcode & 0x40 != 0;
        if wire.itt.get() == super::RESERVED_TAG && !immediate {
            return Err(FormatError::Field("I"));
        }
        Ok(Self {
            immediate,
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
            opcode: opcode::NOP_OUT | u8::from(self.immediate) << 6,
            flags: 0x80,
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
            bhs[0] = bhs[0] & 0x40 | opcode::NOP_OUT;
            let parsed = NopOut::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(NopOut::parse(&value.emit()), Ok(value));
            }
        }
    }
}
