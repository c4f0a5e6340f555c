//! SCSI Data-In (RFC 7143 §11.7).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, reserved: u8, status: u8, lengths: U32, lun: [u8; 8], itt: U32,
        ttt: U32, stat_sn: U32, exp_cmd_sn: U32, max_cmd_sn: U32, data_sn: U32,
        buffer_offset: U32, residual: U32,
    }
}

use super::scsi_response::Residual;

/// A SCSI Data-In header, with the status in the last one when it collapses the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataIn {
    /// F bit: last PDU of its sequence.
    pub is_final: bool,
    /// S bit: the status and residual of the finished command.
    pub status: Option<(u8, Residual)>,
    /// Data segment in bytes, without padding.
    pub data_segment_length: u32,
    /// Logical unit number as sent.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// The reserved tag below ErrorRecoveryLevel 1.
    pub ttt: u32,
    /// Status sequence number; 0 without status.
    pub stat_sn: u32,
    /// Next CmdSN the target expects.
    pub exp_cmd_sn: u32,
    /// Highest CmdSN the target accepts.
    pub max_cmd_sn: u32,
    /// Number of the PDU within the command.
    pub data_sn: u32,
    /// Offset in the command's data in bytes.
    pub buffer_offset: u32,
}

impl DataIn {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        let status = (wire.flags & 1 != 0).then(|| {
            (
                wire.status,
                Residual::of(wire.flags >> 1, wire.residual.get()),
            )
        });
        Ok(Self {
            is_final: wire.flags & 0x80 != 0,
            status,
            data_segment_length: super::data_segment_len(bhs),
            lun: wire.lun,
            itt: wire.itt.get(),
            ttt: wire.ttt.get(),
            stat_sn: wire.stat_sn.get(),
            exp_cmd_sn: wire.exp_cmd_sn.get(),
            max_cmd_sn: wire.max_cmd_sn.get(),
            data_sn: wire.data_sn.get(),
            buffer_offset: wire.buffer_offset.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::DATA_IN,
            flags: u8::from(self.is_final) << 7
                | self
                    .status
                    .map_or(0, |(_, residual)| residual.bits() << 1 | 1),
            reserved: 0,
            status: self.status.map_or(0, |(status, _)| status),
            lengths: lengths(0, self.data_segment_length),
            lun: self.lun,
            itt: self.itt.into(),
            ttt: self.ttt.into(),
            stat_sn: self.stat_sn.into(),
            exp_cmd_sn: self.exp_cmd_sn.into(),
            max_cmd_sn: self.max_cmd_sn.into(),
            data_sn: self.data_sn.into(),
            buffer_offset: self.buffer_offset.into(),
            residual: self
                .status
                .map_or(0, |(_, residual)| residual.count())
                .into(),
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
            bhs[0] = opcode::DATA_IN;
            let parsed = DataIn::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(DataIn::parse(&value.emit()), Ok(value));
            }
        }
    }
}
