//! Sense data as bytes: fixed and descriptor format (SPC-5 4.4.2, 4.4.3), there and back.

use std::fmt;

use super::{Forwarded, Sense, SenseFormat, SenseKey, SenseSpecific};
use crate::asc::Asc;

impl Sense {
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
            // With another key the fixed format has no place for it.
            (0x0C, [source, rest @ ..]) if sense.key == SenseKey::CopyAborted => {
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
