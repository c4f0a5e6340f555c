//! What a test may ask of a target: a command with every field open, and task management codes.

/// An eight-byte LUN (SAM-5 4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lun(pub [u8; 8]);

impl From<u16> for Lun {
    /// Peripheral addressing below 256, flat space addressing above (SAM-5 4.7.6, 4.7.7).
    fn from(n: u16) -> Self {
        let [high, low] = n.to_be_bytes();
        let high = if n < 256 { 0 } else { 0x40 | high & 0x3f };
        Self([high, low, 0, 0, 0, 0, 0, 0])
    }
}

impl From<[u8; 8]> for Lun {
    fn from(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

/// Task attribute (RFC 7143 11.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attribute {
    /// Untagged.
    Untagged = 0,
    /// SIMPLE.
    #[default]
    Simple = 1,
    /// ORDERED.
    Ordered = 2,
    /// HEAD OF QUEUE.
    HeadOfQueue = 3,
    /// ACA.
    Aca = 4,
}

/// Task management functions (RFC 7143 11.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tmf {
    /// ABORT TASK.
    AbortTask = 1,
    /// ABORT TASK SET.
    AbortTaskSet = 2,
    /// CLEAR ACA.
    ClearAca = 3,
    /// CLEAR TASK SET.
    ClearTaskSet = 4,
    /// LOGICAL UNIT RESET.
    LogicalUnitReset = 5,
    /// TARGET WARM RESET.
    TargetWarmReset = 6,
    /// TARGET COLD RESET.
    TargetColdReset = 7,
    /// TASK REASSIGN.
    TaskReassign = 8,
}

/// One SCSI command to send.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Logical unit.
    pub lun: Lun,
    /// CDB; more than 16 bytes go into an extended CDB AHS (RFC 7143 11.2.2.3).
    pub cdb: &'a [u8],
    /// Data to write; not empty sets W.
    pub data_out: &'a [u8],
    /// Bytes to read; not 0 sets R.
    pub in_len: u32,
    /// Expected Data Transfer Length where it shall differ from the data's own length.
    pub expected: Option<u32>,
    /// Task attribute.
    pub attribute: Attribute,
    /// Immediate delivery (I bit).
    pub immediate: bool,
}

impl<'a> Request<'a> {
    /// A command without data, SIMPLE, not immediate.
    pub fn new(lun: impl Into<Lun>, cdb: &'a [u8]) -> Self {
        Self {
            lun: lun.into(),
            cdb,
            data_out: &[],
            in_len: 0,
            expected: None,
            attribute: Attribute::Simple,
            immediate: false,
        }
    }
    /// Data to write.
    pub fn data_out(mut self, data: &'a [u8]) -> Self {
        self.data_out = data;
        self
    }
    /// Bytes to read.
    pub fn data_in(mut self, len: u32) -> Self {
        self.in_len = len;
        self
    }
    /// Task attribute.
    pub fn attribute(mut self, attribute: Attribute) -> Self {
        self.attribute = attribute;
        self
    }
    /// Expected Data Transfer Length unlike the data's own length.
    pub fn expected(mut self, len: u32) -> Self {
        self.expected = Some(len);
        self
    }
    /// Immediate delivery.
    pub fn immediate(mut self) -> Self {
        self.immediate = true;
        self
    }
}

/// CDB of a READ or WRITE: the 10-byte form where it fits, else the 16-byte one (SBC-3 5.8, 5.10).
pub fn rw_cdb(write: bool, lba: u64, blocks: u32) -> ([u8; 16], usize) {
    let mut cdb = [0; 16];
    match (u32::try_from(lba), u16::try_from(blocks)) {
        (Ok(lba), Ok(blocks)) => {
            cdb[0] = if write { 0x2a } else { 0x28 };
            cdb[2..6].copy_from_slice(&lba.to_be_bytes());
            cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
            (cdb, 10)
        }
        _ => {
            cdb[0] = if write { 0x8a } else { 0x88 };
            cdb[2..10].copy_from_slice(&lba.to_be_bytes());
            cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
            (cdb, 16)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luns_above_255_use_flat_space_addressing() {
        assert_eq!(Lun::from(3).0[..2], [0, 3]);
        assert_eq!(Lun::from(300).0[..2], [0x41, 0x2c]);
    }

    #[test]
    fn sixteen_byte_form_only_beyond_the_ten_byte_one() {
        assert_eq!(rw_cdb(false, 5, 8).1, 10);
        assert_eq!(rw_cdb(true, 1 << 32, 8).1, 16);
        assert_eq!(rw_cdb(true, 0, 65_536).0[0], 0x8a);
    }
}
