//! Task Management Function Request (RFC 7143 §11.5).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, function: u8, reserved: [u8; 2], lengths: U32, lun: [u8; 8], itt: U32,
        referenced_task_tag: U32, cmd_sn: U32, exp_stat_sn: U32, ref_cmd_sn: U32, exp_data_sn: U32,
        reserved2: [u8; 8],
    }
}

/// Function codes (RFC 7143 §11.5.1; 8..=11 from RFC 7144 §4.2.1).
pub mod function {
    /// ABORT TASK.
    pub const ABORT_TASK: u8 = 1;
    /// ABORT TASK SET.
    pub const ABORT_TASK_SET: u8 = 2;
    /// CLEAR ACA.
    pub const CLEAR_ACA: u8 = 3;
    /// CLEAR TASK SET.
    pub const CLEAR_TASK_SET: u8 = 4;
    /// LOGICAL UNIT RESET.
    pub const LOGICAL_UNIT_RESET: u8 = 5;
    /// TARGET WARM RESET.
    pub const TARGET_WARM_RESET: u8 = 6;
    /// TARGET COLD RESET.
    pub const TARGET_COLD_RESET: u8 = 7;
    /// TASK REASSIGN.
    pub const TASK_REASSIGN: u8 = 8;
    /// QUERY TASK (needs iSCSIProtocolLevel 2).
    pub const QUERY_TASK: u8 = 9;
    /// QUERY TASK SET (needs iSCSIProtocolLevel 2).
    pub const QUERY_TASK_SET: u8 = 10;
    /// I_T NEXUS RESET (needs iSCSIProtocolLevel 2).
    pub const I_T_NEXUS_RESET: u8 = 11;
    /// QUERY ASYNCHRONOUS EVENT (needs iSCSIProtocolLevel 2).
    pub const QUERY_ASYNC_EVENT: u8 = 12;
}

/// A Task Management Function Request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskManagementRequest {
    /// Immediate delivery: does not take a CmdSN.
    pub immediate: bool,
    /// Function code, unknown ones kept (see [`function`]).
    pub function: u8,
    /// Logical unit number as sent.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Tag of the task to abort or reassign.
    pub referenced_task_tag: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN the initiator expects.
    pub exp_stat_sn: u32,
    /// CmdSN of the task to abort.
    pub ref_cmd_sn: u32,
    /// Next DataSN expected after a reassignment.
    pub exp_data_sn: u32,
}

impl TaskManagementRequest {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        Ok(Self {
            immediate: wire.opcode & 0x40 != 0,
            function: wire.function & 0x7f,
            lun: wire.lun,
            itt: wire.itt.get(),
            referenced_task_tag: wire.referenced_task_tag.get(),
            cmd_sn: wire.cmd_sn.get(),
            exp_stat_sn: wire.exp_stat_sn.get(),
            ref_cmd_sn: wire.ref_cmd_sn.get(),
            exp_data_sn: wire.exp_data_sn.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::TASK_MANAGEMENT_REQUEST | u8::from(self.immediate) << 6,
            function: 0x80 | self.function & 0x7f,
            reserved: [0; 2],
            lengths: lengths(0, 0),
            lun: self.lun,
            itt: self.itt.into(),
            referenced_task_tag: self.referenced_task_tag.into(),
            cmd_sn: self.cmd_sn.into(),
            exp_stat_sn: self.exp_stat_sn.into(),
            ref_cmd_sn: self.ref_cmd_sn.into(),
            exp_data_sn: self.exp_data_sn.into(),
            reserved2: [0; 8],
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
            bhs[0] = bhs[0] & 0x40 | opcode::TASK_MANAGEMENT_REQUEST;
            let parsed = TaskManagementRequest::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(TaskManagementRequest::parse(&value.emit()), Ok(value));
            }
        }
    }
}
