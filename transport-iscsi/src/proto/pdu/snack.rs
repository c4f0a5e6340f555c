//! SNACK Request (RFC 7143 §11.16).

use super::{Bhs, FormatError, lengths, opcode, wire};
use zerocopy::big_endian::U32;

wire! {
    /// BHS of this PDU.
    struct Wire {
        opcode: u8, kind: u8, reserved: [u8; 2], lengths: U32, lun: [u8; 8], itt: U32,
        ttt: U32, reserved2: U32, exp_stat_sn: U32, reserved3: [u8; 8], begin_run: U32, run_length: U32,
    }
}

/// A SNACK Request; refused at ErrorRecoveryLevel 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snack {
    /// 0 Data/R2T, 1 status, 2 DataACK, 3 R-Data.
    pub kind: u8,
    /// Logical unit number as sent.
    pub lun: [u8; 8],
    /// Initiator task tag.
    pub itt: u32,
    /// Target transfer tag or SNACK tag.
    pub ttt: u32,
    /// Next StatSN the initiator expects.
    pub exp_stat_sn: u32,
    /// First number wanted.
    pub begin_run: u32,
    /// How many; 0 for all.
    pub run_length: u32,
}

impl Snack {
    /// Parses the header.
    ///
    /// # Errors
    /// None for this PDU type; the result keeps one shape for all of them.
    pub fn parse(bhs: &Bhs) -> Result<Self, FormatError> {
        let wire = Wire::of(bhs);
        Ok(Self {
            kind: wire.kind & 0x0f,
            lun: wire.lun,
            itt: wire.itt.get(),
            ttt: wire.ttt.get(),
            exp_stat_sn: wire.exp_stat_sn.get(),
            begin_run: wire.begin_run.get(),
            run_length: wire.run_length.get(),
        })
    }

    /// Emits the header.
    #[must_use]
    pub fn emit(&self) -> Bhs {
        Wire {
            opcode: opcode::SNACK,
            kind: 0x80 | self.kind & 0x0f,
            reserved: [0; 2],
            lengths: lengths(0, 0),
            lun: self.lun,
            itt: self.itt.into(),
            ttt: self.ttt.into(),
            reserved2: 0.into(),
            exp_stat_sn: self.exp_stat_sn.into(),
            reserved3: [0; 8],
            begin_run: self.begin_run.into(),
            run_length: self.run_length.into(),
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
            bhs[0] = opcode::SNACK;
            let parsed = Snack::parse(&bhs);
            if let Ok(value) = parsed {
                prop_assert_eq!(Snack::parse(&value.emit()), Ok(value));
            }
        }
    }
}
