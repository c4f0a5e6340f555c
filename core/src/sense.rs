//! Sense data (SPC-5 4.4) as a value, in fixed and in descriptor form.
//!
//! ```text
//! rule that failed → Sense (value) → emit(SenseFormat from D_SENSE) → SenseBytes (inline, no heap)
//! ```

mod wire;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::asc::Asc;

pub use wire::SenseBytes;

/// SENSE KEY (SPC-5 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SenseKey {
    /// 0h: nothing to report.
    NoSense = 0x0,
    /// 1h: completed after recovery action.
    RecoveredError = 0x1,
    /// 2h: the logical unit is not accessible.
    NotReady = 0x2,
    /// 3h: flaw in the medium or the recorded data.
    MediumError = 0x3,
    /// 4h: non-recoverable hardware failure.
    HardwareError = 0x4,
    /// 5h: the CDB, the parameter data or the LUN is at fault.
    IllegalRequest = 0x5,
    /// 6h: a condition every I_T nexus has to learn about.
    UnitAttention = 0x6,
    /// 7h: a protected block was addressed.
    DataProtect = 0x7,
    /// 8h: blank medium or end of data found.
    BlankCheck = 0x8,
    /// 9h: vendor specific.
    VendorSpecific = 0x9,
    /// Ah: EXTENDED COPY ended early.
    CopyAborted = 0xA,
    /// Bh: the device server aborted the command; a retry may succeed.
    AbortedCommand = 0xB,
    /// Ch: reserved (EQUAL until SPC-3).
    Reserved = 0xC,
    /// Dh: end of partition with data left in the buffer.
    VolumeOverflow = 0xD,
    /// Eh: source data did not match the medium.
    Miscompare = 0xE,
    /// Fh: completed, with information for the application client.
    Completed = 0xF,
}

impl SenseKey {
    /// The code on the wire, 0 to Fh.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The key in the low four bits of `byte`.
    #[must_use]
    pub const fn from_low_bits(byte: u8) -> Self {
        match byte & 0x0F {
            0x0 => Self::NoSense,
            0x1 => Self::RecoveredError,
            0x2 => Self::NotReady,
            0x3 => Self::MediumError,
            0x4 => Self::HardwareError,
            0x5 => Self::IllegalRequest,
            0x6 => Self::UnitAttention,
            0x7 => Self::DataProtect,
            0x8 => Self::BlankCheck,
            0x9 => Self::VendorSpecific,
            0xA => Self::CopyAborted,
            0xB => Self::AbortedCommand,
            0xC => Self::Reserved,
            0xD => Self::VolumeOverflow,
            0xE => Self::Miscompare,
            _ => Self::Completed,
        }
    }
}

impl fmt::Display for SenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSense => "NO SENSE",
            Self::RecoveredError => "RECOVERED ERROR",
            Self::NotReady => "NOT READY",
            Self::MediumError => "MEDIUM ERROR",
            Self::HardwareError => "HARDWARE ERROR",
            Self::IllegalRequest => "ILLEGAL REQUEST",
            Self::UnitAttention => "UNIT ATTENTION",
            Self::DataProtect => "DATA PROTECT",
            Self::BlankCheck => "BLANK CHECK",
            Self::VendorSpecific => "VENDOR SPECIFIC",
            Self::CopyAborted => "COPY ABORTED",
            Self::AbortedCommand => "ABORTED COMMAND",
            Self::Reserved => "RESERVED",
            Self::VolumeOverflow => "VOLUME OVERFLOW",
            Self::Miscompare => "MISCOMPARE",
            Self::Completed => "COMPLETED",
        })
    }
}

/// Sense-key specific information (SPC-5 4.4.2.4). Which kind the bits mean follows from the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SenseSpecific {
    /// SKSV is zero.
    #[default]
    None,
    /// ILLEGAL REQUEST: the byte and, if known, the bit that is wrong.
    FieldPointer {
        /// The pointer is into the CDB, otherwise into the parameter list.
        in_cdb: bool,
        /// Offset of the byte (the first one of a longer field).
        byte: u16,
        /// Most significant bit of the field, 0 to 7.
        bit: Option<u8>,
    },
    /// HARDWARE, MEDIUM and RECOVERED ERROR: how often recovery was tried.
    RetryCount(u16),
    /// NO SENSE and NOT READY: progress of the operation, as a numerator over 65536.
    Progress(u16),
    /// COPY ABORTED: the byte that is wrong.
    SegmentPointer {
        /// The pointer counts from the start of the segment descriptor, otherwise of the parameter list.
        in_descriptor: bool,
        /// Offset of the byte.
        byte: u16,
        /// Most significant bit of the field, 0 to 7.
        bit: Option<u8>,
    },
    /// UNIT ATTENTION: whether the queue of unit attention conditions overflowed.
    UnitAttentionOverflow(bool),
    /// Bits of a sense key for which the standard names no meaning (SKSV included).
    Other([u8; 3]),
}

impl SenseSpecific {
    fn emit(self) -> [u8; 3] {
        const SKSV: u8 = 0x80;
        let pointer = |flag: bool, byte: u16, bit: Option<u8>| {
            let [high, low] = byte.to_be_bytes();
            let bits = bit.map_or(0, |bit| 0x08 | (bit & 0x07));
            [SKSV | if flag { 0x40 } else { 0 } | bits, high, low]
        };
        let counter = |value: u16| {
            let [high, low] = value.to_be_bytes();
            [SKSV, high, low]
        };
        match self {
            Self::None => [0; 3],
            Self::FieldPointer { in_cdb, byte, bit } => pointer(in_cdb, byte, bit),
            Self::SegmentPointer {
                in_descriptor,
                byte,
                bit,
            } => pointer(in_descriptor, byte, bit),
            Self::RetryCount(value) | Self::Progress(value) => counter(value),
            Self::UnitAttentionOverflow(overflow) => [SKSV | u8::from(overflow), 0, 0],
            Self::Other(bytes) => bytes,
        }
    }

    fn parse(key: SenseKey, bytes: [u8; 3]) -> Self {
        let [first, high, low] = bytes;
        if first & 0x80 == 0 {
            return Self::None;
        }
        let value = u16::from_be_bytes([high, low]);
        let bit = (first & 0x08 != 0).then_some(first & 0x07);
        let flag = first & 0x40 != 0;
        match key {
            SenseKey::IllegalRequest => Self::FieldPointer {
                in_cdb: flag,
                byte: value,
                bit,
            },
            SenseKey::CopyAborted => Self::SegmentPointer {
                in_descriptor: flag,
                byte: value,
                bit,
            },
            SenseKey::RecoveredError | SenseKey::MediumError | SenseKey::HardwareError => {
                Self::RetryCount(value)
            }
            SenseKey::NoSense | SenseKey::NotReady => Self::Progress(value),
            SenseKey::UnitAttention => Self::UnitAttentionOverflow(first & 0x01 != 0),
            _ => Self::Other(bytes),
        }
    }
}

/// Which of the two forms sense data takes (D_SENSE of the control mode page, DESC of REQUEST SENSE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SenseFormat {
    /// Response codes 70h and 71h.
    #[default]
    Fixed,
    /// Response codes 72h and 73h.
    Descriptor,
}

/// Sense data as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sense {
    /// What kind of condition this is.
    pub key: SenseKey,
    /// What happened.
    pub asc: Asc,
    /// INFORMATION: an LBA or an offset, as the command defines it.
    pub information: Option<u64>,
    /// COMMAND-SPECIFIC INFORMATION.
    pub command_specific: Option<u64>,
    /// Sense-key specific information.
    pub specific: SenseSpecific,
    /// The error belongs to an earlier command that already got GOOD status (71h, 73h).
    pub deferred: bool,
    /// FILEMARK.
    pub filemark: bool,
    /// End of medium.
    pub eom: bool,
    /// Incorrect length indicator.
    pub ili: bool,
    /// SDAT_OVFL: the sense data was too long to be returned whole.
    pub overflow: bool,
    /// FIELD REPLACEABLE UNIT CODE, zero for none.
    pub fru: u8,
    /// COPY ABORTED: what the copy source or destination answered, sent along.
    pub forwarded: Option<Forwarded>,
}

/// The status and sense data that a copy manager got from a copy source or destination (SPC-4 5.17). Kept are
/// sense key, additional sense code and INFORMATION up to 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Forwarded {
    /// It comes from the copy destination, otherwise from the copy source.
    pub destination: bool,
    /// The status byte (SAM-5 5.3).
    pub status: u8,
    /// Sense data with it.
    pub sense: Option<(SenseKey, Asc, Option<u32>)>,
}

impl Forwarded {
    /// Where it stands in fixed format sense data: behind the 18 bytes that every one has.
    const OFFSET: u8 = 18;

    fn sense_data(&self) -> Option<[u8; 18]> {
        let (key, asc, information) = self.sense?;
        let mut sense = Sense::new(key, asc);
        sense.information = information.map(u64::from);
        Some(sense.emit_fixed())
    }

    fn parse(destination: bool, data: &[u8]) -> Option<Self> {
        let (&status, sense) = data.split_first()?;
        let sense = Sense::parse(sense).map(|sense| {
            let information = sense
                .information
                .and_then(|value| u32::try_from(value).ok());
            (sense.key, sense.asc, information)
        });
        Some(Self {
            destination,
            status,
            sense,
        })
    }
}

impl Sense {
    /// NO SENSE, NO ADDITIONAL SENSE INFORMATION: what REQUEST SENSE returns when all is well.
    pub const NONE: Self = Self::new(SenseKey::NoSense, Asc::NO_ADDITIONAL_SENSE_INFORMATION);

    /// A key and its additional sense code, nothing else.
    #[must_use]
    pub const fn new(key: SenseKey, asc: Asc) -> Self {
        Self {
            key,
            asc,
            information: None,
            command_specific: None,
            specific: SenseSpecific::None,
            deferred: false,
            filemark: false,
            eom: false,
            ili: false,
            overflow: false,
            fru: 0,
            forwarded: None,
        }
    }

    /// ILLEGAL REQUEST.
    #[must_use]
    pub const fn illegal_request(asc: Asc) -> Self {
        Self::new(SenseKey::IllegalRequest, asc)
    }

    /// ILLEGAL REQUEST, INVALID FIELD IN CDB, pointing at CDB byte `byte` and, if given, its bit.
    #[must_use]
    pub const fn invalid_field_in_cdb(byte: u16, bit: Option<u8>) -> Self {
        Self::illegal_request(Asc::INVALID_FIELD_IN_CDB).with_specific(
            SenseSpecific::FieldPointer {
                in_cdb: true,
                byte,
                bit,
            },
        )
    }

    /// ILLEGAL REQUEST, INVALID FIELD IN PARAMETER LIST, pointing into the parameter list.
    #[must_use]
    pub const fn invalid_field_in_parameter_list(byte: u16, bit: Option<u8>) -> Self {
        Self::illegal_request(Asc::INVALID_FIELD_IN_PARAMETER_LIST).with_specific(
            SenseSpecific::FieldPointer {
                in_cdb: false,
                byte,
                bit,
            },
        )
    }

    /// UNIT ATTENTION.
    #[must_use]
    pub const fn unit_attention(asc: Asc) -> Self {
        Self::new(SenseKey::UnitAttention, asc)
    }

    /// MEDIUM ERROR at block `lba`, the first one that failed (SBC-4 4.18).
    #[must_use]
    pub const fn medium_error(asc: Asc, lba: u64) -> Self {
        Self::new(SenseKey::MediumError, asc).with_information(lba)
    }

    /// DATA PROTECT.
    #[must_use]
    pub const fn data_protect(asc: Asc) -> Self {
        Self::new(SenseKey::DataProtect, asc)
    }

    /// NOT READY.
    #[must_use]
    pub const fn not_ready(asc: Asc) -> Self {
        Self::new(SenseKey::NotReady, asc)
    }

    /// ABORTED COMMAND: a retry may succeed.
    #[must_use]
    pub const fn aborted(asc: Asc) -> Self {
        Self::new(SenseKey::AbortedCommand, asc)
    }

    /// HARDWARE ERROR: a retry will not help.
    #[must_use]
    pub const fn hardware(asc: Asc) -> Self {
        Self::new(SenseKey::HardwareError, asc)
    }

    /// MISCOMPARE; INFORMATION is the byte offset of the first difference (SBC-4 5.3).
    #[must_use]
    pub const fn miscompare(offset: u64) -> Self {
        Self::new(
            SenseKey::Miscompare,
            Asc::MISCOMPARE_DURING_VERIFY_OPERATION,
        )
        .with_information(offset)
    }

    /// ILLEGAL REQUEST, LOGICAL BLOCK ADDRESS OUT OF RANGE.
    #[must_use]
    pub const fn lba_out_of_range() -> Self {
        Self::illegal_request(Asc::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE)
    }

    /// ILLEGAL REQUEST, LOGICAL UNIT NOT SUPPORTED: no logical unit at this LUN.
    #[must_use]
    pub const fn logical_unit_not_supported() -> Self {
        Self::illegal_request(Asc::LOGICAL_UNIT_NOT_SUPPORTED)
    }

    /// The same with INFORMATION.
    #[must_use]
    pub const fn with_information(mut self, information: u64) -> Self {
        self.information = Some(information);
        self
    }

    /// The same with COMMAND-SPECIFIC INFORMATION.
    #[must_use]
    pub const fn with_command_specific(mut self, value: u64) -> Self {
        self.command_specific = Some(value);
        self
    }

    /// The same with sense-key specific information; the caller picks the kind its key defines.
    #[must_use]
    pub const fn with_specific(mut self, specific: SenseSpecific) -> Self {
        self.specific = specific;
        self
    }

    /// The same with the answer of a copy source or destination, for COPY ABORTED only.
    #[must_use]
    pub const fn with_forwarded(mut self, forwarded: Forwarded) -> Self {
        self.forwarded = Some(forwarded);
        self
    }

    /// The same as a deferred error.
    #[must_use]
    pub const fn as_deferred(mut self) -> Self {
        self.deferred = true;
        self
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.key, self.asc)
    }
}
