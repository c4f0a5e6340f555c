//! Parameter lists at their extremes: of the greatest length, full of nothing, of pages that contain no end.

mod common;

use common::*;
use lunforge_core::status::Status;
use lunforge_vdisk::store::RamStore;

fn rig() -> Rig {
    over(std::sync::Arc::new(RamStore::new(8 * MIB)))
}

fn mode_select(len: usize) -> [u8; 10] {
    let [high, low] = (len as u16).to_be_bytes();
    [0x55, 0x10, 0, 0, 0, 0, 0, high, low, 0]
}

#[test]
fn n35_a_mode_list_of_pages_without_length_comes_to_an_end() {
    let mut rig = rig();
    let all = [0x5A, 0x08, 0x3F, 0xFF, 0, 0, 0, 4, 0, 0];
    let before = rig.good(&all, &[], 1024);
    // Page codes and subpages: the vendor page, a known one, all pages, all subpages of all pages.
    let endless: [&[u8]; 6] = [
        &[0x00, 0],
        &[0x08, 0],
        &[0x3F, 0],
        &[0x7F, 0xFF, 0, 0],
        &[0x4A, 0xFF, 0, 0],
        &[0xBF, 0],
    ];
    for page in endless {
        for len in [10, 12, 255, 4096, 65_534, 65_535] {
            let mut list = vec![0; 8];
            list.extend(page.iter().copied().cycle().take(len - 8));
            let reply = rig.run(&mode_select(len), &list, 0);
            assert_eq!(reply.status, Status::CheckCondition, "{page:02x?} {len}");
            assert!(
                matches!(reply.asc(), Some((0x1A | 0x26, 0))),
                "{page:02x?} {len}: {:?}",
                reply.asc()
            );
        }
    }
    assert_eq!(rig.good(&all, &[], 1024), before);
}

#[test]
fn n35_mode_sense_of_all_pages_ends_and_names_each_page_once() {
    let mut rig = rig();
    for subpage in [0, 0xFF] {
        let data = rig.good(
            &[0x5A, 0x08, 0x3F, subpage, 0, 0, 0, 0xFF, 0xFF, 0],
            &[],
            65_535,
        );
        let (mut pages, mut codes) = (&data[8..], Vec::new());
        while let [code, second, rest @ ..] = pages {
            let (id, len) = if code & 0x40 == 0 {
                ((code & 0x3F, 0), 2 + usize::from(*second))
            } else {
                let len = u16::from_be_bytes([rest[0], rest[1]]);
                ((code & 0x3F, *second), 4 + usize::from(len))
            };
            assert!(len > 2 && !codes.contains(&id), "{id:02x?}");
            codes.push(id);
            pages = &pages[len..];
        }
        assert!(pages.is_empty() && !codes.is_empty());
    }
}

#[test]
fn n43_an_unmap_list_of_the_greatest_length_is_refused_or_does_nothing() {
    let mut rig = rig();
    rig.good(&cdb10(0x2A, 0, 0, 128), &[9; 65_536], 0);
    let unmap = cdb10(0x42, 0, 0, 0xFFFF);
    // 4095 descriptors: of blocks, of no blocks.
    for blocks in [1u32, 0] {
        let mut list = vec![0xFF, 0xFD, 0xFF, 0xF0, 0, 0, 0, 0];
        for lba in 0..4095u64 {
            list.extend(lba.to_be_bytes());
            list.extend(blocks.to_be_bytes());
            list.extend([0; 4]);
        }
        list.resize(0xFFFF, 0);
        let reply = rig.run(&unmap, &list, 0);
        assert!(
            matches!(reply.asc(), Some((0x1A | 0x26, 0))),
            "{blocks}: {reply:?}"
        );
    }
    // Zeroes: a header that says nothing follows.
    let reply = rig.run(&unmap, &vec![0; 0xFFFF], 0);
    assert!(reply.responded);
    assert_eq!(rig.good(&cdb10(0x28, 0, 0, 128), &[], 65_536), [9; 65_536]);
}

#[test]
fn n42_write_same_with_unmap_of_nothing_anchored_and_beyond_the_limit_changes_nothing() {
    let mut rig = over(std::sync::Arc::new(RamStore::new(512 * MIB)));
    rig.good(&cdb10(0x2A, 0, 0, 128), &[9; 65_536], 0);
    let beyond = (16 * MIB / 512) as u32 + 1;
    // UNMAP, ANCHOR, NDOB in every combination; a length of zero, and one over MAXIMUM WRITE SAME LENGTH.
    for flags in [0x00, 0x08, 0x10, 0x18, 0x01, 0x09, 0x11, 0x19] {
        for blocks in [0, beyond, u32::MAX] {
            let out = if flags & 1 == 0 { &[0u8; 512][..] } else { &[] };
            let reply = rig.run(&cdb16(0x93, flags, 0, blocks), out, 0);
            assert!(
                matches!(reply.asc(), Some((0x24 | 0x21, 0))),
                "{flags:02x} {blocks}: {reply:?}"
            );
        }
    }
    rig.fails(&cdb16(0x93, 0x18, 0, 8), &[0; 512], 0, (5, 0x24, 0));
    rig.fails(&cdb16(0x93, 0x10, 0, 8), &[0; 512], 0, (5, 0x24, 0));
    assert_eq!(rig.good(&cdb10(0x28, 0, 0, 128), &[], 65_536), [9; 65_536]);
}
