//! A target whose shards the test drives, with its own clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::lu::IntoLogicalUnit;
use lunforge_core::shard::{Census, Limits as ShardLimits, Shard};
use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::{Engine, LogicalUnit, Target};
use lunforge_pr::Reservations;
use lunforge_srp::fabric::memory::Network;
use lunforge_srp::io::{Arrival, Limits};
use lunforge_srp::proto::iu::LoginRequest;
use lunforge_srp::proto::iu::login::{LoginForm, LoginReject, LoginResponse, MultiChannelAction};
use lunforge_srp::testing::{Channel, Reply, Send, connect, login};
use lunforge_srp::{PortId, SrpAttachment, SrpTransport};
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::RamStore;

pub(crate) const TARGET: PortId = PortId([7; 16]);
pub(crate) const NO_LUN: [u8; 8] = [0, 9, 0, 0, 0, 0, 0, 0];

pub(crate) fn initiator(n: u8) -> PortId {
    PortId::new(0, u64::from(n))
}

pub(crate) struct Bed {
    pub(crate) srp: SrpAttachment,
    pub(crate) network: Network,
    pub(crate) target: Arc<Target>,
    engine: Option<Engine>,
    shards: Vec<Shard>,
    ahead: Duration,
    next_tags: u64,
}

/// What a bed is made of.
pub(crate) struct Recipe {
    pub(crate) shards: usize,
    pub(crate) limits: Limits,
    pub(crate) arrival: Arrival,
    pub(crate) shard: ShardLimits,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            shards: 1,
            limits: Limits {
                requests: 8,
                ..Limits::default()
            },
            arrival: Arrival::default(),
            shard: ShardLimits::default(),
        }
    }
}

impl Recipe {
    /// With so many bytes of buffers on each shard.
    pub(crate) fn with_memory(buffer_bytes: usize) -> Self {
        Self {
            shard: ShardLimits {
                buffer_bytes,
                ..ShardLimits::default()
            },
            ..Self::default()
        }
    }

    pub(crate) fn serve(self, unit: impl IntoLogicalUnit) -> Bed {
        let builder = Engine::builder().shards(self.shards).limits(self.shard);
        let (engine, shards) = builder.parts().unwrap();
        let target = Target::builder("disk").lun(0, unit).build().unwrap();
        let (network, listener) = Network::new();
        let transport = SrpTransport::new()
            .listener(Box::new(listener))
            .port("disk", TARGET)
            .arrival(self.arrival)
            .limits(self.limits);
        let srp = engine.attach(transport, Arc::clone(&target)).unwrap();
        let mut bed = Bed {
            srp,
            network,
            target,
            engine: Some(engine),
            shards,
            ahead: Duration::ZERO,
            next_tags: 0,
        };
        bed.poll();
        bed
    }
}

/// A disk in memory with reservations.
pub(crate) fn disk() -> Arc<LogicalUnit> {
    let disk = Vdisk::store(Arc::new(RamStore::new(1 << 20)));
    let disk = disk.serial("ram").open().unwrap();
    LogicalUnit::builder(Arc::new(disk))
        .service(Arc::new(Reservations::volatile()))
        .build()
}

impl Bed {
    pub(crate) fn new() -> Self {
        Recipe::default().serve(disk())
    }

    /// A bed whose unit can hold its commands.
    pub(crate) fn blank() -> (Self, Arc<Controls>) {
        let blank = Blank::default();
        let controls = Arc::clone(&blank.0);
        (Recipe::default().serve(blank), controls)
    }

    pub(crate) fn poll(&mut self) {
        let mut quiet = 0;
        for _ in 0..64 {
            let mut mail = false;
            for shard in &mut self.shards {
                let now = Instant::now() + self.ahead;
                mail |= shard.poll(now) == Some(now);
            }
            quiet = if mail { 0 } else { quiet + 1 };
            if quiet == 2 {
                break;
            }
        }
    }

    pub(crate) fn advance(&mut self, mut by: Duration) {
        while !by.is_zero() {
            let step = by.min(Duration::from_millis(100));
            by -= step;
            self.ahead += step;
            self.poll();
        }
    }

    /// Begins a login.
    pub(crate) fn connect(&mut self, login: &LoginRequest) -> Channel {
        let (request, channel) = connect(login, LoginForm::Rdma, "192.0.2.1");
        assert!(self.network.connect(request));
        self.poll();
        self.next_tags += 1 << 32;
        let mut channel = channel.tags_from(self.next_tags);
        channel.pump();
        channel
    }

    pub(crate) fn try_login(&mut self, login: &LoginRequest) -> Result<LoginResponse, LoginReject> {
        self.connect(login).terms.expect("an answer")
    }

    /// Logs in, and clears the power on unit attention.
    pub(crate) fn login(&mut self, n: u8) -> Channel {
        let mut channel = self.connect(&login(initiator(n), TARGET));
        channel.terms.expect("an answer").expect("a channel");
        self.command(&mut channel, &[0; 6]);
        channel
    }

    /// One more channel of a session.
    pub(crate) fn join(&mut self, n: u8) -> Channel {
        let login = LoginRequest {
            action: MultiChannelAction::Multi,
            ..login(initiator(n), TARGET)
        };
        let channel = self.connect(&login);
        channel.terms.expect("an answer").expect("a channel");
        channel
    }

    /// The end of a request.
    pub(crate) fn wait(&mut self, channel: &mut Channel, tag: u64) -> Reply {
        for _ in 0..2000 {
            self.poll();
            if let Some(reply) = channel.reply(tag) {
                return reply;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let lost = channel.wire.is_disconnected();
        panic!("no answer to {tag}: lost {lost}, {:?}", channel.logout);
    }

    pub(crate) fn run(&mut self, channel: &mut Channel, send: &Send<'_>) -> Reply {
        let tag = channel.send(send);
        self.wait(channel, tag)
    }

    /// Runs a command without data.
    pub(crate) fn command(&mut self, channel: &mut Channel, cdb: &[u8]) -> Reply {
        let send = Send {
            cdb,
            ..Send::default()
        };
        self.run(channel, &send)
    }

    pub(crate) fn write(&mut self, channel: &mut Channel, lba: u8, data: &[u8]) -> Reply {
        let cdb = rw(0x2A, lba, data.len());
        let send = Send {
            cdb: &cdb,
            data_out: data,
            ..Send::default()
        };
        self.run(channel, &send)
    }

    pub(crate) fn read(&mut self, channel: &mut Channel, lba: u8, len: usize) -> Reply {
        let cdb = rw(0x28, lba, len);
        let send = Send {
            cdb: &cdb,
            expected_in: len,
            ..Send::default()
        };
        self.run(channel, &send)
    }

    pub(crate) fn manage(&mut self, channel: &mut Channel, function: u8, managed: u64) -> Reply {
        let tag = channel.manage(function, [0; 8], managed);
        self.wait(channel, tag)
    }

    pub(crate) fn census(&self) -> Vec<Census> {
        self.shards.iter().map(Shard::census).collect()
    }

    /// Whether nothing is left of any session but what belongs to the listener.
    pub(crate) fn is_empty(&self) -> bool {
        let sources: usize = self.census().iter().map(|census| census.sources).sum();
        let clean = |census: &Census| {
            (census.nexuses, census.commands, census.buffer_bytes) == (0, 0, 0)
                && census.task_management == 0
        };
        sources == 1 && self.census().iter().all(clean) && self.srp.sessions() == 0
    }

    pub(crate) fn assert_empty(&mut self) {
        self.poll();
        assert!(
            self.is_empty(),
            "{:?} {}",
            self.census(),
            self.srp.sessions()
        );
    }

    /// Stops the engine; whether all shards are through at the end.
    pub(crate) fn stop(&mut self) -> bool {
        let engine = self.engine.take().unwrap();
        let stopper = std::thread::spawn(move || drop(engine));
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && !self.shards.iter().all(Shard::finished) {
            self.poll();
            self.ahead += Duration::from_millis(5);
            std::thread::sleep(Duration::from_micros(200));
        }
        let finished = self.shards.iter().all(Shard::finished);
        self.shards.clear();
        stopper.join().unwrap();
        finished
    }
}

/// READ (10) or WRITE (10) of so many bytes.
pub(crate) fn rw(opcode: u8, lba: u8, len: usize) -> [u8; 10] {
    let [high, low] = u16::try_from(len / 512).unwrap().to_be_bytes();
    [opcode, 0, 0, 0, 0, lba, 0, high, low, 0]
}

pub(crate) fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed) ^ (i >> 8) as u8)
        .collect()
}
