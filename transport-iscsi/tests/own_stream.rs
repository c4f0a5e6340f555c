//! Connections over byte streams of the caller's, on shards that the caller drives: no socket, no thread.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::shard::{Readiness, Shard};
use lunforge_core::testing::doubles::Blank;
use lunforge_core::{Engine, Target};
use lunforge_iscsi::io::{Ends, LimitReached, Limits, Moved, Stream, Waker};
use lunforge_iscsi::proto::pdu::{BHS_LEN, Bhs, LoginRequest, LoginResponse};
use lunforge_iscsi::{IscsiAttachment, IscsiTransport};
use parking_lot::Mutex;

const IQN: &str = "iqn.2026-11.org.example:blank";
const ENDS: Ends = Ends {
    peer: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1),
    local: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3260),
};

#[derive(Default)]
struct Pipe {
    to_target: VecDeque<u8>,
    from_target: Vec<u8>,
    closed: bool,
    /// Bytes that the target may send now.
    room: usize,
    waker: Option<Waker>,
}

/// A stream in memory: gives and takes a byte at a time.
#[derive(Default, Clone)]
struct Memory(Arc<Mutex<Pipe>>);

impl Stream for Memory {
    fn opened(&mut self, waker: Waker) {
        self.0.lock().waker = Some(waker);
    }

    fn receive(&mut self, into: &mut [IoSliceMut<'_>]) -> Moved {
        let mut pipe = self.0.lock();
        let Some(byte) = pipe.to_target.pop_front() else {
            return if pipe.closed {
                Moved::Gone
            } else {
                Moved::WouldBlock
            };
        };
        let place = into.iter_mut().find(|part| !part.is_empty()).expect("room");
        place[0] = byte;
        Moved::Bytes(1)
    }

    fn send(&mut self, from: &[IoSlice<'_>]) -> Moved {
        let mut pipe = self.0.lock();
        let first = from.iter().find_map(|part| part.first().copied());
        match first {
            Some(byte) if pipe.room > 0 => {
                pipe.room -= 1;
                pipe.from_target.push(byte);
                Moved::Bytes(1)
            }
            _ => Moved::WouldBlock,
        }
    }

    fn readiness(&self) -> Readiness {
        let pipe = self.0.lock();
        Readiness {
            readable: pipe.closed || !pipe.to_target.is_empty(),
            writable: pipe.closed || pipe.room > 0,
        }
    }
}

impl Memory {
    fn change(&self, change: impl FnOnce(&mut Pipe)) {
        let mut pipe = self.0.lock();
        change(&mut pipe);
        if let Some(waker) = pipe.waker.clone() {
            waker.wake();
        }
    }
}

fn serve(limits: Limits) -> (Engine, Vec<Shard>, IscsiAttachment) {
    let target = Target::builder(IQN).lun(0, Blank::default()).build();
    let (engine, shards) = Engine::builder().shards(1).parts().unwrap();
    let transport = IscsiTransport::builder().limits(limits).portless();
    let iscsi = engine.attach(transport, target.unwrap()).unwrap();
    (engine, shards, iscsi)
}

/// Turns of the shards until none of them has anything to do now.
fn settle(shards: &mut [Shard], now: Instant) {
    while shards
        .iter_mut()
        .any(|shard| shard.poll(now).is_some_and(|next| next <= now))
    {}
}

fn login() -> Vec<u8> {
    let text =
        format!("InitiatorName=iqn.2026-11.org.example:me\0TargetName={IQN}\0SessionType=Normal\0");
    let mut bytes = LoginRequest {
        immediate: true,
        transit: true,
        is_continue: false,
        current_stage: 1,
        next_stage: 3,
        version_max: 0,
        version_min: 0,
        data_segment_length: text.len() as u32,
        isid: [0x40, 0, 0, 1, 0, 0],
        tsih: 0,
        itt: 1,
        cid: 0,
        cmd_sn: 1,
        exp_stat_sn: 1,
    }
    .emit()
    .to_vec();
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn a_session_over_a_stream_in_memory() {
    let (engine, mut shards, iscsi) = serve(Limits::default());
    let now = Instant::now();
    let stream = Memory::default();
    iscsi.serve(Box::new(stream.clone()), ENDS).unwrap();
    settle(&mut shards, now);
    stream.change(|pipe| pipe.to_target.extend(login()));
    settle(&mut shards, now);
    assert!(stream.0.lock().from_target.is_empty(), "no room to send");
    stream.change(|pipe| pipe.room = 30);
    settle(&mut shards, now);
    assert_eq!(stream.0.lock().from_target.len(), 30);
    stream.change(|pipe| pipe.room = 4096);
    settle(&mut shards, now);
    let answer = stream.0.lock().from_target.clone();
    let bhs: Bhs = *answer.first_chunk::<BHS_LEN>().expect("a login response");
    let response = LoginResponse::parse(&bhs).unwrap();
    assert_eq!((response.status_class, response.status_detail), (0, 0));
    assert_eq!((iscsi.connections(), iscsi.sessions()), (1, 1));

    stream.change(|pipe| pipe.closed = true);
    settle(&mut shards, now);
    assert_eq!((iscsi.connections(), iscsi.sessions()), (0, 0));
    drop(engine);
}

#[test]
fn a_stream_that_says_nothing_has_the_time_of_a_login() {
    let (_engine, mut shards, iscsi) = serve(Limits::default());
    let now = Instant::now();
    let stream = Memory::default();
    iscsi.serve(Box::new(stream), ENDS).unwrap();
    settle(&mut shards, now);
    assert_eq!(iscsi.connections(), 1);
    settle(&mut shards, now + Duration::from_secs(16));
    assert_eq!(iscsi.connections(), 0);
}

#[test]
fn n30_streams_beyond_the_limit_are_refused() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let (_engine, _shards, iscsi) = serve(limits);
    iscsi.serve(Box::new(Memory::default()), ENDS).unwrap();
    assert_eq!(
        iscsi.serve(Box::new(Memory::default()), ENDS),
        Err(LimitReached)
    );
}
