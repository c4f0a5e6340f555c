//! Ready To Transfer (RFC 7143 §11.8).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, reserved: [u8; 2], lengths: U32, lun: [u8; 8], itt: U32,
        ttt: U32, stat_sn: U32, exp_cmd_sn: U32, max_cmd_sn: U32, r2t_sn: U32,
        buffer_offset: U32, desired_data_transfer_length: U32,
    }
}

/// An R2T: asks for one burst of Data-Out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct R2t {
    /// Logical unit number as sent.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Target transfer tag.
    pub ttt: u32,
    /// Next StatSN; an R2T does not take it.
    pub stat_sn: u32,
    /// Next CmdSN the target expects.
    pub exp_cmd_sn: u32,
    /// Highest CmdSN the target accepts.
    pub max_cmd_sn: u32,
    /// Number of the R2T within the command.
    pub r2t_sn: u32,
    /// Offset of the burst in bytes.
    pub buffer_offset: u32,
    /// Length of the burst in bytes, never 0.
    pub desired_data_transfer_length: u32,
}

impl R2t {
    /// Parses the header.
    ///
    /// # Errors
    /// [`FormatError::Field`] for a length of 0.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        if wire.desired_data_transfer_length.get() == 0 {
            return Err(FormatError::Field("Desired Data Transfer Length"));
        }
        Ok(Self {
            lun: wire.lun,
            itt: wire.itt.get(),
            ttt: wire.ttt.get(),
            stat_sn: wire.stat_sn.get(),
            exp_cmd_sn: wire.exp_cmd_sn.get(),
            max_cmd_sn: wire.max_cmd_sn.get(),
            r2t_sn: wire.r2t_sn.get(),
            buffer_offset: wire.buffer_offset.get(),
            desired_data_transfer_length: wire.desired_data_transfer_length.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::R2T,
            flags: 0x80,
            reserved: [0; 2],
            lengths: lengths(0, 0),
            lun: self.lun,
            itt: self.itt.into(),
            ttt: self.ttt.into(),
            stat_sn: self.stat_sn.into(),
            exp_cmd_sn: self.exp_cmd_sn.into(),
            max_cmd_sn: self.max_cmd_sn.into(),
            r2t_sn: self.r2t_sn.into(),
            buffer_offset: self.buffer_offset.into(),
            desired_data_transfer_length: self.desired_data_transfer_length.into(),
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
            bhs[0] = opcode::R2T;
            let parsed = R2t::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(R2t::parse(&value.emit()), Ok(value));
            }
        }
    }
}
