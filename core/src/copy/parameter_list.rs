//! The EXTENDED COPY parameter lists (SPC-4 6.4.3 for LID1, 6.5 for LID4): from bytes to a [`ParameterList`].

use super::CopyLimits;
use super::cscd::Cscd;
use super::segment::{CscdId, Segment};
use crate::asc::Asc;
use crate::sense::Sense;

/// Length of a LID1 header, in bytes.
const LID1_HEADER: usize = 16;
/// Length of a LID4 header, in bytes.
const LID4_HEADER: usize = 48;
/// PARAMETER LIST FORMAT of LID4.
const FORMAT: u8 = 0x01;
/// HEADER CSCD DESCRIPTOR LIST LENGTH and TYPE CODE of LID4.
const HEADER_CSCD: (u16, u8) = (0x20, 0xFF);

/// How long a list identifier is, and with it which of the two lists it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListFormat {
    /// EXTENDED COPY(LID1): one byte.
    Lid1,
    /// EXTENDED COPY(LID4): four bytes.
    Lid4,
}

/// LIST ID USAGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListIdUsage {
    /// 00b: the identifier is valid, data for RECEIVE COPY DATA is held.
    Hold,
    /// 10b: the identifier is valid, data may be discarded.
    Discard,
    /// 11b: there is no identifier.
    None,
}

/// A list that passed all checks that need no knowledge of the units it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterList {
    /// Which of the two it is.
    pub format: ListFormat,
    /// LIST IDENTIFIER, zero without one.
    pub list_id: u32,
    /// LIST ID USAGE.
    pub usage: ListIdUsage,
    /// STR: a hint that accesses are sequential.
    pub sequential_striped: bool,
    /// PRIORITY: a hint, zero is the highest.
    pub priority: u8,
    /// IMMED of LID4: the command ends when the list is accepted, and the copy goes on.
    pub immediate: bool,
    /// CSCD descriptors: the units, by their place.
    pub cscds: Vec<Cscd>,
    /// Segment descriptors, in the order in which they are done.
    pub segments: Vec<Segment>,
}

/// The fields of a header that both formats have, with the place of each for field pointers.
struct Header {
    list_id: u32,
    list_id_at: u16,
    flags: u8,
    immediate: bool,
    cscd_len: usize,
    segment_len: usize,
    inline_len: usize,
    len: usize,
}

/// INVALID FIELD IN PARAMETER LIST at a byte.
pub(super) fn invalid(byte: usize, bit: Option<u8>) -> Sense {
    Sense::invalid_field_in_parameter_list(u16::try_from(byte).unwrap_or(u16::MAX), bit)
}

/// PARAMETER LIST LENGTH ERROR.
pub(super) fn length_error() -> Sense {
    Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)
}

/// The first bit that is set in `bytes[at..]` as far as `mask` goes, as INVALID FIELD IN PARAMETER LIST; `base` is the
/// offset of `bytes` in the list.
pub(super) fn reserved(bytes: &[u8], base: usize, at: usize, mask: &[u8]) -> Result<(), Sense> {
    let masked = bytes.iter().skip(at).zip(mask).map(|(b, m)| b & m);
    match masked.enumerate().find(|(_, wrong)| *wrong != 0) {
        None => Ok(()),
        Some((n, wrong)) => Err(invalid(
            base + at + n,
            Some(7 - wrong.leading_zeros() as u8),
        )),
    }
}

pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u16::from_be_bytes(*field))
}

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u32::from_be_bytes(*field))
}

pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u64::from_be_bytes(*field))
}

impl ParameterList {
    /// Reads a list. `None` is the empty list, which asks for nothing and is no error.
    ///
    /// # Errors
    /// ILLEGAL REQUEST with PARAMETER LIST LENGTH ERROR where a length cuts a descriptor off or the descriptors are
    /// longer than the limit; INVALID FIELD IN PARAMETER LIST with a field pointer; TOO MANY TARGET DESCRIPTORS, TOO
    /// MANY SEGMENT DESCRIPTORS, UNSUPPORTED TARGET DESCRIPTOR TYPE CODE, UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE,
    /// INLINE DATA LENGTH EXCEEDED.
    pub fn parse(
        format: ListFormat,
        bytes: &[u8],
        limits: &CopyLimits,
    ) -> Result<Option<Self>, Sense> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let header = match format {
            ListFormat::Lid1 => lid1_header(bytes)?,
            ListFormat::Lid4 => lid4_header(bytes)?,
        };
        let usage = usage(format, &header)?;
        let (cscds, segments) = lists(bytes, &header, limits)?;
        Ok(Some(Self {
            format,
            list_id: header.list_id,
            usage,
            sequential_striped: header.flags & 0x20 != 0,
            priority: header.flags & 0x07,
            immediate: header.immediate,
            cscds: Cscd::parse_all(cscds, header.len)?,
            segments: Segment::parse_all(segments, header.len + cscds.len(), limits)?,
        }))
    }

    /// DISK BLOCK LENGTH that the list gives for a unit, with the place of the field; zero where it gives none.
    pub(super) fn block_length(&self, id: CscdId) -> (u32, usize) {
        let place = usize::from(id.0);
        let header = match self.format {
            ListFormat::Lid1 => LID1_HEADER,
            ListFormat::Lid4 => LID4_HEADER,
        };
        let length = self.cscds.get(place).map_or(0, Cscd::block_length);
        (length, header + place * Cscd::LEN + Cscd::BLOCK_LENGTH_AT)
    }

    /// The list as bytes; what [`ParameterList::parse`] accepted comes out equal when parsed again.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut descriptors = Vec::new();
        self.cscds
            .iter()
            .for_each(|cscd| cscd.emit(&mut descriptors));
        let cscd_len = descriptors.len();
        self.segments
            .iter()
            .for_each(|segment| segment.emit(&mut descriptors));
        let segment_len = descriptors.len() - cscd_len;
        let usage = match self.usage {
            ListIdUsage::Hold => 0,
            ListIdUsage::Discard => 0x10,
            ListIdUsage::None => 0x18,
        };
        let flags = u8::from(self.sequential_striped) << 5 | usage | self.priority & 0x07;
        let mut out = match self.format {
            ListFormat::Lid1 => self.emit_lid1(flags, cscd_len, segment_len),
            ListFormat::Lid4 => self.emit_lid4(flags, cscd_len, segment_len),
        };
        out.extend_from_slice(&descriptors);
        out
    }

    fn emit_lid1(&self, flags: u8, cscd_len: usize, segment_len: usize) -> Vec<u8> {
        let [.., list_id] = self.list_id.to_be_bytes();
        let mut out = vec![list_id, flags];
        out.extend_from_slice(&(cscd_len as u16).to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(segment_len as u32).to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out
    }

    fn emit_lid4(&self, flags: u8, cscd_len: usize, segment_len: usize) -> Vec<u8> {
        let mut out = vec![FORMAT, flags];
        out.extend_from_slice(&HEADER_CSCD.0.to_be_bytes());
        out.extend_from_slice(&[0; 11]);
        out.extend_from_slice(&[u8::from(self.immediate), HEADER_CSCD.1, 0, 0, 0]);
        out.extend_from_slice(&self.list_id.to_be_bytes());
        out.extend_from_slice(&[0; 18]);
        out.extend_from_slice(&(cscd_len as u16).to_be_bytes());
        out.extend_from_slice(&(segment_len as u16).to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out
    }
}

/// SPC-4 6.4.3.
fn lid1_header(bytes: &[u8]) -> Result<Header, Sense> {
    let header = bytes
        .first_chunk::<LID1_HEADER>()
        .ok_or_else(length_error)?;
    reserved(header, 0, 1, &[0xC0])?;
    reserved(header, 0, 4, &[0xFF; 4])?;
    Ok(Header {
        list_id: header[0].into(),
        list_id_at: 0,
        flags: header[1],
        immediate: false,
        cscd_len: be16(header, 2).into(),
        segment_len: be32(header, 8) as usize,
        inline_len: be32(header, 12) as usize,
        len: LID1_HEADER,
    })
}

/// SPC-4 6.4.3. G_SENSE of one is refused: no sense data goes with GOOD status.
fn lid4_header(bytes: &[u8]) -> Result<Header, Sense> {
    let header = bytes
        .first_chunk::<LID4_HEADER>()
        .ok_or_else(length_error)?;
    if header[0] != FORMAT {
        return Err(invalid(0, None));
    }
    reserved(header, 0, 1, &[0xC0])?;
    if be16(header, 2) != HEADER_CSCD.0 {
        return Err(invalid(2, None));
    }
    reserved(header, 0, 4, &[0xFF; 11])?;
    reserved(header, 0, 15, &[0xFE])?;
    if header[16] != HEADER_CSCD.1 {
        return Err(invalid(16, None));
    }
    reserved(header, 0, 17, &[0xFF; 3])?;
    reserved(header, 0, 24, &[0xFF; 18])?;
    Ok(Header {
        list_id: be32(header, 20),
        list_id_at: 20,
        flags: header[1],
        immediate: header[15] & 0x01 != 0,
        cscd_len: be16(header, 42).into(),
        segment_len: be16(header, 44).into(),
        inline_len: be16(header, 46).into(),
        len: LID4_HEADER,
    })
}

fn usage(format: ListFormat, header: &Header) -> Result<ListIdUsage, Sense> {
    match header.flags >> 3 & 0x03 {
        0 => Ok(ListIdUsage::Hold),
        2 => Ok(ListIdUsage::Discard),
        3 if header.list_id != 0 => Err(invalid(header.list_id_at.into(), None)),
        // Without an identifier nobody could ask how a background copy ended; LID1 has none.
        3 if format == ListFormat::Lid4 && header.immediate => Err(invalid(15, Some(0))),
        3 => Ok(ListIdUsage::None),
        _ => Err(invalid(1, Some(4))),
    }
}

/// The CSCD and segment descriptors, after the checks of what their lengths and number may be.
fn lists<'a>(
    bytes: &'a [u8],
    header: &Header,
    limits: &CopyLimits,
) -> Result<(&'a [u8], &'a [u8]), Sense> {
    let len = header.cscd_len.saturating_add(header.segment_len);
    if len > limits.descriptor_list_bytes() {
        return Err(length_error());
    }
    if header.inline_len > 0 {
        // MAXIMUM INLINE DATA LENGTH is zero: only segments for stream devices take inline data.
        return Err(Sense::illegal_request(Asc::INLINE_DATA_LENGTH_EXCEEDED));
    }
    if header.cscd_len / Cscd::LEN > limits.cscd_descriptors.into() {
        return Err(Sense::illegal_request(Asc::TOO_MANY_TARGET_DESCRIPTORS));
    }
    let rest = bytes.get(header.len..).unwrap_or(&[]);
    let (cscds, rest) = rest
        .split_at_checked(header.cscd_len)
        .ok_or_else(length_error)?;
    let (segments, _) = rest
        .split_at_checked(header.segment_len)
        .ok_or_else(length_error)?;
    Ok((cscds, segments))
}
