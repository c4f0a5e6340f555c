//! Segment descriptors (SPC-4 6.4.6): what is copied.

use super::CopyLimits;
use super::parameter_list::{be16, be32, be64, invalid, length_error, reserved};
use crate::asc::Asc;
use crate::sense::Sense;

/// A CSCD descriptor ID: the place of a CSCD descriptor in the list, or FFFFh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CscdId(pub u16);

impl CscdId {
    /// The unit that got the EXTENDED COPY command.
    pub const THIS_UNIT: Self = Self(0xFFFF);
}

/// A segment descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// 02h: from block device to block device (SPC-4 6.4.6).
    BlockToBlock {
        /// DC: `blocks` counts blocks of the destination, otherwise of the source.
        destination_count: bool,
        /// CAT: what is left of a block goes on with the next segment. No segment that is accepted leaves anything.
        cat: bool,
        /// SOURCE CSCD DESCRIPTOR ID.
        source: CscdId,
        /// DESTINATION CSCD DESCRIPTOR ID.
        destination: CscdId,
        /// BLOCK DEVICE NUMBER OF BLOCKS; zero copies nothing.
        blocks: u16,
        /// SOURCE BLOCK DEVICE LOGICAL BLOCK ADDRESS.
        source_lba: u64,
        /// DESTINATION BLOCK DEVICE LOGICAL BLOCK ADDRESS.
        destination_lba: u64,
    },
    /// 07h: verify that a unit can be reached (SPC-4 6.4.6).
    VerifyCscd {
        /// SOURCE CSCD DESCRIPTOR ID.
        source: CscdId,
        /// TUR: it must be ready, too.
        test_unit_ready: bool,
    },
    /// 0Ah: from block device to block device, from byte offsets on (SPC-4 6.4.6).
    BlockOffset {
        /// CAT, as above.
        cat: bool,
        /// SOURCE CSCD DESCRIPTOR ID.
        source: CscdId,
        /// DESTINATION CSCD DESCRIPTOR ID.
        destination: CscdId,
        /// NUMBER OF BYTES.
        bytes: u32,
        /// SOURCE BLOCK DEVICE LOGICAL BLOCK ADDRESS.
        source_lba: u64,
        /// DESTINATION BLOCK DEVICE LOGICAL BLOCK ADDRESS.
        destination_lba: u64,
        /// SOURCE BLOCK BYTE OFFSET.
        source_offset: u16,
        /// DESTINATION BLOCK BYTE OFFSET.
        destination_offset: u16,
    },
}

/// Length of the part that all descriptors have: type, flags, DESCRIPTOR LENGTH.
const HEADER: usize = 4;
const BLOCK_TO_BLOCK: u8 = 0x02;
const VERIFY_CSCD: u8 = 0x07;
const BLOCK_OFFSET: u8 = 0x0A;

impl Segment {
    /// The type codes that there are, ascending.
    pub const TYPES: [u8; 3] = [BLOCK_TO_BLOCK, VERIFY_CSCD, BLOCK_OFFSET];
    /// Length of the most common descriptor, 02h, in bytes.
    pub const LEN: usize = 28;

    /// Reads the descriptors of a list; `base` is its place in the parameter list.
    pub(super) fn parse_all(
        list: &[u8],
        base: usize,
        limits: &CopyLimits,
    ) -> Result<Vec<Self>, Sense> {
        let mut segments = Vec::new();
        let mut rest = list;
        while let Some(&kind) = rest.first() {
            if segments.len() >= limits.segment_descriptors.into() {
                return Err(Sense::illegal_request(Asc::TOO_MANY_SEGMENT_DESCRIPTORS));
            }
            let at = base + list.len() - rest.len();
            let len = match kind {
                BLOCK_TO_BLOCK => Self::LEN,
                VERIFY_CSCD => 12,
                BLOCK_OFFSET => 32,
                _ => {
                    return Err(Sense::illegal_request(
                        Asc::UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE,
                    ));
                }
            };
            let (descriptor, next) = rest.split_at_checked(len).ok_or_else(length_error)?;
            if usize::from(be16(descriptor, 2)) != len - HEADER {
                return Err(invalid(at + 2, None));
            }
            segments.push(Self::parse(kind, descriptor, at, limits)?);
            rest = next;
        }
        Ok(segments)
    }

    fn parse(kind: u8, bytes: &[u8], at: usize, limits: &CopyLimits) -> Result<Self, Sense> {
        let flags = bytes.get(1).copied().unwrap_or_default();
        let cat = flags & 0x01 != 0;
        let (source, destination) = (CscdId(be16(bytes, 4)), CscdId(be16(bytes, 6)));
        Ok(match kind {
            BLOCK_TO_BLOCK => {
                reserved(bytes, at, 1, &[0xFC])?;
                reserved(bytes, at, 8, &[0xFF; 2])?;
                Self::BlockToBlock {
                    destination_count: flags & 0x02 != 0,
                    cat,
                    source,
                    destination,
                    blocks: be16(bytes, 10),
                    source_lba: be64(bytes, 12),
                    destination_lba: be64(bytes, 20),
                }
            }
            VERIFY_CSCD => {
                reserved(bytes, at, 1, &[0xFF])?;
                reserved(bytes, at, 6, &[0xFF, 0xFF, 0xFE, 0xFF, 0xFF, 0xFF])?;
                Self::VerifyCscd {
                    source,
                    test_unit_ready: bytes.get(8).is_some_and(|b| b & 0x01 != 0),
                }
            }
            _ => {
                reserved(bytes, at, 1, &[0xFE])?;
                if be32(bytes, 8) > limits.segment_bytes {
                    return Err(invalid(at + 8, None));
                }
                Self::BlockOffset {
                    cat,
                    source,
                    destination,
                    bytes: be32(bytes, 8),
                    source_lba: be64(bytes, 12),
                    destination_lba: be64(bytes, 20),
                    source_offset: be16(bytes, 28),
                    destination_offset: be16(bytes, 30),
                }
            }
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match *self {
            Self::BlockToBlock {
                destination_count,
                cat,
                source,
                destination,
                blocks,
                source_lba,
                destination_lba,
            } => {
                let flags = u8::from(destination_count) << 1 | u8::from(cat);
                header(out, BLOCK_TO_BLOCK, flags, 24, source, destination);
                out.extend_from_slice(&u32::from(blocks).to_be_bytes());
                out.extend_from_slice(&source_lba.to_be_bytes());
                out.extend_from_slice(&destination_lba.to_be_bytes());
            }
            Self::VerifyCscd {
                source,
                test_unit_ready,
            } => {
                header(out, VERIFY_CSCD, 0, 8, source, CscdId(0));
                out.extend_from_slice(&[u8::from(test_unit_ready), 0, 0, 0]);
            }
            Self::BlockOffset {
                cat,
                source,
                destination,
                bytes,
                source_lba,
                destination_lba,
                source_offset,
                destination_offset,
            } => {
                header(out, BLOCK_OFFSET, u8::from(cat), 28, source, destination);
                out.extend_from_slice(&bytes.to_be_bytes());
                out.extend_from_slice(&source_lba.to_be_bytes());
                out.extend_from_slice(&destination_lba.to_be_bytes());
                out.extend_from_slice(&source_offset.to_be_bytes());
                out.extend_from_slice(&destination_offset.to_be_bytes());
            }
        }
        debug_assert!(out.len() - start >= HEADER);
    }
}

fn header(out: &mut Vec<u8>, kind: u8, flags: u8, len: u8, source: CscdId, destination: CscdId) {
    out.extend_from_slice(&[kind, flags, 0, len]);
    out.extend_from_slice(&source.0.to_be_bytes());
    out.extend_from_slice(&destination.0.to_be_bytes());
}
