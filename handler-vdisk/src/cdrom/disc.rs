//! READ DISC INFORMATION (MMC-6 6.22), READ DISC STRUCTURE (6.23) and MECHANISM STATUS (6.11).

use lunforge_core::asc::Asc;
use lunforge_core::cdb::Cdb;
use lunforge_core::sense::Sense;

use super::Profile;
use crate::check::unsupported;
use crate::disk::Disk;

/// Formats of READ DISC STRUCTURE.
const PHYSICAL: u8 = 0x00;
const COPYRIGHT: u8 = 0x01;
const LIST: u8 = 0xFF;

/// The first sector of the data area of a DVD.
const DVD_START: u32 = 0x03_0000;

/// Checks DATA TYPE: standard disc information only.
pub(super) fn check_information(kind: u8) -> Result<(), Sense> {
    if kind == 0 {
        Ok(())
    } else {
        Err(Sense::invalid_field_in_cdb(1, Some(2)))
    }
}

/// Disc information: complete, one session with one track, unrestricted use, CD-ROM; nothing can be appended.
pub(super) fn information() -> [u8; 34] {
    let mut out = [0; 34];
    // Length; STATE OF LAST SESSION and DISC STATUS complete; first track, sessions, first and last track of the last
    // session; URU.
    let head = [0, 32, 0x0E, 1, 1, 1, 1, 0x20];
    // Where a next session and its lead-out would start: nowhere.
    let starts = [0xFF; 8];
    for (to, from) in out.iter_mut().zip(head) {
        *to = from;
    }
    for (to, from) in out.iter_mut().skip(16).zip(starts) {
        *to = from;
    }
    out
}

/// Checks what is asked of which medium.
pub(super) fn check_structure(disk: &Disk, cdb: &Cdb) -> Result<(), Sense> {
    let Cdb::ReadDiscStructure {
        media_type,
        layer,
        format,
        ..
    } = *cdb
    else {
        return Err(unsupported());
    };
    if media_type != 0 {
        return Err(Sense::invalid_field_in_cdb(1, Some(3)));
    }
    if format == LIST {
        return Ok(());
    }
    if !matches!(format, PHYSICAL | COPYRIGHT) {
        return Err(Sense::invalid_field_in_cdb(7, Some(7)));
    }
    if Profile::of(disk) != Some(Profile::DvdRom) {
        return Err(Sense::illegal_request(Asc::INCOMPATIBLE_MEDIUM_INSTALLED));
    }
    if layer != 0 {
        return Err(Sense::invalid_field_in_cdb(6, Some(7)));
    }
    Ok(())
}

/// The structure that was checked.
pub(super) fn structure(disk: &Disk, format: u8) -> Vec<u8> {
    let mut body = vec![0, 0];
    match format {
        LIST => {
            // Each with READABLE and the length of its structure.
            for (format, len) in [(PHYSICAL, 2052_u16), (COPYRIGHT, 8), (LIST, 16)] {
                body.extend_from_slice(&[format, 0x40]);
                body.extend_from_slice(&len.to_be_bytes());
            }
        }
        COPYRIGHT => body.extend_from_slice(&[0; 4]),
        _ => body.extend_from_slice(&physical(disk)),
    }
    let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
    [&len.to_be_bytes()[..], &body].concat()
}

/// Physical format information of a DVD-ROM: version 1, 120 mm, 10.08 Mbit/s, one layer.
fn physical(disk: &Disk) -> Vec<u8> {
    let blocks = u32::try_from(disk.blocks().0).unwrap_or(u32::MAX);
    let end = DVD_START.saturating_add(blocks.saturating_sub(1));
    let mut out = vec![0x01, 0x02, 0x01, 0x00];
    out.extend_from_slice(&DVD_START.to_be_bytes());
    out.extend_from_slice(&end.min(0x00FF_FFFF).to_be_bytes());
    out.resize(2048, 0);
    out
}

/// Mechanism status: no fault, no changer; DOOR OPEN.
pub(super) fn mechanism(disk: &Disk) -> [u8; 8] {
    let open = u8::from(!disk.is_present()) << 4;
    [0, open, 0, 0, 0, 0, 0, 0]
}
