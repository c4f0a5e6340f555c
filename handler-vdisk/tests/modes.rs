//! MODE SENSE and MODE SELECT over every page, saved values included.

mod common;

use common::*;
use lunforge_core::handler::{DeviceHandler, QueueError, UnitAttentionInterlock};
use lunforge_core::status::Status;
use lunforge_core::tmf::Function;
use lunforge_vdisk::store::*;
use lunforge_vdisk::{ParametersError, Vdisk, VdiskError};

#[test]
fn mode_pages_are_the_same_in_both_forms_and_cut_to_the_allocation_length() {
    let mut rig = over(std::sync::Arc::new(
        RamStore::new(8 * MIB).volatile_cache(true),
    ));
    let six = rig.good(&[0x1A, 0, 0x3F, 0, 255, 0], &[], 255);
    let ten = rig.good(&cdb10(0x5A, 0, 0x3F00_0000, 4096), &[], 4096);
    assert_eq!(usize::from(six[0]), six.len() - 1);
    assert_eq!(
        usize::from(u16::from_be_bytes([ten[0], ten[1]])),
        ten.len() - 2
    );
    assert_eq!(six[12..], ten[16..]);
    assert_eq!(six[2], 0x10, "DPOFUA and no WP");
    assert_eq!(
        six[4..12],
        [0, 0, 0x40, 0, 0, 0, 2, 0],
        "short block descriptor"
    );
    assert_eq!(
        rig.good(&cdb10(0x5A, 0x10, 0x3F00_0000, 4096), &[], 4096)[7],
        16,
        "long block descriptor"
    );
    let codes = walk(&six[12..]);
    assert_eq!(codes, [0x01, 0x02, 0x07, 0x08, 0x0A, 0x1C]);
    for alloc in 0..=64u8 {
        let data = rig.good(&[0x1A, 0, 0x3F, 0, alloc, 0], &[], 64);
        assert_eq!(data, six[..usize::from(alloc)], "n31");
    }
    for page in 0..0x3F {
        let known = codes.contains(&page);
        let reply = rig.run(&[0x1A, 8, page, 0, 255, 0], &[], 255);
        assert_eq!(reply.status == Status::Good, known, "page {page:02x}");
    }
    rig.fails(&[0x1A, 0, 0xC8, 0, 255, 0], &[], 255, (5, 0x39, 0));
    rig.fails(&[0x1A, 0, 0x08, 1, 255, 0], &[], 255, (5, 0x24, 0));
    assert_eq!(
        rig.good(&[0x1A, 8, 0x88, 0, 255, 0], &[], 255)[6],
        0x14,
        "default WCE"
    );
}

fn walk(mut pages: &[u8]) -> Vec<u8> {
    let mut codes = Vec::new();
    while let [code, len, rest @ ..] = pages {
        codes.push(*code);
        pages = &rest[usize::from(*len)..];
    }
    codes
}

#[test]
fn n34_a_wrong_mode_select_changes_nothing() {
    let mut rig = over(std::sync::Arc::new(
        RamStore::new(8 * MIB).volatile_cache(true),
    ));
    let before = rig.good(&[0x1A, 0, 0x3F, 0, 255, 0], &[], 255);
    let select = |len: usize| [0x15, 0x10, 0, 0, len as u8, 0];
    let (length, list) = ((5, 0x1A, 0), (5, 0x26, 0));
    rig.fails(&[0x15, 0x00, 0, 0, 24, 0], &caching(false), 0, (5, 0x24, 0));
    rig.fails(&[0x15, 0x11, 0, 0, 24, 0], &caching(false), 0, (5, 0x24, 0));
    for len in 1..4 {
        rig.fails(&select(len), &vec![0; len], 0, length);
    }
    rig.fails(&select(24), &caching(false)[..23], 0, length);
    rig.fails(&select(23), &caching(false)[..23], 0, length);
    rig.fails(&select(5), &caching(false)[..5], 0, length);
    let changed = |at: usize, value: u8| {
        let mut list = caching(false);
        list[at] = value;
        list
    };
    rig.fails(&select(24), &changed(5, 0x11), 0, list);
    rig.fails(&select(24), &changed(5, 0), 0, list);
    rig.fails(&select(24), &changed(4, 0x3F), 0, list);
    rig.fails(&select(24), &changed(4, 0x48), 0, list);
    rig.fails(&select(24), &changed(6, 0x11), 0, list);
    rig.fails(&select(24), &changed(20, 1), 0, list);
    rig.fails(&select(24), &changed(1, 1), 0, list);
    rig.fails(&select(24), &changed(3, 7), 0, list);
    rig.fails(&select(24), &changed(3, 255), 0, list);
    // A second page that is wrong undoes the first.
    let mut two = caching(false);
    two.extend(&control(0x23, 0x10, 0, 0)[4..]);
    rig.fails(&select(two.len()), &two, 0, list);
    // A block descriptor of another capacity or block length.
    let mut descriptor = vec![0, 0, 0, 8, 0, 0, 0x40, 1, 0, 0, 2, 0];
    rig.fails(&select(12), &descriptor, 0, list);
    descriptor[4..12].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 16, 0]);
    rig.fails(&select(12), &descriptor, 0, list);
    assert_eq!(rig.good(&[0x1A, 0, 0x3F, 0, 255, 0], &[], 255), before);
    descriptor[10] = 2;
    rig.good(&select(12), &descriptor, 0);
    rig.good(&select(0), &[], 0);
}

#[test]
fn mode_select_takes_effect_and_tells_the_other_nexuses() {
    let mut rig = over(std::sync::Arc::new(
        RamStore::new(8 * MIB).volatile_cache(true),
    ));
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    let select = [0x15, 0x10, 0, 0, 16, 0];
    rig.good(&select, &control(0x22, 0x10, 0x08, 0), 0);
    let reply = rig.bed.command(other, 0, &[0, 0, 0, 0, 0, 0], &[], 0);
    assert_eq!(reply.asc(), Some((0x2A, 0x01)));
    assert_eq!(
        rig.bed
            .command(other, 0, &[0, 0, 0, 0, 0, 0], &[], 0)
            .status,
        Status::Good
    );
    rig.fails(&cdb10(0x2A, 0, 0, 1), &[0; 512], 0, (7, 0x27, 2));
    assert_eq!(
        rig.good(&[0x1A, 0, 0x3F, 0, 192, 0], &[], 192)[2] & 0x80,
        0x80,
        "WP shows SWP"
    );
    // The ten-byte form: D_SENSE on, SWP off.
    let mut list = vec![0; 8];
    list.extend(&control(0x26, 0x10, 0, 0)[4..]);
    rig.good(&cdb10(0x55, 0x10, 0, 20), &list, 0);
    rig.good(&cdb10(0x2A, 0, 0, 1), &[0; 512], 0);
    rig.good(&select, &control(0x26, 0x10, 0, 0), 0);
    // A reset brings the defaults back.
    rig.bed.tmf(rig.session, 0, Function::LogicalUnitReset);
    let _attention = rig.run(&[0, 0, 0, 0, 0, 0], &[], 0);
    assert_eq!(rig.good(&[0x1A, 8, 0x0A, 0, 64, 0], &[], 64)[6], 0x22);
}

/// A page as MODE SENSE (10) gives it, without header and descriptor: header of the page included.
fn page(rig: &mut Rig, pc: u8, code: u8, subpage: u8) -> Vec<u8> {
    let cdb = [0x5A, 8, pc << 6 | code, subpage, 0, 0, 0, 2, 0, 0];
    rig.good(&cdb, &[], 512)[8..].to_vec()
}

/// All pages: code, subpage, bytes.
fn all_pages(rig: &mut Rig, pc: u8) -> Vec<(u8, u8, Vec<u8>)> {
    let all = page(rig, pc, 0x3F, 0xFF);
    let (mut at, mut pages) = (0, Vec::new());
    while at < all.len() {
        let (subpage, len) = if all[at] & 0x40 == 0 {
            (0, 2 + usize::from(all[at + 1]))
        } else {
            let len = u16::from_be_bytes([all[at + 2], all[at + 3]]);
            (all[at + 1], 4 + usize::from(len))
        };
        pages.push((all[at] & 0x3F, subpage, all[at..at + len].to_vec()));
        at += len;
    }
    assert_eq!(at, all.len(), "n35: the pages end where the list ends");
    pages
}

/// MODE SELECT (10) of these pages.
fn select(rig: &mut Rig, sp: bool, pages: &[u8]) -> lunforge_core::testing::Reply {
    let list = [&[0; 8], pages].concat();
    let [high, low] = u16::try_from(list.len()).unwrap().to_be_bytes();
    let cdb = [0x55, 0x10 | u8::from(sp), 0, 0, 0, 0, 0, high, low, 0];
    rig.run(&cdb, &list, 0)
}

fn header(page: &[u8]) -> usize {
    if page[0] & 0x40 == 0 { 2 } else { 4 }
}

/// Disks whose pages differ.
fn kinds() -> Vec<(&'static str, Rig)> {
    let ram = |volatile| std::sync::Arc::new(RamStore::new(8 * MIB).volatile_cache(volatile));
    let of = |volatile, thin, shared| {
        let disk = Vdisk::store(ram(volatile)).serial("k").block_size(512);
        Rig::new(disk.thin(thin).shared_task_set(shared).open().unwrap())
    };
    vec![
        ("plain", of(false, false, false)),
        ("thin", of(true, true, false)),
        ("volatile", of(true, false, true)),
    ]
}

#[test]
fn n35_every_page_alone_is_its_part_of_all_pages() {
    for (kind, mut rig) in kinds() {
        for pc in 0..3 {
            let all = all_pages(&mut rig, pc);
            assert!(all.is_sorted(), "{kind}");
            for (code, subpage, bytes) in &all {
                assert_eq!(
                    page(&mut rig, pc, *code, *subpage),
                    *bytes,
                    "{kind} {code:02x}"
                );
                let of_code: Vec<u8> = all
                    .iter()
                    .filter(|p| p.0 == *code)
                    .flat_map(|p| p.2.clone())
                    .collect();
                assert_eq!(
                    page(&mut rig, pc, *code, 0xFF),
                    of_code,
                    "{kind} {code:02x}/FF"
                );
            }
            let without: Vec<u8> = all
                .iter()
                .filter(|p| p.1 == 0)
                .flat_map(|p| p.2.clone())
                .collect();
            assert_eq!(
                page(&mut rig, pc, 0x3F, 0),
                without,
                "{kind}: 3F/00 has no subpages"
            );
        }
        let known: Vec<_> = all_pages(&mut rig, 0).iter().map(|p| (p.0, p.1)).collect();
        assert!(known.contains(&(0x0A, 1)));
        assert_eq!(known.contains(&(0x1C, 2)), kind == "thin");
        for code in 0..=0x3F {
            for subpage in [0, 1, 2, 3, 0x80, 0xFE, 0xFF] {
                let reply = rig.run(&[0x5A, 8, code, subpage, 0, 0, 0, 2, 0, 0], &[], 512);
                let good = match (code, subpage) {
                    (0x3F, 0 | 0xFF) => true,
                    (0x3F, _) => false,
                    (_, 0xFF) => known.iter().any(|p| p.0 == code),
                    _ => known.contains(&(code, subpage)),
                };
                assert_eq!(
                    reply.status == Status::Good,
                    good,
                    "{kind} {code:02x}/{subpage:02x}"
                );
                if !good {
                    assert_eq!(reply.asc(), Some((0x24, 0)));
                }
            }
        }
    }
}

/// Whether flipping this bit of a page makes a value that the standard reserves.
fn reserved(code: u8, subpage: u8, at: usize, bytes: &[u8]) -> bool {
    match (code, subpage, at) {
        (0x0A, 0, 3) => bytes[3] >> 1 & 3 == 2,
        (0x0A, 0, 4) => bytes[4] >> 4 & 3 == 1,
        (0x1C, 0, 3) => ![0, 2, 6].contains(&(bytes[3] & 15)),
        _ => false,
    }
}

#[test]
fn n34_every_bit_of_every_page_is_changed_and_shown_or_refused_and_kept() {
    for (kind, mut rig) in kinds() {
        let (current, masks) = (all_pages(&mut rig, 0), all_pages(&mut rig, 1));
        for ((code, subpage, bytes), (_, _, mask)) in current.iter().zip(&masks) {
            for at in header(bytes)..bytes.len() {
                for bit in 0..8 {
                    let mut new = bytes.clone();
                    new[at] ^= 1 << bit;
                    let changeable = mask[at] >> bit & 1 != 0;
                    let accepted = changeable && !reserved(*code, *subpage, at, &new);
                    let reply = select(&mut rig, false, &new);
                    let what = format!("{kind} {code:02x}/{subpage:02x} byte {at} bit {bit}");
                    if accepted {
                        assert_eq!(reply.status, Status::Good, "{what}");
                        assert_eq!(page(&mut rig, 0, *code, *subpage), new, "{what}");
                        assert_eq!(select(&mut rig, false, bytes).status, Status::Good);
                    } else {
                        assert_eq!(reply.asc(), Some((0x26, 0)), "{what}");
                    }
                    assert_eq!(all_pages(&mut rig, 0), current, "{what}");
                }
            }
        }
    }
}

#[test]
fn n34_a_page_of_another_length_or_a_list_that_is_cut_changes_nothing() {
    for (kind, mut rig) in kinds() {
        let current = all_pages(&mut rig, 0);
        for (code, subpage, bytes) in &current {
            let at = header(bytes) - 1;
            for len in [0, 1, bytes[at] - 1, bytes[at] + 1, 255] {
                let mut wrong = bytes.clone();
                wrong[at] = len;
                wrong.resize(header(bytes) + usize::from(len), 0);
                let reply = select(&mut rig, false, &wrong);
                assert_eq!(
                    reply.asc(),
                    Some((0x26, 0)),
                    "{kind} {code:02x} length {len}"
                );
            }
            // The first page is in order and the second is cut: the first must not take effect.
            let mut two = current.iter().find(|p| p.0 == 0x0A).unwrap().2.clone();
            two[2] ^= 0x04;
            let first = two.len();
            two.extend(bytes);
            for cut in first + 1..two.len() {
                let reply = select(&mut rig, false, &two[..cut]);
                assert_eq!(
                    reply.asc(),
                    Some((0x1A, 0)),
                    "{kind} {code:02x}/{subpage:02x}"
                );
            }
        }
        // Page code 3Fh, an unknown page, an unknown subpage, the sub_page format with subpage 00h.
        for wrong in [
            &[0x3F, 0][..],
            &[0x00, 0],
            &[0x19, 2, 0, 0],
            &[0x4A, 0x02, 0, 0],
            &[0x4A, 0x00, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x7F, 0xFF, 0, 0],
        ] {
            assert_eq!(
                select(&mut rig, false, wrong).asc(),
                Some((0x26, 0)),
                "{wrong:02x?}"
            );
        }
        assert_eq!(all_pages(&mut rig, 0), current, "{kind}");
        let everything: Vec<u8> = current.iter().flat_map(|p| p.2.clone()).collect();
        assert_eq!(
            select(&mut rig, false, &everything).status,
            Status::Good,
            "{kind}"
        );
    }
}

#[test]
fn the_control_page_is_what_the_pipeline_obeys() {
    let disk = Vdisk::null(MIB).shared_task_set(true).open().unwrap();
    let mut rig = Rig::new(disk.clone());
    assert_eq!(page(&mut rig, 0, 0x0A, 0)[2], 0x02, "TST 000b, GLTSD");
    assert!(disk.control().shared_task_set);
    let list = control(0x16, 0x06, 0x38, 0x40);
    rig.good(&[0x15, 0x10, 0, 0, 16, 0], &list, 0);
    let control = disk.control();
    assert_eq!(control.queue_error, QueueError::AbortNexus);
    assert_eq!(control.interlock, UnitAttentionInterlock::KeepAndEstablish);
    assert!(control.descriptor_sense && control.tmf_only && control.task_aborted_status);
    assert!(control.restricted_reordering && control.shared_task_set);
    let own = Vdisk::null(MIB).open().unwrap();
    assert!(!own.control().shared_task_set);
    assert_eq!(page(&mut Rig::new(own), 0, 0x0A, 0)[2], 0x22, "TST 001b");
}

fn with_file(dir: &std::path::Path) -> Result<Vdisk, VdiskError> {
    Vdisk::file(dir.join("d"))
        .size(8 * MIB)
        .block_size(512)
        .serial("SN")
        .parameters_file(dir.join("p"))
        .open()
}

#[test]
fn saved_values_outlive_reset_and_restart_and_current_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(with_file(dir.path()).unwrap());
    let default = page(&mut rig, 3, 0x0A, 0);
    assert_eq!(default[0], 0x8A, "PS");
    assert_eq!(
        page(&mut rig, 0, 0x02, 0)[0],
        0x02,
        "nothing of page 02h can be saved"
    );
    let mut saved = default.clone();
    saved[2] |= 0x04;
    assert_eq!(select(&mut rig, true, &saved).status, Status::Good);
    assert_eq!(page(&mut rig, 3, 0x0A, 0), saved);
    let mut current = saved.clone();
    current[5] |= 0x40;
    assert_eq!(select(&mut rig, false, &current).status, Status::Good);
    assert_eq!(page(&mut rig, 0, 0x0A, 0), current);
    assert_eq!(page(&mut rig, 3, 0x0A, 0), saved);
    rig.bed.tmf(rig.session, 0, Function::LogicalUnitReset);
    let _attention = rig.run(&[0; 6], &[], 0);
    assert_eq!(
        page(&mut rig, 0, 0x0A, 0),
        saved,
        "a reset goes back to the saved values"
    );
    // SP without a list saves what is.
    assert_eq!(select(&mut rig, false, &current).status, Status::Good);
    rig.good(&[0x15, 0x11, 0, 0, 0, 0], &[], 0);
    drop(rig);
    let mut rig = Rig::new(with_file(dir.path()).unwrap());
    assert_eq!(page(&mut rig, 0, 0x0A, 0), current);
    assert_eq!(page(&mut rig, 2, 0x0A, 0), default, "the defaults stay");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.path().join("p"))
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "n57");
}

#[test]
fn what_cannot_be_saved_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(with_file(dir.path()).unwrap());
    let before = all_pages(&mut rig, 0);
    std::fs::create_dir(dir.path().join("p.new")).unwrap();
    let mut new = page(&mut rig, 0, 0x0A, 0);
    new[2] |= 0x04;
    assert_eq!(select(&mut rig, true, &new).asc(), Some((0x44, 0)));
    assert_eq!(all_pages(&mut rig, 0), before);
    assert_eq!(
        select(&mut rig, false, &new).status,
        Status::Good,
        "SP of zero needs no file"
    );
}

#[test]
fn a_damaged_or_foreign_parameters_file_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(with_file(dir.path()).unwrap());
    rig.good(&[0x15, 0x11, 0, 0, 0, 0], &[], 0);
    drop(rig);
    let path = dir.path().join("p");
    let other = Vdisk::null(MIB)
        .serial("other")
        .parameters_file(&path)
        .open()
        .unwrap_err();
    assert!(matches!(
        other,
        VdiskError::Parameters {
            source: ParametersError::Foreign(_),
            ..
        }
    ));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[12] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = with_file(dir.path()).unwrap_err().to_string();
    assert!(
        damaged.contains(path.to_str().unwrap()) && damaged.contains("checksum"),
        "{damaged}"
    );
}

#[test]
fn n54_saved_wce_makes_no_cache_on_a_write_through_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(with_file(dir.path()).unwrap());
    rig.good(&[0x15, 0x11, 0, 0, 0, 0], &[], 0);
    assert_eq!(page(&mut rig, 3, 0x08, 0)[2] & 4, 4);
    drop(rig);
    let disk = Vdisk::file(dir.path().join("d"))
        .write_through(true)
        .serial("SN")
        .parameters_file(dir.path().join("p"));
    let mut rig = Rig::new(disk.open().unwrap());
    assert_eq!(page(&mut rig, 0, 0x08, 0)[2] & 4, 0);
    rig.bed.tmf(rig.session, 0, Function::LogicalUnitReset);
    let _attention = rig.run(&[0; 6], &[], 0);
    assert_eq!(page(&mut rig, 0, 0x08, 0)[2] & 4, 0);
}

#[test]
fn switching_a_cache_off_and_saving_empties_it_before_good() {
    let store = Recorder::new(thin_volatile());
    let dir = tempfile::tempdir().unwrap();
    let disk = Vdisk::store(store.clone())
        .serial("t")
        .parameters_file(dir.path().join("p"));
    let mut rig = Rig::new(disk.open().unwrap());
    rig.good(&[0x15, 0x11, 0, 0, 24, 0], &caching(false), 0);
    assert_eq!(store.take(), ["flush"]);
    assert_eq!(page(&mut rig, 3, 0x08, 0)[2] & 4, 0);
}
