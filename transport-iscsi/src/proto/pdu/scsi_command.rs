//! SCSI Command (RFC 7143 §11.3).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of a SCSI Command.
    struct Wire {
        opcode: u8, flags: u8, reserved: [u8; 2], lengths: U32, lun: [u8; 8], itt: U32,
        edtl: U32, cmd_sn: U32, exp_stat_sn: U32, cdb: [u8; 16],
    }
}

/// Task attribute (RFC 7143 §11.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskAttribute {
    /// Untagged: treated as SIMPLE.
    #[default]
    Untagged,
    /// SIMPLE.
    Simple,
    /// ORDERED.
    Ordered,
    /// HEAD OF QUEUE.
    HeadOfQueue,
    /// ACA.
    Aca,
}

/// A SCSI Command header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScsiCommand {
    /// Immediate delivery: does not take a CmdSN.
    pub immediate: bool,
    /// F bit: no unsolicited Data-Out follows.
    pub is_final: bool,
    /// R bit: data-in expected.
    pub read: bool,
    /// W bit: data-out expected.
    pub write: bool,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// TotalAHSLength in 4-byte words.
    pub ahs_words: u8,
    /// Immediate data in bytes.
    pub data_segment_length: u32,
    /// Logical unit number as sent.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Expected Data Transfer Length in bytes.
    pub expected_data_transfer_length: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN the initiator expects.
    pub exp_stat_sn: u32,
    /// First 16 bytes of the CDB.
    pub cdb: [u8; 16],
}

impl ScsiCommand {
    /// Parses the header.
    ///
    /// # Errors
    /// [`FormatError::Field`] for a reserved task attribute, for F and W both 0, and for an
    /// expected length without a direction (RFC 7143 §11.3.1).
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        let attribute = match wire.flags & 7 {
            0 => TaskAttribute::Untagged,
            1 => TaskAttribute::Simple,
            2 => TaskAttribute::Ordered,
            3 => TaskAttribute::HeadOfQueue,
            4 => TaskAttribute::Aca,
            _ => return Err(FormatError::Field("ATTR")),
        };
        let command = Self {
            immediate: wire.opcode & 0x40 != 0,
            is_final: wire.flags & 0x80 != 0,
            read: wire.flags & 0x40 != 0,
            write: wire.flags & 0x20 != 0,
            attribute,
            ahs_words: super::ahs_len(bhs).div_euclid(4) as u8,
            data_segment_length: super::data_segment_len(bhs),
            lun: wire.lun,
            itt: wire.itt.get(),
            expected_data_transfer_length: wire.edtl.get(),
            cmd_sn: wire.cmd_sn.get(),
            exp_stat_sn: wire.exp_stat_sn.get(),
            cdb: wire.cdb,
        };
        if !command.is_final && !command.write {
            return Err(FormatError::Field("F and W"));
        }
        if !command.read && !command.write && command.expected_data_transfer_length != 0 {
            return Err(FormatError::Field("R and W"));
        }
        Ok(command)
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        let attribute = match self.attribute {
            TaskAttribute::Untagged => 0,
            TaskAttribute::Simple => 1,
            TaskAttribute::Ordered => 2,
            TaskAttribute::HeadOfQueue => 3,
            TaskAttribute::Aca => 4,
        };
        Wire {
            opcode: opcode::SCSI_COMMAND | u8::from(self.immediate) << 6,
            flags: u8::from(self.is_final) << 7
                | u8::from(self.read) << 6
                | u8::from(self.write) << 5
                | attribute,
            reserved: [0; 2],
            lengths: lengths(self.ahs_words, self.data_segment_length),
            lun: self.lun,
            itt: self.itt.into(),
            edtl: self.expected_data_transfer_length.into(),
            cmd_sn: self.cmd_sn.into(),
            exp_stat_sn: self.exp_stat_sn.into(),
            cdb: self.cdb,
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
        fn parsed_headers_round_trip(mut bhs in any::<[u8; 24]>(), tail in any::<[u8; 24]>()) {
            bhs[0] = bhs[0] & 0x40 | opcode::SCSI_COMMAND;
            let mut whole = [0u8; 48];
            whole[..24].copy_from_slice(&bhs);
            whole[24..].copy_from_slice(&tail);
            if let Ok(command) = ScsiCommand::parse(&whole) {
                prop_assert_eq!(ScsiCommand::parse(&command.emit()), Ok(command));
            }
        }
    }

    #[test]
    fn bytes_of_a_read_10_parse() {
        let mut bhs = [0u8; 48];
        bhs[..8].copy_from_slice(&[0x01, 0xc1, 0, 0, 0, 0, 0, 0]);
        bhs[9] = 3;
        bhs[16..24].copy_from_slice(&[0, 0, 0, 7, 0, 0, 0x10, 0]);
        bhs[24..32].copy_from_slice(&[0, 0, 0, 9, 0, 0, 0, 5]);
        bhs[32] = 0x28;
        let command = ScsiCommand::parse(&bhs).expect("legal");
        assert!(command.read && !command.write && command.is_final && !command.immediate);
        assert_eq!(command.attribute, TaskAttribute::Simple);
        assert_eq!(
            (command.itt, command.expected_data_transfer_length),
            (7, 4096)
        );
        assert_eq!(
            (command.cmd_sn, command.exp_stat_sn, command.cdb[0]),
            (9, 5, 0x28)
        );
        assert_eq!(command.emit(), bhs);
    }

    #[test]
    fn n24_direction_bits_that_contradict_the_length_are_refused() {
        let mut bhs = [0u8; 48];
        bhs[0] = 1;
        bhs[1] = 0x80;
        bhs[23] = 1;
        assert_eq!(ScsiCommand::parse(&bhs), Err(FormatError::Field("R and W")));
        bhs[1] = 0x40;
        assert_eq!(ScsiCommand::parse(&bhs), Err(FormatError::Field("F and W")));
    }
}
