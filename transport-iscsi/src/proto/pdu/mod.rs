//! PDUs (RFC 7143 §11), one per file.
//!
//! Each file has the zerocopy view of the 48-byte basic header segment and a typed value with
//! `parse(&Bhs)` and `emit() -> Bhs`. `parse(emit(x)) == x` holds for every type (tested).
//! Digests, padding and data segments are the framing's business, not the PDU's.

pub mod ahs;
pub mod async_message;
pub mod data_in;
pub mod data_out;
pub mod login_request;
pub mod login_response;
pub mod logout_request;
pub mod logout_response;
pub mod nop_in;
pub mod nop_out;
pub mod r2t;
pub mod reject;
pub mod request;
pub mod scsi_command;
pub mod scsi_response;
pub mod snack;
pub mod task_management_request;
pub mod task_management_response;
pub mod text_request;
pub mod text_response;

pub use ahs::Ahs;
pub use async_message::AsyncMessage;
pub use data_in::DataIn;
pub use data_out::DataOut;
pub use login_request::LoginRequest;
pub use login_response::LoginResponse;
pub use logout_request::LogoutRequest;
pub use logout_response::LogoutResponse;
pub use nop_in::NopIn;
pub use nop_out::NopOut;
pub use r2t::R2t;
pub use reject::Reject;
pub use request::Request;
pub use scsi_command::{ScsiCommand, TaskAttribute};
pub use scsi_response::ScsiResponse;
pub use snack::Snack;
pub use task_management_request::TaskManagementRequest;
pub use task_management_response::TaskManagementResponse;
pub use text_request::TextRequest;
pub use text_response::TextResponse;

/// Length of the basic header segment in bytes.
pub const BHS_LEN: usize = 48;

/// Length of a header or data digest in bytes.
pub const DIGEST_LEN: usize = 4;

/// Longest possible header: BHS, 255 words of AHS, header digest.
pub const MAX_HEADER_LEN: usize = BHS_LEN + 255 * 4 + DIGEST_LEN;

/// Raw basic header segment.
pub type Bhs = [u8; BHS_LEN];

/// Initiator task tag that names no task (RFC 7143 §11.2.1.8).
pub const RESERVED_TAG: u32 = 0xffff_ffff;

/// A header that breaks the format rules of its PDU type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The opcode is not one an initiator may send.
    #[error("opcode {0:#04x} is not an initiator opcode")]
    Opcode(u8),
    /// A field holds a value that its PDU type forbids.
    #[error("field {0} holds a forbidden value")]
    Field(&'static str),
    /// The additional header segments are malformed or of an unknown type.
    #[error("additional header segment: {0}")]
    Ahs(&'static str),
}

/// Opcodes without the immediate bit (RFC 7143 §11.2.1.2).
pub mod opcode {
    /// NOP-Out.
    pub const NOP_OUT: u8 = 0x00;
    /// SCSI Command.
    pub const SCSI_COMMAND: u8 = 0x01;
    /// Task Management Function Request.
    pub const TASK_MANAGEMENT_REQUEST: u8 = 0x02;
    /// Login Request.
    pub const LOGIN_REQUEST: u8 = 0x03;
    /// Text Request.
    pub const TEXT_REQUEST: u8 = 0x04;
    /// SCSI Data-Out.
    pub const DATA_OUT: u8 = 0x05;
    /// Logout Request.
    pub const LOGOUT_REQUEST: u8 = 0x06;
    /// SNACK Request.
    pub const SNACK: u8 = 0x10;
    /// NOP-In.
    pub const NOP_IN: u8 = 0x20;
    /// SCSI Response.
    pub const SCSI_RESPONSE: u8 = 0x21;
    /// Task Management Function Response.
    pub const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    /// Login Response.
    pub const LOGIN_RESPONSE: u8 = 0x23;
    /// Text Response.
    pub const TEXT_RESPONSE: u8 = 0x24;
    /// SCSI Data-In.
    pub const DATA_IN: u8 = 0x25;
    /// Logout Response.
    pub const LOGOUT_RESPONSE: u8 = 0x26;
    /// Ready To Transfer.
    pub const R2T: u8 = 0x31;
    /// Asynchronous Message.
    pub const ASYNC_MESSAGE: u8 = 0x32;
    /// Reject.
    pub const REJECT: u8 = 0x3f;
}

/// Opcode of a header, immediate bit removed.
#[must_use]
pub fn opcode_of(bhs: &Bhs) -> u8 {
    bhs[0] & 0x3f
}

/// Whether the immediate-delivery bit is set.
#[must_use]
pub fn is_immediate(bhs: &Bhs) -> bool {
    bhs[0] & 0x40 != 0
}

/// Length of all additional header segments in bytes (0..=1020).
#[must_use]
pub fn ahs_len(bhs: &Bhs) -> usize {
    usize::from(bhs[4]) * 4
}

/// DataSegmentLength in bytes, padding not counted (0..2^24).
#[must_use]
pub fn data_segment_len(bhs: &Bhs) -> u32 {
    u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]])
}

/// Initiator Task Tag of any PDU.
#[must_use]
pub fn initiator_task_tag(bhs: &Bhs) -> u32 {
    u32::from_be_bytes([bhs[16], bhs[17], bhs[18], bhs[19]])
}

/// Pad bytes that follow a data segment of `len` bytes (0..=3).
#[must_use]
pub fn pad_len(len: u32) -> u8 {
    // The mask keeps the value in 0..=3.
    (len.wrapping_neg() & 3) as u8
}

/// Word 1 of a header: TotalAHSLength in words, DataSegmentLength in bytes (its low 24 bits).
pub(crate) fn lengths(ahs_words: u8, data_segment_length: u32) -> zerocopy::big_endian::U32 {
    zerocopy::big_endian::U32::new(u32::from(ahs_words) << 24 | data_segment_length & 0x00ff_ffff)
}

/// One whole PDU found in a byte stream that carries no digests (the login phase).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Basic header segment.
    pub bhs: &'a Bhs,
    /// Additional header segments.
    pub ahs: &'a [u8],
    /// Data segment without padding.
    pub data: &'a [u8],
    /// Bytes of the stream that the PDU takes, padding included.
    pub consumed: usize,
}

/// Cuts the first PDU off `staged`; `Ok(None)` until it is complete.
///
/// # Errors
/// [`FormatError::Field`] when its data segment is longer than `max_data` bytes.
pub fn frame(staged: &[u8], max_data: u32) -> Result<Option<Frame<'_>>, FormatError> {
    let Some((bhs, rest)) = staged.split_first_chunk::<BHS_LEN>() else {
        return Ok(None);
    };
    let data_len = data_segment_len(bhs);
    if data_len > max_data {
        return Err(FormatError::Field("DataSegmentLength"));
    }
    let Some((ahs, rest)) = rest.split_at_checked(ahs_len(bhs)) else {
        return Ok(None);
    };
    let Some(data) = rest.get(..data_len as usize) else {
        return Ok(None);
    };
    let padded = data.len() + usize::from(pad_len(data_len));
    if rest.len() < padded {
        return Ok(None);
    }
    let consumed = BHS_LEN + ahs.len() + padded;
    Ok(Some(Frame {
        bhs,
        ahs,
        data,
        consumed,
    }))
}

/// Declares the wire view of a header, asserts its size and gives the two conversions.
macro_rules! wire {
    ($(#[$doc:meta])* struct $name:ident { $($field:ident : $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout,
                 zerocopy::Immutable, zerocopy::Unaligned)]
        #[repr(C)]
        struct $name { $($field: $ty),* }
        const _: () = assert!(size_of::<$name>() == crate::proto::pdu::BHS_LEN);
        impl $name {
            fn of(bhs: &crate::proto::pdu::Bhs) -> &Self {
                zerocopy::transmute_ref!(bhs)
            }
            fn bytes(self) -> crate::proto::pdu::Bhs {
                zerocopy::transmute!(self)
            }
        }
    };
}
pub(crate) use wire;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_to_four_bytes() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(pad_len), [0, 3, 2, 1, 0, 3]);
    }

    #[test]
    fn frame_waits_for_padding_and_refuses_long_data() {
        let mut bytes = [0u8; 56];
        bytes[7] = 5;
        assert_eq!(frame(&bytes[..55], 8), Ok(None));
        let whole = frame(&bytes, 8).expect("legal").expect("complete");
        assert_eq!((whole.data.len(), whole.consumed), (5, 56));
        assert_eq!(
            frame(&bytes, 4),
            Err(FormatError::Field("DataSegmentLength"))
        );
    }
}
