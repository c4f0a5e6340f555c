//! MODE SENSE and MODE SELECT (SPC-4 6.11 to 6.14, 7.5; SBC-4 6.5): pages 01h, 02h, 08h, 0Ah, 1Ch.
//!
//! What may change is five fields; they are atomics, since commands read them on every shard. Parameter data is checked
//! whole before the first of them changes.

use std::sync::atomic::{AtomicU8, Ordering};

use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::cdb::{Cdb, PageControl};
use lunforge_core::handler::ControlMode;
use lunforge_core::sense::Sense;

use crate::disk::Disk;
use crate::store::Capabilities;

/// Bytes that an answer to MODE SENSE can have.
pub(crate) const ROOM: usize = 512;

/// The fields that MODE SELECT can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Values {
    /// Write cache enable, page 08h.
    wce: bool,
    /// Software write protect, page 0Ah.
    swp: bool,
    /// Descriptor format sense, page 0Ah.
    d_sense: bool,
    /// Queue algorithm modifier 1: unrestricted reordering, page 0Ah.
    reorder: bool,
}

impl Values {
    const fn pack(self) -> u8 {
        self.wce as u8
            | (self.swp as u8) << 1
            | (self.d_sense as u8) << 2
            | (self.reorder as u8) << 3
    }

    const fn unpack(bits: u8) -> Self {
        Self {
            wce: bits & 1 != 0,
            swp: bits & 2 != 0,
            d_sense: bits & 4 != 0,
            reorder: bits & 8 != 0,
        }
    }
}

/// Mode parameters of a disk.
#[derive(Debug)]
pub(crate) struct Modes {
    current: AtomicU8,
    default: Values,
    wce_changeable: bool,
}

impl Modes {
    pub(crate) fn new(capabilities: Capabilities) -> Self {
        let volatile = capabilities.contains(Capabilities::VOLATILE_CACHE);
        let default = Values {
            wce: volatile,
            swp: false,
            d_sense: false,
            reorder: true,
        };
        Self {
            current: AtomicU8::new(default.pack()),
            default,
            wce_changeable: volatile,
        }
    }

    fn values(&self) -> Values {
        // Relaxed: each field stands for itself.
        Values::unpack(self.current.load(Ordering::Relaxed))
    }

    /// WCE: a finished write may still be in a volatile cache.
    pub(crate) fn wce(&self) -> bool {
        self.values().wce
    }

    /// SWP.
    pub(crate) fn software_write_protect(&self) -> bool {
        self.values().swp
    }

    /// Back to the defaults. The default of WCE is what the store is: a reset never makes a write-through disk cache.
    pub(crate) fn reset(&self) {
        self.current.store(self.default.pack(), Ordering::Relaxed);
    }

    pub(crate) fn control(&self) -> ControlMode {
        let values = self.values();
        ControlMode {
            descriptor_sense: values.d_sense,
            restricted_reordering: !values.reorder,
            ..ControlMode::default()
        }
    }

    /// The pages as `control` asks for them.
    fn pages(&self, control: PageControl) -> Result<Vec<Page>, Sense> {
        match control {
            PageControl::Current => Ok(pages(self.values())),
            PageControl::Default => Ok(pages(self.default)),
            PageControl::Changeable => Ok(masks(self.wce_changeable)),
            PageControl::Saved => Err(Sense::illegal_request(Asc::SAVING_PARAMETERS_NOT_SUPPORTED)),
        }
    }
}

/// A mode page: code and body without the two header bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Page {
    code: u8,
    body: Vec<u8>,
}

impl Page {
    fn new(code: u8, len: usize, set: &[(usize, u8)]) -> Self {
        let mut body = vec![0; len];
        for &(at, value) in set {
            // Offsets below are those of the standards' tables: byte 2 is the first after the header.
            if let Some(byte) = at.checked_sub(2).and_then(|at| body.get_mut(at)) {
                *byte = value;
            }
        }
        Self { code, body }
    }

    fn byte(&self, at: usize) -> u8 {
        at.checked_sub(2)
            .and_then(|at| self.body.get(at))
            .copied()
            .unwrap_or(0)
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.code);
        out.push(u8::try_from(self.body.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&self.body);
    }
}

fn bit(set: bool, bit: u8) -> u8 {
    u8::from(set) << bit
}

fn pages(v: Values) -> Vec<Page> {
    vec![
        // Read-write error recovery: AWRE, ARRE.
        Page::new(0x01, 0x0A, &[(2, 0xC0)]),
        Page::new(0x02, 0x0E, &[]),
        // Caching: DISC, WCE.
        Page::new(0x08, 0x12, &[(2, 0x10 | bit(v.wce, 2))]),
        // Control: TST 001b (a task set per I_T nexus), D_SENSE, GLTSD; QAM; SWP.
        Page::new(
            0x0A,
            0x0A,
            &[
                (2, 0x22 | bit(v.d_sense, 2)),
                (3, bit(v.reorder, 4)),
                (4, bit(v.swp, 3)),
            ],
        ),
        // Informational exceptions: DEXCPT, there are none.
        Page::new(0x1C, 0x0A, &[(2, 0x08)]),
    ]
}

fn masks(wce: bool) -> Vec<Page> {
    vec![
        Page::new(0x01, 0x0A, &[]),
        Page::new(0x02, 0x0E, &[]),
        Page::new(0x08, 0x12, &[(2, bit(wce, 2))]),
        Page::new(0x0A, 0x0A, &[(2, 0x04), (3, 0x10), (4, 0x08)]),
        Page::new(0x1C, 0x0A, &[]),
    ]
}

/// The fields of a MODE SENSE that shape its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) dbd: bool,
    pub(crate) llbaa: bool,
    pub(crate) pc: PageControl,
    pub(crate) page: u8,
    pub(crate) subpage: u8,
    pub(crate) ten: bool,
}

impl Ask {
    /// Those of a MODE SENSE, `None` for other commands.
    pub(crate) fn of(cdb: &Cdb) -> Option<Self> {
        let Cdb::ModeSense {
            dbd,
            llbaa,
            pc,
            page,
            subpage,
            ten,
            ..
        } = *cdb
        else {
            return None;
        };
        Some(Self {
            dbd,
            llbaa,
            pc,
            page,
            subpage,
            ten,
        })
    }
}

/// The answer to MODE SENSE, whole; the caller cuts it to the allocation length.
pub(crate) fn sense(disk: &Disk, ask: Ask) -> Result<Vec<u8>, Sense> {
    if !(ask.subpage == 0 || ask.subpage == 0xFF) {
        return Err(Sense::invalid_field_in_cdb(3, Some(7)));
    }
    let all = disk.modes.pages(ask.pc)?;
    let mut body = Vec::with_capacity(128);
    for page in all
        .iter()
        .filter(|page| ask.page == 0x3F || page.code == ask.page)
    {
        page.emit(&mut body);
    }
    if body.is_empty() {
        return Err(Sense::invalid_field_in_cdb(2, Some(5)));
    }
    let descriptor = if ask.dbd {
        Vec::new()
    } else {
        block_descriptor(disk, ask.llbaa)
    };
    Ok(with_header(disk, ask, &descriptor, &body))
}

fn with_header(disk: &Disk, ask: Ask, descriptor: &[u8], body: &[u8]) -> Vec<u8> {
    let protected = disk.read_only() || disk.modes.software_write_protect();
    // WP, and DPOFUA: both bits are accepted (SBC-4 6.5.1).
    let specific = bit(protected, 7) | 0x10;
    let rest = descriptor.len() + body.len();
    let mut out = Vec::with_capacity(8 + rest);
    if ask.ten {
        let len = u16::try_from(6 + rest).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&[0, specific, u8::from(descriptor.len() == 16), 0]);
        out.extend_from_slice(&u16::try_from(descriptor.len()).unwrap_or(0).to_be_bytes());
    } else {
        let len = u8::try_from(3 + rest).unwrap_or(u8::MAX);
        out.extend_from_slice(&[
            len,
            0,
            specific,
            u8::try_from(descriptor.len()).unwrap_or(0),
        ]);
    }
    out.extend_from_slice(descriptor);
    out.extend_from_slice(body);
    out
}

/// Short or long LBA block descriptor (SBC-4 6.5.2).
fn block_descriptor(disk: &Disk, long: bool) -> Vec<u8> {
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

/// Checks a MODE SELECT parameter list; the values it asks for.
fn select(disk: &Disk, list: &[u8], ten: bool) -> Result<Values, Sense> {
    let short = || Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR);
    let (header, descriptor_len) = match (ten, list) {
        (false, &[_, _, _, len, ..]) => (4, usize::from(len)),
        (true, &[_, _, _, _, _, _, high, low, ..]) => {
            (8, usize::from(u16::from_be_bytes([high, low])))
        }
        _ => return Err(short()),
    };
    let medium_type = list.get(if ten { 2 } else { 1 }).copied().unwrap_or(0);
    if medium_type != 0 {
        return Err(Sense::invalid_field_in_parameter_list(
            if ten { 2 } else { 1 },
            None,
        ));
    }
    let long = ten && list.get(4).is_some_and(|byte| byte & 1 != 0);
    check_descriptor(disk, list, header, descriptor_len, long)?;
    let mut at = header + descriptor_len;
    let mut values = disk.modes.values();
    while at < list.len() {
        let rest = list.get(at..).unwrap_or_default();
        let &[code, len, ref body @ ..] = rest else {
            return Err(short());
        };
        let body = body.get(..usize::from(len)).ok_or_else(short)?;
        check_page(disk, &mut values, code & 0x7F, body, at)?;
        at += 2 + body.len();
    }
    Ok(values)
}

fn wrong(at: usize) -> Sense {
    Sense::invalid_field_in_parameter_list(u16::try_from(at).unwrap_or(u16::MAX), None)
}

/// A block descriptor may be absent or say what is so already: neither capacity nor block length can be set.
fn check_descriptor(
    disk: &Disk,
    list: &[u8],
    header: usize,
    len: usize,
    long: bool,
) -> Result<(), Sense> {
    let length_at = if header == 8 { 6 } else { 3 };
    let fields = match (len, long) {
        (0, _) => return Ok(()),
        (8, false) => list.get(header..header + 8),
        (16, true) => list.get(header..header + 16),
        _ => return Err(wrong(length_at)),
    };
    let Some(fields) = fields else {
        return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
    };
    let now = block_descriptor(disk, long);
    let count = len / 2;
    let (blocks, rest) = (fields.get(..count), fields.get(count..));
    let same = blocks == now.get(..count);
    let keep = blocks.is_some_and(|b| b.iter().all(|&x| x == 0) || b.iter().all(|&x| x == 0xFF));
    if !(same || keep) {
        return Err(wrong(header));
    }
    if rest != now.get(count..) {
        return Err(wrong(header + count));
    }
    Ok(())
}

fn check_page(
    disk: &Disk,
    values: &mut Values,
    code: u8,
    body: &[u8],
    at: usize,
) -> Result<(), Sense> {
    let current = disk.modes.pages(PageControl::Current)?;
    let changeable = disk.modes.pages(PageControl::Changeable)?;
    let find = |pages: &[Page]| pages.iter().find(|page| page.code == code).cloned();
    let (Some(current), Some(mask)) = (find(&current), find(&changeable)) else {
        return Err(wrong(at));
    };
    if body.len() != current.body.len() {
        return Err(wrong(at + 1));
    }
    for (i, ((&new, &old), &mask)) in body.iter().zip(&current.body).zip(&mask.body).enumerate() {
        if (new ^ old) & !mask != 0 {
            return Err(wrong(at + 2 + i));
        }
    }
    let new = Page {
        code,
        body: body.to_vec(),
    };
    match code {
        0x08 => values.wce = new.byte(2) & 0x04 != 0,
        0x0A => {
            values.d_sense = new.byte(2) & 0x04 != 0;
            values.reorder = new.byte(3) & 0x10 != 0;
            values.swp = new.byte(4) & 0x08 != 0;
        }
        _ => {}
    }
    Ok(())
}

/// What a MODE SELECT does after its checks.
pub(crate) enum Selected {
    /// Nothing changes.
    Same,
    /// It changed; others are told MODE PARAMETERS CHANGED.
    Changed,
    /// It changed, and the cache that was switched off must be emptied (SBC-4 6.5.5).
    Flush,
}

/// Executes MODE SELECT on its parameter list.
pub(crate) fn apply(disk: &Disk, buf: &IoBuf, len: usize, ten: bool) -> Result<Selected, Sense> {
    if len == 0 {
        return Ok(Selected::Same);
    }
    if buf.len() < len {
        return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }
    let new = select(disk, &buf.to_vec(0..len), ten)?;
    let old = Values::unpack(disk.modes.current.swap(new.pack(), Ordering::Relaxed));
    Ok(match (old == new, old.wce && !new.wce) {
        (true, _) => Selected::Same,
        (false, false) => Selected::Changed,
        (false, true) => Selected::Flush,
    })
}
