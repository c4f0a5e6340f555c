//! GET CONFIGURATION (MMC-6 6.5, 5.3): the features of the drive and which of them the medium makes current.

use lunforge_core::sense::Sense;

use super::{BLOCK, Profile};
use crate::disk::Disk;

/// RT: those that are current.
const CURRENT: u8 = 1;
/// RT: the one that is asked for.
const ONE: u8 = 2;

/// A feature: code, version, and what follows its header.
struct Feature {
    code: u16,
    version: u8,
    persistent: bool,
    current: bool,
    data: Vec<u8>,
}

impl Feature {
    /// One that is always there.
    fn persistent(code: u16, version: u8, data: &[u8]) -> Self {
        Self {
            code,
            version,
            persistent: true,
            current: true,
            data: data.to_vec(),
        }
    }

    /// One that depends on the medium.
    fn of_medium(code: u16, version: u8, current: bool, data: &[u8]) -> Self {
        Self {
            persistent: false,
            current,
            ..Self::persistent(code, version, data)
        }
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.persistent) << 1 | u8::from(self.current);
        out.extend_from_slice(&self.code.to_be_bytes());
        out.push(self.version << 2 | flags);
        out.push(u8::try_from(self.data.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&self.data);
    }
}

/// All features, ascending.
fn features(profile: Option<Profile>) -> Vec<Feature> {
    let is = |wanted| profile == Some(wanted);
    let (cd, dvd) = (is(Profile::CdRom), is(Profile::DvdRom));
    let mut profiles = Vec::new();
    for (wanted, current) in [(Profile::DvdRom, dvd), (Profile::CdRom, cd)] {
        profiles.extend_from_slice(&wanted.code().to_be_bytes());
        profiles.extend_from_slice(&[u8::from(current), 0]);
    }
    let [a, b, c, d] = BLOCK.to_be_bytes();
    // BLOCKING: blocks that are read at once, of the ECC block of a DVD.
    let blocking = if dvd { 16 } else { 1 };
    vec![
        Feature::persistent(0x0000, 0, &profiles),
        // Core: PHYSICAL INTERFACE STANDARD SCSI family; DBE.
        Feature::persistent(0x0001, 2, &[0, 0, 0, 1, 0x01, 0, 0, 0]),
        // Morphing: neither asynchronous notification nor operational change events.
        Feature::persistent(0x0002, 1, &[0, 0, 0, 0]),
        // Removable medium: LOADING MECHANISM TYPE tray, LOAD, EJECT, LOCK.
        Feature::persistent(0x0003, 2, &[0x20 | 0x10 | 0x08 | 0x01, 0, 0, 0]),
        // Random readable: block length, BLOCKING.
        Feature::of_medium(0x0010, 0, cd || dvd, &[a, b, c, d, 0, blocking, 0, 0]),
        // CD read: no DAP, C2 or CD-TEXT. DVD read.
        Feature::of_medium(0x001E, 2, cd, &[0, 0, 0, 0]),
        Feature::of_medium(0x001F, 1, dvd, &[0, 0, 0, 0]),
        // Power management; timeouts.
        Feature::persistent(0x0100, 0, &[]),
        Feature::persistent(0x0105, 0, &[]),
    ]
}

/// Checks RT.
pub(super) fn check(rt: u8) -> Result<(), Sense> {
    if rt > ONE {
        return Err(Sense::invalid_field_in_cdb(1, Some(1)));
    }
    Ok(())
}

/// The answer, whole.
pub(super) fn data(disk: &Disk, rt: u8, first: u16) -> Vec<u8> {
    let profile = Profile::of(disk);
    let mut body = vec![0, 0];
    body.extend_from_slice(&profile.map_or(0, Profile::code).to_be_bytes());
    for feature in features(profile) {
        let wanted = match rt {
            ONE => feature.code == first,
            CURRENT => feature.code >= first && feature.current,
            _ => feature.code >= first,
        };
        if wanted {
            feature.emit(&mut body);
        }
    }
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes()[..], &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_ascend_and_their_data_are_whole_words() {
        for profile in [None, Some(Profile::CdRom), Some(Profile::DvdRom)] {
            let features = features(profile);
            assert!(features.windows(2).all(|two| two[0].code < two[1].code));
            assert!(features.iter().all(|f| f.data.len() % 4 == 0));
            assert!(features.iter().all(|f| f.current || !f.persistent));
        }
    }
}
