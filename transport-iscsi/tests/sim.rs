//! A simulated wire between a scripted initiator and the target's engine: random splits, delays, completion order,
//! aborts, lost connections, virtual time. Every run is given by its seed.
//!
//! Invariants: each command is answered exactly once, or aborted, or lost with its connection; what is read is what
//! was written; StatSN, DataSN, offsets, lengths and residuals are right; MaxCmdSN never goes back; every command
//! inside the window is taken; no task is left at the end.

#[path = "sim/initiator.rs"]
mod initiator;
#[path = "sim/target.rs"]
mod target;

use std::time::{Duration, Instant};

use initiator::Initiator;
use lunforge_iscsi::proto::connection::ConnectionParams;
use lunforge_iscsi::proto::session::SessionParams;
use target::Target;

/// Slots of the disk; a slot has one command at a time, so that its content is always known.
pub(crate) const SLOTS: usize = 24;
/// Bytes of a slot.
pub(crate) const SLOT: usize = 8192;

/// xorshift64*: small, and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// What both ends agreed on.
#[derive(Debug, Clone)]
pub(crate) struct Agreed {
    pub(crate) session: SessionParams,
    pub(crate) connection: ConnectionParams,
}

fn negotiate(rng: &mut Rng) -> Agreed {
    let max_burst_length = rng.pick(&[512, 2000, 4096, 65_536]);
    Agreed {
        session: SessionParams {
            initial_r2t: rng.one_in(3),
            immediate_data: !rng.one_in(4),
            max_burst_length,
            first_burst_length: rng.pick(&[512, 1500, 8192]).min(max_burst_length),
            max_outstanding_r2t: rng.pick(&[1, 2, 8]),
            queued_commands: rng.pick(&[1, 4, 16]),
            ..SessionParams::default()
        },
        connection: ConnectionParams {
            header_digest: rng.one_in(3),
            data_digest: rng.one_in(3),
            max_recv_data_segment_length: rng.pick(&[512, 1024, 8192]),
            max_xmit_data_segment_length: rng.pick(&[512, 777, 65_536]),
            // The clock jumps so that pings are sent; a slow wire is no reason to give up.
            nop_in_timeout: Duration::from_secs(86_400),
            response_timeout: Duration::from_secs(86_400),
            ..ConnectionParams::default()
        },
    }
}

/// One run: `steps` random steps, then everything is brought to its end.
fn run(seed: u64, steps: usize, lossy: bool) {
    let mut rng = Rng::new(seed);
    let mut now = Instant::now();
    let mut disk = vec![0; SLOTS * SLOT];
    let mut agreed = negotiate(&mut rng);
    let first = rng.pick(&[1u32, 77, u32::MAX - 3]);
    let mut initiator = Initiator::new(&agreed, first);
    let mut target = Target::new(&agreed, first, now);
    for _ in 0..steps {
        step(&mut rng, &mut initiator, &mut target, &mut disk, now);
        now += Duration::from_micros(rng.next() % 2000);
        if rng.one_in(400) {
            now += Duration::from_secs(31);
        }
        target.timers(now);
        if lossy && rng.one_in(300) {
            target.lose();
            agreed = negotiate(&mut rng);
            let first = rng.next() as u32;
            initiator.reconnect(&agreed, first);
            target = Target::new(&agreed, first, now);
        }
    }
    initiator.stop_issuing();
    let mut idle = 0;
    while !initiator.is_done() || target.is_busy() {
        step(&mut rng, &mut initiator, &mut target, &mut disk, now);
        idle += 1;
        assert!(idle < 200_000, "seed {seed}: stuck: {initiator:?}");
    }
    assert_eq!(target.tasks(), 0, "seed {seed}: tasks are left");
}

fn step(
    rng: &mut Rng,
    initiator: &mut Initiator,
    target: &mut Target,
    disk: &mut [u8],
    now: Instant,
) {
    match rng.below(8) {
        0 | 1 => initiator.issue(rng),
        2..=4 => {
            let len = rng.pick(&[1, 47, 48, 500, 5000, 60_000]);
            let room = rng.below(len) + 1;
            target.receive(initiator.transmit(room), rng, now);
        }
        5 | 6 => {
            let room = rng.pick(&[1usize, 48, 700, 100_000]);
            initiator.receive(&target.transmit(room, now));
        }
        _ => target.work(rng, disk, now),
    }
}

#[test]
fn every_command_is_answered_once_with_the_right_data() {
    for seed in 0..1500 {
        run(seed, 400, false);
    }
}

#[test]
fn n25_lost_connections_leave_nothing_behind() {
    for seed in 10_000..11_500 {
        run(seed, 600, true);
    }
}

#[test]
fn a_long_session_keeps_its_window() {
    for seed in 20_000..20_010 {
        run(seed, 30_000, false);
    }
}
