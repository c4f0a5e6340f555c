//! Any PDU an initiator may send, by opcode.

use super::{
    Bhs, DataOut, FormatError, LoginRequest, LogoutRequest, NopOut, ScsiCommand, Snack,
    TaskManagementRequest, TextRequest, opcode, opcode_of,
};

/// A typed initiator PDU header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// NOP-Out.
    NopOut(NopOut),
    /// SCSI Command.
    ScsiCommand(ScsiCommand),
    /// Task Management Function Request.
    TaskManagement(TaskManagementRequest),
    /// Login Request.
    Login(LoginRequest),
    /// Text Request.
    Text(TextRequest),
    /// SCSI Data-Out.
    DataOut(DataOut),
    /// Logout Request.
    Logout(LogoutRequest),
    /// SNACK Request.
    Snack(Snack),
}

impl Request {
    /// Parses a header by its opcode.
    ///
    /// # Errors
    /// [`FormatError::Opcode`] for anything an initiator may not send, else what the PDU type says.
    #[inline]
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        Ok(match opcode_of(bhs) {
            opcode::SCSI_COMMAND => Self::ScsiCommand(ScsiCommand::parse(bhs)?),
            opcode::DATA_OUT => Self::DataOut(DataOut::parse(bhs)?),
            opcode::NOP_OUT => Self::NopOut(NopOut::parse(bhs)?),
            opcode::TASK_MANAGEMENT_REQUEST => {
                Self::TaskManagement(TaskManagementRequest::parse(bhs)?)
            }
            opcode::LOGIN_REQUEST => Self::Login(LoginRequest::parse(bhs)?),
            opcode::TEXT_REQUEST => Self::Text(TextRequest::parse(bhs)?),
            opcode::LOGOUT_REQUEST => Self::Logout(LogoutRequest::parse(bhs)?),
            opcode::SNACK => Self::Snack(Snack::parse(bhs)?),
            other => return Err(FormatError::Opcode(other)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(head in any::<[u8; 24]>(), tail in any::<[u8; 24]>()) {
            let mut bhs = [0u8; 48];
            bhs[..24].copy_from_slice(&head);
            bhs[24..].copy_from_slice(&tail);
            let _ = Request::parse(&bhs);
        }
    }

    #[test]
    fn target_opcodes_are_refused() {
        for code in [0x20u8, 0x21, 0x25, 0x31, 0x3f, 0x1c] {
            let mut bhs = [0u8; 48];
            bhs[0] = code;
            assert_eq!(Request::parse(&bhs), Err(FormatError::Opcode(code)));
        }
    }
}
