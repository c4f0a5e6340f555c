//! Login Request (RFC 7143 §11.12).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::{U16, U32};

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, version_max: u8, version_min: u8, lengths: U32, isid: [u8; 6],
        tsih: U16, itt: U32, cid: U16, reserved: U16, cmd_sn: U32, exp_stat_sn: U32,
        reserved2: [u8; 16],
    }
}

/// A Login Request header; key=value pairs are its data segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRequest {
    /// Immediate delivery: does not take a CmdSN.
    pub immediate: bool,
    /// T bit.
    pub transit: bool,
    /// C bit.
    pub is_continue: bool,
    /// CSG, 0..=3.
    pub current_stage: u8,
    /// NSG, 0..=3; meaningful with T only.
    pub next_stage: u8,
    /// Highest version supported.
    pub version_max: u8,
    /// Lowest version supported.
    pub version_min: u8,
    /// Data segment in bytes, without padding.
    pub data_segment_length: u32,
    /// Initiator session identifier.
    pub isid: [u8; 6],
    /// Target session identifying handle; 0 asks for a new session.
    pub tsih: u16,
    /// Initiator task tag.
    pub itt: u32,
    /// Connection identifier.
    pub cid: u16,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN the initiator expects.
    pub exp_stat_sn: u32,
}

impl LoginRequest {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        Ok(Self {
            immediate: wire.opcode & 0x40 != 0,
            transit: wire.flags & 0x80 != 0,
            is_continue: wire.flags & 0x40 != 0,
            current_stage: wire.flags >> 2 & 3,
            next_stage: wire.flags & 3,
            version_max: wire.version_max,
            version_min: wire.version_min,
            data_segment_length: super::data_segment_len(bhs),
            isid: wire.isid,
            tsih: wire.tsih.get(),
            itt: wire.itt.get(),
            cid: wire.cid.get(),
            cmd_sn: wire.cmd_sn.get(),
            exp_stat_sn: wire.exp_stat_sn.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::LOGIN_REQUEST | u8::from(self.immediate) << 6,
            flags: u8::from(self.transit) << 7
                | u8::from(self.is_continue) << 6
                | (self.current_stage & 3) << 2
                | self.next_stage & 3,
            version_max: self.version_max,
            version_min: self.version_min,
            lengths: lengths(0, self.data_segment_length),
            isid: self.isid,
            tsih: self.tsih.into(),
            itt: self.itt.into(),
            cid: self.cid.into(),
            reserved: 0.into(),
            cmd_sn: self.cmd_sn.into(),
            exp_stat_sn: self.exp_stat_sn.into(),
            reserved2: [0; 16],
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
            bhs[0] = bhs[0] & 0x40 | opcode::LOGIN_REQUEST;
            let parsed = LoginRequest::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(LoginRequest::parse(&value.emit()), Ok(value));
            }
        }
    }
}
