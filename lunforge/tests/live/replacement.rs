//! Units that are replaced and removed under a flood of commands.

use std::collections::HashMap;
use std::time::Instant;

use lunforge::core::tmf;
use lunforge::vdisk::store::BackingStore;
use lunforge::vdisk::testing::{Hold, SlowStore};
use lunforge_bench::initiator::{Reply, Request, rw_cdb};

use super::*;

const BLOCK: usize = 512;
/// Commands outstanding, less than the window has room for; each has blocks of its own.
const DEPTH: usize = 24;
/// Blocks of a command: more than the target takes unasked, so that some data is outstanding.
const BLOCKS: usize = 160;
const CHANGES: u32 = 40;
const TASK_ABORTED: u8 = 0x40;
const CHECK_CONDITION: u8 = 0x02;
const BUSY: u8 = 0x08;
const UNIT_ATTENTION: u8 = 0x06;
const NO_UNIT: (u8, u8) = (0x25, 0x00);

/// A place of the flood: its blocks are written and read in turn.
#[derive(Clone, Copy)]
struct Lane {
    at: usize,
    /// What was written last and answered GOOD; 0 for nothing.
    holds: u8,
    /// What is being written, if it is no read.
    writes: Option<u8>,
}

impl Lane {
    fn send(&self, session: &mut Initiator) -> u32 {
        let lba = (self.at * BLOCKS) as u64;
        let (cdb, len) = rw_cdb(self.writes.is_some(), lba, BLOCKS as u32);
        let bytes = BLOCKS * BLOCK;
        let data = self.writes.map_or(Vec::new(), |byte| vec![byte; bytes]);
        let mut request = Request::new(0, &cdb[..len]).data_out(&data);
        if self.writes.is_none() {
            request = request.data_in(bytes as u32);
        }
        session.submit(&request).expect("a session that goes on")
    }

    fn ended_good(&mut self, reply: &Reply) {
        if let Some(byte) = self.writes.take() {
            self.holds = byte;
            return;
        }
        let held = reply.data.iter().all(|byte| *byte == self.holds);
        assert!(held, "what was acknowledged is there");
        self.writes = Some(self.holds % 255 + 1);
    }
}

/// A session that keeps [`DEPTH`] commands outstanding, and sends again what an initiator does.
struct Flood {
    session: Initiator,
    sent: HashMap<u32, Lane>,
    /// Lanes without a command.
    idle: Vec<Lane>,
    good: u32,
    aborted: u32,
    /// Those that had not begun.
    busy: u32,
    refused: u32,
}

impl Flood {
    fn new(session: Initiator) -> Self {
        let lane = |at| Lane {
            at,
            holds: 0,
            writes: Some(1),
        };
        let mut this = Self {
            session,
            sent: HashMap::new(),
            idle: (0..DEPTH).map(lane).collect(),
            good: 0,
            aborted: 0,
            busy: 0,
            refused: 0,
        };
        this.go_on();
        this
    }

    /// Every lane has a command.
    fn go_on(&mut self) {
        for lane in std::mem::take(&mut self.idle) {
            let tag = lane.send(&mut self.session);
            self.sent.insert(tag, lane);
        }
    }

    /// Takes what has ended. An answer to what is not outstanding, a second one too, is a violation to the initiator.
    fn serve(&mut self) {
        let wait = Duration::from_millis(20);
        self.session.serve(wait).expect("no violation");
        while let Some((tag, reply)) = self.session.take_ended() {
            let mut lane = self.sent.remove(&tag).expect("a command of a lane");
            match (reply.status, reply.sense_key(), reply.asc_ascq()) {
                (0, ..) => {
                    self.good += 1;
                    lane.ended_good(&reply);
                }
                (TASK_ABORTED, ..) => self.aborted += 1,
                (BUSY, ..) => self.busy += 1,
                (CHECK_CONDITION, Some(UNIT_ATTENTION), _) => {}
                (CHECK_CONDITION, _, Some(NO_UNIT)) => self.refused += 1,
                other => panic!("{other:x?}"),
            }
            self.idle.push(lane);
        }
    }

    /// How long it takes until everything that is outstanding is answered.
    fn drain(&mut self) -> Duration {
        let begun = Instant::now();
        while !self.sent.is_empty() {
            assert!(begun.elapsed() < BOUND, "{} left", self.sent.len());
            self.serve();
        }
        assert_eq!(self.session.outstanding(), [0u32; 0]);
        begun.elapsed()
    }

    /// Until so many more have ended GOOD.
    fn run(&mut self, commands: u32) {
        let (begun, until) = (Instant::now(), self.good + commands);
        while self.good < until {
            assert!(begun.elapsed() < BOUND, "{} are good", self.good);
            self.serve();
            self.go_on();
        }
    }
}

/// A target of which nobody else knows, and a flood at its LUN 0.
fn flooded(served: &Served, unit: Arc<LogicalUnit>) -> (Arc<Target>, Flood) {
    let target = Target::builder(A).lun(0, unit).build().unwrap();
    let settings = TargetSettings::default();
    served
        .iscsi
        .add_target(Arc::clone(&target), settings)
        .unwrap();
    let flood = Flood::new(served.login(A));
    (target, flood)
}

fn over(store: Arc<dyn BackingStore>) -> Arc<LogicalUnit> {
    LogicalUnit::new(Vdisk::store(store).serial("one").open().unwrap())
}

#[test]
fn n61_a_verified_workload_goes_on_over_units_of_one_store_and_each_command_is_answered_once() {
    let served = Served::new();
    let store = Arc::new(RamStore::new((DEPTH * BLOCKS * BLOCK) as u64));
    let unit = || over(Arc::clone(&store) as _);
    let (target, mut flood) = flooded(&served, unit());
    for change in 0..CHANGES {
        flood.run(DEPTH as u32);
        target.replace_lun(0, unit(), change % 2 == 0).unwrap();
        let took = flood.drain();
        assert!(took < tmf::BOUND, "{took:?}");
        flood.go_on();
    }
    flood.run(4 * DEPTH as u32);
    flood.drain();
    assert!(flood.busy > 0, "some awaited their data");
    assert_eq!(flood.refused, 0);
    assert_eq!(flood.session.logout().unwrap(), 0);
}

#[test]
fn n61_commands_of_a_lun_that_is_removed_under_a_flood_are_answered_once_each() {
    let served = Served::new();
    let store = Arc::new(RamStore::new((DEPTH * BLOCKS * BLOCK) as u64));
    let unit = over(store);
    let (target, mut flood) = flooded(&served, Arc::clone(&unit));
    for _ in 0..CHANGES {
        flood.run(DEPTH as u32);
        target.remove_lun(0).unwrap();
        let took = flood.drain();
        assert!(took < tmf::BOUND, "{took:?}");
        target.add_lun(0, Arc::clone(&unit)).unwrap();
        flood.go_on();
    }
    flood.run(4 * DEPTH as u32);
    flood.drain();
    assert!(flood.refused > 0, "some awaited their data");
    assert_eq!(flood.aborted, 0);
}

#[test]
fn n61_commands_that_a_dead_store_keeps_are_answered_at_the_bound_and_the_new_unit_works_before() {
    let served = Served::new();
    let size = (DEPTH * BLOCKS * BLOCK) as u64;
    let dead = SlowStore::with(size, RamStore::new(0).capabilities());
    let (target, mut flood) = flooded(&served, over(Arc::clone(&dead) as _));
    flood.run(2 * DEPTH as u32);
    dead.hold(Hold::Everything);
    // What lacks its data gets it.
    while flood.session.serve(Duration::from_millis(200)).unwrap() {}
    flood.serve();
    let stuck = flood.sent.len() as u32;
    assert!(stuck > 0);
    let aborted = flood.aborted;
    target
        .replace_lun(0, over(Arc::new(RamStore::new(size))), false)
        .unwrap();
    let begun = Instant::now();
    works(&mut flood.session);
    assert!(begun.elapsed() < tmf::BOUND);
    flood.drain();
    let took = begun.elapsed();
    assert!(took < 2 * tmf::BOUND, "{took:?}");
    assert_eq!(flood.aborted - aborted, stuck);
    // Late ends of the old unit's commands are nobody's.
    dead.let_go();
    flood.idle.iter_mut().for_each(|lane| {
        (lane.holds, lane.writes) = (0, None);
    });
    flood.go_on();
    flood.run(4 * DEPTH as u32);
    flood.drain();
}
