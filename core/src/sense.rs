//! Sense data (SPC-5 4.4) as a value, in fixed and in descriptor form.
//!
//! ```text
//! rule that failed → Sense (value) → emit(SenseFormat from D_SENSE) → SenseBytes (inline, no heap)
//! ```

use std::fmt;

use crate::asc::Asc;

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

    /// Fixed format (SPC-5 4.4.3). INFORMATION beyond 32 bits does not fit: VALID is zero then.
    #[must_use]
    pub fn emit_fixed(&self) -> [u8; 18] {
        let mut out = [0; 18];
        let information = self.information.and_then(|value| u32::try_from(value).ok());
        out[0] = 0x70 | u8::from(self.deferred) | if information.is_some() { 0x80 } else { 0 };
        out[2] = self.key.code() | self.stream_bits() | if self.overflow { 0x10 } else { 0 };
        out[3..7].copy_from_slice(&information.unwrap_or(0).to_be_bytes());
        out[7] = 10;
        let specific = self
            .command_specific
            .and_then(|value| u32::try_from(value).ok());
        out[8..12].copy_from_slice(&specific.unwrap_or(0).to_be_bytes());
        out[12] = self.asc.asc;
        out[13] = self.asc.ascq;
        out[14] = self.fru;
        out[15..18].copy_from_slice(&self.specific.emit());
        out
    }

    /// Descriptor format (SPC-5 4.4.2) with the descriptors this value needs.
    #[must_use]
    pub fn emit_descriptor(&self) -> SenseBytes {
        let mut out = SenseBytes::default();
        let overflow = if self.overflow { 0x80 } else { 0 };
        let code = 0x72 | u8::from(self.deferred);
        out.push(&[
            code,
            self.key.code(),
            self.asc.asc,
            self.asc.ascq,
            overflow,
            0,
            0,
            0,
        ]);
        if let Some(information) = self.information {
            out.push(&[0x00, 0x0A, 0x80, 0x00]);
            out.push(&information.to_be_bytes());
        }
        if let Some(value) = self.command_specific {
            out.push(&[0x01, 0x0A, 0x00, 0x00]);
            out.push(&value.to_be_bytes());
        }
        if self.specific != SenseSpecific::None {
            let [a, b, c] = self.specific.emit();
            out.push(&[0x02, 0x06, 0x00, 0x00, a, b, c, 0x00]);
        }
        if self.fru != 0 {
            out.push(&[0x03, 0x02, 0x00, self.fru]);
        }
        if self.filemark || self.eom {
            out.push(&[0x04, 0x02, 0x00, self.stream_bits()]);
        } else if self.ili {
            out.push(&[0x05, 0x02, 0x00, 0x20]);
        }
        if let Some(forwarded) = &self.forwarded {
            let sense = forwarded.sense_data();
            let sense = sense.as_ref().map_or(&[][..], |sense| sense);
            let source = 1 + u8::from(forwarded.destination);
            out.push(&[0x0C, 2 + sense.len() as u8, source, forwarded.status]);
            out.push(sense);
        }
        out.bytes[7] = out.len.saturating_sub(8);
        out
    }

    /// The form asked for.
    #[must_use]
    pub fn emit(&self, format: SenseFormat) -> SenseBytes {
        match format {
            SenseFormat::Fixed => {
                let mut out = SenseBytes::default();
                out.push(&self.emit_fixed());
                if let Some(forwarded) = self.forwarded {
                    out.forward(&forwarded);
                }
                out
            }
            SenseFormat::Descriptor => self.emit_descriptor(),
        }
    }

    /// Reads either form. `None` for other response codes and for data too short to hold the
    /// additional sense code. Descriptors of unknown type are skipped.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        match data.first()? & 0x7F {
            code @ (0x70 | 0x71) => parse_fixed(data, code == 0x71),
            code @ (0x72 | 0x73) => parse_descriptor(data, code == 0x73),
            _ => None,
        }
    }

    fn stream_bits(&self) -> u8 {
        let bit = |set: bool, mask: u8| if set { mask } else { 0 };
        bit(self.filemark, 0x80) | bit(self.eom, 0x40) | bit(self.ili, 0x20)
    }

    fn take_stream_bits(&mut self, byte: u8) {
        self.filemark |= byte & 0x80 != 0;
        self.eom |= byte & 0x40 != 0;
        self.ili |= byte & 0x20 != 0;
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.key, self.asc)
    }
}

fn parse_fixed(data: &[u8], deferred: bool) -> Option<Sense> {
    let additional = usize::from(*data.get(7)?);
    let data = data.get(..data.len().min(additional + 8))?;
    let asc = Asc::new(*data.get(12)?, *data.get(13)?);
    let flags = *data.get(2)?;
    let mut sense = Sense::new(SenseKey::from_low_bits(flags), asc);
    sense.deferred = deferred;
    sense.take_stream_bits(flags);
    sense.overflow = flags & 0x10 != 0;
    if data.first()? & 0x80 != 0 {
        sense.information = Some(be32(data, 3)?.into());
    }
    sense.command_specific = be32(data, 8).filter(|&value| value != 0).map(u64::from);
    sense.fru = data.get(14).copied().unwrap_or(0);
    if let Some(bytes) = data.get(15..18) {
        sense.specific = SenseSpecific::parse(sense.key, bytes.try_into().ok()?);
    }
    if sense.key == SenseKey::CopyAborted && data.len() > usize::from(Forwarded::OFFSET) {
        take_forwarded(&mut sense, data);
    }
    Some(sense)
}

/// COPY ABORTED: the first two bytes of COMMAND-SPECIFIC INFORMATION say where the source's and the destination's
/// answers begin; the segment number is in the other two.
fn take_forwarded(sense: &mut Sense, data: &[u8]) {
    let destination = match data.get(8..10) {
        Some(&[Forwarded::OFFSET, 0]) => false,
        Some(&[0, Forwarded::OFFSET]) => true,
        _ => return,
    };
    let rest = data.get(usize::from(Forwarded::OFFSET)..).unwrap_or(&[]);
    sense.forwarded = Forwarded::parse(destination, rest);
    let number = sense.command_specific.map(|value| value & 0xFFFF);
    sense.command_specific = number.filter(|&value| value != 0);
}

fn parse_descriptor(data: &[u8], deferred: bool) -> Option<Sense> {
    let (head, rest) = data.split_first_chunk::<8>()?;
    let mut sense = Sense::new(SenseKey::from_low_bits(head[1]), Asc::new(head[2], head[3]));
    sense.deferred = deferred;
    sense.overflow = head[4] & 0x80 != 0;
    let mut rest = rest.get(..rest.len().min(head[7].into()))?;
    while let Some((&[kind, len], tail)) = rest.split_first_chunk::<2>() {
        let Some((body, next)) = tail.split_at_checked(len.into()) else {
            break;
        };
        match (kind, body) {
            (0x00, [valid, _, value @ ..]) if valid & 0x80 != 0 => sense.information = be64(value),
            (0x01, [_, _, value @ ..]) => sense.command_specific = be64(value),
            (0x02, [_, _, a, b, c, ..]) => {
                sense.specific = SenseSpecific::parse(sense.key, [*a, *b, *c]);
            }
            (0x03, [_, fru, ..]) => sense.fru = *fru,
            (0x04, [_, bits, ..]) => sense.take_stream_bits(*bits),
            (0x05, [_, bits, ..]) => sense.ili |= bits & 0x20 != 0,
            (0x0C, [source, rest @ ..]) => {
                sense.forwarded = Forwarded::parse(source & 0x0F == 2, rest);
            }
            _ => {}
        }
        rest = next;
    }
    Some(sense)
}

fn be32(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

fn be64(data: &[u8]) -> Option<u64> {
    data.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Sense data as it goes on the wire, held inline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SenseBytes {
    bytes: [u8; Self::CAPACITY],
    len: u8,
}

impl SenseBytes {
    /// More than the longest sense data this crate builds (70 bytes); SPC-5 allows 252.
    pub const CAPACITY: usize = 80;

    /// The sense data.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or(&[])
    }

    /// Appends a third party's answer to fixed format sense data, and says where it is.
    fn forward(&mut self, forwarded: &Forwarded) {
        let pointer = if forwarded.destination { 9 } else { 8 };
        self.bytes[8..10].fill(0);
        self.bytes[pointer] = Forwarded::OFFSET;
        self.push(&[forwarded.status]);
        if let Some(sense) = forwarded.sense_data() {
            self.push(&sense);
        }
        self.bytes[7] = self.len.saturating_sub(8);
    }

    fn push(&mut self, part: &[u8]) {
        let at = usize::from(self.len);
        if let Some(room) = self.bytes.get_mut(at..at + part.len()) {
            room.copy_from_slice(part);
            self.len = self
                .len
                .saturating_add(u8::try_from(part.len()).unwrap_or(0));
        }
    }
}

impl Default for SenseBytes {
    fn default() -> Self {
        Self {
            bytes: [0; Self::CAPACITY],
            len: 0,
        }
    }
}

impl AsRef<[u8]> for SenseBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::ops::Deref for SenseBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for SenseBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fixed_format_of_lba_out_of_range_with_field_pointer() {
        let sense = Sense::lba_out_of_range().with_specific(SenseSpecific::FieldPointer {
            in_cdb: true,
            byte: 2,
            bit: Some(7),
        });
        let expect = [
            0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0, 0, 0xCF, 0, 2,
        ];
        assert_eq!(sense.emit_fixed(), expect);
    }

    #[test]
    fn information_beyond_32_bits_is_not_valid_in_fixed_format() {
        let sense = Sense::medium_error(Asc::UNRECOVERED_READ_ERROR, 1 << 32);
        let fixed = sense.emit_fixed();
        assert_eq!(fixed[0], 0x70);
        assert_eq!(fixed[3..7], [0; 4]);
        assert_eq!(
            Sense::medium_error(Asc::WRITE_ERROR, 0xFFFF_FFFF).emit_fixed()[0],
            0xF0
        );
        assert_eq!(Sense::parse(&sense.emit_descriptor()), Some(sense));
    }

    #[test]
    fn descriptor_format_of_a_miscompare() {
        let bytes = Sense::miscompare(0x0102).emit(SenseFormat::Descriptor);
        let expect = [
            0x72, 0x0E, 0x1D, 0, 0, 0, 0, 12, 0x00, 0x0A, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x02,
        ];
        assert_eq!(bytes.as_slice(), expect);
    }

    #[test]
    fn parse_stays_within_the_additional_length() {
        let mut fixed = Sense::invalid_field_in_cdb(1, None).emit_fixed();
        fixed[7] = 6;
        let sense = Sense::parse(&fixed).unwrap();
        assert_eq!(sense.specific, SenseSpecific::None);
        assert_eq!(Sense::parse(&fixed[..13]), None);
        assert_eq!(Sense::parse(&[]), None);
        assert_eq!(Sense::parse(&[0x7F; 18]), None);
    }

    fn specific(key: SenseKey) -> BoxedStrategy<SenseSpecific> {
        let pointer = (any::<bool>(), any::<u16>(), prop::option::of(0u8..8));
        let some = match key {
            SenseKey::IllegalRequest => pointer
                .prop_map(|(in_cdb, byte, bit)| SenseSpecific::FieldPointer { in_cdb, byte, bit })
                .boxed(),
            SenseKey::CopyAborted => pointer
                .prop_map(|(in_descriptor, byte, bit)| SenseSpecific::SegmentPointer {
                    in_descriptor,
                    byte,
                    bit,
                })
                .boxed(),
            SenseKey::RecoveredError | SenseKey::MediumError | SenseKey::HardwareError => {
                any::<u16>().prop_map(SenseSpecific::RetryCount).boxed()
            }
            SenseKey::NoSense | SenseKey::NotReady => {
                any::<u16>().prop_map(SenseSpecific::Progress).boxed()
            }
            SenseKey::UnitAttention => any::<bool>()
                .prop_map(SenseSpecific::UnitAttentionOverflow)
                .boxed(),
            _ => any::<[u8; 3]>()
                .prop_map(|[a, b, c]| SenseSpecific::Other([a | 0x80, b, c]))
                .boxed(),
        };
        prop_oneof![Just(SenseSpecific::None), some].boxed()
    }

    fn forwarded() -> impl Strategy<Value = Forwarded> {
        let sense = (0u8..16, any::<(u8, u8)>(), prop::option::of(any::<u32>())).prop_map(
            |(key, (asc, ascq), information)| {
                (
                    SenseKey::from_low_bits(key),
                    Asc::new(asc, ascq),
                    information,
                )
            },
        );
        (any::<bool>(), any::<u8>(), prop::option::of(sense)).prop_map(
            |(destination, status, sense)| Forwarded {
                destination,
                status,
                sense,
            },
        )
    }

    #[test]
    fn the_answer_of_a_copy_destination_stands_behind_the_fixed_format() {
        let sense = Sense::new(SenseKey::CopyAborted, Asc::THIRD_PARTY_DEVICE_FAILURE)
            .with_command_specific(3)
            .with_forwarded(Forwarded {
                destination: true,
                status: 0x18,
                sense: None,
            });
        let expect = [
            0x70, 0, 0xA, 0, 0, 0, 0, 11, 0, 18, 0, 3, 0x0D, 0x01, 0, 0, 0, 0, 0x18,
        ];
        assert_eq!(sense.emit(SenseFormat::Fixed).as_slice(), expect);
        assert_eq!(Sense::parse(&expect), Some(sense));
    }

    prop_compose! {
        fn any_sense()(code in 0u8..16)(
            key in Just(SenseKey::from_low_bits(code)),
            pair in any::<(u8, u8)>(),
            information in prop::option::of(any::<u64>()),
            command_specific in prop::option::of(1..=u64::MAX),
            specific in specific(SenseKey::from_low_bits(code)),
            flags in any::<[bool; 5]>(),
            fru in any::<u8>(),
            forwarded in prop::option::of(forwarded()).prop_map(move |f| f.filter(|_| code == 0xA)),
        ) -> Sense {
            let [deferred, filemark, eom, ili, overflow] = flags;
            let asc = Asc::new(pair.0, pair.1);
            Sense { key, asc, information, command_specific, specific, deferred, filemark, eom, ili, overflow, fru, forwarded }
        }
    }

    proptest! {
        #[test]
        fn descriptor_format_reads_back(sense in any_sense()) {
            let bytes = sense.emit(SenseFormat::Descriptor);
            prop_assert!(bytes.len() <= 70);
            prop_assert_eq!(Sense::parse(&bytes), Some(sense));
        }

        #[test]
        fn fixed_format_reads_back_what_fits_32_bits(sense in any_sense()) {
            let fits = |value: &u64| *value <= u64::from(u32::MAX);
            // With a third party's answer only the segment number has room.
            let specific = |value: u64| if sense.forwarded.is_some() { value & 0xFFFF } else { value };
            let expect = Sense {
                information: sense.information.filter(fits),
                command_specific: sense.command_specific.filter(fits).map(specific).filter(|&v| v != 0),
                ..sense
            };
            prop_assert_eq!(Sense::parse(&sense.emit(SenseFormat::Fixed)), Some(expect));
        }

        #[test]
        fn any_bytes_are_parsed_without_panic(head in 0x6Fu8..0x75, bytes in any::<[u8; 40]>(), len in 0usize..=40) {
            let mut bytes = bytes;
            bytes[0] = head;
            let _ = Sense::parse(&bytes[..len]);
        }
    }
}
