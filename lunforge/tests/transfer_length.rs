//! EXPECTED DATA TRANSFER LENGTH beside the length in the CDB, over the wire (RFC 7143 11.4.5.2, 11.3.4).

use std::sync::Arc;

use lunforge::iscsi::{IscsiAttachment, IscsiTransport};
use lunforge::vdisk::Vdisk;
use lunforge::vdisk::store::RamStore;
use lunforge::{Engine, Target};
use lunforge_bench::initiator::{Initiator, Lun, Options, Request, Residual};

const IQN: &str = "iqn.2026-11.org.example:disk";
const BLOCK: u32 = 512;

fn login() -> (Engine, IscsiAttachment, Initiator) {
    let disk = Vdisk::store(Arc::new(RamStore::new(1 << 20)));
    let disk = disk.serial("lengths").block_size(BLOCK).open().unwrap();
    let target = Target::builder(IQN).lun(0, disk).build().unwrap();
    let engine = Engine::builder().shards(1).start().unwrap();
    let transport = IscsiTransport::bind("127.0.0.1:0").unwrap();
    let iscsi = engine.attach(transport, target).unwrap();
    let mut initiator = Initiator::connect(iscsi.portals()[0], IQN, &Options::default()).unwrap();
    initiator.ready(0, 3).unwrap();
    (engine, iscsi, initiator)
}

fn cdb(opcode: u8, blocks: u8) -> [u8; 10] {
    [opcode, 0, 0, 0, 0, 0, 0, 0, blocks, 0]
}

fn residual(wanted: u32, expected: u32) -> Residual {
    match wanted.cmp(&expected) {
        std::cmp::Ordering::Equal => Residual::None,
        std::cmp::Ordering::Less => Residual::Underflow(expected - wanted),
        std::cmp::Ordering::Greater => Residual::Overflow(wanted - expected),
    }
}

#[test]
fn n24_a_read_has_its_residual_and_never_more_data_than_expected() {
    let (_engine, _iscsi, mut i) = login();
    let data: Vec<u8> = (0..64 * BLOCK).map(|n| (n % 251) as u8).collect();
    i.write(0, 0, &data, BLOCK).unwrap();
    for blocks in [0u8, 1, 8, 64] {
        for expected in [0, 1, 511, 512, 513, 4095, 4096, 4097, 40_000] {
            let wanted = u32::from(blocks) * BLOCK;
            let reply = i.command(0, &cdb(0x28, blocks), &[], expected).unwrap();
            assert_eq!(reply.status, 0);
            let moved = wanted.min(expected) as usize;
            assert_eq!(reply.data, data[..moved], "{blocks} blocks, {expected}");
            assert_eq!(
                reply.residual,
                residual(wanted, expected),
                "{blocks} blocks, {expected}"
            );
        }
    }
}

#[test]
fn n24_a_write_takes_what_came_or_refuses_and_writes_nothing_behind_it() {
    let (_engine, _iscsi, mut i) = login();
    for blocks in [0u8, 1, 8, 64] {
        for sent in [0u32, 512, 1000, 4096, 8192, 65_536] {
            i.write(0, 0, &vec![0xEE; 128 * BLOCK as usize], BLOCK)
                .unwrap();
            let wanted = u32::from(blocks) * BLOCK;
            let out = vec![0x11; sent as usize];
            let reply = i.command(0, &cdb(0x2A, blocks), &out, 0).unwrap();
            let medium = i.read(0, 0, 128, BLOCK).unwrap();
            let written = if reply.is_good() {
                assert_eq!(reply.residual, residual(wanted, sent), "{blocks}, {sent}");
                wanted.min(sent) / BLOCK * BLOCK
            } else {
                assert_eq!(reply.status, 2, "{blocks}, {sent}");
                0
            };
            let (head, tail) = medium.split_at(written as usize);
            assert!(head.iter().all(|b| *b == 0x11), "{blocks}, {sent}");
            assert!(tail.iter().all(|b| *b == 0xEE), "{blocks}, {sent}");
        }
    }
}

#[test]
fn n24_direction_flags_that_contradict_the_command_move_nothing_wrong() {
    let (_engine, _iscsi, mut i) = login();
    i.write(0, 0, &[0xEE; 4096], BLOCK).unwrap();
    // No direction at all: nothing can be moved, and the command says how much it would have.
    let read = i.execute(&Request::new(0, &cdb(0x28, 8))).unwrap();
    assert_eq!(
        (read.data.len(), read.residual),
        (0, Residual::Overflow(4096))
    );
    let write = i.execute(&Request::new(0, &cdb(0x2A, 8))).unwrap();
    assert!(!write.is_good() || write.residual == Residual::Overflow(4096));
    // W on a read, R on a write.
    let reply = i.command(0, &cdb(0x28, 8), &[0x11; 4096], 0).unwrap();
    assert!(reply.data.is_empty());
    let reply = i.command(0, &cdb(0x2A, 8), &[], 4096).unwrap();
    assert!(reply.data.is_empty());
    assert_eq!(i.read(0, 0, 8, BLOCK).unwrap(), [0xEE; 4096]);
    // A command without data that announces some.
    for (out, room) in [(&[0x11u8; 512][..], 0), (&[], 512)] {
        let reply = i.command(0, &[0; 6], out, room).unwrap();
        assert!(reply.is_good() && reply.data.is_empty());
        assert_eq!(reply.residual, Residual::Underflow(512));
    }
}

#[test]
fn n32_addresses_of_every_form_reach_their_unit_or_are_refused() {
    let (_engine, _iscsi, mut i) = login();
    let inquiry = [0x12, 0, 0, 0, 36, 0];
    let tur = [0; 6];
    for here in [[0, 0], [0x40, 0], [0x80, 0]] {
        let lun = [here[0], here[1], 0, 0, 0, 0, 0, 0];
        assert!(
            i.command(lun, &tur, &[], 0).unwrap().is_good(),
            "{lun:02x?}"
        );
    }
    for absent in [
        [0, 1, 0, 0, 0, 0, 0, 0],
        [0x41, 0, 0, 0, 0, 0, 0, 0],
        [0x7F, 0xFF, 0, 0, 0, 0, 0, 0],
        [0xD2, 0, 1, 0, 0, 0, 0, 0],
        [0xC1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0],
        [0xFF; 8],
    ] {
        let reply = i.execute(&Request::new(Lun(absent), &tur)).unwrap();
        assert_eq!(
            (reply.sense_key(), reply.asc_ascq()),
            (Some(5), Some((0x25, 0))),
            "{absent:02x?}"
        );
        let reply = i.command(absent, &inquiry, &[], 36).unwrap();
        assert!(reply.is_good(), "{absent:02x?}");
        assert_eq!(reply.data[0], 0x7F, "{absent:02x?}");
    }
}
