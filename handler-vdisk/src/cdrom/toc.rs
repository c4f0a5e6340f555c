//! READ TOC/PMA/ATIP (MMC-6 6.26): one session, one data track, lead-out.

use lunforge_core::cdb::Cdb;
use lunforge_core::sense::Sense;

use crate::disk::Disk;

/// ADR 1, CONTROL 4: a data track, copying prohibited, with Q sub-channel position data.
const DATA_TRACK: u8 = 0x14;
const LEAD_OUT: u8 = 0xAA;

const TOC: u8 = 0;
const SESSIONS: u8 = 1;
const RAW_TOC: u8 = 2;

/// Checks FORMAT and the track or session number.
pub(super) fn check(cdb: &Cdb) -> Result<(), Sense> {
    let Cdb::ReadToc { format, track, .. } = *cdb else {
        return Err(crate::check::unsupported());
    };
    let known = match format {
        TOC => track <= 1 || track == LEAD_OUT,
        SESSIONS => true,
        RAW_TOC => track <= 1,
        // PMA, ATIP and CD-TEXT are of media that are written or sound.
        _ => return Err(Sense::invalid_field_in_cdb(2, Some(3))),
    };
    if known {
        Ok(())
    } else {
        Err(Sense::invalid_field_in_cdb(6, Some(7)))
    }
}

/// The answer, whole.
pub(super) fn data(disk: &Disk, msf: bool, format: u8, track: u8) -> Vec<u8> {
    let last = u32::try_from(disk.blocks().0).unwrap_or(u32::MAX);
    let mut body = vec![1, 1];
    match format {
        SESSIONS => descriptor(&mut body, 1, 0, msf),
        RAW_TOC => {
            // First track and disc type CD-ROM, last track, lead-out; then the track itself.
            raw(&mut body, 0xA0, [1, 0, 0]);
            raw(&mut body, 0xA1, [1, 0, 0]);
            raw(&mut body, 0xA2, minutes(last));
            raw(&mut body, 1, minutes(0));
        }
        _ => {
            if track <= 1 {
                descriptor(&mut body, 1, 0, msf);
            }
            descriptor(&mut body, LEAD_OUT, last, msf);
        }
    }
    let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
    [&len.to_be_bytes()[..], &body].concat()
}

fn descriptor(body: &mut Vec<u8>, track: u8, lba: u32, msf: bool) {
    body.extend_from_slice(&[0, DATA_TRACK, track, 0]);
    if msf {
        let [m, s, f] = minutes(lba);
        body.extend_from_slice(&[0, m, s, f]);
    } else {
        body.extend_from_slice(&lba.to_be_bytes());
    }
}

fn raw(body: &mut Vec<u8>, point: u8, [m, s, f]: [u8; 3]) {
    body.extend_from_slice(&[1, DATA_TRACK, 0, point, 0, 0, 0, 0, m, s, f]);
}

/// Minute, second and frame of a block: 75 frames a second, and two seconds before the first. What is too far out for a
/// CD is the last place that can be said (MMC-6 6.26.3.2.4).
pub(super) fn minutes(lba: u32) -> [u8; 3] {
    let frames = lba.saturating_add(150);
    let rest = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
    match u8::try_from(frames / (60 * 75)) {
        Ok(minute) => [minute, rest(frames / 75 % 60), rest(frames % 75)],
        Err(_) => [0xFF, 59, 74],
    }
}

#[cfg(test)]
mod tests {
    use super::minutes;

    #[test]
    fn addresses_in_minutes_begin_at_two_seconds_and_end_where_a_byte_does() {
        assert_eq!(minutes(0), [0, 2, 0]);
        assert_eq!(minutes(74), [0, 2, 74]);
        assert_eq!(minutes(80 * 60 * 75 - 150), [80, 0, 0]);
        assert_eq!(minutes(256 * 60 * 75 - 151), [255, 59, 74]);
        assert_eq!(minutes(256 * 60 * 75 - 150), [255, 59, 74]);
        assert_eq!(minutes(u32::MAX), [255, 59, 74]);
    }
}
