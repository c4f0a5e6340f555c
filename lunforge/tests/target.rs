//! The whole target over TCP, against an initiator that shares no code with it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use lunforge::iscsi::{
    AuthConfig, ChapAccount, ChapConfig, DigestChoice, IscsiAttachment, IscsiTransport,
    TargetParams,
};
use lunforge::vdisk::store::RamStore;
use lunforge::vdisk::{SimpleAdapter, SimpleStore, Vdisk};
use lunforge::{Engine, Target};
use lunforge_bench::initiator::{Chap, Initiator, Options, Tmf, send_targets};

const IQN: &str = "iqn.2026-11.org.example:disk";
const LOCAL: &str = "127.0.0.1:0";
/// The target gives a backend half a second; the rest is for a machine that is busy with other things.
const BOUND: Duration = Duration::from_secs(2);

struct Served {
    iscsi: IscsiAttachment,
    engine: Engine,
}

impl Served {
    fn address(&self) -> SocketAddr {
        self.iscsi.portals()[0]
    }

    fn login(&self, options: &Options) -> Initiator {
        let mut initiator = Initiator::connect(self.address(), IQN, options).expect("a login");
        initiator.ready(0, 3).expect("a unit that is ready");
        initiator
    }
}

fn serve_with(disk: Vdisk, params: TargetParams, auth: AuthConfig, shards: usize) -> Served {
    let target = Target::builder(IQN).lun(0, disk).build().unwrap();
    let engine = Engine::builder().shards(shards).start().unwrap();
    let transport = IscsiTransport::builder()
        .portal(LOCAL.parse().unwrap())
        .params(params)
        .auth(auth)
        .bind()
        .unwrap();
    let iscsi = engine.attach(transport, target).unwrap();
    Served { iscsi, engine }
}

fn serve(disk: Vdisk) -> Served {
    serve_with(disk, TargetParams::default(), AuthConfig::None, 2)
}

fn ram(size: u64) -> Vdisk {
    Vdisk::store(Arc::new(RamStore::new(size)))
        .serial("ram")
        .open()
        .unwrap()
}

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

/// Memory whose calls wait while it is told to.
#[derive(Default)]
struct Stuck {
    bytes: Mutex<Vec<u8>>,
    stuck: AtomicBool,
    waiters: (Mutex<()>, Condvar),
}

impl Stuck {
    fn wait(&self) {
        let mut guard = self.waiters.0.lock().unwrap();
        while self.stuck.load(Ordering::SeqCst) {
            guard = self
                .waiters
                .1
                .wait_timeout(guard, Duration::from_millis(20))
                .unwrap()
                .0;
        }
    }
}

struct StuckStore(Arc<Stuck>);

impl SimpleStore for StuckStore {
    fn size(&self) -> u64 {
        self.0.bytes.lock().unwrap().len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.wait();
        buf.copy_from_slice(&self.0.bytes.lock().unwrap()[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.wait();
        self.0.bytes.lock().unwrap()[offset as usize..][..buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn stuck_disk() -> (Vdisk, Arc<Stuck>) {
    let stuck = Arc::new(Stuck {
        bytes: Mutex::new(vec![0; 1 << 20]),
        ..Stuck::default()
    });
    let store = SimpleAdapter::new(StuckStore(Arc::clone(&stuck)), 2);
    (
        Vdisk::store(Arc::new(store))
            .serial("stuck")
            .open()
            .unwrap(),
        stuck,
    )
}

#[test]
fn a_file_is_a_disk_and_keeps_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    let served = serve(Vdisk::file(&path).write_through(true).open().unwrap());
    let mut i = served.login(&Options::default());
    assert_eq!(i.capacity(0).unwrap(), (16384, 512));
    // Below, at and above every limit of immediate data, bursts and segments.
    for (n, len) in [
        512usize,
        4096,
        65536,
        65536 + 512,
        1 << 20,
        (1 << 20) + 512,
        3 << 20,
    ]
    .into_iter()
    .enumerate()
    {
        let data = pattern(n as u8, len);
        i.write(0, 8, &data, 512).unwrap();
        assert!(
            i.read(0, 8, (len / 512) as u32, 512).unwrap() == data,
            "{len}"
        );
        assert_eq!(
            std::fs::read(&path).unwrap()[4096..4096 + len],
            data,
            "{len}"
        );
    }
    assert_eq!(i.logout().unwrap(), 0);
    drop(served);
}

#[test]
fn every_combination_of_digests_and_unsolicited_data_carries_the_same_bytes() {
    let params = TargetParams {
        header_digest: DigestChoice::ANY,
        data_digest: DigestChoice::ANY,
        ..TargetParams::default()
    };
    let served = serve_with(ram(4 << 20), params, AuthConfig::None, 1);
    for n in 0..16u32 {
        let bit = |b: u32| n >> b & 1 == 1;
        let options = Options {
            header_digest: bit(0),
            data_digest: bit(1),
            immediate_data: bit(2),
            initial_r2t: bit(3),
            ..Options::default()
        };
        let mut i = served.login(&options.isid_number(n));
        for len in [512usize, 70_000 / 512 * 512, 2 << 20] {
            let data = pattern(n as u8, len);
            i.write(0, 0, &data, 512).unwrap();
            assert!(
                i.read(0, 0, (len / 512) as u32, 512).unwrap() == data,
                "{n}: {len}"
            );
        }
        i.logout().unwrap();
    }
}

#[test]
fn discovery_names_the_target_and_every_portal_of_the_family() {
    let target = Target::builder(IQN)
        .lun(0, Vdisk::null(1 << 20).open().unwrap())
        .build()
        .unwrap();
    let engine = Engine::builder().shards(1).start().unwrap();
    let any: SocketAddr = LOCAL.parse().unwrap();
    let transport = IscsiTransport::builder()
        .portal(any)
        .portal(any)
        .portal("[::1]:0".parse().unwrap())
        .bind()
        .unwrap();
    let iscsi = engine.attach(transport, target).unwrap();
    let [a, b, six] = iscsi.portals()[..] else {
        panic!("three portals")
    };
    let found = send_targets(a, &Options::default()).unwrap();
    assert_eq!((found.len(), found[0].name.as_str()), (1, IQN));
    let shown: Vec<_> = found[0].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [format!("{a},1"), format!("{b},1")]);
    let mut over_six = Initiator::connect(six, IQN, &Options::default()).unwrap();
    over_six.ready(0, 3).unwrap();
}

#[test]
fn chap_lets_in_who_knows_the_secret_and_nobody_else() {
    let account = |user, secret| ChapAccount::new(user, secret).unwrap();
    let chap = ChapConfig::new(
        vec![account("alice", "a-secret-of-alice")],
        Some(account("us", "our-own-secret-16")),
    )
    .unwrap();
    let disk = Vdisk::null(1 << 20).open().unwrap();
    let served = serve_with(
        disk,
        TargetParams::default(),
        AuthConfig::Chap(Arc::new(chap)),
        1,
    );
    let with = |secret: &str| Options {
        chap: Some(Chap::new("alice", secret)),
        ..Options::default()
    };
    Initiator::connect(served.address(), IQN, &with("a-secret-of-alice"))
        .expect("the right secret");
    Initiator::connect(served.address(), IQN, &with("a-secret-of-alicf"))
        .expect_err("a wrong secret");
    Initiator::connect(served.address(), IQN, &Options::default()).expect_err("no secret");
    send_targets(served.address(), &Options::default()).expect_err("discovery without a secret");
    // N10: a name that does not exist looks as one that does.
    let wrong = Initiator::connect(served.address(), IQN, &with("a-wrong-secret-16"))
        .unwrap_err()
        .to_string();
    let absent = Initiator::connect(
        served.address(),
        "iqn.2026-11.x:y",
        &with("a-wrong-secret-16"),
    )
    .unwrap_err();
    assert_eq!(absent.to_string().replace("iqn.2026-11.x:y", IQN), wrong);
}

#[test]
fn one_unit_is_the_same_over_two_sessions_on_two_shards() {
    let served = serve(ram(1 << 20));
    let (mut a, mut b) = (
        served.login(&Options::default().isid_number(1)),
        served.login(&Options::default().isid_number(2)),
    );
    assert_eq!(served.iscsi.sessions(), 2);
    let data = pattern(1, 4096);
    a.write(0, 0, &data, 512).unwrap();
    assert_eq!(b.read(0, 0, 8, 512).unwrap(), data);
    assert_eq!(a.tmf(Tmf::LogicalUnitReset, 0, u32::MAX).unwrap(), 0);
    assert_eq!(
        b.command(0, &[0; 6], &[], 0).unwrap().asc_ascq(),
        Some((0x29, 3)),
        "the other nexus is told"
    );
}

#[test]
fn n29_of_several_logins_that_wait_for_one_port_the_newest_gets_it() {
    let (disk, stuck) = stuck_disk();
    let served = serve(disk);
    let address = served.address();
    let login = move || Initiator::connect(address, IQN, &Options::default());
    // The old session ends when its write is given up, half a second from the first login on. Where that is not time
    // enough for the second to come, the first is let in and replaced; then once more.
    let superseded = (0..10).any(|_| {
        let mut old = served.login(&Options::default());
        stuck.stuck.store(true, Ordering::SeqCst);
        let write = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        let request = lunforge_bench::initiator::Request::new(0, &write).data_out(&[1; 512]);
        old.submit(&request).unwrap();
        let first = std::thread::spawn(login);
        std::thread::sleep(Duration::from_millis(100));
        let mut newest = login().expect("the newest login");
        let first = first.join().unwrap();
        assert_eq!(served.iscsi.sessions(), 1);
        stuck.stuck.store(false, Ordering::SeqCst);
        // Not ready for as long as the write that was given up may still land.
        let end = Instant::now() + Duration::from_secs(10);
        while newest.ready(0, 1).is_err() {
            assert!(Instant::now() < end, "the medium stays closed");
        }
        first.is_err_and(|refused| refused.to_string().contains("class 3, detail 1"))
    });
    assert!(superseded, "no older login gave up for a newer one");
}

#[test]
fn n29_reinstatement_while_the_store_never_answers_is_bounded() {
    let (disk, stuck) = stuck_disk();
    let served = serve(disk);
    let mut old = served.login(&Options::default());
    stuck.stuck.store(true, Ordering::SeqCst);
    let request = lunforge_bench::initiator::Request::new(0, &[0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0])
        .data_out(&[1; 512]);
    old.submit(&request).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let begin = Instant::now();
    let new = Initiator::connect(served.address(), IQN, &Options::default()).unwrap();
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    assert_eq!(served.iscsi.sessions(), 1);
    drop(new);
    stuck.stuck.store(false, Ordering::SeqCst);
}

#[test]
fn a_reset_and_a_stop_while_the_store_never_answers_are_bounded() {
    let (disk, stuck) = stuck_disk();
    let served = serve(disk);
    let mut i = served.login(&Options::default());
    stuck.stuck.store(true, Ordering::SeqCst);
    let request = lunforge_bench::initiator::Request::new(0, &[0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0])
        .data_out(&[1; 512]);
    i.submit(&request).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let begin = Instant::now();
    assert_eq!(i.tmf(Tmf::LogicalUnitReset, 0, u32::MAX).unwrap(), 0);
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    let begin = Instant::now();
    let releaser = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(900));
        stuck.stuck.store(false, Ordering::SeqCst);
    });
    let stopped = served.engine.stop(Duration::from_secs(5));
    assert_eq!(stopped.stuck_shards, 0);
    assert!(begin.elapsed() < 2 * BOUND, "{:?}", begin.elapsed());
    releaser.join().unwrap();
}

#[test]
fn n30_half_open_logins_do_not_disturb_a_session_and_are_bounded() {
    let limits = lunforge::iscsi::io::Limits {
        half_open: 50,
        ..lunforge::iscsi::io::Limits::default()
    };
    let target = Target::builder(IQN)
        .lun(0, Vdisk::null(1 << 20).open().unwrap())
        .build()
        .unwrap();
    let engine = Engine::builder().shards(1).start().unwrap();
    let transport = IscsiTransport::builder()
        .portal(LOCAL.parse().unwrap())
        .limits(limits)
        .bind()
        .unwrap();
    let iscsi = engine.attach(transport, target).unwrap();
    let address = iscsi.portals()[0];
    let mut good = Initiator::connect(address, IQN, &Options::default()).unwrap();
    good.ready(0, 3).unwrap();
    let floods: Vec<_> = (0..200)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    for _ in 0..100 {
        assert_eq!(good.read(0, 0, 1, 512).unwrap(), [0; 512]);
    }
    assert!(iscsi.connections() <= 51, "{}", iscsi.connections());
    drop(floods);
}

#[test]
fn n29_a_port_that_flaps_a_thousand_times_leaves_one_session() {
    let served = serve(Vdisk::null(1 << 20).open().unwrap());
    let mut last = None;
    for _ in 0..1000 {
        last =
            Some(Initiator::connect(served.address(), IQN, &Options::default()).expect("a login"));
    }
    assert_eq!(served.iscsi.sessions(), 1);
    assert!(last.unwrap().ready(0, 3).is_ok());
}

#[test]
fn two_engines_live_in_one_process() {
    let (a, b) = (
        serve(Vdisk::null(1 << 20).open().unwrap()),
        serve(Vdisk::null(2 << 20).open().unwrap()),
    );
    assert_eq!(a.login(&Options::default()).capacity(0).unwrap().0, 2048);
    assert_eq!(b.login(&Options::default()).capacity(0).unwrap().0, 4096);
    drop(a);
    assert_eq!(b.login(&Options::default()).capacity(0).unwrap().0, 4096);
}
