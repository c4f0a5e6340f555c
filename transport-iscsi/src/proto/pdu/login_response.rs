//! Login Response (RFC 7143 §11.13).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::{U16, U32};

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, flags: u8, version_max: u8, version_active: u8, lengths: U32, isid: [u8; 6],
        tsih: U16, itt: U32, reserved: U32, stat_sn: U32, exp_cmd_sn: U32, max_cmd_sn: U32,
        status_class: u8, status_detail: u8, reserved2: [u8; 10],
    }
}

/// A Login Response header; key=value pairs are its data segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginResponse {
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
    /// Version in use.
    pub version_active: u8,
    /// Data segment in bytes, without padding.
    pub data_segment_length: u32,
    /// Initiator session identifier.
    pub isid: [u8; 6],
    /// Target session identifying handle; 0 asks for a new session.
    pub tsih: u16,
    /// Initiator task tag.
    pub itt: u32,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN the target expects.
    pub exp_cmd_sn: u32,
    /// Highest CmdSN the target accepts.
    pub max_cmd_sn: u32,
    /// Status class (RFC 7143 §11.13.5).
    pub status_class: u8,
    /// Status detail.
    pub status_detail: u8,
}

impl LoginResponse {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        Ok(Self {
            transit: wire.flags & 0x80 != 0,
            is_continue: wire.flags & 0x40 != 0,
            current_stage: wire.flags >> 2 & 3,
            next_stage: wire.flags & 3,
            version_max: wire.version_max,
            version_active: wire.version_active,
            data_segment_length: super::data_segment_len(bhs),
            isid: wire.isid,
            tsih: wire.tsih.get(),
            itt: wire.itt.get(),
            stat_sn: wire.stat_sn.get(),
            exp_cmd_sn: wire.exp_cmd_sn.get(),
            max_cmd_sn: wire.max_cmd_sn.get(),
            status_class: wire.status_class,
            status_detail: wire.status_detail,
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::LOGIN_RESPONSE,
            flags: u8::from(self.transit) << 7
                | u8::from(self.is_continue) << 6
                | (self.current_stage & 3) << 2
                | self.next_stage & 3,
            version_max: self.version_max,
            version_active: self.version_active,
            lengths: lengths(0, self.data_segment_length),
            isid: self.isid,
            tsih: self.tsih.into(),
            itt: self.itt.into(),
            reserved: 0.into(),
            stat_sn: self.stat_sn.into(),
            exp_cmd_sn: self.exp_cmd_sn.into(),
            max_cmd_sn: self.max_cmd_sn.into(),
            status_class: self.status_class,
            status_detail: self.status_detail,
            reserved2: [0; 10],
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
            bhs[0] = opcode::LOGIN_RESPONSE;
            let parsed = LoginResponse::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(LoginResponse::parse(&value.emit()), Ok(value));
            }
        }
    }
}
