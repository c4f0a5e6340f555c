//! Third-party copy between real disks, under real reservations and access states.

use std::sync::Arc;

use lunforge::alua::{AccessState, AsymmetricAccess, DeviceGroup, TargetPort, TargetPortGroup};
use lunforge::core::asc::Asc;
use lunforge::core::copy::{
    CopyManager, Cscd, CscdId, ListFormat, ListIdUsage, ParameterList, Segment,
};
use lunforge::core::designator::DesignatorKind;
use lunforge::core::sense::SenseKey;
use lunforge::core::status::Status;
use lunforge::core::testing::{Bed, Reply, Session};
use lunforge::vdisk::Vdisk;
use lunforge::vdisk::store::RamStore;
use lunforge::{Target, Unit};

const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";
const MIB: u64 = 1 << 20;
/// Blocks of a disk.
const BLOCKS: u64 = 64 * MIB / 512;

fn cscd(serial: &str) -> Cscd {
    let DesignatorKind::Naa(naa) = DesignatorKind::naa_from_serial(serial) else {
        unreachable!("NAA 3h has 8 bytes");
    };
    Cscd {
        device_type: 0,
        relative_initiator_port: 0,
        code_set: 1,
        association: 0,
        designator_type: 3,
        designator: naa.to_be_bytes().to_vec(),
        device_specific: [0, 0, 2, 0],
    }
}

/// A copy from disk "one" to disk "two".
fn list(blocks: u16, source_lba: u64, destination_lba: u64) -> ParameterList {
    ParameterList {
        format: ListFormat::Lid1,
        list_id: 1,
        usage: ListIdUsage::Hold,
        sequential_striped: false,
        priority: 0,
        immediate: false,
        cscds: vec![cscd("one"), cscd("two")],
        segments: vec![Segment::BlockToBlock {
            destination_count: false,
            cat: false,
            source: CscdId(0),
            destination: CscdId(1),
            blocks,
            source_lba,
            destination_lba,
        }],
    }
}

/// A session that has seen the unit attentions of both units.
fn open(bed: &mut Bed, shard: usize, name: &str) -> Session {
    let session = bed.raw_session(shard, name);
    for lun in 0..2 {
        bed.command(session, lun, &[0; 6], &[], 0);
    }
    session
}

fn copy(bed: &mut Bed, session: Session, list: &ParameterList) -> Reply {
    let list = list.emit();
    let mut cdb = [0; 16];
    (cdb[0], cdb[13]) = (0x83, list.len() as u8);
    bed.command(session, 0, &cdb, &list, 0)
}

fn medium(bed: &mut Bed, session: Session, lun: u16, lba: u64, blocks: u32, out: &[u8]) -> Reply {
    let mut cdb = [0; 16];
    cdb[0] = if out.is_empty() { 0x88 } else { 0x8A };
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    let room = if out.is_empty() {
        blocks as usize * 512
    } else {
        0
    };
    let reply = bed.command(session, lun, &cdb, out, room);
    assert_eq!(reply.status, Status::Good, "{:?}", reply.sense);
    reply
}

fn pattern(seed: u8, blocks: usize) -> Vec<u8> {
    (0..blocks * 512)
        .map(|at| (at as u8).wrapping_mul(31) ^ (at / 512) as u8 ^ seed)
        .collect()
}

fn bed(one: Vdisk, two: Vdisk) -> (Bed, Arc<CopyManager>) {
    let copies = Arc::new(CopyManager::default());
    let target = Target::builder("iqn.2026-11.org.example:copy")
        .lun(0, Unit::new(one).copies(Arc::clone(&copies)))
        .lun(1, Unit::new(two));
    (Bed::with_target(2, target.build().unwrap()), copies)
}

fn ram(serial: &str) -> Vdisk {
    let store = RamStore::new(64 * MIB);
    Vdisk::store(Arc::new(store)).serial(serial).open().unwrap()
}

#[test]
fn files_are_copied_by_the_kernel_where_it_can_and_the_counter_tells() {
    let dir = tempfile::tempdir().unwrap();
    let disk = |serial: &str| {
        let disk = Vdisk::file(dir.path().join(serial)).size(64 * MIB);
        disk.serial(serial).open().unwrap()
    };
    let (one, two) = (disk("one"), disk("two"));
    let can = {
        use lunforge::DeviceHandler;
        let source: Arc<dyn DeviceHandler> = Arc::new(one.clone());
        two.copies_from(&source)
    };
    let (mut bed, copies) = bed(one, two);
    let session = open(&mut bed, 0, A);
    let data = pattern(1, 16_000);
    medium(&mut bed, session, 0, 5, 16_000, &data);
    let reply = copy(&mut bed, session, &list(16_000, 5, 77));
    assert_eq!(reply.status, Status::Good, "{:?}", reply.sense);
    let copied = medium(&mut bed, session, 1, 77, 16_000, &[]).data;
    assert!(copied == data);
    let stats = copies.stats();
    assert_eq!(stats.bytes.value(), data.len() as u64);
    let offloaded = if can { data.len() as u64 } else { 0 };
    assert_eq!(stats.offloaded_bytes.value(), offloaded);
}

#[test]
fn memory_is_copied_through_the_shards_buffers_up_to_the_last_block() {
    let (mut bed, copies) = bed(ram("one"), ram("two"));
    let session = open(&mut bed, 1, A);
    let data = pattern(2, 9_999);
    medium(&mut bed, session, 0, 1, 9_999, &data);
    assert_eq!(
        copy(&mut bed, session, &list(9_999, 1, BLOCKS - 9_999)).status,
        Status::Good
    );
    assert!(medium(&mut bed, session, 1, BLOCKS - 9_999, 9_999, &[]).data == data);
    assert_eq!(copies.stats().done.value(), 1);
    let beyond = copy(&mut bed, session, &list(9_999, 1, BLOCKS - 9_998));
    assert_eq!(beyond.sense.unwrap().key, SenseKey::CopyAborted);
}

/// PERSISTENT RESERVE OUT with a key to check and one to register.
fn pr_out(bed: &mut Bed, session: Session, lun: u16, cdb: [u8; 10], key: u8, new: u8) {
    let mut parameters = [0; 24];
    (parameters[7], parameters[15]) = (key, new);
    let reply = bed.command(session, lun, &cdb, &parameters, 0);
    assert_eq!(reply.status, Status::Good, "{:?}", reply.sense);
}

const REGISTER: [u8; 10] = [0x5F, 0x06, 0, 0, 0, 0, 0, 0, 24, 0];

#[test]
fn n45_a_persistent_reservation_on_either_side_fences_the_copy_of_another_nexus() {
    // WRITE EXCLUSIVE forbids the write, EXCLUSIVE ACCESS the read, too.
    for (lun, kind, good) in [(0, 1, true), (0, 3, false), (1, 1, false), (1, 3, false)] {
        let (mut bed, _) = bed(ram("one"), ram("two"));
        let (a, b) = (open(&mut bed, 0, A), open(&mut bed, 1, B));
        pr_out(&mut bed, b, lun, REGISTER, 0, 0xB);
        let reserve = [0x5F, 0x01, kind, 0, 0, 0, 0, 0, 24, 0];
        pr_out(&mut bed, b, lun, reserve, 0xB, 0);
        // Through the other unit: EXTENDED COPY itself is a conflict where the reservation is.
        let zeroes = vec![0; 100 * 512];
        let through = 1 - lun;
        let list = list(100, 0, 0).emit();
        let mut cdb = [0; 16];
        (cdb[0], cdb[13]) = (0x83, list.len() as u8);
        medium(&mut bed, b, 0, 0, 100, &pattern(3, 100));
        let reply = bed.command(a, through, &cdb, &list, 0);
        let copied = medium(&mut bed, b, 1, 0, 100, &[]).data;
        if good {
            assert_eq!(reply.status, Status::Good, "{:?}", reply.sense);
            continue;
        }
        let sense = reply.sense.unwrap();
        let forwarded = sense.forwarded.unwrap();
        assert_eq!(
            (sense.key, sense.asc),
            (SenseKey::CopyAborted, Asc::THIRD_PARTY_DEVICE_FAILURE)
        );
        assert_eq!(forwarded.status, Status::ReservationConflict.code());
        assert_eq!(forwarded.destination, lun == 1);
        assert!(copied == zeroes, "nothing was copied");
        // The holder itself copies.
        assert_eq!(bed.command(b, through, &cdb, &list, 0).status, Status::Good);
    }
}

#[test]
fn a_destination_that_is_not_active_on_this_port_is_not_written() {
    let access = AsymmetricAccess::new();
    let target = Target::builder("iqn.2026-11.org.example:copy")
        .lun(0, Unit::new(ram("one")))
        .lun(1, Unit::new(ram("two")).service(access.clone()));
    let mut bed = Bed::with_target(2, target.build().unwrap());
    let group = DeviceGroup::new("disks");
    let port = TargetPortGroup::new(1).with(TargetPort::Local(1));
    group.add_target_port_group(port).unwrap();
    group.add_unit(&access).unwrap();
    let session = open(&mut bed, 0, A);
    assert_eq!(
        copy(&mut bed, session, &list(10, 0, 0)).status,
        Status::Good
    );
    group.set_state(1, AccessState::Standby).unwrap();
    let sense = copy(&mut bed, session, &list(10, 0, 0)).sense.unwrap();
    let (key, asc, _) = sense.forwarded.unwrap().sense.unwrap();
    assert_eq!((key, asc.asc, asc.ascq), (SenseKey::NotReady, 0x04, 0x0B));
}

#[test]
fn the_benchmark_of_copies_copies_and_checks() {
    use lunforge::iscsi::IscsiTransport;
    use lunforge_bench::initiator::Options;

    let disk = |serial| {
        let store = Arc::new(RamStore::new(8 * MIB));
        Unit::new(Vdisk::store(store).serial(serial).open().unwrap())
    };
    let target = Target::builder(A).lun(0, disk("one")).lun(1, disk("two"));
    let engine = lunforge::Engine::builder().shards(1).start().unwrap();
    let transport = IscsiTransport::bind("127.0.0.1:0").unwrap();
    let served = engine.attach(transport, target.build().unwrap()).unwrap();
    let url = format!("iscsi://{}/{A}/0", served.portals()[0]);
    let pid = std::process::id();
    let copied = lunforge_bench::copy::run(
        &url.parse().unwrap(),
        &Options::default(),
        1,
        8 * MIB,
        1,
        &[pid],
    );
    let copied = copied.unwrap();
    assert_eq!(copied.bytes, 8 * MIB);
    assert!(copied.host.seconds > 0.0 && copied.target.seconds > 0.0);
}
