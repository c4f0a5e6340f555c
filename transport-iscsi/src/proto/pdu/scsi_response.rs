//! SCSI Response (RFC 7143 §11.4).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, response: u8, status: u8, lengths: U32, reserved: [u8; 8], itt: U32,
        snack_tag: U32, stat_sn: U32, exp_cmd_sn: U32, max_cmd_sn: U32, exp_data_sn: U32,
        bidi_residual: U32, residual: U32,
    }
}

/// Difference between the length the initiator expected and the one the command has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residual {
    /// The lengths agree.
    #[default]
    None,
    /// Fewer bytes than expected were transferred, by this count (U bit).
    Underflow(u32),
    /// The command has this many more bytes than expected (O bit).
    Overflow(u32),
}

impl Residual {
    /// Residual of a command that has `actual` bytes where `expected` were announced.
    /// A difference beyond 32 bits is reported as the largest count.
    #[must_use]
    pub fn between(expected: u32, actual: u64) -> Self {
        match u64::from(expected).cmp(&actual) {
            std::cmp::Ordering::Equal => Self::None,
            std::cmp::Ordering::Greater => {
                Self::Underflow(expected - u32::try_from(actual).unwrap_or(expected))
            }
            std::cmp::Ordering::Less => {
                Self::Overflow(u32::try_from(actual - u64::from(expected)).unwrap_or(u32::MAX))
            }
        }
    }

    /// O bit (2) or U bit (1).
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Underflow(_) => 1,
            Self::Overflow(_) => 2,
        }
    }

    /// Residual count in bytes.
    #[must_use]
    pub fn count(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Underflow(count) | Self::Overflow(count) => count,
        }
    }

    /// From the two flag bits (lowest: U) and the count.
    #[must_use]
    pub fn of(bits: u8, count: u32) -> Self {
        match bits & 3 {
            1 => Self::Underflow(count),
            2 => Self::Overflow(count),
            _ => Self::None,
        }
    }
}

/// A SCSI Response header; sense travels in its data segment after a two-byte length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScsiResponse {
    /// Residual of the read part of a bidirectional command.
    pub bidi_residual: Residual,
    /// Residual of the only or the write part.
    pub residual: Residual,
    /// Response code: 0 command completed at target, 1 target failure.
    pub response: u8,
    /// SCSI status.
    pub status: u8,
    /// Data segment in bytes, without padding.
    pub data_segment_length: u32,
    /// Initiator task tag.
    pub itt: u32,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN the target expects.
    pub exp_cmd_sn: u32,
    /// Highest CmdSN the target accepts.
    pub max_cmd_sn: u32,
    /// Number of Data-In and R2T PDUs sent for the command.
    pub exp_data_sn: u32,
}

impl ScsiResponse {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        Ok(Self {
            bidi_residual: Residual::of(wire.flags >> 3, wire.bidi_residual.get()),
            residual: Residual::of(wire.flags >> 1, wire.residual.get()),
            response: wire.response,
            status: wire.status,
            data_segment_length: super::data_segment_len(bhs),
            itt: wire.itt.get(),
            stat_sn: wire.stat_sn.get(),
            exp_cmd_sn: wire.exp_cmd_sn.get(),
            max_cmd_sn: wire.max_cmd_sn.get(),
            exp_data_sn: wire.exp_data_sn.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::SCSI_RESPONSE,
            flags: 0x80 | self.bidi_residual.bits() << 3 | self.residual.bits() << 1,
            response: self.response,
            status: self.status,
            lengths: lengths(0, self.data_segment_length),
            reserved: [0; 8],
            itt: self.itt.into(),
            snack_tag: 0.into(),
            stat_sn: self.stat_sn.into(),
            exp_cmd_sn: self.exp_cmd_sn.into(),
            max_cmd_sn: self.max_cmd_sn.into(),
            exp_data_sn: self.exp_data_sn.into(),
            bidi_residual: self.bidi_residual.count().into(),
            residual: self.residual.count().into(),
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
            bhs[0] = opcode::SCSI_RESPONSE;
            let parsed = ScsiResponse::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(ScsiResponse::parse(&value.emit()), Ok(value));
            }
        }
    }
}
