//! Parameter data of the RECEIVE COPY commands (SPC-4 6, RECEIVE COPY).

use super::CopyLimits;
use super::cscd::Cscd;
use super::operation::{End, Progress};
use super::segment::Segment;
use crate::sense::{Sense, SenseFormat};
use crate::status::Status;

/// The longest of them, in bytes.
pub(super) const MAX_LEN: usize = 256;
/// EXTENDED COPY(LID4), as RESPONSE TO SERVICE ACTION names it.
const LID4: u8 = 0x01;
/// How soon an operation may have got further, in milliseconds.
const UPDATE_DELAY: u32 = 100;
/// The delay where none is to be expected any more.
const NO_UPDATE: u32 = 0xFFFF_FFFE;

/// Puts AVAILABLE DATA, the length of what follows it, before `body`.
fn with_length(body: &[u8]) -> Vec<u8> {
    let mut data = (body.len() as u32).to_be_bytes().to_vec();
    data.extend_from_slice(body);
    data
}

/// RECEIVE COPY STATUS(LID1). Nothing is held, so HDD is one when the copy has ended.
pub(super) fn status_lid1(progress: &Progress) -> Vec<u8> {
    let status = match progress.end {
        None => 0x00,
        Some(End::Good) => 0x80 | 0x01,
        Some(End::Failed(_) | End::Aborted) => 0x80 | 0x02,
    };
    let [high, low] = progress.segments.to_be_bytes();
    let (units, count) = transfer_count(progress.bytes);
    let mut body = vec![status, high, low, units];
    body.extend_from_slice(&count.to_be_bytes());
    with_length(&body)
}

/// TRANSFER COUNT UNITS and TRANSFER COUNT: bytes, or the smallest larger unit in which the number fits.
fn transfer_count(bytes: u64) -> (u8, u32) {
    let mut count = bytes;
    for units in 0u8.. {
        if let Ok(count) = u32::try_from(count) {
            return (units, count);
        }
        count >>= 10;
    }
    (0, u32::MAX)
}

/// RECEIVE COPY DATA(LID1): no data is held.
pub(super) fn data_lid1() -> Vec<u8> {
    with_length(&[])
}

/// RECEIVE COPY FAILURE DETAILS(LID1): the sense data of a copy that failed, else nothing.
pub(super) fn failure_details(progress: &Progress, format: SenseFormat) -> Vec<u8> {
    let Some(End::Failed(sense)) = progress.end else {
        return with_length(&[]);
    };
    let sense = sense.emit(format);
    let mut body = vec![0; 52];
    body.extend_from_slice(&[Status::CheckCondition.code(), 0, 0, sense.len() as u8]);
    body.extend_from_slice(&sense);
    with_length(&body)
}

/// RECEIVE COPY STATUS(LID4), and with `held` RECEIVE COPY DATA(LID4), which adds data that is never held.
pub(super) fn lid4(
    progress: &Progress,
    background: bool,
    format: SenseFormat,
    held: bool,
) -> Vec<u8> {
    let (operation, sense): (u8, Option<Sense>) = match progress.end {
        None if background => (0x12, None),
        None => (0x11, None),
        Some(End::Good) => (0x80 | 0x01, None),
        Some(End::Failed(sense)) => (0x80 | 0x02, Some(sense)),
        Some(End::Aborted) => (0x80 | 0x60, None),
    };
    let status = match sense {
        Some(_) => Status::CheckCondition,
        None => Status::Good,
    };
    let delay = match progress.end {
        None => UPDATE_DELAY,
        Some(_) => NO_UPDATE,
    };
    let sense = sense.map(|sense| sense.emit(format)).unwrap_or_default();
    let sense_len = sense.len() as u8;
    let mut body = vec![LID4, operation];
    body.extend_from_slice(&progress.updates.to_be_bytes());
    body.extend_from_slice(&delay.to_be_bytes());
    body.extend_from_slice(&[status.code(), sense_len, sense_len, 0]);
    body.extend_from_slice(&progress.bytes.to_be_bytes());
    body.extend_from_slice(&progress.segments.to_be_bytes());
    body.extend_from_slice(&[0; 6]);
    body.extend_from_slice(&sense);
    if held {
        body.extend_from_slice(&[0; 4]);
    }
    with_length(&body)
}

/// RECEIVE COPY OPERATING PARAMETERS.
pub(super) fn operating_parameters(limits: &CopyLimits) -> Vec<u8> {
    let mut body = vec![0x01, 0, 0, 0]; // SNLID
    body.extend_from_slice(&limits.cscd_descriptors.to_be_bytes());
    body.extend_from_slice(&limits.segment_descriptors.to_be_bytes());
    body.extend_from_slice(&(limits.descriptor_list_bytes() as u32).to_be_bytes());
    body.extend_from_slice(&limits.segment_bytes.to_be_bytes());
    // No inline data, nothing held, no stream devices.
    body.extend_from_slice(&[0; 12]);
    body.extend_from_slice(&[0; 2]);
    body.extend_from_slice(&u16::from(limits.copies).to_be_bytes());
    body.extend_from_slice(&[limits.copies_per_session, super::GRANULARITY, 0, 0, 0, 0, 0]);
    let types = implemented();
    body.push(types.len() as u8);
    body.extend_from_slice(&types);
    with_length(&body)
}

/// The descriptor type codes that there are, ascending.
pub(super) fn implemented() -> Vec<u8> {
    let mut types = Segment::TYPES.to_vec();
    types.push(Cscd::TYPE);
    types
}
