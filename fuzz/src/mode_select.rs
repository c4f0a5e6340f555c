//! MODE SELECT against a disk: what is accepted is what MODE SENSE shows, and what is refused changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use lunforge_core::status::Status;
use lunforge_core::testing::{Bed, Reply, Session};
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::RamStore;

/// Room for all mode pages.
const ROOM: u16 = 1024;

/// A mode page: code and subpage, and its bytes behind the header.
type Pages = BTreeMap<(u8, u8), Vec<u8>>;

/// A disk and a session to it.
struct Rig {
    bed: Bed,
    session: Session,
}

impl Rig {
    /// Bits of `kind`: volatile cache, thin, shared task set.
    fn new(kind: u8) -> Self {
        let store = RamStore::new(1 << 20).volatile_cache(kind & 1 != 0);
        let disk = Vdisk::store(Arc::new(store))
            .serial("fuzz")
            .thin(kind & 2 != 0)
            .shared_task_set(kind & 4 != 0)
            .open()
            .expect("a disk in memory");
        let mut bed = Bed::new(1, disk);
        let session = bed.session(0, "iqn.2026-11.org.example:fuzz");
        Self { bed, session }
    }

    fn run(&mut self, cdb: &[u8], out: &[u8], room: u16) -> Reply {
        self.bed.command(self.session, 0, cdb, out, room.into())
    }

    /// All pages for a page control, PS left out; and the device-specific parameter.
    fn sense(&mut self, pc: u8) -> (Pages, u8) {
        let [high, low] = ROOM.to_be_bytes();
        let cdb = [0x5A, 0x08, pc << 6 | 0x3F, 0xFF, 0, 0, 0, high, low, 0];
        let reply = self.run(&cdb, &[], ROOM);
        assert_eq!(reply.status, Status::Good);
        let len = usize::from(u16::from_be_bytes([reply.data[0], reply.data[1]]));
        assert_eq!(len + 2, reply.data.len(), "n35: the length is true");
        (walk(&reply.data[8..]).expect("whole pages"), reply.data[3])
    }

    fn select(&mut self, ten: bool, list: &[u8]) -> Reply {
        let [high, low] = u16::try_from(list.len()).unwrap_or(u16::MAX).to_be_bytes();
        if ten {
            self.run(&[0x55, 0x10, 0, 0, 0, 0, 0, high, low, 0], list, 0)
        } else {
            self.run(&[0x15, 0x10, 0, 0, low, 0], list, 0)
        }
    }
}

/// The pages of a list; of a page that comes twice, the last. `None` when the list ends inside of a page.
fn walk(mut list: &[u8]) -> Option<Pages> {
    let mut pages = Pages::new();
    while let &[code, second, ref rest @ ..] = list {
        let (subpage, len, body) = if code & 0x40 == 0 {
            (0, usize::from(second), rest)
        } else {
            let &[high, low, ref body @ ..] = rest else {
                return None;
            };
            (second, usize::from(u16::from_be_bytes([high, low])), body)
        };
        pages.insert((code & 0x3F, subpage), body.get(..len)?.to_vec());
        list = body.get(len..)?;
    }
    list.is_empty().then_some(pages)
}

/// Where the pages of a parameter list begin.
fn begin(ten: bool, list: &[u8]) -> usize {
    if ten {
        8 + usize::from(u16::from_be_bytes([list[6], list[7]]))
    } else {
        4 + usize::from(list[3])
    }
}

/// A list that sets all of these pages.
fn list_of(pages: &Pages) -> Vec<u8> {
    let mut list = vec![0; 8];
    for ((code, subpage), body) in pages {
        let [high, low] = u16::try_from(body.len())
            .expect("a short page")
            .to_be_bytes();
        if *subpage == 0 {
            list.extend([*code, low]);
        } else {
            list.extend([0x40 | code, *subpage, high, low]);
        }
        list.extend(body);
    }
    list
}

/// The first byte picks the disk and the form of the command (bit 3: ten bytes); the others are the parameter list.
pub fn mode_select(bytes: &[u8]) {
    let Some((&kind, list)) = bytes.split_first() else {
        return;
    };
    let ten = kind & 8 != 0;
    let list = &list[..list.len().min(if ten { 4096 } else { 255 })];
    let mut rig = Rig::new(kind);
    let (before, masks) = (rig.sense(0), rig.sense(1).0);
    let reply = rig.select(ten, list);
    let after = rig.sense(0);
    if reply.status != Status::Good {
        let asc = reply.asc();
        assert!(
            matches!(asc, Some((0x1A | 0x26, 0))),
            "refused with {reply:?}"
        );
        assert_eq!(after, before, "refused, and changed all the same");
        return;
    }
    let asked = match list {
        [] => Pages::new(),
        list => walk(&list[begin(ten, list)..]).expect("accepted, and yet cut"),
    };
    for (page, body) in &after.0 {
        let shown = asked.get(page).unwrap_or(&before.0[page]);
        assert_eq!(body, shown, "page {page:02x?} is not what was asked for");
        for ((new, old), mask) in body.iter().zip(&before.0[page]).zip(&masks[page]) {
            assert_eq!(
                (new ^ old) & !mask,
                0,
                "page {page:02x?} changed beyond its mask"
            );
        }
    }
    assert!(asked.keys().all(|page| after.0.contains_key(page)));
    assert_eq!(
        after.1 & 0x80 != 0,
        after.0[&(0x0A, 0)][2] & 0x08 != 0,
        "WP is SWP"
    );
    let again = rig.select(true, &list_of(&after.0));
    assert_eq!(
        again.status,
        Status::Good,
        "what MODE SENSE gave was not taken back"
    );
    assert_eq!(rig.sense(0), after);
}
