//! Everything that wants a unit's gate at once, on real threads: whatever happens, each command and each function ends
//! once, what runs alone runs alone, and the unit serves in the end. The seeds decide what is sent; when it arrives, the
//! machine. The rules hold in any order, so the verdict does not depend on that.

#[path = "storm/double.rs"]
mod double;
#[path = "storm/line.rs"]
mod line;

use std::sync::Arc;

use double::{Busy, Late};
use line::{Line, Order};
use lunforge_core::engine::{Engine, Transport};
use lunforge_core::handler::DeviceHandler;
use lunforge_core::shard::ShardHandle;
use lunforge_core::status::Status;
use lunforge_core::tmf::Function;
use lunforge_core::{LogicalUnit, Target};
use lunforge_pr::{OnDamage, Reservations, Volatile};

const SHARDS: usize = 3;
const SESSIONS: u8 = 6;
const BURSTS: usize = 2000;

/// A sequence that looks random and is the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn byte(&mut self, bound: usize) -> u8 {
        self.below(bound) as u8
    }
}

/// Makes the unit known to the shards; the test opens its sessions by itself.
struct ByHand;

impl Transport for ByHand {
    type Attachment = ();
    type Error = std::convert::Infallible;

    fn attach(self, _: &Arc<[ShardHandle]>, _: Vec<Arc<Target>>) -> Result<(), Self::Error> {
        Ok(())
    }
}

const TEST_UNIT_READY: [u8; 6] = [0; 6];
const MODE_SELECT: [u8; 6] = [0x15, 0x10, 0, 0, 0, 0];
const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];

fn write(block: u8) -> Order {
    let mut cdb = WRITE;
    cdb[5] = block;
    Order::command(&cdb, vec![1; 512], 0)
}

fn compare_and_write(block: u8) -> Order {
    let cdb = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, block, 0, 0, 0, 1, 0, 0];
    Order::command(&cdb, vec![1; 1024], 0)
}

fn reserve_out(service_action: u8, kind: u8, key: u8, service_action_key: u8) -> Order {
    let cdb = [0x5F, service_action, kind, 0, 0, 0, 0, 0, 24, 0];
    let mut list = vec![0; 24];
    list[7] = key;
    list[15] = service_action_key;
    Order::command(&cdb, list, 0)
}

/// What the initiator of `key` sends next.
fn any_order(random: &mut Random, key: u8, last: u64) -> Order {
    let kind = [1, 3, 5, 6, 7, 8][random.below(6)];
    let other = 1 + random.byte(usize::from(SESSIONS));
    match random.below(100) {
        0..30 => write(random.byte(4)),
        30..42 => Order::command(&[0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0], vec![], 512),
        42..54 => compare_and_write(random.byte(4)),
        54..68 => Order::command(&MODE_SELECT, vec![], 0),
        68..76 => reserve_out(6, 0, 0, key),
        76..80 => reserve_out(1, kind, key, 0),
        80..84 => reserve_out(2, kind, key, 0),
        84..87 => reserve_out(4, kind, key, other),
        87..91 => reserve_out(5, kind, key, other),
        91..92 => reserve_out(3, 0, key, 0),
        92..96 => Order::Function(Function::AbortTask(last)),
        96..97 => Order::Function(Function::AbortTaskSet),
        97..98 => Order::Function(Function::ClearTaskSet),
        98..99 => Order::Function(Function::LogicalUnitReset),
        _ => Order::Close,
    }
}

/// One initiator's part: bursts of commands and functions, each waited for; now and then its session goes and comes back.
fn storm(engine: &Engine, target: &Arc<Target>, key: u8) {
    let mut random = Random(u64::from(key));
    let shard = |random: &mut Random| engine.shards()[random.below(SHARDS)].clone();
    let mut line = Line::open(shard(&mut random), target, key);
    for _ in 0..BURSTS {
        for _ in 0..=random.below(8) {
            let order = any_order(&mut random, key, line.last());
            let closes = matches!(order, Order::Close);
            line.send(order);
            if closes {
                break;
            }
        }
        line.settle();
        if line.closed() {
            line = Line::open(shard(&mut random), target, key);
        }
    }
    line.send(Order::Close);
    line.settle();
}

/// Sends a command until unit attentions and what else passes are through.
fn succeeds(line: &mut Line, order: impl Fn() -> Order) -> bool {
    (0..16).any(|_| {
        let tag = line.send(order());
        line.settle();
        line.status(tag) == Some(Status::Good)
    })
}

#[test]
fn whatever_wants_the_gate_each_command_ends_once_and_the_unit_serves_in_the_end() {
    let busy = Arc::new(Busy::default());
    let handler: Arc<dyn DeviceHandler> = Arc::new(Late::new(&busy));
    let reservations = Reservations::open(Volatile, OnDamage::RefuseMediumAccess);
    let lu = LogicalUnit::builder(handler)
        .service(Arc::new(reservations))
        .build();
    let target = Target::builder("iqn.2026-11.org.example:storm").lun(0, lu);
    let target = target.build().unwrap();
    let engine = Engine::builder().shards(SHARDS).start().unwrap();
    let Ok(()) = engine.attach(ByHand, Arc::clone(&target));
    std::thread::scope(|scope| {
        for key in 1..=SESSIONS {
            let (engine, target) = (&engine, &target);
            scope.spawn(move || storm(engine, target, key));
        }
    });
    assert_eq!(busy.broken(), Vec::<&str>::new());
    let open = |key: u8| {
        Line::open(
            engine.shards()[usize::from(key) % SHARDS].clone(),
            &target,
            key,
        )
    };
    let mut lines: Vec<_> = (1..=SESSIONS).map(open).collect();
    assert!(succeeds(&mut lines[0], || reserve_out(6, 0, 0, 1)));
    assert!(succeeds(&mut lines[0], || reserve_out(3, 0, 1, 0)));
    for line in &mut lines {
        assert!(succeeds(line, || Order::command(
            &TEST_UNIT_READY,
            vec![],
            0
        )));
        assert!(succeeds(line, || Order::command(&MODE_SELECT, vec![], 0)));
        assert!(succeeds(line, || write(0)));
    }
}
