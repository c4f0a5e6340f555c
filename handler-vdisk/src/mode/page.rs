//! The mode pages of a disk (SPC-4 7.5, SBC-4 6.5): their bytes, which of them may change, and what they mean.

use super::cdrom;
use super::values::{ReportExceptions, Values, interlock, queue_error};

/// What the pages say of a disk that does not change while it lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Thin: thresholds can be set.
    pub(crate) thin: bool,
    /// The store has a volatile cache: WCE may change.
    pub(crate) volatile: bool,
    /// TST 000b.
    pub(crate) shared_task_set: bool,
    /// There is a parameters file.
    pub(crate) savable: bool,
    /// EXTENDED SELF-TEST COMPLETION TIME in seconds.
    pub(crate) extended_self_test: u16,
    /// A CD drive.
    pub(crate) cdrom: bool,
}

/// A mode page: code, subpage, and body without the header bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) code: u8,
    pub(crate) subpage: u8,
    pub(crate) body: Vec<u8>,
}

impl Page {
    /// Bytes before the body: the header of the page_0 and of the sub_page format (SPC-4 7.5.7).
    pub(crate) fn header(subpage: u8) -> usize {
        if subpage == 0 { 2 } else { 4 }
    }

    /// A page of `len` body bytes; offsets in `set` are those of the standards' tables.
    pub(super) fn new(code: u8, subpage: u8, len: usize, set: &[(usize, u8)]) -> Self {
        let mut page = Self {
            code,
            subpage,
            body: vec![0; len],
        };
        for &(at, value) in set {
            let at = at.checked_sub(Self::header(subpage));
            if let Some(byte) = at.and_then(|at| page.body.get_mut(at)) {
                *byte = value;
            }
        }
        page
    }

    /// The byte at an offset of the standard's table.
    fn byte(&self, at: usize) -> u8 {
        at.checked_sub(Self::header(self.subpage))
            .and_then(|at| self.body.get(at))
            .copied()
            .unwrap_or(0)
    }

    /// The page as MODE SENSE returns it; `savable` is PS.
    pub(crate) fn emit(&self, savable: bool, out: &mut Vec<u8>) {
        let ps = bit(savable, 7);
        if self.subpage == 0 {
            out.push(ps | self.code);
            out.push(u8::try_from(self.body.len()).unwrap_or(u8::MAX));
        } else {
            out.extend_from_slice(&[ps | 0x40 | self.code, self.subpage]);
            let len = u16::try_from(self.body.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&len.to_be_bytes());
        }
        out.extend_from_slice(&self.body);
    }
}

fn bit(set: bool, bit: u8) -> u8 {
    u8::from(set) << bit
}

/// All pages, ascending, with these values.
pub(crate) fn pages(facts: &Facts, v: Values) -> Vec<Page> {
    let [a, b, c, d] = v.threshold_count.to_be_bytes();
    let [test_high, test_low] = facts.extended_self_test.to_be_bytes();
    let control = v.control(facts.shared_task_set);
    if facts.cdrom {
        let control = control_page(v, control.shared_task_set, [test_high, test_low]);
        return cdrom::pages(control, exceptions_page(v));
    }
    let mut pages = vec![
        // Read-write error recovery: AWRE, ARRE; LBPERE.
        Page::new(0x01, 0, 0x0A, &[(2, 0xC0), (7, bit(v.lbpere, 7))]),
        Page::new(0x02, 0, 0x0E, &[]),
        // Verify error recovery: nothing is retried or corrected here.
        Page::new(0x07, 0, 0x0A, &[]),
        // Caching: DISC, WCE.
        Page::new(0x08, 0, 0x12, &[(2, 0x10 | bit(v.wce, 2))]),
        control_page(v, control.shared_task_set, [test_high, test_low]),
        // Control extension: TCMOS and SCSIP, since the clock starts as the host's and obeys SET TIMESTAMP.
        Page::new(0x0A, 0x01, 0x1C, &[(4, 0x06)]),
        exceptions_page(v),
    ];
    if facts.thin {
        // SITUA is 0: a threshold is told to every nexus. One threshold descriptor: soft, armed when decreasing,
        // available resources.
        let set = [
            (16, bit(v.threshold_enabled, 7)),
            (17, 0x01),
            (20, a),
            (21, b),
            (22, c),
            (23, d),
        ];
        pages.push(Page::new(0x1C, 0x02, 0x14, &set));
    }
    pages
}

fn exceptions_page(v: Values) -> Page {
    let set = [(2, bit(v.dexcpt, 3) | bit(v.test, 2)), (3, v.mrie.code())];
    Page::new(0x1C, 0, 0x0A, &set)
}

fn control_page(v: Values, shared: bool, [high, low]: [u8; 2]) -> Page {
    let qerr = match v.pack() >> 4 & 3 {
        0 => 0,
        1 => 0x02,
        _ => 0x06,
    };
    let interlock = match v.pack() >> 6 & 3 {
        0 => 0,
        2 => 0x20,
        _ => 0x30,
    };
    let set = [
        // TST, TMF_ONLY, D_SENSE, GLTSD. DPICZ is 0: there is no protection information to check.
        (
            2,
            bit(!shared, 5) | bit(v.tmf_only, 4) | bit(v.d_sense, 2) | 0x02,
        ),
        (3, bit(v.reorder, 4) | qerr),
        (4, interlock | bit(v.swp, 3)),
        (5, bit(v.task_aborted, 6)),
        (10, high),
        (11, low),
    ];
    Page::new(0x0A, 0, 0x0A, &set)
}

/// The same pages with ones where MODE SELECT may change a bit.
pub(crate) fn masks(facts: &Facts) -> Vec<Page> {
    // TMF_ONLY, D_SENSE; the low bit of QUEUE ALGORITHM MODIFIER, QERR; UA_INTLCK_CTRL, SWP; TAS.
    let control = Page::new(0x0A, 0, 0x0A, &[(2, 0x14), (3, 0x16), (4, 0x38), (5, 0x40)]);
    // DEXCPT, TEST; MRIE.
    let exceptions = Page::new(0x1C, 0, 0x0A, &[(2, 0x0C), (3, 0x0F)]);
    if facts.cdrom {
        return cdrom::masks(control, exceptions);
    }
    let mut pages = vec![
        Page::new(0x01, 0, 0x0A, &[(7, bit(facts.thin, 7))]),
        Page::new(0x02, 0, 0x0E, &[]),
        Page::new(0x07, 0, 0x0A, &[]),
        Page::new(0x08, 0, 0x12, &[(2, bit(facts.volatile, 2))]),
        control,
        Page::new(0x0A, 0x01, 0x1C, &[]),
        exceptions,
    ];
    if facts.thin {
        let set = [(16, 0x80), (20, 255), (21, 255), (22, 255), (23, 255)];
        pages.push(Page::new(0x1C, 0x02, 0x14, &set));
    }
    pages
}

/// Takes over the values of a page whose unchangeable bits were compared.
///
/// # Errors
/// The offset of a byte with a reserved value, by the standard's table.
pub(crate) fn take(values: &mut Values, page: &Page) -> Result<(), usize> {
    let set = |at: usize, bit: u8| page.byte(at) >> bit & 1 != 0;
    match (page.code, page.subpage) {
        (0x01, 0) => values.lbpere = set(7, 7),
        (0x08, 0) => values.wce = set(2, 2),
        (0x0A, 0) => {
            values.queue_error = queue_error(page.byte(3) >> 1 & 3).ok_or(3usize)?;
            values.interlock = interlock(page.byte(4) >> 4 & 3).ok_or(4usize)?;
            values.tmf_only = set(2, 4);
            values.d_sense = set(2, 2);
            values.reorder = set(3, 4);
            values.swp = set(4, 3);
            values.task_aborted = set(5, 6);
        }
        (0x1C, 0) => {
            values.mrie = ReportExceptions::parse(page.byte(3) & 0x0F).ok_or(3usize)?;
            values.dexcpt = set(2, 3);
            values.test = set(2, 2);
            // Without exceptions none can be tested (SPC-4 7.5.15).
            if values.dexcpt && values.test {
                return Err(2);
            }
        }
        (0x1C, 0x02) => {
            values.threshold_enabled = set(16, 7);
            let count = [20, 21, 22, 23].map(|at| page.byte(at));
            values.threshold_count = u32::from_be_bytes(count);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_the_shape_of_the_pages_and_nothing_changes_beyond_them() {
        for bits in 0..32u8 {
            let facts = Facts {
                thin: bits & 1 != 0,
                volatile: bits & 2 != 0,
                shared_task_set: bits & 4 != 0,
                savable: bits & 8 != 0,
                extended_self_test: 7,
                cdrom: bits & 16 != 0,
            };
            let (low, high) = (
                pages(&facts, Values::unpack(0)),
                pages(&facts, Values::unpack(u64::MAX)),
            );
            let masks = masks(&facts);
            assert_eq!(low.len(), masks.len());
            for ((low, high), mask) in low.iter().zip(&high).zip(&masks) {
                assert_eq!((low.code, low.subpage), (mask.code, mask.subpage));
                assert_eq!(low.body.len(), mask.body.len());
                if low.code == 0x08 || low.code == 0x01 {
                    // WCE and LBPERE depend on the facts; `Modes` keeps them off where they cannot be.
                    continue;
                }
                for ((low, high), mask) in low.body.iter().zip(&high.body).zip(&mask.body) {
                    assert_eq!((low ^ high) & !mask, 0, "{:02x}", mask);
                }
            }
            let order: Vec<_> = masks.iter().map(|p| (p.code, p.subpage)).collect();
            assert!(order.is_sorted());
        }
    }
}
