//! Everything that a disk says of itself agrees: operation codes, VPD pages, mode pages, log pages, and what it does.

mod common;

use common::*;
use lunforge_core::cdb::{CommandId, OpcodeEntry, table::TABLE};
use lunforge_core::sense::SenseSpecific;
use lunforge_core::status::Status;
use lunforge_core::testing::Reply;
use lunforge_vdisk::store::*;
use lunforge_vdisk::{Vdisk, VdiskBuilder};

/// A kind of disk: how it is called, the disk, and its folder if it has one.
struct Kind {
    name: &'static str,
    rig: Rig,
    _dir: Option<tempfile::TempDir>,
}

fn kinds() -> Vec<Kind> {
    let plain = |name, builder: VdiskBuilder| Kind {
        name,
        rig: Rig::new(builder.open().unwrap()),
        _dir: None,
    };
    let in_folder = |name, make: &dyn Fn(&std::path::Path) -> VdiskBuilder| {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::new(make(dir.path()).open().unwrap());
        Kind {
            name,
            rig,
            _dir: Some(dir),
        }
    };
    let null = || Vdisk::null(1 << 40);
    let file = |dir: &std::path::Path| Vdisk::file(dir.join("d")).size(8 * MIB);
    let ram = |volatile| std::sync::Arc::new(RamStore::new(8 * MIB).volatile_cache(volatile));
    vec![
        plain("null", null()),
        plain("null thin", null().thin(true)),
        plain("null thin 4k", null().thin(true).block_size(4096)),
        plain("null 4k", null().block_size(4096)),
        plain("removable", null().removable(true)),
        plain("shared task set", null().shared_task_set(true)),
        plain(
            "volatile",
            Vdisk::store(ram(true)).serial("v").block_size(512),
        ),
        plain(
            "thin volatile",
            Vdisk::store(ram(true)).serial("t").thin(true),
        ),
        in_folder("file", &file),
        in_folder("thin file", &|dir| file(dir).thin(true).space_threshold(1)),
        in_folder("write-through file", &|dir| file(dir).write_through(true)),
        in_folder("nv cache file", &|dir| file(dir).nv_cache(true)),
        in_folder("saving file", &|dir| {
            file(dir).parameters_file(dir.join("p"))
        }),
        in_folder("read-only file", &|dir| {
            std::fs::write(dir.join("d"), vec![0; 8 << 20]).unwrap();
            Vdisk::file(dir.join("d")).read_only(true)
        }),
        in_folder("thin read-only file", &|dir| {
            std::fs::write(dir.join("d"), vec![0; 8 << 20]).unwrap();
            Vdisk::file(dir.join("d")).thin(true).read_only(true)
        }),
    ]
}

/// Runs a command with all unit attentions out of the way.
fn run(rig: &mut Rig, cdb: &[u8]) -> Reply {
    while rig.run(&[0; 6], &[], 0).status == Status::CheckCondition {
        if rig.run(&[0x1B, 0, 0, 0, 3, 0], &[], 0).status == Status::CheckCondition {
            break;
        }
    }
    rig.run(cdb, &[], 4096)
}

/// A CDB of zeroes but for opcode and service action.
fn bare(row: &OpcodeEntry) -> Vec<u8> {
    let mut cdb = vec![0; row.cdb_len()];
    cdb[0] = row.opcode;
    if let Some(action) = row.service_action {
        if row.opcode == 0x7F {
            cdb[7] = 0x18;
            cdb[8..10].copy_from_slice(&action.to_be_bytes());
        } else {
            cdb[1] = action as u8;
        }
    }
    cdb
}

/// Commands that REPORT SUPPORTED OPERATION CODES lists: opcode, service action.
fn reported(rig: &mut Rig) -> Vec<(u8, Option<u16>)> {
    let data = rig.good(&cdb12(0xA3, 0x0C, 0, 8192), &[], 8192);
    assert_eq!(
        data.len() - 4,
        u32::from_be_bytes(data[..4].try_into().unwrap()) as usize
    );
    let each = |d: &[u8]| {
        let action = (d[5] & 1 != 0).then(|| u16::from_be_bytes([d[2], d[3]]));
        (d[0], action)
    };
    data[4..].chunks(8).map(each).collect()
}

fn points_at(reply: &Reply, byte: u16) -> bool {
    matches!(
        reply.sense.as_ref().map(|sense| sense.specific),
        Some(SenseSpecific::FieldPointer { in_cdb: true, byte: at, .. }) if at == byte
    )
}

fn commands_agree(name: &str, rig: &mut Rig) {
    let reported = reported(rig);
    for row in &TABLE {
        let cdb = bare(row);
        let reply = run(rig, &cdb);
        let known = reported.contains(&(row.opcode, row.service_action));
        let siblings = reported.iter().any(|(opcode, _)| *opcode == row.opcode);
        let action_at = if row.opcode == 0x7F { 8 } else { 1 };
        let no_action = row.service_action.is_some()
            && reply.asc() == Some((0x24, 0))
            && points_at(&reply, action_at);
        match (known, siblings && row.service_action.is_some()) {
            (true, _) => {
                assert_ne!(reply.asc(), Some((0x20, 0)), "{name}: {}", row.name);
                assert!(!no_action, "{name}: {}", row.name);
                usage_is_honoured(name, rig, row);
            }
            (false, true) => assert!(no_action, "{name}: {} {reply:?}", row.name),
            (false, false) => {
                assert_eq!(reply.asc(), Some((0x20, 0)), "{name}: {}", row.name);
            }
        }
    }
    for opcode in 0..=0xFFu8 {
        if TABLE.iter().all(|row| row.opcode != opcode) {
            let mut cdb = [0; 16];
            cdb[0] = opcode;
            assert_eq!(
                run(rig, &cdb).asc(),
                Some((0x20, 0)),
                "{name}: {opcode:02x}"
            );
        }
    }
}

/// The usage data is that of the table, and a bit outside of it is refused with a pointer to it.
fn usage_is_honoured(name: &str, rig: &mut Rig, row: &OpcodeEntry) {
    let [high, low] = row.service_action.unwrap_or(0).to_be_bytes();
    let cdb = [0xA3, 0x0C, 3, row.opcode, high, low, 0, 0, 1, 0, 0, 0];
    let data = rig.good(&cdb, &[], 256);
    assert_eq!(
        (data[1] & 7, &data[4..]),
        (3, row.usage),
        "{name}: {}",
        row.name
    );
    let control = if row.opcode == 0x7F {
        1
    } else {
        row.cdb_len() - 1
    };
    for at in (1..row.cdb_len()).filter(|at| *at != control) {
        for bit in 0..8 {
            // The bits of the service action name another command.
            let action = row.service_action.is_some()
                && (at == 1 && bit < 5 || row.opcode == 0x7F && at < 10);
            if row.usage[at] >> bit & 1 != 0 || action {
                continue;
            }
            let mut cdb = bare(row);
            cdb[at] |= 1 << bit;
            let reply = run(rig, &cdb);
            assert_eq!(
                reply.asc(),
                Some((0x24, 0)),
                "{name}: {} byte {at} bit {bit}",
                row.name
            );
            assert!(
                points_at(&reply, at as u16),
                "{name}: {} byte {at} bit {bit}",
                row.name
            );
        }
    }
}

/// The VPD pages that page 00h lists.
fn vpd_pages(name: &str, rig: &mut Rig) -> Vec<u8> {
    let list = rig.good(&[0x12, 1, 0, 0, 255, 0], &[], 255);
    let pages = list[4..].to_vec();
    assert!(pages.is_sorted());
    for page in 0..=0xFF {
        let reply = run(rig, &[0x12, 1, page, 1, 0, 0]);
        if pages.contains(&page) {
            assert_eq!(reply.status, Status::Good, "{name}: VPD page {page:02x}");
            assert_eq!(reply.data[1], page);
            let len = usize::from(u16::from_be_bytes([reply.data[2], reply.data[3]]));
            assert_eq!(reply.data.len(), 4 + len, "{name}: VPD page {page:02x}");
        } else {
            assert_eq!(reply.asc(), Some((0x24, 0)), "{name}: VPD page {page:02x}");
        }
    }
    pages
}

/// The mode pages that 3Fh/FFh lists, each of which answers alone, in every PC that it offers.
fn mode_pages(name: &str, rig: &mut Rig, saving: bool) -> Vec<(u8, u8)> {
    let all = rig.good(&[0x5A, 8, 0x3F, 0xFF, 0, 0, 0, 4, 0, 0], &[], 1024)[8..].to_vec();
    let (mut at, mut pages) = (0, Vec::new());
    while at < all.len() {
        let (subpage, len) = if all[at] & 0x40 == 0 {
            (0, 2 + usize::from(all[at + 1]))
        } else {
            (
                all[at + 1],
                4 + usize::from(u16::from_be_bytes([all[at + 2], all[at + 3]])),
            )
        };
        for pc in 0..4 {
            let cdb = [0x5A, 8, pc << 6 | all[at] & 0x3F, subpage, 0, 0, 0, 4, 0, 0];
            let reply = run(rig, &cdb);
            if pc == 3 && !saving {
                assert_eq!(reply.asc(), Some((0x39, 0)), "{name}");
                continue;
            }
            assert_eq!(reply.data.len(), 8 + len, "{name}: page {:02x}", all[at]);
            if pc == 0 {
                assert_eq!(
                    reply.data[8..],
                    all[at..at + len],
                    "{name}: page {:02x}",
                    all[at]
                );
            }
        }
        assert!(saving || all[at] & 0x80 == 0, "{name}: PS without a file");
        pages.push((all[at] & 0x3F, subpage));
        at += len;
    }
    pages
}

fn has(reported: &[(u8, Option<u16>)], command: CommandId) -> bool {
    let row = command.entry();
    reported.contains(&(row.opcode, row.service_action))
}

/// What different pages say of the same thing.
fn pages_agree(name: &str, rig: &mut Rig) {
    let reported = reported(rig);
    let saving = has(&reported, CommandId::SetIdentifyingInformation);
    let (vpd, modes) = (vpd_pages(name, rig), mode_pages(name, rig, saving));
    let capacity = rig.good(&cdb16(0x9E, 0x10, 0, 32), &[], 32);
    let thin = capacity[14] & 0x80 != 0;
    assert_eq!(thin, has(&reported, CommandId::Unmap), "{name}");
    assert_eq!(thin, has(&reported, CommandId::GetLbaStatus), "{name}");
    assert_eq!(thin, vpd.contains(&0xB2), "{name}");
    assert_eq!(thin, modes.contains(&(0x1C, 2)), "{name}");
    let logs = rig.good(&[0x4D, 0, 0, 0, 0, 0, 0, 1, 0, 0], &[], 256);
    assert_eq!(thin, logs[4..].contains(&0x0C), "{name}");
    let limits = rig.good(&[0x12, 1, 0xB0, 0, 64, 0], &[], 64);
    assert_eq!(
        thin,
        limits[20..24] != [0; 4],
        "{name}: MAXIMUM UNMAP LBA COUNT"
    );
    assert_eq!(limits[32] & 0x80 != 0, thin, "{name}: UGAVALID");
    if thin {
        let b2 = rig.good(&[0x12, 1, 0xB2, 0, 64, 0], &[], 64);
        assert_eq!(b2[5] & 0xE0, 0xE0, "{name}: LBPU, LBPWS, LBPWS10");
        assert_eq!(
            (b2[5] >> 2 & 7 != 0),
            capacity[14] & 0x40 != 0,
            "{name}: LBPRZ"
        );
    }
    let inquiry = rig.good(&[0x12, 0, 0, 0, 96, 0], &[], 96);
    let removable = inquiry[1] & 0x80 != 0;
    assert_eq!(
        removable,
        has(&reported, CommandId::PreventAllowMediumRemoval),
        "{name}"
    );
    assert_eq!(
        run(rig, &[0x1B, 0, 0, 0, 2, 0]).status == Status::Good,
        removable,
        "{name}"
    );
    let header = run(rig, &[0x1A, 8, 0x08, 0, 64, 0]).data;
    let (protected, wce) = (header[2] & 0x80 != 0, header[6] & 4 != 0);
    let block = u32::from_be_bytes(capacity[8..12].try_into().unwrap()) as usize;
    let wrote = rig.run(&cdb10(0x2A, 0, 0, 1), &vec![0; block], 0);
    assert_eq!(wrote.asc() == Some((0x27, 0)), protected, "{name}: WP");
    let extended = rig.good(&[0x12, 1, 0x86, 0, 64, 0], &[], 64);
    assert_eq!(extended[6] & 1 != 0, wce, "{name}: V_SUP");
    let select = rig.run(&[0x15, 0x11, 0, 0, 0, 0], &[], 0);
    assert_eq!(select.status == Status::Good, saving, "{name}: SP");
    assert_eq!(select.asc() == Some((0x24, 0)), !saving, "{name}: SP");
}

#[test]
fn every_kind_of_device_says_one_thing() {
    for Kind { name, mut rig, .. } in kinds() {
        commands_agree(name, &mut rig);
        pages_agree(name, &mut rig);
    }
}

/// UNMAP of extents that follow each other.
fn unmap(rig: &mut Rig, blocks: &[u32]) -> Reply {
    let mut list = vec![0; 8];
    let mut lba = 0u64;
    for blocks in blocks {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
        lba += u64::from(*blocks);
    }
    let len = list.len() as u16;
    list[..2].copy_from_slice(&(len - 2).to_be_bytes());
    list[2..4].copy_from_slice(&(len - 8).to_be_bytes());
    rig.run(&cdb10(0x42, 0, 0, len), &list, 0)
}

/// WP of MODE SENSE.
fn write_protected(rig: &mut Rig) -> bool {
    rig.good(&[0x1A, 8, 0x08, 0, 64, 0], &[], 64)[2] & 0x80 != 0
}

/// COMPARE AND WRITE of `limit` blocks of zeroes over zeroes, and of one more.
fn compare_and_write_keeps_to(name: &str, rig: &mut Rig, limit: u8, block: usize) {
    let supported = has(&reported(rig), CommandId::CompareAndWrite);
    assert_eq!(supported, limit != 0, "{name}");
    if write_protected(rig) || !supported {
        return;
    }
    let data = |blocks: usize| vec![0; 2 * blocks * block];
    rig.good(&cdb16(0x89, 0, 0, limit.into()), &data(limit.into()), 0);
    if let Some(beyond) = limit.checked_add(1) {
        let cdb = cdb16(0x89, 0, 0, beyond.into());
        rig.fails(&cdb, &data(beyond.into()), 0, (5, 0x24, 0));
    }
}

#[test]
fn the_limits_of_vpd_b0_are_exact() {
    for Kind { name, mut rig, .. } in kinds() {
        let limits = rig.good(&[0x12, 1, 0xB0, 0, 64, 0], &[], 64);
        let capacity = rig.good(&cdb16(0x9E, 0x10, 0, 32), &[], 32);
        let blocks = u64::from_be_bytes(capacity[..8].try_into().unwrap()) + 1;
        let block = u32::from_be_bytes(capacity[8..12].try_into().unwrap()) as usize;
        let field = |at: usize| u32::from_be_bytes(limits[at..at + 4].try_into().unwrap());
        // The limit, where the medium has as much, and one beyond.
        let bounds = |limit: u32| (u64::from(limit) < blocks).then_some([limit, limit + 1]);
        if let Some([last, beyond]) = bounds(field(8)) {
            let room = last as usize * block;
            assert_eq!(
                rig.good(&cdb16(0x88, 0, 0, last), &[], room).len(),
                room,
                "{name}"
            );
            rig.fails(&cdb16(0x88, 0, 0, beyond), &[], room + block, (5, 0x24, 0));
            rig.good(&cdb16(0x8A, 0, 0, last), &vec![0; room], 0);
            rig.fails(
                &cdb16(0x8A, 0, 0, beyond),
                &vec![0; room + block],
                0,
                (5, 0x24, 0),
            );
            rig.fails(&cdb16(0x8F, 0, 0, beyond), &[], 0, (5, 0x24, 0));
        }
        let same = u32::try_from(u64::from_be_bytes(limits[36..44].try_into().unwrap())).unwrap();
        if let Some([last, beyond]) = bounds(same) {
            rig.good(&cdb16(0x93, 0, 0, last), &vec![0; block], 0);
            rig.fails(&cdb16(0x93, 0, 0, beyond), &vec![0; block], 0, (5, 0x24, 0));
        }
        compare_and_write_keeps_to(name, &mut rig, limits[5], block);
        let atomic = has(&reported(&mut rig), CommandId::WriteAtomic16);
        assert_eq!(
            atomic,
            field(44) != 0,
            "{name}: MAXIMUM ATOMIC TRANSFER LENGTH"
        );
        if let Some([last, beyond]) = bounds(field(44)).filter(|_| atomic) {
            let data = |blocks: u32| vec![0; blocks as usize * block];
            rig.good(&cdb16(0x9C, 0, 0, last), &data(last), 0);
            rig.fails(&cdb16(0x9C, 0, 0, beyond), &data(beyond), 0, (5, 0x24, 0));
        }
        assert_eq!(limits[4] & 1, 1, "WSNZ");
        if limits[32] & 0x80 != 0 && !write_protected(&mut rig) {
            let (count, descriptors) = (field(20), field(24) as usize);
            assert_eq!(
                unmap(&mut rig, &vec![1; descriptors]).status,
                Status::Good,
                "{name}"
            );
            let many = unmap(&mut rig, &vec![1; descriptors + 1]);
            assert_eq!(many.asc(), Some((0x26, 0)), "{name}");
            if let Some([last, beyond]) = bounds(count) {
                assert_eq!(
                    unmap(&mut rig, &[last - 1, 1]).status,
                    Status::Good,
                    "{name}"
                );
                for extents in [&[beyond][..], &[last, 1]] {
                    assert_eq!(unmap(&mut rig, extents).asc(), Some((0x26, 0)), "{name}");
                }
            }
        }
    }
}
