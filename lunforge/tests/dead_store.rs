//! A store that never answers, behind the real transport: whoever waits for something else than the medium waits for less
//! than a second, and the units beside it do not notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge::core::Ladder;
use lunforge::iscsi::{IscsiAttachment, IscsiTransport};
use lunforge::vdisk::Vdisk;
use lunforge::vdisk::store::{BackingStore, Capabilities, RamStore};
use lunforge::vdisk::testing::{Hold, SlowStore};
use lunforge::{Engine, LogicalUnit, Target, Unit};
use lunforge_bench::initiator::{Error, Initiator, Options, Request, Tmf};

const IQN: &str = "iqn.2026-11.org.example:dead";
const MIB: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
/// A short ladder for tests that wait for it.
const SHORT: Ladder = Ladder {
    backend: SECOND,
    hold: Duration::from_secs(2),
    abort: Duration::from_secs(30),
    replacement: Duration::from_secs(60),
};

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 1, 0, 0, 0, 8, 0];
/// 1024 blocks: more than FirstBurstLength, so that R2Ts are needed.
const LARGE_WRITE: [u8; 10] = [0x2A, 0, 0, 0, 2, 0, 0, 4, 0, 0];
const FLUSH: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const COMPARE: [u8; 16] = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0];
const LARGE: usize = 1024 * 512;

/// A target whose LUN 0 has a store that can be told not to answer, and whose LUN 1 always does.
struct Rig {
    store: Arc<SlowStore>,
    dead: Arc<LogicalUnit>,
    iscsi: IscsiAttachment,
    engine: Engine,
}

fn rig(shards: usize, ladder: Ladder) -> Rig {
    let capabilities = RamStore::new(0).capabilities() | Capabilities::VOLATILE_CACHE;
    let store = SlowStore::with(64 * MIB, capabilities);
    let disk = Vdisk::store(Arc::<SlowStore>::clone(&store));
    let disk = disk.serial("dead").open().unwrap();
    let dead = Unit::new(disk).ladder(ladder).unwrap().build();
    let ram = Vdisk::store(Arc::new(RamStore::new(64 * MIB)));
    let lives = Unit::new(ram.serial("lives").open().unwrap());
    let target = Target::builder(IQN)
        .lun(0, Arc::clone(&dead))
        .lun(1, lives)
        .build()
        .unwrap();
    let engine = Engine::builder().shards(shards).start().unwrap();
    let transport = IscsiTransport::bind("127.0.0.1:0").unwrap();
    let iscsi = engine.attach(transport, target).unwrap();
    Rig {
        store,
        dead,
        iscsi,
        engine,
    }
}

fn login(address: SocketAddr, number: u32) -> Initiator {
    let options = Options::default().isid_number(number);
    let mut initiator = Initiator::connect(address, IQN, &options).expect("a login");
    initiator.ready(1, 3).expect("a unit");
    for _ in 0..3 {
        // Takes the unit attentions; the medium may be closed, which is said in time, too.
        initiator.command(0, &[0; 6], &[], 0).expect("an answer");
    }
    initiator
}

impl Rig {
    fn address(&self) -> SocketAddr {
        self.iscsi.portals()[0]
    }

    fn login(&self, number: u32) -> Initiator {
        login(self.address(), number)
    }

    /// A session with commands of every kind at the store, which does not answer any more; and with a write whose data
    /// has come in part.
    fn stuck_session(&self, number: u32) -> Initiator {
        let mut session = self.login(number);
        let before = self.store.held().len();
        self.store.hold(Hold::Everything);
        let data = vec![0x5A; LARGE];
        let small = &data[..8 * 512];
        for _ in 0..3 {
            session
                .submit(&Request::new(0, &READ).data_in(4096))
                .unwrap();
            session
                .submit(&Request::new(0, &WRITE).data_out(small))
                .unwrap();
        }
        let compare = Request::new(0, &COMPARE).data_out(&data[..1024]);
        session.submit(&compare).unwrap();
        session.submit(&Request::new(0, &FLUSH)).unwrap();
        let large = Request::new(0, &LARGE_WRITE).data_out(&data);
        session.submit(&large).unwrap();
        // All but the large write, whose R2T nobody answers.
        self.store.wait_held(before + 8, PATIENCE);
        session
    }
}

/// How long an action took, and what came of it.
fn timed<T>(action: impl FnOnce() -> T) -> (Duration, T) {
    let begin = Instant::now();
    let result = action();
    (begin.elapsed(), result)
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not in {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// Runs a test on one shard and on two, over stores that can fence and that cannot. What it measures is less than a
/// second; a machine that has other things to do gets another try.
fn within_a_second(test: impl Fn(Rig) -> Duration) {
    for shards in [1, 2] {
        for fences in [true, false] {
            let mut tries = (0..5).map(|_| {
                let rig = rig(shards, Ladder::linux());
                rig.store.fences(fences);
                let store = Arc::clone(&rig.store);
                let took = test(rig);
                store.let_go();
                took
            });
            assert!(
                tries.any(|took| took < SECOND),
                "{shards} shards, fences: {fences}"
            );
        }
    }
}

#[test]
fn n29_a_session_is_reinstated_within_a_second() {
    within_a_second(|rig| {
        let _old = rig.stuck_session(1);
        let (took, mut new) = timed(|| rig.login(1));
        assert_eq!(rig.iscsi.sessions(), 1);
        assert_eq!(new.read(1, 0, 1, 512).unwrap(), [0; 512]);
        took
    });
}

#[test]
fn n27_resets_of_unit_and_target_are_answered_within_a_second() {
    for function in [
        Tmf::LogicalUnitReset,
        Tmf::TargetWarmReset,
        Tmf::TargetColdReset,
    ] {
        within_a_second(|rig| {
            let _stuck = rig.stuck_session(1);
            let mut other = rig.login(2);
            let (took, response) = timed(|| other.tmf(function, 0, u32::MAX));
            assert_eq!(response.unwrap(), 0);
            took
        });
    }
}

#[test]
fn a_session_that_is_stuck_resets_its_unit_within_a_second() {
    within_a_second(|rig| {
        let mut stuck = rig.stuck_session(1);
        let (took, response) = timed(|| stuck.tmf(Tmf::LogicalUnitReset, 0, u32::MAX));
        assert_eq!(response.unwrap(), 0);
        took
    });
}

#[test]
fn a_session_that_is_stuck_logs_out_within_a_second() {
    within_a_second(|rig| {
        let stuck = rig.stuck_session(1);
        let (took, response) = timed(|| stuck.logout());
        assert_eq!(response.unwrap(), 0);
        took
    });
}

#[test]
fn n25_what_a_lost_connection_leaves_is_gone_within_a_second() {
    within_a_second(|rig| {
        let stuck = rig.stuck_session(1);
        let (took, ()) = timed(|| {
            drop(stuck);
            until("no session", || rig.iscsi.sessions() == 0);
        });
        assert!(rig.dead.backend().detached() > 0);
        rig.store.let_go();
        until("back", || !rig.dead.backend().is_dead());
        rig.login(1).read(0, 0, 1, 512).unwrap();
        took
    });
}

#[test]
fn an_engine_stops_within_a_second_and_names_the_unit_that_was_not_flushed() {
    within_a_second(|rig| {
        let _stuck = rig.stuck_session(1);
        let engine = rig.engine;
        let (took, stopped) = timed(|| engine.stop(PATIENCE));
        assert_eq!(stopped.stuck_shards, 0);
        let [(name, error)] = &stopped.not_flushed[..] else {
            panic!("{stopped:?}");
        };
        assert_eq!(name, "iqn.2026-11.org.example:dead LUN 0");
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        took
    });
}

#[test]
fn an_engine_that_is_idle_waits_for_a_flush_no_longer_than_it_may() {
    let rig = rig(1, Ladder::linux());
    rig.store.hold(Hold::Everything);
    let engine = rig.engine;
    let (took, stopped) = timed(|| engine.stop(SECOND / 2));
    assert!(took < PATIENCE, "{took:?}");
    assert_eq!(stopped.not_flushed.len(), 1);
    rig.store.let_go();
}

#[test]
fn n27_many_resets_at_once_and_a_lost_connection_among_them_are_all_answered_within_a_second() {
    within_a_second(|rig| {
        let stuck = rig.stuck_session(1);
        let address = rig.address();
        // All are there before the first reset, which would end a command of a login that is under way, silently.
        let sessions: Vec<_> = (2..6).map(|number| login(address, number)).collect();
        let resetters: Vec<_> = sessions
            .into_iter()
            .map(|mut session| {
                std::thread::spawn(move || {
                    timed(|| session.tmf(Tmf::LogicalUnitReset, 0, u32::MAX))
                })
            })
            .collect();
        drop(stuck);
        let answered = |resetter: std::thread::JoinHandle<(Duration, Result<u8, Error>)>| {
            let (took, response) = resetter.join().unwrap();
            assert_eq!(response.unwrap(), 0);
            took
        };
        resetters.into_iter().map(answered).max().unwrap()
    });
}

#[test]
fn commands_of_every_kind_are_answered_by_the_target_and_may_be_sent_again() {
    let rig = rig(2, SHORT);
    let mut session = rig.login(1);
    rig.store.hold(Hold::Everything);
    let data = vec![0x5A; LARGE];
    let tags = [
        session.submit(&Request::new(0, &READ).data_in(4096)),
        session.submit(&Request::new(0, &WRITE).data_out(&data[..4096])),
        session.submit(&Request::new(0, &LARGE_WRITE).data_out(&data)),
    ];
    for tag in tags {
        let reply = session.wait(tag.unwrap()).unwrap();
        assert_eq!(reply.sense_key(), Some(0x0B));
        assert_eq!(reply.asc_ascq(), Some((0x08, 0x01)));
    }
    let backend = rig.dead.backend();
    assert_eq!((backend.timed_out(), backend.detached()), (3, 3));
    rig.store.let_go();
    until("back", || !backend.is_dead());
    session.write(0, 0, &data, 512).unwrap();
    assert_eq!(session.read(0, 0, 1024, 512).unwrap(), data);
    // What came late has touched nothing: the store refuses it.
    assert!(
        rig.store
            .record()
            .iter()
            .all(|landed| landed.offset < LARGE as u64)
    );
}

#[test]
fn the_unit_beside_a_dead_one_answers_every_command_while_others_flood_the_dead_one() {
    for shards in [1, 2] {
        let rig = rig(shards, Ladder::linux());
        let address = rig.address();
        rig.store.hold(Hold::Everything);
        // More than a shard has memory for: 64 reads of 8 MiB each.
        let floods: Vec<_> = (10..18)
            .map(|number| {
                let mut session = login(address, number);
                let large = [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0];
                for _ in 0..24 {
                    let read = Request::new(0, &large).data_in(8 << 20);
                    session.submit(&read).unwrap();
                }
                session
            })
            .collect();
        let mut session = rig.login(1);
        // Its own window holds as many commands for the dead unit as that takes.
        for _ in 0..64 {
            session
                .submit(&Request::new(0, &READ).data_in(4096))
                .unwrap();
        }
        let data = vec![0xC3; LARGE];
        for round in 0..40 {
            session.write(1, round * 8, &data, 512).unwrap();
            assert_eq!(session.read(1, round * 8, 1024, 512).unwrap(), data);
        }
        drop(floods);
        rig.store.let_go();
    }
}
