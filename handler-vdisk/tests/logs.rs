//! LOG SENSE and LOG SELECT, provisioning thresholds, informational exceptions, identifying information, timestamp.

mod common;

use std::time::{Duration, Instant};

use common::*;
use lunforge_core::asc::Asc;
use lunforge_core::status::Status;
use lunforge_core::testing::{Reply, Session};
use lunforge_vdisk::store::*;
use lunforge_vdisk::{Vdisk, VdiskError};

const INVALID: (u8, u8, u8) = (5, 0x24, 0);
const TEST_UNIT_READY: [u8; 6] = [0; 6];

fn log_sense(pc: u8, page: u8, subpage: u8, pointer: u16, alloc: u16) -> [u8; 10] {
    let ([a, b], [c, d]) = (pointer.to_be_bytes(), alloc.to_be_bytes());
    [0x4D, 0, pc << 6 | page, subpage, 0, a, b, c, d, 0]
}

fn log_select(flags: u8, pc: u8, page: u8, len: u16) -> [u8; 10] {
    let [a, b] = len.to_be_bytes();
    [0x4C, flags, pc << 6 | page, 0, 0, 0, 0, a, b, 0]
}

fn thin() -> Rig {
    over(std::sync::Arc::new(RamStore::new(8 * MIB)))
}

fn attention(rig: &mut Rig, session: Session) -> Option<(u8, u8)> {
    rig.bed.command(session, 0, &TEST_UNIT_READY, &[], 0).asc()
}

/// The attention of the rig's own session.
fn own(rig: &mut Rig) -> Option<(u8, u8)> {
    attention(rig, rig.session)
}

#[test]
fn the_supported_pages_are_those_that_answer() {
    for (mut rig, thin) in [
        (thin(), true),
        (Rig::new(Vdisk::null(MIB).open().unwrap()), false),
    ] {
        let pages = rig.good(&log_sense(0, 0, 0, 0, 255), &[], 255);
        let list: &[u8] = if thin {
            &[0, 0x0C, 0x10, 0x19, 0x2F]
        } else {
            &[0, 0x10, 0x19, 0x2F]
        };
        assert_eq!(pages[..4], [0, 0, 0, list.len() as u8]);
        assert_eq!(&pages[4..], list);
        let all = rig.good(&log_sense(1, 0, 0xFF, 0, 255), &[], 255);
        assert_eq!(all[..2], [0x40, 0xFF]);
        assert_eq!(all[4..8], [0, 0, 0, 0xFF]);
        for page in 0..0x40 {
            for subpage in [0, 1, 0xFE, 0xFF] {
                let known = all[4..].chunks(2).any(|pair| pair == [page, subpage]);
                let reply = rig.run(&log_sense(1, page, subpage, 0, 1024), &[], 1024);
                assert_eq!(
                    reply.status == Status::Good,
                    known,
                    "{page:02x}/{subpage:02x}"
                );
                if known {
                    assert_eq!(reply.data[0] & 0x3F, page);
                    let len = usize::from(u16::from_be_bytes([reply.data[2], reply.data[3]]));
                    assert_eq!(reply.data.len(), 4 + len);
                    for alloc in [0, 1, 3, 4, 5, 20] {
                        let cut = rig.good(&log_sense(1, page, subpage, 0, alloc), &[], 64);
                        let end = usize::from(alloc).min(4 + len);
                        assert_eq!(cut, reply.data[..end], "n31");
                    }
                } else {
                    assert_eq!(reply.asc(), Some((0x24, 0)));
                }
            }
        }
    }
}

#[test]
fn nothing_is_saved_and_nothing_has_thresholds() {
    let mut rig = thin();
    let mut saving = log_sense(1, 0x19, 0, 0, 255);
    saving[1] = 1;
    rig.fails(&saving, &[], 255, INVALID);
    for pc in [0, 2] {
        rig.fails(&log_sense(pc, 0x19, 0, 0, 255), &[], 255, INVALID);
    }
    rig.fails(&log_sense(1, 0, 0, 1, 255), &[], 255, INVALID);
    rig.fails(&log_select(1, 0, 0, 0), &[], 0, INVALID);
}

#[test]
fn the_parameter_pointer_says_where_to_begin() {
    let mut rig = Rig::new(Vdisk::null(MIB).open().unwrap());
    let all = rig.good(&log_sense(1, 0x10, 0, 0, 1024), &[], 1024);
    let from = rig.good(&log_sense(1, 0x10, 0, 15, 1024), &[], 1024);
    assert_eq!(from[4..], all[4 + 14 * 20..]);
    rig.fails(&log_sense(1, 0x10, 0, 21, 1024), &[], 1024, INVALID);
}

#[test]
fn reads_and_writes_are_counted_until_log_select_resets_them() {
    let mut rig = thin();
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    let counts = |rig: &mut Rig, pc: u8| {
        let page = rig.good(&log_sense(pc, 0x19, 0, 0, 255), &[], 255);
        assert_eq!(page[..8], [0x99, 0, 0, 68, 0, 1, 3, 64]);
        let number = |at: usize| u64::from_be_bytes(page[at..at + 8].try_into().unwrap());
        [number(8), number(16), number(24), number(32)]
    };
    assert_eq!(counts(&mut rig, 1), [0; 4]);
    rig.good(&cdb10(0x2A, 0, 0, 3), &[1; 1536], 0);
    rig.good(&cdb10(0x28, 0, 0, 2), &[], 1024);
    rig.bed.command(other, 0, &cdb16(0x88, 0, 0, 5), &[], 2560);
    assert_eq!(counts(&mut rig, 1), [2, 1, 3, 7]);
    assert_eq!(counts(&mut rig, 3), [0; 4], "default values");
    // A list without parameters, an unknown page, and PCR of another page change nothing.
    rig.good(&log_select(0, 0, 0, 4), &[0x19, 0, 0, 0], 0);
    rig.good(&log_select(2, 0, 0x10, 0), &[], 0);
    rig.good(&log_select(0, 1, 0, 0), &[], 0);
    assert_eq!(counts(&mut rig, 1), [2, 1, 3, 7]);
    assert_eq!(attention(&mut rig, other), None);
    rig.good(&log_select(2, 0, 0x19, 0), &[], 0);
    assert_eq!(counts(&mut rig, 1), [0; 4]);
    assert_eq!(attention(&mut rig, other), Some((0x2A, 2)));
    rig.good(&log_select(2, 0, 0, 0), &[], 0);
    assert_eq!(
        attention(&mut rig, other),
        None,
        "nothing was left to reset"
    );
    rig.good(&cdb10(0x28, 0, 0, 2), &[], 1024);
    rig.good(&log_select(0, 3, 0, 0), &[], 0);
    assert_eq!(counts(&mut rig, 1), [0; 4], "PC 11b without a list");
}

#[test]
fn n34_a_log_select_list_writes_nothing_and_is_checked() {
    let mut rig = thin();
    rig.good(&cdb10(0x28, 0, 0, 2), &[], 1024);
    let before = rig.good(&log_sense(1, 0x19, 0, 0, 255), &[], 255);
    let list = (5, 0x26, 0);
    rig.fails(&log_select(0, 1, 0, before.len() as u16), &before, 0, list);
    rig.fails(&log_select(0, 1, 0, 4), &[0x0D, 0, 0, 0], 0, list);
    rig.fails(&log_select(0, 1, 0, 4), &[0x19, 1, 0, 0], 0, list);
    for len in 1..4 {
        rig.fails(
            &log_select(0, 1, 0, len),
            &vec![0x19; len.into()],
            0,
            (5, 0x1A, 0),
        );
    }
    rig.fails(
        &log_select(0, 1, 0, 8),
        &[0x19, 0, 0, 9, 0, 0, 0, 0],
        0,
        (5, 0x1A, 0),
    );
    rig.fails(&log_select(0, 1, 0, 8), &[0x19, 0, 0, 4], 0, (5, 0x1A, 0));
    rig.fails(&log_select(2, 1, 0, 4), &[0x19, 0, 0, 0], 0, INVALID);
    rig.fails(&log_select(0, 1, 0x19, 4), &[0x19, 0, 0, 0], 0, INVALID);
    rig.fails(&log_select(2, 1, 0x0D, 0), &[], 0, INVALID);
    assert_eq!(rig.good(&log_sense(1, 0x19, 0, 0, 255), &[], 255), before);
}

/// MODE SELECT of the threshold: enabled, and the count in sets of 1 MiB.
fn threshold(rig: &mut Rig, enabled: bool, count: u32) {
    let mut list = vec![0; 8];
    list.extend([0x5C, 2, 0, 0x14]);
    list.resize(8 + 16, 0);
    list.extend([u8::from(enabled) << 7, 1, 0, 0]);
    list.extend(count.to_be_bytes());
    let cdb = [0x55, 0x10, 0, 0, 0, 0, 0, 0, list.len() as u8, 0];
    rig.good(&cdb, &list, 0);
}

fn space(available: u64) -> Space {
    Space {
        used: 3 * MIB,
        available: available * MIB,
        capacity: 100 * MIB,
    }
}

#[test]
fn the_soft_threshold_is_reported_once_each_time_it_is_reached() {
    let mut rig = thin();
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    let both = |rig: &mut Rig| (own(rig), attention(rig, other));
    let reached = Some((0x38, 7));
    assert_eq!(
        rig.good(&log_sense(1, 0x0C, 0, 0, 255), &[], 255),
        [0x8C, 0, 0, 0]
    );
    rig.disk.set_space(space(50));
    let page = rig.good(&log_sense(1, 0x0C, 0, 0, 255), &[], 255);
    assert_eq!(page[4..16], [0, 1, 3, 8, 0, 0, 0, 50, 2, 0, 0, 0]);
    assert_eq!(page[16..28], [0, 2, 3, 8, 0, 0, 0, 3, 1, 0, 0, 0]);
    assert_eq!(both(&mut rig), (None, None), "no threshold is enabled");
    threshold(&mut rig, true, 10);
    assert_eq!(both(&mut rig), (None, Some((0x2A, 1))));
    rig.disk.set_space(space(11));
    assert_eq!(both(&mut rig), (None, None));
    rig.disk.set_space(space(10));
    assert_eq!(both(&mut rig), (reached, reached));
    rig.disk.set_space(space(9));
    assert_eq!(both(&mut rig), (None, None), "reported once");
    rig.disk.set_space(space(12));
    rig.disk.set_space(space(2));
    assert_eq!(both(&mut rig), (reached, reached), "armed again");
    threshold(&mut rig, true, 5);
    assert_eq!(
        both(&mut rig).0,
        reached,
        "a new threshold that is reached already"
    );
    rig.disk.soft_threshold_reached();
    assert_eq!(own(&mut rig), reached);
    // LBPERE off: no reports.
    let mut list = vec![0; 8];
    list.extend([0x01, 0x0A, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    rig.good(&[0x55, 0x10, 0, 0, 0, 0, 0, 0, 20, 0], &list, 0);
    rig.disk.soft_threshold_reached();
    assert_eq!(own(&mut rig), None);
}

#[test]
fn a_thin_file_watches_its_file_system_as_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, percent: u8| {
        let disk = Vdisk::file(dir.path().join(name))
            .size(64 * MIB)
            .block_size(512);
        disk.thin(true).space_threshold(percent).open()
    };
    let mut rig = Rig::new(file("a", 1).unwrap());
    // A threshold of all there can be: the first look finds it reached.
    threshold(&mut rig, true, u32::MAX);
    assert_eq!(own(&mut rig), Some((0x38, 7)), "known since it was opened");
    threshold(&mut rig, true, 1);
    assert_eq!(own(&mut rig), None);
    let used = |rig: &mut Rig| {
        let page = rig.good(&log_sense(1, 0x0C, 0, 0, 255), &[], 255);
        u32::from_be_bytes(page[20..24].try_into().unwrap())
    };
    assert_eq!(used(&mut rig), 0);
    rig.good(&cdb16(0x8A, 0, 0, 8192), &vec![7; 4 << 20], 0);
    rig.good(&cdb10(0x35, 0, 0, 0), &[], 0);
    assert!(used(&mut rig) >= 4, "LOG SENSE asks the file");
    assert!(matches!(
        file("b", 0),
        Err(VdiskError::SpaceThreshold { .. })
    ));
    assert!(matches!(
        file("b", 100),
        Err(VdiskError::SpaceThreshold { .. })
    ));
    let standby = Vdisk::file(dir.path().join("c")).size(MIB).thin(true);
    standby.space_threshold(10).active(false).open().unwrap();
    let null = Vdisk::null(MIB).thin(true).space_threshold(10).open();
    assert!(matches!(null, Err(VdiskError::SpaceThreshold { .. })));
}

/// A RAM store that says what it is told to say of its space.
struct Tank {
    ram: RamStore,
    space: parking_lot::Mutex<Space>,
}

impl BackingStore for Tank {
    fn limits(&self) -> Limits {
        self.ram.limits()
    }

    fn capabilities(&self) -> Capabilities {
        self.ram.capabilities()
    }

    fn submit(&self, op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        self.ram.submit(op, cx)
    }

    fn space(&self) -> Result<Option<Space>, StoreError> {
        Ok(Some(*self.space.lock()))
    }
}

#[test]
fn writes_and_unmaps_have_the_store_asked_off_the_shard() {
    let tank = std::sync::Arc::new(Tank {
        ram: RamStore::new(8 * MIB),
        space: parking_lot::Mutex::new(space(11)),
    });
    let disk = Vdisk::store(tank.clone())
        .serial("t")
        .block_size(512)
        .thin(true);
    let mut rig = Rig::new(disk.space_threshold(10).open().unwrap());
    // Told by the command itself, if the look came before it.
    let until_told = |rig: &mut Rig, command: &dyn Fn(&mut Rig) -> Reply| {
        let end = Instant::now() + Duration::from_secs(20);
        while command(rig).asc() != Some((0x38, 7)) {
            assert!(Instant::now() < end, "nobody is told");
        }
    };
    *tank.space.lock() = space(10);
    let write = |rig: &mut Rig| rig.run(&cdb16(0x8A, 0, 0, 2048), &vec![1; 1 << 20], 0);
    until_told(&mut rig, &write);
    // Free again, which a look after some unmap sees, and full once more.
    let provisioning = |rig: &mut Rig| rig.good(&log_sense(1, 0x0C, 0, 0, 255), &[], 255);
    let full = provisioning(&mut rig);
    *tank.space.lock() = space(60);
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0]);
    let end = Instant::now() + Duration::from_secs(20);
    while provisioning(&mut rig) == full {
        rig.good(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list, 0);
        assert!(Instant::now() < end, "nobody looks");
    }
    *tank.space.lock() = space(1);
    let unmap = |rig: &mut Rig| rig.run(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list, 0);
    until_told(&mut rig, &unmap);
}

/// MODE SELECT of page 1Ch.
fn exceptions(rig: &mut Rig, flags: u8, mrie: u8) -> Option<(u8, u8)> {
    let mut list = vec![0, 0, 0, 0, 0x1C, 0x0A, flags, mrie];
    list.resize(16, 0);
    rig.run(&[0x15, 0x10, 0, 0, 16, 0], &list, 0).asc()
}

#[test]
fn informational_exceptions_are_told_as_mrie_says_and_shown_in_the_log() {
    let mut rig = Rig::new(Vdisk::null(MIB).open().unwrap());
    let shown = |rig: &mut Rig| rig.good(&log_sense(1, 0x2F, 0, 0, 255), &[], 255)[4..12].to_vec();
    let requested = |rig: &mut Rig| {
        let sense = rig.good(&[0x03, 0, 0, 0, 18, 0], &[], 18);
        (sense[2], sense[12], sense[13])
    };
    assert_eq!(shown(&mut rig), [0, 0, 3, 4, 0, 0, 0xFF, 0]);
    rig.disk.informational_exception(Some(Asc::WARNING));
    assert_eq!(shown(&mut rig)[4..6], [0x0B, 0]);
    assert_eq!(own(&mut rig), None, "MRIE 0h");
    assert_eq!(requested(&mut rig), (0, 0, 0));
    assert_eq!(exceptions(&mut rig, 0, 6), None);
    assert_eq!(requested(&mut rig), (0, 0x0B, 0), "MRIE 6h");
    assert_eq!(own(&mut rig), None);
    assert_eq!(exceptions(&mut rig, 0, 2), None);
    rig.disk
        .informational_exception(Some(Asc::FAILURE_PREDICTION_THRESHOLD_EXCEEDED));
    assert_eq!(own(&mut rig), Some((0x5D, 0)), "MRIE 2h");
    rig.disk.informational_exception(None);
    assert_eq!(shown(&mut rig)[4..6], [0, 0]);
    assert_eq!(exceptions(&mut rig, 4, 2), None);
    assert_eq!(own(&mut rig), Some((0x5D, 0xFF)), "TEST");
    assert_eq!(shown(&mut rig)[4..6], [0x5D, 0xFF]);
    assert_eq!(exceptions(&mut rig, 8, 2), None);
    rig.disk.informational_exception(Some(Asc::WARNING));
    assert_eq!(own(&mut rig), None, "DEXCPT");
    assert_eq!(shown(&mut rig)[4..6], [0, 0]);
    assert_eq!(
        exceptions(&mut rig, 12, 2),
        Some((0x26, 0)),
        "TEST with DEXCPT"
    );
}

fn identifying(kind: u8, len: u32) -> [u8; 12] {
    let mut cdb = cdb12(0xA3, 5, 0, len);
    cdb[10] = kind << 1;
    cdb
}

fn set_identifying(kind: u8, len: u32) -> [u8; 12] {
    let mut cdb = cdb12(0xA4, 6, 0, len);
    cdb[10] = kind << 1;
    cdb
}

#[test]
fn identifying_information_is_kept_over_a_restart_and_refused_without_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let disk = Vdisk::null(MIB)
            .serial("SN")
            .parameters_file(dir.path().join("p"));
        Rig::new(disk.open().unwrap())
    };
    let mut rig = open();
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    assert_eq!(rig.good(&identifying(0, 255), &[], 255), [0; 4]);
    let supported = [0, 0, 0, 8, 0, 0, 0, 64, 4, 0, 1, 0];
    assert_eq!(rig.good(&identifying(0x7F, 255), &[], 255), supported);
    rig.good(&set_identifying(0, 64), &[0xA5; 64], 0);
    assert_eq!(attention(&mut rig, other), Some((0x3F, 5)));
    rig.good(&set_identifying(2, 6), b"shelf\0", 0);
    rig.fails(&set_identifying(0, 65), &[1; 65], 0, INVALID);
    rig.fails(&set_identifying(2, 257), &[0; 257], 0, INVALID);
    rig.fails(&set_identifying(2, 5), b"shelf", 0, (5, 0x26, 0));
    rig.fails(&set_identifying(2, 3), b"\0\0\0", 0, (5, 0x26, 0));
    rig.fails(&set_identifying(2, 3), b"\xFF\xFE\0", 0, (5, 0x26, 0));
    rig.fails(&set_identifying(0, 8), b"short", 0, (5, 0x1A, 0));
    for kind in [1, 3, 0x40, 0x7E] {
        rig.fails(&identifying(kind, 255), &[], 255, INVALID);
        rig.fails(&set_identifying(kind, 4), &[0; 4], 0, INVALID);
    }
    rig.fails(&set_identifying(0x7F, 4), &[0; 4], 0, INVALID);
    drop(rig);
    let mut rig = open();
    let information = rig.good(&identifying(0, 255), &[], 255);
    assert_eq!(
        (&information[..4], &information[4..]),
        (&[0, 0, 0, 64][..], &[0xA5; 64][..])
    );
    assert_eq!(
        rig.good(&identifying(2, 7), &[], 255),
        *b"\0\0\0\x06she",
        "n31"
    );
    rig.good(&set_identifying(0, 0), &[], 0);
    assert_eq!(rig.good(&identifying(0, 255), &[], 255), [0; 4]);
    let mut without = Rig::new(Vdisk::null(MIB).open().unwrap());
    without.fails(&set_identifying(0, 4), &[0; 4], 0, INVALID);
    without.fails(&identifying(0, 255), &[], 255, INVALID);
}

#[test]
fn the_device_clock_starts_as_the_hosts_and_obeys_set_timestamp() {
    let mut rig = Rig::new(Vdisk::null(MIB).open().unwrap());
    let other = rig.bed.session(0, "iqn.2026-11.org.example:b");
    let report = |rig: &mut Rig| {
        let data = rig.good(&cdb12(0xA3, 0x0F, 0, 255), &[], 255);
        assert_eq!((data.len(), &data[..2]), (12, &[0, 10][..]));
        let mut number = [0; 8];
        number[2..].copy_from_slice(&data[4..10]);
        (data[2], u64::from_be_bytes(number))
    };
    let host = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_millis() as u64;
    let (origin, first) = report(&mut rig);
    assert_eq!(origin, 3, "by other means");
    assert!(first.abs_diff(host) < 60_000);
    let set = cdb12(0xA4, 0x0F, 0, 12);
    let list = [0, 0, 0, 0, 0xF0, 0xFF, 0, 0, 0, 1, 0, 0];
    rig.good(&set, &list, 0);
    assert_eq!(attention(&mut rig, other), Some((0x2A, 0x10)));
    let (origin, now) = report(&mut rig);
    assert_eq!(origin, 2);
    assert!(
        (0xF0FF_0000_0001..0xF0FF_0001_0000).contains(&now),
        "{now:x}"
    );
    rig.good(&cdb12(0xA4, 0x0F, 0, 0), &[], 0);
    for len in 1..12 {
        rig.fails(
            &cdb12(0xA4, 0x0F, 0, len),
            &list[..len as usize],
            0,
            (5, 0x1A, 0),
        );
    }
    for at in [0, 1, 2, 3, 10, 11] {
        let mut wrong = list;
        wrong[at] = 1;
        rig.fails(&set, &wrong, 0, (5, 0x26, 0));
    }
    let mut late = list;
    late[4] = 0xF1;
    rig.fails(&set, &late, 0, (5, 0x26, 0));
    assert_eq!(report(&mut rig).0, 2);
}
