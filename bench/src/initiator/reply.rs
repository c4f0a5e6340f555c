//! The outcome of one command.

use super::transfer::Residual;

/// What a target answered to a SCSI command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// SCSI status (SAM-5 5.3.1).
    pub status: u8,
    /// iSCSI response code: 0 is "command completed at target" (RFC 7143 11.4.3).
    pub response: u8,
    /// Sense data, without its two-byte length; empty when none came.
    pub sense: Vec<u8>,
    /// Data-In bytes received.
    pub data: Vec<u8>,
    /// Residual as the target reported it.
    pub residual: Residual,
    /// Data-In and R2T PDUs the command took.
    pub data_pdus: u32,
    /// Status came inside the last Data-In (phase collapse).
    pub collapsed: bool,
}

impl Reply {
    /// GOOD status and a completed command.
    pub fn is_good(&self) -> bool {
        self.status == 0 && self.response == 0
    }

    fn descriptor_format(&self) -> bool {
        matches!(self.sense.first().map(|b| b & 0x7f), Some(0x72 | 0x73))
    }

    /// Sense key of either format (SPC-4 4.5), or `None` without sense data.
    pub fn sense_key(&self) -> Option<u8> {
        let at = if self.descriptor_format() { 1 } else { 2 };
        self.sense.get(at).map(|b| b & 0x0f)
    }

    /// Additional sense code and qualifier of either format.
    pub fn asc_ascq(&self) -> Option<(u8, u8)> {
        let at = if self.descriptor_format() { 2 } else { 12 };
        Some((*self.sense.get(at)?, *self.sense.get(at + 1)?))
    }

    /// An error that names `what` unless the command ended GOOD.
    pub fn require_good(self, what: &'static str) -> Result<Self, super::Error> {
        if self.is_good() {
            return Ok(self);
        }
        let (asc, ascq) = self.asc_ascq().unwrap_or((0, 0));
        let key = self.sense_key().unwrap_or(0);
        Err(super::Error::Status {
            what,
            status: self.status,
            key,
            asc,
            ascq,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(sense: &[u8]) -> Reply {
        Reply {
            status: 2,
            response: 0,
            sense: sense.to_vec(),
            data: Vec::new(),
            residual: Residual::None,
            data_pdus: 0,
            collapsed: false,
        }
    }

    #[test]
    fn both_sense_formats_give_key_and_code() {
        let mut fixed = [0; 18];
        (fixed[0], fixed[2], fixed[12], fixed[13]) = (0x70, 5, 0x24, 1);
        assert_eq!(with(&fixed).sense_key(), Some(5));
        assert_eq!(with(&fixed).asc_ascq(), Some((0x24, 1)));
        let descriptor = with(&[0x72, 6, 0x29, 0, 0, 0, 0, 0]);
        assert_eq!(
            (descriptor.sense_key(), descriptor.asc_ascq()),
            (Some(6), Some((0x29, 0)))
        );
    }

    #[test]
    fn n59_short_sense_gives_nothing_rather_than_a_panic() {
        assert_eq!(with(&[]).sense_key(), None);
        assert_eq!(with(&[0x70, 0]).sense_key(), None);
        assert_eq!(with(&[0x70, 0, 5]).asc_ascq(), None);
        assert_eq!(with(&[0x72]).asc_ascq(), None);
    }
}
