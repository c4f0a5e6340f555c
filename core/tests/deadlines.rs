//! Commands that their backend does not answer, commands that wait too long, and the units beside them.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lunforge_core::deadline::{Ladder, LadderError};
use lunforge_core::sense::SenseKey;
use lunforge_core::shard::Limits;
use lunforge_core::status::Status;
use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::testing::{Bed, Reply, Send, Session};
use lunforge_core::tmf::{Function, Response};
use lunforge_core::{LogicalUnit, Target};

const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";
const TUR: [u8; 6] = [0; 6];
const LADDER: Ladder = Ladder::esxi();
const MOMENT: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    bed: Bed,
    lu: Arc<LogicalUnit>,
    unit: Arc<Controls>,
    a: Session,
}

/// A unit with a short ladder, and a session.
fn rig(shards: usize) -> Rig {
    let blank = Blank::default();
    let unit = Arc::clone(&blank.0);
    let lu = LogicalUnit::builder(Arc::new(blank))
        .ladder(LADDER)
        .unwrap()
        .build();
    let mut bed = Bed::new(shards, Arc::clone(&lu));
    let a = bed.session(0, A);
    Rig { bed, lu, unit, a }
}

fn cdb(opcode: u8, blocks: u8) -> Vec<u8> {
    vec![opcode, 0, 0, 0, 0, 0, 0, 0, blocks, 0]
}

fn read() -> Send {
    Send {
        cdb: cdb(0x28, 1),
        expected_in: 512,
        ..Send::default()
    }
}

fn write() -> Send {
    Send {
        cdb: cdb(0x2A, 1),
        data_out: vec![0; 512],
        ..Send::default()
    }
}

fn flush() -> Send {
    Send {
        cdb: cdb(0x35, 0),
        ..Send::default()
    }
}

impl Rig {
    /// Sends a command that its backend keeps, and lets the backend answer others.
    fn stuck(&mut self, command: Send) -> u64 {
        self.unit.hold.store(true, Relaxed);
        let tag = self.bed.send(self.a, command);
        self.unit.hold.store(false, Relaxed);
        tag
    }

    fn ended(&mut self, tag: u64) -> Option<Reply> {
        self.bed.ended(self.a, tag)
    }
}

/// What a command is told that its backend did not answer.
fn timed_out(reply: &Reply) -> bool {
    let key = reply.sense.as_ref().map(|sense| sense.key);
    reply.responded && key == Some(SenseKey::AbortedCommand) && reply.asc() == Some((0x08, 0x01))
}

#[test]
fn a_ladder_whose_rungs_are_wrong_is_refused() {
    let wrong = Ladder {
        hold: LADDER.backend,
        ..LADDER
    };
    let refused = LogicalUnit::builder(Arc::new(Blank::default())).ladder(wrong);
    assert!(matches!(refused, Err(LadderError::Hold { .. })));
}

#[test]
fn n25_a_command_that_its_backend_does_not_answer_is_answered_once_by_the_target() {
    let mut rig = rig(1);
    let tag = rig.stuck(read());
    rig.bed.advance(LADDER.backend - MOMENT);
    assert!(rig.ended(tag).is_none(), "too early");
    assert!(rig.lu.backend().oldest() >= Duration::from_secs(1));
    rig.bed.advance(2 * MOMENT);
    assert!(timed_out(&rig.ended(tag).unwrap()));
    let backend = rig.lu.backend();
    assert_eq!((backend.timed_out(), backend.detached()), (1, 1));
    assert!(backend.is_dead());
    // The late end meets nobody; the bed fails on a second answer.
    rig.unit.complete_all();
    rig.bed.poll();
    assert!(!backend.is_dead() && backend.detached() == 0);
    rig.bed.advance(Duration::from_secs(2));
    assert_eq!(rig.lu.backend().oldest(), Duration::ZERO);
}

#[test]
fn a_write_that_was_given_up_closes_the_medium_until_it_ended_unless_it_is_fenced() {
    for can_fence in [true, false] {
        let mut rig = rig(2);
        let b = rig.bed.session(1, B);
        rig.unit.can_fence.store(can_fence, Relaxed);
        let tag = rig.stuck(write());
        rig.bed.advance(LADDER.backend);
        assert!(timed_out(&rig.bed.wait(rig.a, tag)));
        for session in [rig.a, b] {
            let closed = rig.bed.command(session, 0, &cdb(0x2A, 1), &[0; 512], 0);
            let expected = if can_fence { None } else { Some((0x04, 0x01)) };
            assert_eq!(closed.asc(), expected);
        }
        rig.unit.complete_all();
        rig.bed.poll();
        let open = rig.bed.command(b, 0, &cdb(0x2A, 1), &[0; 512], 0);
        assert_eq!(open.status, Status::Good);
    }
}

#[test]
fn a_read_that_was_given_up_neither_closes_the_medium_nor_needs_a_fence() {
    let mut rig = rig(1);
    let tag = rig.stuck(read());
    rig.bed.advance(LADDER.backend);
    assert!(timed_out(&rig.bed.wait(rig.a, tag)));
    assert_eq!(rig.unit.fences.load(Relaxed), 0);
    let next = rig.bed.command(rig.a, 0, &cdb(0x2A, 1), &[0; 512], 0);
    assert_eq!(next.status, Status::Good);
}

#[test]
fn a_flush_has_the_time_that_report_supported_operation_codes_recommends() {
    let mut rig = rig(1);
    let tag = rig.stuck(flush());
    // REPORT SUPPORTED OPERATION CODES for SYNCHRONIZE CACHE (10), with RCTD.
    let rsoc = [0xA3, 0x0C, 0x81, 0x35, 0, 0, 0, 0, 0, 64, 0, 0];
    let data = rig.bed.command(rig.a, 0, &rsoc, &[], 64).data;
    let recommended = u32::from_be_bytes(data[22..26].try_into().unwrap());
    let recommended = Duration::from_secs(recommended.into());
    rig.bed.advance(recommended - LADDER.hold - SECOND);
    assert!(rig.ended(tag).is_none());
    rig.bed.advance(2 * SECOND);
    assert!(timed_out(&rig.ended(tag).unwrap()));
}

#[test]
fn a_command_that_was_aborted_keeps_to_the_bound_of_task_management() {
    let mut rig = rig(1);
    let tag = rig.stuck(read());
    rig.bed.advance(LADDER.backend - MOMENT);
    let abort = rig.bed.begin_tmf(rig.a, 0, Function::AbortTask(tag));
    rig.bed.advance(2 * MOMENT);
    assert!(rig.ended(tag).is_none(), "its abort comes first");
    rig.bed.advance(lunforge_core::tmf::BOUND);
    assert_eq!(rig.bed.tmf_ended(rig.a, abort), Some(Response::Complete));
    assert!(!rig.bed.wait(rig.a, tag).responded);
    assert_eq!(rig.lu.backend().timed_out(), 0);
}

#[test]
fn a_command_at_a_gate_that_stays_closed_is_busy_at_the_end_of_hold() {
    let mut rig = rig(1);
    let kept = Arc::new(std::sync::Mutex::new(None));
    let keep = Arc::clone(&kept);
    rig.lu
        .close_gate(move |closed| *keep.lock().unwrap() = Some(closed));
    let tag = rig.bed.send(rig.a, write());
    rig.bed.advance(LADDER.hold - MOMENT);
    assert!(rig.ended(tag).is_none());
    rig.bed.advance(2 * MOMENT);
    assert_eq!(rig.ended(tag).unwrap().status, Status::Busy);
    drop(kept.lock().unwrap().take());
    let next = rig.bed.command(rig.a, 0, &cdb(0x2A, 1), &[0; 512], 0);
    assert_eq!(next.status, Status::Good);
    assert_eq!(rig.unit.executed.load(Relaxed), 1);
}

#[test]
fn a_command_that_may_wait_long_at_its_gate_puts_no_other_unit_s_end_off() {
    let patient = Ladder {
        backend: Duration::from_secs(100),
        hold: Duration::from_secs(200),
        abort: Duration::from_secs(400),
        replacement: Duration::from_secs(500),
    };
    let blanks = [Blank::default(), Blank::default()];
    let [_, dead] = blanks.each_ref().map(|blank| Arc::clone(&blank.0));
    dead.serial.set("dead".into()).unwrap();
    let [waits, stuck] = [(0, patient), (1, LADDER)].map(|(at, ladder): (usize, _)| {
        let unit = LogicalUnit::builder(Arc::new(blanks[at].clone()));
        unit.ladder(ladder).unwrap().build()
    });
    let target = Target::builder("iqn.2026-11.org.example:t");
    let target = target.lun(0, Arc::clone(&waits)).lun(1, stuck);
    let mut bed = Bed::with_target(1, target.build().unwrap());
    let a = bed.session(0, A);
    bed.command(a, 1, &TUR, &[], 0);
    // So long that nothing is looked at any more.
    bed.advance(Duration::from_secs(3));
    let kept = Arc::new(std::sync::Mutex::new(None));
    let keep = Arc::clone(&kept);
    waits.close_gate(move |closed| *keep.lock().unwrap() = Some(closed));
    bed.send(a, write());
    dead.hold.store(true, Relaxed);
    let tag = bed.send(a, Send { lun: 1, ..read() });
    bed.advance(LADDER.backend + MOMENT);
    assert!(timed_out(&bed.ended(a, tag).expect("its time is over")));
    drop(kept.lock().unwrap().take());
}

#[test]
fn a_shard_of_one_command_takes_one_at_a_time() {
    let target = Target::builder("iqn.2026-11.org.example:t").lun(0, Blank::default());
    let limits = Limits {
        commands: 1,
        ..Limits::default()
    };
    let mut bed = Bed::with_limits(1, target.build().unwrap(), &[], limits);
    let a = bed.session(0, A);
    for _ in 0..3 {
        assert_eq!(bed.command(a, 0, &TUR, &[], 0).status, Status::Good);
    }
}

#[test]
fn who_waits_for_a_stuck_command_does_not_give_up_before_it_is_ended() {
    let mut rig = rig(1);
    let stuck = rig.stuck(write());
    rig.unit.can_fence.store(true, Relaxed);
    let alone = Send {
        cdb: vec![0x15, 0x10, 0, 0, 0, 0],
        ..Send::default()
    };
    let alone = rig.bed.send(rig.a, alone);
    rig.bed.advance(LADDER.backend);
    assert!(timed_out(&rig.bed.wait(rig.a, stuck)));
    assert_eq!(rig.bed.wait(rig.a, alone).status, Status::Good);
}

#[test]
fn the_answer_of_the_target_establishes_an_aca_like_any_check_condition() {
    let mut rig = rig(1);
    let mut command = read();
    command.cdb[9] = 0x04; // NACA
    let tag = rig.stuck(command);
    rig.bed.advance(LADDER.backend);
    assert!(timed_out(&rig.bed.wait(rig.a, tag)));
    let next = rig.bed.command(rig.a, 0, &TUR, &[], 0);
    assert_eq!(next.status, Status::AcaActive);
    let cleared = rig.bed.tmf(rig.a, 0, Function::ClearAca);
    assert_eq!(cleared, Response::Complete);
}

#[test]
fn an_idle_shard_has_nothing_to_wake_up_for() {
    use lunforge_core::Engine;
    let (_engine, mut shards) = Engine::builder().shards(1).parts().unwrap();
    assert_eq!(shards[0].poll(std::time::Instant::now()), None);
}

/// A dead unit and one that lives, on a shard of few commands and little memory.
fn two_units() -> (Bed, [Arc<Controls>; 2], Session, Session) {
    let blanks = [Blank::default(), Blank::default()];
    let controls = blanks.each_ref().map(|blank| Arc::clone(&blank.0));
    controls[0].serial.set("dead".into()).unwrap();
    let [dead, lives] = blanks;
    let target = Target::builder("iqn.2026-11.org.example:t")
        .lun(0, dead)
        .lun(1, lives);
    let limits = Limits {
        commands: 64,
        commands_per_itl: 1000,
        buffer_bytes: 4 << 20,
        ..Limits::default()
    };
    let mut bed = Bed::with_limits(1, target.build().unwrap(), &[], limits);
    let (a, b) = (bed.session(0, A), bed.session(0, B));
    for session in [a, b] {
        bed.command(session, 1, &TUR, &[], 0);
    }
    controls[0].hold.store(true, Relaxed);
    (bed, controls, a, b)
}

/// Sends commands until one is refused; how many were not.
fn fill(bed: &mut Bed, session: Session, command: &Send) -> usize {
    for sent in 0..10_000 {
        let tag = bed.send(session, command.clone());
        if let Some(reply) = bed.ended(session, tag) {
            assert_eq!(reply.status, Status::TaskSetFull);
            return sent;
        }
    }
    panic!("nothing stops them");
}

#[test]
fn a_dead_unit_takes_neither_all_commands_nor_all_buffers_of_its_shard() {
    for blocks in [1, 255] {
        let (mut bed, [_, lives], a, b) = two_units();
        let large = Send {
            cdb: cdb(0x28, blocks),
            expected_in: usize::from(blocks) * 512,
            ..Send::default()
        };
        let taken = fill(&mut bed, a, &large);
        // Half of 64 commands; of the eight segments of 256 KiB in half of 4 MiB, one session's fair part.
        assert_eq!(taken, if blocks == 1 { 32 } else { 3 });
        // What there is for the other one does not become less when initiators send again, or others send too.
        fill(&mut bed, b, &large);
        for session in [a, b] {
            assert_eq!(fill(&mut bed, session, &large), 0);
        }
        let size = 255 * 512;
        for _ in 0..100 {
            let reply = bed.command(b, 1, &cdb(0x28, 255), &[], size);
            assert_eq!(reply.status, Status::Good);
        }
        // And some at a time: of commands as many as its share is, of buffers the session's part of that.
        lives.hold.store(true, Relaxed);
        let large = Send { lun: 1, ..large };
        let together = fill(&mut bed, b, &large);
        assert_eq!(together, if blocks == 1 { 16 } else { 1 });
    }
}

#[test]
fn a_session_that_two_sources_close_tells_both() {
    use lunforge_core::pipeline::CommandRequest;
    use lunforge_core::shard::{Event, NexusKey, Readiness, ShardCx, Source};
    use lunforge_core::task_set::TaskAttribute;
    use lunforge_core::transport_id::TransportId;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Instant;

    struct Closer(NexusKey, Sender<()>);
    impl Source for Closer {
        fn ready(&mut self, _: &mut ShardCx<'_>, _: Readiness) {}
        fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
            match event {
                Event::Message(_) => cx.close_nexus(self.0),
                Event::NexusClosed(_) => self.1.send(()).unwrap(),
                _ => {}
            }
        }
        fn timeout(&mut self, _: &mut ShardCx<'_>) {}
        fn flush(&mut self, _: &mut ShardCx<'_>) {}
    }

    let blank = Blank::default();
    blank.0.hold.store(true, Relaxed);
    let target = Target::builder("iqn.2026-11.org.example:t").lun(0, blank);
    let target = target.build().unwrap();
    let (engine, mut shards) = lunforge_core::Engine::builder().shards(1).parts().unwrap();
    let (tell, told) = channel();
    let shard = engine.shards()[0].clone();
    shard.run(move |cx| {
        let id = TransportId::iscsi(A, [0; 6]).unwrap();
        let nexus = cx.open_nexus(&target, id);
        let closers = [(); 2].map(|()| cx.add_source(Box::new(Closer(nexus, tell.clone()))));
        // The first reports the unit attention, the second executes until its abort gives it up.
        for tag in 0..2 {
            let request = CommandRequest {
                nexus,
                lun: [0; 8],
                cdb: &cdb(0x28, 1),
                attribute: TaskAttribute::Simple,
                tag,
                expected_in: 512,
                expected_out: 0,
            };
            let _ = cx.begin(&request);
        }
        for closer in closers {
            cx.handle().send(closer, Box::new(()));
        }
    });
    let now = Instant::now();
    shards[0].poll(now);
    shards[0].poll(now);
    assert_eq!(told.try_iter().count(), 0);
    shards[0].poll(now + lunforge_core::tmf::BOUND);
    assert_eq!(told.try_iter().count(), 2);
}

#[test]
fn n62_a_shard_that_was_stopped_takes_nobody_for_dead_before_he_had_a_chance_to_speak() {
    let mut rig = rig(1);
    let tag = rig.stuck(read());
    rig.bed.leap(Duration::from_secs(3600));
    assert!(rig.ended(tag).is_none(), "the backend was stopped as well");
    rig.unit.complete_all();
    assert_eq!(rig.bed.wait(rig.a, tag).status, Status::Good);
    assert_eq!(rig.lu.backend().timed_out(), 0);
}

#[test]
fn n62_a_shard_that_is_late_each_time_answers_for_its_backend_all_the_same() {
    let mut rig = rig(1);
    let tag = rig.stuck(read());
    for _ in 0..2 {
        assert!(rig.ended(tag).is_none());
        rig.bed.leap(LADDER.backend);
    }
    assert!(timed_out(&rig.ended(tag).unwrap()));
}

#[test]
fn n62_what_waits_in_sockets_comes_before_timers_after_a_stop() {
    use lunforge_core::shard::{Event, Readiness, ShardCx, Source};
    use std::io::{PipeReader, PipeWriter, Read, Write};
    use std::os::fd::AsFd;
    use std::sync::Mutex;
    use std::time::Instant;

    /// Counts those that time out although there is something to read.
    struct Waits(PipeReader, Arc<Mutex<(usize, usize)>>);
    impl Source for Waits {
        fn ready(&mut self, cx: &mut ShardCx<'_>, _: Readiness) {
            let _ = self.0.read(&mut [0]);
            cx.set_timer(None);
            self.1.lock().unwrap().0 += 1;
        }
        fn event(&mut self, _: &mut ShardCx<'_>, _: Event) {}
        fn timeout(&mut self, _: &mut ShardCx<'_>) {
            self.1.lock().unwrap().1 += 1;
        }
        fn flush(&mut self, _: &mut ShardCx<'_>) {}
    }

    const MANY: usize = 300;
    let (engine, mut shards) = lunforge_core::Engine::builder().shards(1).parts().unwrap();
    let counts = Arc::new(Mutex::new((0, 0)));
    let (readers, writers): (Vec<_>, Vec<PipeWriter>) =
        (0..MANY).map(|_| std::io::pipe().unwrap()).unzip();
    let shared = Arc::clone(&counts);
    engine.shards()[0].run(move |cx| {
        for reader in readers {
            cx.add_source_with(|cx| {
                cx.watch(reader.as_fd(), true, false).ok()?;
                cx.set_timer(Some(cx.now() + Duration::from_secs(30)));
                Some(Box::new(Waits(reader, Arc::clone(&shared))))
            });
        }
    });
    let now = Instant::now();
    shards[0].poll(now);
    for mut writer in &writers {
        writer.write_all(&[1]).unwrap();
    }
    for turn in 0..8 {
        shards[0].poll(now + Duration::from_secs(40) + turn * MOMENT);
    }
    assert_eq!(*counts.lock().unwrap(), (MANY, 0));
}
