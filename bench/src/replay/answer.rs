//! What is compared of an answer: how it ended, not what data it brought.

use std::fmt;

use crate::initiator::pdu::{Header, opcode};

/// The end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A SCSI command: response code, status, and sense key with its codes, if there is sense data. Whether the status
    /// came in a Data-In or by itself is the target's choice (RFC 7143 11.7.1).
    Command {
        response: u8,
        status: u8,
        sense: Option<(u8, u8, u8)>,
    },
    /// Task management, logout: response code.
    Response { opcode: u8, response: u8 },
    /// NOP-In, Text Response.
    Done { opcode: u8 },
    /// Reject: reason.
    Reject { reason: u8 },
}

impl Answer {
    /// The answer that a target's PDU is; `None` when it ends nothing.
    pub(super) fn of(header: &Header, data: &[u8]) -> Option<Self> {
        const STATUS: u8 = 0x01;
        match header.opcode() {
            opcode::DATA_IN if header.flags() & STATUS != 0 => Some(Self::Command {
                response: 0,
                status: header.status(),
                sense: None,
            }),
            opcode::SCSI_RESPONSE => Some(Self::Command {
                response: header.response(),
                status: header.status(),
                sense: sense(data),
            }),
            opcode @ (opcode::TASK_MANAGEMENT_RESPONSE | opcode::LOGOUT_RESPONSE) => {
                let response = header.response();
                Some(Self::Response { opcode, response })
            }
            opcode @ opcode::TEXT_RESPONSE => Some(Self::Done { opcode }),
            opcode @ opcode::NOP_IN if header.itt() != crate::initiator::pdu::RESERVED_TAG => {
                Some(Self::Done { opcode })
            }
            opcode::REJECT => Some(Self::Reject {
                reason: header.response(),
            }),
            _ => None,
        }
    }
}

/// Sense key, ASC and ASCQ of either format (SPC-4 4.5), behind its length.
fn sense(data: &[u8]) -> Option<(u8, u8, u8)> {
    let sense = data.get(2..)?;
    let descriptor = matches!(sense.first()? & 0x7f, 0x72 | 0x73);
    let (key, codes) = if descriptor { (1, 2) } else { (2, 12) };
    let asc = *sense.get(codes)?;
    Some((sense.get(key)? & 0x0f, asc, *sense.get(codes + 1)?))
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command {
                response,
                status,
                sense,
            } => {
                write!(f, "status {status:#04x}")?;
                if *response != 0 {
                    write!(f, " response {response:#04x}")?;
                }
                match sense {
                    Some((key, asc, ascq)) => write!(f, " sense {key:x}/{asc:02x}/{ascq:02x}"),
                    None => Ok(()),
                }
            }
            Self::Response { opcode, response } => {
                write!(f, "opcode {opcode:#04x} response {response:#04x}")
            }
            Self::Done { opcode } => write!(f, "opcode {opcode:#04x}"),
            Self::Reject { reason } => write!(f, "Reject {reason:#04x}"),
        }
    }
}
