//! SRP channels on a shard, over the fabric in memory: sequences of what initiators, fabric and backend do.
//!
//! What has to hold: nothing panics; a well-behaved channel gets answers to its own requests only, with the data it asked
//! for, never more than it has room for, and no access to memory that it has taken away; at the end nothing is left.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use lunforge_core::shard::Shard;
use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::{Engine, Target};
use lunforge_srp::fabric::memory::request;
use lunforge_srp::io::Limits;
use lunforge_srp::proto::iu::LoginRequest;
use lunforge_srp::proto::iu::login::{LoginForm, MultiChannelAction};
use lunforge_srp::testing::{Channel, Form, Send, connect, login};
use lunforge_srp::{PortId, SrpAttachment, SrpTransport};

const TARGET: PortId = PortId([7; 16]);
/// Channels at a time.
const MOST: usize = 5;
/// Steps of one input.
const STEPS: usize = 400;

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

struct Line {
    channel: Channel,
    /// Commands that may get an answer, and whether it is a read.
    tags: Vec<(u64, Option<usize>)>,
    /// It has sent bytes of its own: its books mean nothing any more.
    wild: bool,
}

struct World {
    shards: Vec<Shard>,
    _engine: Engine,
    srp: SrpAttachment,
    controls: Arc<Controls>,
    lines: Vec<Line>,
    start: Instant,
    ahead: Duration,
    next_tags: u64,
}

/// Two bytes choose limits; then each step is a byte, with operands behind it.
pub fn srp_channel(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (Some(shape), Some(depth)) = (input.byte(), input.byte()) else {
        return;
    };
    let mut world = World::new(shape, depth);
    for _ in 0..STEPS {
        let Some(step) = input.byte() else { break };
        world.step(step, &mut input);
    }
    world.end();
}

impl World {
    fn new(shape: u8, depth: u8) -> Self {
        let blank = Blank::default();
        let controls = Arc::clone(&blank.0);
        controls.can_fence.store(shape & 1 != 0, Relaxed);
        controls.control.lock().task_aborted_status = shape & 2 != 0;
        let target = Target::builder("fuzz").lun(0, blank).build();
        let target = target.expect("a target of one LUN");
        let limits = lunforge_core::shard::Limits {
            session_bytes: 64 << 10,
            buffer_bytes: if shape & 4 != 0 { 256 << 10 } else { 8 << 20 },
            ..Default::default()
        };
        let builder = Engine::builder()
            .shards(1 + usize::from(shape >> 7))
            .limits(limits);
        let (engine, shards) = builder.parts().expect("shards");
        let transport = SrpTransport::new().port("fuzz", TARGET).limits(Limits {
            requests: usize::from(depth % 9) + 1,
            request_bytes: 1024,
            channels_per_session: 3,
            sessions_per_target: 3,
            ..Limits::default()
        });
        let srp = engine.attach(transport, target).expect("a transport");
        Self {
            shards,
            _engine: engine,
            srp,
            controls,
            lines: Vec::new(),
            start: Instant::now(),
            ahead: Duration::ZERO,
            next_tags: 0,
        }
    }

    fn poll(&mut self) {
        let mut quiet = 0;
        for _ in 0..200 {
            let now = self.start + self.ahead;
            let mut mail = false;
            for shard in &mut self.shards {
                mail |= shard.poll_mail(now) == Some(now);
            }
            quiet = if mail { 0 } else { quiet + 1 };
            if quiet == 2 {
                return;
            }
        }
        panic!("the shards do not come to rest");
    }

    fn step(&mut self, step: u8, input: &mut Input<'_>) {
        let which = usize::from(step >> 4);
        match step & 0x0F {
            0 => self.connect(input),
            1 => self.garbage_login(input),
            op => {
                if self.lines.is_empty() {
                    return;
                }
                let at = which % self.lines.len();
                self.of_line(op, at, input);
            }
        }
        self.hear();
    }

    fn of_line(&mut self, op: u8, at: usize, input: &mut Input<'_>) {
        let line = &mut self.lines[at];
        let wire = &line.channel.wire;
        match op {
            2 => self.poll(),
            3 | 4 => line.command(input),
            5 => line.function(input),
            6 => line.raw(input),
            7 => {
                line.wild = true;
                line.channel.log_out();
            }
            8 => drop(self.lines.swap_remove(at)),
            9 => wire.hold(),
            10 => wire.release(),
            11 => match input.byte() {
                Some(n) if n & 1 != 0 => wire.hold_reads(),
                _ => wire.release_reads(),
            },
            12 => match input.byte() {
                Some(n) if n & 0x80 != 0 => wire.fail_at(u64::from(n & 0x1F) + 1),
                Some(n) if n & 0x40 != 0 => wire.disconnect(),
                Some(n) => wire.lose_at(u64::from(n & 0x1F) + 1),
                None => wire.establish(),
            },
            13 => {
                let held = input.byte().is_some_and(|n| n & 1 != 0);
                self.controls.hold.store(held, Relaxed);
                self.controls.complete_all();
            }
            14 => {
                self.ahead += Duration::from_millis(150);
                self.poll();
            }
            _ => {
                let sessions = self.srp.sessions_list();
                if let Some(session) = sessions.first() {
                    // It may end by itself meanwhile.
                    let _ = self.srp.close_session(session.id);
                }
            }
        }
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        let how = input.byte().unwrap_or_default();
        if self.lines.len() >= MOST {
            return;
        }
        let asked = LoginRequest {
            action: match how & 3 {
                0 => MultiChannelAction::Single,
                _ => MultiChannelAction::Multi,
            },
            req_it_iu_len: if how & 4 != 0 { 300 } else { 1024 },
            immediate: how & 8 != 0,
            ..login(PortId::new(0, u64::from(how >> 4 & 3)), TARGET)
        };
        let form = if how & 0x40 != 0 {
            LoginForm::Ib
        } else {
            LoginForm::Rdma
        };
        let (request, channel) = connect(&asked, form, "192.0.2.1");
        if how & 0x80 != 0 {
            channel.wire.hold();
        }
        self.next_tags += 1 << 32;
        self.srp.serve(request);
        self.lines.push(Line {
            channel: channel.tags_from(self.next_tags),
            tags: Vec::new(),
            wild: false,
        });
    }

    fn garbage_login(&mut self, input: &mut Input<'_>) {
        let form = match input.byte() {
            Some(n) if n & 1 != 0 => LoginForm::Ib,
            _ => LoginForm::Rdma,
        };
        let (request, initiator) = request(form, &input.take(64), "192.0.2.2");
        if input.byte().is_some_and(|n| n & 1 != 0) {
            initiator.withdraw();
        }
        self.srp.serve(request);
        self.poll();
    }

    /// Takes what the target has sent.
    fn hear(&mut self) {
        for line in &mut self.lines {
            line.hear();
        }
    }

    fn end(&mut self) {
        self.poll();
        self.hear();
        for line in &self.lines {
            line.channel.wire.release();
            line.channel.wire.release_reads();
        }
        self.controls.hold.store(false, Relaxed);
        self.controls.complete_all();
        for _ in 0..30 {
            self.poll();
            self.ahead += Duration::from_millis(100);
        }
        self.hear();
        self.lines.clear();
        for _ in 0..30 {
            self.poll();
            self.ahead += Duration::from_millis(100);
        }
        assert_eq!(self.srp.sessions(), 0);
        for shard in &self.shards {
            let census = shard.census();
            let left = (
                census.sources,
                census.nexuses,
                census.commands,
                census.task_management,
            );
            assert_eq!((left, census.buffer_bytes), ((0, 0, 0, 0), 0), "{census:?}");
        }
    }
}

impl Line {
    fn may_send(&self) -> bool {
        self.channel.limit > 0 && !self.wild && self.channel.logout.is_none()
    }

    fn command(&mut self, input: &mut Input<'_>) {
        let what = input.byte().unwrap_or_default();
        if !self.may_send() {
            return;
        }
        let blocks = 1 + (what >> 2 & 3);
        let len = usize::from(blocks) * 512;
        let form = match what >> 5 {
            0 | 1 => Form::Direct,
            2 => Form::Indirect(3),
            3 => Form::Indirect(1),
            4 => Form::Table(4, 2),
            5 => Form::Table(9, 0),
            _ => Form::Immediate,
        };
        let terms = self
            .channel
            .terms
            .as_ref()
            .and_then(|terms| terms.as_ref().ok());
        let fits = terms.is_some_and(|terms| terms.immediate && terms.max_it_iu_len >= 600);
        let form = if form == Form::Immediate && (!fits || len > 512) {
            Form::Direct
        } else {
            form
        };
        let data = vec![0x5A; len];
        let cdb = match what & 3 {
            0 => [0x28, 0, 0, 0, 0, 0, 0, 0, blocks, 0],
            1 => [0x2A, 0, 0, 0, 0, 0, 0, 0, blocks, 0],
            2 => [0; 10],
            _ => [0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0],
        };
        let reads = matches!(what & 3, 0 | 3);
        let tag = self.channel.send(&Send {
            lun: if what & 0x10 != 0 {
                [0, 1, 0, 0, 0, 0, 0, 0]
            } else {
                [0; 8]
            },
            cdb: &cdb,
            data_out: if what & 3 == 1 { &data } else { &[] },
            out_form: form,
            expected_in: if reads { len } else { 0 },
            in_form: if form == Form::Immediate {
                Form::Direct
            } else {
                form
            },
            attribute: what >> 3 & 3,
            ..Send::default()
        });
        self.tags.push((tag, (what & 3 == 0).then_some(len)));
    }

    fn function(&mut self, input: &mut Input<'_>) {
        let what = input.byte().unwrap_or_default();
        if self.may_send() {
            let at = usize::from(what >> 4) % self.tags.len().max(1);
            let managed = self.tags.get(at).map_or(0, |(tag, _)| *tag);
            let function = [1, 1, 2, 4, 8, 0x40, 1, 0x20][usize::from(what & 7)];
            let lun = if what & 8 != 0 {
                [0, 1, 0, 0, 0, 0, 0, 0]
            } else {
                [0; 8]
            };
            let tag = self.channel.manage(function, lun, managed);
            self.tags.push((tag, None));
        }
    }

    fn raw(&mut self, input: &mut Input<'_>) {
        let len = usize::from(input.byte().unwrap_or_default());
        self.wild = true;
        self.channel.wire.send(&input.take(len));
    }

    fn hear(&mut self) {
        if self.wild {
            while self.channel.wire.take().is_some() {
                self.channel.wire.post_receives(1);
            }
            return;
        }
        self.channel.pump();
        let channel = &mut self.channel;
        self.tags.retain(|(tag, read)| {
            let Some(reply) = channel.reply(*tag) else {
                return true;
            };
            if let (0, Some(len)) = (reply.status, read) {
                // A command that was held ends without data.
                let first = reply.data.first().copied().unwrap_or_default();
                assert!(matches!(first, 0 | 0xA5) && reply.data == vec![first; *len]);
            }
            false
        });
    }
}
