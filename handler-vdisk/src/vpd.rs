//! VPD pages of block devices (SBC-4 6.6): B0h block limits, B1h characteristics, B2h logical block provisioning.
//! Every value comes from what the store declares.

use crate::disk::{Disk, MAX_UNMAP_DESCRIPTORS};
use crate::store::Capabilities;
use crate::{compare_and_write, write_atomic};

/// Page codes, ascending. A CD drive has none of them.
pub(crate) fn pages(disk: &Disk) -> Vec<u8> {
    if disk.cdrom.is_some() {
        return Vec::new();
    }
    let mut pages = vec![0xB0, 0xB1];
    if disk.settings.thin {
        pages.push(0xB2);
    }
    pages
}

/// The body of a page, without the four header bytes.
pub(crate) fn page(disk: &Disk, page: u8) -> Option<Vec<u8>> {
    match page {
        _ if disk.cdrom.is_some() => None,
        0xB0 => Some(block_limits(disk)),
        0xB1 => Some(characteristics(disk)),
        0xB2 if disk.settings.thin => Some(provisioning(disk)),
        _ => None,
    }
}

/// Writes `bytes` at the offset that the table of the standard gives, which counts the header.
fn put(body: &mut [u8], at: usize, bytes: &[u8]) {
    let place = at
        .checked_sub(4)
        .and_then(|at| body.get_mut(at..))
        .and_then(|rest| rest.get_mut(..bytes.len()));
    if let Some(place) = place {
        place.copy_from_slice(bytes);
    }
}

fn clamp32(value: u64) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes()
}

fn block_limits(disk: &Disk) -> Vec<u8> {
    let limits = disk.store().limits();
    let block = u64::from(disk.block().bytes());
    // Transfers in whole physical blocks spare the store a read-modify-write.
    let granularity = 1u64 << disk.face.physical_exponent();
    let mut body = vec![0; 60];
    // WSNZ: a WRITE SAME of zero blocks is refused.
    put(&mut body, 4, &[0x01]);
    put(
        &mut body,
        6,
        &u16::try_from(granularity).unwrap_or(u16::MAX).to_be_bytes(),
    );
    put(&mut body, 8, &clamp32(disk.max_transfer_blocks()));
    put(
        &mut body,
        12,
        &clamp32((u64::from(disk.face.optimal_transfer()) / block).min(disk.max_transfer_blocks())),
    );
    if disk.settings.thin {
        put(&mut body, 20, &clamp32(disk.max_unmap_blocks()));
        put(&mut body, 24, &MAX_UNMAP_DESCRIPTORS.to_be_bytes());
        let unit = (u64::from(limits.discard_granularity) / block).max(1);
        put(&mut body, 28, &clamp32(unit));
        // UGAVALID and the first LBA of a unit.
        let alignment = u64::from(limits.discard_alignment) / block % unit;
        put(
            &mut body,
            32,
            &(0x8000_0000 | u32::try_from(alignment).unwrap_or(0) & 0x7FFF_FFFF).to_be_bytes(),
        );
    }
    put(&mut body, 36, &disk.max_write_same_blocks().to_be_bytes());
    put(&mut body, 5, &[compare_and_write::max_blocks(disk)]);
    // No alignment, granularity or boundary is asked for: a WRITE ATOMIC goes whole to the store.
    put(&mut body, 44, &clamp32(write_atomic::max_blocks(disk)));
    body
}

fn characteristics(disk: &Disk) -> Vec<u8> {
    let mut body = vec![0; 60];
    // 1: not rotating. A rotating store does not tell its rate: 7200.
    let rotates = disk.has(Capabilities::ROTATIONAL);
    let rate: u16 = if disk.settings.rotational.unwrap_or(rotates) {
        7200
    } else {
        1
    };
    put(&mut body, 4, &rate.to_be_bytes());
    // FUAB: FUA and SYNCHRONIZE CACHE as this standard has them. VBULS: VERIFY compares unmapped blocks, as zeroes.
    put(&mut body, 8, &[0x02 | 0x01]);
    // WABEREQ 01b: after SANITIZE BLOCK ERASE reads go on as before. WACEREQ 00b: there is no CRYPTOGRAPHIC ERASE.
    if disk.settings.thin {
        put(&mut body, 7, &[0x40]);
    }
    body
}

fn provisioning(disk: &Disk) -> Vec<u8> {
    let mut body = vec![0; 4];
    put(&mut body, 4, &[disk.provisioning.exponent()]);
    // LBPU, LBPWS, LBPWS10, LBPRZ 001b: a thin disk is opened only over a store that reads zeroes after a discard.
    put(&mut body, 5, &[0x80 | 0x40 | 0x20 | 0x04]);
    // PROVISIONING TYPE 2: thin.
    put(&mut body, 6, &[0x02]);
    body
}
