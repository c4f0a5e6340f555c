//! The mode pages of a CD drive (MMC-6 7): its own, and those that it shares with disks.

use super::page::Page;

const ERROR_RECOVERY: u8 = 0x01;
const POWER_CONDITION: u8 = 0x1A;
const TIMEOUT_AND_PROTECT: u8 = 0x1D;
const CAPABILITIES: u8 = 0x2A;

/// Bytes of a second of a CD, in thousands, times 48.
const SPEED: u16 = 176 * 48;
/// Kilobytes of a buffer that a drive would have.
const BUFFER: u16 = 2048;

/// All pages, ascending.
pub(super) fn pages(control: Page, exceptions: Page) -> Vec<Page> {
    vec![
        Page::new(ERROR_RECOVERY, 0, 0x0A, &[]),
        control,
        // The timers are off.
        Page::new(POWER_CONDITION, 0, 0x0A, &[]),
        exceptions,
        Page::new(TIMEOUT_AND_PROTECT, 0, 0x08, &[]),
        capabilities(),
    ]
}

/// The same pages with ones where MODE SELECT may change a bit.
pub(super) fn masks(control: Page, exceptions: Page) -> Vec<Page> {
    vec![
        Page::new(ERROR_RECOVERY, 0, 0x0A, &[]),
        control,
        Page::new(POWER_CONDITION, 0, 0x0A, &[]),
        exceptions,
        Page::new(TIMEOUT_AND_PROTECT, 0, 0x08, &[]),
        Page::new(CAPABILITIES, 0, 0x14, &[]),
    ]
}

/// MM capabilities and mechanical status: of MMC-6 only the code is left, but the drivers of Linux and Windows read it.
fn capabilities() -> Page {
    let ([fast, er], [buffer, size]) = (SPEED.to_be_bytes(), BUFFER.to_be_bytes());
    let set = [
        // Reads CD-R, CD-RW, method 2, DVD-ROM, DVD-R; writes nothing.
        (2, 0x1F),
        // MODE 2 FORM 1 and 2, MULTI SESSION.
        (4, 0x70),
        // LOADING MECHANISM TYPE tray; EJECT, LOCK.
        (6, 0x20 | 0x08 | 0x01),
        (8, fast),
        (9, er),
        (12, buffer),
        (13, size),
        (14, fast),
        (15, er),
    ];
    Page::new(CAPABILITIES, 0, 0x14, &set)
}

/// LOCK STATE: removal is prevented now.
pub(super) fn tell_lock(pages: &mut [Page], locked: bool) {
    let page = pages.iter_mut().find(|page| page.code == CAPABILITIES);
    if let Some(byte) = page.and_then(|page| page.body.get_mut(4)) {
        *byte |= u8::from(locked) << 1;
    }
}
