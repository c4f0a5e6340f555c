//! SCSI Data-Out (RFC 7143 §11.7).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, reserved: [u8; 2], lengths: U32, lun: [u8; 8], itt: U32,
        ttt: U32, reserved2: U32, exp_stat_sn: U32, reserved3: U32, data_sn: U32,
        buffer_offset: U32, reserved4: U32,
    }
}

/// A SCSI Data-Out header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataOut {
    /// F bit: last PDU of its sequence.
    pub is_final: bool,
    /// Data segment in bytes, without padding.
    pub data_segment_length: u32,
    /// Logical unit number as sent.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Tag of the R2T answered; the reserved tag for unsolicited data.
    pub ttt: u32,
    /// Next StatSN the initiator expects.
    pub exp_stat_sn: u32,
    /// Number of the PDU in its sequence.
    pub data_sn: u32,
    /// Offset in the command's data in bytes.
    pub buffer_offset: u32,
}

impl DataOut {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        Ok(Self {
            is_final: wire.flags & 0x80 != 0,
            data_segment_length: super::data_segment_len(bhs),
            lun: wire.lun,
            itt: wire.itt.get(),
            ttt: wire.ttt.get(),
            exp_stat_sn: wire.exp_stat_sn.get(),
            data_sn: wire.data_sn.get(),
            buffer_offset: wire.buffer_offset.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::DATA_OUT,
            flags: u8::from(self.is_final) << 7,
            reserved: [0; 2],
            lengths: lengths(0, self.data_segment_length),
            lun: self.lun,
            itt: self.itt.into(),
            ttt: self.ttt.into(),
            reserved2: 0.into(),
            exp_stat_sn: self.exp_stat_sn.into(),
            reserved3: 0.into(),
            data_sn: self.data_sn.into(),
            buffer_offset: self.buffer_offset.into(),
            reserved4: 0.into(),
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
            bhs[0] = opcode::DATA_OUT;
            let parsed = DataOut::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(DataOut::parse(&value.emit()), Ok(value));
            }
        }
    }
}
