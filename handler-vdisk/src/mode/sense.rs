//! MODE SENSE (6) and (10) (SPC-4 6.13, 6.14).

use lunforge_core::cdb::{Cdb, PageControl};
use lunforge_core::handler::{Execute, Execution};
use lunforge_core::sense::Sense;

use super::cdrom;
use crate::check::unsupported;
use crate::disk::Disk;
use crate::handler::answer;

/// Bytes that an answer can have.
pub(crate) const ROOM: usize = 512;

/// PAGE CODE 3Fh: all pages.
const ALL_PAGES: u8 = 0x3F;
/// SUBPAGE CODE FFh: all subpages.
const ALL_SUBPAGES: u8 = 0xFF;

/// The fields of a MODE SENSE that shape its answer.
#[derive(Clone, Copy, Debug)]
struct Ask {
    dbd: bool,
    llbaa: bool,
    pc: PageControl,
    page: u8,
    subpage: u8,
    ten: bool,
    /// By this LUN, whatever the disk is.
    read_only: bool,
}

/// Executes MODE SENSE.
pub(crate) fn execute(disk: &Disk, command: &mut Execution<'_>) -> Execute {
    let Cdb::ModeSense {
        dbd,
        llbaa,
        pc,
        page,
        subpage,
        ten,
        ..
    } = *command.cdb()
    else {
        return Execute::Done(unsupported().into());
    };
    let ask = Ask {
        dbd,
        llbaa,
        pc,
        page,
        subpage,
        ten,
        read_only: command.itl().is_read_only(),
    };
    match data(disk, ask) {
        Ok(data) => answer(command, &data),
        Err(sense) => Execute::Done(sense.into()),
    }
}

/// The answer, whole. Subpages come with SUBPAGE CODE FFh only (SPC-4 table 185).
fn data(disk: &Disk, ask: Ask) -> Result<Vec<u8>, Sense> {
    let mut all = disk.modes.pages(ask.pc)?;
    if disk.cdrom.is_some() && ask.pc == PageControl::Current {
        cdrom::tell_lock(&mut all, disk.removal.allowed().is_err());
    }
    let masks = disk.modes.pages(PageControl::Changeable)?;
    let mut body = Vec::with_capacity(256);
    for (page, mask) in all.iter().zip(&masks) {
        let code = ask.page == ALL_PAGES || page.code == ask.page;
        if code && (ask.subpage == ALL_SUBPAGES || page.subpage == ask.subpage) {
            let changes = mask.body.iter().any(|&byte| byte != 0);
            page.emit(disk.modes.facts.savable && changes, &mut body);
        }
    }
    let known = ask.page == ALL_PAGES || all.iter().any(|page| page.code == ask.page);
    if !known {
        return Err(Sense::invalid_field_in_cdb(2, Some(5)));
    }
    // 3Fh goes with 00h and FFh only, although there are pages with the subpage code.
    if body.is_empty() || ask.page == ALL_PAGES && !matches!(ask.subpage, 0 | ALL_SUBPAGES) {
        return Err(Sense::invalid_field_in_cdb(3, Some(7)));
    }
    // A CD drive has no block descriptors.
    let descriptor = if ask.dbd || disk.cdrom.is_some() {
        Vec::new()
    } else {
        block_descriptor(disk, ask.llbaa)
    };
    Ok(with_header(disk, ask, &descriptor, &body))
}

fn with_header(disk: &Disk, ask: Ask, descriptor: &[u8], body: &[u8]) -> Vec<u8> {
    let protected = ask.read_only || disk.read_only() || disk.modes.software_write_protect();
    // WP, and DPOFUA: both bits are accepted (SBC-4 6.5.1).
    // A CD drive has no such parameters (MMC-6 7.2.2).
    let specific = match &disk.cdrom {
        Some(_) => 0,
        None => u8::from(protected) << 7 | 0x10,
    };
    let rest = descriptor.len() + body.len();
    let mut out = Vec::with_capacity(8 + rest);
    if ask.ten {
        let len = u16::try_from(6 + rest).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&[0, specific, u8::from(descriptor.len() == 16), 0]);
        out.extend_from_slice(&u16::try_from(descriptor.len()).unwrap_or(0).to_be_bytes());
    } else {
        let len = u8::try_from(3 + rest).unwrap_or(u8::MAX);
        let descriptor_len = u8::try_from(descriptor.len()).unwrap_or(0);
        out.extend_from_slice(&[len, 0, specific, descriptor_len]);
    }
    out.extend_from_slice(descriptor);
    out.extend_from_slice(body);
    out
}

/// Short or long LBA block descriptor (SBC-4 6.5.2).
pub(super) fn block_descriptor(disk: &Disk, long: bool) -> Vec<u8> {
    let (blocks, bytes) = (disk.blocks().0, disk.block().bytes());
    let mut out = Vec::with_capacity(16);
    if long {
        out.extend_from_slice(&blocks.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&bytes.to_be_bytes());
    } else {
        out.extend_from_slice(&u32::try_from(blocks).unwrap_or(u32::MAX).to_be_bytes());
        // Density code 0 and three bytes of block length.
        out.extend_from_slice(&bytes.to_be_bytes());
    }
    out
}
