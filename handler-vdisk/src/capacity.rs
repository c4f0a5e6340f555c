//! READ CAPACITY (10) and (16) (SBC-4 5.18, 5.19).

use crate::disk::Disk;

/// READ CAPACITY (10): FFFFFFFFh when the last LBA does not fit.
pub(crate) fn ten(disk: &Disk) -> [u8; 8] {
    let last = disk.blocks().last_lba().map_or(0, |lba| lba.0);
    let mut out = [0; 8];
    let (head, tail) = out.split_at_mut(4);
    head.copy_from_slice(&u32::try_from(last).unwrap_or(u32::MAX).to_be_bytes());
    tail.copy_from_slice(&disk.block().bytes().to_be_bytes());
    out
}

/// READ CAPACITY (16).
pub(crate) fn sixteen(disk: &Disk) -> [u8; 32] {
    let last = disk.blocks().last_lba().map_or(0, |lba| lba.0);
    let mut out = [0; 32];
    // LBPME and LBPRZ.
    let thin = if disk.settings.thin { 0xC0 } else { 0 };
    let fields: [&[u8]; 4] = [
        &last.to_be_bytes(),
        &disk.block().bytes().to_be_bytes(),
        &[0, disk.face.physical_exponent()],
        &[thin, 0],
    ];
    for (to, from) in out.iter_mut().zip(fields.iter().copied().flatten()) {
        *to = *from;
    }
    out
}
