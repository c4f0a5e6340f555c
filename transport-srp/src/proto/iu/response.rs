//! SRP_RSP (SRP 6.9): the answer to a command or to a task management function.

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U32, U64};

use super::{FormatError, SOLNT, Wire, field_len, opcode, wire};

/// Length of the fixed part; response data and sense data follow.
pub const FIXED_LEN: usize = 36;
/// Length of the response data that a target sends.
pub const RESPONSE_DATA_LEN: usize = 4;

wire!(ResponseWire, opcode::RSP, 36, {
    kind: u8, solicited: u8, reserved: [u8; 2], request_limit_delta: U32, tag: U64, reserved2: [u8; 2], valid: u8,
    status: u8, residual_out: U32, residual_in: U32, sense_len: U32, response_len: U32,
});

/// RESPONSE CODE: the last byte of the response data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseCode {
    /// No failure, or task management function complete.
    Complete,
    /// A field of the request is invalid.
    InvalidFields,
    /// The task management function is not supported.
    NotSupported,
    /// The task management function failed.
    Failed,
    /// Another code.
    Other(u8),
}

impl ResponseCode {
    /// The code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::InvalidFields => 1,
            Self::NotSupported => 4,
            Self::Failed => 5,
            Self::Other(code) => code,
        }
    }

    /// What has this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Complete,
            1 => Self::InvalidFields,
            4 => Self::NotSupported,
            5 => Self::Failed,
            code => Self::Other(code),
        }
    }
}

/// How far what a command has is from what the initiator has room for, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residual {
    /// It fits.
    #[default]
    None,
    /// So much more than the buffer holds.
    Over(u32),
    /// So much less.
    Under(u32),
}

impl Residual {
    /// The residual of a command that has `total` bytes for a buffer of `expected`.
    #[must_use]
    pub fn between(expected: u32, total: u64) -> Self {
        let expected = u64::from(expected);
        let bounded = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        match total.checked_sub(expected) {
            Some(0) => Self::None,
            Some(more) => Self::Over(bounded(more)),
            None => Self::Under(bounded(expected - total)),
        }
    }

    fn parse(over: bool, under: bool, count: u32) -> Self {
        match (over, under) {
            (true, _) => Self::Over(count),
            (false, true) => Self::Under(count),
            (false, false) => Self::None,
        }
    }

    /// OVER and UNDER bits, as given, and the count.
    fn emit(self, over: u8, under: u8) -> (u8, u32) {
        match self {
            Self::None => (0, 0),
            Self::Over(count) => (over, count),
            Self::Under(count) => (under, count),
        }
    }
}

mod valid {
    pub(super) const RESPONSE: u8 = 0x01;
    pub(super) const SENSE: u8 = 0x02;
    pub(super) const OUT_OVER: u8 = 0x04;
    pub(super) const OUT_UNDER: u8 = 0x08;
    pub(super) const IN_OVER: u8 = 0x10;
    pub(super) const IN_UNDER: u8 = 0x20;
}

/// SRP_RSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// SOLNT.
    pub solicited: bool,
    /// REQUEST LIMIT DELTA: how many requests more the initiator may send.
    pub request_limit_delta: u32,
    /// TAG of the request.
    pub tag: u64,
    /// SCSI status.
    pub status: u8,
    /// Residual of the data-out buffer.
    pub residual_out: Residual,
    /// Residual of the data-in buffer.
    pub residual_in: Residual,
    /// Response code, from response data of at least four bytes.
    pub code: Option<ResponseCode>,
    /// Sense data; none when empty.
    pub sense: &'a [u8],
}

impl<'a> Response<'a> {
    /// Parses it.
    ///
    /// # Errors
    /// [`FormatError::Length`], also when data is missing; [`FormatError::Type`].
    pub fn parse(iu: &'a [u8]) -> Result<Self, FormatError> {
        let (wire, rest) = ResponseWire::of(iu)?;
        let has = |bit: u8| wire.valid & bit != 0;
        let short = FormatError::Length(iu.len());
        let len = |bit: u8, len: U32| match has(bit) {
            true => usize::try_from(len.get()).unwrap_or(usize::MAX),
            false => 0,
        };
        let split = rest.split_at_checked(len(valid::RESPONSE, wire.response_len));
        let (data, rest) = split.ok_or(short)?;
        let code = data.get(3).map(|code| ResponseCode::from_code(*code));
        let sense = rest.get(..len(valid::SENSE, wire.sense_len)).ok_or(short)?;
        Ok(Self {
            solicited: wire.solicited & SOLNT != 0,
            request_limit_delta: wire.request_limit_delta.get(),
            tag: wire.tag.get(),
            status: wire.status,
            residual_out: Residual::parse(
                has(valid::OUT_OVER),
                has(valid::OUT_UNDER),
                wire.residual_out.get(),
            ),
            residual_in: Residual::parse(
                has(valid::IN_OVER),
                has(valid::IN_UNDER),
                wire.residual_in.get(),
            ),
            code,
            sense,
        })
    }

    /// Appends it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let (of_out, residual_out) = self.residual_out.emit(valid::OUT_OVER, valid::OUT_UNDER);
        let (of_in, residual_in) = self.residual_in.emit(valid::IN_OVER, valid::IN_UNDER);
        let data = self.code.map(|code| [0, 0, 0, code.code()]);
        let of_data = data.map_or(0, |_| valid::RESPONSE);
        let of_sense = if self.sense.is_empty() {
            0
        } else {
            valid::SENSE
        };
        let wire = ResponseWire {
            kind: opcode::RSP,
            solicited: u8::from(self.solicited),
            reserved: [0; 2],
            request_limit_delta: self.request_limit_delta.into(),
            tag: self.tag.into(),
            reserved2: [0; 2],
            valid: of_out | of_in | of_data | of_sense,
            status: self.status,
            residual_out: residual_out.into(),
            residual_in: residual_in.into(),
            sense_len: field_len(self.sense.len()).into(),
            response_len: field_len(data.map_or(0, |data| data.len())).into(),
        };
        out.extend_from_slice(wire.as_bytes());
        out.extend(data.into_iter().flatten());
        out.extend_from_slice(self.sense);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn responses_come_back(
            bytes in proptest::collection::vec(any::<u8>(), 36..400), sense in 0u8..=255, data in 0u8..16
        ) {
            let mut bytes = bytes;
            bytes[0] = opcode::RSP;
            bytes[28..36].copy_from_slice(&[0, 0, 0, sense, 0, 0, 0, data]);
            if let Ok(response) = Response::parse(&bytes) {
                let mut out = Vec::new();
                response.emit(&mut out);
                prop_assert_eq!(Response::parse(&out), Ok(response));
            }
        }
    }

    #[test]
    fn lengths_count_only_where_their_bits_say_so_and_have_to_be_there() {
        let mut bytes = vec![0; 36];
        bytes[0] = opcode::RSP;
        bytes[28..36].fill(0xff);
        assert_eq!(Response::parse(&bytes).unwrap().sense, b"");
        for bit in [valid::RESPONSE, valid::SENSE] {
            bytes[18] = bit;
            assert_eq!(Response::parse(&bytes), Err(FormatError::Length(36)));
        }
    }

    #[test]
    fn residuals_tell_both_ways_and_are_bounded() {
        assert_eq!(Residual::between(512, 512), Residual::None);
        assert_eq!(Residual::between(512, 1024), Residual::Over(512));
        assert_eq!(Residual::between(512, 36), Residual::Under(476));
        assert_eq!(Residual::between(0, u64::MAX), Residual::Over(u32::MAX));
        assert_eq!(Residual::between(u32::MAX, 0), Residual::Under(u32::MAX));
    }

    #[test]
    fn a_response_with_sense_and_residuals_is_laid_out_as_the_table_says() {
        let mut out = Vec::new();
        Response {
            solicited: true,
            request_limit_delta: 2,
            tag: 0x0102_0304_0506_0708,
            status: 2,
            residual_out: Residual::Over(3),
            residual_in: Residual::Under(4),
            code: Some(ResponseCode::NotSupported),
            sense: &[0x70, 0],
        }
        .emit(&mut out);
        let expected = [
            0xC1, 1, 0, 0, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x27, 2, 0, 0, 0, 3, 0, 0, 0,
            4, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4, 0x70, 0,
        ];
        assert_eq!(out, expected);
    }
}
