//! What the storage validation of a Windows failover cluster does to shared disks, step by step, with as many nodes
//! and two paths from each: identity, registration, persistent reservation, arbitration (challenge and defence),
//! failover, simultaneous failover and simultaneous access.
//!
//! The nodes are sessions over TCP of an initiator that shares no code with the target.

mod node;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lunforge::iscsi::{IscsiAttachment, IscsiTransport};
use lunforge::vdisk::Vdisk;
use lunforge::vdisk::store::RamStore;
use lunforge::{Engine, Target, Unit};
use node::{CONFLICT, GOOD, Held, Node, Out, REGISTRANTS_ONLY};

const NAMES: [&str; 2] = ["iqn.2026-11.org.example:a", "iqn.2026-11.org.example:b"];
const MIB: u64 = 1 << 20;

/// Shared disks behind two targets: two paths from every node.
struct Storage {
    _engine: Engine,
    attached: Vec<IscsiAttachment>,
    disks: u8,
}

impl Storage {
    fn new(disks: u8) -> Self {
        let engine = Engine::builder().shards(2).start().unwrap();
        let units: Vec<_> = (0..disks).map(disk).collect();
        let serve = |(n, name): (usize, &&str)| {
            let mut target = Target::builder(*name).relative_port(n as u16 + 1);
            for (lun, unit) in units.iter().enumerate() {
                target = target.lun(lun as u64, Arc::clone(unit));
            }
            let portal = IscsiTransport::bind("127.0.0.1:0").unwrap();
            engine.attach(portal, target.build().unwrap()).unwrap()
        };
        let attached = NAMES.iter().enumerate().map(serve).collect();
        Self {
            _engine: engine,
            attached,
            disks,
        }
    }

    fn portals(&self) -> Vec<(SocketAddr, &'static str)> {
        let address = |iscsi: &IscsiAttachment| iscsi.portals()[0];
        self.attached.iter().map(address).zip(NAMES).collect()
    }

    fn node(&self, number: u8) -> Node {
        Node::new(number, &self.portals(), self.disks)
    }
}

fn disk(number: u8) -> Arc<lunforge::LogicalUnit> {
    let disk = Vdisk::store(Arc::new(RamStore::new(MIB)))
        .serial(format!("shared-{number}"))
        .open()
        .unwrap();
    Unit::new(disk).build()
}

#[test]
fn every_node_and_path_sees_the_same_identity_and_no_two_disks_share_one() {
    let storage = Storage::new(3);
    let (mut a, mut b) = (storage.node(1), storage.node(2));
    let mut seen = Vec::new();
    for lun in 0..3 {
        let identities = [a.identities(lun), b.identities(lun)].concat();
        assert_eq!(identities.len(), 4);
        assert!(!identities[0].is_empty(), "there is a name for the unit");
        assert!(identities.iter().all(|i| *i == identities[0]));
        seen.push(identities[0].clone());
    }
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

#[test]
fn registration_follows_the_key_and_nothing_else() {
    let storage = Storage::new(1);
    let (mut a, mut b) = (storage.node(1), storage.node(2));
    assert_eq!(a.keys(0), (0, vec![]));
    assert_eq!(a.out(0, Out::Register, 0, a.key), GOOD);
    assert_eq!(
        a.out(0, Out::Register, 0, a.key),
        CONFLICT,
        "registered already, and zero is not its key"
    );
    assert_eq!(a.out(0, Out::RegisterAndIgnore, 0, a.key), GOOD);
    assert_eq!(a.out(0, Out::Register, a.key, a.key + 100), GOOD);
    assert_eq!(b.keys(0).1, [a.key + 100]);
    assert_eq!(
        b.out(0, Out::Register, a.key + 100, b.key),
        CONFLICT,
        "another's key is no key"
    );
    assert_eq!(b.out(0, Out::Reserve, b.key, 0), CONFLICT, "not registered");
    assert_eq!(a.out(0, Out::Register, a.key + 100, 0), GOOD);
    assert_eq!(b.keys(0).1, [] as [u64; 0]);
    assert_eq!(
        a.out(0, Out::Register, 0, 0),
        GOOD,
        "not registered, and wants not to be: nothing happens"
    );
}

#[test]
fn a_reservation_for_registrants_keeps_the_others_from_writing() {
    let storage = Storage::new(1);
    let (mut a, mut b, mut c) = (storage.node(1), storage.node(2), storage.node(3));
    a.register(0);
    assert_eq!(a.reserve(0), GOOD);
    assert_eq!(a.reserve(0), GOOD, "the holder may say it again");
    let held = Held {
        key: a.key,
        kind: REGISTRANTS_ONLY,
    };
    assert_eq!(b.reservation(0), Some(held));
    assert_eq!(a.write(0, 1, 0xA1), GOOD);
    assert_eq!(b.write(0, 1, 0xB1), CONFLICT);
    assert_eq!(b.read(0, 1).unwrap(), [0xA1; 512]);
    b.register(0);
    assert_eq!(b.write(0, 1, 0xB2), GOOD, "a registrant may write");
    assert_eq!(b.reserve(0), CONFLICT, "it is held");
    assert_eq!(b.release(0), GOOD, "not the holder: nothing happens");
    assert_eq!(c.reservation(0), Some(held));
    assert_eq!(c.write(0, 1, 0xC1), CONFLICT);
    assert_eq!(a.release(0), GOOD);
    assert_eq!(c.reservation(0), None);
    assert_eq!(c.write(0, 1, 0xC2), GOOD);
    assert_eq!(a.out(0, Out::Clear, a.key, 0), GOOD);
    assert_eq!(b.keys(0).1, [] as [u64; 0]);
}

#[test]
fn both_paths_of_a_node_hold_its_rights_and_both_lose_them() {
    let storage = Storage::new(1);
    let (mut a, mut b) = (storage.node(1), storage.node(2));
    a.register(0);
    assert_eq!(a.keys(0).1, [a.key, a.key], "one registration a path");
    assert_eq!(a.reserve(0), GOOD);
    a.paths.reverse();
    assert_eq!(a.write(0, 0, 1), GOOD, "by the other path");
    b.register(0);
    let victim = a.key;
    assert_eq!(b.preempt(0, victim), GOOD);
    for _ in 0..2 {
        assert_eq!(a.write(0, 0, 2), CONFLICT);
        a.paths.reverse();
    }
    assert_eq!(b.keys(0).1, [b.key, b.key]);
}

#[test]
fn arbitration_is_won_by_the_challenger_that_is_not_answered() {
    let storage = Storage::new(1);
    let (mut defender, mut challenger) = (storage.node(1), storage.node(2));
    defender.register(0);
    assert_eq!(defender.reserve(0), GOOD);

    // The challenger announces itself by its key; a living defender takes the key away again.
    challenger.register(0);
    let (generation, keys) = defender.keys(0);
    assert!(keys.contains(&challenger.key));
    let victim = challenger.key;
    assert_eq!(defender.preempt(0, victim), GOOD);
    assert!(defender.keys(0).0 > generation, "the generation tells");
    assert_eq!(challenger.preempt(0, defender.key), CONFLICT, "defended");
    assert_eq!(defender.write(0, 0, 1), GOOD);

    // A dead one does not.
    let name = defender.name.clone();
    let dead = defender.key;
    drop(defender);
    challenger.register(0);
    assert_eq!(challenger.write(0, 0, 2), GOOD, "registrants may write");
    assert_eq!(challenger.preempt(0, dead), GOOD);
    assert_eq!(
        challenger.reservation(0).map(|held| held.key),
        Some(challenger.key)
    );

    // And when it comes back it finds itself fenced, until it joins again.
    let mut back = storage.node(1);
    assert_eq!(back.name, name);
    assert_eq!(back.write(0, 0, 3), CONFLICT);
    back.register(0);
    assert_eq!(back.write(0, 0, 4), GOOD);
}

#[test]
fn a_disk_fails_over_and_back_with_what_was_written() {
    let storage = Storage::new(1);
    let mut nodes = [storage.node(1), storage.node(2)];
    nodes.iter_mut().for_each(|node| node.register(0));
    assert_eq!(nodes[0].reserve(0), GOOD);
    for round in 1..=10u8 {
        let [from, to] = &mut nodes;
        assert_eq!(from.write(0, round, round), GOOD);
        assert_eq!(from.release(0), GOOD);
        assert_eq!(to.reserve(0), GOOD);
        assert_eq!(to.read(0, round).unwrap(), [round; 512]);
        assert_eq!(to.reservation(0).map(|held| held.key), Some(to.key));
        nodes.swap(0, 1);
    }
}

#[test]
fn many_disks_fail_over_at_once() {
    const DISKS: u8 = 8;
    let storage = Storage::new(DISKS);
    let mut a = storage.node(1);
    for lun in 0..DISKS {
        a.register(lun);
        assert_eq!(a.reserve(lun), GOOD);
        assert_eq!(a.write(lun, 0, lun), GOOD);
    }
    let victim = a.key;
    std::thread::scope(|scope| {
        for lun in 0..DISKS {
            let mut challenger = storage.node(10 + lun);
            scope.spawn(move || {
                challenger.register(lun);
                assert_eq!(challenger.preempt(lun, victim), GOOD);
                assert_eq!(challenger.read(lun, 0).unwrap(), [lun; 512]);
                assert_eq!(challenger.write(lun, 0, 0xFF), GOOD);
            });
        }
    });
    for lun in 0..DISKS {
        assert_eq!(a.write(lun, 0, 0), CONFLICT);
        assert_eq!(a.read(lun, 0).unwrap(), [0xFF; 512]);
    }
}

#[test]
fn of_many_challengers_one_wins_and_all_agree_who() {
    const NODES: u8 = 6;
    let storage = Storage::new(1);
    for round in 0..5 {
        let mut dead = storage.node(100 + round);
        dead.register(0);
        assert_eq!(dead.reserve(0), GOOD);
        let victim = dead.key;
        drop(dead);
        let challenger = |number| {
            let mut node = storage.node(number);
            node.register(0);
            node
        };
        let mut nodes: Vec<_> = (1..=NODES).map(challenger).collect();
        let won: Vec<_> = std::thread::scope(|scope| {
            let challenge = |node| scope.spawn(move || Node::preempt(node, 0, victim) == GOOD);
            let threads: Vec<_> = nodes.iter_mut().map(challenge).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
        let winner = won.iter().position(|won| *won).unwrap();
        let key = nodes[winner].key;
        for node in &mut nodes {
            assert_eq!(node.reservation(0).map(|held| held.key), Some(key));
        }
        assert_eq!(nodes[winner].out(0, Out::Clear, key, 0), GOOD);
    }
}

#[test]
fn no_write_of_a_loser_lands_after_the_preemption_returned() {
    let storage = Storage::new(1);
    let (mut loser, mut winner) = (storage.node(1), storage.node(2));
    for round in 0..20u8 {
        loser.register(0);
        winner.register(0);
        let victim = loser.key;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if loser.write(0, 9, 0xEE) == CONFLICT {
                        break;
                    }
                }
            });
            let own = winner.key;
            let action = if round % 2 == 0 {
                Out::Preempt
            } else {
                Out::PreemptAndAbort
            };
            assert_eq!(winner.reserve(0), GOOD);
            assert_eq!(winner.out(0, action, own, victim), GOOD);
            assert_eq!(winner.write(0, 9, round), GOOD);
            for _ in 0..20 {
                assert_eq!(winner.read(0, 9).unwrap(), [round; 512]);
            }
            stop.store(true, Ordering::Relaxed);
        });
        let own = winner.key;
        assert_eq!(winner.out(0, Out::Clear, own, 0), GOOD);
    }
}

#[test]
fn nodes_that_share_a_disk_write_at_the_same_time() {
    const NODES: u8 = 4;
    let storage = Storage::new(1);
    let mut nodes: Vec<_> = (0..NODES).map(|number| storage.node(number)).collect();
    nodes.iter_mut().for_each(|node| node.register(0));
    assert_eq!(nodes[0].reserve(0), GOOD);
    std::thread::scope(|scope| {
        for (number, node) in nodes.iter_mut().enumerate() {
            let lba = number as u8 * 50;
            scope.spawn(move || {
                for block in lba..lba + 50 {
                    assert_eq!(node.write(0, block, block), GOOD);
                }
            });
        }
    });
    for block in 0..NODES * 50 {
        assert_eq!(nodes[0].read(0, block).unwrap(), [block; 512]);
    }
}
