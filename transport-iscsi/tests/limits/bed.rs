//! A target whose shards the test drives, and peers over streams in memory: no thread, no socket, no clock.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::shard::{Limits as ShardLimits, Readiness, Shard};
use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::{Engine, Target};
use lunforge_iscsi::io::{Counters, Ends, Limits, Moved, Stream, Waker};
use lunforge_iscsi::proto::pdu::{
    self, BHS_LEN, Bhs, LoginRequest, LoginResponse, NopOut, RESERVED_TAG, ScsiCommand,
    TaskAttribute, opcode,
};
use lunforge_iscsi::{AuthConfig, IscsiAttachment, IscsiTransport, TargetParams};
use parking_lot::Mutex;

pub(crate) const IQN: &str = "iqn.2026-11.org.example:blank";

#[derive(Default)]
struct Pipe {
    to_target: VecDeque<u8>,
    from_target: Vec<u8>,
    closed: bool,
    /// The peer does not read.
    deaf: bool,
    /// So many bytes are taken before the peer does not read.
    room: Option<usize>,
    waker: Option<Waker>,
}

#[derive(Default, Clone)]
struct Memory(Arc<Mutex<Pipe>>);

impl Stream for Memory {
    fn opened(&mut self, waker: Waker) {
        self.0.lock().waker = Some(waker);
    }

    fn receive(&mut self, into: &mut [IoSliceMut<'_>]) -> Moved {
        let mut pipe = self.0.lock();
        let mut moved = 0;
        for part in into {
            for place in part.iter_mut() {
                let Some(byte) = pipe.to_target.pop_front() else {
                    break;
                };
                *place = byte;
                moved += 1;
            }
        }
        match moved {
            0 if pipe.closed => Moved::Gone,
            0 => Moved::WouldBlock,
            n => Moved::Bytes(n),
        }
    }

    fn send(&mut self, from: &[IoSlice<'_>]) -> Moved {
        let mut pipe = self.0.lock();
        let all: usize = from.iter().map(|part| part.len()).sum();
        if pipe.closed {
            return Moved::Gone;
        }
        if pipe.deaf || all == 0 {
            return Moved::WouldBlock;
        }
        let taken = pipe.room.map_or(all, |room| room.min(all));
        let bytes = from.iter().flat_map(|part| part.iter().copied());
        pipe.from_target.extend(bytes.take(taken));
        pipe.room = pipe.room.map(|room| room - taken);
        pipe.deaf = pipe.room == Some(0);
        Moved::Bytes(taken)
    }

    fn readiness(&self) -> Readiness {
        let pipe = self.0.lock();
        Readiness {
            readable: pipe.closed || !pipe.to_target.is_empty(),
            writable: pipe.closed || !pipe.deaf,
        }
    }
}

/// What a bed is made of.
#[derive(Default)]
pub(crate) struct Recipe {
    pub(crate) shards: usize,
    pub(crate) shard: ShardLimits,
    pub(crate) limits: Limits,
    pub(crate) params: TargetParams,
    pub(crate) auth: AuthConfig,
    pub(crate) more_targets: usize,
}

impl Recipe {
    pub(crate) fn with(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub(crate) fn serve(self) -> Bed {
        let blank = Blank::default();
        let controls = Arc::clone(&blank.0);
        let mut targets = vec![Target::builder(IQN).lun(0, blank).build().unwrap()];
        for i in 0..self.more_targets {
            let name = format!("iqn.2026-11.org.example:another.target.{i}");
            targets.push(Target::builder(name).build().unwrap());
        }
        let builder = Engine::builder()
            .shards(self.shards.max(1))
            .limits(self.shard);
        let (engine, shards) = builder.parts().unwrap();
        let transport = IscsiTransport::builder()
            .limits(self.limits)
            .params(self.params)
            .auth(self.auth)
            .portless();
        let iscsi = engine.attach(transport, targets).unwrap();
        Bed {
            shards,
            iscsi,
            controls,
            now: Instant::now(),
            engine,
        }
    }
}

/// Pings off and RspTimeout out of the way.
pub(crate) fn patient() -> TargetParams {
    TargetParams {
        nop_in_interval: 0,
        rsp_timeout: 3600,
        ..TargetParams::default()
    }
}

pub(crate) struct Bed {
    pub(crate) shards: Vec<Shard>,
    pub(crate) iscsi: IscsiAttachment,
    pub(crate) controls: Arc<Controls>,
    pub(crate) now: Instant,
    pub(crate) engine: Engine,
}

impl Bed {
    /// Turns of the shards until none of them has anything to do now.
    pub(crate) fn settle(&mut self) {
        let now = self.now;
        // A shard that has nothing more to do may get mail from the one after it: twice around without anything.
        let mut idle = 0;
        while idle < 2 {
            let mut busy = false;
            for shard in &mut self.shards {
                busy |= shard.poll(now).is_some_and(|next| next <= now);
            }
            idle = if busy { 0 } else { idle + 1 };
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    pub(crate) fn counters(&self) -> Counters {
        self.iscsi.counters()
    }

    /// A connection from 192.0.2.`from`; `None` if it is refused at once.
    pub(crate) fn try_connect(&mut self, from: u8) -> Option<Peer> {
        let stream = Memory::default();
        let ends = Ends {
            peer: SocketAddr::from(([192, 0, 2, from], 1)),
            local: SocketAddr::from(([127, 0, 0, 1], 3260)),
        };
        self.iscsi.serve(Box::new(stream.clone()), ends).ok()?;
        self.settle();
        Some(Peer {
            stream,
            cmd_sn: 1,
            itt: 0,
            read: 0,
        })
    }

    pub(crate) fn connect(&mut self, from: u8) -> Peer {
        self.try_connect(from).expect("a connection")
    }

    /// A session with its unit attention taken.
    pub(crate) fn session(&mut self, from: u8) -> Peer {
        let mut peer = self.connect(from);
        let answer = self.log_in(&mut peer, &Login::of(from));
        assert_eq!((answer.status_class, answer.status_detail), (0, 0));
        peer.command(&[0], 0);
        self.settle();
        assert_eq!(peer.statuses(), [2], "a unit attention");
        peer
    }

    pub(crate) fn log_in(&mut self, peer: &mut Peer, login: &Login) -> LoginResponse {
        peer.send(&login.emit());
        self.settle();
        peer.login_response().expect("a login response")
    }
}

/// A Login Request straight to full feature phase.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) initiator: String,
    pub(crate) stages: (u8, u8),
    pub(crate) tsih: u16,
    pub(crate) cid: u16,
    pub(crate) cmd_sn: u32,
    pub(crate) isid: u8,
    pub(crate) keys: String,
}

impl Login {
    pub(crate) fn of(initiator: u8) -> Self {
        Self {
            initiator: format!("iqn.2026-11.org.example:host{initiator}"),
            stages: (1, 3),
            tsih: 0,
            cid: 0,
            cmd_sn: 1,
            isid: initiator,
            keys: format!(
                "TargetName={IQN}\0SessionType=Normal\0InitialR2T=No\0ImmediateData=Yes\0\
                 MaxRecvDataSegmentLength=262144\0FirstBurstLength=4096\0"
            ),
        }
    }

    /// The first request of a login that begins with SecurityNegotiation.
    pub(crate) fn security(keys: &str) -> Self {
        Self {
            stages: (0, 1),
            keys: format!("TargetName={IQN}\0SessionType=Normal\0{keys}"),
            ..Self::of(1)
        }
    }

    pub(crate) fn emit(&self) -> Vec<u8> {
        let text = format!("InitiatorName={}\0{}", self.initiator, self.keys);
        let bhs = LoginRequest {
            immediate: true,
            transit: true,
            is_continue: false,
            current_stage: self.stages.0,
            next_stage: self.stages.1,
            version_max: 0,
            version_min: 0,
            data_segment_length: text.len() as u32,
            isid: [0x80, 0, 0, 0, 0, self.isid],
            tsih: self.tsih,
            itt: 1,
            cid: self.cid,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: 1,
        };
        whole(bhs.emit(), text.as_bytes())
    }
}

pub(crate) fn whole(bhs: Bhs, data: &[u8]) -> Vec<u8> {
    let mut bytes = bhs.to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

pub(crate) struct Peer {
    stream: Memory,
    pub(crate) cmd_sn: u32,
    pub(crate) itt: u32,
    read: usize,
}

impl Peer {
    fn change(&self, change: impl FnOnce(&mut Pipe)) {
        let mut pipe = self.stream.0.lock();
        change(&mut pipe);
        if let Some(waker) = pipe.waker.clone() {
            waker.wake();
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.change(|pipe| pipe.to_target.extend(bytes));
    }

    pub(crate) fn stop_reading(&self, deaf: bool) {
        self.change(|pipe| pipe.deaf = deaf);
    }

    /// Does not read beyond so many more bytes, as a socket whose buffers become full.
    pub(crate) fn stop_reading_after(&self, room: usize) {
        self.change(|pipe| pipe.room = Some(room));
    }

    pub(crate) fn hang_up(&self) {
        self.change(|pipe| pipe.closed = true);
    }

    /// Bytes sent that the target has not taken.
    pub(crate) fn not_taken(&self) -> usize {
        self.stream.0.lock().to_target.len()
    }

    /// Whether the target has closed the connection.
    pub(crate) fn is_closed(&self) -> bool {
        Arc::strong_count(&self.stream.0) == 1
    }

    /// The PDUs that have come since the last call.
    pub(crate) fn pdus(&mut self) -> Vec<(Bhs, Vec<u8>)> {
        let pipe = self.stream.0.lock();
        let mut pdus = Vec::new();
        while let Some(bhs) = pipe.from_target[self.read..].first_chunk::<BHS_LEN>() {
            let len = pdu::data_segment_len(bhs) as usize;
            let start = self.read + BHS_LEN;
            let Some(data) = pipe.from_target.get(start..start + len) else {
                break;
            };
            pdus.push((*bhs, data.to_vec()));
            self.read = start + len.next_multiple_of(4);
        }
        pdus
    }

    pub(crate) fn login_response(&mut self) -> Option<LoginResponse> {
        let (bhs, _) = self.pdus().pop()?;
        LoginResponse::parse(&bhs).ok()
    }

    /// Opcodes that have come since the last call.
    pub(crate) fn opcodes(&mut self) -> Vec<u8> {
        self.pdus().iter().map(|(bhs, _)| bhs[0] & 0x3f).collect()
    }

    /// SCSI status of each response or of data with status.
    pub(crate) fn statuses(&mut self) -> Vec<u8> {
        let ended = |(bhs, _): &(Bhs, Vec<u8>)| match bhs[0] & 0x3f {
            opcode::SCSI_RESPONSE => Some(bhs[3]),
            opcode::DATA_IN if bhs[1] & 1 != 0 => Some(bhs[3]),
            _ => None,
        };
        self.pdus().iter().filter_map(ended).collect()
    }

    fn header(&mut self, cdb: &[u8], expected: u32, immediate: bool) -> Bhs {
        self.itt += 1;
        let cmd_sn = self.cmd_sn;
        self.cmd_sn += u32::from(!immediate);
        let mut block = [0; 16];
        block[..cdb.len()].copy_from_slice(cdb);
        ScsiCommand {
            immediate,
            is_final: true,
            read: cdb[0] == 0x28,
            write: cdb[0] == 0x2a,
            attribute: TaskAttribute::Simple,
            ahs_words: 0,
            data_segment_length: 0,
            lun: [0; 8],
            itt: self.itt,
            expected_data_transfer_length: expected,
            cmd_sn,
            exp_stat_sn: 0,
            cdb: block,
        }
        .emit()
    }

    pub(crate) fn command(&mut self, cdb: &[u8], expected: u32) {
        let bhs = self.header(cdb, expected, false);
        self.send(&bhs);
    }

    pub(crate) fn immediate(&mut self, cdb: &[u8], expected: u32) {
        let bhs = self.header(cdb, expected, true);
        self.send(&bhs);
    }

    pub(crate) fn read(&mut self, blocks: u16) {
        self.command(&transfer(0x28, blocks), u32::from(blocks) * 512);
    }

    /// Reads that come in one segment.
    pub(crate) fn reads(&mut self, count: u32, blocks: u16) {
        let mut header = || self.header(&transfer(0x28, blocks), u32::from(blocks) * 512, false);
        let bytes: Vec<u8> = (0..count).flat_map(|_| header()).collect();
        self.send(&bytes);
    }

    /// A write whose data does not come by itself.
    pub(crate) fn write(&mut self, blocks: u16) {
        self.command(&transfer(0x2a, blocks), u32::from(blocks) * 512);
    }

    pub(crate) fn ping(&mut self, data: &[u8]) {
        self.itt += 1;
        let bhs = NopOut {
            immediate: true,
            data_segment_length: data.len() as u32,
            lun: [0; 8],
            itt: self.itt,
            ttt: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: 0,
        };
        let bytes = whole(bhs.emit(), data);
        self.send(&bytes);
    }
}

pub(crate) fn transfer(operation: u8, blocks: u16) -> [u8; 10] {
    let [hi, lo] = blocks.to_be_bytes();
    [operation, 0, 0, 0, 0, 0, 0, hi, lo, 0]
}
