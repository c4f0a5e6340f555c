//! Task management: SRP_TSK_MGMT (SRP 6.7). It is answered by SRP_RSP with response data.

use zerocopy::IntoBytes;
use zerocopy::big_endian::U64;

use super::{FormatError, Solicited, Wire, opcode, wire};

wire!(TaskWire, opcode::TSK_MGMT, 48, {
    kind: u8, solicited: u8, reserved: [u8; 6], tag: U64, reserved2: [u8; 4], lun: [u8; 8], reserved3: [u8; 2],
    function: u8, reserved4: u8, managed: U64, reserved5: [u8; 8],
});

/// TASK MANAGEMENT FUNCTION.
pub mod function {
    /// ABORT TASK.
    pub const ABORT_TASK: u8 = 0x01;
    /// ABORT TASK SET.
    pub const ABORT_TASK_SET: u8 = 0x02;
    /// CLEAR TASK SET.
    pub const CLEAR_TASK_SET: u8 = 0x04;
    /// LOGICAL UNIT RESET.
    pub const LOGICAL_UNIT_RESET: u8 = 0x08;
    /// CLEAR ACA.
    pub const CLEAR_ACA: u8 = 0x40;
}

/// SRP_TSK_MGMT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskManagement {
    /// When the response is wanted with solicited notification.
    pub solicited: Solicited,
    /// TAG.
    pub tag: u64,
    /// LUN.
    pub lun: [u8; 8],
    /// One of [`function`], or another code.
    pub function: u8,
    /// TAG OF TASK TO BE MANAGED, for ABORT TASK.
    pub managed: u64,
}

impl TaskManagement {
    /// Parses it.
    ///
    /// # Errors
    /// [`FormatError::Length`], [`FormatError::Type`].
    pub fn parse(iu: &[u8]) -> Result<Self, FormatError> {
        let (wire, _) = TaskWire::of(iu)?;
        Ok(Self {
            solicited: Solicited::parse(wire.solicited),
            tag: wire.tag.get(),
            lun: wire.lun,
            function: wire.function,
            managed: wire.managed.get(),
        })
    }

    /// Appends it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let wire = TaskWire {
            kind: opcode::TSK_MGMT,
            solicited: self.solicited.emit(),
            reserved: [0; 6],
            tag: self.tag.into(),
            reserved2: [0; 4],
            lun: self.lun,
            reserved3: [0; 2],
            function: self.function,
            reserved4: 0,
            managed: self.managed.into(),
            reserved5: [0; 8],
        };
        out.extend_from_slice(wire.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn task_management_comes_back(head in any::<[u8; 32]>(), tail in any::<[u8; 16]>()) {
            let mut bytes = [head.as_slice(), &tail].concat();
            bytes[0] = opcode::TSK_MGMT;
            let request = TaskManagement::parse(&bytes).unwrap();
            let mut out = Vec::new();
            request.emit(&mut out);
            prop_assert_eq!(out.len(), 48);
            prop_assert_eq!(TaskManagement::parse(&out), Ok(request));
            prop_assert_eq!(&out[20..28], &bytes[20..28]);
            prop_assert_eq!((out[30], &out[32..40]), (bytes[30], &bytes[32..40]));
        }
    }
}
